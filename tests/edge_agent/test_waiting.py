"""When a release may take over: hours over midnight, an operator's "later", and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge_agent.config import read_config
from edge_agent.hours import Hours, parse_hours
from edge_agent.waiting import check_deferral, waits_until
from runtime.contracts.errors import StationFault, Unsupported

LOCAL = timezone(timedelta(hours=2))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=LOCAL)


NIGHT, DAY = parse_hours("22-06"), parse_hours("12-14")


@pytest.mark.parametrize(
    ("now", "hours", "deferred", "until"),
    [
        ("23T15:00", None, None, None),
        ("23T22:00", NIGHT, None, None),
        ("24T05:59", NIGHT, None, None),
        ("24T06:00", NIGHT, None, "24T22:00"),
        ("23T11:59", DAY, None, "23T12:00"),
        ("23T14:00", DAY, None, "24T12:00"),
        ("23T15:00", None, "23T18:30", "23T18:30"),
        ("23T15:00", None, "23T14:59", None),
        ("23T23:00", NIGHT, "24T01:00", "24T01:00"),
        ("23T23:00", NIGHT, "24T07:00", "24T22:00"),
        ("23T15:00", None, "25T15:00", None),  # nobody may say so: a clock has jumped
    ],
)
def test_a_release_waits_for_its_hour_and_the_operator(
    now: str, hours: Hours | None, deferred: str | None, until: str | None
) -> None:
    said = at(deferred).astimezone(UTC) if deferred else None
    assert waits_until(at(now), hours, said, at(now)) == (at(until) if until else None)


def test_after_a_week_nobody_puts_it_off_any_more() -> None:
    later = at("23T18:00")
    assert waits_until(at("23T15:00"), None, later, at("16T15:00")) == later
    assert waits_until(at("23T15:00"), None, later, at("16T14:59")) is None
    assert waits_until(at("23T15:00"), NIGHT, later, at("16T14:59")) == at("23T22:00"), "its hours still hold"


@pytest.mark.parametrize(
    ("until", "first_seen", "says"),
    [
        ("24T15:01", None, "24 hours at a time"),
        ("24T15:00", None, None),
        ("24T15:00", "17T15:00", None),
        ("24T15:00", "17T14:59", "cannot be put off for more than 7 days"),
        ("23T10:00", "01T15:00", "7 days"),
        ("23T10:00", None, None),  # takes an earlier word back
    ],
)
def test_an_operator_may_say_later_for_a_day_and_for_a_week_in_all(
    until: str, first_seen: str | None, says: str | None
) -> None:
    seen = at(first_seen) if first_seen else None
    if says is None:
        check_deferral(at(until), at("23T15:00"), seen)
    else:
        with pytest.raises(Unsupported, match=says):
            check_deferral(at(until), at("23T15:00"), seen)


@pytest.mark.parametrize("text", ["22", "22-22", "0-24", "25-06", "night"])
def test_what_are_no_hours_is_a_mistake_in_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(f'update_hours = "{text}"\n')
    with pytest.raises(StationFault, match=r"agent\.toml: update_hours: expected two times of the day"):
        read_config(tmp_path / "agent.toml")


def test_nothing_is_always(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('update_hours = ""\n')
    assert read_config(tmp_path / "agent.toml").update_hours == ""
