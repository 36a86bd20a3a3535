"""A bad network between an agent and its server: real sockets, one request a connection, and weather that may change.

Speaks just enough HTTP/1.1 to know where a message ends. Decides by chance, from a seed; never changes a byte that it
lets through.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s
_LOGIN_PAGE = b"<html><body>Welcome to the airport. Please log in.</body></html>"
_SERVER_ERROR = b"<html><body>upstream is not well</body></html>"
_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to a request; shares of 1, tried in this order.

    Attributes:
        down: the connection is reset before a byte was read.
        silent: nothing is ever answered.
        delay_s: that each message takes, each way.
        lost: connections that are reset, half of them before the server got the request and half after it.
        errors: requests answered with status 500 or 503 by a box in between.
        portal: requests answered with a login page and status 200.
        halves: answers cut in half.
        twice: requests that the server gets twice, at once; the second answer is the one that counts.
    """

    down: float = 0.0
    silent: float = 0.0
    delay_s: float = 0.0
    lost: float = 0.0
    errors: float = 0.0
    portal: float = 0.0
    halves: float = 0.0
    twice: float = 0.0


class Proxy:
    """Listens on this machine while it is entered; set ``weather`` at any time."""

    def __init__(self, port: int, seed: str) -> None:
        """Stand before the server on ``port`` of this machine."""
        self.weather = Weather()
        self.attempts_s: list[float] = []
        """When connections came, by the monotonic clock."""
        self._port = port
        self._random = random.Random(seed)  # noqa: S311 - weather, not a secret
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What a station should take for its server."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop every connection."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._listener))
        self._loop.run_forever()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.attempts_s.append(time.monotonic())
        # Cancelled only at the end, by ``_run``; asyncio's own callback would print it.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            async with asyncio.timeout(_LONGEST_S):
                await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        weather = self.weather
        if self._happens(weather.down):
            return _reset(writer)
        request = await read_message(reader)
        if self._happens(weather.silent):
            await asyncio.sleep(_LONGEST_S)
        await asyncio.sleep(weather.delay_s)
        is_lost = self._happens(weather.lost)
        if is_lost and self._happens(0.5):
            return _reset(writer)
        answer = self._instead(weather)
        if answer is None:
            if self._happens(weather.twice):
                answers = await asyncio.gather(self._ask(request), self._ask(request))
                answer = answers[1]
            else:
                answer = await self._ask(request)
        await asyncio.sleep(weather.delay_s)
        if is_lost:
            return _reset(writer)
        if self._happens(weather.halves):
            answer = answer[: len(answer) // 2]
        writer.write(answer)
        await writer.drain()
        return None

    def _instead(self, weather: Weather) -> bytes | None:
        if self._happens(weather.errors):
            status = self._random.choice((b"500 Internal Server Error", b"503 Service Unavailable"))
            return _page(status, _SERVER_ERROR)
        return _page(b"200 OK", _LOGIN_PAGE) if self._happens(weather.portal) else None

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            writer.write(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            await writer.drain()
            return await reader.read(-1)
        finally:
            writer.close()

    def _happens(self, share: float) -> bool:
        return share > 0 and self._random.random() < share


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Read one request: its head, and as many bytes as its ``Content-Length`` says.

    Raises:
        asyncio.IncompleteReadError: it was cut off.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    return head + await reader.readexactly(length)


def _page(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, len(body)) + body


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
