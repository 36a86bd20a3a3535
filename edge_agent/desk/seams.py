"""What other parts of the agent will do for the desk. Each function here is a place to connect them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edge_agent.agent import Parts
from edge_agent.desk.ledger import Ledger
from edge_agent.metrics import prometheus_text
from runtime.contracts.records import RecordId

DEFER_FACT = "update_deferred_until"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateState:
    """How the station stands with its next release; ``deferred_until`` is ISO 8601 in UTC."""

    state: Literal["idle", "deferred", "refused"]
    detail: str
    release: int | None
    deferred_until: str | None


def ledger_of(parts: Parts) -> Ledger:
    """Return what the desk reads records from."""
    return parts.outbox


def is_objected(parts: Parts, record_id: RecordId) -> bool:
    """Tell whether a person here has disagreed with a record's verdict."""
    return parts.outbox.is_objected(record_id)


def object_to(parts: Parts, record_id: RecordId, text: str, made_at: str) -> None:
    """Disagree with a record's verdict; it becomes a case.

    Raises:
        Unsupported: ``text`` cannot be used, or somebody has objected in other words.
    """
    parts.outbox.object_to(record_id, text, made_at)


def update_state(parts: Parts, now: datetime) -> UpdateState:
    """Return how the station stands with its next release."""
    until = parts.outbox.fact(DEFER_FACT) or None
    if until is not None and datetime.fromisoformat(until) <= now:
        until = None
    refusals = parts.slot.book.refusals()
    current = parts.slot.current
    refused = refusals[-1] if refusals else None
    if refused is not None and (current is None or refused.release > current.release.release):
        return UpdateState(state="refused", detail=refused.reason, release=refused.release, deferred_until=until)
    return UpdateState(
        state="deferred" if until else "idle",
        detail="",
        release=None if current is None else current.ref.release,
        deferred_until=until,
    )


def defer_update(parts: Parts, until: datetime | None) -> None:
    """Let no new model run before then; ``None``: as soon as there is one."""
    parts.outbox.set_facts({DEFER_FACT: "" if until is None else until.isoformat(timespec="seconds")})


def metrics_text(parts: Parts) -> str:
    """Return what the agent has counted, for Prometheus."""
    return prometheus_text(parts.metrics)
