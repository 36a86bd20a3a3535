"""How sessions, records and verdicts look as JSON. Pure: no file, no clock, no framework.

A key that is here is in ``openapi.json`` too; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from edge_agent.capture import UNNAMED_VIEW
from edge_agent.desk.session_table import Begun
from edge_agent.desk.sessions import Taken
from edge_agent.outbox_views import Listed
from runtime.contracts.bundle import ANY_VIEW
from runtime.contracts.codec import encode
from runtime.contracts.records import SHOWN, ModelRef, Record
from runtime.contracts.sync import Answer

Json = dict[str, Any]


def view_names(views: Sequence[str]) -> tuple[str, ...]:
    """Return the views that a person takes photos of."""
    return tuple(UNNAMED_VIEW if view == ANY_VIEW else view for view in views)


def session(begun: Begun, views: Sequence[str]) -> Json:
    """Show a session: every view of the model in its order, then what was taken beside them."""
    shots = {shot.view: shot for shot in begun.shots}
    names = [*view_names(views), *(view for view in shots if view not in view_names(views))]
    return {
        "session_id": begun.session_id,
        "item_id": begun.item_id,
        "created_at": begun.created_at,
        "views": [
            {
                "view": name,
                "sha256": shots[name].sha256 if name in shots else None,
                "problems": encode(shots[name].problems) if name in shots else [],
            }
            for name in names
        ],
    }


def taken(taken: Taken) -> Json:
    """Show what became of a photo."""
    return {
        "view": taken.view,
        "kept": taken.sha256 is not None,
        "sha256": taken.sha256,
        "problems": encode(taken.problems),
    }


def verdict(
    record: Record,
    *,
    again: bool = False,
    became: Listed | None = None,
    references: Mapping[str, tuple[int, float | None]] | None = None,
) -> Json:
    """Show a record in full.

    Args:
        record: what was decided.
        again: it had been decided before.
        became: what became of it since; ``None``: nothing yet.
        references: by view, the genuine photo to hold beside it, counted from 1, and how alike they are.
    """
    return {
        "record_id": record.record_id,
        "item_id": record.item_id,
        "verdict": record.verdict,
        "shown": SHOWN[record.verdict],
        "reasons": encode(record.reasons),
        "scanned_at": record.scanned_at,
        "audited": record.audited,
        "objected": became is not None and became.objected,
        "answer": _outcome(became),
        "again": again,
        "scan_ms": round(record.timings_us.get("until_stored", 0) / 1000, 1),
        "p_counterfeit": record.prediction.p_counterfeit,
        "p_fraud": record.prediction.p_fraud,
        "views": [{"view": one.view, "sha256": one.photo, "logit": one.logit} for one in record.views],
        "references": [
            {"view": view, "url": f"/v1/references/{quote(view, safe='')}/{number}", "similarity": similarity}
            for view, (number, similarity) in (references or {}).items()
        ],
        "model": model(record.model),
    }


def model(ref: ModelRef) -> Json:
    """Show which model it is."""
    return {"name": ref.name, "release": ref.release, "variant": ref.variant}


def summary(listed: Listed) -> Json:
    """Show a record in one line."""
    record = listed.record
    return {
        "seq": listed.seq,
        "record_id": record.record_id,
        "item_id": record.item_id,
        "verdict": record.verdict,
        "shown": SHOWN[record.verdict],
        "scanned_at": record.scanned_at,
        "audited": record.audited,
        "state": listed.state,
        "answer": _outcome(listed),
        "objected": listed.objected,
    }


def _outcome(became: Listed | None) -> str | None:
    return became.answer.outcome if became is not None and became.answer is not None else None


def inbox(
    answers: Iterable[tuple[Answer, Record | None]],
    waiting: Iterable[Listed],
    holds: Iterable[Listed],
    read_up_to: int,
) -> Json:
    """Show what experts said, and what they have not yet."""
    return {
        "answers": [{**encode(answer), "verdict": record.verdict if record else None} for answer, record in answers],
        "waiting": [summary(one) for one in waiting],
        "holds": [summary(one) for one in holds],
        "read_up_to": read_up_to,
    }
