"""Who looks at a page: a token in a cookie that scripts cannot read and other sites cannot send.

The server keeps no session. Whatever changes something comes as POST with an ``Origin`` of this very site.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, Request
from starlette.responses import Response

from sync_server.api.callers import TOKEN_COOKIE, person_by_token, services_of
from sync_server.auth import Person
from sync_server.refusals import Forbidden, Unauthenticated

SESSION_S = 12 * 3600
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def visitor(request: Request) -> Person:
    """Return who is signed in.

    Raises:
        Unauthenticated: nobody is.
    """
    token = request.cookies.get(TOKEN_COOKIE)
    if not token:
        raise Unauthenticated("sign-in: please sign in first")
    return person_by_token(services_of(request), token)


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a form that this very site sent.

    Raises:
        Forbidden: another site sent it.
    """
    origin = request.headers.get("Origin", "")
    if urlsplit(origin).netloc != request.headers.get("Host") or not origin:
        raise Forbidden("form: it was sent from another site; open the page here and send it again")
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    return {name: values[-1] for name, values in fields.items()}


def keep_token(request: Request, response: Response, token: str) -> None:
    """Sign in: keep the token in the browser, for twelve hours."""
    secure = request.url.hostname not in _LOOPBACK
    response.set_cookie(TOKEN_COOKIE, token, max_age=SESSION_S, httponly=True, samesite="strict", secure=secure)


def forget_token(response: Response) -> None:
    """Sign out."""
    response.delete_cookie(TOKEN_COOKIE, httponly=True, samesite="strict")


Visitor = Annotated[Person, Depends(visitor)]
Form = Annotated[dict[str, str], Depends(form)]
