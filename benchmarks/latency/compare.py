"""What changed from one run of the suite to another, by scenario and system. Reads nothing, and never compares what it
must not: other devices, suites or photos are refused, and an INVALID result is only named.

A regression is what even the lower end of an interval shows. The interval knows how the verdicts of a run spread; it
does not know that the whole machine may have been slower on the other day, so the limits of both runs are set against
each other, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.latency.latency_stats import SHARES, percentile, ratio_of_medians
from benchmarks.latency.results import Header, Limits, Result, Run
from benchmarks.latency.validity import MAX_SLOWER
from benchmarks.peer_rounds import RESAMPLES, Ratio
from runtime.contracts.errors import Unsupported

State = Literal["REGRESSION", "faster", "no change shown", "not compared"]

_SEED = 404
_SAME_SIZE = 0.01
_LIMITS = {"entropy_decode_ms": "entropy decoding", "fsync_ms": "an fsync", "full_decode_ms": "full decoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One system in one scenario; every ratio is after / before, above 1 is slower or more.

    Attributes:
        scenario: name.
        system: name.
        state: what the ratios show.
        why: it was not compared; else empty.
        before_ms: median.
        after_ms: median.
        median: with its interval.
        p99: likewise; ``None`` where one of the runs has too few verdicts for it.
        cpu: of CPU time per verdict; ``None`` where there was none before.
        memory: of the greatest resident size; likewise.
    """

    scenario: str
    system: str
    state: State
    why: str = ""
    before_ms: float | None = None
    after_ms: float | None = None
    median: Ratio | None = None
    p99: Ratio | None = None
    cpu: float | None = None
    memory: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs. ``machine`` says where the machine itself was not as fast as before."""

    before: str
    after: str
    tolerance: float
    machine: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def has_regression(self) -> bool:
        """Whether any system became slower than the tolerance allows, beyond doubt."""
        return any(change.state == "REGRESSION" for change in self.changes)

    def as_text(self) -> str:
        """Say it for a terminal, one line a scenario and system."""
        return "\n".join(_lines(self)) + "\n"

    def as_data(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return {**asdict(self), "has_regression": self.has_regression}


def compare(before: Run, after: Run, tolerance: float) -> Comparison:
    """Compare two runs of one suite on one device.

    Args:
        before: the yardstick.
        after: what is judged.
        tolerance: how much slower is no regression yet; 0.1 for 10 %.

    Raises:
        Unsupported: they cannot be compared, or no result is valid in both.
        ValueError: the tolerance is negative.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance: expected 0 or more, got {tolerance}")
    _check_alike(before.header, after.header)
    keys = dict.fromkeys((one.scenario, one.system) for one in (*before.results, *after.results))
    changes = tuple(_change(*key, before.find(*key), after.find(*key), tolerance) for key in keys)
    if all(change.state == "not compared" for change in changes):
        raise Unsupported(
            f"runs: expected results that are valid in both, got none of {len(changes)}; "
            "run 'touchstone-bench doctor', do what it says, and run the suite again"
        )
    return Comparison(
        before=_name(before.header),
        after=_name(after.header),
        tolerance=tolerance,
        machine=tuple(_slower_machine(before.header.limits, after.header.limits)),
        changes=changes,
    )


def _check_alike(before: Header, after: Header) -> None:
    for what, one, other in (
        *((name, getattr(before.device, name), getattr(after.device, name)) for name in ("cpu", "flags", "cores")),
        ("system", before.device.system, after.device.system),
        ("memory", f"{before.device.memory_gb:.0f} GB", f"{after.device.memory_gb:.0f} GB"),
    ):
        if one != other:
            raise Unsupported(f"runs: expected one device, got {what} {one} and {other}; run both on the same machine")
    if before.suite != after.suite:
        raise Unsupported(f"runs: expected one suite, got {before.suite} and {after.suite}; run the same one again")
    if before.views != after.views or abs(after.photo_mb / before.photo_mb - 1) > _SAME_SIZE:
        raise Unsupported(
            f"runs: expected the same photos, got {before.views} views of {before.photo_mb:.2f} MB and "
            f"{after.views} of {after.photo_mb:.2f} MB; give both runs the same bundle or photos"
        )


