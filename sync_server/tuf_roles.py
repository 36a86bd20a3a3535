"""Signing and verifying TUF metadata: keys, lifetimes, and the bytes of each role. No file, no database, no clock.

Root and targets are signed offline and live a year; snapshot and timestamp are signed by the running server and live
days, so that a station notices within a day when somebody freezes its view (TUF 5.4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from runtime.contracts.codec import decode, encode
from runtime.contracts.errors import StationFault, Untrusted
from runtime.contracts.records import BundleId
from runtime.contracts.sync import SIGNED_AT, ReleaseInfo, moment, target_path

RoleName = Literal["root", "targets", "snapshot", "timestamp"]
OFFLINE_ROLES: tuple[RoleName, ...] = ("root", "targets")
ONLINE_ROLES: tuple[RoleName, ...] = ("snapshot", "timestamp")
LIFETIMES: dict[RoleName, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=1),
}
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRelease:
    """One release that targets metadata lists: what is signed of it, and its manifest's hash and size in bytes."""

    info: ReleaseInfo
    bundle_id: BundleId
    manifest_size: int


def new_keys() -> dict[RoleName, CryptoSigner]:
    """Make one Ed25519 key for each role."""
    return {role: CryptoSigner.generate_ed25519() for role in (*OFFLINE_ROLES, *ONLINE_ROLES)}


def signer_from_pem(pem: bytes, what: str) -> CryptoSigner:
    """Load a private key.

    Raises:
        StationFault: the bytes are not a private key in PEM.
    """
    try:
        key: Any = load_pem_private_key(pem, None)
        return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))
    except (ValueError, TypeError) as error:
        raise StationFault(f"{what}: not a private key in PEM; restore the file from a copy") from error


def first_root(keys: dict[RoleName, CryptoSigner], now: datetime) -> bytes:
    """Return root metadata version 1, which names the key of each role."""
    root = Root(version=1, expires=_expiry("root", now), consistent_snapshot=True)
    for role, signer in keys.items():
        root.add_key(signer.public_key, role)
    return _signed(root, keys["root"], now)


def targets_bytes(releases: tuple[SignedRelease, ...], version: int, signer: CryptoSigner, now: datetime) -> bytes:
    """Return signed targets metadata that lists ``releases``."""
    files = {}
    for release in releases:
        path = target_path(release.info)
        custom = {"custom": encode(release.info)}
        files[path] = TargetFile(release.manifest_size, {"sha256": release.bundle_id}, path, custom)
    return _signed(Targets(version=version, expires=_expiry("targets", now), targets=files), signer, now)


def snapshot_bytes(version: int, targets_version: int, signer: CryptoSigner, now: datetime) -> bytes:
    """Return signed snapshot metadata that names one version of targets."""
    meta = {"targets.json": MetaFile(version=targets_version)}
    return _signed(Snapshot(version=version, expires=_expiry("snapshot", now), meta=meta), signer, now)


def timestamp_bytes(version: int, snapshot_version: int, signer: CryptoSigner, now: datetime) -> bytes:
    """Return signed timestamp metadata that names one version of the snapshot."""
    meta = MetaFile(version=snapshot_version)
    return _signed(Timestamp(version=version, expires=_expiry("timestamp", now), snapshot_meta=meta), signer, now)


def parse(kind: type[S], data: bytes, what: str) -> Metadata[S]:
    """Parse metadata of one role, unverified.

    Raises:
        Untrusted: it is something else; ``what`` names it.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (RepositoryError, SecureSystemsError, ValueError, KeyError, TypeError) as error:
        raise Untrusted(f"{what}: expected TUF metadata, got bytes that do not parse") from error
    if not isinstance(metadata.signed, kind):
        raise Untrusted(f"{what}: expected {kind.type} metadata, got {metadata.signed.type}")
    return metadata


def verified(kind: type[S], data: bytes, root: bytes, what: str) -> S:
    """Parse metadata and verify its signatures by a trusted root.

    Raises:
        Untrusted: it is something else, or not signed by the keys that the root names.
    """
    metadata = parse(kind, data, what)
    trusted = parse(Root, root, "root.json").signed
    try:
        trusted.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise Untrusted(f"{what}: not signed by the {kind.type} key that this server trusts; nothing was taken") from (
            error
        )
    return metadata.signed


def listed_releases(targets: Targets) -> tuple[SignedRelease, ...]:
    """Return what targets metadata lists, by rising release counter.

    Raises:
        Untrusted: an entry is not one of ours.
    """
    releases = []
    for path, entry in targets.targets.items():
        info = decode(ReleaseInfo, entry.custom, f"targets.json: {path}: custom")
        if target_path(info) != path or set(entry.hashes) != {"sha256"}:
            raise Untrusted(f"targets.json: {path}: its custom fields belong to {target_path(info)}")
        bundle_id = BundleId(entry.hashes["sha256"])
        releases.append(SignedRelease(info=info, bundle_id=bundle_id, manifest_size=entry.length))
    return tuple(sorted(releases, key=lambda release: release.info.release))


def past_half_life(signed: Snapshot | Timestamp, role: RoleName, now: datetime) -> bool:
    """Tell whether metadata has less than half of its life left."""
    return signed.expires - now < LIFETIMES[role] / 2


def _expiry(role: RoleName, now: datetime) -> datetime:
    return (now + LIFETIMES[role]).replace(microsecond=0)  # TUF has whole seconds


def signed_at(signed: S) -> datetime | None:
    """Return when metadata says that it was signed; ``None`` where it does not say so."""
    return moment(signed.unrecognized_fields.get(SIGNED_AT))


def _signed(payload: Any, signer: CryptoSigner, now: datetime) -> bytes:
    payload.unrecognized_fields[SIGNED_AT] = now.replace(microsecond=0).isoformat()
    metadata: Metadata[Any] = Metadata(payload)
    metadata.sign(signer)
    return metadata.to_bytes(JSONSerializer(compact=False))
