"""Durable store between the station and the uplink, in one SQLite file. Never talks to the network.

A record leaves only by ``ack``, so after a power cut the worst case is sending one twice; the server drops the copy.
The surprising thing: a lease is nothing but a due time in the future, so a lease that dies with its process runs out by
itself, and the one daemon of a station lets go of all of them when it starts.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.item_history import remember
from edge_agent.outbox_photos import OutboxPhotos
from edge_agent.outbox_traffic import OutboxTraffic
from edge_agent.outbox_views import OutboxViews, read_record
from runtime.contracts.codec import canonical_json
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import Record, RecordId, is_case
from runtime.contracts.sync import Answer, Objection, check_objection

CLOCK_FACT = "clock_offset_s"
CONTACT_FACT = "last_contact_s"
ERROR_FACT = "last_error"
READ_FACT = "read_up_to"
"""The highest ``seq`` of the answers that a person here has read."""

OBJECTED, SUSPECT, UNCERTAIN, AUDITED, REST = range(5)
"""What goes first: priorities as the file has them."""
UPDATE_FROM_FACT = "update_from"
UPDATE_FROM_ERROR_FACT = "update_from_error"

LONGEST_WAIT_S = 2 * 86_400.0
"""No due time lies further ahead; one that does was written by a clock that has jumped, and counts as due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """One record that the caller may send now.

    Attributes:
        record: as it was scanned.
        attempts: how often it was leased; counts this time too.
        priority: 0 goes first.
        objection: that of a person here, which goes after the record.
    """

    record: Record
    attempts: int
    priority: int
    objection: Objection | None


