"""What is measured, in prose and in numbers. Plays nothing: see ``benchmarks.latency.suite``.

Four ways to send orders. ``in turn``: the next order when the verdict before it is there, the systems by turns after
each. ``on schedule``: orders arrive when they are due, whether or not the system is ready, and wait in the pipe (open
loop). ``back to back``: one system for a while, with the next order always waiting in the pipe. ``process``: every
verdict has a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.latency.systems.table import BASELINE, OURS
from runtime.contracts.errors import Unsupported

Suite = Literal["quick", "full"]
Sending = Literal["in turn", "on schedule", "back to back", "process"]
Showing = Literal["one view", "all views", "small", "rows"]
"""One 12-megapixel photo; one of each view; one of each view at the golden photos' own size; rows of listings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """So many arrivals at so many a second."""

    rate_per_s: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question, and how it is asked.

    Attributes:
        name: of the results.
        group: what ``--scenario`` calls it; a group may have several.
        prose: what is measured, from when to when.
        sending: how orders come.
        showing: what each brings.
        quick: verdicts to count, in the phases of the quick suite; a rate of 0 is no schedule.
        full: likewise of the full suite.
        full_systems: that the full suite plays it with; none: every one. It keeps the full suite within an hour or so.
        warm_up: verdicts before, which are not counted.
        cold: drop the photos from the file cache before each.
        gap_ms: of photos that come one by one: from one to the next; 0 where they come together.
        rows: of listings in one call.
        swap_every: arrivals between two swaps; 0 for none.
        views_left: views that are still to be decoded when the clock starts; ``None`` where no limit is known.
    """

    name: str
    group: str
    prose: str
    sending: Sending
    showing: Showing
    quick: tuple[Phase, ...]
    full: tuple[Phase, ...]
    full_systems: tuple[str, ...] = ()
    warm_up: int = 3
    cold: bool = False
    gap_ms: float = 0.0
    rows: int = 0
    swap_every: int = 0
    views_left: Literal["one", "all"] | None = None

    def phases(self, suite: Suite) -> tuple[Phase, ...]:
        """Return what a suite plays."""
        return self.quick if suite == "quick" else self.full

    def plays(self, suite: Suite, system: str) -> bool:
        """Tell whether a suite plays it with a system, unless the user names systems."""
        return suite == "quick" or not self.full_systems or system in self.full_systems

    def count(self, suite: Suite) -> int:
        """Return how many verdicts a suite counts."""
        return sum(phase.count for phase in self.phases(suite))


def _so_many(count: int) -> tuple[Phase, ...]:
    return (Phase(rate_per_s=0.0, count=count),)


_FOR_P90, _FOR_P99 = 64, 662

_ALL = (
    Scenario(
        name="view_warm",
        group="view",
        prose="One 12-megapixel photo, in the file cache. From its bytes in memory to the durable verdict.",
        sending="in turn",
        showing="one view",
        quick=_so_many(_FOR_P90),
        full=_so_many(_FOR_P99),
        full_systems=(OURS, BASELINE),
        views_left="one",
    ),
    Scenario(
        name="view_cold",
        group="view",
        prose="One 12-megapixel photo that the kernel has dropped from its file cache. From before the file is read to "
        "the durable verdict.",
        sending="in turn",
        showing="one view",
        quick=_so_many(_FOR_P90),
        full=_so_many(_FOR_P90),
        cold=True,
        views_left="one",
    ),
    Scenario(
        name="item",
        group="item",
        prose="One 12-megapixel photo of every view, all there at once. From the last photo's bytes in memory to the "
        "durable verdict.",
        sending="in turn",
        showing="all views",
        quick=_so_many(_FOR_P90),
        full=_so_many(_FOR_P90),
        views_left="all",
    ),
    Scenario(
        name="item_one_by_one",
        group="item",
        prose="The same photos, 150 ms apart, faster than an operator takes them. From the last photo's bytes in "
        "memory to the durable verdict.",
        sending="in turn",
        showing="all views",
        quick=_so_many(20),
        full=_so_many(_FOR_P99),
        full_systems=(OURS,),
        warm_up=2,
        gap_ms=150.0,
        views_left="one",
    ),
    Scenario(
        name="steady",
        group="steady",
        prose="Single 12-megapixel photos arrive twice a second, ready or not. From the scheduled arrival to the "
        "durable verdict, reading the file and waiting for others included.",
        sending="on schedule",
        showing="one view",
        quick=(Phase(rate_per_s=2.0, count=_FOR_P90),),
        full=(Phase(rate_per_s=2.0, count=_FOR_P99),),
        full_systems=(OURS,),
        views_left="one",
    ),
    Scenario(
        name="surge",
        group="surge",
        prose="As steady, then ten times the rate for a minute (quick suite: 4 seconds), then as before. From the "
        "scheduled arrival to the durable verdict: how long the queue grows, and how long it takes to recover.",
        sending="on schedule",
        showing="one view",
        quick=(Phase(rate_per_s=2.0, count=8), Phase(rate_per_s=20.0, count=80), Phase(rate_per_s=2.0, count=30)),
        full_systems=(OURS, BASELINE),
        full=(Phase(rate_per_s=2.0, count=60), Phase(rate_per_s=20.0, count=1200), Phase(rate_per_s=2.0, count=480)),
        views_left="one",
    ),
    Scenario(
        name="offline",
        group="offline",
        prose="One 12-megapixel photo of every view, item after item as fast as they go, the next always waiting. From "
        "the verdict before to the durable verdict; verdicts a second are its inverse.",
        sending="back to back",
        showing="all views",
        quick=_so_many(16),
        full=_so_many(24),
        views_left="all",
    ),
    Scenario(
        name="cold",
        group="cold",
        prose="'touchstone-agent scan' of one 12-megapixel photo, against a bare script that imports numpy, OpenCV and "
        "ONNX Runtime, decodes the same photo and runs the float network once. From the start of the process to the "
        "first line that it prints.",
        sending="process",
        showing="one view",
        quick=_so_many(12),
        full=_so_many(_FOR_P90),
        warm_up=2,
    ),
    Scenario(
        name="swap",
        group="swap",
        prose="As steady, while another bundle is swapped in every 16 arrivals. From the scheduled arrival to the "
        "durable verdict; compare with steady.",
        sending="on schedule",
        showing="one view",
        quick=(Phase(rate_per_s=2.0, count=_FOR_P90),),
        full=(Phase(rate_per_s=2.0, count=_FOR_P99),),
        swap_every=16,
        views_left="one",
    ),
    Scenario(
        name="soak",
        group="soak",
        prose="10,000 scans (quick suite: 600) of photos at their own size, one after the other. From the last photo's "
        "bytes in memory to the durable verdict; and how resident memory grows after the first 500 (quick: 300).",
        sending="in turn",
        showing="small",
        quick=_so_many(600),
        full=_so_many(10_000),
        full_systems=(OURS,),
    ),
    Scenario(
        name="fraud_1",
        group="fraud",
        prose="The listing score of one row. From the order to the score, in memory.",
        sending="in turn",
        showing="rows",
        quick=_so_many(_FOR_P99),
        full=_so_many(6636),
        rows=1,
    ),
    Scenario(
        name="fraud_1000",
        group="fraud",
        prose="The listing score of 1,000 rows in one call. From the order to the last score, in memory.",
        sending="in turn",
        showing="rows",
        quick=_so_many(_FOR_P90),
        full=_so_many(_FOR_P99),
        rows=1000,
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
"""By name, in the order of play."""


def chosen(wanted: Sequence[str]) -> list[Scenario]:
    """Return scenarios by name or group, in the order of play; all of them where nothing is wanted.

    Raises:
        Unsupported: there is none of that name.
    """
    for name in wanted:
        if not any(name in (one.name, one.group) for one in _ALL):
            groups = ", ".join(dict.fromkeys(one.group for one in _ALL))
            raise Unsupported(f"scenario {name!r}: expected one of {groups}; name one with --scenario")
    return [one for one in _ALL if not wanted or one.name in wanted or one.group in wanted]
