"""What a model that code makes is made of, as a hash, so that an unchanged one need not be converted again.

Its state, the source of every module that is loaded and not installed, and the version of everything installed.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from optimize.sources.source import comes_from
from optimize.toolchain import installed
from runtime.contracts.durable import sha256_hex


def content_of(model: object) -> str | None:
    """Return the hash of a torch module and the code behind it; ``None`` for anything whose state nobody can tell."""
    if not comes_from(model, ("torch",)):
        return None
    from optimize.sources.torch_module import state_of

    state = state_of(model)
    if state is None:
        return None
    return sha256_hex("\n".join([sha256_hex(state), *_own_code(), *installed()]).encode())


def _own_code() -> list[str]:
    libraries = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    files = {Path(file).resolve() for one in list(sys.modules.values()) if (file := getattr(one, "__file__", None))}
    own = sorted(file for file in files if file.is_file() and not libraries.intersection(file.parents))
    return [f"{file.name} {sha256_hex(file.read_bytes())}" for file in own]
