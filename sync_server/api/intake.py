"""Routes that take in photos and records. A 200 or 201 means: durable here, the station may forget it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse

from runtime.contracts.errors import TryLater
from runtime.contracts.records import Record
from sync_server.api.bodies import strictly
from sync_server.api.callers import Caller, Device, Services, Shared
from sync_server.blobs import BlobWriter
from sync_server.intake import Photo, check_record, find_photo, note_photo, sniff, take_record
from sync_server.refusals import NotFound

router = APIRouter(prefix="/v1", tags=["intake"])
PhotoHash = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The word that something is durable here: ``id`` is the photo's hash or the record's id."""

    id: str
    new: bool


@router.put("/photos/{sha256}", status_code=201, responses={200: {"description": "It was here already"}})
async def put_photo(sha256: PhotoHash, request: Request, response: Response, _: Device, shared: Shared) -> Stored:
    """Store a photo (JPEG, PNG or WebP) under the SHA-256 of its bytes."""
    with await run_in_threadpool(shared.blobs.writer, sha256) as writer:
        try:
            async for chunk in request.stream():
                if chunk:
                    await run_in_threadpool(writer.write, chunk)
        except ClientDisconnect as error:
            raise TryLater("photo: the connection broke before its last byte; send it again") from error
        new = await run_in_threadpool(_keep_photo, shared, sha256, writer)
    response.status_code = 201 if new else 200
    return Stored(id=sha256, new=new)


@router.head("/photos/{sha256}", responses={404: {"description": "It is not here"}})
def has_photo(sha256: PhotoHash, _: Device, shared: Shared) -> Response:
    """Tell whether a photo is here."""
    return Response(status_code=200 if _stored_photo(shared, sha256) else 404)


@router.get("/photos/{sha256}", response_class=FileResponse)
def get_photo(sha256: PhotoHash, _: Caller, shared: Shared) -> FileResponse:
    """Return a photo's bytes to a person."""
    photo = _stored_photo(shared, sha256)
    if photo is None:
        raise NotFound(f"photo {sha256[:12]}: is not here")
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "Content-Security-Policy": "default-src 'none'"}
    return FileResponse(shared.blobs.path(sha256), media_type=photo.media_type, headers=headers)


@router.put("/records/{record_id}", status_code=201, responses={200: {"description": "The same was here already"}})
def put_record(
    record_id: str,
    record: Record,
    response: Response,
    station: Device,
    _: Annotated[None, strictly(Record)],
    shared: Shared,
) -> Stored:
    """Store a record; a case waits for an expert from then on. A case's photos come first."""
    check_record(record, record_id, station)
    with shared.store.write() as connection:
        new = take_record(connection, record, shared.blobs, shared.now())
    response.status_code = 201 if new else 200
    return Stored(id=record_id, new=new)


def _keep_photo(shared: Services, sha256: str, writer: BlobWriter) -> bool:
    media_type = sniff(writer.head)
    writer.commit()
    with shared.store.write() as connection:
        return note_photo(connection, Photo(sha256=sha256, size=writer.size, media_type=media_type))


def _stored_photo(shared: Services, sha256: str) -> Photo | None:
    with shared.store.read() as connection:
        photo = find_photo(connection, sha256)
    return photo if photo is not None and sha256 in shared.blobs else None
