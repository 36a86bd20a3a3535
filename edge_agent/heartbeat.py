"""The station's regular word on itself: what it counted and how it stands, as a message in the outbox. Sends nothing.

Aggregates only, and bounded in size whatever happens (``MAX_HEARTBEAT_BYTES``): labels are few and known, sketches and
histograms have a last bucket.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from edge_agent.agent import Parts
from edge_agent.metrics import COUNTERS, LATENCIES, Snapshot, series
from runtime.contracts.codec import canonical_json
from runtime.contracts.records import ModelRef
from runtime.contracts.sketch import collapsed
from runtime.contracts.sync import Heartbeat, ScoreBins

DISTRIBUTION = "touchstone-edge"
_MOST_BUCKETS = 200
"""Of a sketch: from the slowest down to 3,000 times faster."""


class Heart:
    """Makes one message a step; the supervisor decides when."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def step(self) -> float:
        """Put one message into the outbox; return the seconds until the next.

        Raises:
            StationFault: the disk is full.
        """
        metrics, current = self._parts.metrics, self._parts.slot.current
        model = None if current is None else current.ref
        made = datetime.now(UTC)
        message = heartbeat(
            metrics.snapshot(),
            made=made,
            started=datetime.fromtimestamp(metrics.started_s, UTC),
            uptime_s=metrics.uptime_s(),
            model=model,
            versions=self._versions(model),
            gauges=metrics.gauges(),
        )
        self._parts.outbox.add_telemetry(canonical_json(message), made.timestamp())
        return self._parts.config.heartbeat_every_s

    def _versions(self, model: ModelRef | None) -> dict[str, str]:
        measured = model and self._parts.slot.book.measured(model.bundle_id)
        python = ".".join(map(str, sys.version_info[:3]))
        return {**(measured.on.engines if measured else {}), "agent": agent_version(), "python": python}


def heartbeat(
    taken: Snapshot,
    *,
    made: datetime,
    started: datetime,
    uptime_s: float,
    model: ModelRef | None,
    versions: Mapping[str, str],
    gauges: Mapping[str, float],
) -> Heartbeat:
    """Return the message of one moment; see ``Heartbeat`` for its parts."""
    families = {family.name: family for family in COUNTERS}
    latencies = {family.name: taken.sketches[family.name] for family in LATENCIES}
    return Heartbeat(
        made_at=made.isoformat(timespec="milliseconds"),
        started_at=started.isoformat(timespec="milliseconds"),
        uptime_s=round(uptime_s, 3),
        model=model,
        versions=versions,
        counters={series(families[name], labels): count for (name, labels), count in taken.counts.items()},
        gauges=gauges,
        latencies_us={
            name.removeprefix("touchstone_").removesuffix("_seconds"): {
                str(bucket): count for bucket, count in collapsed(sketch, _MOST_BUCKETS).items()
            }
            for name, sketch in latencies.items()
        },
        scores=tuple(
            ScoreBins(release=release, score=score, bins=bins) for (release, score), bins in taken.bins.items()
        ),
    )


def agent_version() -> str:
    """Return the version of this program, as it was installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and no scan needs it

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
