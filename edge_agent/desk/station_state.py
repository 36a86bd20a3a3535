"""How the station stands, for the page's header. Read afresh at each look; cheap enough for one every two seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from edge_agent.desk import views
from edge_agent.desk.record_routes import read_up_to
from edge_agent.desk.services import Desk, disk_fault, now
from edge_agent.disk import free_bytes
from edge_agent.outbox import CONTACT_FACT, ERROR_FACT
from runtime.contracts.codec import encode

_ONLINE_WITHIN_S = 120.0


def state_of(desk: Desk) -> dict[str, Any]:
    """Return everything that the page shows of the station."""
    parts = desk.parts
    current = parts.slot.current
    why = disk_fault(parts)
    return {
        **_named(desk),
        "views": list(views.view_names(desk.views())),
        "model": None if current is None else views.model(current.ref),
        "queue": encode(parts.outbox.tally()),
        "connection": _connection(desk),
        "disk": {"free_bytes": free_bytes(parts.photos.root), "scanning": why is None, "why": why},
        "camera": {
            "source": "browser" if desk.camera is None else "station",
            "ok": desk.camera is None or desk.camera.why is None,
            "why": None if desk.camera is None else desk.camera.why,
        },
        "update": encode(parts.slot.update_state()),
        "unread": _unread(desk),
        "logged_in": True,
    }


def locked(desk: Desk) -> dict[str, Any]:
    """Return the same with nothing in it, for who has not signed in."""
    return {
        **_named(desk),
        "views": [],
        "model": None,
        "queue": dict.fromkeys(("recorded", "acked", "pending", "parked", "cases", "waiting_cases"), 0),
        "connection": {"online": False, "last_contact": None, "error": None},
        "disk": {"free_bytes": 0, "scanning": True, "why": None},
        "camera": {"source": "browser", "ok": True, "why": None},
        "update": {"state": "idle", "detail": "", "release": None, "waits_until": None, "deferred_until": None},
        "unread": 0,
        "logged_in": False,
    }


def _named(desk: Desk) -> dict[str, Any]:
    identity = desk.parts.identity
    return {"station": identity.station_id, "name": identity.name, "language": desk.parts.config.desk_language}


def _connection(desk: Desk) -> dict[str, Any]:
    contact = desk.parts.outbox.fact(CONTACT_FACT)
    error = desk.parts.outbox.fact(ERROR_FACT) or None
    last = None if contact is None else datetime.fromtimestamp(float(contact), UTC)
    within_s = max(_ONLINE_WITHIN_S, 4 * desk.parts.config.uplink_every_s)
    fresh = last is not None and (now() - last).total_seconds() < within_s
    return {"online": error is None and fresh, "last_contact": last and last.isoformat(), "error": error}


def _unread(desk: Desk) -> int:
    read = read_up_to(desk)
    with desk.parts.outbox.reading() as db:
        (count,) = db.execute("SELECT COUNT(*) FROM answer WHERE seq > ?", (read,)).fetchone()
    return int(count)