def _change(scenario: str, system: str, was: Result | None, now: Result | None, tolerance: float) -> Change:
    why = "; ".join(filter(None, (_unfit(was, "before"), _unfit(now, "after"))))
    if why or was is None or now is None:
        return Change(scenario=scenario, system=system, state="not compared", why=why)
    median = ratio_of_medians(now.latencies_ms, was.latencies_ms, seed=_SEED)
    p99 = _ratio_of_p99(now.latencies_ms, was.latencies_ms)
    return Change(
        scenario=scenario,
        system=system,
        state=_state([ratio for ratio in (median, p99) if ratio], tolerance),
        before_ms=float(np.median(was.latencies_ms)),
        after_ms=float(np.median(now.latencies_ms)),
        median=median,
        p99=p99,
        cpu=now.cpu_ms / was.cpu_ms if was.cpu_ms > 0 else None,
        memory=now.peak_rss_mb / was.peak_rss_mb if was.peak_rss_mb > 0 else None,
    )


def _unfit(result: Result | None, when: str) -> str:
    if result is None:
        return f"absent {when}"
    if not result.valid:
        return f"INVALID {when}: {result.why}"
    return "" if result.latencies_ms else f"no verdict {when}"


def _state(ratios: Sequence[Ratio], tolerance: float) -> State:
    if any(ratio.low > 1 + tolerance for ratio in ratios):
        return "REGRESSION"
    return "faster" if ratios[0].high < 1 else "no change shown"


def _ratio_of_p99(of_ms: Sequence[float], baseline_ms: Sequence[float]) -> Ratio | None:
    of, baseline = percentile(of_ms, SHARES["p99"]), percentile(baseline_ms, SHARES["p99"])
    if of is None or baseline is None:
        return None
    random = np.random.default_rng(_SEED)
    low, high = np.quantile(_resampled_p99(of_ms, random) / _resampled_p99(baseline_ms, random), (0.025, 0.975))
    return Ratio(value=of / baseline, low=float(low), high=float(high))


def _resampled_p99(latencies_ms: Sequence[float], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw the p99 (nearest rank) of bootstrap resamples, without drawing the resamples.

    The k-th smallest of n uniform draws is Beta(k, n - k + 1) (David & Nagaraja, Order Statistics, 2.1), and its place
    among the n sorted values is what resampling would have drawn.
    """
    count = len(latencies_ms)
    rank = int(np.ceil(round(SHARES["p99"] * count, 9)))
    places = (count * random.beta(rank, count - rank + 1, RESAMPLES)).astype(np.int64)
    return np.sort(np.asarray(latencies_ms, np.float64))[np.minimum(places, count - 1)]


def _slower_machine(before: Limits, after: Limits) -> Iterator[str]:
    for name, what in _LIMITS.items():
        ratio = getattr(after, name) / getattr(before, name)
        if ratio > 1 + MAX_SLOWER or ratio < 1 / (1 + MAX_SLOWER):
            yield (
                f"{what} alone took {ratio:.2f} times as long in the second run: part of what differs is the machine, "
                "so run both again, one right after the other"
            )


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"from {comparison.before}"
    yield f"to   {comparison.after}"
    yield f"ratios are after / before [95 % interval]; a regression is a lower end above {1 + comparison.tolerance:g}"
    yield from (f"WARNING  {text}" for text in comparison.machine)
    compared = [change for change in comparison.changes if change.state != "not compared"]
    width = max(len(_subject(change)) for change in compared)
    yield ""
    yield f"{'scenario, system':<{width}}  {'p50 ms':>19}  {'p50':<17}  {'p99':<17}  {'CPU':>5}  {'memory':>6}  result"
    for one in compared:
        medians = f"{_ms(one.before_ms)} -> {_ms(one.after_ms)}"
        yield (
            f"{_subject(one):<{width}}  {medians:>19}  {_ratio(one.median):<17}  "
            f"{_ratio(one.p99):<17}  {_number(one.cpu):>5}  {_number(one.memory):>6}  {one.state}"
        )
    for one in comparison.changes:
        if one.state == "not compared":
            yield f"{_subject(one)}: not compared: {one.why}"
    worse = sum(change.state == "REGRESSION" for change in compared)
    yield ""
    yield f"{worse} of {len(compared)} became slower beyond the tolerance" if worse else "no regression"


def _name(header: Header) -> str:
    versions = " ".join(f"{name} {version}" for name, version in header.device.versions.items())
    return f"{header.device.date}, {header.suite} suite, {header.device.cpu}; {versions}"


def _subject(change: Change) -> str:
    return f"{change.scenario}, {change.system}"


def _ratio(ratio: Ratio | None) -> str:
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
