"""Photos go once the server has had their record long enough; never those of a case that it has not, or that waits."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.disk import PhotoBudget
from edge_agent.home import Home
from edge_agent.identity import require_identity
from edge_agent.outbox import Outbox
from edge_agent.retention import EVERY_S, Retention
from runtime.contracts.durable import ContentFolder
from runtime.contracts.records import Verdict
from runtime.contracts.sync import Answer
from tests.edge_agent.rigs import Daemon, RealServer, make_record, wait_until

DAY_S = 86_400.0
NOW_S = 1_000 * DAY_S


class Kept:
    """A station whose records each have a photo of their own."""

    def __init__(self, folder: Path, outbox: Outbox) -> None:
        self.outbox = outbox
        self.photos = ContentFolder(folder / "photos")
        self.elapsed_s = 0.0
        self.retention = Retention(
            outbox, PhotoBudget(self.photos), keep_days=30, keep_case_days=90, elapsed_s=lambda: self.elapsed_s
        )

    def add(self, number: int, verdict: Verdict, *, audited: bool = False, acked_days_ago: float | None = None) -> None:
        sha256 = self.photos.put(str(number).encode())
        record = make_record(number, verdict=verdict, audited=audited, photos=[sha256])
        self.outbox.add(record)
        if acked_days_ago is not None:
            self.outbox.ack(record.record_id, acked_s=NOW_S - acked_days_ago * DAY_S)

    def answer(self, number: int) -> None:
        record = make_record(number)
        answer = Answer(
            seq=number, record_id=record.record_id, item_id=record.item_id, outcome="genuine", resolved_at="2026-11-24"
        )
        self.outbox.add_answers([answer])

    def left(self) -> list[int]:
        return sorted(int(self.photos.read(sha256)) for sha256 in self.photos)


@pytest.fixture
def kept(tmp_path: Path, outbox: Outbox) -> Kept:
    return Kept(tmp_path, outbox)


def test_photos_go_after_their_time_and_not_before(kept: Kept) -> None:
    kept.add(1, "authentic", acked_days_ago=29)
    kept.add(2, "authentic", acked_days_ago=31)
    kept.add(3, "authentic")
    kept.add(4, "suspect")
    kept.add(5, "uncertain", acked_days_ago=31)
    kept.add(6, "uncertain", acked_days_ago=91)
    kept.add(7, "authentic", audited=True, acked_days_ago=89)
    kept.add(8, "suspect", acked_days_ago=31)
    kept.add(9, "suspect", acked_days_ago=29)
    kept.answer(8)
    kept.answer(9)
    kept.retention.step(NOW_S)
    assert kept.left() == [1, 3, 4, 5, 7, 9]
    assert kept.outbox.tally().recorded == 9, "the records stay"
    kept.elapsed_s += EVERY_S
    kept.retention.step(NOW_S + 61 * DAY_S)
    assert kept.left() == [3, 4]


def test_a_case_that_the_server_has_not_keeps_its_photos_for_ever(kept: Kept) -> None:
    kept.add(1, "suspect")
    kept.answer(1)
    kept.outbox.park(make_record(1).record_id, until_s=0, error="refused")
    kept.add(2, "authentic", acked_days_ago=500)
    kept.outbox.object_to(make_record(2).record_id, "a seam", "2026-11-27T00:00:00+00:00")
    kept.retention.step(NOW_S * 10)
    assert kept.left() == [1, 2]


def test_a_photo_that_a_younger_record_shares_stays(kept: Kept) -> None:
    kept.add(1, "authentic", acked_days_ago=31)
    shared = kept.photos.put(b"1")
    young = make_record(2, verdict="authentic", photos=[shared])
    kept.outbox.add(young)
    kept.outbox.ack(young.record_id, acked_s=NOW_S - 5 * DAY_S)
    kept.retention.step(NOW_S)
    assert kept.left() == [1]
    kept.elapsed_s += EVERY_S
    kept.retention.step(NOW_S + 26 * DAY_S)
    assert kept.left() == []


def test_it_does_a_little_at_a_time_and_then_rests_for_an_hour(kept: Kept) -> None:
    for number in range(120):
        kept.add(number, "authentic", acked_days_ago=31)
    assert kept.retention.step(NOW_S)
    assert len(kept.left()) == 70
    assert kept.retention.step(NOW_S)
    assert not kept.retention.step(NOW_S)
    assert kept.left() == []
    statements: list[str] = []
    kept.outbox._db.set_trace_callback(statements.append)
    assert not kept.retention.step(NOW_S)
    kept.elapsed_s += EVERY_S - 1
    assert not kept.retention.step(NOW_S)
    kept.outbox._db.set_trace_callback(None)
    assert statements == []


def test_what_goes_is_found_by_an_index(kept: Kept) -> None:
    statements: list[str] = []
    kept.outbox._db.set_trace_callback(statements.append)
    kept.retention.step(NOW_S)
    kept.outbox._db.set_trace_callback(None)
    (query,) = [one for one in statements if "SELECT" in one]
    plan = " ".join(row[3] for row in kept.outbox._db.execute(f"EXPLAIN QUERY PLAN {query}"))
    assert "record_kept" in plan


def test_a_crash_between_deleting_and_noting_it_is_harmless(kept: Kept) -> None:
    kept.add(1, "authentic", acked_days_ago=31)
    (sha256,) = kept.photos
    kept.photos.path(sha256).unlink()
    kept.retention.step(NOW_S)
    assert kept.outbox.stored(after=0, limit=1)[0].photos_dropped


def test_the_daemon_lets_photos_go_after_the_ack_by_the_servers_clock(
    server: RealServer, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    home = Home(root=server.enrolled(tmp_path / "station"))
    with home.config_file.open("a") as file:
        file.write("keep_photos_days = 2\n")
    station_id = require_identity(home).station_id
    photos = ContentFolder(home.photos)
    hashes = [photos.put(photo_of(140, seed=seed)) for seed in range(3)]
    with closing(Outbox(home.database_file)) as outbox:
        for number, sha256 in enumerate(hashes):
            verdict: Verdict = "authentic" if number < 2 else "suspect"
            record = make_record(number + 70, verdict=verdict, photos=[sha256], station_id=station_id)
            outbox.add(record)
            if number == 0:
                outbox.ack(record.record_id, acked_s=time.time() - 3 * DAY_S)
        # A clock that has jumped, written before: by it, everything is old.
        outbox.set_facts({"clock_offset_s": str(10_000 * DAY_S)})
    daemon = Daemon(home.root)
    daemon.ready_line()
    wait_until(lambda: hashes[0] not in photos, "the photo of the old record is gone")
    wait_until(lambda: not unsent(home), "all is acked")
    assert daemon.end() == 0
    assert [sha256 in photos for sha256 in hashes] == [False, True, True]
    (event,) = daemon.events("photos_dropped")
    assert (event["count"], event["records"]) == (1, 1)


def unsent(home: Home) -> int:
    with closing(sqlite3.connect(home.database_file)) as db:
        return int(db.execute("SELECT COUNT(*) FROM record WHERE state != 'acked'").fetchone()[0])
