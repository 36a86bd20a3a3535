"""Asks a running daemon to scan, over its socket file. Imports what a scan needs and no more, so that ``scan`` starts
fast: HTTP is written by hand here, as ``http.client`` takes longer to load than a scan takes.

``None`` for an answer means that no daemon is there, and nothing was scanned. Over the network: ``ask_http``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.desk.socket_file import short_path
from runtime.contracts.codec import canonical_json, parse_json
from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Unsupported, Untrusted
from runtime.contracts.records import check_name

ANSWER_WITHIN_S = 120.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
BY_FILE_NAME = "*"
"""The form name of photos whose views the daemon tells by their files' names."""

Post = Callable[[str, bytes], tuple[int, bytes] | None]
"""Sends a form to ``/scans``, by its content type and its bytes; gives status and body, ``None`` where nobody listens.

Raises:
    TryLater: whether it has scanned is not known, and scanning again is safe.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item to scan: its photos by view, its listing features if there are any.

    ``by_name``: photos whose views follow from their files' names, without suffix; they come before the others.
    """

    item_id: str
    photos: Mapping[str, Sequence[bytes]]
    listing: Mapping[str, float | None] | None
    by_name: Sequence[tuple[str, bytes]] = ()


def by_socket(file: Path) -> Post:
    """Return how to reach the daemon of a home, by the socket file that lies there."""

    def post(content_type: str, body: bytes) -> tuple[int, bytes] | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(ANSWER_WITHIN_S)
            try:
                with short_path(file) as short:
                    link.connect(short)
            except OSError:
                return None
            head = (
                "POST /scans HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            with suppress(OSError):  # it may have refused before the end, and say why
                link.sendall(head.encode() + body)
            try:
                with link.makefile("rb") as answer:
                    return _read_answer(answer.read(MAX_ANSWER_BYTES))
            except OSError as error:
                raise no_answer(type(error).__name__) from error

    return post


def no_answer(why: str) -> TryLater:
    """Return what to raise when the daemon was there, and gave no whole answer."""
    return TryLater(f"desk: the running agent gave no answer ({why}); scan the item again")


def scan(post: Post, item: Item) -> dict[str, Any] | None:
    """Have one item scanned; return the verdict, or ``None`` where nobody listens.

    Raises:
        Unsupported: the item cannot be used.
        StationFault: a person must act at the station.
        TryLater: it did not answer as a desk does; whether it has scanned is not known, and scanning again is safe.
    """
    answer = post(*as_form(item))
    if answer is None:
        return None
    status, data = answer
    try:
        said = parse_json(data, "desk")
    except Untrusted as error:
        raise TryLater(f"desk: expected JSON with status {status}; is another program there?") from error
    if not isinstance(said, dict):
        raise TryLater("desk: expected a JSON object; is another program there?")
    if status not in (200, 201):
        raise _refusal(status, str(said.get("detail", said.get("title", status))))
    return said


def as_form(item: Item) -> tuple[str, bytes]:
    """Return an item as ``multipart/form-data`` (RFC 7578): its content type and its bytes.

    Raises:
        Unsupported: a name cannot be one.
    """
    boundary = os.urandom(16).hex()
    parts: list[bytes] = []

    def add(disposition: str, data: bytes) -> None:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
        parts.extend((head.encode(), data, b"\r\n"))

    add('name="item_id"', check_name(item.item_id, "item id").encode())
    if item.listing is not None:
        add('name="listing"', canonical_json(item.listing))
    for stem, photo in item.by_name:
        name = "".join(letter if letter.isprintable() else "_" for letter in stem)
        add(f'name="{BY_FILE_NAME}"; filename="{_quoted(name)}"', photo)
    for view, photos in item.photos.items():
        name = _quoted(check_name(view, "view"))
        for photo in photos:
            add(f'name="{name}"; filename="photo"', photo)
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _read_answer(answer: bytes) -> tuple[int, bytes]:
    """Return status and body of a whole HTTP/1.1 answer (RFC 9112)."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    fields = dict(line.lower().split(":", 1) for line in lines if ":" in line)
    if not (version.startswith("HTTP/1.") and rest[:3].isdigit()):
        raise no_answer("no HTTP")
    if fields.get("content-length", "").strip() != str(len(body)):
        raise no_answer("cut short")
    return int(rest[:3]), body


def _refusal(status: int, detail: str) -> TouchstoneError:
    if status == 503:
        return StationFault(detail)
    return TryLater(detail) if status >= 500 or status == 429 else Unsupported(detail)
