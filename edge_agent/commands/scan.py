"""``touchstone-agent scan``: the running daemon scans, as its model is loaded; without one this process does.

Imports nothing of the network, and what scans only where it must: a scan starts fast and needs no server.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.desk import ask
from edge_agent.home import Home
from edge_agent.identity import require_identity
from edge_agent.outbox import Outbox
from edge_agent.release_book import NO_MODEL, ReleaseBook
from runtime.contracts.bundle import ANY_VIEW, MANIFEST_FILE, read_manifest
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import StationFault, Unsupported, Untrusted
from runtime.contracts.records import SHOWN, Record, RecordId
from runtime.contracts.sync import MAX_PHOTO_BYTES

UNNAMED_VIEW = "photo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFile:
    """What ``--listing`` reads: feature name to value, null for unknown."""

    listing: Mapping[str, float | None]


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Scan one item and print its verdict."""
    require_identity(home)
    home.create()
    outbox = Outbox(home.database_file)
    try:
        views = _views(home, ReleaseBook(outbox))
        item = ask.Item(
            item_id=arguments.item,
            listing=_read_listing(arguments.listing),
            photos=_read_photos(arguments.photos, arguments.view, views),
        )
        record, again = _scanned_by_daemon(home, outbox, item) or _scanned_here(home, item)
    finally:
        outbox.close()
    sys.stdout.write(canonical_json(record).decode() + "\n" if arguments.json else _shown(record, again))
    return 0


def _scanned_by_daemon(home: Home, outbox: Outbox, item: ask.Item) -> tuple[Record, bool] | None:
    if not home.desk_socket.exists():
        return None
    verdict = ask.scan(ask.SocketFile(home.desk_socket), item)
    record = verdict and outbox.find(RecordId(str(verdict.get("record_id"))))
    return (record, verdict.get("again") is True) if verdict and record else None


def _scanned_here(home: Home, item: ask.Item) -> tuple[Record, bool]:
    from edge_agent.agent import build
    from edge_agent.running_model import RunningModel
    from edge_agent.station import ScanRequest

    parts = build(home, threading.Event())

    def loaded() -> RunningModel:
        # The committed bundle id was verified by 'run', its signature too; its bytes are checked against it here.
        parts.slot.restore(None)
        return parts.slot.require()

    try:
        photos = {view: tuple(photos) for view, photos in item.photos.items()}
        scanned = parts.station.scan(ScanRequest(item_id=item.item_id, photos=photos, listing=item.listing), loaded)
    finally:
        parts.outbox.close()
    return scanned.record, scanned.again


def _views(home: Home, book: ReleaseBook) -> tuple[str, ...]:
    proved = book.proved()
    if not proved:
        raise StationFault(NO_MODEL)
    try:
        return read_manifest((home.bundles / proved[0].bundle_id / MANIFEST_FILE).read_bytes()).views
    except (OSError, Untrusted):  # whoever scans finds the bundle before this one, or says what is wrong
        return (ANY_VIEW,)


def _read_photos(plain: Sequence[str], named: Sequence[str], views: Sequence[str]) -> dict[str, tuple[bytes, ...]]:
    found: list[tuple[str, str]] = []
    for path in plain:
        stem = Path(path).stem
        fits = stem in views or (ANY_VIEW in views and not stem.startswith("."))
        found.append((stem if fits else UNNAMED_VIEW, path))
    for pair in named:
        view, equals, path = pair.partition("=")
        if not equals or not view or not path:
            raise Unsupported(f"--view {pair!r}: expected NAME=PHOTO")
        found.append((view, path))
    if not found:
        raise Unsupported("scan: expected at least one photo; give PHOTO or --view NAME=PHOTO")
    photos: dict[str, tuple[bytes, ...]] = {}
    for view, path in found:
        photos[view] = (*photos.get(view, ()), _read(path, MAX_PHOTO_BYTES))
    return photos


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


def _shown(record: Record, scanned_before: bool) -> str:
    again = f"already scanned at {record.scanned_at}: " if scanned_before else ""
    lines = [f"{again}{record.item_id}: {SHOWN[record.verdict]} ({record.verdict})"]
    lines += [f"  {reason.text}" for reason in record.reasons]
    return "\n".join(lines) + "\n"
