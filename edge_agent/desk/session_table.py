"""What is durable of the items before the operator: which photo of which view, and what it wants. One table row each.

The photos themselves lie in the station's photo folder; a row here keeps one from being swept. A finished item keeps
its row, with the record's id, until it is old, so that finishing it twice gives the same verdict.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.outbox import Outbox
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.quality import QualityProblem
from runtime.contracts.records import RecordId


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One photo of an item that is not finished; its view is ``logo``, or ``logo~2``."""

    view: str
    sha256: str
    problems: tuple[QualityProblem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """One item before the operator; ``record_id`` once it is finished. ``created_at`` is ISO 8601 in UTC."""

    session_id: str
    item_id: str
    created_at: str
    record_id: RecordId | None
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problems:
    problems: tuple[QualityProblem, ...]


class SessionTable:
    """The sessions of one station, in its outbox's file. Thread-safe."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def begin(self, item_id: str, created_at: str) -> Begun:
        """Add a session."""
        session_id = secrets.token_hex(8)
        with self._outbox.writing() as db:
            db.execute(
                "INSERT INTO session (session_id, item_id, created_at) VALUES (?, ?, ?)",
                (session_id, item_id, created_at),
            )
        return Begun(session_id=session_id, item_id=item_id, created_at=created_at, record_id=None, shots=())

    def find(self, session_id: str) -> Begun | None:
        """Return one session."""
        return next(iter(self._select("WHERE session_id = ?", (session_id,))), None)

    def unfinished(self) -> tuple[Begun, ...]:
        """Return all that are not finished, newest first."""
        return self._select("WHERE record_id IS NULL ORDER BY seq DESC", ())

    def before(self, created_at: str) -> tuple[Begun, ...]:
        """Return all, finished ones too, that were begun before this."""
        return self._select("WHERE created_at < ? ORDER BY seq", (created_at,))

    def put(self, session_id: str, shot: Shot) -> None:
        """Note a photo; one of the same view gives way to it."""
        problems = canonical_json(_Problems(problems=shot.problems)).decode()
        with self._outbox.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO session_photo VALUES (?, ?, ?, ?)",
                (session_id, shot.view, shot.sha256, problems),
            )

    def drop(self, session_id: str, view: str) -> None:
        """Let go of a photo, if it is there."""
        with self._outbox.writing() as db:
            db.execute("DELETE FROM session_photo WHERE session_id = ? AND view = ?", (session_id, view))

    def finish(self, session_id: str, record_id: RecordId) -> None:
        """Note that the item was decided; its record claims the photos from now on."""
        with self._outbox.writing() as db:
            db.execute("UPDATE session SET record_id = ? WHERE session_id = ?", (record_id, session_id))
            db.execute("DELETE FROM session_photo WHERE session_id = ?", (session_id,))

    def remove(self, session_ids: Iterable[str]) -> None:
        """Forget sessions and their claims."""
        with self._outbox.writing() as db:
            db.executemany("DELETE FROM session WHERE session_id = ?", [(one,) for one in session_ids])

    def _select(self, which: str, values: Sequence[object]) -> tuple[Begun, ...]:
        with self._outbox.reading() as db:
            rows = db.execute(f"SELECT session_id, item_id, created_at, record_id FROM session {which}", values)  # noqa: S608 - constants
            found = rows.fetchall()
            shots = {
                row[0]: db.execute(
                    "SELECT view, sha256, problems FROM session_photo WHERE session_id = ? ORDER BY view", (row[0],)
                ).fetchall()
                for row in found
            }
        return tuple(
            Begun(
                session_id=session_id,
                item_id=item_id,
                created_at=created_at,
                record_id=None if record_id is None else RecordId(record_id),
                shots=tuple(map(_shot, shots[session_id])),
            )
            for session_id, item_id, created_at, record_id in found
        )


def _shot(row: tuple[Any, ...]) -> Shot:
    view, sha256, problems = row
    what = "outbox: session_photo"
    return Shot(view=view, sha256=sha256, problems=decode(_Problems, parse_json(problems, what), what).problems)
