"""Which bytes may go now, and when it is worth looking again: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bandwidth import Allowance, Bandwidth, allowance, piece_bytes
from edge_agent.hours import Hours, parse_hours
from runtime.contracts.errors import Unsupported

KIB = 1024
PARIS = timezone(timedelta(hours=1))
NIGHT = Hours(opens_min=22 * 60, closes_min=6 * 60)
Minutes = st.integers(0, 24 * 60 - 1)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 11, 27, hour, minute, second, tzinfo=PARIS)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("", None),
        ("22-06", NIGHT),
        ("22-6", NIGHT),
        ("22:00 - 6:00", NIGHT),
        ("9:30-17:45", Hours(opens_min=570, closes_min=1065)),
        ("18-24", Hours(opens_min=1080, closes_min=0)),
    ],
)
def test_hours_are_read_as_people_write_them(text: str, hours: Hours | None) -> None:
    assert parse_hours(text) == hours


@pytest.mark.parametrize(
    "text", ["22", "22-22", "0-24", "25-3", "24-6", "22:60-6", "night", "22-06-08", "-1-5", "3-25"]
)
def test_hours_that_cannot_be_say_what_was_expected(text: str) -> None:
    with pytest.raises(Unsupported, match="'22-06'"):
        parse_hours(text)


@pytest.mark.parametrize(
    ("moment", "opens_in_s"),
    [
        (at(21, 59, 30), 30),
        (at(22), 0),
        (at(23, 59, 59), 0),
        (at(0), 0),
        (at(5, 59, 59), 0),
        (at(6), 16 * 3600),
        (at(12, 30), 9.5 * 3600),
    ],
)
def test_hours_wrap_past_midnight(moment: datetime, opens_in_s: float) -> None:
    assert NIGHT.opens_in_s(moment) == opens_in_s


@given(Minutes, Minutes, st.datetimes(timezones=st.just(UTC)))
def test_after_waiting_as_long_as_it_says_it_is_open_and_not_a_minute_before(
    opens_min: int, closes_min: int, moment: datetime
) -> None:
    if opens_min == closes_min:
        return
    hours = Hours(opens_min=opens_min, closes_min=closes_min)
    moment = moment.replace(year=2026, microsecond=0)
    wait_s = hours.opens_in_s(moment)
    assert 0 <= wait_s <= 86_400
    assert hours.opens_in_s(moment + timedelta(seconds=wait_s)) == 0
    if wait_s > 60:
        assert hours.opens_in_s(moment + timedelta(seconds=wait_s - 60)) > 0


def test_nothing_is_limited_where_nobody_limits_anything() -> None:
    for urgent in (True, False):
        assert allowance(Bandwidth(), at=at(12), spent_bytes=10**12, urgent=urgent) == Allowance(
            bytes=None, look_again_s=0
        )


def test_urgent_photos_go_at_any_hour_and_count_against_the_hours_bytes() -> None:
    bandwidth = Bandwidth(bytes_per_hour=1000 * KIB, hours=NIGHT)

    def allowed(hour: int, spent_bytes: int, urgent: bool) -> Allowance:
        return allowance(bandwidth, at=at(hour, 15), spent_bytes=spent_bytes, urgent=urgent)

    assert allowed(12, 0, urgent=False) == Allowance(bytes=0, look_again_s=9.75 * 3600)
    assert allowed(12, 400 * KIB, urgent=True) == Allowance(bytes=600 * KIB, look_again_s=0)
    assert allowed(12, 1000 * KIB, urgent=True) == Allowance(bytes=0, look_again_s=45 * 60)
    assert allowed(23, 400 * KIB, urgent=False) == Allowance(bytes=600 * KIB, look_again_s=0)
    assert allowed(23, 980 * KIB, urgent=False) == Allowance(bytes=0, look_again_s=45 * 60)


@given(st.integers(1, 10**9), st.integers(0, 2 * 10**9), st.integers(1, 10**8), st.booleans())
def test_no_hour_gets_more_than_its_bytes_but_for_one_photo_that_is_larger(
    bytes_per_hour: int, spent_bytes: int, wanted_bytes: int, whole: bool
) -> None:
    allowed = allowance(Bandwidth(bytes_per_hour=bytes_per_hour), at=at(12), spent_bytes=spent_bytes, urgent=True)
    taken = piece_bytes(allowed, wanted_bytes, whole=whole, spent_bytes=spent_bytes)
    assert 0 <= taken <= wanted_bytes
    assert taken + spent_bytes <= bytes_per_hour or taken == 0 or (whole and spent_bytes == 0)
    assert taken > 0 or allowed.bytes == 0 or (whole and spent_bytes > 0)
    if spent_bytes == 0:
        assert taken >= min(wanted_bytes, bytes_per_hour), "a fresh hour always moves something"
