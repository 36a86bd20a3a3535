"""ASGI middleware around everything: how large a body may be, and the headers that every answer carries."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.contracts.records import MAX_PHOTO_BYTES
from runtime.contracts.sync import MAX_CHUNK_BYTES, MAX_HEARTBEAT_BYTES, MAX_RECORD_BYTES
from sync_server.api.problems import problem

PAGE_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_MOST = (("/v1/photos/", MAX_PHOTO_BYTES), ("/v1/station/heartbeats/", MAX_HEARTBEAT_BYTES))
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class Limits:
    """Refuse bodies above the route's limit with 413, however they are sent; add the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((most for path, most in _MOST if scope["path"].startswith(path)), MAX_RECORD_BYTES)
        if scope["method"] == "PATCH":
            limit = min(limit, MAX_CHUNK_BYTES)
        answer = _with_headers(send, "no-cache" if scope["path"].startswith("/static") else "no-store")
        if _declared(scope) > limit:
            await problem(413, "too-large", "Too large", _message(limit))(scope, receive, answer)
            return
        await self._app(scope, _counting(receive, limit), answer)


def _declared(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


def _counting(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, _message(limit))
        return message

    return counted


def _with_headers(send: Send, caching: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in {**_HEADERS, "Cache-Control": caching}.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _message(limit: int) -> str:
    return f"body: expected at most {limit} bytes here, got more"
