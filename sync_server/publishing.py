"""Publishing: a signed bundle becomes the newest release, whole or not at all.

Its files come first, by content hash, and patches to them; then one transaction makes it the release. Killed in
between, nothing has changed but that some files are here already. The signature is verified here, but made where the
keys are: see ``signing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, func, select
from tuf.api.metadata import Targets  # type: ignore[attr-defined]

from runtime.contracts.bundle import MANIFEST_FILE
from runtime.contracts.errors import Untrusted
from runtime.contracts.sync import moment, target_path
from sync_server import tuf_roles
from sync_server.blobs import Blobs
from sync_server.bundles import SIGNED_FILE, CheckedBundle, check_bundle
from sync_server.patching import Patches, files_of_newest, patches_wanted
from sync_server.releases import lock_metadata, newest_metadata, online_signers, put_metadata, sign_online
from sync_server.schema import BUNDLE_FILES, RELEASES, stamp
from sync_server.store import Store, insert_new
from sync_server.tuf_roles import SignedRelease

_CLOCKS_DIFFER_BY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What ``publish`` did; ``new`` is false where this was the newest release already."""

    release: SignedRelease
    new: bool
    files_stored: int
    files_kept: int
    patches: int = 0


def publish(store: Store, blobs: Blobs, patches: Patches, online_keys: Path, folder: Path, now: datetime) -> Published:
    """Take a signed bundle: its files first, then in one transaction all that makes it the newest release.

    Raises:
        StationFault: an online key cannot be read, or the disk refuses.
        Untrusted: the bundle or its signature is not in order; nothing was published.
    """
    bundle = check_bundle(folder)
    signed = _signed_file(folder)
    with store.read() as connection:
        release = _checked(connection, bundle, signed, now)
        wanted = patches_wanted(connection, bundle.manifest.files)
    if release is None:
        return Published(release=_listed(signed, bundle), new=False, files_stored=0, files_kept=0)
    stored = sum(blobs.copy_in(folder / entry.path, entry.sha256) for entry in bundle.manifest.files)
    stored += blobs.copy_in(folder / MANIFEST_FILE, bundle.bundle_id)
    made = patches.make(blobs, wanted)
    signers = online_signers(online_keys)
    with store.write() as connection:
        lock_metadata(connection)
        if _checked(connection, bundle, signed, now) is None:  # somebody published it meanwhile
            return Published(release=release, new=False, files_stored=stored, files_kept=0)
        _admit(connection, bundle, release, now)
        version = tuf_roles.parse(Targets, signed, "targets.json").signed.version
        put_metadata(connection, "targets", version, signed)
        sign_online(connection, signers, now, new_snapshot=True)
        newest = files_of_newest(connection)
    patches.keep_only(newest)
    return Published(
        release=release,
        new=True,
        files_stored=stored,
        files_kept=len(bundle.manifest.files) + 1 - stored,
        patches=made,
    )


def _checked(connection: Connection, bundle: CheckedBundle, signed: bytes, now: datetime) -> SignedRelease | None:
    """Return the release if it may be published, ``None`` if it is the newest one already."""
    root = newest_metadata(connection, "root")[1]
    targets = tuf_roles.verified(Targets, signed, root, str(SIGNED_FILE))
    release = _listed(signed, bundle)
    current_version, current = newest_metadata(connection, "targets")
    if signed == current:
        return None
    if targets.version <= current_version:
        raise Untrusted(
            f"{SIGNED_FILE}: expected a version above {current_version}, which is published, got {targets.version}; "
            "sign the bundle again"
        )
    _check_clocks(bundle, tuf_roles.signed_at(targets), now)
    if targets.expires <= now:
        raise Untrusted(f"{SIGNED_FILE}: expired on {targets.expires:%Y-%m-%d}; sign the bundle again")
    last = connection.execute(select(func.max(RELEASES.c.release))).scalar() or 0
    if release.info.release <= last:
        raise Untrusted(f"{SIGNED_FILE}: expected a release above {last}, got {release.info.release}; sign it again")
    return release


def _check_clocks(bundle: CheckedBundle, signed_at: datetime | None, now: datetime) -> None:
    """Refuse what was built or signed in the future: stations take it to be no earlier than that, and would wait."""
    made = moment(bundle.manifest.created_at)
    for what, at, again in ((MANIFEST_FILE, made, "build the bundle again"), (SIGNED_FILE, signed_at, "sign it again")):
        if at is not None and at > now + _CLOCKS_DIFFER_BY:
            raise Untrusted(
                f"{what}: was made on {at:%Y-%m-%d %H:%M}, which lies ahead of this server's clock "
                f"({now:%Y-%m-%d %H:%M}); set the clock that is wrong, then {again}"
            )


def _listed(signed: bytes, bundle: CheckedBundle) -> SignedRelease:
    listed = tuf_roles.listed_releases(tuf_roles.parse(Targets, signed, str(SIGNED_FILE)).signed)
    if not listed or listed[-1].bundle_id != bundle.bundle_id or listed[-1].info.name != bundle.manifest.name:
        raise Untrusted(
            f"{SIGNED_FILE}: its newest release is not this bundle ({bundle.bundle_id[:12]}); sign this bundle, then "
            "publish it"
        )
    return listed[-1]


def _admit(connection: Connection, bundle: CheckedBundle, release: SignedRelease, now: datetime) -> None:
    row = {
        "release": release.info.release,
        "name": release.info.name,
        "bundle_id": bundle.bundle_id,
        "target": target_path(release.info),
        "floor": release.info.floor,
        "published_at": stamp(now),
    }
    connection.execute(RELEASES.insert().values(row))
    files = [(entry.path, entry.sha256, entry.size) for entry in bundle.manifest.files]
    for path, sha256, size in (*files, (MANIFEST_FILE, bundle.bundle_id, len(bundle.raw))):
        file = {"bundle_id": bundle.bundle_id, "path": path, "sha256": sha256, "size": size}
        insert_new(connection, BUNDLE_FILES, file)


def _signed_file(folder: Path) -> bytes:
    path = folder / SIGNED_FILE
    try:
        return path.read_bytes()
    except OSError as error:
        raise Untrusted(
            f"{path}: cannot be read ({error.strerror}); run 'touchstone-server sign {folder} ...' where the keys are"
        ) from error
