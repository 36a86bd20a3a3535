"""A bundle folder on its way in: read once, every listed file checked against its size and hash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.bundle import MANIFEST_FILE, BundleManifest, bundle_id_of, check_file, read_manifest
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
        OSError: one of its files cannot be read.
        Unsupported: its manifest is of a newer version.
        Untrusted: there is no bundle, or one byte of it is not as its manifest says.
    """
    try:
        raw = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise Untrusted(f"{folder}: expected a bundle folder with {MANIFEST_FILE} ({error.strerror})") from error
    manifest = read_manifest(raw)
    for entry in manifest.files:
        check_file(folder, entry)
    return CheckedBundle(folder=folder, raw=raw, manifest=manifest, bundle_id=bundle_id_of(raw))