class Outbox(OutboxViews, OutboxPhotos, OutboxTraffic):
    """The records of one station and what became of them. Safe to use from several threads and processes."""

    def add(self, record: Record) -> bool:
        """Store ``record`` durably; return False if it was there already, and change nothing then."""
        with self.writing() as db:
            return insert_record(db, record)

    def restore(self, records: Sequence[Record]) -> None:
        """Store what the server has of this station already, as taken and without photos: a new device begins here."""
        with self.writing() as db:
            for record in records:
                if insert_record(db, record):
                    db.execute(
                        "UPDATE record SET state = 'acked', acked_s = ?, photos_dropped = 1 WHERE record_id = ?",
                        (time.time(), record.record_id),
                    )

    def lease(self, *, now_s: float, lease_s: float, limit: int, photos_up_to: int = REST) -> tuple[Leased, ...]:
        """Take records to send: suspect ones first, uncertain ones, audited ones, the rest, each oldest first.

        Args:
            now_s: seconds since 1970.
            lease_s: how long nobody else gets them.
            limit: at most so many.
            photos_up_to: the photos of less urgent cases must wait, so those cases are left where they are.
        """
        with self.writing() as db:
            rows = db.execute(
                "SELECT seq, body, attempts + 1, priority, text, made_at FROM record "
                "LEFT JOIN objection ON record_seq = seq "
                "WHERE state != 'acked' AND (due_s <= ? OR due_s > ?) AND (priority <= ? OR is_case = 0 OR NOT EXISTS "
                "(SELECT 1 FROM photo WHERE photo.record_seq = seq)) ORDER BY priority, seq LIMIT ?",
                (now_s, now_s + LONGEST_WAIT_S, photos_up_to, limit),
            ).fetchall()
            db.executemany(
                "UPDATE record SET due_s = ?, attempts = ? WHERE seq = ?",
                [(now_s + lease_s, row[2], row[0]) for row in rows],
            )
        return tuple(
            Leased(
                record=read_record(body),
                attempts=attempts,
                priority=priority,
                objection=None if text is None else Objection(text=text, made_at=made_at),
            )
            for _, body, attempts, priority, text, made_at in rows
        )

    def ack(self, record_id: RecordId, *, acked_s: float | None = None, objected: bool = False) -> None:
        """Mark a record as taken by the server. Acking it twice is the same as once.

        Args:
            record_id: which.
            acked_s: when, in seconds since 1970 by the server's clock; None: now, by this one's.
            objected: its objection was taken too. One that has not been keeps the record pending.
        """
        with self.writing() as db:
            if objected:
                db.execute(
                    "UPDATE objection SET sent = 1 WHERE record_seq = (SELECT seq FROM record WHERE record_id = ?)",
                    (record_id,),
                )
            acked = db.execute(
                "UPDATE record SET state = 'acked', error = '', acked_s = ? WHERE record_id = ? AND state != 'acked' "
                "AND NOT EXISTS (SELECT 1 FROM objection WHERE record_seq = seq AND sent = 0)",
                (time.time() if acked_s is None else acked_s, record_id),
            )
            if acked.rowcount == 0:  # somebody has objected since it was leased: it goes again, at once
                db.execute("UPDATE record SET due_s = 0 WHERE record_id = ? AND state != 'acked'", (record_id,))

    def postpone(self, record_id: RecordId, *, until_s: float, error: str) -> None:
        """Give a lease back after a failure: the record waits until ``until_s``."""
        self._put_back(record_id, "pending", until_s, error)

    def give_back(self, record_id: RecordId) -> None:
        """Give a lease back unused: the record is due at once, and the attempt does not count."""
        with self.writing() as db:
            db.execute(
                "UPDATE record SET due_s = 0, attempts = attempts - 1 WHERE record_id = ? AND state != 'acked'",
                (record_id,),
            )

    def park(self, record_id: RecordId, *, until_s: float, error: str) -> None:
        """Give a lease back for a record that the server refused for good: it stays, shown as parked, and pending."""
        self._put_back(record_id, "parked", until_s, error)

    def release_leases(self) -> None:
        """Make everything unsent due now. For the one daemon of a station, when it starts."""
        with self.writing() as db:
            db.execute("UPDATE record SET due_s = 0 WHERE state != 'acked' AND due_s != 0")

    def object_to(self, record_id: RecordId, text: str, made_at: str) -> None:
        """Disagree with a verdict: the record becomes a case, the most urgent one, and goes to the server (again).

        The same words again change nothing.

        Args:
            record_id: which.
            text: what the person here saw, for the expert.
            made_at: ISO 8601 in UTC.

        Raises:
            Unsupported: there is no such record, its photos were let go of, somebody has objected in other words, or
                the server could not keep it.
        """
        check_objection(Objection(text=text, made_at=made_at))
        with self.writing() as db:
            row = db.execute(
                "SELECT seq, photos_dropped, text FROM record LEFT JOIN objection ON record_seq = seq "
                "WHERE record_id = ?",
                (record_id,),
            ).fetchone()
            if row is None:
                raise Unsupported(f"record {record_id[:12]!r}: there is none of this id at this station")
            seq, photos_dropped, earlier = row
            if earlier == text:
                return
            if earlier is not None:
                raise Unsupported(f"record {record_id[:12]}: somebody here has disagreed already, in other words")
            if photos_dropped:
                raise Unsupported(
                    f"record {record_id[:12]}: its photos are no longer here, so no expert could look; scan it again"
                )
            db.execute("INSERT INTO objection (record_seq, text, made_at) VALUES (?, ?, ?)", (seq, text, made_at))
            db.execute(
                "UPDATE record SET is_case = 1, priority = ?, state = 'pending', attempts = 0, due_s = 0, error = '', "
                "acked_s = NULL WHERE seq = ?",
                (OBJECTED, seq),
            )

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Store what the experts said; one that is there already stays as it is."""
        with self.writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO answer VALUES (?, ?, ?, ?, ?)",
                [(a.seq, a.record_id, a.item_id, a.outcome, a.resolved_at) for a in answers],
            )

    def fact(self, name: str) -> str | None:
        """Return what was last stored under ``name``."""
        with self.reading() as db:
            row = db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """Store several facts durably, all or none."""
        if "recorded" in facts:
            raise ValueError("'recorded' is counted, never set")
        with self.writing() as db:
            db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", sorted(facts.items()))

    def _put_back(self, record_id: RecordId, state: str, until_s: float, error: str) -> None:
        with self.writing() as db:
            db.execute(
                "UPDATE record SET state = ?, due_s = ?, error = ? WHERE record_id = ? AND state != 'acked'",
                (state, until_s, error[:500], record_id),
            )


def insert_record(db: sqlite3.Connection, record: Record) -> bool:
    """Add ``record`` inside ``Outbox.writing``; return False if it was there already, and change nothing then."""
    seq = db.execute(
        "INSERT INTO record (record_id, item_id, is_case, priority, body) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (record_id) DO NOTHING RETURNING seq",
        (record.record_id, record.item_id, is_case(record), priority_of(record), canonical_json(record)),
    ).fetchone()
    if seq is None:
        return False
    hashes = {score.photo for score in record.views}
    db.executemany("INSERT INTO photo VALUES (?, ?)", [(sha256, seq[0]) for sha256 in sorted(hashes)])
    remember(db, record)
    return True


def priority_of(record: Record) -> int:
    """Return how urgent a record is, as long as nobody objects to it."""
    if record.verdict == "suspect":
        return SUSPECT
    if record.verdict == "uncertain":
        return UNCERTAIN
    return AUDITED if record.audited else REST
