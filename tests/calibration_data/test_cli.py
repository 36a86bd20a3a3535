"""``touchstone-data``: what a person at a terminal sees."""

from __future__ import annotations

import os
import shutil
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


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("cli") / "set", items=10, seed=7, photo_px=64)


@pytest.fixture
def small_set(generated: Path, tmp_path: Path) -> Path:
    return shutil.copytree(generated, tmp_path / "set")


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


def test_split_takes_other_shares(small_set: Path) -> None:
    assert cli.main(["split", str(small_set), "--seed", "3", "--share", "train=0.5", "--share", "field=0.5"]) == 0
    assert {item.split for item in load(small_set).items} == {"train", "field"}


def test_shares_that_do_not_sum_to_one_change_nothing(small_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (small_set / "items.csv").read_bytes()
    assert cli.main(["split", str(small_set), "--seed", "3", "--share", "train=0.5"]) == 2
    assert "sum to 0.5, expected 1" in capsys.readouterr().err
    assert (small_set / "items.csv").read_bytes() == before


@pytest.mark.parametrize("share", ["test=1", "train=-1", "train=nan", "train", "train=much"])
def test_a_share_that_is_none_is_refused(small_set: Path, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["split", str(small_set), "--seed", "3", "--share", share])
    assert stopped.value.code == 2
    assert "argument --share" in capsys.readouterr().err


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


@pytest.mark.parametrize("moment", ["LG-000600", "*/*.jpg"], ids=["workers are starting", "workers are at work"])
def test_an_interrupt_of_the_whole_terminal_is_one_line_and_leaves_nothing(tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-m", "calibration_data.cli", "generate", "--out", str(tmp_path / "set")]
    with subprocess.Popen(
        [*command, "--items", "600", "--workers", "2"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's shell ignores it
    ) as running:
        deadline_s = time.monotonic() + 60
        while not list(tmp_path.glob(f".set.*/photos/{moment}")) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        time.sleep(0.2)
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "touchstone-data: interrupted; nothing half done was left behind"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
