"""``POST /scans``: one item as a form, for conveyor software and ``touchstone-agent scan``. All of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from edge_agent.capture import view_and_number, view_of_stem
from edge_agent.desk import views
from edge_agent.desk.ask import BY_FILE_NAME
from edge_agent.desk.bodies import MAX_JSON_BYTES, bounded, in_time
from edge_agent.desk.services import desk_of, say
from edge_agent.station import MAX_PHOTOS, Listing, ScanRequest
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import MAX_PHOTO_BYTES, check_name

MAX_SCAN_BYTES = 2 * MAX_PHOTO_BYTES
_FIELDS = ("item_id", "listing")


class _Field(NamedTuple):
    name: str
    file_name: str
    value: str | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    listing: Mapping[str, float | None] | None


async def scan(request: Request) -> Response:
    """Scan one item; its record is on disk before the answer."""
    desk = desk_of(request)
    if not request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        raise Unsupported("scan: expected multipart/form-data with item_id and photos named by their views")
    async with desk.large:
        asked = _asked(await _form(request), desk.views())
        started_ns = time.monotonic_ns()
        scanned = await desk.blocking(desk.parts.station.scan, asked, desk.parts.slot.require)
    desk.decided(scanned, started_ns)
    if not scanned.again:
        return say(views.verdict(scanned.record), 201)
    became = await desk.blocking(desk.parts.outbox.listed, scanned.record.record_id)
    return say(views.verdict(scanned.record, again=True, became=became))


async def _form(request: Request) -> list[_Field]:
    parser = MultiPartParser(
        request.headers,
        bounded(request, MAX_SCAN_BYTES),
        max_files=MAX_PHOTOS + 1,  # the station says what is wrong with so many
        max_fields=len(_FIELDS),
        max_part_size=MAX_JSON_BYTES,
    )
    parser.spool_max_size = MAX_SCAN_BYTES  # photos go to the disk once, where they belong
    try:
        with in_time():
            form: FormData = await parser.parse()
    except MultiPartException as error:
        raise Unsupported(f"scan: the form cannot be read: {error.message}") from error
    return [
        _Field(name, value.filename or "", value.file.read())
        if isinstance(value, UploadFile)
        else _Field(name, "", value)
        for name, value in form.multi_items()
    ]


def _asked(form: list[_Field], model_views: Sequence[str]) -> ScanRequest:
    fields: dict[str, str] = {}
    photos: list[tuple[str, int, bytes]] = []
    for name, file_name, value in form:
        if isinstance(value, bytes) and name == BY_FILE_NAME:
            photos.append((check_name(view_of_stem(file_name, model_views), "view"), 1, value))
        elif isinstance(value, bytes):
            photos.append((*view_and_number(check_name(name, "view")), value))
        elif name in _FIELDS and name not in fields:
            fields[name] = value
        else:
            raise Unsupported(
                f"scan: field {name[:40]!a}: expected one each of {', '.join(_FIELDS)}, and photos as files"
            )
    if "item_id" not in fields:
        raise Unsupported("scan: expected a field item_id")
    by_view: dict[str, tuple[bytes, ...]] = {}
    for view, _, photo in sorted(photos, key=lambda one: one[:2]):
        by_view[view] = (*by_view.get(view, ()), photo)
    return ScanRequest(item_id=fields["item_id"], photos=by_view, listing=_listing(fields.get("listing")))


def _listing(text: str | None) -> Listing | None:
    if text is None:
        return None
    return decode(_Listing, {"listing": parse_json(text.encode("utf-8", "replace"), "listing")}, "scan").listing
