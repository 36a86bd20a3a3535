"""Export: the newest release as a folder that a station can be updated from with no network, or any web server mirror.

The folder has the server's paths, so what a station would have asked it finds there. Snapshot and timestamp are signed
anew for it; they expire as all others do, and with them the folder. Holds no secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import make_folder, write_durably
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.sync import Assignment
from sync_server import tuf_roles
from sync_server.blobs import Blobs
from sync_server.releases import Release, list_releases, lock_metadata, newest_metadata, online_signers, sign_online
from sync_server.schema import BUNDLE_FILES, TUF_METADATA
from sync_server.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What ``export_release`` wrote, and until when a station takes it."""

    release: Release
    files: int
    size: int
    usable_until: datetime


def export_release(store: Store, blobs: Blobs, online_keys: Path, folder: Path, now: datetime) -> Exported:
    """Write the newest release, with all that admits it, into ``folder``.

    Raises:
        StationFault: the folder cannot be written, or the server has lost a file.
        Unsupported: nothing was published yet, or the folder holds something.
    """
    signers = online_signers(online_keys)
    with store.write() as connection:
        lock_metadata(connection)
        newest = next(iter(list_releases(connection)), None)
        if newest is None:
            raise Unsupported("export: nothing was published yet; publish a release first")
        sign_online(connection, signers, now, new_snapshot=True)
        roots = connection.execute(select(TUF_METADATA).where(TUF_METADATA.c.role == "root")).all()
        metadata = {f"{row.version}.root.json": bytes(row.bytes) for row in roots}
        for role in ("targets", "snapshot"):
            version, data = newest_metadata(connection, role)
            metadata[f"{version}.{role}.json"] = data
        metadata["timestamp.json"] = newest_metadata(connection, "timestamp")[1]
        query = select(BUNDLE_FILES.c.sha256).where(BUNDLE_FILES.c.bundle_id == newest.bundle_id).distinct()
        hashes = sorted(connection.execute(query).scalars())
    try:
        size = _write(folder, metadata, Assignment(target=newest.target), blobs, hashes)
    except OSError as error:
        raise StationFault(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    until = now + min(tuf_roles.LIFETIMES[role] for role in tuf_roles.ONLINE_ROLES)
    return Exported(release=newest, files=len(hashes), size=size, usable_until=until)


def _write(folder: Path, metadata: dict[str, bytes], assignment: Assignment, blobs: Blobs, hashes: list[str]) -> int:
    make_folder(folder)
    if any(folder.iterdir()):
        raise Unsupported(f"{folder}: expected an empty folder, got one with files; choose another")
    size = 0
    for sha256 in hashes:
        size += _put(folder / "v1" / "files" / sha256, blobs.read(sha256))
    size += _put(folder / "v1" / "station" / "assignment", canonical_json(assignment))
    for name, data in sorted(metadata.items()):  # timestamp.json comes last: without it a station takes nothing
        size += _put(folder / "v1" / "tuf" / name, data)
    return size


def _put(path: Path, data: bytes) -> int:
    make_folder(path.parent)
    write_durably(path, data)
    return len(data)
