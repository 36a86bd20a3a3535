"""Interleaving and the interval of a ratio; no test here measures a machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimize.timing import WARM_UP, interleaved_us, ratio_interval


def test_networks_take_turns_and_the_first_rounds_count_for_nothing() -> None:
    calls: list[str] = []

    def run(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    taken = interleaved_us([run("a"), run("b"), run("c")], rounds=7)
    assert calls == ["a", "b", "c"] * (WARM_UP + 7)
    assert taken.shape == (3, 7)
    assert (taken >= 0).all()


def test_times_are_microseconds_of_the_call_alone() -> None:
    taken = interleaved_us([lambda: time.sleep(0.003), lambda: None], rounds=5)
    assert taken[0].min() >= 3000
    assert np.median(taken[1]) < 1000


def test_a_ratio_is_that_of_the_medians() -> None:
    a, b = np.array([1.0, 2, 3, 100]), np.array([10.0, 20, 30, 40])
    ratio, low, high = ratio_interval(a, b)
    assert ratio == 2.5 / 25
    assert low <= ratio <= high


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_a_machine_that_slows_down_slows_both_and_the_ratio_stays(factor: float, seed: int) -> None:
    drift = np.linspace(1.0, 3.0, 40) * np.random.default_rng(seed).uniform(0.9, 1.1, 40)
    ratio, low, high = ratio_interval(factor * drift, drift)
    assert (ratio, low, high) == pytest.approx((factor, factor, factor))


def test_the_same_times_give_the_same_interval_and_another_seed_another() -> None:
    a, b = np.random.default_rng(0).gamma(5, 1, (2, 80))
    assert ratio_interval(a, b) == ratio_interval(a, b)
    assert ratio_interval(a, b) != ratio_interval(a, b, seed=8)


def test_two_networks_of_the_same_speed_are_rarely_told_apart() -> None:
    random = np.random.default_rng(1)
    found = [ratio_interval(*random.gamma(20, 50, (2, 80))) for _ in range(150)]
    apart = np.mean([low > 1.0 or high < 1.0 for _, low, high in found])
    assert apart < 0.12  # 5 % by the method, and its own error with 80 rounds


def test_a_network_that_is_a_fifth_slower_is_told_apart_nearly_always() -> None:
    random = np.random.default_rng(2)
    found = [ratio_interval(1.2 * random.gamma(50, 20, 80), random.gamma(50, 20, 80)) for _ in range(60)]
    assert np.mean([low > 1.0 for _, low, _ in found]) > 0.9
