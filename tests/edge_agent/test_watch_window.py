"""The watch window: exact tests, a false-alarm rate that holds, and a bad release that is found."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.watch_window import (
    FALSE_ALARMS,
    LEAST_SCANS,
    MOST_FAULTS,
    Before,
    Judgement,
    Seen,
    before_of,
    judge,
    seen_of,
    tail,
)
from runtime.contracts.records import Reason
from tests.edge_agent.rigs import make_record


def scans(count: int, *, unsure: int = 0, look_us: int = 1000) -> list[Seen]:
    """So many scans, those that were not confirmed spread evenly among them."""
    return [
        Seen(unsure=number * unsure // count != (number + 1) * unsure // count, look_us=look_us)
        for number in range(count)
    ]


def judged(before: list[Seen], seen: list[Seen], *, faults: int = 0, wanted: int = 50, hours: float = 0.5) -> Judgement:
    return judge(before_of(before), seen, faults, scans=wanted, hours=24.0, elapsed_hours=hours)


@pytest.mark.parametrize(
    ("before", "seen", "state"),
    [
        (scans(500, unsure=100), scans(9), "goes on"),
        (scans(500, unsure=100), scans(50, unsure=10), "passed"),
        (scans(500, unsure=100), scans(50, unsure=50), "failed"),
        (scans(500, unsure=100), scans(10, unsure=10), "failed"),
        (scans(500, unsure=500), scans(50, unsure=50), "passed"),
        (scans(500, unsure=500), scans(50, unsure=0), "passed"),
        (scans(0), scans(50, unsure=50), "passed"),
        (scans(3), scans(50, unsure=50), "failed"),
        (scans(500), scans(50, look_us=1499), "passed"),
        (scans(500), scans(50, look_us=1501), "failed"),
        (scans(500), scans(49) + scans(1, look_us=10**6), "passed"),
    ],
)
def test_a_release_is_judged_by_its_scans_and_those_before(before: list[Seen], seen: list[Seen], state: str) -> None:
    assert judged(before, seen).state == state


def test_a_failure_says_the_figures() -> None:
    assert judged(scans(100, unsure=5), scans(50, unsure=50)).text == (
        "10 of 10 items were not confirmed; before it were 5 of 100"
    )
    assert judged(scans(100), scans(50, look_us=9000)).text == (
        "10 of 10 scans took longer than 2 ms a photo, 1.5 times the 99th percentile before"
    )


@pytest.mark.parametrize(("faults", "state"), [(MOST_FAULTS, "goes on"), (MOST_FAULTS + 1, "failed")])
def test_an_engine_that_fails_again_and_again_ends_the_window(faults: int, state: str) -> None:
    assert judged(scans(100), scans(3), faults=faults).state == state


def test_time_ends_a_window_only_after_a_few_scans() -> None:
    assert judged(scans(100), scans(LEAST_SCANS - 1), hours=900.0).state == "goes on"
    assert judged(scans(100), scans(LEAST_SCANS), hours=24.0).state == "passed"
    assert judged(scans(100), scans(LEAST_SCANS), hours=-8760.0).state == "goes on", "a clock that was set back"
    assert judged(scans(100), scans(13, unsure=13), hours=24.0, wanted=1000).state == "failed"
    assert judged(scans(100), scans(3), hours=24.0, wanted=3).state == "passed"


def test_what_comes_after_the_window_does_not_count() -> None:
    assert judged(scans(100), [*scans(50), *reversed(scans(50, unsure=50))]).state == "passed"


def test_a_judgement_stays_whatever_comes_later() -> None:
    seen = scans(10, unsure=10)
    assert judged(scans(100), seen).state == "failed"
    assert judged(scans(100), seen + scans(40)).state == "failed"


def test_a_release_that_is_no_worse_is_taken_back_in_no_more_windows_than_stated() -> None:
    choose = random.Random(7)
    windows, alarms = 3000, 0
    for _ in range(windows):
        rate, many = choose.choice([0.02, 0.2, 0.5, 0.9]), choose.choice([20, 100, 500])
        draw = [
            Seen(unsure=choose.random() < rate, look_us=round(choose.lognormvariate(7, 0.8))) for _ in range(many + 50)
        ]
        alarms += judged(draw[:many], draw[many:]).state == "failed"
    # Three standard deviations above the stated rate would be chance no more.
    assert alarms <= windows * FALSE_ALARMS + 3 * math.sqrt(windows * FALSE_ALARMS)


def test_a_release_that_confirms_half_as_much_is_mostly_found() -> None:
    choose = random.Random(8)
    found = 0
    for _ in range(200):
        before = [Seen(unsure=choose.random() < 0.2, look_us=1000) for _ in range(500)]
        seen = [Seen(unsure=choose.random() < 0.6, look_us=1000) for _ in range(50)]
        found += judged(before, seen).state == "failed"
    assert found >= 190


@settings(deadline=None)
@given(st.data())
def test_the_tail_is_a_chance_and_counts_every_hand_once(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 40))
    marked = data.draw(st.integers(0, total))
    draws = data.draw(st.integers(0, total))
    tails = [tail(total, marked, draws, at_least) for at_least in range(draws + 2)]
    assert tails[0] == pytest.approx(1.0)
    assert tails == sorted(tails, reverse=True)
    assert tails[-1] == 0.0


def test_the_tail_is_fishers() -> None:
    assert tail(8, 4, 4, 3) == pytest.approx(17 / 70)  # the lady tasting tea, R. A. Fisher 1935
    assert tail(8, 4, 4, 4) == pytest.approx(1 / 70)


def test_a_missing_photo_or_listing_is_not_the_models_doing() -> None:
    record = make_record(1, photos=("0" * 64, "1" * 64))
    reasons = {code: Reason(code=code, text="") for code in ("missing_view", "listing_missing", "photos_unclear")}
    assert not seen_of(replace(record, reasons=(reasons["missing_view"], reasons["listing_missing"]))).unsure
    assert seen_of(replace(record, reasons=(reasons["missing_view"], reasons["photos_unclear"]))).unsure
    assert not seen_of(replace(record, verdict="authentic")).unsure
    timings_us = {"decode": 5, "infer": 3, "decide": 2, "until_stored": 99}
    assert seen_of(replace(record, timings_us=timings_us)) == Seen(unsure=False, look_us=5)


def test_nothing_before_is_nothing_to_compare_with() -> None:
    assert before_of([]) == Before(scans=0, unsure=0, slow_us=0)
