"""Where releases come from: the server, or a folder that was exported from one. Both are asked the same questions.

A folder (on a USB stick, or mirrored) holds files where the server answers requests. It is believed no more than the
network: every signature, hash and expiry is checked all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote

from edge_agent.server_link import MAX_ANSWER_BYTES, RefusedForGood, Reply
from runtime.contracts.errors import TryLater, Unsupported

_CHUNK_BYTES = 1 << 20


class ReleaseSource(Protocol):
    """What an update asks; ``edge_agent.server_link.ServerLink`` is the other one."""

    @property
    def server(self) -> str:
        """The address that every path follows."""
        ...

    @property
    def clock_offset_s(self) -> float:
        """By how much the server's clock was ahead of this machine's when they last spoke, seconds."""
        ...

    def request(self, method: str, path: str) -> Reply:
        """Return the whole answer; see ``ServerLink.request``."""
        ...

    def stream(self, method: str, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """Give the answer's bytes as they come; see ``ServerLink.stream``."""
        ...


class ReleaseFolder:
    """A folder that ``touchstone-server export-release`` wrote."""

    def __init__(self, folder: Path, clock_offset_s: float) -> None:
        """Look at ``folder``.

        Raises:
            Unsupported: it is no such folder.
        """
        if not (folder / "v1" / "tuf").is_dir():
            raise Unsupported(f"{folder}: expected a folder that 'touchstone-server export-release' wrote")
        self.server = folder.as_uri()
        self.clock_offset_s = clock_offset_s
        self._root = folder.resolve()

    def request(self, method: str, path: str) -> Reply:
        """Return one file, as the server would answer it.

        Raises:
            RefusedForGood: there is none.
            TryLater: it cannot be read, or is too long.
        """
        body = bytearray()
        with self.stream(method, path) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise TryLater(f"{path}: the file is longer than {MAX_ANSWER_BYTES} bytes")
        return Reply(status=200, body=bytes(body), is_json=True, upload_offset=None)

    @contextmanager
    def stream(self, method: str, path: str) -> Iterator[Iterator[bytes]]:
        """Give one file's bytes.

        Raises:
            RefusedForGood: there is none.
            TryLater: it cannot be read; also while iterating.
        """
        place = (self._root / unquote(path).lstrip("/")).resolve()
        if not (place.is_relative_to(self._root) and place.is_file()):
            raise RefusedForGood(f"{method} {path}", 404, {"detail": f"{self._root} has no such file"}, 0.0)
        with self._readable():
            file = place.open("rb")
        with file:
            yield self._chunks(file)

    def _chunks(self, file: IO[bytes]) -> Iterator[bytes]:
        while True:
            with self._readable():
                chunk = file.read(_CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TryLater(
                f"update folder {self._root}: cannot be read ({error.strerror}); plug it in again"
            ) from error
