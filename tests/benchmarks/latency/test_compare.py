"""Two runs of the suite: what is a regression, what is none, and what is never compared."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.latency.compare import compare
from benchmarks.latency.results import Result, Run
from runtime.contracts.codec import canonical_json
from runtime.contracts.errors import Unsupported
from tests.benchmarks.latency.run_rigs import DEVICE, LIMITS, header, result, run, whole_run

TOLERANCE = 0.1
LATENCIES = st.lists(st.floats(10, 17), min_size=1, max_size=80)
"""Milliseconds so close together that twice the least is more than any, even after the tolerance."""


def slowed(one: Result, factor: float) -> Result:
    return dataclasses.replace(one, latencies_ms=tuple(factor * ms for ms in one.latencies_ms))


@settings(max_examples=20, deadline=None)
@given(latencies=st.lists(st.floats(0.01, 1e4), min_size=1, max_size=80), tolerance=st.floats(0, 1))
def test_a_run_is_no_regression_of_itself(latencies: list[float], tolerance: float) -> None:
    same = run(result(latencies_ms=tuple(latencies)))
    assert not compare(same, same, tolerance).has_regression


@settings(max_examples=20, deadline=None)
@given(latencies=LATENCIES)
def test_twice_the_time_is_always_a_regression(latencies: list[float]) -> None:
    before = result(latencies_ms=tuple(latencies))
    found = compare(run(before), run(slowed(before, 2)), TOLERANCE)
    assert found.has_regression
    assert found.changes[0].median is not None
    assert found.changes[0].median.value == pytest.approx(2)
    assert compare(run(slowed(before, 2)), run(before), TOLERANCE).changes[0].state == "faster"


def test_only_a_lower_end_beyond_the_tolerance_is_a_regression() -> None:
    before = result(count=400)
    within, beyond = run(slowed(before, 1.05)), run(slowed(before, 1.2))
    assert not compare(run(before), within, TOLERANCE).has_regression
    assert compare(run(before), within, 0.0).has_regression
    assert compare(run(before), beyond, TOLERANCE).has_regression
    few = result(latencies_ms=(100.0, 300.0, 200.0))  # so few and so far apart prove nothing
    assert not compare(run(few), run(slowed(few, 1.2)), TOLERANCE).has_regression


def test_a_slower_tail_is_a_regression_though_the_median_stays() -> None:
    calm = result(count=2000)
    tail = np.array(calm.latencies_ms)
    tail[::30] *= 4
    found = compare(run(calm), run(dataclasses.replace(calm, latencies_ms=tuple(tail))), TOLERANCE)
    (change,) = found.changes
    assert change.median is not None
    assert change.median.low <= 1.05
    assert change.p99 is not None
    assert change.p99.low > 1 + TOLERANCE
    assert found.has_regression


def test_too_few_verdicts_say_nothing_of_the_p99() -> None:
    few, enough = result(count=661), result(count=662)
    assert compare(run(few), run(enough), TOLERANCE).changes[0].p99 is None
    assert compare(run(enough), run(enough), TOLERANCE).changes[0].p99 is not None


def test_the_interval_of_the_p99_is_that_of_drawn_resamples() -> None:
    random = np.random.default_rng(5)
    one = result(latencies_ms=tuple(random.lognormal(3, 0.5, 900)))
    other = result(latencies_ms=tuple(random.lognormal(3.1, 0.5, 1100)))
    ratio = compare(run(one), run(other), TOLERANCE).changes[0].p99
    assert ratio is not None

    def drawn(latencies: tuple[float, ...]) -> Any:
        resamples = random.choice(np.array(latencies), (3000, len(latencies)))
        return np.quantile(resamples, 0.99, axis=1, method="inverted_cdf")

    low, high = np.quantile(drawn(other.latencies_ms) / drawn(one.latencies_ms), (0.025, 0.975))
    assert ratio.low == pytest.approx(low, rel=0.05)
    assert ratio.high == pytest.approx(high, rel=0.05)


def test_cost_is_told_beside_and_judges_nothing() -> None:
    dearer = dataclasses.replace(result(), cpu_ms=520.0, peak_rss_mb=90.0)
    found = compare(run(result()), run(dearer), TOLERANCE)
    assert (found.changes[0].cpu, found.changes[0].memory) == (2.0, 0.5)
    assert not found.has_regression
    free = dataclasses.replace(result(), cpu_ms=0.0)
    assert compare(run(free), run(result()), TOLERANCE).changes[0].cpu is None


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"device": dataclasses.replace(DEVICE, cpu="another CPU")}, "invented CPU and another CPU"),
        ({"device": dataclasses.replace(DEVICE, cores=4)}, "cores 2 and 4"),
        ({"device": dataclasses.replace(DEVICE, memory_gb=16.0)}, "8 GB and 16 GB"),
        ({"suite": "full"}, "quick and full"),
        ({"photo_mb": 3.1}, "6 views of 6.50 MB and 6 of 3.10 MB"),
        ({"views": 2}, "6 views of 6.50 MB and 2 of 6.50 MB"),
    ],
)
def test_runs_of_different_devices_suites_or_photos_are_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        compare(run(), run(**changed), TOLERANCE)


def test_other_versions_another_day_and_another_load_may_be_compared() -> None:
    later = dataclasses.replace(DEVICE, versions={"onnxruntime": "1.33"}, date="2027-01-01", load_1min=0.9)
    assert compare(run(), run(device=later), TOLERANCE).changes[0].state == "no change shown"


def test_an_invalid_result_is_said_and_never_compared() -> None:
    bad = dataclasses.replace(slowed(result(), 9), valid=False, why="the machine slowed by 31 %")
    good = result("view_warm")
    found = compare(run(result(), good), run(bad, good), TOLERANCE)
    assert [change.state for change in found.changes] == ["not compared", "no change shown"]
    assert not found.has_regression
    assert "item, touchstone: not compared: INVALID after: the machine slowed by 31 %" in found.as_text()


def test_what_only_one_run_has_is_named() -> None:
    found = compare(run(result(), result("view_warm")), run(result(), result("steady")), TOLERANCE)
    assert [change.why for change in found.changes] == ["", "absent after", "absent before"]


def test_nothing_in_common_is_no_success() -> None:
    bad = dataclasses.replace(result(), valid=False, why="too warm")
    with pytest.raises(Unsupported, match="got none of 1; run 'touchstone-bench doctor'"):
        compare(run(), run(bad), TOLERANCE)
    with pytest.raises(Unsupported, match="got none of 0"):
        empty = Run(header=header(), results=(), absent=())
        compare(empty, empty, TOLERANCE)


def test_a_machine_that_was_slower_itself_is_named() -> None:
    slower = dataclasses.replace(LIMITS, entropy_decode_ms=60.0)
    found = compare(run(), run(limits=slower), TOLERANCE)
    assert "WARNING  entropy decoding alone took 1.50 times as long in the second run" in found.as_text()
    assert compare(run(), run(), TOLERANCE).machine == ()


def test_a_tolerance_below_zero_is_a_mistake_of_the_program() -> None:
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="tolerance"):
            compare(run(), run(), wrong)


def test_it_reads_as_text_and_as_json() -> None:
    whole = whole_run()
    worse = Run(header=whole.header, absent=(), results=tuple(slowed(one, 1.5) for one in whole.results))
    found = compare(whole, worse, TOLERANCE)
    text = found.as_text()
    assert " of 34 became slower beyond the tolerance" in text
    assert re.search(r"fraud_1, touchstone +0\.02\d+ -> 0\.03\d+ ", text)
    assert "fraud_1, olive: not compared: INVALID before" in text
    assert "item, naive" in text
    data = json.loads(canonical_json(found.as_data()))
    assert data["has_regression"] is True
    assert data["changes"][0]["median"]["value"] == pytest.approx(1.5)
