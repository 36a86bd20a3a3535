"""A bundle folder on its way in: read once, every listed file checked against its size and hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.bundle import MANIFEST_FILE, BundleManifest, FileEntry, bundle_id_of, read_manifest
from runtime.contracts.errors import Untrusted
from runtime.contracts.records import BundleId

SIGNED_FILE = Path("release", "targets.json")
"""Where ``sign`` leaves, and ``publish`` finds, the signed targets metadata inside a bundle folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBundle:
    """A bundle whose every file had its listed size and hash when it was read."""

    folder: Path
    raw: bytes
    manifest: BundleManifest
    bundle_id: BundleId


def check_bundle(folder: Path) -> CheckedBundle:
    """Read a bundle folder and check all of it.

    Raises:
        Unsupported: its manifest is of a newer version.
        Untrusted: there is no bundle, or one byte of it is not as its manifest says.
    """
    try:
        raw = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise Untrusted(f"{folder}: expected a bundle folder with {MANIFEST_FILE} ({error.strerror})") from error
    manifest = read_manifest(raw)
    for entry in manifest.files:
        _check_file(folder, entry)
    return CheckedBundle(folder=folder, raw=raw, manifest=manifest, bundle_id=bundle_id_of(raw))


def _check_file(folder: Path, entry: FileEntry) -> None:
    path = folder / entry.path
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Untrusted(f"{path}: a link leads out of the bundle; copy the file itself into it")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise Untrusted(f"{path}: listed in {MANIFEST_FILE} but not readable ({error.strerror})") from error
    if (size, sha256) != (entry.size, entry.sha256):
        raise Untrusted(
            f"{path}: expected {entry.size} bytes with SHA-256 {entry.sha256[:12]}, got {size} bytes with "
            f"{sha256[:12]}; the bundle was changed after it was built: copy it again from its source"
        )
