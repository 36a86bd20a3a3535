"""The outbox's one SQLite file: opened and migrated, transactions, and one table of what its errors mean. No queries.

``Outbox`` inherits it by way of ``outbox_views``, ``outbox_photos`` and ``outbox_traffic``: one file, one lock.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.outbox_schema import migrate
from runtime.contracts.errors import StationFault, TryLater


class OutboxFile:
    """An open file. Safe to use from several threads and processes."""

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

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction that holds the write lock from its start: durable when it ends, or undone."""
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction that only reads, all of it from one moment."""
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
