"""A line between a station and its server: real TCP, as slow as one likes, that can be cut and counts what went up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_SLICE_BYTES = 16 * 1024


class SlowLine:
    """Forwards connections to ``target`` (an URL); ``bytes_per_s`` up, 0: as fast as it goes."""

    def __init__(self, target: str, bytes_per_s: int = 0) -> None:
        self.target = target
        self.bytes_per_s = bytes_per_s
        self.sent_bytes = 0
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._open.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            host, port = urlsplit(self.target).hostname, urlsplit(self.target).port
            try:
                far = socket.create_connection((host, port))
            except OSError:  # the server is down
                near.close()
                continue
            with self._lock:
                self._open += [near, far]
            for pair in ((near, far, True), (far, near, False)):
                self._threads.append(threading.Thread(target=self._forward, args=pair))
                self._threads[-1].start()

    def _forward(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(_SLICE_BYTES):
                if up:
                    self.sent_bytes += len(data)
                    if self.bytes_per_s:
                        time.sleep(len(data) / self.bytes_per_s)
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def slow_line(target: str, bytes_per_s: int = 0) -> Iterator[SlowLine]:
    """Open a line for as long as the ``with`` block lasts."""
    line = SlowLine(target, bytes_per_s)
    try:
        yield line
    finally:
        line.close()
