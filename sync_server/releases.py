"""The server's TUF repository: keep its metadata, sign snapshot and timestamp, say what stations should run.

All metadata lives in the database, so N web processes serve one repository. Whoever re-signs holds the lock on the root
row; versions therefore only rise. The offline keys never come near this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from sqlalchemy import Connection, delete, func, select
from tuf.api.metadata import Snapshot, Timestamp  # type: ignore[attr-defined]

from runtime.contracts.errors import StationFault
from runtime.contracts.records import BundleId
from sync_server import tuf_roles
from sync_server.schema import BUNDLE_FILES, RELEASES, TUF_METADATA
from sync_server.store import Store
from sync_server.tuf_roles import RoleName


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One published release; ``published_at`` is ISO 8601 in UTC."""

    release: int
    name: str
    bundle_id: BundleId
    target: str
    floor: int
    published_at: str


def fresh_timestamp(store: Store, online_keys: Path, now: datetime) -> bytes:
    """Return the timestamp metadata, signed anew (with the snapshot, if need be) when past half of its life.

    Raises:
        StationFault: an online key cannot be read.
    """
    with store.read() as connection:
        timestamp, stale, _ = _online_state(connection, now)
    if not stale:
        return timestamp
    signers = online_signers(online_keys)
    with store.write() as connection:
        lock_metadata(connection)
        timestamp, stale, stale_snapshot = _online_state(connection, now)
        if stale:
            sign_online(connection, signers, now, new_snapshot=stale_snapshot)
            timestamp = newest_metadata(connection, "timestamp")[1]
    return timestamp


def list_releases(connection: Connection) -> tuple[Release, ...]:
    """Return every published release, newest first."""
    rows = connection.execute(select(RELEASES).order_by(RELEASES.c.release.desc()))
    return tuple(Release(**row._mapping) for row in rows)


def assigned_target(connection: Connection) -> str | None:
    """Return the target path that stations should run: the newest release."""
    query = select(RELEASES.c.target).order_by(RELEASES.c.release.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def is_bundle_file(connection: Connection, sha256: str) -> bool:
    """Tell whether a blob belongs to a published bundle, its manifest included."""
    query = select(func.count()).where(BUNDLE_FILES.c.sha256 == sha256)
    return connection.execute(query).scalar_one() > 0


def stored_metadata(connection: Connection, role: RoleName, version: int) -> bytes | None:
    """Return one version of a role's metadata."""
    query = select(TUF_METADATA.c.bytes).where(TUF_METADATA.c.role == role, TUF_METADATA.c.version == version)
    return connection.execute(query).scalar_one_or_none()


def first_root(connection: Connection) -> bytes:
    """Return the first root metadata, which enrolment codes pin.

    Raises:
        StationFault: the database has lost it.
    """
    data = stored_metadata(connection, "root", 1)
    if data is None:
        raise StationFault("database: it holds no root metadata; restore it from a copy")
    return data


def newest_metadata(connection: Connection, role: RoleName) -> tuple[int, bytes]:
    """Return the newest version of a role's metadata, and its bytes.

    Raises:
        StationFault: the database has lost it.
    """
    query = select(TUF_METADATA).where(TUF_METADATA.c.role == role).order_by(TUF_METADATA.c.version.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise StationFault(f"database: it holds no {role} metadata; restore it from a copy")
    return row.version, bytes(row.bytes)


def put_metadata(connection: Connection, role: RoleName, version: int, data: bytes) -> None:
    """Store a new version of a role's metadata; of timestamps only the newest is kept."""
    connection.execute(TUF_METADATA.insert().values(role=role, version=version, bytes=data))
    if role == "timestamp":
        connection.execute(delete(TUF_METADATA).where(TUF_METADATA.c.role == role, TUF_METADATA.c.version < version))


def sign_online(
    connection: Connection, signers: dict[RoleName, CryptoSigner], now: datetime, *, new_snapshot: bool
) -> None:
    """Sign a new timestamp, and a new snapshot of the newest targets first if asked to; needs ``lock_metadata``."""
    snapshot_version = newest_metadata(connection, "snapshot")[0]
    if new_snapshot:
        snapshot_version += 1
        targets_version = newest_metadata(connection, "targets")[0]
        data = tuf_roles.snapshot_bytes(snapshot_version, targets_version, signers["snapshot"], now)
        put_metadata(connection, "snapshot", snapshot_version, data)
    version = newest_metadata(connection, "timestamp")[0] + 1
    put_metadata(
        connection,
        "timestamp",
        version,
        tuf_roles.timestamp_bytes(version, snapshot_version, signers["timestamp"], now),
    )


def lock_metadata(connection: Connection) -> None:
    """Hold everybody else off the metadata until this transaction ends."""
    query = select(TUF_METADATA.c.version).where(TUF_METADATA.c.role == "root", TUF_METADATA.c.version == 1)
    connection.execute(query.with_for_update())


def online_signers(online_keys: Path) -> dict[RoleName, CryptoSigner]:
    """Load the snapshot and timestamp keys.

    Raises:
        StationFault: one cannot be read.
    """
    signers: dict[RoleName, CryptoSigner] = {}
    for role in tuf_roles.ONLINE_ROLES:
        path = online_keys / f"{role}.pem"
        try:
            signers[role] = tuf_roles.signer_from_pem(path.read_bytes(), str(path))
        except OSError as error:
            raise StationFault(f"{path}: cannot be read ({error.strerror}); restore it from a copy") from error
    return signers


def _online_state(connection: Connection, now: datetime) -> tuple[bytes, bool, bool]:
    timestamp = newest_metadata(connection, "timestamp")[1]
    snapshot = newest_metadata(connection, "snapshot")[1]
    stale_snapshot = tuf_roles.past_half_life(tuf_roles.parse(Snapshot, snapshot, "snapshot").signed, "snapshot", now)
    parsed = tuf_roles.parse(Timestamp, timestamp, "timestamp").signed
    return timestamp, stale_snapshot or tuf_roles.past_half_life(parsed, "timestamp", now), stale_snapshot
