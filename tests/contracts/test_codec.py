from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.contracts.bundle import BundleManifest
from runtime.contracts.codec import canonical_json, decode, encode, parse_json
from runtime.contracts.errors import TouchstoneError, Untrusted
from runtime.contracts.records import Record
from runtime.contracts.sync import Answers, StationReport


def values_of(expected: Any) -> st.SearchStrategy[Any]:
    """Any value that a contract type allows, built from its type hints alone."""
    origin = typing.get_origin(expected)
    if isinstance(expected, typing.NewType):
        return values_of(expected.__supertype__)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values_of(option) for option in typing.get_args(expected)])
    if origin is typing.Literal:
        return st.sampled_from(typing.get_args(expected))
    if origin is tuple:
        return st.lists(values_of(typing.get_args(expected)[0]), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(st.text(max_size=8), values_of(typing.get_args(expected)[1]), max_size=3)
    if dataclasses.is_dataclass(expected):
        hints = typing.get_type_hints(expected)
        return st.builds(expected, **{name: values_of(hint) for name, hint in hints.items()})
    return {
        str: st.text(max_size=12),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        types.NoneType: st.none(),
    }[expected]


anything_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([Record, BundleManifest, StationReport, Answers]))
def test_every_value_comes_back_from_its_one_byte_form(data: st.DataObject, cls: type) -> None:
    value = data.draw(values_of(cls))
    raw = canonical_json(value)
    back = decode(cls, parse_json(raw, "it"), "it")
    assert back == value
    assert canonical_json(back) == raw


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=4), anything_json, max_size=6))
def test_the_byte_form_does_not_depend_on_the_order_of_keys(data: dict[str, Any]) -> None:
    assert canonical_json(data) == canonical_json(dict(reversed(data.items())))


@settings(deadline=None)
@given(anything_json, st.sampled_from([Record, BundleManifest, StationReport]))
def test_any_json_is_decoded_or_refused_in_words(value: Any, cls: type) -> None:
    try:
        decode(cls, value, "body")
    except Untrusted as error:
        assert str(error).startswith("body")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused_in_words(raw: bytes) -> None:
    try:
        parse_json(raw, "body")
    except Untrusted as error:
        assert str(error).startswith("body: expected JSON")


def test_an_unknown_field_is_refused_by_its_path(manifest_data: dict[str, Any]) -> None:
    manifest_data["variants"][1]["fusion"]["slope"] = 1.0
    with pytest.raises(Untrusted, match=r"^m\.variants\[1\]\.fusion: unknown field 'slope'; expected bias, weights"):
        decode(BundleManifest, manifest_data, "m")


def test_a_missing_field_is_refused_by_its_path(manifest_data: dict[str, Any]) -> None:
    del manifest_data["golden"][0]["p_counterfeit"]
    with pytest.raises(Untrusted, match=r"^m\.golden\[0\]: field 'p_counterfeit' is missing"):
        decode(BundleManifest, manifest_data, "m")


WRONG = [
    ("px", "224", 'input.px: expected a int, got "224"'),
    ("px", 224.0, "input.px: expected a int, got 224.0"),
    ("px", True, "input.px: expected a int, got true"),
    ("px", None, "input.px: expected a int, got null"),
    ("px", [224], "input.px: expected a int, got a list"),
    ("px", {"a": 1}, "input.px: expected a int, got an object"),
    ("px", 2**63, "input.px: expected a int, got 9223372036854775808"),
    ("resize", "cubic", 'input.resize: expected one of area, got "cubic"'),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
def test_a_wrong_type_is_refused_by_its_path(
    manifest_data: dict[str, Any], field: str, value: object, message: str
) -> None:
    manifest_data["input"][field] = value
    with pytest.raises(Untrusted) as refused:
        decode(BundleManifest, manifest_data, "m")
    assert str(refused.value) == f"m.{message}"


def test_a_literal_takes_neither_true_nor_a_float_for_its_number(golden: Any) -> None:
    data = json.loads((golden / "record.v1.json").read_bytes())
    for version in (True, 1.0, 3, "1"):
        with pytest.raises(Untrusted, match=r"^record\.v: expected one of 1, 2, got"):
            decode(Record, data | {"v": version}, "record")


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1" + b"0" * 400])
def test_a_number_that_is_none_is_refused_by_its_path(golden: Any, number: bytes) -> None:
    raw = (golden / "record.v1.json").read_bytes().replace(b'"p_counterfeit":0.125', b'"p_counterfeit":' + number)
    with pytest.raises(Untrusted, match=r"^record\.prediction\.p_counterfeit: expected a float"):
        decode(Record, parse_json(raw, "record"), "record")


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"p": float("nan")})


def test_half_a_surrogate_pair_is_refused_as_text_and_as_a_key(golden: Any) -> None:
    raw = (golden / "record.v1.json").read_bytes()
    with pytest.raises(Untrusted, match=r"^record\.item_id: expected a str"):
        decode(Record, parse_json(raw.replace(b"8-901234-567890", b"\\ud83d"), "record"), "record")
    with pytest.raises(Untrusted, match=r"^record\.listing: a key: expected a str"):
        decode(Record, parse_json(raw.replace(b"price_ratio", b"\\ud83d"), "record"), "record")
    whole = decode(Record, parse_json(raw.replace(b"8-901234-567890", b"\\ud83d\\ude00"), "record"), "record")
    assert whole.item_id == "\N{GRINNING FACE}"


@pytest.mark.parametrize("depth", [900, 985, 990, 995, 5_000, 200_000])
def test_deep_nesting_is_refused_in_words(golden: Any, depth: int) -> None:
    deep = b'{"v":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(TouchstoneError, match="body"):
        decode(Record, parse_json(deep, "body"), "body")


def test_fields_that_are_none_are_written(golden: Any) -> None:
    report = decode(
        StationReport, parse_json((golden / "station_report_without_a_model.v1.json").read_bytes(), "r"), "r"
    )
    assert encode(report)["bundle_id"] is None
