"""Writes that survive a power cut, and a folder whose files are named by their SHA-256.

A file is there whole or not at all: temp + fsync + rename + fsync of the folder. Both ends promise "acknowledged is
durable" with these few lines. Never deletes on its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from runtime.contracts.errors import Unsupported, Untrusted

_HASH = re.compile(r"[0-9a-f]{64}")


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data``, 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def check_hash(text: str) -> str:
    """Return ``text`` if it is a SHA-256 in lower-case hex.

    Raises:
        Unsupported: it is anything else.
    """
    if not _HASH.fullmatch(text):
        raise Unsupported(f"photo or file hash: expected 64 lower-case hex digits, got {text[:80]!r}")
    return text


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to ``path``, whole or not at all, on disk before this returns.

    Args:
        path: the file; one that is there is replaced.
        data: all of it.
        mode: the file's permissions from its first byte on; 0o600 for a secret.

    Raises:
        OSError: the disk refused (full, read-only); nothing is left behind but the file that was there before.
    """
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create ``path`` and its parents, each new name durable in the folder above it."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in folder ``path`` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ContentFolder:
    """Files named by the SHA-256 of their bytes, fanned out over 256 folders; writing one twice is free."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make_folder(root)

    def path(self, sha256: str) -> Path:
        """Return where the file with this hash lies, whether or not it exists."""
        return self.root / check_hash(sha256)[:2] / sha256

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def __iter__(self) -> Iterator[str]:
        return (file.name for file in self.root.glob("??/*") if _HASH.fullmatch(file.name))

    def put(self, data: bytes, sha256: str | None = None) -> str:
        """Store ``data`` durably and return its hash; a caller that knows it already says so."""
        sha256 = sha256 or sha256_hex(data)
        path = self.path(sha256)
        if not path.is_file():
            make_folder(path.parent)
            write_durably(path, data)
        return sha256

    def sweep(self, before_s: float) -> int:
        """Delete the unfinished files that a crash left, last written before ``before_s`` (seconds since 1970)."""
        swept = 0
        for path in self.root.glob("??/.*.tmp"):
            with contextlib.suppress(FileNotFoundError):  # its writer has just finished
                if path.stat().st_mtime < before_s:
                    path.unlink()
                    swept += 1
        return swept

    def read(self, sha256: str) -> bytes:
        """Return the bytes with this hash.

        Raises:
            FileNotFoundError: there is no such file.
            Untrusted: the file's bytes no longer have its hash.
        """
        data = self.path(sha256).read_bytes()
        if sha256_hex(data) != sha256:
            raise Untrusted(f"{self.path(sha256)}: the bytes no longer match the hash; restore this file from a copy")
        return data
