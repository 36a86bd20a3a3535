"""Open the database and run transactions. What is written is on disk when the ``with`` block has ended.

SQLite (write-ahead log, ``synchronous=FULL``) or PostgreSQL, chosen by URL. A writing transaction takes SQLite's write
lock at its start, so that it never fails half-way for having read first. Knows no table but those it creates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.util
from sqlalchemy import Connection, Engine, Table, create_engine, event, exc, make_url, text
from sqlalchemy.dialects import postgresql, sqlite

from runtime.contracts.errors import StationFault, TryLater, Unsupported

BUSY_TIMEOUT_MS = 10_000
_MIGRATION_LOCK = 0x746F756368
_WRITING = "touchstone_writing"


class Store:
    """The server's database: two ways in, ``read()`` and ``write()``."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet.

        Args:
            url: ``sqlite:///PATH`` or ``postgresql://...``; its password is never shown.

        Raises:
            Unsupported: the URL names another kind of database, or cannot be read.
        """
        self._engine = _engine(url)
        self._writer = self._engine.execution_options(**{_WRITING: True})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run a transaction that only reads.

        Raises:
            TryLater: the database is busy or away.
            StationFault: its disk is full, or its file is damaged.
        """
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run a transaction that writes: all of it is durable afterwards, or none of it happened.

        Raises:
            TryLater: the database is busy or away.
            StationFault: its disk is full, or its file is damaged.
        """
        with _translated(), self._writer.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the tables to this program's version, in one transaction; does nothing where they are there.

        Raises:
            StationFault: the database was written by a newer version of this program.
        """
        config = alembic.config.Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            try:
                alembic.command.upgrade(config, "head")
            except alembic.util.CommandError as error:
                raise StationFault(
                    f"database: its version is not one that this program knows ({error}); upgrade touchstone-server"
                ) from error

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def insert_new(connection: Connection, table: Table, row: Mapping[str, object]) -> bool:
    """Insert ``row`` unless one with its key is there; tell whether it was new. Safe when two race."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(dict(row)).on_conflict_do_nothing()
    # the row comes back only if it went in; rowcount is not told by every driver
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise Unsupported("database: expected sqlite:///PATH or postgresql://..., got a URL that does not parse") from (
            error
        )
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise Unsupported(f"database: expected sqlite:///PATH or postgresql://..., got {parsed.drivername!r}")
    engine = create_engine(parsed, pool_size=20, max_overflow=20, hide_parameters=True, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself; _begin_sqlite does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    """Translate the database library's errors, in this one place."""
    try:
        yield
    except exc.TimeoutError as error:
        raise TryLater("database: every connection is in use; try again") from error
    except exc.IntegrityError:
        raise  # every expected conflict goes through insert_new: this one is a programming mistake
    except exc.OperationalError as error:
        if "full" in str(error.orig).lower():
            raise StationFault("database: its disk is full; free space on the server") from error
        raise TryLater(f"database: busy or not reachable ({_first_line(error)}); try again") from error
    except exc.DatabaseError as error:
        raise StationFault(f"database: refused or damaged ({_first_line(error)})") from error


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).splitlines()[0] if str(error.orig) else type(error.orig).__name__
