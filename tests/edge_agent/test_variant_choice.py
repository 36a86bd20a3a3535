"""Which variant runs: what a station decides from what the variants showed, with no process and no file."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from edge_agent.variant_choice import Pick, Schedule, Tried, judge, rank, reasons_against


def ran(variant: str, each: float, together: float = 1e6) -> Tried:
    return Tried(variant=variant, why_not=None, latency_ms={"each": each, "together": together})


def failed(variant: str, why: str) -> Tried:
    return Tried(variant=variant, why_not=why)


def order(*tried: Tried, preferred: str, confirming: Collection[str] | None = None) -> list[tuple[str, Schedule]]:
    able = [one.variant for one in tried] if confirming is None else confirming
    return [(pick.variant, pick.schedule) for pick in rank(tried, preferred, able)]


def test_the_fastest_that_agrees_comes_first_and_the_others_follow_by_their_speed() -> None:
    tried = (ran("float", 30.0), ran("int8", 10.0), failed("bf16", "it disagrees"), ran("openvino", 20.0))
    assert order(*tried, preferred="float") == [("int8", "each"), ("openvino", "each"), ("float", "each")]


def test_each_variant_is_ranked_by_its_faster_schedule() -> None:
    tried = (ran("float", 30.0, 8.0), ran("int8", 10.0, 12.0))
    assert order(*tried, preferred="int8") == [("float", "together"), ("int8", "each")]


@pytest.mark.parametrize(("preferred_ms", "first"), [(10.29, "float"), (10.31, "int8"), (9.0, "float")])
def test_a_tie_within_three_percent_goes_to_the_preferred_variant(preferred_ms: float, first: str) -> None:
    assert order(ran("float", preferred_ms), ran("int8", 10.0), preferred="float")[0][0] == first


def test_a_tie_between_others_goes_to_the_faster() -> None:
    tried = (ran("float", 50.0), ran("int8", 10.1), ran("openvino", 10.0))
    assert [name for name, _ in order(*tried, preferred="float")] == ["openvino", "int8", "float"]


def test_a_variant_that_can_confirm_nothing_comes_after_all_that_can_however_fast() -> None:
    tried = (ran("float", 30.0), ran("int8", 1.0), ran("bf16", 40.0))
    expected = ["float", "bf16", "int8"]
    assert [name for name, _ in order(*tried, preferred="float", confirming=("float", "bf16"))] == expected
    assert [name for name, _ in order(*tried, preferred="int8", confirming=("float", "bf16"))] == expected
    assert [name for name, _ in order(*tried, preferred="int8", confirming=())] == ["int8", "float", "bf16"]


def test_where_nothing_agrees_nothing_may_run_and_every_reason_is_given() -> None:
    tried = (failed("float", "the trial was killed by signal 11"), failed("int8", "this CPU lacks avx_vnni"))
    assert order(*tried, preferred="float") == []
    assert reasons_against(tried) == "float: the trial was killed by signal 11; int8: this CPU lacks avx_vnni"
    assert reasons_against((*tried, ran("bf16", 1.0))) == reasons_against(tried)


@pytest.mark.parametrize(
    ("problem", "latency_ms", "why_not"),
    [
        (None, {"each": 90.0, "together": 120.0}, None),
        (None, {"each": 101.0, "together": 120.0}, "it needs 101 ms an item, at most 100"),
        (None, {"each": float("nan")}, "it needs nan ms an item, at most 100"),
        (None, {}, "the trial has not timed it"),
        ("golden sample 1: a", {}, "golden sample 1: a"),
        ("x" * 9000, {"each": 1.0}, "x" * 300),
    ],
)
def test_a_trial_is_judged_by_its_problems_and_its_faster_schedule(
    problem: str | None, latency_ms: dict[Schedule, float], why_not: str | None
) -> None:
    assert judge(Tried(variant="int8", why_not=problem, latency_ms=latency_ms), 100.0).why_not == why_not


def test_a_schedule_is_chosen_on_photos_of_a_cameras_size_and_a_variant_on_the_golden_ones() -> None:
    fast = Tried(
        variant="fast",
        why_not=None,
        latency_ms={"each": 5.0, "together": 3.0},
        camera_ms={"each": 200.0, "together": 250.0},
    )
    slow = Tried(
        variant="slow",
        why_not=None,
        latency_ms={"each": 6.0, "together": 7.0},
        camera_ms={"each": 190.0, "together": 180.0},
    )
    assert [(pick.variant, pick.schedule) for pick in rank([slow, fast], "slow", {"slow", "fast"})] == [
        ("fast", "each"),
        ("slow", "together"),
    ]


def test_a_pick_without_a_schedule_looks_at_each_photo_by_itself() -> None:
    assert Pick(variant="float").schedule == "each"
