"""The log: lines of JSON, and never a reason for anything to fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from edge_agent.agent import Watch, build
from edge_agent.home import Home
from edge_agent.journal import note
from tests.edge_agent.rigs import REPOSITORY, drop


def test_a_line_holds_the_time_the_event_and_the_facts_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    note("x", b="half a pair: \udcff", a=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert list(json.loads(line)) == ["at", "event", "b", "a"]


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2> >(exec true)"], ids=["full", "closed", "pipe"])
def test_lines_that_cannot_be_written_are_dropped_and_the_program_goes_on(stderr: str) -> None:
    program = "from edge_agent.journal import note; [note('x', n=n) for n in range(5000)]; print('done')"
    shell = ["bash", "-c", f'"$0" -c "$1" {stderr}', sys.executable, program]
    done = subprocess.run(shell, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_decision_is_one_line_with_what_the_person_on_call_needs(
    home_with_model: Home, photo_of: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    parts = build(home_with_model, threading.Event())
    parts.slot.restore(None)
    watch = Watch(parts, on_record=lambda: None)
    for _ in range(2):
        drop(home_with_model, "bag", logo=photo_of(140), stitching=photo_of(140, seed=1))
        watch.step()
    parts.outbox.close()
    first, again = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["item_id"], first["verdict"]) == ("decided", "bag", "uncertain")
    assert (first["reasons"], first["p_fraud"]) == ("photos_unclear", None)
    assert first["p_counterfeit"] == round(first["p_counterfeit"], 4)
    assert 0.2 < first["p_counterfeit"] < 0.9
    assert (first["release"], first["variant"], first["photos"]) == (1, "ort-cpu-float32", 2)
    assert (first["source"], first["again"], again["again"]) == ("inbox", False, True)
    timed = {name for name in first if name.endswith("_us")}
    assert timed == {"scan_us", "decode_us", "infer_us", "decide_us", "until_decided_us", "until_stored_us"}
    assert first["until_decided_us"] <= first["until_stored_us"] <= first["scan_us"]
    assert {name for name in again if name.endswith("_us")} == {"scan_us"}, "the other times were the first scan's"
