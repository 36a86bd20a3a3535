"""Results: they survive a file, broken cases and what could not be done decide the exit code, and parts cover all."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.faults.__main__ import parser
from benchmarks.faults.cases import Broken, Settings, run_cases
from benchmarks.faults.results import Failure, Line, NotPermitted, Outcome, exit_code, read_lines, table, write_line
from benchmarks.fingerprint import fingerprint
from runtime.contracts.errors import Unsupported

FINE = Outcome(fault="kills", what="SIGKILL", cases=3, seconds=4.2, figures={"points": 3.0})
BAD = Outcome(fault="kills", what="SIGKILL", cases=3, failures=(Failure(case="swap:7", why="bag: lost"),))
ABSENT = Outcome(fault="clock", what="all of it", not_run="libfaketime is missing")
NAMES = [f"case:{number}" for number in range(1, 11)]


def settings(work: Path, **changes: object) -> Settings:
    return Settings(work=work, seed=7, **{"quick": False, **changes})  # type: ignore[arg-type]


def test_results_come_back_from_their_file_and_the_table_names_what_broke(tmp_path: Path) -> None:
    device = fingerprint(datetime(2026, 11, 27, tzinfo=UTC), ())
    lines = tuple(Line(outcome=one, seed=7, command="python", device=device) for one in (FINE, BAD, ABSENT))
    for line in lines:
        write_line(tmp_path / "results.jsonl", line)
    assert read_lines(tmp_path / "results.jsonl") == lines
    said = table(lines)
    assert "| kills | SIGKILL | 3 | 0 | 4 | points 3 |" in said
    assert "| kills | SIGKILL | 3 | 1 |" in said
    assert "kills swap:7: bag: lost" in said
    assert "NOT RUN: libfaketime is missing" in said


def test_another_file_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"outcome": 1}\n')
    with pytest.raises(Unsupported, match="line 1"):
        read_lines(tmp_path / "results.jsonl")


def test_the_exit_code_tells_broken_from_not_run() -> None:
    assert [exit_code(found) for found in ([FINE], [FINE, ABSENT], [BAD, ABSENT], [])] == [0, 3, 1, 0]


def test_every_broken_case_is_counted_and_no_other(tmp_path: Path) -> None:
    def breaks() -> None:
        raise Broken("bag: lost")

    cases = {"one": lambda: None, "two": breaks, "three": lambda: time.sleep(0.01), "four": breaks}
    assert [failure.case for failure in run_cases("kills", cases, settings(tmp_path))] == ["two", "four"]


def test_a_mistake_of_the_suite_itself_is_no_result(tmp_path: Path) -> None:
    def mistaken() -> None:
        raise KeyError("suite")

    with pytest.raises(KeyError):
        run_cases("kills", {"one": mistaken}, settings(tmp_path))


def test_what_is_not_permitted_ends_the_run(tmp_path: Path) -> None:
    def forbidden() -> None:
        raise NotPermitted("mount: permission denied")

    with pytest.raises(NotPermitted, match="mount"):
        run_cases("disk-full", {"one": forbidden}, settings(tmp_path))


def test_parts_are_disjoint_and_together_are_all(tmp_path: Path) -> None:
    parts = [settings(tmp_path, part=(number, 3)).chosen(NAMES, 2) for number in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(NAMES)


def test_a_quick_run_is_spread_from_the_first_case_to_the_last(tmp_path: Path) -> None:
    assert settings(tmp_path, quick=True).chosen(NAMES, 4) == ["case:1", "case:4", "case:7", "case:10"]


@pytest.mark.parametrize(("only", "count"), [("", 10), ("case", 10), ("case:1", 1), ("swap", 0), ("cas", 0)])
def test_one_act_or_one_case_can_be_asked_for(tmp_path: Path, only: str, count: int) -> None:
    chosen = settings(tmp_path, only=only)
    assert len(chosen.chosen(NAMES, 4)) == count
    assert chosen.includes("case") == (count > 0)


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "a/b"])
def test_a_part_that_is_none_is_a_mistake(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["kills", "--part", part])
    assert "I/N" in capsys.readouterr().err
    known: argparse.Namespace = parser().parse_args(["kills", "--part", "2/4"])
    assert known.part == (2, 4)
