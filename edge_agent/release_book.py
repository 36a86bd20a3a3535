"""What this station runs, may fall back to, and will not run: the floor and the refusals. Kept in the outbox's facts.

The floor only rises. What was refused stays refused until a newer release brings it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.journal import note
from edge_agent.outbox import Outbox
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo

COMMITTED_FACT = "committed"
FLOOR_FACT = "floor"
REFUSED_FACT = "refused"
_KEPT_RELEASES = 2
_KEPT_REFUSALS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A release that has run here: its bundle, what was signed of it, and the variant that ran."""

    bundle_id: BundleId
    release: ReleaseInfo
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What this station runs, first, and what it ran before, which it may fall back to."""

    proved: tuple[Proved, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A release that this station tried and will not run, and why."""

    bundle_id: BundleId
    release: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """All that are remembered, the newest last."""

    refused: tuple[Refusal, ...]


class ReleaseBook:
    """The station's memory of releases. Every change is durable before a method returns."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def runnable(self) -> tuple[Proved, ...]:
        """Return what may run here, the running one first: proved, and not below the floor."""
        floor = self.floor()
        return tuple(proved for proved in self.proved() if proved.release.release >= floor)

    def proved(self) -> tuple[Proved, ...]:
        """Return what has run here, the running one first."""
        stored = self._outbox.fact(COMMITTED_FACT)
        if stored is None:
            return ()
        return decode(Committed, parse_json(stored.encode(), COMMITTED_FACT), COMMITTED_FACT).proved

    def floor(self) -> int:
        """Return the highest floor ever committed; releases below it never run here."""
        return int(self._outbox.fact(FLOOR_FACT) or "0")

    def commit(self, fresh: Proved) -> None:
        """Make ``fresh`` what this station runs, and raise the floor to what it demands."""
        others = tuple(proved for proved in self.proved() if proved.bundle_id != fresh.bundle_id)
        committed = Committed(proved=(fresh, *others)[:_KEPT_RELEASES])
        floor = max(self.floor(), fresh.release.floor)
        self._outbox.set_facts({COMMITTED_FACT: canonical_json(committed).decode(), FLOOR_FACT: str(floor)})

    def refuse(self, bundle_id: BundleId, release: ReleaseInfo, reason: str) -> None:
        """Remember that a bundle must not be fetched or tried again for this release."""
        others = tuple(entry for entry in self.refusals() if entry.bundle_id != bundle_id)
        entry = Refusal(bundle_id=bundle_id, release=release.release, reason=reason)
        kept = Refusals(refused=(*others, entry)[-_KEPT_REFUSALS:])
        self._outbox.set_facts({REFUSED_FACT: canonical_json(kept).decode()})
        note("refused", release=release.release, bundle_id=bundle_id[:12], why=reason)

    def refusals(self) -> tuple[Refusal, ...]:
        """Return what was refused, the newest last."""
        stored = self._outbox.fact(REFUSED_FACT)
        if stored is None:
            return ()
        return decode(Refusals, parse_json(stored.encode(), REFUSED_FACT), REFUSED_FACT).refused

    def is_refused(self, bundle_id: BundleId, release: ReleaseInfo) -> bool:
        """Tell whether this bundle failed here already, as this release or a later one."""
        return any(r.bundle_id == bundle_id and release.release <= r.release for r in self.refusals())
