from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.contracts import command
from runtime.contracts.command import Progress, StepProgress, run_command
from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Unsupported, Untrusted

REPOSITORY = Path(command.__file__).parents[2]


def a_parser(run: Callable[[argparse.Namespace], int | None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="touchstone-x")
    parser.add_argument("--n", type=int, default=0)
    parser.set_defaults(command=run)
    return parser


def raising(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def run(options: argparse.Namespace) -> None:
        raise error

    return run


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_says_how_it_ended(returned: int | None, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(a_parser(lambda options: returned), []) == code
    assert capsys.readouterr() == ("", "")


def test_a_command_gets_its_options() -> None:
    assert run_command(a_parser(lambda options: options.n), ["--n", "7"]) == 7


@pytest.mark.parametrize("family", [TouchstoneError, TryLater, Untrusted, Unsupported, StationFault])
def test_a_mistake_is_one_line_and_exit_code_2(
    family: type[TouchstoneError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(a_parser(raising(family("photo a.jpg:\n  it is\tempty"))), []) == 2
    assert capsys.readouterr() == ("", "touchstone-x: photo a.jpg: it is empty\n")


def test_what_the_disk_refuses_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: argparse.Namespace) -> None:
        (tmp_path / "no" / "file").read_bytes()

    assert run_command(a_parser(run), []) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("touchstone-x: ")
    assert "No such file or directory (errno 2); check the path" in err
    assert err.count("\n") == 1


def test_an_interrupt_is_one_line_and_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(a_parser(raising(KeyboardInterrupt())), []) == 130
    assert capsys.readouterr().err == "touchstone-x: interrupted; nothing half done was left behind\n"


def test_a_programming_mistake_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="ours"):
        run_command(a_parser(raising(ValueError("ours"))), [])


def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    program = (
        "import argparse, sys\n"
        "from runtime.contracts.command import run_command\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.set_defaults(command=lambda options: [print('x' * 1000) for _ in range(10_000)] and None)\n"
        "sys.exit(run_command(parser, []))\n"
    )
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=write, stderr=subprocess.PIPE
    ) as process:
        os.close(write)
        os.read(read, 10)
        os.close(read)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def shown(stream: io.StringIO, seconds_each: float, total: int = 40) -> str:
    clock = Clock()
    progress = Progress("score", stream, clock)
    for done in range(1, total + 1):
        clock.now_s += seconds_each
        progress(done, total)
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_work_of_less_than_two_seconds_shows_nothing(stream: type[io.StringIO]) -> None:
    assert shown(stream(), 1.9 / 40) == ""


def test_elsewhere_than_on_a_terminal_every_tenth_is_a_line() -> None:
    lines = shown(io.StringIO(), 0.5).splitlines()
    assert lines[0] == "score: 4/40, 18 s left"
    assert lines[-1] == "score: 40/40, 0 s left"
    assert len(lines) == 10


def test_on_a_terminal_one_bar_grows_and_is_finished_with_a_line_feed() -> None:
    text = shown(Terminal(), 0.5)
    drawn = text.split("\r")[1:]
    assert len(drawn) == 37  # from the second second on
    assert drawn[16] == "[###############...............] score: 20/40, 10 s left\x1b[K"
    assert drawn[-1] == "[" + "#" * 30 + "] score: 40/40, 0 s left\x1b[K\n"
    assert text.count("\n") == 1


def test_each_step_counts_for_itself() -> None:
    stream = io.StringIO()
    steps = StepProgress(stream)
    steps("calibrate", 1, 2)
    steps("score", 2, 2)
    assert stream.getvalue() == ""
