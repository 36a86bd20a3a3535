"""Routes that take in photos, records and objections. A 200 or 201 means: durable here, the station may forget it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse

from runtime.contracts.errors import TryLater
from runtime.contracts.records import Record, StationId
from runtime.contracts.sync import UPLOAD_OFFSET, Objection
from sync_server.api.bodies import strictly
from sync_server.api.callers import Caller, Device, Services, Shared
from sync_server.intake import Photo, check_record, find_photo, keep_photo, note_photo, take_record
from sync_server.objections import take_objection
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
        new = await run_in_threadpool(keep_photo, shared.store, writer, sha256)
    response.status_code = 201 if new else 200
    return Stored(id=sha256, new=new)


@router.patch(
    "/photos/{sha256}",
    status_code=201,
    responses={
        200: {"description": "All of it was here already"},
        204: {"description": f"The piece is here; {UPLOAD_OFFSET} says where the next one begins"},
        409: {"description": f"{UPLOAD_OFFSET} says where it goes on"},
    },
)
async def patch_photo(
    sha256: PhotoHash,
    request: Request,
    station: Device,
    shared: Shared,
    upload_offset: Annotated[int, Header(ge=0)],
    upload_length: Annotated[int, Header(ge=1)],
) -> Response:
    """Store the next piece of a photo (after tus 1.0); with the last one, the photo, if its hash holds."""
    piece = await request.body()
    return await run_in_threadpool(_append, shared, sha256, station, upload_offset, upload_length, piece)


@router.head("/photos/{sha256}", responses={404: {"description": f"{UPLOAD_OFFSET} says how much of it is here"}})
def has_photo(sha256: PhotoHash, station: Device, shared: Shared) -> Response:
    """Tell whether a photo is here; if not, where this station's upload goes on."""
    if _stored_photo(shared, sha256):
        return Response(status_code=200)
    return Response(status_code=404, headers={UPLOAD_OFFSET: str(shared.uploads.offset(sha256, station))})


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


@router.put("/records/{record_id}/objection", status_code=201, responses={200: {"description": "It was here already"}})
def put_objection(
    record_id: str,
    objection: Objection,
    response: Response,
    station: Device,
    _: Annotated[None, strictly(Objection)],
    shared: Shared,
) -> Stored:
    """Store that a person at the station disagrees; the record is a case from then on. Its photos come first."""
    with shared.store.write() as connection:
        new = take_objection(connection, record_id, station, objection, shared.blobs, shared.now())
    response.status_code = 201 if new else 200
    return Stored(id=record_id, new=new)


def _append(shared: Services, sha256: str, station: StationId, offset: int, length: int, piece: bytes) -> Response:
    if _stored_photo(shared, sha256):
        return _whole(sha256, new=False)
    appended = shared.uploads.append(sha256, station, offset=offset, length=length, piece=piece)
    if appended.photo is None:
        return Response(status_code=204, headers={UPLOAD_OFFSET: str(appended.offset)})
    with shared.store.write() as connection:
        return _whole(sha256, new=note_photo(connection, appended.photo))


def _whole(sha256: str, *, new: bool) -> Response:
    return JSONResponse({"id": sha256, "new": new}, status_code=201 if new else 200)


def _stored_photo(shared: Services, sha256: str) -> Photo | None:
    with shared.store.read() as connection:
        photo = find_photo(connection, sha256)
    return photo if photo is not None and sha256 in shared.blobs else None
