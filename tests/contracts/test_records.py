from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import (
    SHOWN,
    ItemId,
    Record,
    RecordId,
    StationId,
    check_name,
    content_id,
    drawn_for_audit,
    is_case,
    record_id_of,
)

PHOTOS = (("logo", "a" * 64), ("logo", "b" * 64), ("stitching", "c" * 64))
LISTING = {"price_ratio": 0.5, "return_rate": None}


def an_id(
    station: str = "st-1",
    item: str = "bag-1",
    photos: tuple[tuple[str, str], ...] = PHOTOS,
    listing: Mapping[str, float | None] | None = LISTING,
) -> RecordId:
    return record_id_of(StationId(station), ItemId(item), photos, listing)


@settings(deadline=None)
@given(st.permutations(PHOTOS), st.permutations(list(LISTING.items())))
def test_a_records_id_does_not_depend_on_the_order_of_photos_or_features(
    photos: list[tuple[str, str]], features: list[tuple[str, float | None]]
) -> None:
    assert an_id(photos=tuple(photos), listing=dict(features)) == an_id()


def test_a_records_id_depends_on_everything_that_was_scanned() -> None:
    others = [
        an_id(station="st-2"),
        an_id(item="bag-2"),
        an_id(photos=PHOTOS[:2]),
        an_id(photos=(*PHOTOS[:2], ("hardware", "c" * 64))),
        an_id(photos=(*PHOTOS[:2], ("stitching", "d" * 64))),
        an_id(listing=None),
        an_id(listing={}),
        an_id(listing={"price_ratio": 0.5, "return_rate": 0.0}),
    ]
    assert len({an_id(), *others}) == 1 + len(others)


def test_a_records_id_is_the_same_in_every_version() -> None:
    """An update must not turn a scan that is taken again after a crash into a second record."""
    assert an_id() == "7eb994b7ac792e98b58bf9f55ba4aaac7898f8d5b9baa9d55b0ccfab57e0deb1"


def test_features_that_were_sent_ahead_are_no_part_of_a_records_id(golden: Path) -> None:
    record = decode(Record, parse_json((golden / "record.v2.json").read_bytes(), "r"), "r")
    photos = tuple((score.view, score.photo) for score in record.views)
    scanned = record.station_id, record.item_id, photos
    assert content_id(record) == record_id_of(*scanned, None)
    fresher = dataclasses.replace(record, listing={"price_ratio": 9.0}, features_as_of="2026-12-01T00:00:00+00:00")
    assert content_id(fresher) == content_id(record)
    came_with_the_scan = dataclasses.replace(record, features_as_of=None)
    assert content_id(came_with_the_scan) == record_id_of(*scanned, record.listing) != content_id(record)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]), st.binary(min_size=16, max_size=32))
def test_the_audit_lottery_draws_about_its_share(share: float, key: bytes) -> None:
    n = 4000
    drawn = sum(drawn_for_audit(key, RecordId(f"{number:064x}"), share) for number in range(n))
    assert abs(drawn - share * n) <= 5 * (n * share * (1 - share)) ** 0.5


def test_only_the_key_foresees_the_lottery() -> None:
    ids = [RecordId(f"{number:064x}") for number in range(2000)]
    one, other = ({i for i in ids if drawn_for_audit(key, i, 0.1)} for key in (b"one key", b"another key"))
    assert one == {i for i in ids if drawn_for_audit(b"one key", i, 0.1)}
    assert 5 < len(one & other) < 45  # independent draws share 1 %


def test_a_larger_share_keeps_what_a_smaller_one_drew() -> None:
    ids = [RecordId(f"{number:064x}") for number in range(2000)]
    assert all(drawn_for_audit(b"k", i, 0.2) for i in ids if drawn_for_audit(b"k", i, 0.1))


def test_all_but_an_unaudited_authentic_record_are_cases(golden: Path) -> None:
    record = decode(Record, parse_json((golden / "record.v1.json").read_bytes(), "r"), "r")
    cases = {
        (verdict, audited): is_case(dataclasses.replace(record, verdict=verdict, audited=audited))
        for verdict in SHOWN
        for audited in (False, True)
    }
    assert [key for key, case in cases.items() if not case] == [("authentic", False)]


def test_no_verdict_is_shown_as_fake() -> None:
    assert SHOWN == {"authentic": "confirmed", "suspect": "not confirmed", "uncertain": "sent to an expert"}


@pytest.mark.parametrize("name", ["logo", "sac n° 5", "8-901", "手袋", "a" * 128, "a.b", "x y"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert check_name(name, "item id") == name


@pytest.mark.parametrize("name", ["", "a" * 129, "a/b", "a\\b", "a\nb", "a\x00", "\x7f", "..", ".hidden", "a\n"])
def test_a_name_that_could_be_a_path_or_a_line_is_refused(name: str) -> None:
    with pytest.raises(Unsupported, match=r"^item id "):
        check_name(name, "item id")
