"""The desk's Unix socket: its path, however long the home's is. Standard library only, so that ``scan`` starts fast."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_path(file: Path) -> Iterator[str]:
    """Give a path to a socket that is short enough for ``sun_path``, which holds 107 bytes.

    Raises:
        OSError: the folder is not there, or may not be read.
    """
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)
