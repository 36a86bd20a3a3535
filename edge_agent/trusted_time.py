"""What time it is at least, by what was signed, and what to say of a clock that contradicts it. Pure: asks no clock.

A station's clock may be dead, and the server's Date is unsigned. What is signed gives a floor: releases say when they
were built and signed, offline; a timestamp of the server counts only as far as this station's own clock agrees, so that
no single wrong clock pushes the floor ahead. Judging by the floor, a clock that was set back lets nothing expired in.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from runtime.contracts.sync import moment

TOLERATED = timedelta(hours=1)
"""A clock that is off by less is not complained about."""


def floor_of(moments: Iterable[str]) -> datetime | None:
    """Return the latest of these moments (ISO 8601 with a timezone); what cannot be read counts as never said."""
    return max((at for text in moments if (at := moment(text)) is not None), default=None)


def agreed(clock: datetime, signed_at: datetime) -> datetime:
    """Return how late it is at least, by a server's signature and this station's clock: what both say."""
    return min(clock, signed_at)


def trusted_now(clock: datetime, server_ahead_s: float, floor: datetime | None) -> datetime:
    """Return the time to judge expiry by.

    Args:
        clock: of this station.
        server_ahead_s: by how much the server's clock was ahead of it when they last spoke, seconds.
        floor: what was signed; ``None`` before the first release.
    """
    now = clock + timedelta(seconds=server_ahead_s)
    return now if floor is None else max(now, floor)


def complaint(clock: datetime, server_ahead_s: float, floor: datetime | None) -> str | None:
    """Say what is wrong with this station's clock, in one sentence; ``None``: nothing that can be known.

    Scanning and uploads go on with any clock: a token is signed by the server's time.
    """
    if floor is not None and clock < floor - TOLERATED:
        return f"this clock is {_long(floor - clock)} behind the signed metadata; set it"
    ahead = timedelta(seconds=-server_ahead_s)
    if abs(ahead) > TOLERATED:
        which = "ahead of" if ahead > timedelta() else "behind"
        return f"this clock is {_long(abs(ahead))} {which} the server's; set it"
    return None


def _long(span: timedelta) -> str:
    for size, unit in ((86_400.0, "days"), (3600.0, "hours")):
        if span.total_seconds() >= 2 * size:
            return f"{span.total_seconds() / size:.0f} {unit}"
    return f"{span.total_seconds() / 60:.0f} minutes"
