"""What is counted, that counting is cheap and safe, and that Prometheus can read the page."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_agent.agent import Watch, build
from edge_agent.home import Home
from edge_agent.metrics import (
    ACKED,
    CONTENT_TYPE,
    COUNTERS,
    ERRORS,
    GAUGES,
    LATENCIES,
    REJECTED,
    RESCANS,
    SCANS,
    SCORES,
    UNTIL_STORED,
    UPLOAD,
    Metrics,
    prometheus_text,
    score_bin,
    series,
)
from runtime.contracts.records import Prediction, Record
from tests.edge_agent.desk.rigs import running
from tests.edge_agent.rigs import drop, make_record

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (-?[0-9.e+-]+|\+Inf|NaN)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')
SUFFIXES = {"summary": ("", "_sum", "_count"), "histogram": ("_bucket", "_sum", "_count")}


def scanned(p: float | None, release: int = 1, until_us: int = 1000) -> Record:
    record = make_record(1)
    return replace(
        record,
        prediction=Prediction(p_counterfeit=p, p_fraud=None),
        model=replace(record.model, release=release),
        timings_us={"until_decided": until_us // 2, "until_stored": until_us},
    )


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the text format by its rules (0.0.4), strictly, and return each sample."""
    assert text.endswith("\n")
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, says = line.removeprefix("# HELP ").split(" ", 1)
            assert name not in helped and says
            helped.add(name)
            continue
        if line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert name in helped and name not in kinds
            kinds[name] = kind
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        family = list(kinds)[-1]  # samples stand below their family's TYPE
        assert match[1] in [family + suffix for suffix in SUFFIXES.get(kinds[family], ("",))], line
        key = (match[1], frozenset(LABEL.findall(match[2] or "")))
        assert key not in samples, line
        samples[key] = float(match[3])
    return samples


def labels(**pairs: str) -> frozenset[tuple[str, str]]:
    return frozenset(pairs.items())


def test_the_page_says_all_that_was_counted() -> None:
    metrics = Metrics(lambda: {"touchstone_pending_records": 7.0, "touchstone_free_bytes": 1.5e9})
    for p in (0.0, 0.05, 0.051, 1.0, None):
        metrics.scanned(scanned(p, release=3, until_us=250_000))
    metrics.count(ERRORS, "uplink", "try_later")
    metrics.count(ERRORS, "uplink", "try_later")
    metrics.count(ACKED)
    found = parsed(prometheus_text(metrics))
    assert found["touchstone_scans_total", labels(verdict="uncertain")] == 5
    assert found["touchstone_errors_total", labels(loop="uplink", family="try_later")] == 2
    assert found["touchstone_records_acked_total", labels()] == 1
    assert found["touchstone_rescans_total", labels()] == 0
    assert found["touchstone_pending_records", labels()] == 7
    assert found["touchstone_free_bytes", labels()] == 1.5e9
    assert found["touchstone_start_time_seconds", labels()] == pytest.approx(time.time(), abs=60)
    assert found["touchstone_until_stored_seconds", labels(quantile="0.99")] == pytest.approx(0.25, rel=0.02)
    assert found["touchstone_until_stored_seconds_sum", labels()] == pytest.approx(1.25)
    assert found["touchstone_until_decided_seconds_count", labels()] == 5
    assert found["touchstone_upload_seconds_count", labels()] == 0
    score = {"release": "3", "score": "p_counterfeit"}
    buckets = {key: value for key, value in found.items() if key[0] == "touchstone_score_bucket"}
    assert len(buckets) == 21
    for upper, count in (("0.05", 2), ("0.1", 3), ("0.95", 3), ("1", 4), ("+Inf", 4)):
        assert buckets["touchstone_score_bucket", labels(le=upper, **score)] == count
    assert found["touchstone_score_count", labels(**score)] == 4
    assert found["touchstone_score_sum", labels(**score)] == pytest.approx(1.101)


def test_a_label_may_hold_anything() -> None:
    metrics = Metrics()
    metrics.count(ERRORS, 'a "loop"\\', "two\nlines")
    assert series(ERRORS, ('a "loop"\\', "two\nlines")) in prometheus_text(metrics)
    found = parsed(prometheus_text(metrics))
    assert found["touchstone_errors_total", labels(loop=r"a \"loop\"\\", family=r"two\nlines")] == 1


def test_a_fresh_station_shows_a_page_that_parses() -> None:
    assert parsed(prometheus_text(Metrics()))["touchstone_records_parked_total", labels()] == 0


