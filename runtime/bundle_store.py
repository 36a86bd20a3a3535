"""Opens a bundle folder: the manifest, and every file it names, checked by size and SHA-256. Read-only afterwards.

Files that the manifest does not name are never read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.bundle import MANIFEST_FILE, BundleManifest, bundle_id_of, read_manifest
from runtime.contracts.errors import StationFault, Untrusted
from runtime.contracts.records import BundleId


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle on disk whose every byte has been checked."""

    folder: Path
    manifest: BundleManifest
    bundle_id: BundleId

    def path(self, file: str) -> Path:
        """Return where a file of the manifest lies."""
        return self.folder / file


def open_bundle(folder: Path) -> Bundle:
    """Open and verify the bundle in ``folder``.

    Raises:
        StationFault: there is no bundle.
        Untrusted: a byte differs from what the manifest says, a file is missing, or the manifest is not one.
        Unsupported: the manifest is newer than this program.
    """
    try:
        raw = (folder / MANIFEST_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StationFault(
            f"bundle {folder}: there is no {MANIFEST_FILE}; build one with 'touchstone-optimize build'"
        ) from error
    manifest = read_manifest(raw)
    for entry in manifest.files:
        _check_file(folder, entry.path, entry.size, entry.sha256)
    return Bundle(folder=folder, manifest=manifest, bundle_id=bundle_id_of(raw))


def _check_file(folder: Path, name: str, size: int, sha256: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise Untrusted(f"bundle {folder}: file {name} is missing; fetch the bundle again")
    if path.stat().st_size != size:
        raise Untrusted(f"bundle {folder}: file {name} has {path.stat().st_size} bytes, the manifest says {size}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise Untrusted(f"bundle {folder}: file {name} was changed after the bundle was built; fetch it again")
