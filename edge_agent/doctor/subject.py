"""The station that is looked at: its home and what lies there, opened once and only when asked for. Changes nothing."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path

import httpx

from edge_agent.config import Config, read_config
from edge_agent.device_key import DeviceKey
from edge_agent.home import Home
from edge_agent.identity import Identity, check_server_url, require_identity
from edge_agent.outbox import Outbox
from edge_agent.outbox_schema import STEPS
from edge_agent.release_book import ReleaseBook
from edge_agent.release_facts import Proved
from edge_agent.server_link import ServerLink
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.errors import StationFault, Untrusted

PROC = Path("/proc")
_SERVER_TIMEOUT = httpx.Timeout(5.0)


class Subject:
    """One station. What cannot be opened raises ``StationFault`` each time it is asked for."""

    def __init__(self, home: Home, *, trial: bool = False, proc: Path = PROC) -> None:
        self.home = home
        self.trial = trial
        self.proc = proc
        self.now_s = time.time()

    @cached_property
    def identity(self) -> Identity:
        """Who the station is."""
        return require_identity(self.home)

    @cached_property
    def config(self) -> Config:
        """What ``agent.toml`` says."""
        return read_config(self.home.config_file)

    @cached_property
    def outbox(self) -> Outbox:
        """The outbox, if opening it changes nothing: it is there, and of this program's version."""
        file = self.home.database_file
        version = self._database_version()
        if version != len(STEPS):
            raise StationFault(
                f"{file}: version {version}, this program's is {len(STEPS)}; restart the agent with this program, "
                "which brings it up to date"
            )
        return Outbox(file)

    @cached_property
    def running(self) -> tuple[Proved, Bundle]:
        """What should run, every byte of it checked; raises ``Untrusted`` where one has changed."""
        proved = next(iter(self.book.runnable()), None)
        if proved is None:
            raise StationFault(
                "no model yet; publish a release on the server: 'touchstone-agent run' fetches it and proves it here"
            )
        bundle = open_bundle(self.home.bundles / proved.bundle_id)
        if bundle.bundle_id != proved.bundle_id:
            raise Untrusted(f"bundle {bundle.folder.name}: its manifest has changed; restart the agent, server at hand")
        return proved, bundle

    @cached_property
    def link(self) -> ServerLink:
        """The way to the server."""
        return ServerLink(
            check_server_url(self.config.server or self.identity.server),
            station_id=self.identity.station_id,
            key=DeviceKey.load(self.home),
            timeout=_SERVER_TIMEOUT,
        )

    @property
    def book(self) -> ReleaseBook:
        """What the station may run."""
        return ReleaseBook(self.outbox)

    def close(self) -> None:
        """Close what was opened."""
        for opened in (self.__dict__.get("outbox"), self.__dict__.get("link")):
            if opened is not None:
                opened.close()

    def holder_of_lock(self) -> int | None:
        """Return the process that runs as this home's daemon, by the kernel's account (proc_locks(5))."""
        try:
            inode = str(self.home.lock_file.stat().st_ino)
        except FileNotFoundError:
            return None
        for line in (self.proc / "locks").read_text("ascii").splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return int(words[4])
        return None

    def holder_of(self, device: Path) -> int | None:
        """Return a process that holds ``device`` open, as far as this user may see."""
        for handle in self.proc.glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if handle.readlink() == device:
                    return int(handle.parent.parent.name)
        return None

    def _database_version(self) -> int:
        file = self.home.database_file
        if not file.exists():
            raise StationFault(f"{file}: is not there yet; 'touchstone-agent run' makes it")
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise StationFault(f"{file}: {error}; restore it from a copy, keep the broken one") from error
        return int(version)
