"""Hours of the day, as ``agent.toml`` names them: for photos to go, and for a release to take over. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from runtime.contracts.errors import Unsupported

_DAY_MIN = 24 * 60
_HOURS = re.compile(r"(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """A part of the day, in minutes after midnight by the station's clock on the wall; it may go on past midnight."""

    opens_min: int
    closes_min: int

    def opens_in_s(self, at: datetime) -> float:
        """Return in how many seconds it opens; 0 while it is open."""
        minute = at.hour * 60 + at.minute
        if (minute - self.opens_min) % _DAY_MIN < (self.closes_min - self.opens_min) % _DAY_MIN:
            return 0.0
        return (self.opens_min - minute) % _DAY_MIN * 60.0 - at.second

    def __str__(self) -> str:
        opens, closes = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (self.opens_min, self.closes_min))
        return f"{opens}-{closes}"


def parse_hours(text: str) -> Hours | None:
    """Parse ``22-06`` or ``21:30-6:15``; an empty text is always.

    Raises:
        Unsupported: it is anything else.
    """
    if not text:
        return None
    match = _HOURS.fullmatch(text.replace(" ", ""))
    if match:
        opens_min, closes_min = (int(match[n]) * 60 + int(match[n + 1] or 0) for n in (1, 3))
        minutes = (int(match[2] or 0), int(match[4] or 0))
        if max(minutes) < 60 and opens_min < _DAY_MIN and closes_min <= _DAY_MIN and opens_min != closes_min % _DAY_MIN:
            return Hours(opens_min=opens_min, closes_min=closes_min % _DAY_MIN)
    raise Unsupported(f"expected two times of the day such as '22-06' or '21:30-6:15', got {text!r}")
