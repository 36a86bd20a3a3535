"""What a station reports of itself: what runs, how its newest release stands, and its outbox. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edge_agent.outbox_views import Tally
from edge_agent.update_state import State, UpdateState
from runtime.contracts.records import ModelRef
from runtime.contracts.sync import StationReport

Reported = Literal["running", "refused", "no-model", "waits", "shadow", "watch", "reverted"]
_MOST_DETAIL = 500
_REPORTED: Mapping[State, Reported] = {
    "waits": "waits",
    "shadow": "shadow",
    "watch": "watch",
    "refused": "refused",
    "reverted": "reverted",
}
"""States that are more than "it runs"."""


def station_report(
    model: ModelRef | None, update: UpdateState, tally: Tally, *, error: str, clock: str | None
) -> StationReport:
    """Return the report.

    Args:
        model: what runs.
        update: how the newest release stands.
        tally: of the outbox.
        error: what the last look for a release ended with; empty: well.
        clock: what is wrong with this station's clock.
    """
    state: Reported = _REPORTED.get(update.state, "running")
    detail = update.detail if update.state in _REPORTED else error
    if model is None and state not in ("refused", "reverted"):
        state = "no-model"
    return StationReport(
        bundle_id=model.bundle_id if model else None,
        release=model.release if model else None,
        variant=model.variant if model else None,
        state=state,
        detail="; ".join(filter(None, (detail[:_MOST_DETAIL], clock))),
        recorded=tally.recorded,
        acked=tally.acked,
        pending=tally.pending,
    )
