"""``touchstone-data``: what a person at a terminal sees."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calibration_data import cli
from calibration_data.dataset import load
from calibration_data.leather.generator import generate

REPOSITORY = Path(cli.__file__).parent.parent


@pytest.fixture
def small_set(tmp_path: Path) -> Path:
    return generate(tmp_path / "set", items=10, seed=7, photo_px=64)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["generate", "--help"], ["split", "--help"], ["check", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 0
        assert "touchstone-data" in capsys.readouterr().out


def test_generate_writes_a_set_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--items", "8", "--photo-px", "64", "--workers", "1", "--counterfeit-share", ".5"]
    assert cli.main(["generate", "--out", str(tmp_path / "set"), *arguments]) == 0
    assert capsys.readouterr().out == f"8 items in {tmp_path / 'set'}\n"
    assert len(load(tmp_path / "set").items) == 8


def test_split_writes_roles_and_prints_a_table(small_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["split", str(small_set), "--seed", "3"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["role", "genuine", "counterfeit"]
    assert [line.split()[0] for line in table[1:]] == ["train", "calibrate", "certify", "evaluate", "field"]
    items = load(small_set).items
    assert all(item.split is not None for item in items)
    assert sum(int(cell) for line in table[1:] for cell in line.split()[1:]) == len(items)


def test_a_second_split_moves_nobody(small_set: Path) -> None:
    assert cli.main(["split", str(small_set), "--seed", "3"]) == 0
    before = (small_set / "items.csv").read_bytes()
    assert cli.main(["split", str(small_set), "--seed", "4"]) == 0
    assert (small_set / "items.csv").read_bytes() == before


def test_split_by_time_puts_the_first_item_into_train_and_the_last_into_the_field(small_set: Path) -> None:
    assert cli.main(["split", str(small_set), "--seed", "3", "--by-time"]) == 0
    items = load(small_set).items
    assert (items[0].split, items[-1].split) == ("train", "field")


def test_check_counts_labels_views_splits_and_groups(small_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(small_set)]) == 0
    shown = capsys.readouterr().out
    assert "10 items, 30 photos" in shown
    assert "label: counterfeit " in shown
    assert "view (photos): hardware 10, logo 10, stitching 10" in shown
    assert "split: none 10" in shown
    assert "VALMORIS" in shown
    assert "price_ratio" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nowhere"], "is not a folder"),
        (["split", "nowhere", "--seed", "1"], "is not a folder"),
        (["generate", "--out", ".", "--items", "8"], "not an empty folder"),
        (["generate", "--out", "new", "--items", "8", "--difficulty", "7"], "difficulty is 7.0; expected 0 to 1"),
        (["generate", "--out", "file/new", "--items", "8"], "file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    assert cli.main(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith("touchstone-data: ") and line.count("\n") == 1
    assert words in line


def test_an_interrupt_of_the_whole_terminal_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "calibration_data.cli", "generate", "--out", str(tmp_path / "set")]
    with subprocess.Popen(
        [*command, "--items", "600", "--workers", "2"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        deadline_s = time.monotonic() + 20
        while not list(tmp_path.glob(".set.*/photos/*/*.jpg")) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert running.returncode == 130, err
    assert (out, err) == ("", "touchstone-data: interrupted; nothing was left behind\n")
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, seconds_per_item: float) -> str:
    now = [0.0]
    progress = cli._Progress(stream, lambda: now[0])
    for done in range(1, 41):
        now[0] += seconds_per_item
        progress(done, 40)
    return stream.getvalue()


def test_short_work_shows_no_progress() -> None:
    assert shown(io.StringIO(), 0.01) == ""
    assert shown(Terminal(), 0.01) == ""


def test_progress_elsewhere_is_a_line_every_tenth() -> None:
    lines = shown(io.StringIO(), 1.0).splitlines()
    assert lines[0] == "4/40 items, 36 s left"
    assert lines[-1] == "40/40 items, 0 s left"
    assert len(lines) == 10


def test_progress_on_a_terminal_is_one_bar() -> None:
    text = shown(Terminal(), 1.0)
    assert text.count("\n") == 1 and text.endswith("\n")
    assert "20/40 items, 20 s left" in text
    assert "[" + "#" * 30 + "] 40/40" in text
