"""When a release that has proved itself may go in: the hours for updates, and an operator's "later". Pure: no clock.

Fetching and trying never wait. An operator can put a release off by a day at most, and for a week in all.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from edge_agent.hours import Hours
from runtime.contracts.errors import Unsupported

LONGEST_DEFERRAL = timedelta(hours=24)
DEFERRED_IN_ALL = timedelta(days=7)


def waits_until(
    now: datetime, hours: Hours | None, deferred_until: datetime | None, first_seen: datetime
) -> datetime | None:
    """Return until when a release waits; ``None``: it may go in now.

    Args:
        now: local time, timezone-aware.
        hours: for updates; ``None``: always.
        deferred_until: what an operator said; a moment too far ahead was written by a clock that has jumped.
        first_seen: when it began to wait.
    """
    if now - first_seen > DEFERRED_IN_ALL or (deferred_until and deferred_until - now > LONGEST_DEFERRAL):
        deferred_until = None
    moment = max(now, deferred_until.astimezone(now.tzinfo)) if deferred_until else now
    if hours is not None:
        moment += timedelta(seconds=hours.opens_in_s(moment))
    return None if moment <= now else moment


def check_deferral(until: datetime, now: datetime, first_seen: datetime | None) -> None:
    """Check what an operator asks for.

    Args:
        until: the release is to wait so long.
        now: the time.
        first_seen: when the release that waits was first seen; ``None``: none waits now.

    Raises:
        Unsupported: it is too long, or has been put off for too long already.
    """
    if until - now > LONGEST_DEFERRAL:
        raise Unsupported("update: it can be put off by 24 hours at a time; ask again then")
    if first_seen is not None and until > first_seen + DEFERRED_IN_ALL:
        raise Unsupported(
            f"update: it has been ready since {first_seen:%Y-%m-%d}, and cannot be put off for more than "
            f"{DEFERRED_IN_ALL.days} days; it goes in at the next chance"
        )
