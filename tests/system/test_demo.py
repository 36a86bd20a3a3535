"""The whole story as a user plays it: on real photos to its end, and cut off in the middle."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.config import Config

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def start_demo(work: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.demo", "--work", str(work), *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_naming(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_the_story_plays_on_real_photos_to_its_end(tmp_path: Path, banknotes: Path) -> None:
    demo = start_demo(tmp_path / "out", "--data", banknotes)
    printed, _ = demo.communicate(timeout=900)
    assert demo.returncode == 0, printed[-3000:]
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["latency_ratio_int8_to_float"] < 1.0
    assert min(figures["auc"]) > 0.9
    assert "7.6%" in printed, "38 counterfeits prove 7.6 % at best"
    assert "colour statistics alone reach AUC" in printed
    assert "none dropped" in printed
    report = (tmp_path / "out" / "report.html").read_text()
    assert report.count("<svg") == 4
    assert "http://" not in report.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert processes_naming(tmp_path) == []
    settings = tomllib.loads((tmp_path / "out" / "station" / "agent.toml").read_text())
    assert f"http://127.0.0.1:{settings['desk_port']}/" in (tmp_path / "out" / "logs" / "agent.log").read_text()
    assert settings["desk_port"] != Config().desk_port
    with closing(sqlite3.connect(tmp_path / "out" / "station" / "station.db")) as db:
        bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM record")]
    assert "same_photo" not in {reason["code"] for body in bodies for reason in body["reasons"]}


@pytest.mark.parametrize("step", ["finetune 1", "scan with a server", "build 2"])
def test_an_interrupt_at_any_step_leaves_no_process(tmp_path: Path, banknotes: Path, step: str) -> None:
    with start_demo(tmp_path / "out", "--data", banknotes) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if step in line:
                break
        time.sleep(0.5)
        os.kill(demo.pid, signal.SIGINT)
        rest = demo.stdout.read()
        assert demo.wait(timeout=60) == 130, rest
    assert "Traceback" not in rest
    assert rest.strip().splitlines()[-1] == "demo: interrupted; nothing half done was left behind"
    deadline = time.monotonic() + 10
    while processes_naming(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_naming(tmp_path) == []


def test_a_folder_that_no_demo_made_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    demo = start_demo(tmp_path / "precious")
    printed, _ = demo.communicate(timeout=60)
    assert demo.returncode == 2, printed
    assert "no demo made it" in printed
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"