def test_names_carry_their_units_and_counters_their_suffix() -> None:
    assert all(family.name.endswith("_total") for family in COUNTERS)
    assert all(family.name.endswith("_seconds") for family in LATENCIES)
    units = ("_seconds", "_bytes", "_records", "_cases", "_release")
    assert all(family.name.endswith(units) for family in GAUGES)
    every = (*COUNTERS, *GAUGES, *LATENCIES, SCORES)
    assert len({family.name for family in every}) == len(every)
    assert all(family.says.endswith(".") for family in every)


@pytest.mark.parametrize(("p", "number"), [(0.0, 0), (0.05, 0), (0.0500001, 1), (0.5, 9), (0.9500001, 19), (1.0, 19)])
def test_a_score_lies_in_the_bin_whose_upper_end_it_does_not_exceed(p: float, number: int) -> None:
    assert score_bin(p) == number


def test_only_the_latest_releases_keep_their_scores() -> None:
    metrics = Metrics()
    for release in (1, 2, 3, 4, 5, 5):
        metrics.scanned(scanned(0.5, release=release))
    assert [release for release, _ in metrics.snapshot().bins] == [2, 3, 4, 5]
    assert metrics.snapshot().bins[5, "p_counterfeit"][9] == 2
    assert metrics.snapshot().score_sums.keys() == metrics.snapshot().bins.keys()


def test_threads_that_count_at_once_lose_nothing() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(3000):
            metrics.count(SCANS, "authentic")
            metrics.observe(UPLOAD, 1000)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = metrics.snapshot()
    assert taken.counts[SCANS.name, ("authentic",)] == 24_000
    assert sum(taken.sketches[UPLOAD.name].values()) == 24_000


def test_an_event_costs_less_than_five_microseconds() -> None:
    metrics = Metrics()

    def us_an_event(event: Callable[[], None]) -> float:
        started_ns = time.perf_counter_ns()
        for _ in range(2000):
            event()
        return (time.perf_counter_ns() - started_ns) / 2000 / 1000

    for event in (lambda: metrics.count(ERRORS, "uplink", "try_later"), lambda: metrics.observe(UNTIL_STORED, 123_456)):
        assert min(us_an_event(event) for _ in range(9)) < 5


def test_the_inbox_counts_scans_rescans_and_rejects(home_with_model: Home, photo_of: Callable[..., bytes]) -> None:
    parts = build(home_with_model, threading.Event())
    parts.slot.restore(None)
    watch = Watch(parts, on_record=lambda: None)
    drop(home_with_model, "good", logo=photo_of(20), stitching=photo_of(20, seed=1))
    drop(home_with_model, "suspect", logo=photo_of(220), stitching=photo_of(220, seed=1))
    drop(home_with_model, "torn", logo=photo_of(20)[:300])
    while not watch.is_empty():
        watch.step()
    drop(home_with_model, "good", logo=photo_of(20), stitching=photo_of(20, seed=1))
    watch.step()
    taken = parts.metrics.snapshot()
    assert {name[1][0]: count for name, count in taken.counts.items() if name[0] == SCANS.name} == {
        "authentic": 1,
        "suspect": 1,
    }
    assert (taken.counts[RESCANS.name, ()], taken.counts[REJECTED.name, ()]) == (1, 1)
    assert sum(taken.sketches[UNTIL_STORED.name].values()) == 2
    assert sum(taken.bins[1, "p_counterfeit"]) == 2
    gauges = parts.metrics.gauges()
    assert (gauges["touchstone_pending_records"], gauges["touchstone_waiting_cases"]) == (2, 1)
    assert gauges["touchstone_model_release"] == 1
    assert gauges["touchstone_resident_bytes"] > 1e7
    assert set(gauges) == {family.name for family in GAUGES}
    parts.outbox.close()
    left = parts.metrics.gauges()
    assert "touchstone_free_bytes" in left
    assert parsed(prometheus_text(parts.metrics))


def test_the_running_station_shows_its_page_and_counts_photos_to_be_taken_again(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    dark = cv2.imencode(".jpg", np.full((96, 128, 3), 5, np.uint8))[1].tobytes()
    with running(home_with_model) as (desk, daemon):
        session_id = desk.begin("bag")
        assert not desk.put(session_id, "logo", dark)["kept"]
        desk.put(session_id, "logo", photo_of(140))
        assert desk.finish(session_id).status == 200
        answer = desk.ask("GET", "/metrics")
        found = parsed(answer.body.decode())
        assert [one["source"] for one in daemon.events("decided")] == ["desk"]
    assert answer.headers["content-type"].replace(" ", "") == CONTENT_TYPE.replace(" ", "")
    assert found["touchstone_photos_refused_total", labels(code="too_dark")] == 1
    assert found["touchstone_scans_total", labels(verdict="uncertain")] == 1
    assert found["touchstone_until_stored_seconds_count", labels()] == 1
