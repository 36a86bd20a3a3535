"""Photos and bundle files on disk, named by their SHA-256, written as they stream in.

A file is there whole, durable and with the right hash, or not at all. Never deletes what is stored; what a crash left
unfinished is swept when the server starts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from runtime.contracts.durable import ContentFolder, check_hash, make_folder, sync_folder
from runtime.contracts.errors import StationFault, Untrusted

CHUNK_BYTES = 1024 * 1024


class BlobWriter:
    """One incoming file: ``write`` its chunks, then ``commit``; leaving the ``with`` block otherwise removes it."""

    def __init__(self, target: Path, sha256: str) -> None:
        self._target = target
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self.size = 0
        self.head = b""
        """The first bytes, for telling what kind of file it is."""
        with disk_errors():
            make_folder(target.parent)
            self._temp = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
            self._file = self._temp.open("xb")

    def __enter__(self) -> BlobWriter:
        return self

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises:
            StationFault: the disk refuses.
        """
        self.head = (self.head + chunk)[:16] if len(self.head) < 16 else self.head
        self.size += len(chunk)
        self._digest.update(chunk)
        with disk_errors():
            self._file.write(chunk)

    def commit(self) -> None:
        """Make the file durable under its name.

        Raises:
            Untrusted: the bytes do not have the promised hash.
            StationFault: the disk refuses.
        """
        if self._digest.hexdigest() != self._sha256:
            raise Untrusted(
                f"file {self._sha256[:12]}: expected bytes of this SHA-256, got {self._digest.hexdigest()[:12]} "
                f"({self.size} bytes); they changed on the way or on disk"
            )
        with disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temp.replace(self._target)
            sync_folder(self._target.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._temp.unlink(missing_ok=True)


class Blobs(ContentFolder):
    """A ``ContentFolder`` that also takes files too large for memory."""

    def writer(self, sha256: str) -> BlobWriter:
        """Begin to store a file of this hash.

        Raises:
            Unsupported: ``sha256`` is not 64 lower-case hex digits.
            StationFault: the disk refuses.
        """
        return BlobWriter(self.path(check_hash(sha256)), sha256)

    def copy_in(self, source: Path, sha256: str) -> bool:
        """Store a copy of ``source``; tell whether it was new.

        Raises:
            Untrusted: it does not have this hash.
            StationFault: the disk refuses.
        """
        if sha256 in self:
            return False
        with self.writer(sha256) as writer:
            with source.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    writer.write(chunk)
            writer.commit()
        return True


@contextmanager
def disk_errors() -> Iterator[None]:
    """Translate what the disk says.

    Raises:
        StationFault: it refused.
    """
    try:
        yield
    except OSError as error:
        todo = "free space on the server" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "see to the server's disk"
        raise StationFault(f"file store: the disk refused ({error.strerror}); {todo}") from error
