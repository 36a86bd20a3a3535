"""What this station runs, may fall back to, and will not run: floor, refusals, and how far a new release has come.

Kept in the outbox's facts; each step of a release is one transaction, so that a power cut finds it before or after. The
floor only rises, and only when a release has passed its watch window: until then the one before can still come back.
What was refused stays refused until a newer release brings it again. What was measured is only ever a hint: one that
cannot be read is as if it had never been.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TypeVar

from edge_agent.journal import note
from edge_agent.outbox import Outbox
from edge_agent.release_facts import (
    Candidate,
    Committed,
    Lives,
    Loaded,
    Measurements,
    Proved,
    Refusal,
    Refusals,
    Watching,
)
from edge_agent.trusted_time import floor_of
from edge_agent.tuf_marks import read_marks
from edge_agent.variant_choice import Measured
from edge_agent.watch_window import BASELINE_SCANS, Before, Seen, before_of, seen_of
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import Untrusted
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo, moment

NO_MODEL = "no model yet: publish a release on the server, and let 'touchstone-agent run' fetch it"
COMMITTED_FACT = "committed"
FLOOR_FACT = "floor"
REFUSED_FACT = "refused"
MEASURED_FACT = "measured"
LOADED_FACT = "loaded"
CANDIDATE_FACT = "candidate"
WATCH_FACT = "watch"
LIVES_FACT = "lives"
DEFERRED_FACT = "deferred_until"
_KEPT_RELEASES = 2
_KEPT_REFUSALS = 16
_NONE = ""

T = TypeVar("T")


class ReleaseBook:
    """The station's memory of releases. Every change is durable before a method returns."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def runnable(self) -> tuple[Proved, ...]:
        """Return what may run here, the running one first: proved, and not below the floor."""
        floor = self.floor()
        return tuple(proved for proved in self.proved() if proved.release.release >= floor)

    def proved(self) -> tuple[Proved, ...]:
        """Return what has run here, the running one first; while that is being watched, it may still be taken back."""
        known = self._fact(Committed, COMMITTED_FACT)
        return known.proved if known else ()

    def good(self) -> tuple[Proved, ...]:
        """Return what is known to be good, the last one first: without the running one while that is being watched."""
        return self.runnable()[1 if self.watching() else 0 :]

    def floor(self) -> int:
        """Return the highest floor ever committed; releases below it never run here."""
        return int(self._outbox.fact(FLOOR_FACT) or "0")

    def time_floor(self) -> datetime | None:
        """Return the latest moment that is known, by what was signed, to have passed."""
        marks = (mark.signed_at for mark in read_marks(self._outbox).values())
        return floor_of((*marks, *(proved.created_at for proved in self.proved())))

    def commit(self, fresh: Proved, measured: Measured | None = None, watching: Watching | None = None) -> None:
        """Make ``fresh`` what this station runs.

        Args:
            fresh: what runs from now on.
            measured: what its variants showed.
            watching: its watch window; ``None``: there is nothing to prove, and its floor holds at once.
        """
        others = tuple(proved for proved in self.good() if proved.bundle_id != fresh.bundle_id)
        committed = Committed(proved=(fresh, *others)[:_KEPT_RELEASES])
        floor = max(self.floor(), 0 if watching else fresh.release.floor)
        self._outbox.set_facts(
            {
                COMMITTED_FACT: _text(committed),
                FLOOR_FACT: str(floor),
                MEASURED_FACT: self._measurements(committed, measured),
                WATCH_FACT: _text(watching) if watching else _NONE,
                CANDIDATE_FACT: _NONE,
                LIVES_FACT: _NONE,
            }
        )

    def watching(self) -> Watching | None:
        """Return the watch window of the release that runs; ``None``: it is known to be good."""
        return self._fact(Watching, WATCH_FACT)

    def passed(self) -> None:
        """End the watch window: what runs is good, and its floor holds."""
        floor = max(self.floor(), self.proved()[0].release.floor)
        self._outbox.set_facts({FLOOR_FACT: str(floor), WATCH_FACT: _NONE, LIVES_FACT: _NONE})

    def revert(self, reason: str) -> None:
        """Make the last known good release what this station runs, and refuse the one that was being watched."""
        watched, *good = self.proved()
        refusals = self._refusals_with(watched.bundle_id, watched.release, reason, reverted=True)
        self._outbox.set_facts(
            {
                COMMITTED_FACT: _text(Committed(proved=tuple(good))),
                REFUSED_FACT: refusals,
                WATCH_FACT: _NONE,
                LIVES_FACT: _NONE,
            }
        )
        note("reverted", release=watched.release.release, bundle_id=watched.bundle_id[:12], why=reason)

    def candidate(self) -> Candidate | None:
        """Return the release that passed its trial and does not run yet."""
        return self._hint(Candidate, CANDIDATE_FACT)

    def keep_candidate(self, candidate: Candidate) -> None:
        """Remember how far a candidate has come."""
        self._outbox.set_facts({CANDIDATE_FACT: _text(candidate)})

    def drop_candidate(self) -> None:
        """Forget the candidate: it is no longer wanted."""
        if self._outbox.fact(CANDIDATE_FACT):
            self._outbox.set_facts({CANDIDATE_FACT: _NONE, LIVES_FACT: _NONE})

    def lives(self) -> Lives | None:
        """Return how often the agent died while something unproved was loaded."""
        return self._hint(Lives, LIVES_FACT)

    def note_lives(self, lives: Lives) -> None:
        """Keep how often the agent died."""
        self._outbox.set_facts({LIVES_FACT: _text(lives)})

    def deferred_until(self) -> datetime | None:
        """Return until when an operator has put off what waits."""
        return moment(self._outbox.fact(DEFERRED_FACT))

    def defer(self, until: datetime) -> None:
        """Keep until when an operator has put off what waits."""
        self._outbox.set_facts({DEFERRED_FACT: until.isoformat(timespec="seconds")})

    def last_seq(self) -> int:
        """Return the number of the newest record."""
        return max((seq for seq, _ in self._outbox.records(after=0, limit=1, newest_first=True)), default=0)

    def seen_before(self, bundle_id: BundleId) -> Before:
        """Return what a bundle has shown in its last scans here."""
        newest = self._outbox.records(after=0, limit=BASELINE_SCANS, newest_first=True)
        return before_of(seen_of(record) for _, record in newest if record.model.bundle_id == bundle_id)

    def seen_since(self, watching: Watching, limit: int) -> list[Seen]:
        """Return the first scans of the window, oldest first."""
        found = self._outbox.records(after=watching.since_seq, limit=limit)
        return [seen_of(record) for _, record in found if record.model.bundle_id == watching.bundle_id]

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
            {COMMITTED_FACT: _text(committed), MEASURED_FACT: self._measurements(committed, measured)}
        )

    def loaded(self) -> Loaded | None:
        """Return what was loaded last, by whichever process of this station."""
        return self._hint(Loaded, LOADED_FACT)

    def note_loaded(self, loaded: Loaded) -> None:
        """Remember what was loaded, for ``status``; costs no write where it is known already."""
        if loaded != self.loaded():
            self._outbox.set_facts({LOADED_FACT: _text(loaded)})

    def refuse(self, bundle_id: BundleId, release: ReleaseInfo, reason: str) -> None:
        """Remember that a bundle must not be fetched or tried again for this release."""
        facts = {REFUSED_FACT: self._refusals_with(bundle_id, release, reason)}
        candidate = self.candidate()
        if candidate is not None and candidate.bundle_id == bundle_id:
            facts |= {CANDIDATE_FACT: _NONE, LIVES_FACT: _NONE}
        self._outbox.set_facts(facts)
        note("refused", release=release.release, bundle_id=bundle_id[:12], why=reason)

    def refusals(self) -> tuple[Refusal, ...]:
        """Return what was refused, the newest last."""
        known = self._fact(Refusals, REFUSED_FACT)
        return known.refused if known else ()

    def is_refused(self, bundle_id: BundleId, release: ReleaseInfo) -> bool:
        """Tell whether this bundle failed here already, as this release or a later one."""
        return any(r.bundle_id == bundle_id and release.release <= r.release for r in self.refusals())

    def _refusals_with(self, bundle_id: BundleId, release: ReleaseInfo, reason: str, *, reverted: bool = False) -> str:
        others = tuple(entry for entry in self.refusals() if entry.bundle_id != bundle_id)
        entry = Refusal(bundle_id=bundle_id, release=release.release, reason=reason, reverted=reverted)
        return _text(Refusals(refused=(*others, entry)[-_KEPT_REFUSALS:]))

    def _measurements(self, committed: Committed, fresh: Measured | None) -> str:
        known = (self.measured(proved.bundle_id) for proved in committed.proved)
        kept = (one for one in known if one is not None and (fresh is None or one.on.bundle_id != fresh.on.bundle_id))
        return _text(Measurements(measured=(*([fresh] if fresh else []), *kept)))

    def _fact(self, kind: type[T], name: str) -> T | None:
        stored = self._outbox.fact(name)
        return decode(kind, parse_json(stored.encode(), name), name) if stored else None

    def _hint(self, kind: type[T], name: str) -> T | None:
        try:
            return self._fact(kind, name)
        except Untrusted:
            return None


def _text(fact: object) -> str:
    return canonical_json(fact).decode()
