"""The checker: each way to lose, double or forget a case is noticed, and a good station is not accused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.faults.invariants import (
    Decision,
    Kept,
    Stand,
    broken,
    broken_at_server,
    broken_words,
    crashes,
    decisions,
)

CASE = Kept(item_id="bag", record_id="0123456789abcdef", state="acked", is_case=True, is_whole=True)
GOOD = Stand(waiting=(), rejected=("torn",), records=(CASE,), recorded=1)


def test_a_station_that_has_drained_is_not_accused() -> None:
    assert GOOD.is_drained
    assert broken(["bag"], GOOD, rejected=["torn"], drained=True) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"records": (), "recorded": 0}, "bag: lost, neither recorded nor waiting"),
        ({"records": (CASE, CASE), "recorded": 2}, "bag: recorded 2 times"),
        ({"recorded": 2}, "recorded 2 is not acked + pending 1"),
        ({"records": (replace(CASE, state="pending"),)}, "bag: pending, not acked"),
        ({"records": (replace(CASE, is_whole=False),)}, "bag: a case without its photos"),
        ({"waiting": ("bag",)}, "bag: still waits in the inbox"),
        ({"rejected": ("torn", "bag")}, "bag: rejected"),
        ({"rejected": ()}, "torn: neither rejected nor waiting"),
        ({"records": (CASE, replace(CASE, item_id="shoe")), "recorded": 2}, "shoe: recorded, but nobody put it in"),
    ],
)
def test_what_broke_is_named(changes: dict[str, object], says: str) -> None:
    assert broken(["bag"], replace(GOOD, **changes), rejected=["torn"], drained=True) == [says]  # type: ignore[arg-type]


def test_while_it_works_an_item_may_wait_or_be_pending() -> None:
    stand = replace(GOOD, waiting=("shoe",), records=(replace(CASE, state="leased"),))
    assert broken(["bag", "shoe"], stand, rejected=["torn"], drained=False) == []


@pytest.mark.parametrize(
    ("at_server", "says"),
    [({"bag": 1}, []), ({}, ["bag: acked, but not at the server"]), ({"bag": 2}, ["bag: 2 cases at the server"])],
)
def test_the_server_must_have_what_was_acked_once(at_server: dict[str, int], says: list[str]) -> None:
    assert broken_at_server([CASE], at_server) == says
    assert broken_at_server([replace(CASE, state="pending")], {}) == []


def test_a_verdict_that_was_shown_must_have_its_record() -> None:
    shown = Decision(item_id="bag", record_id=CASE.record_id[:12], again=False)
    says = ["bag: its verdict was shown, but its record was gone"]
    assert broken_words([shown], [replace(shown, again=True)], [CASE]) == []
    assert broken_words([shown], [], []) == says
    assert broken_words([shown], [shown], [CASE]) == says, "it was recorded anew"


def test_a_line_of_the_log_that_was_cut_off_counts_as_not_shown() -> None:
    line = json.dumps({"event": "decided", "item_id": "bag", "record_id": "0123", "again": False})
    log = f"ready in 5 ms\n{line}\n[]\n{line[:40]}"
    assert decisions(log) == (Decision(item_id="bag", record_id="0123", again=False),)


def test_what_the_agent_did_not_foresee_is_found_in_its_log() -> None:
    crash = json.dumps({"event": "crashed", "loop": "watch", "why": "KeyError: 1", "where": "agent.py"})
    assert crashes(crash) == ["a loop crashed: KeyError: 1 (agent.py)"]
    assert crashes("Traceback (most recent call last):\n") == ["a traceback in the log"]
    assert crashes('{"event": "acked"}') == []
