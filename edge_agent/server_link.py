"""One signed HTTP request at a time to the server, and the one table of what its errors mean.

Never retries by itself (but once, when only the clock was off) and never decides what to send. Whatever comes back is
bounded in bytes and in time, and counts only if it is what this route answers: a login page with status 200 is no word
of the server's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, TypeVar

import httpx

from edge_agent.device_key import DeviceKey
from edge_agent.identity import is_loopback
from edge_agent.pulse import beating
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Unsupported, Untrusted
from runtime.contracts.records import StationId
from runtime.contracts.sync import UPLOAD_OFFSET

MAX_ANSWER_BYTES = 4 * 1024 * 1024
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
EXCEPTIONS: tuple[tuple[type[Exception], type[TouchstoneError], str], ...] = (
    (httpx.ConnectError, TryLater, "cannot be reached"),
    (httpx.TimeoutException, TryLater, "did not answer in time"),
    (httpx.NetworkError, TryLater, "broke the connection"),
    (httpx.ProtocolError, TryLater, "does not speak HTTP as it should"),
    (httpx.ProxyError, TryLater, "cannot be reached through the proxy"),
    (httpx.DecodingError, TryLater, "sent bytes that do not decode"),
    (httpx.TooManyRedirects, TryLater, "redirects in circles"),
    (httpx.UnsupportedProtocol, StationFault, "is no http or https address; correct it in agent.toml"),
    (httpx.InvalidURL, StationFault, "is no valid address; correct it in agent.toml"),
)
"""What each of httpx's exceptions means; the first that fits. Its others are programming mistakes."""

_TIMEOUT = httpx.Timeout(20.0, connect=10.0)
_ANSWER_WITHIN_S = 120.0
_PIECE_BYTES = 256 * 1024
_JSON = ("application/json", "application/problem+json")
T = TypeVar("T")


class Refused(TouchstoneError):
    """A status that is not the one hoped for, with the problem document that explains it.

    ``upload_offset`` is where an unfinished upload goes on, if the server says so.
    """

    def __init__(
        self,
        what: str,
        status: int,
        problem: Mapping[str, Any],
        retry_after_s: float,
        upload_offset: int | None = None,
    ) -> None:
        reason = problem.get("detail") or problem.get("title") or f"HTTP {status}"
        super().__init__(f"{what}: the server says: {str(reason)[:300]}")
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s
        self.upload_offset = upload_offset


class RefusedForNow(Refused, TryLater):
    """The server, or some box before it, cannot take it now."""


class RefusedForGood(Refused, Unsupported):
    """The server understood it and will never take it."""


class RefusedStation(Refused, StationFault):
    """The server does not know this station, or no longer lets it in."""


STATUSES: Mapping[int, type[Refused]] = {
    401: RefusedStation,
    403: RefusedStation,
    408: RefusedForNow,
    425: RefusedForNow,
    429: RefusedForNow,
}
"""What a status means when a problem document comes with it; other 4xx are for good, all the rest is for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer with a 2xx status; ``upload_offset`` is where an unfinished upload goes on, if it says so."""

    status: int
    body: bytes
    is_json: bool
    upload_offset: int | None

    def read(self, cls: type[T], what: str) -> T:
        """Decode the body.

        Raises:
            TryLater: it is not the JSON that this route answers.
        """
        try:
            return decode(cls, self.data(what), what)
        except Untrusted as error:
            raise TryLater(f"{error}; will ask again") from error

    def data(self, what: str) -> Any:
        """Return the body as plain JSON data.

        Raises:
            TryLater: it is not JSON.
        """
        if not self.is_json:
            raise TryLater(f"{what}: expected JSON from the server, got something else; is there a login page between?")
        try:
            return parse_json(self.body, what)
        except Untrusted as error:
            raise TryLater(f"{error}; will ask again") from error


