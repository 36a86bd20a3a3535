"""Clocks that are dead, set back or set ahead: nothing that has expired gets in, and nothing but updates ever stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.trusted_time import complaint
from runtime.contracts.errors import TryLater
from tests.edge_agent.repository import Repository
from tests.edge_agent.update_rig import Rig

Bundle = Callable[[float], Path]
YEAR_S = 365 * 86_400.0
DAY_S = 86_400.0
TOLERANCE = timedelta(minutes=1)


def set_clocks(rig: Rig, repository: Repository, *, station_s: float = 0.0, server_s: float = 0.0) -> None:
    """Set both clocks so many seconds ahead of the true time."""
    rig.clock = lambda: datetime.now(UTC) + timedelta(seconds=station_s)
    rig.link._now_s = lambda: time.time() + station_s  # type: ignore[attr-defined]
    repository.clock = lambda: time.time() + server_s


def floor_of(rig: Rig) -> datetime:
    floor = rig.slot.book.time_floor()
    assert floor is not None
    return floor


def test_a_clock_set_back_a_year_does_not_bring_back_what_has_expired(
    rig: Rig, repository: Repository, bundle: Bundle
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    set_clocks(rig, repository, server_s=-3 * DAY_S)
    repository.lives = dict.fromkeys(repository.lives, timedelta(days=-1))  # signed three days ago, for two days
    repository.publish(bundle(0.1), release=2)
    set_clocks(rig, repository, station_s=-YEAR_S, server_s=-YEAR_S)  # nobody here knows better
    rig.restart()
    with pytest.raises(TryLater, match="expired"):
        rig.updates.step()
    assert rig.running() == 1
    says = complaint(rig.clock(), 0.0, rig.slot.book.time_floor())
    assert says == "this clock is 365 days behind the signed metadata; set it"


def test_a_clock_set_ahead_a_year_is_corrected_by_the_server(rig: Rig, repository: Repository, bundle: Bundle) -> None:
    set_clocks(rig, repository, station_s=YEAR_S)
    repository.publish(bundle(0.0), release=1)
    assert rig.updates.step()
    assert rig.link.clock_offset_s == pytest.approx(-YEAR_S, abs=5)
    says = complaint(rig.clock(), rig.link.clock_offset_s, rig.slot.book.time_floor())
    assert says == "this clock is 365 days ahead of the server's; set it"


def test_a_clock_set_ahead_a_year_stops_updates_says_so_and_never_stops_scanning(
    rig: Rig, repository: Repository, bundle: Bundle, photo_of: Callable[..., bytes]
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    repository.publish(bundle(0.1), release=2)
    set_clocks(rig, repository, station_s=YEAR_S, server_s=YEAR_S)  # nobody here knows better
    with pytest.raises(TryLater, match="expired; updates wait for fresh metadata, scanning goes on"):
        rig.updates.step()
    assert rig.scan(photo_of(20)).model.release == 1
    assert floor_of(rig) < datetime.now(UTC) + TOLERANCE, "a look that failed is no word on the time"
    set_clocks(rig, repository)
    assert rig.updates.step()


def test_a_server_whose_clock_ran_ahead_locks_nobody_out_once_it_is_right_again(
    rig: Rig, repository: Repository, bundle: Bundle
) -> None:
    set_clocks(rig, repository, server_s=YEAR_S)
    repository.lives = dict.fromkeys(repository.lives, timedelta(days=400))
    repository.sign_root()
    repository.publish(bundle(0.0), release=1)
    repository.listed = {**repository.listed}
    with_targets_right(repository)
    rig.updates.step()
    assert floor_of(rig) < datetime.now(UTC) + TOLERANCE
    set_clocks(rig, repository)
    repository.lives = dict.fromkeys(repository.lives, timedelta(days=1))
    repository.sign_root()
    repository.publish(bundle(0.1), release=2)
    assert rig.updates.step()
    assert rig.running() == 2


def with_targets_right(repository: Repository) -> None:
    """Sign the targets with a right clock, as they are signed elsewhere; the rest with the server's."""
    ahead, repository.clock = repository.clock, time.time
    repository.sign_all()
    repository.clock = ahead
    targets = repository.metadata[f"{repository.versions['targets']}.targets.json"]
    repository.versions["targets"] -= 1
    repository.sign_all()
    repository.metadata[f"{repository.versions['targets']}.targets.json"] = targets


def test_the_floor_rises_with_every_look_survives_a_restart_and_never_falls(
    rig: Rig, repository: Repository, bundle: Bundle
) -> None:
    set_clocks(rig, repository, server_s=-3 * DAY_S)
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    first = floor_of(rig)
    set_clocks(rig, repository)
    repository.publish(bundle(0.1), release=2)
    rig.updates.step()
    second = floor_of(rig)
    assert second - first > timedelta(days=2)
    rig.restart()
    assert floor_of(rig) == second
    set_clocks(rig, repository, server_s=-2 * DAY_S)  # signed again by a clock that was set back
    repository.publish(bundle(0.2), release=3)
    rig.updates.step()
    assert rig.running() == 3
    assert floor_of(rig) == second


def test_new_keys_begin_a_new_account_of_the_time(rig: Rig, repository: Repository, bundle: Bundle) -> None:
    """Whoever stole a key may have pushed the floor ahead; another key in a new root ends that."""
    set_clocks(rig, repository, station_s=2 * DAY_S, server_s=2 * DAY_S)
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    assert floor_of(rig) > datetime.now(UTC) + timedelta(days=1)
    set_clocks(rig, repository)
    for role in ("timestamp", "snapshot", "targets"):
        repository.keys[role] = CryptoSigner.generate_ed25519()
    repository.sign_root()
    repository.publish(bundle(0.1), release=2)
    assert rig.updates.step()
    assert floor_of(rig) < datetime.now(UTC) + TOLERANCE


def test_what_had_expired_before_the_timestamp_was_signed_is_refused_by_any_clock(
    rig: Rig, repository: Repository, bundle: Bundle
) -> None:
    repository.publish(bundle(0.0), release=1)
    rig.updates.step()
    repository.lives["targets"] = timedelta(days=-1)
    repository.publish(bundle(0.1), release=2)
    set_clocks(rig, repository, station_s=-YEAR_S, server_s=-YEAR_S)
    rig.outbox._db.execute("DELETE FROM fact WHERE name IN ('tuf_marks', 'committed')")  # it knows of no time yet
    with pytest.raises(TryLater, match=r"targets\.json had expired before the timestamp was signed"):
        rig.updates.step()
