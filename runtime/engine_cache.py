"""Engines built on this machine, kept for its next start. Machine state: never in a bundle, and always safe to delete.

A key names everything that an engine depends on, so that one built for another library, GPU or driver is never found;
it is then built again and takes the old one's place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.durable import make_folder, sha256_hex, write_durably

FOLDER_VARIABLE = "TOUCHSTONE_ENGINE_CACHE"

_DIGEST_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """What an engine was built from and for.

    Attributes:
        onnx_sha256: of the network's bytes, 64 lower-case hex digits.
        library: for example ``tensorrt``.
        version: of the library.
        compute_capability: of the GPU, for example ``8.9``.
        driver: of the GPU.
    """

    onnx_sha256: str
    library: str
    version: str
    compute_capability: str
    driver: str

    @property
    def file(self) -> str:
        """Name of the engine's file: the network first, so that its older engines can be found."""
        built_for = "\n".join((self.library, self.version, self.compute_capability, self.driver))
        return f"{self.onnx_sha256}-{sha256_hex(built_for.encode())[:16]}.engine"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where engines are kept: ``TOUCHSTONE_ENGINE_CACHE``, or the user's cache folder."""
    if environment.get(FOLDER_VARIABLE):
        return Path(environment[FOLDER_VARIABLE])
    above = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or Path.home()) / ".cache")
    return Path(above) / "touchstone" / "engines"


def find_engine(folder: Path, key: EngineKey) -> bytes | None:
    """Return the engine for a key; ``None`` where there is none, or its bytes are no longer those that were written."""
    try:
        stored = (folder / key.file).read_bytes()
    except OSError:
        return None
    digest, engine = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    return engine if digest == sha256_hex(engine).encode() else None


def keep_engine(folder: Path, key: EngineKey, engine: bytes) -> None:
    """Keep an engine durably, and drop those that the same network had for another library, GPU or driver.

    A disk that refuses costs a build at the next start and nothing now.
    """
    with contextlib.suppress(OSError):
        make_folder(folder)
        write_durably(folder / key.file, sha256_hex(engine).encode() + engine, mode=0o600)
        for other in folder.glob(f"{key.onnx_sha256}-*.engine"):
            if other.name != key.file:
                other.unlink(missing_ok=True)
