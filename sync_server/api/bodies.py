"""Bodies exactly as the contract has them: an unknown field, or text where a number belongs, is refused by name.

FastAPI's own parsing documents the body; alone it would drop unknown fields and turn ``"5"`` into 5.
"""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import Unsupported, Untrusted


def strictly(cls: type) -> Any:
    """Return a route dependency that refuses any body but a ``cls`` in JSON.

    Raises:
        Unsupported: from the dependency, when the body is anything else.
    """

    async def check(request: Request) -> None:
        try:
            decode(cls, parse_json(await request.body(), "body"), "body")
        except Untrusted as error:
            raise Unsupported(str(error)) from error

    return Depends(check)
