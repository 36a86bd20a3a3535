"""Scans one item in this process, where no daemon runs: slower, as the model is loaded for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from edge_agent.agent import build
from edge_agent.capture import view_of_stem
from edge_agent.desk.ask import Item
from edge_agent.home import Home
from edge_agent.identity import require_identity
from edge_agent.release_book import NO_MODEL, ReleaseBook
from edge_agent.running_model import RunningModel
from edge_agent.station import Scanned, ScanRequest
from runtime.contracts.bundle import ANY_VIEW, MANIFEST_FILE, read_manifest
from runtime.contracts.errors import StationFault, Untrusted


def scan_here(home: Home, item: Item) -> Scanned:
    """Scan one item; see ``Station.scan`` for what it returns and raises.

    Raises:
        StationFault: besides, this station is not enrolled.
    """
    require_identity(home)
    home.create()
    parts = build(home, threading.Event())

    def loaded() -> RunningModel:
        # The committed bundle id was verified by 'run', its signature too; its bytes are checked against it here.
        parts.slot.restore(None)
        return parts.slot.require()

    try:
        photos: dict[str, tuple[bytes, ...]] = {}
        views = _views(home, parts.slot.book)
        for view, photo in [
            *((view_of_stem(stem, views), photo) for stem, photo in item.by_name),
            *((view, photo) for view, several in item.photos.items() for photo in several),
        ]:
            photos[view] = (*photos.get(view, ()), photo)
        return parts.station.scan(ScanRequest(item_id=item.item_id, photos=photos, listing=item.listing), loaded)
    finally:
        parts.outbox.close()


def _views(home: Home, book: ReleaseBook) -> Sequence[str]:
    proved = book.proved()
    if not proved:
        raise StationFault(NO_MODEL)
    try:
        return read_manifest((home.bundles / proved[0].bundle_id / MANIFEST_FILE).read_bytes()).views
    except (OSError, Untrusted):  # whoever scans finds the bundle before this one, or says what is wrong
        return (ANY_VIEW,)
