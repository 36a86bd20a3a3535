from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fingerprint import Fingerprint
from benchmarks.latency.cli import main
from benchmarks.latency.results import Absent, Header, Result, Run
from benchmarks.latency.summary import summary
from tests.benchmarks.latency.test_limits import LIMITS


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--scenario", "fast"], "'fast'"),
        (["run", "--system", "abacus"], "'abacus'"),
        (["run", "--bundle", "nowhere"], "nowhere"),
        (["report", "nowhere.jsonl"], "nowhere.jsonl"),
        (["compare", "nowhere.jsonl", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--out", "."], "expected a file, got the folder ."),
        (["run", "--out", "nowhere/run.jsonl"], "there is no folder nowhere"),
        (["run", "--page", "nowhere/run.html"], "there is no folder nowhere"),
        (["report", "run.jsonl", "--out", "."], "expected a file, got the folder ."),
        (["compare", "a.jsonl", "b.jsonl", "--tolerance", "much"], "expected 0 or more, got much"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_before_any_work(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_never_overwrites_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.jsonl"
    out.write_text("another run")
    assert main(["run", "--out", str(out)]) == 2
    assert "--out" in capsys.readouterr().err
    assert out.read_text() == "another run"


def test_the_table_shows_no_percentile_of_too_few_and_why_a_result_is_invalid() -> None:
    device = Fingerprint(
        date="2026-11-24",
        cpu="a CPU",
        flags=(),
        cores=2,
        memory_gb=8.0,
        load_1min=0.0,
        system="Linux",
        python="3.11",
        versions={},
    )
    header = Header(device=device, command="touchstone-bench run", suite="quick", views=6, photo_mb=3.8, limits=LIMITS)
    result = Result(
        scenario="item",
        system="touchstone",
        does="scans",
        seed=1,
        warm_up=3,
        latencies_ms=(171.0,) * 64,
        at_s=(0.0,) * 64,
        cpu_ms=300.0,
        peak_rss_mb=120.0,
        written_bytes=23e6,
        photo_bytes=23e6,
        limit_ms=100.0,
        valid=False,
        why="the machine slowed by 18 % in mid-run; run again",
    )
    text = summary(Run(header=header, results=(result,), absent=(Absent(system="olive", why="not installed"),)))
    row = next(line for line in text.splitlines() if line.startswith("item"))
    assert row.split()[2:] == ["171.0", "171.0", "-", "-", "1.71", "x", "300.0", "120", "23.0", "MB", "INVALID"]
    assert "slowed by 18 %" in text
    assert "absent olive: not installed" in text
