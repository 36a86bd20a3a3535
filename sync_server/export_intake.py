"""Takes in what a station wrote to a folder (``runtime.contracts.export``), by the same functions as the API.

Nothing in the folder counts but what the station's signature covers. Taking the same folder in again changes nothing,
and a file that is refused keeps no other from being taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.durable import check_hash, sha256_hex
from runtime.contracts.errors import Unsupported, Untrusted
from runtime.contracts.export import LISTING_FILE, MAX_LISTING_BYTES, OBJECTIONS, PHOTOS, RECORDS, Export
from runtime.contracts.records import MAX_PHOTO_BYTES, Record, StationId
from runtime.contracts.sync import MAX_RECORD_BYTES, Objection
from sync_server.api.callers import Services
from sync_server.auth import check_export
from sync_server.intake import check_record, find_photo, keep_photo, take_record
from sync_server.objections import take_objection
from sync_server.refusals import PhotosMissing


@dataclass(slots=True)
class Count:
    """How many were new here, and how many were here already."""

    new: int = 0
    known: int = 0

    def add(self, is_new: bool) -> None:
        """Count one."""
        self.new += is_new
        self.known += not is_new


@dataclass(slots=True)
class Taken:
    """What came of a folder; ``refused`` has one line for each file that was not taken."""

    station_id: StationId
    records: Count = field(default_factory=Count)
    photos: Count = field(default_factory=Count)
    objections: Count = field(default_factory=Count)
    refused: list[str] = field(default_factory=list)


def import_export(services: Services, folder: Path, progress: Callable[[int, int], object]) -> Taken:
    """Take in a folder: photos, then records, then objections.

    Args:
        services: of this server.
        folder: what ``touchstone-agent outbox export`` wrote.
        progress: told how many of all files are done.

    Raises:
        Untrusted: the folder is not signed by a station that is enrolled here, or its listing was changed.
        TryLater: the database is busy or away; do it again.
        StationFault: the disk or the database of this server needs a person.
    """
    data = _read(folder / LISTING_FILE, MAX_LISTING_BYTES)
    export = decode(Export, parse_json(data, LISTING_FILE), LISTING_FILE)
    with services.store.read() as connection:
        station = check_export(connection, export)
    source, listing, taken = _Source(services, folder, station), export.listing, Taken(station)
    steps: list[tuple[str, str, Count, Callable[[], bool]]] = [
        *(("photo", name, taken.photos, partial(source.photo, name)) for name in listing.photos),
        *(
            ("record", name, taken.records, partial(source.record, name, sha256))
            for name, sha256 in listing.records.items()
        ),
        *(
            ("objection", name, taken.objections, partial(source.objection, name, sha256))
            for name, sha256 in listing.objections.items()
        ),
    ]
    for done, (what, name, count, take) in enumerate(steps, 1):
        try:
            count.add(take())
        except (PhotosMissing, Unsupported, Untrusted) as error:
            taken.refused.append(f"{what} {name[:12]}: {error}")
        progress(done, len(steps))
    return taken


class _Source:
    """The files of one folder. Each method takes one in, and tells whether it was new here."""

    def __init__(self, services: Services, folder: Path, station: StationId) -> None:
        self._services = services
        self._folder = folder
        self._station = station

    def photo(self, sha256: str) -> bool:
        store, blobs = self._services.store, self._services.blobs
        with store.read() as connection:
            if find_photo(connection, sha256) is not None and sha256 in blobs:
                return False
        data = _read(self._folder / PHOTOS / check_hash(sha256), MAX_PHOTO_BYTES)
        with blobs.writer(sha256) as writer:
            writer.write(data)
            return keep_photo(store, writer, sha256)

    def record(self, record_id: str, sha256: str) -> bool:
        data = self._signed(RECORDS, record_id, sha256)
        record = decode(Record, parse_json(data, "record"), "record")
        check_record(record, record_id, self._station)
        with self._services.store.write() as connection:
            return take_record(connection, record, self._services.blobs, self._services.now())

    def objection(self, record_id: str, sha256: str) -> bool:
        data = self._signed(OBJECTIONS, record_id, sha256)
        objection = decode(Objection, parse_json(data, "objection"), "objection")
        services = self._services
        with services.store.write() as connection:
            return take_objection(connection, record_id, self._station, objection, services.blobs, services.now())

    def _signed(self, kind: str, record_id: str, sha256: str) -> bytes:
        data = _read(self._folder / kind / f"{check_hash(record_id)}.json", MAX_RECORD_BYTES)
        if sha256_hex(data) != sha256:
            raise Untrusted(f"the file is not the one that {self._station} signed; export it again")
        return data


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise Unsupported(
            f"{path}: cannot be read ({error.strerror}); name the folder that 'touchstone-agent outbox export' wrote"
        ) from error
    if len(data) > max_bytes:
        raise Unsupported(f"{path}: expected at most {max_bytes} bytes")
    return data
