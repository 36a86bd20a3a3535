"""Times frozen variants as they would run on a station, interleaved, and judges each against its baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from optimize.compiling import tool_versions
from optimize.evidence import Latency
from optimize.freezing import First, Frozen
from optimize.gate import latency
from optimize.provenance import device
from optimize.samples import Feed
from optimize.search import Workbench
from optimize.timing import interleaved_us, ratio_interval
from runtime.engine import load_network


def time_frozen(frozen: Sequence[Frozen], feed: Feed, bench: Workbench) -> tuple[list[Frozen], Mapping[str, Latency]]:
    """Time every variant that runs here as it would on a station, interleaved, and judge it against its baseline.

    Of a cascade its first stage is timed here, against its second: what it takes on average is known when its decisions
    are.

    Args:
        frozen: all of them.
        feed: one photo, or one feed.
        bench: whose cache keeps the timings, by device.
    """
    baselines = {one.slot.baseline for one in frozen if one.alive}
    wanted = [one for one in frozen if one.alive or (one.name in baselines and one.shipped is not None)]
    timed = [one for one in wanted if one.slot.execution == "timed"]
    key = {
        "variants": [[one.name, one.looks_first.digest, one.slot.engine] for one in timed],
        "feed": {name: [str(array.dtype), list(array.shape)] for name, array in feed.items()},
        "device": device(),
        "tools": dict(tool_versions()),
    }
    found = bench.cache.value("time", key, _Timings, lambda: _time(timed, feed)).latencies
    alone = {
        one.slot: latency(found.get(one.name), one.slot.execution, one.slot.baseline)
        for one in frozen
        if one.first is None
    }
    gated = []
    for one in frozen:
        gate = alone[one.slot]
        gated.append(one.judged(gate) if one.alive and not (one.first and gate.passed) else one)
    return gated, found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timings:
    latencies: Mapping[str, Latency]


def _time(timed: Sequence[Frozen], feed: Feed) -> _Timings:
    runs = []
    for one in timed:
        assert one.looks_first.shipped is not None
        network = load_network(one.slot.engine, one.looks_first.shipped.file, 0)
        runs.append(partial(network.run_all, _first_feed(one.first) if one.first else feed))
    taken = dict(zip([one.name for one in timed], interleaved_us(runs), strict=True))
    found = {}
    for one in timed:
        own, against = taken[one.name], (one.slot.baseline or one.name) if one.first is None else one.slot.name
        baseline = against if against in taken else one.slot.name
        ratio, low, high = ratio_interval(own, taken[baseline])
        found[one.name] = Latency(
            p50_us=float(np.median(own)),
            p90_us=float(np.percentile(own, 90)),
            baseline=baseline,
            ratio=ratio,
            ratio_low=low,
            ratio_high=high,
        )
    return _Timings(latencies=found)


def _first_feed(first: First) -> Feed:
    assert first.frozen.candidate is not None
    return {name: array[:1] for name, array in first.frozen.candidate.inputs.samples.feed(0).items()}
