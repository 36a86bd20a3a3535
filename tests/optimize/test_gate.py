from __future__ import annotations

import dataclasses

import pytest

from optimize.gate import MAX_MORE_REVIEW, Facts, prefer, refusals
from optimize.quantize import Coverage

FLOAT = Facts(
    name="float", integer=False, coverage=Coverage(integer=0, floating=49), lacks_vnni=False, certified=True,
    genuine_review=0.10,
)  # fmt: skip
INT8 = Facts(
    name="int8", integer=True, coverage=Coverage(integer=49, floating=0), lacks_vnni=False, certified=True,
    genuine_review=0.11,
)  # fmt: skip


def test_a_fused_network_on_a_cpu_that_can_is_admitted() -> None:
    assert refusals(INT8) == []
    assert refusals(FLOAT) == []


def test_a_quantised_network_that_runs_in_float_is_refused_with_its_numbers() -> None:
    (reason,) = refusals(dataclasses.replace(INT8, coverage=Coverage(integer=40, floating=9)))
    assert reason.startswith("fusion: only 40 of 49 kernels run in integers")
    assert refusals(dataclasses.replace(INT8, coverage=Coverage(integer=0, floating=0)))


def test_a_cpu_whose_int8_sums_saturate_admits_no_int8() -> None:
    (reason,) = refusals(dataclasses.replace(INT8, lacks_vnni=True))
    assert "no VNNI" in reason
    assert refusals(dataclasses.replace(FLOAT, lacks_vnni=True)) == []


def test_a_faster_network_that_reviews_hardly_more_is_preferred() -> None:
    wins, reason = prefer(FLOAT, INT8, 0.5)
    assert wins
    assert reason.startswith("int8 takes 0.50 times as long as float")


@pytest.mark.parametrize(
    ("change", "ratio", "reason"),
    [
        ({"certified": False}, 0.5, "int8 does not hold the budget, float does"),
        ({}, 1.0, "int8 takes 1.00 times as long"),
        ({}, 1.7, "int8 takes 1.70 times as long"),
        ({"genuine_review": 0.101 + MAX_MORE_REVIEW}, 0.5, "int8 sends 15.1% of genuine items to review, float 10.0%"),
    ],
)
def test_float_stays_preferred_with_a_reason(change: dict[str, bool | float], ratio: float, reason: str) -> None:
    wins, text = prefer(FLOAT, dataclasses.replace(INT8, **change), ratio)  # type: ignore[arg-type]
    assert not wins
    assert text == f"keep float: {reason}"


def test_where_neither_holds_the_budget_the_faster_one_wins() -> None:
    neither = [dataclasses.replace(facts, certified=False) for facts in (FLOAT, INT8)]
    assert prefer(neither[0], neither[1], 0.5)[0]
