"""``init``: make the keys, the first metadata, the tables and the first admin of a new server.

``server.toml`` is written last and is what makes a home an initialised one. Until then both folders hold a marker file:
with it, running ``init`` again goes on; without it, nothing that lies in them is ever written over.
"""

from __future__ import annotations

import os
import secrets
from contextlib import closing
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from sqlalchemy import delete

from runtime.contracts.durable import make_folder, write_durably
from runtime.contracts.errors import StationFault, Unsupported
from sync_server import tuf_roles
from sync_server.auth import add_person
from sync_server.releases import put_metadata, stored_metadata
from sync_server.schema import PEOPLE
from sync_server.settings import CONFIG_FILE, Settings, write_settings
from sync_server.store import Store
from sync_server.tuf_roles import RoleName

FIRST_ADMIN = "admin"
_MARKER = "init-unfinished"


def found_server(settings: Settings, offline: Path, database: str | None, now: datetime) -> str:
    """Initialise a home and return the first admin's token.

    Args:
        settings: of the new server.
        offline: folder for the root and targets keys; ``serve`` never reads it.
        database: what ``server.toml`` is to say; ``None``: SQLite in the home.
        now: the clock.

    Raises:
        StationFault: the home is initialised, or one of the folders or the database holds something else.
        Unsupported: the folders lie inside one another.
    """
    home, offline = settings.home, offline.resolve()
    if offline.is_relative_to(home) or home.is_relative_to(offline):
        raise Unsupported(f"--offline-keys {offline}: must lie outside {home}, best on a disk that leaves this machine")
    if (home / CONFIG_FILE).exists():
        raise StationFault(
            f"{home}: is initialised already; for another sign-in use 'touchstone-server person NAME --role ROLE'"
        )
    mask = os.umask(0o077)  # keys: for this user's eyes only
    try:
        for folder in (home, offline):
            _claim(folder)
        with closing(Store(settings.database)) as store:
            token = _fill_database(store, settings, offline, now)
        write_settings(settings, database)
    finally:
        os.umask(mask)
    for folder in (home, offline):
        (folder / _MARKER).unlink()
    return token


def _claim(folder: Path) -> None:
    try:
        make_folder(folder)
        if not (folder / _MARKER).exists():
            if any(folder.iterdir()):
                raise StationFault(f"{folder}: expected an empty folder, got one with files; choose another")
            write_durably(folder / _MARKER, b"touchstone-server init has begun here; run it again to finish\n")
    except OSError as error:
        raise StationFault(f"{folder}: cannot be used ({error.strerror}); choose another folder") from error


def _fill_database(store: Store, settings: Settings, offline: Path, now: datetime) -> str:
    store.migrate()
    with store.write() as connection:
        there = stored_metadata(connection, "root", 1)
        ours = offline / "root.json"
        if there is not None and not (ours.exists() and ours.read_bytes() == there):
            raise StationFault("database: it holds another server; give this one an empty database")
        if there is None:
            keys = _write_keys(settings, offline)
            root = tuf_roles.first_root(keys, now)
            targets = tuf_roles.targets_bytes((), 1, keys["targets"], now)
            write_durably(offline / "targets.json", targets)
            write_durably(ours, root)
            put_metadata(connection, "root", 1, root)
            put_metadata(connection, "targets", 1, targets)
            first = tuf_roles.snapshot_bytes(1, 1, keys["snapshot"], now)
            put_metadata(connection, "snapshot", 1, first)
            put_metadata(connection, "timestamp", 1, tuf_roles.timestamp_bytes(1, 1, keys["timestamp"], now))
        connection.execute(delete(PEOPLE).where(PEOPLE.c.name == FIRST_ADMIN))  # an unfinished init's, never shown
        return add_person(connection, FIRST_ADMIN, "admin")


def _write_keys(settings: Settings, offline: Path) -> dict[RoleName, CryptoSigner]:
    keys = tuf_roles.new_keys()
    make_folder(settings.online_keys)
    for role, signer in keys.items():
        folder = offline if role in tuf_roles.OFFLINE_ROLES else settings.online_keys
        write_durably(folder / f"{role}.pem", signer.private_bytes)
    write_durably(settings.audit_secret, secrets.token_bytes(32))
    return keys
