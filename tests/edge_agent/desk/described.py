"""Holds answers against ``openapi.json``: a status that is not described, or a body of another shape, is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from edge_agent.desk.station_routes import OPENAPI

DOCUMENT: Mapping[str, Any] = json.loads(OPENAPI.read_text("utf-8"))
OPERATIONS = frozenset((method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item)
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_ANYWHERE = (404, 405)
"""A problem with one of these may answer what is no route at all."""


def operation_of(method: str, target: str) -> tuple[str, str] | None:
    """Return which described operation a request is; the most literal path counts."""
    path = target.partition("?")[0]
    fitting = [one for one in OPERATIONS if one[0] == method and re.fullmatch(_pattern(one[1]), path)]
    return min(fitting, key=lambda one: one[1].count("{"), default=None)


def check(method: str, target: str, status: int, kind: str, body: bytes) -> tuple[str, str] | None:
    """Return the operation that was answered as it is described."""
    kind = kind.partition(";")[0]
    operation = operation_of(method, target)
    if status >= 400:
        assert kind == "application/problem+json", (method, target, status, kind)
        _validator(json.dumps(_PROBLEM)).validate(json.loads(body))
        assert json.loads(body)["status"] == status
        assert b"Traceback" not in body
    if operation is None or status in _ANYWHERE:
        assert status in (*_ANYWHERE, 401, 403, 422), (method, target, status)
        return None
    responses = DOCUMENT["paths"][operation[1]][operation[0].lower()]["responses"]
    assert str(status) in responses, (method, target, status, body[:300])
    content = responses[str(status)].get("content", {})
    if status < 400:
        assert (kind in content) if content else body == b"", (method, target, kind)
        schema = content.get(kind, {}).get("schema")
        if schema is not None:
            _validator(json.dumps(schema)).validate(json.loads(body))
    return operation


@cache
def _validator(schema: str) -> Any:
    return jsonschema_rs.validator_for({**json.loads(schema), "components": DOCUMENT["components"]})


@cache
def _pattern(path: str) -> str:
    more = ".+" if path == "/static/{path}" else "[^/]+"
    return re.sub(r"\\\{\w+\\\}", more, re.escape(path))
