"""Pull the plug on a build: killed, interrupted, or out of disk, it leaves no bundle, and the next one resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.optimize.rigs import REPOSITORY, Built, build


def finished(cache: Path) -> set[str]:
    """Names of the finished steps."""
    return {path.name for path in cache.iterdir() if not path.name.endswith(".tmp")} if cache.is_dir() else set()


def start(model: Path, data: Path, out: Path, cache: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "optimize.cli",
        "build",
        model,
        "--data",
        data,
        "--out",
        out,
        "--max-missed",
        "0.3",
    ]
    return subprocess.Popen(
        [*map(str, command), "--cache", str(cache)],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(cache: Path, step: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not any(name.startswith(step) for name in finished(cache)):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["samples-", "compile-"])
def test_a_killed_build_leaves_no_bundle_and_the_next_one_resumes(
    step: str, model: Path, goods_folder: Path, proved: Built, tmp_path: Path
) -> None:
    cache, out = tmp_path / "cache", tmp_path / "work" / "bundle"
    with start(model, goods_folder, out, cache) as process:
        wait_for(cache, step, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert not out.exists()
    kept = {name: (cache / name).stat().st_ino for name in finished(cache)}
    (tmp_path / "again").mkdir()
    again = build(model, goods_folder, tmp_path / "again", "--max-missed", 0.3, "--cache", cache)
    assert {name: (cache / name).stat().st_ino for name in kept} == kept  # nothing that was finished was made again
    shipped, expected = (
        {entry.path: entry.sha256 for entry in one.bundle.manifest.files if entry.path.startswith("variants/")}
        for one in (again, proved)
    )
    assert shipped == expected


def test_an_interrupted_build_says_so_and_leaves_nothing_but_its_cache(
    model: Path, goods_folder: Path, tmp_path: Path
) -> None:
    cache, out = tmp_path / "cache", tmp_path / "work" / "bundle"
    with start(model, goods_folder, out, cache) as process:
        wait_for(cache, "ranges-", process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "touchstone-optimize: interrupted; nothing half done was left behind"
    assert "Traceback" not in err
    assert list(out.parent.iterdir()) == []
    assert [path for path in cache.iterdir() if path.name.endswith(".tmp")] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this user may not mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_nothing_half_done_stays(
    model: Path, goods_folder: Path, small_disk: Path, tmp_path: Path
) -> None:
    with start(model, goods_folder, tmp_path / "bundle", small_disk / "cache") as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "No space left on device" in err.splitlines()[-1]
    assert "free some space there" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "bundle").exists()
    assert [path for path in (small_disk / "cache").iterdir() if path.name.endswith(".tmp")] == []
