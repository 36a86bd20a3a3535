"""Routes of the update repository: TUF metadata for anybody, files and patches for stations, the list for people."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Response
from starlette.responses import FileResponse

from sync_server.api.callers import Caller, Device, Services, Shared
from sync_server.patching import Patches
from sync_server.refusals import NotFound
from sync_server.releases import Release, fresh_timestamp, is_bundle_file, list_releases, stored_metadata
from sync_server.tuf_roles import OFFLINE_ROLES, RoleName

router = APIRouter(prefix="/v1", tags=["releases"])
_METADATA_NAME = re.compile(r"([1-9][0-9]{0,8})\.(root|targets|snapshot)\.json")
_TARGET_NAME = re.compile(r"([0-9a-f]{64})\.manifest\.json")
_ROLES: dict[str, RoleName] = {role: role for role in (*OFFLINE_ROLES, "snapshot")}


@router.get("/tuf/{file}", response_class=Response)
def metadata(file: str, shared: Shared) -> Response:
    """Return TUF metadata: ``timestamp.json`` or ``VERSION.ROLE.json``. It proves itself, so anybody may read it."""
    if file == "timestamp.json":
        now = shared.now()
        return Response(fresh_timestamp(shared.store, shared.settings.online_keys, now), media_type="application/json")
    match = _METADATA_NAME.fullmatch(file)
    if match is None:
        raise NotFound(f"TUF metadata {file[:40]!r}: expected timestamp.json or VERSION.ROLE.json")
    with shared.store.read() as connection:
        data = stored_metadata(connection, _ROLES[match[2]], int(match[1]))
    if data is None:
        raise NotFound(f"TUF metadata {file[:40]!r}: there is no such version")
    return Response(data, media_type="application/json")


@router.get("/tuf/targets/{path:path}", response_class=FileResponse)
def manifest(path: str, _: Device, shared: Shared) -> FileResponse:
    """Return a release's manifest; the last part of the path is its SHA-256 and ``.manifest.json``."""
    match = _TARGET_NAME.fullmatch(path.rpartition("/")[2])
    if match is None:
        raise NotFound("TUF target: expected NAME/RELEASE/SHA256.manifest.json")
    return _file(shared, match[1])


@router.get("/files/{sha256}", response_class=FileResponse)
def bundle_file(sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")], _: Device, shared: Shared) -> FileResponse:
    """Return one file of a published bundle, by content hash; ranges are served."""
    return _file(shared, sha256)


@router.get("/patches/{old}/{new}", response_class=FileResponse)
def patch(
    old: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
    new: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
    _: Device,
    shared: Shared,
) -> FileResponse:
    """Return the patch from one bundle file to another, if one was made; whoever gets none fetches the whole file."""
    path = Patches(shared.settings.patches).path(old, new)
    if not path.is_file():
        raise NotFound(f"patch from {old[:12]} to {new[:12]}: there is none; fetch the whole file")
    return FileResponse(path, media_type="application/zstd")


@router.get("/releases")
def releases(_: Caller, shared: Shared) -> tuple[Release, ...]:
    """List the published releases, newest first."""
    with shared.store.read() as connection:
        return list_releases(connection)


def _file(shared: Services, sha256: str) -> FileResponse:
    with shared.store.read() as connection:
        known = is_bundle_file(connection, sha256)
    if not known or sha256 not in shared.blobs:
        raise NotFound(f"bundle file {sha256[:12]}: belongs to no published bundle")
    return FileResponse(shared.blobs.path(sha256), media_type="application/octet-stream")
