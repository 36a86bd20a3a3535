"""How the newest release that this station knows stands, in one word and one sentence: for the page, status and report.

Read from the release book alone, so that any process of the station may ask; only what the daemon does this moment is
known to the daemon alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edge_agent.config import Config
from edge_agent.hours import parse_hours
from edge_agent.release_book import ReleaseBook
from edge_agent.release_facts import Candidate, Watching
from edge_agent.shadow_window import judge_shadow
from edge_agent.waiting import waits_until
from edge_agent.watch_window import Judgement, judge
from runtime.contracts.sync import moment

State = Literal["idle", "fetching", "trial", "waits", "shadow", "watch", "refused", "reverted"]
_ROWS_OF_OTHERS = 64
"""So many records within a watch window may still be of the model before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateState:
    """Where an update stands.

    Attributes:
        state: ``idle``: nothing is under way.
        detail: in words; empty where there is nothing to say.
        release: which release this is about.
        waits_until: when it takes over, ISO 8601; ``None`` where it waits for no hour.
        deferred_until: until when an operator has put it off, ISO 8601.
    """

    state: State
    detail: str
    release: int | None
    waits_until: str | None
    deferred_until: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What the daemon does this moment."""

    state: Literal["fetching", "trial"]
    release: int


def update_state(book: ReleaseBook, config: Config, now: datetime, doing: Doing | None = None) -> UpdateState:
    """Return where this station's update stands at ``now`` (local time)."""
    deferred = book.deferred_until()
    deferred_until = deferred.isoformat() if deferred is not None and deferred > now else None

    def stands(state: State, release: int | None, detail: str, until: datetime | None = None) -> UpdateState:
        waits_until = until.isoformat(timespec="seconds") if until is not None else None
        return UpdateState(
            state=state, detail=detail, release=release, waits_until=waits_until, deferred_until=deferred_until
        )

    running = next(iter(book.runnable()), None)
    watching, candidate = book.watching(), book.candidate()
    if doing is not None:
        return stands(doing.state, doing.release, f"release {doing.release}")
    if running is not None and watching is not None:
        seen = judge_running(book, watching, config, now).text
        return stands("watch", running.release.release, f"release {running.release.release}: on watch, {seen}")
    if candidate is not None:
        release = candidate.release.release
        shadowed = judge_candidate(candidate, config)
        if shadowed.state == "goes on":
            return stands("shadow", release, f"release {release}: {shadowed.text} in the shadow")
        until = candidate_waits_until(candidate, config, now, deferred)
        return stands("waits", release, f"release {release} {_why_it_waits(until, config, now, deferred)}", until)
    refusal = next(iter(book.refusals()[-1:]), None)
    if refusal is not None and (running is None or refusal.release > running.release.release):
        # A refusal is news until something newer runs.
        state: State = "reverted" if refusal.reverted else "refused"
        return stands(state, refusal.release, f"release {refusal.release}: {refusal.reason}")
    return stands("idle", running.release.release if running else None, "")


def judge_running(book: ReleaseBook, watching: Watching, config: Config, now: datetime, faults: int = 0) -> Judgement:
    """Judge the release that is being watched by its records; the daemon alone knows ``faults`` of its engine."""
    return judge(
        watching.before,
        book.seen_since(watching, limit=config.watch_scans + _ROWS_OF_OTHERS),
        faults,
        scans=config.watch_scans,
        hours=config.watch_hours,
        elapsed_hours=(now - (moment(watching.started) or now)).total_seconds() / 3600,
    )


def judge_candidate(candidate: Candidate, config: Config) -> Judgement:
    """Judge a candidate by what it has shown in the shadow so far."""
    return judge_shadow(
        candidate.shadow,
        scans=config.shadow_scans,
        max_disagree=config.shadow_max_disagree,
        max_latency_ms=config.max_latency_ms,
    )


def candidate_waits_until(
    candidate: Candidate, config: Config, now: datetime, deferred: datetime | None
) -> datetime | None:
    """Return until when a candidate waits for its hour; ``None``: it may take over now."""
    return waits_until(now, parse_hours(config.update_hours), deferred, moment(candidate.first_seen) or now)


def _why_it_waits(until: datetime | None, config: Config, now: datetime, deferred: datetime | None) -> str:
    if until is None:
        return "takes over at the next look"
    reasons = []
    if config.update_hours:
        reasons.append(f"update_hours {parse_hours(config.update_hours)}")
    if deferred is not None and deferred > now:
        reasons.append("put off by the operator")
    return f"waits until {until:%Y-%m-%d %H:%M} ({', '.join(reasons)})"
