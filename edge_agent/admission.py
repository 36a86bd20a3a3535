"""The metadata that admitted a bundle, kept beside it and verified again at each start, offline.

What may run is said offline: the root chain from the pinned root, and the targets role that it names, signed over the
manifest's hash and its release. Snapshot and timestamp only say what is newest, so they are not kept. Expiry is ignored
on purpose: it stops updates, never scanning. Top-level targets only: a delegated role admits nothing here.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]

from runtime.contracts.codec import decode
from runtime.contracts.durable import make_folder, sync_folder, write_durably
from runtime.contracts.errors import Untrusted
from runtime.contracts.records import BundleId
from runtime.contracts.sync import ReleaseInfo, target_path

FOLDER = "admitted"
TARGETS_FILE = "targets.json"
MAX_ROOTS = 256
S = TypeVar("S", Root, Targets)


def root_file(version: int) -> str:
    """Return the file name of one version of the root."""
    return f"{version}.root.json"


def keep_admission(bundle: Path, release: int, metadata: Mapping[str, bytes]) -> None:
    """Store the metadata that admits ``bundle`` as ``release``, whole or not at all."""
    place = bundle / FOLDER / str(release)
    if place.is_dir():
        return
    make_folder(place.parent)
    temp = place.with_name(f".new-{secrets.token_hex(4)}")
    temp.mkdir()
    for name, data in metadata.items():
        write_durably(temp / name, data)
    try:
        temp.rename(place)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    sync_folder(place.parent)


def verify_kept(bundle: Path, bundle_id: BundleId, release: int, pinned_root: bytes) -> ReleaseInfo:
    """Verify the kept metadata of one release; see ``verify``.

    Raises:
        Untrusted: it does not admit this bundle as this release.
    """
    place = bundle / FOLDER / str(release)
    try:
        metadata = {path.name: path.read_bytes() for path in place.iterdir()}
    except OSError as error:
        raise Untrusted(f"bundle {bundle_id[:12]}: the metadata that admitted it is missing; fetch it again") from error
    return verify(metadata, bundle_id, release, pinned_root)


def verify(metadata: Mapping[str, bytes], bundle_id: BundleId, release: int, pinned_root: bytes) -> ReleaseInfo:
    """Return what was signed of a release, if it is this bundle.

    Args:
        metadata: ``N.root.json`` files and ``targets.json`` by name.
        bundle_id: the manifest's SHA-256.
        release: its counter.
        pinned_root: the root that enrolment pinned, trusted as it is.

    Raises:
        Untrusted: a signature, a version or the bundle's hash does not fit.
    """
    root = last_root(metadata, pinned_root)
    if TARGETS_FILE not in metadata:
        raise Untrusted(f"bundle {bundle_id[:12]}: {TARGETS_FILE} is missing from the metadata that admitted it")
    targets = _verified(Targets, metadata[TARGETS_FILE], root, TARGETS_FILE)
    for path, entry in targets.targets.items():
        if entry.hashes.get("sha256") == bundle_id:
            info = decode(ReleaseInfo, entry.custom, f"{TARGETS_FILE}: {path}")
            if info.release == release and target_path(info) == path:
                return info
    raise Untrusted(f"bundle {bundle_id[:12]}: the signed {TARGETS_FILE} does not list it as release {release}")


def last_root(metadata: Mapping[str, bytes], pinned_root: bytes) -> Root:
    """Follow the chain of roots from the pinned one.

    Raises:
        Untrusted: a link of the chain does not hold.
    """
    root = _verified(Root, pinned_root, None, "root.json")
    while len(metadata) <= MAX_ROOTS:
        name = root_file(root.version + 1)
        if name not in metadata:
            return root
        newer = _verified(Root, metadata[name], root, name)  # TUF 5.3.4: signed by the old root's keys ...
        _verified(Root, metadata[name], newer, name)  # ... and by its own
        if newer.version != root.version + 1:  # TUF 5.3.5
            raise Untrusted(f"{name}: expected version {root.version + 1}, got {newer.version}")
        root = newer
    raise Untrusted(f"root metadata: expected at most {MAX_ROOTS} versions")


def _verified(kind: type[S], data: bytes, root: Root | None, name: str) -> S:
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        if not isinstance(metadata.signed, kind):
            raise Untrusted(f"{name}: expected {kind.type} metadata, got {metadata.signed.type}")
        by = root or metadata.signed
        if isinstance(by, Root):
            by.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError, KeyError, TypeError) as error:
        raise Untrusted(f"{name}: its signatures do not hold ({error})") from error
    return metadata.signed
