"""One enrolled station: items are put into its inbox, its agent runs, and it is looked at. The real program, always."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.faults.cases import Broken
from benchmarks.faults.invariants import Kept, Stand, broken, crashes, events
from benchmarks.faults.supervised import Decide, Supervised
from benchmarks.faults.tiny_model import VIEWS, Mood, photo_of
from benchmarks.programs import BIN
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from edge_agent.release_book import ReleaseBook
from runtime.bundle_store import open_bundle
from runtime.contracts.durable import ContentFolder, sha256_hex
from runtime.contracts.errors import TouchstoneError

AGENT = BIN / "touchstone-agent"
ONCE_S = 180.0
QUICK: Mapping[str, float] = {
    "watch_every_s": 0.05,
    "uplink_every_s": 0.3,
    "update_every_s": 0.5,
    "min_free_bytes": 1 << 20,
}
"""Settings of ``agent.toml``, so that little time is spent on waiting."""


class Station:
    """One station's folder, and what was put into its inbox."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root=root)
        self.put: list[str] = []
        self.torn: list[str] = []
        self.log = root.with_name(f"{root.name}.log")

    def copy(self, root: Path) -> Station:
        """Return another folder with the same identity and the same contents."""
        shutil.copytree(self.home.root, root)
        made = Station(root)
        made.put, made.torn = list(self.put), list(self.torn)
        return made

    def remove(self) -> None:
        """Delete the folder and the log."""
        shutil.rmtree(self.home.root)
        self.log.unlink(missing_ok=True)

    def configure(self, **settings: float | str) -> None:
        """Write ``agent.toml``: the quick settings, but for those given."""
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in {**QUICK, **settings}.items())
        self.home.config_file.write_text("".join(lines))

    def fill(self, name: str, mood: Mood, seed: int, *, prefix: str = ".", suffix: str = "") -> Path:
        """Put an item's photos into the inbox, in a folder that has not its final name yet; return it."""
        folder = self.home.inbox / f"{prefix}{name}{suffix}"
        folder.mkdir()
        for number, view in enumerate(VIEWS):
            (folder / f"{view}.jpg").write_bytes(photo_of(mood, 2 * seed + number))
        self.put.append(name)
        return folder

    def give(self, name: str, mood: Mood, seed: int) -> None:
        """Put a finished item into the inbox."""
        self.fill(name, mood, seed).rename(self.home.inbox / name)

    def give_torn(self, name: str) -> None:
        """Put an item into the inbox whose photo cannot be read."""
        folder = self.home.inbox / f".{name}"
        folder.mkdir()
        (folder / "logo.jpg").write_bytes(photo_of("case", 1)[:300])
        self.torn.append(name)
        folder.rename(self.home.inbox / name)

    def supervised(self, *arguments: str, decide: Decide, with_data: bool = False) -> Supervised:
        """Start ``touchstone-agent run`` with every change to the folder under our hand."""
        command: list[str | Path] = [AGENT, "run", *arguments, "--home", self.home.root]
        return Supervised(command, self.home.root, decide, self.log, with_data=with_data)

    def run_once(self, *, first: bool = False) -> str:
        """Let the agent update, scan and sync once, undisturbed; return what it wrote.

        Raises:
            Broken: it failed, or had no model, though it is not the first time.
        """
        done = subprocess.run(
            [AGENT, "run", "--once", "--home", self.home.root],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ONCE_S,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(done.stdout)
        has_model = first or not ("no model" in done.stdout or "bundle_refused_at_start" in done.stdout)
        if done.returncode or not has_model:
            raise Broken(f"the agent does not restart: exit code {done.returncode}: {done.stdout.strip()[-500:]}")
        return done.stdout

    def look(self) -> Stand:
        """Read how the station stands; its daemon may run meanwhile."""
        waiting = [
            entry.name.removesuffix(".part").lstrip(".")
            for entry in self.home.inbox.iterdir()
            if not entry.name.startswith(".done-")
        ]
        with closing(sqlite3.connect(self.home.database_file, timeout=30.0, isolation_level=None)) as db:
            db.execute("BEGIN")
            rows = db.execute("SELECT state, is_case, photos_dropped, body FROM record").fetchall()
            (recorded,) = db.execute("SELECT value FROM fact WHERE name = 'recorded'").fetchone()
        photos = ContentFolder(self.home.photos)
        return Stand(
            waiting=tuple(waiting),
            rejected=tuple(entry.name for entry in self.home.rejected.iterdir()),
            records=tuple(_kept(*row[:3], body=json.loads(row[3]), photos=photos) for row in rows),
            recorded=int(recorded),
        )

    def check(self, *, drained: bool) -> Stand:
        """Return how the station stands.

        Raises:
            Broken: something does not hold that must.
        """
        stand = self.look()
        found = broken(self.put, stand, rejected=self.torn, drained=drained)
        found += crashes(self.log.read_text())
        if found:
            raise Broken("; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else ""))
        return stand

    def release(self) -> int:
        """Return which release is committed, 0 for none; its bundle's bytes are verified.

        Raises:
            Broken: they are not what was signed.
        """
        box = Outbox(self.home.database_file)
        try:
            proved = ReleaseBook(box).runnable()
        finally:
            box.close()
        if not proved:
            return 0
        try:
            bundle = open_bundle(self.home.bundles / proved[0].bundle_id)
        except TouchstoneError as error:
            raise Broken(f"the committed bundle cannot be opened: {error}") from error
        if bundle.bundle_id != proved[0].bundle_id:
            raise Broken("the committed bundle is another one")
        return proved[0].release.release


class Daemon:
    """``touchstone-agent run`` on a station, undisturbed but for the signals that it is sent."""

    def __init__(
        self,
        station: Station,
        *,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        agent: Sequence[str | Path] = (AGENT,),
    ) -> None:
        self._station = station
        self._began = station.log.stat().st_size if station.log.exists() else 0
        with station.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *agent, "run", "--home", station.home.root],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )

    def said(self) -> str:
        """Return what it has written so far."""
        return self._station.log.read_bytes()[self._began :].decode(errors="replace")

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return its lines of one kind."""
        return [line for line in events(self.said()) if line["event"] == event]

    def wait_for(self, what: str, is_so: Callable[[], bool], timeout_s: float, every_s: float = 0.05) -> None:
        """Wait until ``is_so``.

        Raises:
            Broken: it never was, or the daemon ended.
        """
        wait_while(self.process, what, is_so, self.said, timeout_s, every_s)

    def wait_ready(self) -> None:
        """Wait until it scans."""
        self.wait_for("it is ready", lambda: "ready in" in self.said(), 60.0, 0.01)

    def wait_drained(self, timeout_s: float) -> None:
        """Wait until nothing waits and the server has taken all."""
        self.wait_for("all is scanned and acked", lambda: self._station.look().is_drained, timeout_s, 0.1)

    def kill(self) -> None:
        """End it between two instructions, as a crash does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order.

        Raises:
            Broken: it does not end, or not in order.
        """
        stop(self.process)


def wait_while(
    process: subprocess.Popen[bytes],
    what: str,
    is_so: Callable[[], bool],
    said: Callable[[], str],
    timeout_s: float,
    every_s: float = 0.05,
) -> None:
    """Wait until ``is_so``, while ``process`` runs.

    Raises:
        Broken: it never was, or the process ended.
    """
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if process.poll() is not None:
            raise Broken(f"the agent ended by itself, exit code {process.returncode}, before {what}: {said()[-500:]}")
        if time.monotonic() > deadline_s:
            raise Broken(f"waited {timeout_s:.0f} s in vain until {what}: {said()[-500:]}")
        time.sleep(every_s)


def stop(process: subprocess.Popen[bytes], timeout_s: float = 30.0) -> None:
    """End an agent with SIGTERM.

    Raises:
        Broken: it does not end, or not in order.
    """
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Broken(f"the agent did not end within {timeout_s:.0f} s of SIGTERM") from None
    if code != 0:
        raise Broken(f"the agent ended with exit code {code} on SIGTERM")


def _kept(state: str, is_case: int, let_go: int, *, body: Mapping[str, Any], photos: ContentFolder) -> Kept:
    hashes = [view["photo"] for view in body["views"]] if is_case else []
    paths = [(sha256, photos.path(sha256)) for sha256 in hashes]
    return Kept(
        item_id=body["item_id"],
        record_id=body["record_id"],
        state=state,
        is_case=bool(is_case),
        is_whole=(bool(let_go) and state == "acked")
        or all(path.is_file() and sha256_hex(path.read_bytes()) == sha256 for sha256, path in paths),
    )
