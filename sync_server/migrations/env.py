"""What Alembic runs for each command. Only ever on the connection that ``Store.migrate`` opened.

Executed by Alembic as a script, hence the call on its last line.
"""

from __future__ import annotations

from alembic import context

from sync_server.schema import METADATA


def _run() -> None:
    connection = context.config.attributes["connection"]
    # SQLite can roll back DDL when the driver leaves transactions alone, which Store sees to
    context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


_run()
