"""Durable store between the station and the uplink, in one SQLite file. Never talks to the network.

A record leaves only by ``ack``, so after a power cut the worst case is sending one twice; the server drops the copy.
The surprising thing: a lease is nothing but a due time in the future, so a lease that dies with its process runs out by
itself, and the one daemon of a station lets go of all of them when it starts.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.outbox_schema import migrate
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import StationFault, TryLater
from runtime.contracts.records import Record, RecordId, is_case
from runtime.contracts.sync import Answer

CLOCK_FACT = "clock_offset_s"
CONTACT_FACT = "last_contact_s"
ERROR_FACT = "last_error"
UPDATE_FROM_FACT = "update_from"
UPDATE_FROM_ERROR_FACT = "update_from_error"

LONGEST_WAIT_S = 2 * 86_400.0
"""No due time lies further ahead; one that does was written by a clock that has jumped, and counts as due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How the outbox stands: ``recorded = acked + pending`` always; ``pending`` includes ``parked``."""

    recorded: int
    acked: int
    pending: int
    parked: int
    cases: int
    waiting_cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """One record that the caller may send now; ``attempts`` counts this one too."""

    record: Record
    attempts: int


class Outbox:
    """The records of one station and what became of them. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        with _database_errors():
            _create(path)
            self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
                migrate(self._db)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def add(self, record: Record) -> bool:
        """Store ``record`` durably; return False if it was there already, and change nothing then."""
        with self._writing() as db:
            seq = db.execute(
                "INSERT INTO record (record_id, item_id, is_case, priority, body) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (record_id) DO NOTHING RETURNING seq",
                (record.record_id, record.item_id, is_case(record), _priority(record), canonical_json(record)),
            ).fetchone()
            if seq is None:
                return False
            hashes = {score.photo for score in record.views}
            db.executemany("INSERT INTO photo VALUES (?, ?)", [(sha256, seq[0]) for sha256 in sorted(hashes)])
            return True

    def find(self, record_id: RecordId) -> Record | None:
        """Return the record with this id, if there is one."""
        with self._reading() as db:
            row = db.execute("SELECT body FROM record WHERE record_id = ?", (record_id,)).fetchone()
        return None if row is None else _record(row[0])

    def records(self, *, after: int, limit: int, newest_first: bool = False) -> tuple[tuple[int, Record], ...]:
        """Return records after number ``after``, each with its number; at most ``limit``, oldest first unless told."""
        with self._reading() as db:
            order = "DESC" if newest_first else "ASC"
            query = f"SELECT seq, body FROM record WHERE seq > ? ORDER BY seq {order} LIMIT ?"  # noqa: S608 - ours
            rows = db.execute(query, (after, limit)).fetchall()
        return tuple((int(seq), _record(body)) for seq, body in rows)

    def lease(self, *, now_s: float, lease_s: float, limit: int) -> tuple[Leased, ...]:
        """Take records to send, suspect and uncertain ones first, then audited ones, then the rest, oldest first.

        Args:
            now_s: seconds since 1970.
            lease_s: how long nobody else gets them.
            limit: at most so many.
        """
        with self._writing() as db:
            rows = db.execute(
                "SELECT seq, body, attempts + 1 FROM record WHERE state != 'acked' AND (due_s <= ? OR due_s > ?) "
                "ORDER BY priority, seq LIMIT ?",
                (now_s, now_s + LONGEST_WAIT_S, limit),
            ).fetchall()
            db.executemany(
                "UPDATE record SET due_s = ?, attempts = ? WHERE seq = ?",
                [(now_s + lease_s, attempts, seq) for seq, _, attempts in rows],
            )
        return tuple(Leased(record=_record(body), attempts=attempts) for _, body, attempts in rows)

    def ack(self, record_id: RecordId) -> None:
        """Mark a record as taken by the server. Acking it twice is the same as once."""
        with self._writing() as db:
            db.execute("UPDATE record SET state = 'acked', error = '' WHERE record_id = ?", (record_id,))

    def postpone(self, record_id: RecordId, *, until_s: float, error: str) -> None:
        """Give a lease back after a failure: the record waits until ``until_s``."""
        self._put_back(record_id, "pending", until_s, error)

    def give_back(self, record_id: RecordId) -> None:
        """Give a lease back unused: the record is due at once, and the attempt does not count."""
        with self._writing() as db:
            db.execute(
                "UPDATE record SET due_s = 0, attempts = attempts - 1 WHERE record_id = ? AND state != 'acked'",
                (record_id,),
            )

    def park(self, record_id: RecordId, *, until_s: float, error: str) -> None:
        """Give a lease back for a record that the server refused for good: it stays, shown as parked, and pending."""
        self._put_back(record_id, "parked", until_s, error)

    def release_leases(self) -> None:
        """Make everything unsent due now. For the one daemon of a station, when it starts."""
        with self._writing() as db:
            db.execute("UPDATE record SET due_s = 0 WHERE state != 'acked' AND due_s != 0")

    def tally(self) -> Tally:
        """Count the records, from one moment."""
        with self._reading() as db:
            rows = db.execute("SELECT state, is_case, COUNT(*) FROM record GROUP BY state, is_case").fetchall()
            (recorded,) = db.execute("SELECT value FROM fact WHERE name = 'recorded'").fetchone()
        acked = sum(n for state, _, n in rows if state == "acked")
        return Tally(
            recorded=int(recorded),
            acked=acked,
            pending=sum(n for _, _, n in rows) - acked,
            parked=sum(n for state, _, n in rows if state == "parked"),
            cases=sum(n for _, case, n in rows if case),
            waiting_cases=sum(n for state, case, n in rows if case and state != "acked"),
        )

    def drop_oldest(self, remove: Callable[[str], object]) -> int | None:
        """Let go of the photos of the oldest record that is no case, if it still has any.

        Photos that a case shares stay. No process can add a case meanwhile: looking, removing and noting it are one
        write transaction.

        Args:
            remove: deletes the photo with this hash; asked again after a crash, so a missing one must be fine.

        Returns:
            How many photos went; None if no record has any that may go.
        """
        with self._writing() as db:
            row = db.execute(
                "SELECT seq FROM record WHERE is_case = 0 AND photos_dropped = 0 ORDER BY seq LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            hashes = db.execute(
                "SELECT sha256 FROM photo AS mine WHERE record_seq = ? AND NOT EXISTS (SELECT 1 FROM photo JOIN "
                "record ON seq = record_seq WHERE photo.sha256 = mine.sha256 AND is_case = 1)",
                row,
            ).fetchall()
            # Removed before it is noted: on a full disk, there is room for the note only then.
            for (sha256,) in hashes:
                remove(sha256)
            db.execute("UPDATE record SET photos_dropped = 1 WHERE seq = ?", row)
            return len(hashes)

    def remove_unclaimed(self, hashes: Sequence[str], remove: Callable[[str], object]) -> int:
        """Remove photos that no record claims; no process can add one meanwhile.

        A record whose photos were dropped claims none.

        Args:
            hashes: of photos that may be there.
            remove: deletes the photo with this hash; a missing one must be fine.

        Returns:
            How many of them no record claims.
        """
        claimed = "SELECT 1 FROM photo JOIN record ON seq = record_seq WHERE sha256 = ? AND photos_dropped = 0 LIMIT 1"
        with self._writing() as db:
            unclaimed = [sha256 for sha256 in hashes if db.execute(claimed, (sha256,)).fetchone() is None]
            for sha256 in unclaimed:
                remove(sha256)
        return len(unclaimed)

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Store what the experts said; one that is there already stays as it is."""
        with self._writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO answer VALUES (?, ?, ?, ?, ?)",
                [(a.seq, a.record_id, a.item_id, a.outcome, a.resolved_at) for a in answers],
            )

    def answers(self, *, after: int = 0, limit: int = 500) -> tuple[Answer, ...]:
        """Return the experts' answers after ``after``, oldest first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT seq, record_id, item_id, outcome, resolved_at FROM answer WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
        names = ("seq", "record_id", "item_id", "outcome", "resolved_at")
        return tuple(decode(Answer, dict(zip(names, row, strict=True)), "outbox: answer") for row in rows)

    def last_answer(self) -> int:
        """Return the highest ``seq`` of all answers, 0 if there is none."""
        with self._reading() as db:
            (seq,) = db.execute("SELECT COALESCE(MAX(seq), 0) FROM answer").fetchone()
        return int(seq)

    def answer_count(self) -> int:
        """Return how many answers have come."""
        with self._reading() as db:
            (count,) = db.execute("SELECT COUNT(*) FROM answer").fetchone()
        return int(count)

    def fact(self, name: str) -> str | None:
        """Return what was last stored under ``name``."""
        with self._reading() as db:
            row = db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """Store several facts durably, all or none."""
        if "recorded" in facts:
            raise ValueError("'recorded' is counted, never set")
        with self._writing() as db:
            db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", sorted(facts.items()))

    def _put_back(self, record_id: RecordId, state: str, until_s: float, error: str) -> None:
        with self._writing() as db:
            db.execute(
                "UPDATE record SET state = ?, due_s = ?, error = ? WHERE record_id = ? AND state != 'acked'",
                (state, until_s, error[:500], record_id),
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, _database_errors():
            self._db.execute(begin)
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite has rolled back by itself where the disk was full.
                    self._db.execute("ROLLBACK")
                raise


def _create(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return  # with the permissions that a person may have given it
    except OSError as error:
        raise StationFault(f"outbox: {error.strerror}; check the disk and its permissions") from error


def _priority(record: Record) -> int:
    if record.verdict != "authentic":
        return 0
    return 1 if record.audited else 2


def _record(body: bytes) -> Record:
    return decode(Record, parse_json(body, "outbox: record"), "outbox: record")


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise TryLater("outbox: another process holds it for too long; tried for 30 s") from error
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise StationFault("outbox: the disk is full; free some space, scanning goes on by itself") from error
        raise StationFault(f"outbox: the database says {error}; check the disk and its permissions") from error
    except sqlite3.DatabaseError as error:
        raise StationFault(f"outbox: the database says {error}; restore station.db, keep the broken one") from error
