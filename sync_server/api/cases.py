"""Routes of reviewers: cases and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from runtime.contracts.records import Label
from sync_server.api.bodies import strictly
from sync_server.api.callers import Caller, Shared
from sync_server.cases import CaseDetail, CasePage, CaseState, LabelResult, label_case, list_cases, show_case

router = APIRouter(prefix="/v1/cases", tags=["cases"])


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLabel:
    """One expert's answer."""

    label: Label


@router.get("")
def cases(
    caller: Caller,
    shared: Shared,
    state: CaseState | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> CasePage:
    """List cases: open ones first, each group oldest first."""
    with shared.store.read() as connection:
        return list_cases(connection, caller, state, after, limit)


@router.get("/{record_id}")
def case(record_id: str, caller: Caller, shared: Shared) -> CaseDetail:
    """Return one case, blinded until it is settled for a caller who may label it."""
    with shared.store.read() as connection:
        return show_case(connection, caller, record_id)


@router.post("/{record_id}/labels")
def label(
    record_id: str, body: GivenLabel, caller: Caller, _: Annotated[None, strictly(GivenLabel)], shared: Shared
) -> LabelResult:
    """Give a label. The same again changes nothing; another one replaces it while the case is open."""
    with shared.store.write() as connection:
        return label_case(connection, caller, record_id, body.label, shared.settings.labels_needed, shared.now())
