"""What comes in: bodies no longer than their route takes, in time, and numbers that are numbers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
from starlette.requests import Request

from edge_agent.desk.refusals import TooLarge
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import TryLater, Unsupported

T = TypeVar("T")

MAX_JSON_BYTES = 256 * 1024
BODY_WITHIN_S = 60.0
MAX_NUMBER = 2**53


async def bounded(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes.

    Raises:
        TooLarge: it is longer than ``most`` bytes, or says so.
    """
    declared = request.headers.get("Content-Length", "")
    received = 0
    if declared.isdigit() and int(declared) > most:
        raise TooLarge(f"body: expected at most {most} bytes here, got {declared}")
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            raise TooLarge(f"body: expected at most {most} bytes here, got more")
        yield chunk


@contextmanager
def in_time() -> Iterator[None]:
    """Bound the time that a body may take.

    Raises:
        TryLater: it has not come to its end.
    """
    try:
        with anyio.fail_after(BODY_WITHIN_S):
            yield
    except TimeoutError as error:
        raise TryLater(f"body: not all of it came within {BODY_WITHIN_S:.0f} s; send it again") from error


async def read_body(request: Request, most: int) -> bytes:
    """Return the body.

    Raises:
        TooLarge: it is longer than ``most`` bytes.
        TryLater: it has not come to its end in time.
    """
    with in_time():
        return b"".join([chunk async for chunk in bounded(request, most)])


async def read_json(request: Request, cls: type[T], what: str) -> T:
    """Return the body as a ``cls``; an empty one is an object without keys.

    Raises:
        Untrusted: it is not JSON, or not that of a ``cls``.
        TooLarge: it is too long.
    """
    body = await read_body(request, MAX_JSON_BYTES)
    return decode(cls, parse_json(body or b"{}", what), what)


def number(request: Request, name: str, otherwise: int | None, lowest: int, highest: int) -> int | None:
    """Return a number of the query.

    Raises:
        Unsupported: it is none, or out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 17 and lowest <= int(text) <= highest):
        raise Unsupported(f"{name}: expected a whole number from {lowest} to {highest}, got {text[:40]!a}")
    return int(text)
