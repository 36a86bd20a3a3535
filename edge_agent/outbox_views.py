"""What people and the uplink's bookkeeping read in the outbox. Never changes anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.outbox_file import OutboxFile
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.records import Record, RecordId
from runtime.contracts.sync import Answer, Objection

State = Literal["pending", "parked", "acked"]
STATES: tuple[State, ...] = ("pending", "parked", "acked")

_ANSWER = "seq, record_id, item_id, outcome, resolved_at"
_LISTED = """
    SELECT record.seq, body, state, priority, error, objection.record_seq IS NOT NULL,
        answer.seq, answer.record_id, answer.item_id, outcome, resolved_at
    FROM record {how}
    LEFT JOIN objection ON objection.record_seq = record.seq
    LEFT JOIN answer ON answer.seq = (SELECT MAX(seq) FROM answer WHERE answer.record_id = record.record_id)
"""


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
class Parked:
    """A record that the server refused for good, and why; it stays, and is tried again after a day."""

    record_id: RecordId
    item_id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One record and what became of it.

    Attributes:
        seq: its number at this station, in the order of scanning.
        record: as it was scanned.
        state: ``parked``: the server refused it for good, and is asked again once a day.
        priority: 0 goes first; see ``outbox.priority_of``.
        objected: a person here disagreed with its verdict.
        answer: the experts' word, if it has come.
        error: why it was not taken the last time, if that failed.
    """

    seq: int
    record: Record
    state: State
    priority: int
    objected: bool
    answer: Answer | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One record exactly as the file has it, whether or not it still decodes.

    Attributes:
        seq: its number at this station.
        record_id: what it is found by.
        body: its JSON.
        state: as in ``Listed``.
        is_case: whether the outbox treats it as one; an objection makes it so.
        photos_dropped: its photos were let go of on purpose.
        photos: SHA-256 of each.
        objection: that of a person here, if there is one.
    """

    seq: int
    record_id: RecordId
    body: bytes
    state: State
    is_case: bool
    photos_dropped: bool
    photos: tuple[str, ...]
    objection: Objection | None


class OutboxViews(OutboxFile):
    """Reads records, answers and counts."""

    def find(self, record_id: RecordId) -> Record | None:
        """Return the record with this id, if there is one."""
        with self.reading() as db:
            row = db.execute("SELECT body FROM record WHERE record_id = ?", (record_id,)).fetchone()
        return None if row is None else read_record(row[0])

    def tally(self) -> Tally:
        """Count the records, from one moment."""
        with self.reading() as db:
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

    def listed(self, record_id: RecordId) -> Listed | None:
        """Return the record with this id and what became of it, if there is one."""
        return next(iter(self._listed("", "WHERE record.record_id = ?", [record_id])), None)

    def oldest_waiting(self) -> Record | None:
        """Return the record that has waited longest for the server."""
        with self.reading() as db:
            row = db.execute("SELECT body FROM record WHERE state != 'acked' ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else read_record(row[0])

    def parked(self, limit: int) -> tuple[Parked, ...]:
        """Return the records that the server refused for good, the newest first."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT record_id, item_id, error FROM record WHERE state = 'parked' ORDER BY seq DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return tuple(Parked(record_id=record_id, item_id=item_id, why=why) for record_id, item_id, why in rows)

    def page(
        self, before: int | None, limit: int, item: str = "", states: Iterable[State] = STATES
    ) -> tuple[Listed, ...]:
        """Return records, newest first.

        Args:
            before: only those with a lower ``seq``: that of the last one on the page before. None: the first page.
            limit: at most so many.
            item: only those whose item id has this in it, in small or capital letters; empty: all.
            states: only those in one of these.
        """
        known = list(states)
        where = f"WHERE record.seq < ? AND +state IN ({', '.join('?' * len(known))})"
        values: list[object] = [2**62 if before is None else before, *known]
        if item:
            where += " AND instr(lower(record.item_id), lower(?)) > 0"
            values.append(item)
        return self._listed("", f"{where} ORDER BY record.seq DESC LIMIT ?", [*values, limit])

    def waiting(self, limit: int) -> tuple[Listed, ...]:
        """Return cases without an answer, those that have waited longest first."""
        return self._unanswered("", limit)

    def holds(self, limit: int) -> tuple[Listed, ...]:
        """Return scans drawn for audit without an answer, whose items must not move on, oldest first."""
        return self._unanswered("AND json_extract(CAST(body AS TEXT), '$.audited')", limit)

    def stored(self, *, after: int, limit: int, unsent: bool = False) -> tuple[Stored, ...]:
        """Return records as they lie in the file, from one moment, in the order of scanning.

        Args:
            after: only those with a higher ``seq``.
            limit: at most so many.
            unsent: only those that the server has not taken.
        """
        with self.reading() as db:
            rows = db.execute(
                "SELECT seq, record_id, body, state, is_case, photos_dropped, text, made_at FROM record "
                "LEFT JOIN objection ON record_seq = seq "
                "WHERE seq > ? AND (state != 'acked' OR ?) ORDER BY seq LIMIT ?",
                (after, not unsent, limit),
            ).fetchall()
            return tuple(_stored(row, db) for row in rows)

    def answers(self, *, after: int = 0, limit: int = 500) -> tuple[Answer, ...]:
        """Return the experts' answers after ``after``, oldest first."""
        with self.reading() as db:
            rows = db.execute(
                f"SELECT {_ANSWER} FROM answer WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - a constant
                (after, limit),
            ).fetchall()
        return tuple(map(_answer, rows))

    def last_answer(self) -> int:
        """Return the highest ``seq`` of all answers, 0 if there is none."""
        with self.reading() as db:
            (seq,) = db.execute("SELECT COALESCE(MAX(seq), 0) FROM answer").fetchone()
        return int(seq)

    def answer_count(self) -> int:
        """Return how many answers have come."""
        with self.reading() as db:
            (count,) = db.execute("SELECT COUNT(*) FROM answer").fetchone()
        return int(count)

    def records(self, *, after: int, limit: int, newest_first: bool = False) -> tuple[tuple[int, Record], ...]:
        """Return records after number ``after``, each with its number; at most ``limit``, oldest first unless told."""
        with self.reading() as db:
            order = "DESC" if newest_first else "ASC"
            query = f"SELECT seq, body FROM record WHERE seq > ? ORDER BY seq {order} LIMIT ?"  # noqa: S608 - ours
            rows = db.execute(query, (after, limit)).fetchall()
        return tuple((int(seq), read_record(body)) for seq, body in rows)

    def _unanswered(self, more: str, limit: int) -> tuple[Listed, ...]:
        # By the index of states, so that it reads the few cases and not every record.
        where = f"WHERE state IN ('pending', 'parked', 'acked') AND is_case = 1 AND answer.seq IS NULL {more}"
        return self._listed("INDEXED BY record_state", f"{where} ORDER BY record.seq LIMIT ?", [limit])

    def _listed(self, how: str, which: str, values: list[object]) -> tuple[Listed, ...]:
        with self.reading() as db:
            rows = db.execute(_LISTED.format(how=how) + which, values).fetchall()
        return tuple(
            Listed(
                seq=seq,
                record=read_record(body),
                state=state,
                priority=priority,
                objected=bool(objected),
                answer=None if answer[0] is None else _answer(answer),
                error=error,
            )
            for seq, body, state, priority, error, objected, *answer in rows
        )


def read_record(body: bytes) -> Record:
    """Decode a record of the outbox, written by this agent or an older one."""
    return decode(Record, parse_json(body, "outbox: record"), "outbox: record")


def _answer(row: Iterable[Any]) -> Answer:
    return decode(Answer, dict(zip(_ANSWER.split(", "), row, strict=True)), "outbox: answer")


def _stored(row: tuple[Any, ...], db: sqlite3.Connection) -> Stored:
    seq, record_id, body, state, is_case, photos_dropped, text, made_at = row
    photos = db.execute("SELECT sha256 FROM photo WHERE record_seq = ? ORDER BY sha256", (seq,)).fetchall()
    return Stored(
        seq=seq,
        record_id=RecordId(record_id),
        body=bytes(body),
        state=state,
        is_case=bool(is_case),
        photos_dropped=bool(photos_dropped),
        photos=tuple(sha256 for (sha256,) in photos),
        objection=None if text is None else Objection(text=text, made_at=made_at),
    )
