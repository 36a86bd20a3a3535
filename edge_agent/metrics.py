"""What a station counts: decisions, errors, how long and how sure. Aggregates only: never an item, a photo or a record.

An event costs a lock and an addition, so that scans may count. The text is ours rather than prometheus_client's: a page
of code against a dependency that would weigh on every station's memory and start.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from runtime.contracts.records import Record
from runtime.contracts.sketch import bucket_of, quantile
from runtime.contracts.sync import SCORE_BINS

Score = Literal["p_counterfeit", "p_fraud"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES = (0.5, 0.9, 0.99)
_KEPT_RELEASES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: its name with its unit, what it says, and the names of its labels."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


SCANS = Family(name="touchstone_scans_total", says="Items decided, by verdict.", labels=("verdict",))
RESCANS = Family(name="touchstone_rescans_total", says="Scans answered from the outbox: the same item and photos.")
REJECTED = Family(name="touchstone_items_rejected_total", says="Item folders moved to rejected/.")
PHOTOS_REFUSED = Family(
    name="touchstone_photos_refused_total", says="Photos that should be taken again, by reason code.", labels=("code",)
)
ACKED = Family(name="touchstone_records_acked_total", says="Records that the server has taken.")
PARKED = Family(name="touchstone_records_parked_total", says="Times that the server refused a record for good.")
ERRORS = Family(
    name="touchstone_errors_total", says="Failed steps, by loop and by what they ask for.", labels=("loop", "family")
)
UPDATES = Family(name="touchstone_updates_total", says="Looks for a release, by outcome.", labels=("outcome",))
COUNTERS = (SCANS, RESCANS, REJECTED, PHOTOS_REFUSED, ACKED, PARKED, ERRORS, UPDATES)

PENDING = Family(name="touchstone_pending_records", says="Records that the server has not taken yet.")
WAITING_CASES = Family(name="touchstone_waiting_cases", says="Those of them that an expert must see.")
FREE = Family(name="touchstone_free_bytes", says="Free disk space beside the photos.")
RESIDENT = Family(name="touchstone_resident_bytes", says="Memory of the agent's process.")
RELEASE = Family(name="touchstone_model_release", says="Release of the running model; 0: none.")
STARTED = Family(name="touchstone_start_time_seconds", says="When the agent started, seconds since 1970.")
GAUGES = (PENDING, WAITING_CASES, FREE, RESIDENT, RELEASE, STARTED)

UNTIL_DECIDED = Family(name="touchstone_until_decided_seconds", says="From the last photo to the decision.")
UNTIL_STORED = Family(name="touchstone_until_stored_seconds", says="From the last photo to the durable record.")
UPLOAD = Family(name="touchstone_upload_seconds", says="To bring one record and its photos to the server.")
LATENCIES = (UNTIL_DECIDED, UNTIL_STORED, UPLOAD)

SCORES = Family(
    name="touchstone_score", says="Probabilities that the model gave, by release.", labels=("release", "score")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that was counted by one moment.

    Attributes:
        counts: of each family's name and label values.
        sketches: of each latency's name: bucket to count, microseconds.
        sums_us: of each latency's name.
        bins: of each release and score.
        score_sums: of each release and score.
    """

    counts: Mapping[tuple[str, tuple[str, ...]], int]
    sketches: Mapping[str, Mapping[int, int]]
    sums_us: Mapping[str, int]
    bins: Mapping[tuple[int, Score], tuple[int, ...]]
    score_sums: Mapping[tuple[int, Score], float]


