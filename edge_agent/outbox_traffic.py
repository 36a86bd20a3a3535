"""What the outbox keeps beside the records: telemetry, which is no case and bounded, and how much went in which hour.

Never talks to the network and decides nothing: ``edge_agent.bandwidth`` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.outbox_file import OutboxFile

MOST_TELEMETRY = 2000
MAX_TELEMETRY_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """One small JSON document about this station, made at ``made_s`` (seconds since 1970, by the station's clock)."""

    seq: int
    body: bytes
    made_s: float


class OutboxTraffic(OutboxFile):
    """Telemetry and traffic."""

    def add_telemetry(self, body: bytes, made_s: float) -> None:
        """Store a small JSON document for the server; beyond ``MOST_TELEMETRY`` of them the oldest go.

        Raises:
            ValueError: it is longer than ``MAX_TELEMETRY_BYTES``.
        """
        if len(body) > MAX_TELEMETRY_BYTES:
            raise ValueError(f"telemetry: expected at most {MAX_TELEMETRY_BYTES} bytes, got {len(body)}")
        with self.writing() as db:
            db.execute("INSERT INTO telemetry (made_s, body) VALUES (?, ?)", (made_s, body))
            db.execute("DELETE FROM telemetry WHERE seq <= (SELECT MAX(seq) FROM telemetry) - ?", (MOST_TELEMETRY,))

    def telemetry(self, limit: int) -> tuple[Telemetry, ...]:
        """Return what waits for the server, oldest first."""
        with self.reading() as db:
            rows = db.execute("SELECT seq, body, made_s FROM telemetry ORDER BY seq LIMIT ?", (limit,)).fetchall()
        return tuple(Telemetry(seq=seq, body=bytes(body), made_s=made_s) for seq, body, made_s in rows)

    def remove_telemetry(self, seqs: Sequence[int]) -> None:
        """Remove what the server has taken, or will never take."""
        with self.writing() as db:
            db.executemany("DELETE FROM telemetry WHERE seq = ?", [(seq,) for seq in seqs])

    def spent_bytes(self, hour: int) -> int:
        """Return how many bytes went in an hour, counted since 1970."""
        with self.reading() as db:
            row = db.execute("SELECT bytes FROM traffic WHERE hour = ?", (hour,)).fetchone()
        return 0 if row is None else int(row[0])

    def spend(self, hour: int, sent_bytes: int) -> None:
        """Count bytes to an hour, durably; every other hour is forgotten, so that a clock set back finds none spent."""
        with self.writing() as db:
            db.execute(
                "INSERT INTO traffic VALUES (?, ?) ON CONFLICT (hour) DO UPDATE SET bytes = bytes + excluded.bytes",
                (hour, sent_bytes),
            )
            db.execute("DELETE FROM traffic WHERE hour != ?", (hour,))
