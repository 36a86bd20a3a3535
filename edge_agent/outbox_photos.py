"""Which photos the records of the outbox still claim, and how a record lets go of its own.

Never touches a file itself: the caller gives ``remove``, which is called inside the write transaction, so that no
process can add a case meanwhile. The one rule: a photo goes with the last record or open session that claims it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_agent.outbox_file import OutboxFile

Remove = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """So many records let go of so many photos, which no other record claims."""

    records: int
    photos: int


class OutboxPhotos(OutboxFile):
    """Lets photos go."""

    def drop_oldest(self, remove: Remove) -> int | None:
        """Let go of the photos of the oldest record that is no case, if it still has any.

        Looking, removing and noting it are one write transaction.

        Args:
            remove: deletes the photo with this hash; asked again after a crash, so a missing one must be fine.

        Returns:
            How many photos went; None if no record has any that may go.
        """
        with self.writing() as db:
            row = db.execute(
                "SELECT seq FROM record WHERE is_case = 0 AND photos_dropped = 0 ORDER BY seq LIMIT 1"
            ).fetchone()
            return None if row is None else _drop(db, row[0], remove)

    def drop_acked(self, remove: Remove, *, acked_before_s: float, waiting_before_s: float, limit: int) -> Dropped:
        """Let go of the photos of records that the server has: no cases, answered cases, cases that waited too long.

        Args:
            remove: as for ``drop_oldest``.
            acked_before_s: only of records acked before this, in seconds since 1970.
            waiting_before_s: of a case without an answer, only if it was acked before this, too.
            limit: at most so many records, those acked first.
        """
        with self.writing() as db:
            rows = db.execute(
                "SELECT seq FROM record INDEXED BY record_kept "
                "WHERE state = 'acked' AND photos_dropped = 0 AND acked_s < ? AND (is_case = 0 "
                "OR acked_s < ? OR EXISTS (SELECT 1 FROM answer WHERE answer.record_id = record.record_id)) "
                "ORDER BY acked_s LIMIT ?",
                (acked_before_s, waiting_before_s, limit),
            ).fetchall()
            return Dropped(records=len(rows), photos=sum(_drop(db, seq, remove) for (seq,) in rows))

    def remove_unclaimed(self, hashes: Sequence[str], remove: Remove) -> int:
        """Remove photos that neither a record nor an open session claims; no process can add one meanwhile.

        A record whose photos were dropped claims none.

        Args:
            hashes: of photos that may be there.
            remove: deletes the photo with this hash; a missing one must be fine.

        Returns:
            How many of them nobody claims.
        """
        claimed = (
            "SELECT 1 FROM photo JOIN record ON seq = record_seq WHERE sha256 = ?1 AND photos_dropped = 0 "
            "UNION ALL SELECT 1 FROM session_photo WHERE sha256 = ?1 LIMIT 1"
        )
        with self.writing() as db:
            unclaimed = [sha256 for sha256 in hashes if db.execute(claimed, (sha256,)).fetchone() is None]
            for sha256 in unclaimed:
                remove(sha256)
        return len(unclaimed)

    def unsent_photos(self, *, audited_only: bool) -> tuple[str, ...]:
        """Return the hashes of the photos of all unsent cases, or only of those that are merely audited."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT DISTINCT sha256 FROM record JOIN photo ON record_seq = seq "
                "WHERE state != 'acked' AND is_case = 1 AND (priority > 2 OR ?) ORDER BY sha256",
                (not audited_only,),
            ).fetchall()
        return tuple(sha256 for (sha256,) in rows)


def _drop(db: sqlite3.Connection, seq: int, remove: Remove) -> int:
    hashes = db.execute(
        "SELECT sha256 FROM photo AS mine WHERE record_seq = ? AND NOT EXISTS (SELECT 1 FROM photo JOIN record "
        "ON seq = record_seq WHERE photo.sha256 = mine.sha256 AND photos_dropped = 0 AND seq != mine.record_seq) "
        "AND NOT EXISTS (SELECT 1 FROM session_photo WHERE session_photo.sha256 = mine.sha256)",
        (seq,),
    ).fetchall()
    # Removed before it is noted: on a full disk, there is room for the note only then.
    for (sha256,) in hashes:
        remove(sha256)
    db.execute("UPDATE record SET photos_dropped = 1 WHERE seq = ?", (seq,))
    return len(hashes)
