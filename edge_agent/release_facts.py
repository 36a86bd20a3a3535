"""What a station remembers of its releases, as it lies in the outbox's facts; ``edge_agent.release_book`` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.variant_choice import Measured, Pick
from edge_agent.watch_window import Before
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A release that has run here.

    Attributes:
        bundle_id: its bundle.
        release: what was signed of it.
        variant: the one that ran.
        created_at: when it was built, as its signed manifest says.
    """

    bundle_id: BundleId
    release: ReleaseInfo
    variant: str
    created_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What this station runs, first, and what it ran before, which it may fall back to."""

    proved: tuple[Proved, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What was measured of every bundle that may run here."""

    measured: tuple[Measured, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was loaded last of a bundle, and for each variant that would have been better: why it was not."""

    bundle_id: BundleId
    pick: Pick
    passed_over: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A release that this station will not run, and why; ``reverted``: it ran, and was taken back."""

    bundle_id: BundleId
    release: int
    reason: str
    reverted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """All that are remembered, the newest last."""

    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """What a shadow has shown so far.

    Attributes:
        compared: scans that both models have decided.
        differing: those that they decided differently.
        faults: scans on which the shadow's engine failed.
        dropped: scans that came while it was still busy.
        item_us: its busy time of each compared item, microseconds.
        item_us_before: the same of the running model.
    """

    compared: int = 0
    differing: int = 0
    faults: int = 0
    dropped: int = 0
    item_us: tuple[int, ...] = ()
    item_us_before: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A release that passed its trial, and does not run yet.

    Attributes:
        bundle_id: its bundle, which lies on this disk.
        release: what was signed of it.
        measured: what its variants showed.
        first_seen: since when a release waits here without a break, ISO 8601.
        shadow: what it has shown beside the running model.
    """

    bundle_id: BundleId
    release: ReleaseInfo
    measured: Measured
    first_seen: str
    shadow: Shadowed = field(default_factory=Shadowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """The watch window of the release that runs.

    Attributes:
        bundle_id: its bundle.
        since_seq: the last record before it took over.
        started: when it took over, ISO 8601.
        before: what the release before showed.
    """

    bundle_id: BundleId
    since_seq: int
    started: str
    before: Before


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """How often the agent died while something unproved was loaded.

    Attributes:
        boot: the machine's boot that this is about: a power cut is no death of the agent's.
        deaths: ends that were not in order.
        alive: it runs now, or died since this was written.
    """

    boot: str
    deaths: int
    alive: bool
