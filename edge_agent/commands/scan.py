"""``touchstone-agent scan``. Imports nothing of the network: a scan starts fast and needs no server."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.agent import Parts, build
from edge_agent.home import Home
from edge_agent.running_model import RunningModel
from edge_agent.station import Scanned, ScanRequest
from runtime.contracts.bundle import ANY_VIEW, MANIFEST_FILE, read_manifest
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import StationFault, Unsupported, Untrusted
from runtime.contracts.records import SHOWN
from runtime.contracts.sync import MAX_PHOTO_BYTES

UNNAMED_VIEW = "photo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFile:
    """What ``--listing`` reads: feature name to value, null for unknown."""

    listing: Mapping[str, float | None]


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Scan one item and print its verdict."""
    parts = build(home, threading.Event())
    try:
        if not parts.slot.book.proved():
            parts.slot.require()
        listing = _read_listing(arguments.listing)
        photos = _read_photos(arguments.photos, arguments.view, _views(parts))
        scanned = parts.station.scan(
            ScanRequest(item_id=arguments.item, photos=photos, listing=listing), lambda: _loaded(parts)
        )
    finally:
        parts.outbox.close()
    if arguments.json:
        sys.stdout.write(canonical_json(scanned.record).decode() + "\n")
    else:
        sys.stdout.write(_shown(scanned))
    return 0


def _loaded(parts: Parts) -> RunningModel:
    # The committed bundle id was verified by 'run', offline signature included; its bytes are checked against it here.
    parts.slot.restore(None)
    return parts.slot.require()


def _views(parts: Parts) -> tuple[str, ...]:
    try:
        folder = parts.home.bundles / parts.slot.book.proved()[0].bundle_id
        return read_manifest((folder / MANIFEST_FILE).read_bytes()).views
    except (OSError, Untrusted):  # 'restore' will find the bundle before this one, or say what is wrong
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


def _shown(scanned: Scanned) -> str:
    record = scanned.record
    again = f"already scanned at {record.scanned_at}: " if scanned.again else ""
    lines = [f"{again}{record.item_id}: {SHOWN[record.verdict]} ({record.verdict})"]
    lines += [f"  {reason.text}" for reason in record.reasons]
    return "\n".join(lines) + "\n"
