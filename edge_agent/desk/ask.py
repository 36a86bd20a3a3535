"""Asks a running daemon to scan, over its socket file or HTTP. Standard library only, so that ``scan`` starts fast.

``None`` for an answer means that no daemon is there, and nothing was scanned.
"""

from __future__ import annotations

import http.client
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_agent.desk.socket_file import short_path
from runtime.contracts.codec import canonical_json, parse_json
from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Unsupported, Untrusted
from runtime.contracts.records import check_name

ANSWER_WITHIN_S = 120.0
_MAX_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item to scan: its photos by view, its listing features if there are any."""

    item_id: str
    photos: Mapping[str, Sequence[bytes]]
    listing: Mapping[str, float | None] | None


class SocketFile(http.client.HTTPConnection):
    """A connection to the daemon of a home, by the socket file that lies there."""

    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_WITHIN_S)
        self._file = file

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with short_path(self._file) as short:
            self.sock.connect(short)


def connection_to(url: str) -> http.client.HTTPConnection:
    """Return a connection to a desk by its address.

    Raises:
        Unsupported: it is no http or https address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unsupported(f"--url {url!r}: expected http://HOST:PORT")
    kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    return kind(parts.hostname, port, timeout=ANSWER_WITHIN_S)


def is_there(connection: http.client.HTTPConnection) -> bool:
    """Tell whether anybody listens."""
    try:
        connection.connect()
    except OSError:
        return False
    connection.close()
    return True


def scan(connection: http.client.HTTPConnection, item: Item) -> dict[str, Any] | None:
    """Have one item scanned; return the verdict, or ``None`` where nobody listens.

    Raises:
        Unsupported: the item cannot be used.
        StationFault: a person must act at the station.
        TryLater: it did not answer as a desk does; whether it has scanned is not known, and scanning again is safe.
    """
    content_type, body = as_form(item)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("POST", "/scans", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        data = answer.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise TryLater(
            f"desk: the running agent gave no answer ({type(error).__name__}); scan the item again"
        ) from error
    finally:
        connection.close()
    try:
        said = parse_json(data, "desk")
    except Untrusted as error:
        raise TryLater(f"desk: expected JSON with status {answer.status}; is another program there?") from error
    if not isinstance(said, dict):
        raise TryLater("desk: expected a JSON object; is another program there?")
    if answer.status not in (200, 201):
        raise _refusal(answer.status, str(said.get("detail", said.get("title", answer.status))))
    return said


def as_form(item: Item) -> tuple[str, bytes]:
    """Return an item as ``multipart/form-data`` (RFC 7578): its content type and its bytes.

    Raises:
        Unsupported: a name cannot be one.
    """
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []

    def add(disposition: str, data: bytes) -> None:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
        parts.extend((head.encode(), data, b"\r\n"))

    add('name="item_id"', check_name(item.item_id, "item id").encode())
    if item.listing is not None:
        add('name="listing"', canonical_json(item.listing))
    for view, photos in item.photos.items():
        name = check_name(view, "view").replace("\\", "\\\\").replace('"', '\\"')
        for photo in photos:
            add(f'name="{name}"; filename="photo"', photo)
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _refusal(status: int, detail: str) -> TouchstoneError:
    if status == 503:
        return StationFault(detail)
    return TryLater(detail) if status >= 500 or status == 429 else Unsupported(detail)
