"""When a release that has proved itself may go in: the hours for updates, and an operator's "later". Pure: no clock.

Fetching and trying never wait. An operator can put a release off by a day at most, and for a week in all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from runtime.contracts.errors import Unsupported

LONGEST_DEFERRAL = timedelta(hours=24)
DEFERRED_IN_ALL = timedelta(days=7)
_HOURS = re.compile(r"([01]?\d|2[0-4])-([01]?\d|2[0-4])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """From one full hour to another, local time; over midnight where ``first`` is the larger one."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first:02}-{self.last:02}"

    def hold(self, moment: datetime) -> bool:
        """Tell whether ``moment`` (local) lies in these hours."""
        if self.first < self.last:
            return self.first <= moment.hour < self.last
        return moment.hour >= self.first or moment.hour < self.last


def parse_hours(text: str) -> Hours | None:
    """Parse ``22-06``; an empty text is ``None``: always.

    Raises:
        Unsupported: it is neither.
    """
    if not text:
        return None
    match = _HOURS.fullmatch(text)
    first, last = (int(match[1]) % 24, int(match[2]) % 24) if match else (0, 0)
    if first == last:
        raise Unsupported(f"expected two different full hours like '22-06', or nothing for always, got {text!r}")
    return Hours(first=first, last=last)


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
    if hours is not None and not hours.hold(moment):
        opening = moment.replace(hour=hours.first, minute=0, second=0, microsecond=0)
        moment = opening if opening > moment else opening + timedelta(days=1)
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
