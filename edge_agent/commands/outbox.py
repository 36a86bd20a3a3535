"""``touchstone-agent outbox list|export|verify``: look at what waits for the server, check it, carry it by hand.

Changes nothing; safe beside a running daemon.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent.home import Home
from edge_agent.identity import require_identity
from edge_agent.outbox import AUDITED, OBJECTED, REST, SUSPECT, UNCERTAIN, Outbox
from edge_agent.outbox_check import problems
from edge_agent.outbox_views import STATES, Listed, State
from runtime.contracts.codec import encode
from runtime.contracts.command import Progress
from runtime.contracts.durable import ContentFolder

_SHOWN: Mapping[str, tuple[State, ...]] = {
    "unsent": ("pending", "parked"),
    "pending": ("pending",),
    "parked": ("parked",),
    "acked": ("acked",),
    "all": STATES,
}
_PRIORITIES = {OBJECTED: "objected", SUSPECT: "suspect", UNCERTAIN: "uncertain", AUDITED: "audited", REST: "rest"}
_PART = 200
_ROW = "{state:8} {priority:9} {age:>9}  {item_id:24} {verdict:10} {error}"


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Run one of the three."""
    require_identity(home)
    home.create()
    with closing(Outbox(home.database_file)) as outbox:
        if arguments.action == "list":
            return _list(outbox, arguments.state, arguments.json)
        if arguments.action == "verify":
            return _verify(outbox, ContentFolder(home.photos))
        return _export(home, outbox, arguments.folder)


def _list(outbox: Outbox, state: str, as_json: bool) -> int:
    rows = (_row(one, datetime.now(UTC)) for one in _newest_first(outbox, _SHOWN[state]))
    if as_json:
        sys.stdout.write(json.dumps(list(rows), indent=2) + "\n")
        return 0
    _write_row({"age": "age", "item_id": "item"} | {name: name for name in ("state", "priority", "verdict", "error")})
    for row in rows:
        _write_row(row | {"age": _age(row["age_s"])})
    return 0


def _write_row(row: Mapping[str, Any]) -> None:
    sys.stdout.write(_ROW.format(**row).rstrip() + "\n")


def _newest_first(outbox: Outbox, states: tuple[State, ...]) -> Iterator[Listed]:
    before = None
    while part := outbox.page(before, _PART, states=states):
        yield from part
        before = part[-1].seq


def _row(one: Listed, now: datetime) -> dict[str, Any]:
    record = one.record
    return {
        "seq": one.seq,
        "record_id": record.record_id,
        "state": one.state,
        "priority": _PRIORITIES[one.priority],
        "age_s": max(0, round((now - datetime.fromisoformat(record.scanned_at)).total_seconds())),
        "item_id": record.item_id,
        "verdict": record.verdict,
        "objected": one.objected,
        "answer": encode(one.answer),
        "error": one.error,
    }


def _age(seconds: int) -> str:
    for size, unit in ((60, "s"), (60, "min"), (24, "h")):
        if seconds < size:
            return f"{seconds} {unit}"
        seconds //= size
    return f"{seconds} day{'' if seconds == 1 else 's'}"


def _verify(outbox: Outbox, photos: ContentFolder) -> int:
    found = 0
    for problem in problems(outbox, photos, Progress("records")):
        sys.stdout.write(problem + "\n")
        found += 1
    tally = outbox.tally()
    if not found:
        sys.stdout.write(f"whole: {tally.recorded} recorded = {tally.acked} acked + {tally.pending} pending\n")
    return 1 if found else 0


def _export(home: Home, outbox: Outbox, folder: Path) -> int:
    from edge_agent.device_key import DeviceKey  # costs a tenth of a second, and only this needs it
    from edge_agent.export import write_export

    exported = write_export(
        folder,
        outbox=outbox,
        photos=ContentFolder(home.photos),
        station_id=require_identity(home).station_id,
        sign=DeviceKey.load(home).sign,
        now=datetime.now(UTC),
        progress=Progress("records"),
    )
    listing = exported.listing
    sys.stdout.write(
        f"exported and read back: {len(listing.records)} records, {len(listing.photos)} photos, "
        f"{len(listing.objections)} objections in {folder}; nothing was taken out of this station\n"
        "at the server: touchstone-server import FOLDER\n"
    )
    for line in exported.lost:
        sys.stderr.write(f"touchstone-agent: {line}\n")
    return 1 if exported.lost else 0
