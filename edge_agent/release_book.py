"""What this station runs, may fall back to, and will not run: the floor and the refusals. Kept in the outbox's facts.

The floor only rises. What was refused stays refused until a newer release brings it again. What the variants showed
when they were measured lies beside it, and is only ever a hint: one that cannot be read is as if it had never been.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from edge_agent.journal import note
from edge_agent.outbox import Outbox
from edge_agent.variant_choice import Measured, Pick
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import Untrusted
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo

NO_MODEL = "no model yet: publish a release on the server, and let 'touchstone-agent run' fetch it"
COMMITTED_FACT = "committed"
FLOOR_FACT = "floor"
REFUSED_FACT = "refused"
MEASURED_FACT = "measured"
LOADED_FACT = "loaded"
_KEPT_RELEASES = 2
_KEPT_REFUSALS = 16

T = TypeVar("T")


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

    def commit(self, fresh: Proved, measured: Measured | None = None) -> None:
        """Make ``fresh`` what this station runs, and raise the floor to what it demands."""
        others = tuple(proved for proved in self.proved() if proved.bundle_id != fresh.bundle_id)
        committed = Committed(proved=(fresh, *others)[:_KEPT_RELEASES])
        floor = max(self.floor(), fresh.release.floor)
        self._outbox.set_facts(
            {
                COMMITTED_FACT: canonical_json(committed).decode(),
                FLOOR_FACT: str(floor),
                MEASURED_FACT: self._measurements(committed, measured),
            }
        )

    def measured(self, bundle_id: BundleId) -> Measured | None:
        """Return what the variants of a bundle showed when they were measured last; ``None`` if they never were."""
        known = self._hint(Measurements, MEASURED_FACT)
        return next((one for one in known.measured if one.on.bundle_id == bundle_id), None) if known else None

    def remember(self, measured: Measured) -> None:
        """Keep what the variants of a committed bundle showed when they were measured anew; the best is what runs."""
        bundle_id, best = measured.on.bundle_id, measured.ranked[:1]
        committed = Committed(
            proved=tuple(
                dataclasses.replace(one, variant=best[0].variant) if best and one.bundle_id == bundle_id else one
                for one in self.proved()
            )
        )
        self._outbox.set_facts(
            {
                COMMITTED_FACT: canonical_json(committed).decode(),
                MEASURED_FACT: self._measurements(committed, measured),
            }
        )

    def loaded(self) -> Loaded | None:
        """Return what was loaded last, by whichever process of this station."""
        return self._hint(Loaded, LOADED_FACT)

    def note_loaded(self, loaded: Loaded) -> None:
        """Remember what was loaded, for ``status``; costs no write where it is known already."""
        if loaded != self.loaded():
            self._outbox.set_facts({LOADED_FACT: canonical_json(loaded).decode()})

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

    def _measurements(self, committed: Committed, fresh: Measured | None) -> str:
        known = (self.measured(proved.bundle_id) for proved in committed.proved)
        kept = (one for one in known if one is not None and (fresh is None or one.on.bundle_id != fresh.on.bundle_id))
        return canonical_json(Measurements(measured=(*([fresh] if fresh else []), *kept))).decode()

    def _hint(self, kind: type[T], name: str) -> T | None:
        stored = self._outbox.fact(name)
        try:
            return None if stored is None else decode(kind, parse_json(stored.encode(), name), name)
        except Untrusted:
            return None
