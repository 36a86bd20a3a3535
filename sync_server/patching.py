"""Patches from older files to newer ones: zstd, the old file's bytes as its prefix, as ``zstd --patch-from`` does.

Made when a release is published, never by the web process; only where one is much smaller than the file. Losing them
costs bytes, nothing else: a station then fetches whole files. Which releases one may start from is decided here.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from runtime.contracts.bundle import FileEntry
from runtime.contracts.durable import check_hash, make_folder, write_durably
from runtime.contracts.sync import MAX_PATCHED_BYTES, MIN_PATCHED_BYTES, NOTHING
from sync_server.blobs import Blobs
from sync_server.schema import BUNDLE_FILES, RELEASES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RELEASES_BACK = 3
"""Patches start from the files of so many releases before, and lead to those of so many newest ones."""
WORTH_IT = 0.7
"""A patch that is not smaller than this share of the file is not kept."""
_LEVEL = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchWanted:
    """From the file with hash ``old`` (``NOTHING``: from no file) to ``new``."""

    old: str
    new: FileEntry


class Patches:
    """The patches of one server: ``NEW/OLD``, both by content hash."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, old: str, new: str) -> Path:
        """Return where the patch lies, whether or not there is one."""
        return self._root / check_hash(new) / check_hash(old)

    def make(self, blobs: Blobs, wanted: Iterable[PatchWanted]) -> int:
        """Make the patches that are not there yet; return how many are worth it, those that were there included.

        Raises:
            OSError: the disk refuses.
            Untrusted: a stored file's bytes have changed.
        """
        kept = 0
        for one in wanted:
            path = self.path(one.old, one.new.sha256)
            if not path.is_file():
                old = b"" if one.old == NOTHING else blobs.read(one.old)
                patch = make_patch(old, blobs.read(one.new.sha256))
                if patch is None:
                    continue
                make_folder(path.parent)
                write_durably(path, patch)
            kept += 1
        return kept

    def keep_only(self, hashes: Collection[str]) -> None:
        """Delete the patches that lead to other files than these."""
        for folder in self._root.glob("*"):
            if folder.name not in hashes:
                shutil.rmtree(folder, ignore_errors=True)


def make_patch(old: bytes, new: bytes) -> bytes | None:
    """Return what turns ``old`` into ``new``; ``None`` where it is not worth it.

    The window spans all of ``new``, so that every byte of the prefix can be referred to from every place. A dictionary
    that is loaded, not a prefix, would lose its effect above some 32 MiB (facebook/zstd issue 2835).
    """
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        zstd.CompressionParameter.window_log: max(10, (len(new) - 1).bit_length()),
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    prefix = zstd.ZstdDict(old, is_raw=True).as_prefix if old else None
    patch = zstd.compress(new, options=options, zstd_dict=prefix)
    return patch if len(patch) < WORTH_IT * len(new) else None


def patches_wanted(connection: Connection, files: Sequence[FileEntry]) -> list[PatchWanted]:
    """Return the patches to make for a new release's files: from what the releases before had at the same path."""
    before = _newest_files(connection, RELEASES_BACK)
    wanted = []
    for entry in files:
        if _is_patched(entry.size):
            olds = {old.sha256: None for old in before if old.path == entry.path and _is_patched(old.size)}
            wanted += [PatchWanted(old=old, new=entry) for old in (*olds, NOTHING) if old != entry.sha256]
    return wanted


def files_of_newest(connection: Connection) -> set[str]:
    """Return the hashes of the files that patches may lead to."""
    return {entry.sha256 for entry in _newest_files(connection, RELEASES_BACK)}


def _newest_files(connection: Connection, releases: int) -> list[FileEntry]:
    newest = select(RELEASES.c.bundle_id).order_by(RELEASES.c.release.desc()).limit(releases)
    query = select(BUNDLE_FILES).where(BUNDLE_FILES.c.bundle_id.in_(newest))
    return [FileEntry(path=row.path, sha256=row.sha256, size=row.size) for row in connection.execute(query)]


def _is_patched(size: int) -> bool:
    return MIN_PATCHED_BYTES <= size <= MAX_PATCHED_BYTES
