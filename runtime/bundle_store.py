"""Opens a bundle folder: the manifest, and every file it names, checked by size and SHA-256. Read-only afterwards.

Files that the manifest does not name are never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.bundle import MANIFEST_FILE, BundleManifest, bundle_id_of, check_file, read_manifest
from runtime.contracts.errors import StationFault
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
        check_file(folder, entry)
    return Bundle(folder=folder, manifest=manifest, bundle_id=bundle_id_of(raw))
