"""The sketch keeps its promise on values of any size, and two sketches make one."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contracts.sketch import ERROR, GAMMA, LAST_BUCKET, bucket_of, collapsed, quantile

VALUES = st.lists(st.integers(1, 25_000_000_000), min_size=1, max_size=300)


def sketch(values: list[int]) -> Counter[int]:
    return Counter(map(bucket_of, values))


@given(VALUES, st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_off_by_two_percent_at_most(values: list[int], share: float) -> None:
    true = sorted(values)[math.floor(share * (len(values) - 1))]
    assert quantile(sketch(values), share) == pytest.approx(true, rel=ERROR + 1e-9)


@given(VALUES, VALUES)
def test_two_sketches_merge_by_adding(some: list[int], others: list[int]) -> None:
    assert sketch(some) + sketch(others) == sketch(some + others)


def test_a_bucket_holds_its_upper_end_and_the_ends_are_bounded() -> None:
    assert [bucket_of(value) for value in (0, 0.5, 1)] == [0, 0, 0]
    assert bucket_of(1.001) == 1
    assert bucket_of(GAMMA**7 * 0.9999) == 7
    assert bucket_of(1e300) == LAST_BUCKET
    assert bucket_of(2.5e10) < LAST_BUCKET


@given(VALUES, st.integers(1, 20))
def test_a_collapsed_sketch_keeps_its_count_its_size_and_its_top(values: list[int], most: int) -> None:
    whole = sketch(values)
    small = collapsed(whole, most)
    assert (sum(small.values()), len(small)) == (len(values), min(most, len(whole)))
    assert quantile(small, 1.0) == quantile(whole, 1.0)


def test_an_empty_sketch_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert collapsed({}, 5) == {}
