"""Writes everything that the server has not taken to a folder, for the way without a network. See ``contracts.export``.

Changes nothing at this station: it neither acks nor deletes. A run that was cut off goes on where it was, as every file
is whole or not there, and the signed listing, written last, is what makes it an export.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_agent.outbox import Outbox
from edge_agent.outbox_views import Stored
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.durable import ContentFolder, make_folder, sha256_hex, write_durably
from runtime.contracts.errors import StationFault, Untrusted
from runtime.contracts.export import (
    LISTING_FILE,
    MAX_LISTING_BYTES,
    OBJECTIONS,
    PHOTOS,
    RECORDS,
    Export,
    Listing,
    export_claims,
)
from runtime.contracts.records import StationId

_PART = 200
Sign = Callable[[dict[str, str | int]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written and found whole again; ``lost`` says which photos are missing here, one line each."""

    listing: Listing
    lost: tuple[str, ...]


def write_export(
    folder: Path,
    *,
    outbox: Outbox,
    photos: ContentFolder,
    station_id: StationId,
    sign: Sign,
    now: datetime,
    progress: Callable[[int, int], object],
) -> Exported:
    """Write all unsent records, the photos of the cases among them, and objections; then read all of it back.

    Args:
        folder: new, empty, or an earlier export of this station.
        outbox: what is unsent.
        photos: of this station.
        station_id: of this station.
        sign: gives the JWT of claims.
        now: timezone-aware.
        progress: told how many of all records are done.

    Raises:
        StationFault: the folder is another's, or its disk does not hold what it was given.
        OSError: its disk refuses; run it again, it goes on where it was.
    """
    _check_folder(folder, station_id)
    for name in (RECORDS, OBJECTIONS, PHOTOS):
        make_folder(folder / name)
    pending, lost = outbox.tally().pending, []
    records: dict[str, str] = {}
    objections: dict[str, str] = {}
    wanted: set[str] = set()
    for one in unsent(outbox):
        records[one.record_id] = _write(folder / RECORDS / f"{one.record_id}.json", one.body)
        if one.objection is not None:
            path = folder / OBJECTIONS / f"{one.record_id}.json"
            objections[one.record_id] = _write(path, canonical_json(one.objection))
        for sha256 in set(one.photos) - wanted if one.is_case else ():
            data = _read_photo(photos, sha256)
            if data is None:
                lost.append(f"record {one.record_id[:12]}: photo {sha256[:12]} is not here whole; scan the item again")
            else:
                _write(folder / PHOTOS / sha256, data)
                wanted.add(sha256)
        progress(len(records), max(pending, len(records)))
    listing = Listing(
        station_id=station_id,
        made_at=now.isoformat(timespec="seconds"),
        records=records,
        objections=objections,
        photos=tuple(sorted(wanted)),
    )
    _verify(folder, listing)
    export = Export(listing=listing, signature=sign(export_claims(listing, int(now.timestamp()))))
    _write(folder / LISTING_FILE, canonical_json(export))
    return Exported(listing=listing, lost=tuple(lost))


def unsent(outbox: Outbox) -> Iterator[Stored]:
    """Yield what the server has not taken, in the order of scanning."""
    after = 0
    while part := outbox.stored(after=after, limit=_PART, unsent=True):
        yield from part
        after = part[-1].seq


def _check_folder(folder: Path, station_id: StationId) -> None:
    try:
        with (folder / LISTING_FILE).open("rb") as file:
            found = decode(Export, parse_json(file.read(MAX_LISTING_BYTES), LISTING_FILE), LISTING_FILE)
    except (FileNotFoundError, Untrusted):
        others = {path.name for path in folder.iterdir() if path.name[0] != "."} if folder.exists() else set()
        if others - {RECORDS, OBJECTIONS, PHOTOS, LISTING_FILE}:
            raise StationFault(f"{folder}: expected a new or an empty folder; name one on the stick") from None
        return
    if found.listing.station_id != station_id:
        raise StationFault(f"{folder}: it holds what {found.listing.station_id} exported; name another folder")


def _read_photo(photos: ContentFolder, sha256: str) -> bytes | None:
    try:
        return photos.read(sha256)
    except (OSError, Untrusted):
        return None


def _write(path: Path, data: bytes) -> str:
    if not path.is_file() or path.read_bytes() != data:
        write_durably(path, data)
    return sha256_hex(data)


def _verify(folder: Path, listing: Listing) -> None:
    files: Iterable[tuple[Path, str]] = [
        *((folder / RECORDS / f"{name}.json", sha256) for name, sha256 in listing.records.items()),
        *((folder / OBJECTIONS / f"{name}.json", sha256) for name, sha256 in listing.objections.items()),
        *((folder / PHOTOS / sha256, sha256) for sha256 in listing.photos),
    ]
    for path, sha256 in files:
        if sha256_hex(_read_from_disk(path)) != sha256:
            raise StationFault(f"{path}: does not read as it was written; use another stick")


def _read_from_disk(path: Path) -> bytes:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what this machine remembers proves nothing
        return file.read()
