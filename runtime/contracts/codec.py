"""Frozen dataclasses to JSON and back, strictly: unknown keys, wrong types and missing fields are refused by name.

Knows what the contracts use: ``str``, ``int``, ``float``, ``bool``, ``None`` unions, ``Literal``, ``NewType``,
``tuple[T, ...]``, ``Mapping[str, T]`` and nested dataclasses. JSON has no NaN: it is refused both ways. So is what
the other end could parse but not keep: integers over 64 bits, and text that is not Unicode (half a surrogate pair).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from runtime.contracts.errors import Untrusted

T = TypeVar("T")

_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def canonical_json(value: object) -> bytes:
    """Encode a contract dataclass or plain JSON data to its one byte form: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def encode(value: object) -> Any:
    """Turn a contract dataclass into plain JSON data; fields that are ``None`` are kept."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def parse_json(raw: bytes, what: str) -> Any:
    """Parse JSON bytes.

    Raises:
        Untrusted: ``raw`` is not JSON; ``what`` names the subject in the message.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Untrusted(f"{what}: expected JSON, got bytes that do not parse ({error})") from error


def decode(cls: type[T], value: object, what: str) -> T:
    """Build a ``cls`` from plain JSON data.

    Args:
        cls: a contract dataclass.
        value: what ``json.loads`` gave.
        what: the subject, first in every message.

    Raises:
        Untrusted: a field is missing, unknown or of the wrong type; the message gives its path.
    """
    return typing.cast(T, _decode(cls, value, what))


def _decode(expected: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(expected)
    if isinstance(expected, typing.NewType):
        return _decode(expected.__supertype__, value, where)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(expected)
        if value is None and types.NoneType in options:
            return None
        (inner,) = (option for option in options if option is not types.NoneType)
        return _decode(inner, value, where)
    if origin is typing.Literal:
        if not any(type(value) is type(option) and value == option for option in typing.get_args(expected)):
            raise _mismatch(where, f"one of {', '.join(map(str, typing.get_args(expected)))}", value)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _mismatch(where, "a list", value)
        (inner, _) = typing.get_args(expected)
        return tuple(_decode(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _mismatch(where, "an object", value)
        (_, inner) = typing.get_args(expected)
        return {
            _decode_scalar(str, key, f"{where}: a key"): _decode(inner, item, f"{where}.{key}")
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(expected):
        return _decode_dataclass(expected, value, where)
    return _decode_scalar(expected, value, where)


def _decode_dataclass(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(where, "an object", value)
    hints = _field_types(cls)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise Untrusted(f"{where}: unknown field {unknown[0]!r}; expected {', '.join(hints)}")
    required = {
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(value))
    if missing:
        raise Untrusted(f"{where}: field {missing[0]!r} is missing")
    return cls(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})


@functools.cache
def _field_types(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _decode_scalar(expected: Any, value: Any, where: str) -> Any:
    kind = type(value)
    if expected is float and kind in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if expected is int and kind is int and -(2**63) <= value < 2**63:
        return value
    if expected is str and kind is str and not _HALF_A_PAIR.search(value):
        return value
    if expected is bool and kind is bool:
        return value
    raise _mismatch(where, f"a {expected.__name__}", value)


def _mismatch(where: str, expected: str, value: object) -> Untrusted:
    got = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else json.dumps(value)[:80]
    return Untrusted(f"{where}: expected {expected}, got {got}")
