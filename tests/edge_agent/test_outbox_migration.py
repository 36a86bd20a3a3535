"""An outbox that an older agent wrote: all of it is found again, also when the power goes in the middle."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent import outbox_schema
from edge_agent.outbox import Outbox
from edge_agent.outbox_views import read_record
from runtime.contracts.codec import canonical_json
from runtime.contracts.records import ItemId, Record, is_case
from tests.edge_agent.rigs import REPOSITORY, make_record

FIRST = """
CREATE TABLE record (
    seq INTEGER PRIMARY KEY, record_id TEXT NOT NULL UNIQUE, item_id TEXT NOT NULL, is_case INTEGER NOT NULL,
    priority INTEGER NOT NULL, body BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'parked', 'acked')),
    attempts INTEGER NOT NULL DEFAULT 0, due_s REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
    photos_dropped INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX record_unsent ON record (priority, seq) WHERE state != 'acked';
CREATE INDEX record_droppable ON record (seq) WHERE is_case = 0 AND photos_dropped = 0;
CREATE INDEX record_state ON record (state, is_case);
CREATE TABLE photo (
    sha256 TEXT NOT NULL, record_seq INTEGER NOT NULL REFERENCES record (seq), PRIMARY KEY (sha256, record_seq)
) WITHOUT ROWID;
CREATE INDEX photo_of_record ON photo (record_seq);
CREATE TABLE answer (
    seq INTEGER PRIMARY KEY, record_id TEXT NOT NULL, item_id TEXT NOT NULL, outcome TEXT NOT NULL,
    resolved_at TEXT NOT NULL
);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO fact VALUES ('recorded', '0');
CREATE TRIGGER count_record AFTER INSERT ON record BEGIN
    UPDATE fact SET value = CAST(value AS INTEGER) + 1 WHERE name = 'recorded';
END;
PRAGMA user_version = 1;
"""
"""What the first released agent wrote, word for word."""

RECORDS = [
    make_record(1, verdict="authentic", photos=["a" * 64]),
    make_record(2, verdict="uncertain", photos=["b" * 64, "c" * 64]),
    make_record(3, verdict="suspect", photos=["b" * 64]),
    make_record(4, verdict="authentic", audited=True, photos=["d" * 64]),
    make_record(5, verdict="uncertain"),
    make_record(6, verdict="suspect"),
]
STATES = ["pending", "pending", "pending", "pending", "acked", "parked"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "station.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FIRST)
        for record, state in zip(RECORDS, STATES, strict=True):
            insert(db, record, state)
        db.execute("INSERT INTO answer VALUES (7, ?, 'item 5', 'genuine', '2026-11-24')", (RECORDS[4].record_id,))
        db.execute("INSERT INTO fact VALUES ('last_error', 'a hotel')")
        db.commit()
    return path


def insert(db: sqlite3.Connection, record: Record, state: str) -> None:
    priority = 0 if record.verdict != "authentic" else 1 if record.audited else 2
    seq = db.execute(
        "INSERT INTO record (record_id, item_id, is_case, priority, body, state) VALUES (?, ?, ?, ?, ?, ?) "
        "RETURNING seq",
        (record.record_id, record.item_id, is_case(record), priority, canonical_json(record), state),
    ).fetchone()
    db.executemany("INSERT INTO photo VALUES (?, ?)", [(score.photo, seq[0]) for score in record.views])


def assert_whole(path: Path) -> None:
    with closing(Outbox(path)) as outbox:
        tally = outbox.tally()
        assert (tally.recorded, tally.acked, tally.pending, tally.parked, tally.cases) == (6, 1, 5, 1, 5)
        stored = outbox.stored(after=0, limit=10)
        assert [read_record(one.body) for one in stored] == RECORDS
        assert [one.state for one in stored] == STATES
        assert [one.photos for one in stored[:4]] == [("a" * 64,), ("b" * 64, "c" * 64), ("b" * 64,), ("d" * 64,)]
        assert [answer.seq for answer in outbox.answers()] == [7]
        assert outbox.fact("last_error") == "a hotel"
        outbox.release_leases()
        order = [one.record.item_id for one in outbox.lease(now_s=0, lease_s=1, limit=10)]
        assert order == ["item 3", "item 6", "item 2", "item 4", "item 1"]


def test_a_file_of_the_first_agent_is_found_whole(old: Path) -> None:
    assert_whole(old)
    assert_whole(old)


def test_the_first_step_is_still_what_the_first_agent_wrote(tmp_path: Path) -> None:
    def schema(path: Path, statements: list[str]) -> set[str]:
        with closing(sqlite3.connect(path)) as db:
            for statement in statements:
                db.executescript(statement)
            rows = db.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")
            return {"".join(sql.split()) for (sql,) in rows}

    assert schema(tmp_path / "old", [FIRST]) == schema(tmp_path / "new", list(outbox_schema.STEPS[0]))


def test_an_item_id_that_looks_like_a_verdict_does_not_fool_the_migration(tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FIRST)
        odd = replace(make_record(1, verdict="uncertain"), item_id=ItemId('","verdict":"suspect'))
        insert(db, odd, "pending")
        insert(db, make_record(2, verdict="suspect"), "pending")
        db.commit()
    with closing(Outbox(path)) as outbox:
        assert [one.record.verdict for one in outbox.lease(now_s=0, lease_s=1, limit=9)] == ["suspect", "uncertain"]


def test_what_was_acked_before_counts_as_acked_when_it_was_migrated(old: Path) -> None:
    before_s = time.time()
    with closing(Outbox(old)) as outbox:
        outbox._db.execute("UPDATE record SET is_case = 0 WHERE state = 'acked'")
        assert outbox.drop_acked(str, acked_before_s=before_s - 5, waiting_before_s=0, limit=9).records == 0
        assert outbox.drop_acked(str, acked_before_s=time.time() + 5, waiting_before_s=0, limit=9).records == 1


KILLED = """
import os, signal, sqlite3, sys
from edge_agent import outbox_schema
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
statements = 0
def cut(_):
    global statements
    statements += 1
    if statements == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
db.set_trace_callback(cut)
outbox_schema.migrate(db)
"""


@pytest.mark.parametrize("at", [2, 3, 4, 5, 8, 11])
def test_a_power_cut_in_the_middle_of_the_migration_leaves_the_old_file(old: Path, at: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(old), str(at)], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT COUNT(*) FROM record").fetchone() == (6,)
    assert_whole(old)
