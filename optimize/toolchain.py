"""What compiles, as one hash for the keys of steps: our own code, and the version of everything that is installed."""

from __future__ import annotations

import sysconfig
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from runtime.contracts.durable import sha256_hex

_OURS = ("optimize", "runtime")
_CODE = {".py", ".css", ".js", ".mjs", ".json"}


@cache
def toolchain_digest() -> str:
    """Return the SHA-256 over our code and everything installed; a fix of either makes every step anew."""
    root = Path(__file__).parents[1]
    code = [path for name in _OURS for path in (root / name).rglob("*") if path.suffix in _CODE]
    ours = [
        f"{path.relative_to(root).as_posix()} {sha256_hex(path.read_bytes())}"
        for path in sorted(code)
        if "node_modules" not in path.parts
    ]
    return sha256_hex("\n".join([*ours, *installed()]).encode())


def installed() -> list[str]:
    """Return every installed distribution with its version, sorted.

    ``sys.path`` is not asked: setuptools adds packages of its own to it when somebody imports it.
    """
    places = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    return sorted({f"{found.name} {found.version}" for found in distributions(path=sorted(places))})
