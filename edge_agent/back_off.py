"""How long to wait after failures in a row: doubling, bounded, with jitter, so that a fleet does not come as one."""

from __future__ import annotations

import random

FIRST_S = 1.0
LONGEST_S = 300.0


def back_off_s(failures: int, random_source: random.Random, *, first_s: float = FIRST_S) -> float:
    """Return seconds to wait after ``failures`` in a row: between half and all of ``first_s`` x 2 ** (failures - 1)."""
    whole_s = min(LONGEST_S, first_s * 2.0 ** min(failures - 1, 20))
    return whole_s * (0.5 + 0.5 * random_source.random())
