"""Time: what was signed is a floor, no single wrong clock pushes it ahead, and a person is told which clock to set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.trusted_time import agreed, complaint, floor_of, trusted_now

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


def test_the_floor_is_the_latest_that_was_signed_and_nonsense_says_nothing() -> None:
    assert floor_of([]) is None
    assert floor_of(["", "soon", "2026-11-23T12:00:00", "2026-11-23"]) is None, "without a timezone it is no moment"
    assert floor_of(["2026-11-23T12:00:00Z", "2026-11-23T12:30:00+01:00", ""]) == NOW


def test_a_clock_set_back_a_year_does_not_bring_back_what_has_expired() -> None:
    assert trusted_now(NOW - YEAR, 0.0, NOW) == NOW
    assert trusted_now(NOW - YEAR, -YEAR.total_seconds(), NOW) == NOW, "whatever the server's Date says"


def test_a_right_clock_goes_on_beyond_the_floor() -> None:
    assert trusted_now(NOW, 0.0, NOW - YEAR) == NOW
    assert trusted_now(NOW, 0.0, None) == NOW


def test_a_dead_clock_goes_by_the_server() -> None:
    dead = datetime(1970, 1, 1, tzinfo=UTC)
    assert trusted_now(dead, (NOW - dead).total_seconds(), NOW - YEAR) == NOW


def test_no_single_wrong_clock_pushes_the_floor_ahead() -> None:
    assert agreed(NOW, NOW + YEAR) == NOW, "the server's clock runs ahead"
    assert agreed(NOW + YEAR, NOW) == NOW, "this one does"


@pytest.mark.parametrize(
    ("clock", "ahead_s", "floor", "says"),
    [
        (NOW, 0.0, NOW, None),
        (NOW, 3000.0, NOW + timedelta(minutes=50), None),
        (NOW - timedelta(days=364), 0.0, NOW, "this clock is 364 days behind the signed metadata; set it"),
        (NOW - timedelta(hours=30), 0.0, NOW, "this clock is 30 hours behind the signed metadata; set it"),
        (NOW - timedelta(minutes=90), 0.0, NOW, "this clock is 90 minutes behind the signed metadata; set it"),
        (NOW + YEAR, -YEAR.total_seconds(), NOW, "this clock is 365 days ahead of the server's; set it"),
        (NOW - YEAR, YEAR.total_seconds(), None, "this clock is 365 days behind the server's; set it"),
        (NOW + YEAR, 0.0, NOW, None),  # it cannot be known
    ],
)
def test_a_person_is_told_which_clock_to_set(
    clock: datetime, ahead_s: float, floor: datetime | None, says: str | None
) -> None:
    assert complaint(clock, ahead_s, floor) == says
