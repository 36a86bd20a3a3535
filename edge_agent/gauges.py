"""What stands at one moment: the outbox, the disk, the memory, the model. Read for whoever asks; counts nothing."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from edge_agent.disk import free_bytes
from edge_agent.metrics import FREE, PENDING, RELEASE, RESIDENT, WAITING_CASES
from edge_agent.model_slot import ModelSlot
from edge_agent.outbox import Outbox
from runtime.contracts.errors import TouchstoneError


def read_gauges(outbox: Outbox, photos: Path, slot: ModelSlot) -> dict[str, float]:
    """Return each gauge's name and value; one that cannot be read is left out, so that the others still show."""
    gauges = {RELEASE.name: float(slot.current.ref.release if slot.current else 0)}
    with suppress(OSError):
        gauges[FREE.name] = float(free_bytes(photos))
    with suppress(OSError):
        gauges[RESIDENT.name] = float(resident_bytes())
    with suppress(TouchstoneError):
        tally = outbox.tally()
        gauges |= {PENDING.name: float(tally.pending), WAITING_CASES.name: float(tally.waiting_cases)}
    return gauges


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
