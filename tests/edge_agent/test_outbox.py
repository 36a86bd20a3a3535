"""The outbox: what goes in stays until it is acked, whatever happens in between."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_agent import outbox_schema
from edge_agent.outbox import LONGEST_WAIT_S, Leased, Outbox
from edge_agent.outbox_traffic import MAX_TELEMETRY_BYTES, MOST_TELEMETRY
from runtime.contracts.errors import StationFault, TryLater
from runtime.contracts.records import ItemId, RecordId
from runtime.contracts.sync import Answer
from tests.edge_agent.rigs import make_record


def leased(outbox: Outbox, now_s: float = 0.0, limit: int = 10) -> list[str]:
    return [one.record.item_id for one in outbox.lease(now_s=now_s, lease_s=60, limit=limit)]


def test_a_record_comes_back_as_it_went_in(outbox: Outbox) -> None:
    record = make_record(1, photos=["a" * 64, "a" * 64, "b" * 64])
    assert outbox.add(record)
    assert outbox.find(record.record_id) == record
    assert outbox.find(RecordId("f" * 64)) is None


def test_adding_the_same_record_again_changes_nothing(outbox: Outbox) -> None:
    assert outbox.add(make_record(1))
    assert not outbox.add(make_record(1))
    assert outbox.tally().recorded == 1


def test_suspect_goes_first_then_uncertain_then_audited_then_the_rest(outbox: Outbox) -> None:
    outbox.add(make_record(1, verdict="authentic"))
    outbox.add(make_record(2, verdict="authentic", audited=True))
    outbox.add(make_record(3, verdict="uncertain"))
    outbox.add(make_record(4, verdict="suspect"))
    assert leased(outbox) == ["item 4", "item 3", "item 2", "item 1"]


def test_a_leased_record_is_given_to_nobody_else_until_the_lease_runs_out(outbox: Outbox) -> None:
    outbox.add(make_record(1))
    assert leased(outbox, now_s=100) == ["item 1"]
    assert leased(outbox, now_s=159) == []
    assert leased(outbox, now_s=160) == ["item 1"]


def test_reading_never_deletes(outbox: Outbox) -> None:
    outbox.add(make_record(1))
    leased(outbox)
    assert outbox.tally().pending == 1
    outbox.ack(make_record(1).record_id)
    assert (outbox.tally().acked, outbox.tally().pending) == (1, 0)
    assert leased(outbox, now_s=1e9) == []


def test_a_parked_record_counts_as_pending_and_comes_again(outbox: Outbox) -> None:
    outbox.add(make_record(1))
    leased(outbox)
    outbox.park(make_record(1).record_id, until_s=1000, error="refused")
    tally = outbox.tally()
    assert (tally.recorded, tally.acked, tally.pending, tally.parked, tally.waiting_cases) == (1, 0, 1, 1, 1)
    assert leased(outbox, now_s=999) == []
    assert leased(outbox, now_s=1000) == ["item 1"]


def test_a_due_time_written_by_a_clock_that_jumped_does_not_hold_a_record_back(outbox: Outbox) -> None:
    outbox.add(make_record(1))
    leased(outbox, now_s=4e9)  # the clock said 2096
    assert leased(outbox, now_s=4e9 - LONGEST_WAIT_S) == ["item 1"]


def test_a_starting_daemon_gets_all_leases_back(outbox: Outbox) -> None:
    outbox.add(make_record(1))
    leased(outbox)
    outbox.release_leases()
    assert leased(outbox) == ["item 1"]


def test_a_lease_given_back_unused_counts_no_attempt(outbox: Outbox) -> None:
    outbox.add(make_record(1))
    leased(outbox)
    outbox.give_back(make_record(1).record_id)
    (again,) = outbox.lease(now_s=0, lease_s=1, limit=1)
    assert again.attempts == 1


def test_postponing_after_the_ack_does_not_bring_a_record_back(outbox: Outbox) -> None:
    outbox.add(make_record(1))
    outbox.ack(make_record(1).record_id)
    outbox.postpone(make_record(1).record_id, until_s=0, error="late")
    assert outbox.tally().acked == 1


def test_only_photos_of_confident_unaudited_records_may_go_and_none_that_a_case_shares(outbox: Outbox) -> None:
    outbox.add(make_record(1, verdict="authentic", photos=["a" * 64, "b" * 64]))
    outbox.add(make_record(2, verdict="authentic", audited=True, photos=["c" * 64]))
    outbox.add(make_record(3, verdict="suspect", photos=["b" * 64]))
    removed: list[str] = []
    assert outbox.drop_oldest(removed.append) == 1
    assert outbox.drop_oldest(removed.append) is None
    assert removed == ["a" * 64]


def test_a_photo_goes_with_the_last_record_that_claims_it(outbox: Outbox) -> None:
    outbox.add(make_record(1, verdict="authentic", photos=["a" * 64, "b" * 64]))
    outbox.add(make_record(2, verdict="authentic", photos=["b" * 64]))
    removed: list[str] = []
    assert outbox.drop_oldest(removed.append) == 1
    assert removed == ["a" * 64]
    assert outbox.drop_oldest(removed.append) == 1
    assert removed == ["a" * 64, "b" * 64]


def test_no_other_process_can_add_a_case_while_photos_go(outbox: Outbox, tmp_path: Path) -> None:
    outbox.add(make_record(1, verdict="authentic", photos=["a" * 64]))
    other = Outbox(tmp_path / "station.db")
    other._db.execute("PRAGMA busy_timeout = 0")

    def add_meanwhile(sha256: str) -> None:
        with pytest.raises(TryLater):
            other.add(make_record(2, photos=[sha256]))

    assert outbox.drop_oldest(add_meanwhile) == 1
    assert other.add(make_record(2, photos=["a" * 64]))
    other.close()


def test_photos_that_cannot_be_removed_are_not_noted_as_gone(outbox: Outbox) -> None:
    outbox.add(make_record(1, verdict="authentic", photos=["a" * 64]))

    def refuse(_: str) -> None:
        raise OSError("read-only")

    with pytest.raises(OSError, match="read-only"):
        outbox.drop_oldest(refuse)
    assert outbox.drop_oldest(str) == 1


def test_only_its_owner_reads_a_new_outbox_and_a_persons_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    Outbox(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    Outbox(path).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_telemetry_keeps_its_numbers_and_only_the_newest_of_it_stay(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.outbox_traffic.MOST_TELEMETRY", 3)
    for number in range(5):
        outbox.add_telemetry(b'{"n": %d}' % number, float(number))
    assert [(one.seq, one.body, one.made_s) for one in outbox.telemetry(2)] == [
        (3, b'{"n": 2}', 2),
        (4, b'{"n": 3}', 3),
    ]
    outbox.remove_telemetry([one.seq for one in outbox.telemetry(9)])
    outbox.add_telemetry(b"{}", 9.0)
    assert [one.seq for one in outbox.telemetry(9)] == [6], "no number is ever given out twice"
    with pytest.raises(ValueError, match="at most"):
        outbox.add_telemetry(b"x" * (MAX_TELEMETRY_BYTES + 1), 0.0)
    assert MOST_TELEMETRY == 2000


def test_bytes_are_counted_by_the_hour_and_only_the_last_one_is_known(outbox: Outbox, tmp_path: Path) -> None:
    outbox.spend(100, 5)
    outbox.spend(100, 7)
    other = Outbox(tmp_path / "station.db")
    assert (other.spent_bytes(99), other.spent_bytes(100), other.spent_bytes(101)) == (0, 12, 0)
    other.close()
    outbox.spend(99, 1)
    assert [outbox.spent_bytes(hour) for hour in (99, 100)] == [1, 0]


def test_answers_are_stored_once(outbox: Outbox) -> None:
    answer = Answer(
        seq=7, record_id=RecordId("a" * 64), item_id=ItemId("i"), outcome="genuine", resolved_at="2026-11-23"
    )
    outbox.add_answers([answer])
    outbox.add_answers([answer])
    assert outbox.answers() == (answer,)
    assert (outbox.last_answer(), outbox.answer_count()) == (7, 1)


def test_the_count_of_records_cannot_be_set(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="counted"):
        outbox.set_facts({"recorded": "0"})


def test_a_newer_agents_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    Outbox(tmp_path / "a.db").close()
    db = sqlite3.connect(tmp_path / "a.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StationFault, match="newer agent"):
        Outbox(tmp_path / "a.db")


def test_a_file_that_is_no_database_is_a_station_fault(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StationFault, match="keep the broken one"):
        Outbox(tmp_path / "a.db")


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    Outbox(tmp_path / "a.db").close()
    db = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    whole = outbox_schema.STEPS
    try:
        outbox_schema.STEPS = (*whole, ("CREATE TABLE extra (x)", "CREATE TABLE record (x)"))
        with pytest.raises(sqlite3.OperationalError):
            outbox_schema.migrate(db)
    finally:
        outbox_schema.STEPS = whole
    assert db.execute("PRAGMA user_version").fetchone() == (len(whole),)
    assert db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    db.close()


def test_every_commit_waits_for_the_disk(outbox: Outbox) -> None:
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert outbox._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


class OutboxMachine(RuleBasedStateMachine):
    """Any order of calls, two processes' worth of connections, crashes in between: nothing is lost, nothing twice."""

    numbers = st.integers(0, 12)

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "station.db"
        self.box, self.other = Outbox(self.path), Outbox(self.path)
        self.added: set[str] = set()
        self.acked: set[str] = set()
        self.objected: set[str] = set()
        self.now_s = 0.0

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.box.close()
            self.other.close()
            self.folder.cleanup()

    @rule(number=numbers, verdict=st.sampled_from(["authentic", "suspect", "uncertain"]), second=st.booleans())
    def add(self, number: int, verdict: str, second: bool) -> None:
        record = make_record(number, verdict=verdict)  # type: ignore[arg-type]
        assert (self.other if second else self.box).add(record) == (record.record_id not in self.added)
        self.added.add(record.record_id)

    @rule(number=numbers, second=st.booleans())
    def object(self, number: int, second: bool) -> None:
        record_id = make_record(number).record_id
        if record_id in self.added:
            (self.other if second else self.box).object_to(record_id, "a seam", "2026-11-27T00:00:00+00:00")
            if record_id not in self.objected:
                self.acked.discard(record_id)
            self.objected.add(record_id)

    def ack(self, one: Leased, heard: bool) -> None:
        """Ack it; ``heard``: without the objection that came while it was on its way."""
        record_id = one.record.record_id
        self.box.ack(record_id, objected=not heard and one.objection is not None)
        if not heard or one.objection is None:
            self.acked.add(record_id)

    @rule(limit=st.integers(1, 5), end=st.sampled_from(["ack", "half", "postpone", "park", "give_back", "crash"]))
    def lease(self, limit: int, end: str) -> None:
        ends: dict[str, Callable[[RecordId], None]] = {
            "postpone": lambda record_id: self.box.postpone(record_id, until_s=self.now_s + 5, error="x"),
            "park": lambda record_id: self.box.park(record_id, until_s=self.now_s + 50, error="x"),
            "give_back": self.box.give_back,
            "crash": lambda record_id: None,
        }
        for one in self.box.lease(now_s=self.now_s, lease_s=10, limit=limit):
            assert one.record.record_id not in self.acked
            if end in ("ack", "half"):
                self.ack(one, heard=end == "half")
            else:
                ends[end](one.record.record_id)

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(release=st.booleans())
    def restart(self, release: bool) -> None:
        self.box.close()
        self.box = Outbox(self.path)
        if release:
            self.box.release_leases()

    @invariant()
    def recorded_is_acked_and_pending(self) -> None:
        if not hasattr(self, "box"):
            return
        tally = self.other.tally()
        assert tally.recorded == tally.acked + tally.pending == len(self.added)
        assert tally.acked == len(self.acked)


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_what_waits_longest_and_what_was_refused_can_be_asked_for(outbox: Outbox) -> None:
    assert (outbox.oldest_waiting(), outbox.parked(5)) == (None, ())
    for number in (1, 2, 3):
        outbox.add(make_record(number))
    outbox.ack(make_record(1).record_id)
    assert outbox.oldest_waiting() == make_record(2)
    for number in (2, 3):
        outbox.park(make_record(number).record_id, until_s=1000, error=f"refused {number}")
    assert [(one.item_id, one.why) for one in outbox.parked(5)] == [("item 3", "refused 3"), ("item 2", "refused 2")]
    assert len(outbox.parked(1)) == 1
