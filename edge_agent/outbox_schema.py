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
    (  # what was scanned before (edge_agent.item_history), also by an agent that did not look back yet
        """CREATE TABLE complete_scan (
            seq INTEGER PRIMARY KEY,
            record_id TEXT NOT NULL,
            item_id TEXT NOT NULL,
            scanned_at TEXT NOT NULL,
            binds INTEGER NOT NULL
        )""",
        """INSERT INTO complete_scan (record_id, item_id, scanned_at, binds)
            SELECT record_id, item_id, json_extract(body, '$.scanned_at'),
                json_extract(body, '$.verdict') != 'authentic' AND EXISTS (
                    SELECT 1 FROM json_each(body, '$.reasons')
                    WHERE json_extract(value, '$.code') != 'listing_missing'
                )
            FROM (SELECT record_id, item_id, CAST(body AS TEXT) AS body FROM record ORDER BY seq)
            WHERE json_extract(body, '$.prediction.p_counterfeit') IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM json_each(body, '$.reasons') WHERE json_extract(value, '$.code') = 'missing_view'
            )""",
        "CREATE INDEX complete_scan_of_item ON complete_scan (item_id, seq)",
        "CREATE INDEX binding_scan_of_item ON complete_scan (item_id, seq) WHERE binds = 1",
        """CREATE TABLE photo_use (
            sha256 TEXT NOT NULL,
            item_id TEXT NOT NULL,
            view TEXT NOT NULL,
            PRIMARY KEY (sha256, item_id, view)
        ) WITHOUT ROWID""",
        """INSERT OR IGNORE INTO photo_use
            SELECT json_extract(value, '$.photo'), item_id, json_extract(value, '$.view')
            FROM record, json_each(CAST(body AS TEXT), '$.views') ORDER BY 1, 2, 3""",
        "CREATE INDEX answer_of_item ON answer (item_id, seq)",
        "CREATE INDEX answer_of_record ON answer (record_id, seq)",
        # Listing features that the server sent ahead (edge_agent.features).
        """CREATE TABLE feature (
            item_id TEXT PRIMARY KEY,
            as_of TEXT NOT NULL,
            as_of_s REAL NOT NULL,
            listing TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX feature_by_age ON feature (as_of_s)",
    ),
    ("CREATE TABLE telemetry (seq INTEGER PRIMARY KEY AUTOINCREMENT, made_s REAL NOT NULL, body BLOB NOT NULL)",),
    (  # items before the operator's camera (edge_agent.desk.session_table); a finished one keeps its record for a day
        """CREATE TABLE session (
            seq INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL UNIQUE,
            item_id TEXT NOT NULL,
            created_at TEXT NOT NULL,
            record_id TEXT
        )""",
        """CREATE TABLE session_photo (
            session_id TEXT NOT NULL REFERENCES session (session_id) ON DELETE CASCADE,
            view TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            problems TEXT NOT NULL,
            PRIMARY KEY (session_id, view)
        ) WITHOUT ROWID""",
        "CREATE INDEX session_photo_by_hash ON session_photo (sha256)",
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
        """CREATE TABLE objection (
            record_seq INTEGER PRIMARY KEY REFERENCES record (seq),
            text TEXT NOT NULL,
            made_at TEXT NOT NULL,
            sent INTEGER NOT NULL DEFAULT 0
        )""",
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