class Metrics:
    """What one process has counted since it started. Thread-safe."""

    def __init__(self, gauges: Callable[[], Mapping[str, float]] = dict) -> None:
        """Count nothing yet.

        Args:
            gauges: reads what stands at the moment of asking: a gauge's name to its value.
        """
        self.started_s = time.time()
        self._started_ns = time.monotonic_ns()
        self._gauges = gauges
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, tuple[str, ...]]] = Counter(
            {(family.name, ()): 0 for family in COUNTERS if not family.labels}
        )
        self._sketches: dict[str, Counter[int]] = {family.name: Counter() for family in LATENCIES}
        self._sums_us: Counter[str] = Counter()
        self._bins: dict[tuple[int, Score], list[int]] = {}
        self._score_sums: dict[tuple[int, Score], float] = {}

    def count(self, family: Family, *labels: str) -> None:
        """Count one event; ``labels`` are the values of the family's labels."""
        with self._lock:
            self._counts[family.name, labels] += 1

    def observe(self, family: Family, taken_us: int) -> None:
        """Count one latency."""
        bucket = bucket_of(taken_us)
        with self._lock:
            self._sketches[family.name][bucket] += 1
            self._sums_us[family.name] += taken_us

    def scanned(self, record: Record) -> None:
        """Count a new record: its verdict, its scores, and how long it took."""
        self.count(SCANS, record.verdict)
        self.observe(UNTIL_DECIDED, record.timings_us["until_decided"])
        self.observe(UNTIL_STORED, record.timings_us["until_stored"])
        self._score(record.model.release, "p_counterfeit", record.prediction.p_counterfeit)
        self._score(record.model.release, "p_fraud", record.prediction.p_fraud)

    def gauges(self) -> dict[str, float]:
        """Read what stands now; what cannot be read is left out."""
        return {STARTED.name: self.started_s, **self._gauges()}

    def uptime_s(self) -> float:
        """Return seconds since the start, by a clock that does not jump."""
        return (time.monotonic_ns() - self._started_ns) / 1e9

    def snapshot(self) -> Snapshot:
        """Return a copy of all counts, from one moment."""
        with self._lock:
            return Snapshot(
                counts=dict(self._counts),
                sketches={name: dict(sketch) for name, sketch in self._sketches.items()},
                sums_us=dict(self._sums_us),
                bins={key: tuple(bins) for key, bins in self._bins.items()},
                score_sums=dict(self._score_sums),
            )

    def _score(self, release: int, score: Score, p: float | None) -> None:
        if p is None:
            return
        key = (release, score)
        with self._lock:
            if key not in self._bins:
                self._bins[key], self._score_sums[key] = [0] * SCORE_BINS, 0.0
                self._forget_old_releases()
            self._bins[key][score_bin(p)] += 1
            self._score_sums[key] += p

    def _forget_old_releases(self) -> None:
        kept = list(dict.fromkeys(release for release, _ in self._bins))[-_KEPT_RELEASES:]
        for key in [key for key in self._bins if key[0] not in kept]:
            del self._bins[key], self._score_sums[key]


def score_bin(p: float) -> int:
    """Return which of the ``SCORE_BINS`` equal parts of [0, 1] holds ``p``; upper ends included, 0 in the first."""
    return min(max(0, math.ceil(p * SCORE_BINS) - 1), SCORE_BINS - 1)


def series(family: Family, labels: Iterable[str]) -> str:
    """Return the name of one time series, as Prometheus writes it."""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(family.labels, labels, strict=True))
    return f"{family.name}{{{pairs}}}" if pairs else family.name


def prometheus_text(metrics: Metrics) -> str:
    """Return everything in Prometheus' text exposition format, version 0.0.4 (``CONTENT_TYPE``)."""
    return "\n".join(_lines(metrics.snapshot(), metrics.gauges())) + "\n"


def _lines(taken: Snapshot, gauges: Mapping[str, float]) -> Iterator[str]:
    for family in COUNTERS:
        yield from _head(family, "counter")
        for (name, labels), count in sorted(taken.counts.items()):
            if name == family.name:
                yield f"{series(family, labels)} {count}"
    for family in GAUGES:
        if family.name in gauges:
            yield from _head(family, "gauge")
            yield f"{family.name} {_number(gauges[family.name])}"
    for family in LATENCIES:
        yield from _head(family, "summary")
        yield from _summary(family.name, taken.sketches[family.name], taken.sums_us.get(family.name, 0))
    yield from _head(SCORES, "histogram")
    for key, bins in taken.bins.items():
        yield from _histogram(key, bins, taken.score_sums[key])


def _head(family: Family, kind: str) -> Iterator[str]:
    yield f"# HELP {family.name} {family.says}"
    yield f"# TYPE {family.name} {kind}"


def _summary(name: str, sketch: Mapping[int, int], sum_us: int) -> Iterator[str]:
    for share in QUANTILES:
        value_us = quantile(sketch, share)
        if value_us is not None:
            yield f'{name}{{quantile="{share}"}} {_number(value_us / 1e6)}'
    yield f"{name}_sum {_number(sum_us / 1e6)}"
    yield f"{name}_count {sum(sketch.values())}"


def _histogram(key: tuple[int, Score], bins: tuple[int, ...], total: float) -> Iterator[str]:
    labels = f'release="{key[0]}",score="{key[1]}"'
    seen = 0
    for number, count in enumerate(bins, 1):
        seen += count
        yield f'{SCORES.name}_bucket{{{labels},le="{number / SCORE_BINS:g}"}} {seen}'
    yield f'{SCORES.name}_bucket{{{labels},le="+Inf"}} {seen}'
    yield f"{SCORES.name}_sum{{{labels}}} {_number(total)}"
    yield f"{SCORES.name}_count{{{labels}}} {seen}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
