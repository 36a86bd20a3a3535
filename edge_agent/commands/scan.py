"""``touchstone-agent scan``: the running daemon scans, as its model is loaded; without one this process does.

Imports what asking the daemon needs, and the rest only where it must: a scan starts fast and needs no server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.desk import ask
from edge_agent.home import Home
from runtime.contracts.codec import canonical_json, decode, encode, parse_json
from runtime.contracts.errors import StationFault, Unsupported, Untrusted
from runtime.contracts.records import MAX_PHOTO_BYTES, SHOWN, Record, RecordId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFile:
    """What ``--listing`` reads: feature name to value, null for unknown."""

    listing: Mapping[str, float | None]


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Scan one item and print its verdict."""
    is_served = home.desk_socket.exists()
    if not is_served:
        from edge_agent.identity import require_identity

        require_identity(home)
    item = _read_item(arguments)
    verdict = ask.scan(ask.by_socket(home.desk_socket), item) if is_served else None
    if verdict is None:
        from edge_agent.own_scan import scan_here

        scanned = scan_here(home, item)
        record, verdict = scanned.record, {**encode(scanned.record), "again": scanned.again}
    elif arguments.json:
        record = _record(home, str(verdict.get("record_id")))
    sys.stdout.write(canonical_json(record).decode() + "\n" if arguments.json else _shown(verdict))
    return 0


def _record(home: Home, record_id: str) -> Record:
    """Return the whole record, of which the verdict has a part."""
    from edge_agent.outbox import Outbox

    outbox = Outbox(home.database_file)
    try:
        record = outbox.find(RecordId(record_id))
    finally:
        outbox.close()
    if record is None:
        raise StationFault(f"record {record_id[:80]!a}: the running agent has it, and {home.root} does not; restart it")
    return record


def _read_item(arguments: argparse.Namespace) -> ask.Item:
    named: dict[str, list[str]] = {}
    for pair in arguments.view:
        view, equals, path = pair.partition("=")
        if not equals or not view or not path:
            raise Unsupported(f"--view {pair!r}: expected NAME=PHOTO")
        named.setdefault(view, []).append(path)
    if not (arguments.photos or named):
        raise Unsupported("scan: expected at least one photo; give PHOTO or --view NAME=PHOTO")
    return ask.Item(
        item_id=arguments.item,
        listing=_read_listing(arguments.listing),
        by_name=[(Path(path).stem, _read(path, MAX_PHOTO_BYTES)) for path in arguments.photos],
        photos={view: [_read(path, MAX_PHOTO_BYTES) for path in paths] for view, paths in named.items()},
    )


def _read_listing(path: str | None) -> Mapping[str, float | None] | None:
    if path is None:
        return None
    data = parse_json(_read(path, 256 * 1024), path)
    try:
        return decode(ListingFile, {"listing": data}, path).listing
    except Untrusted as error:
        raise Unsupported(str(error)) from error


def _read(path: str, most: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise StationFault(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > most:
        raise Unsupported(f"{path}: expected at most {most} bytes")
    return data


def _shown(verdict: Mapping[str, Any]) -> str:
    """Put a verdict into words, as the desk gives it or as a record has it."""
    again = f"already scanned at {verdict['scanned_at']}: " if verdict["again"] else ""
    lines = [f"{again}{verdict['item_id']}: {SHOWN[verdict['verdict']]} ({verdict['verdict']})"]
    lines += [f"  {reason['text']}" for reason in verdict["reasons"]]
    return "\n".join(lines) + "\n"