class ServerLink:
    """The way to one server. Thread-safe; holds how far the server's clock is ahead of this machine's."""

    def __init__(
        self,
        server: str,
        *,
        station_id: StationId | None = None,
        key: DeviceKey | None = None,
        clock_offset_s: float = 0.0,
        now_s: Callable[[], float] = time.time,
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> None:
        self.server = server
        self.clock_offset_s = clock_offset_s
        self.last_contact_s: float | None = None
        self._station_id = station_id
        self._key = key
        self._now_s = now_s
        self._closed = threading.Event()
        # A proxy of the environment is for the world outside, not for this very machine.
        self._client = httpx.Client(timeout=timeout, trust_env=not is_loopback(server), follow_redirects=False)

    def close(self) -> None:
        """Close the connections; a request in flight fails with ``TryLater``."""
        self._closed.set()
        self._client.close()

    def server_now_s(self) -> float:
        """Return the time by the server's clock, as it was last told: seconds since 1970."""
        return self._now_s() + self.clock_offset_s

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Reply:
        """Send one request and return the whole answer, if its status is 2xx.

        Raises:
            Refused: the status is another one.
            TryLater: the server cannot be reached, or sent no whole answer.
        """
        offset_s = self.clock_offset_s
        try:
            return self._once(method, path, body, content_type, headers)
        except Refused as refused:
            if refused.status != 401 or self.clock_offset_s == offset_s:
                raise
        return self._once(method, path, body, content_type, headers)  # signed again, by the server's clock

    @contextmanager
    def stream(self, method: str, path: str, body: bytes = b"") -> Iterator[Iterator[bytes]]:
        """Send one request and give the answer's bytes as they come; the caller bounds how many it takes.

        Raises:
            Refused: the status is not 2xx.
            TryLater: the server cannot be reached, or the connection broke; also while iterating.
        """
        with self._exchange(method, path, body, "application/json", NO_HEADERS) as response:
            yield beating(response.iter_raw())

    def _once(self, method: str, path: str, body: bytes, content_type: str, more: Mapping[str, str]) -> Reply:
        with self._exchange(method, path, body, content_type, more) as response:
            return Reply(
                status=response.status_code,
                body=_bounded_body(response, path),
                is_json=_media_type(response) in _JSON,
                upload_offset=_upload_offset(response),
            )

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: bytes, content_type: str, more: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        url = httpx.URL(self.server + path)
        headers = {"Accept-Encoding": "identity", **more}
        if self._key is not None and self._station_id is not None:
            as_sent = url.raw_path.decode("ascii")
            token = self._key.token(self._station_id, method, as_sent, body, int(self.server_now_s()))
            headers["Authorization"] = f"Bearer {token}"
        if method in ("PUT", "POST", "PATCH"):
            headers["Content-Type"] = content_type
        content = None
        if body:
            headers["Content-Length"] = str(len(body))  # or the pieces would go in chunked encoding
            content = beating(body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES))
        with (
            self._translated(),
            self._client.stream(method, url, content=content, headers=headers) as response,
        ):
            self._read_clock(response)
            if not 200 <= response.status_code < 300:
                raise _refusal(response, f"{method} {path}")
            self.last_contact_s = self._now_s()
            yield response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            for kind, family, text in EXCEPTIONS:
                if isinstance(error, kind):
                    raise family(f"server {self.server}: {text} ({type(error).__name__})") from error
            raise
        except (RuntimeError, httpx.StreamError) as error:
            if self._closed.is_set():  # closed under a request in flight: the agent is stopping
                raise TryLater(f"server {self.server}: the agent is stopping") from error
            raise

    def _read_clock(self, response: httpx.Response) -> None:
        try:
            server_s = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return
        # The header has whole seconds: do not follow it closer than that.
        offset_s = server_s - self._now_s()
        if abs(offset_s - self.clock_offset_s) > 2.0:
            self.clock_offset_s = offset_s


def _bounded_body(response: httpx.Response, what: str) -> bytes:
    body = bytearray()
    deadline = time.monotonic() + _ANSWER_WITHIN_S
    for chunk in beating(response.iter_raw()):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise TryLater(f"{what}: the answer is longer than {MAX_ANSWER_BYTES} bytes; will ask again")
        if time.monotonic() > deadline:
            raise TryLater(f"{what}: the answer took longer than {_ANSWER_WITHIN_S:.0f} s; will ask again")
    return bytes(body)


def _refusal(response: httpx.Response, what: str) -> Refused:
    problem: Any = {}
    if _media_type(response) == "application/problem+json":
        try:
            problem = parse_json(_bounded_body(response, what), what)
        except Untrusted:
            problem = {}
    if not isinstance(problem, dict):
        problem = {}
    status = response.status_code
    family: type[Refused] = RefusedForNow
    if problem:  # without one it was no word of our server's, but of some box in between
        family = STATUSES.get(status, RefusedForGood if 400 <= status < 500 else RefusedForNow)
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdigit() else 0.0
    return family(what, status, problem, min(seconds, 3600.0), _upload_offset(response))


def _upload_offset(response: httpx.Response) -> int | None:
    offset = response.headers.get(UPLOAD_OFFSET, "")
    return int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 12 else None


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
