"""The outbox's tables, and how an older file becomes a newer one: a step and its version number in one transaction."""

from __future__ import annotations

import sqlite3

from runtime.contracts.errors import StationFault

STEPS: tuple[tuple[str, ...], ...] = (  # a released step is never edited
    (
        """CREATE TABLE record (
            seq INTEGER PRIMARY KEY,
            record_id TEXT NOT NULL UNIQUE,
            item_id TEXT NOT NULL,
            is_case INTEGER NOT NULL,
            priority INTEGER NOT NULL,
            body BLOB NOT NULL,
            state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'parked', 'acked')),
            attempts INTEGER NOT NULL DEFAULT 0,
            due_s REAL NOT NULL DEFAULT 0,
            error TEXT NOT NULL DEFAULT '',
            photos_dropped INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX record_unsent ON record (priority, seq) WHERE state != 'acked'",
        "CREATE INDEX record_droppable ON record (seq) WHERE is_case = 0 AND photos_dropped = 0",
        "CREATE INDEX record_state ON record (state, is_case)",
        """CREATE TABLE photo (
            sha256 TEXT NOT NULL,
            record_seq INTEGER NOT NULL REFERENCES record (seq),
            PRIMARY KEY (sha256, record_seq)
        ) WITHOUT ROWID""",
        "CREATE INDEX photo_of_record ON photo (record_seq)",
        """CREATE TABLE answer (
            seq INTEGER PRIMARY KEY,
            record_id TEXT NOT NULL,
            item_id TEXT NOT NULL,
            outcome TEXT NOT NULL,
            resolved_at TEXT NOT NULL
        )""",
        "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        # Counted on its own, so that a record which vanished would show: recorded = acked + pending.
        "INSERT INTO fact VALUES ('recorded', '0')",
        """CREATE TRIGGER count_record AFTER INSERT ON record BEGIN
            UPDATE fact SET value = CAST(value AS INTEGER) + 1 WHERE name = 'recorded';
        END""",
    ),
    (
        "ALTER TABLE record ADD COLUMN acked_s REAL",
        # 0 was suspect and uncertain, 1 audited, 2 the rest. What was acked before counts as acked now.
        """UPDATE record SET
            priority = CASE
                WHEN priority > 0 THEN priority + 2
                WHEN instr(CAST(body AS TEXT), '"verdict":"suspect"') > 0 THEN 1
                ELSE 2
            END,
            acked_s = CASE WHEN state = 'acked' THEN CAST(strftime('%s', 'now') AS REAL) END""",
        "CREATE INDEX record_kept ON record (acked_s) WHERE state = 'acked' AND photos_dropped = 0",
        "CREATE INDEX answer_by_record ON answer (record_id, seq)",
        """CREATE TABLE objection (
            record_seq INTEGER PRIMARY KEY REFERENCES record (seq),
            text TEXT NOT NULL,
            made_at TEXT NOT NULL,
            sent INTEGER NOT NULL DEFAULT 0
        )""",
        # AUTOINCREMENT: the server knows a document by its number, so none is ever given out twice.
        "CREATE TABLE telemetry (seq INTEGER PRIMARY KEY AUTOINCREMENT, made_s REAL NOT NULL, body BLOB NOT NULL)",
        "CREATE TABLE traffic (hour INTEGER PRIMARY KEY, bytes INTEGER NOT NULL)",
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version; safe when two processes open it at once.

    Raises:
        StationFault: the file was written by a newer agent.
    """
    if _version(connection) == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > len(STEPS):
            raise StationFault(
                f"outbox: version {version} was written by a newer agent; this one knows up to {len(STEPS)}; "
                "run the newer agent"
            )
        for number, step in enumerate(STEPS[version:], version + 1):
            for statement in step:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
