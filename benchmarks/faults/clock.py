"""A clock that is set back or forward a year: under a running daemon, and from its start on; then without a server.

The agent's real programs run under libfaketime, which shifts the time of day and leaves the monotonic clock alone. The
server's clock stays right; the expired release was signed and published with a clock that was 400 days behind.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from benchmarks.faults.cases import Broken, Settings, Timed, run_cases
from benchmarks.faults.results import NotPermitted, Outcome
from benchmarks.faults.station import AGENT, Daemon, Station
from benchmarks.faults.world import SERVER, World
from benchmarks.programs import Programs

DAYS: Mapping[str, int] = {"back": -365, "forward": 365}
EXPIRED_DAYS = 400
"""A release signed so long ago has expired; its signature holds for 365 days."""
SOON_S = 120.0
_LIBRARY = "faketime/libfaketimeMT.so.1"
_SLEEP = "import select, time\n\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
"""Python sleeps until a monotonic moment, which libfaketime 0.9.10 refuses with EINVAL whatever it is told."""


def run(settings: Settings) -> Iterator[Outcome]:
    """Set the clocks of two stations, each its own way, and lead both through the same story."""
    timed = Timed("clock", "a clock set back or forward a year, under the daemon and before it")
    names = settings.chosen(list(DAYS), len(DAYS))
    try:
        library()
    except NotPermitted as error:
        yield timed.not_run(str(error))
        return
    with Programs(settings.work / "logs") as programs:
        world = World(settings.work / "clock", programs)
        stations = {name: _WrongClock(world, name) for name in names}
        try:
            failures = run_cases("clock", {name: one.goes_on for name, one in stations.items()}, settings)
            if not failures:
                right = world.publish()
                takes = {name: partial(one.takes, right) for name, one in stations.items()}
                failures = run_cases("clock, good release", takes, settings)
            if not failures:
                _publish_expired(world)
                refuse = {name: partial(one.refuses_expired, right) for name, one in stations.items()}
                failures = run_cases("clock, expired release", refuse, settings)
            if not failures:
                exported = settings.work / "exported"
                programs.run(SERVER, "export-release", exported, "--home", world.folder / "server")
                programs.stop(world.folder.name)
                alone = {name: partial(one.refuses_alone, right, exported) for name, one in stations.items()}
                failures = run_cases("clock, no server", alone, settings)
        finally:
            for one in stations.values():
                one.end()
    items = sum(len(one.station.put) for one in stations.values())
    yield timed.outcome(len(names), failures, items=items, releases=world.releases)


def library() -> Path:
    """Return where libfaketime is.

    Raises:
        NotPermitted: it is not installed.
    """
    found = sorted(path for folder in ("lib", "lib64") for path in Path("/usr", folder).glob(f"**/{_LIBRARY}"))
    if not found:
        raise NotPermitted("libfaketime is missing: apt-get install faketime")
    return found[0]


def _shifted(**by: str) -> dict[str, str]:
    return {"LD_PRELOAD": str(library()), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1", **by}


def _publish_expired(world: World) -> None:
    made = datetime.now(UTC) - timedelta(days=EXPIRED_DAYS)
    world.publish(_shifted(FAKETIME=f"-{EXPIRED_DAYS}d"), made=made)


class _WrongClock:
    """One station whose clock is set in the middle of its work."""

    def __init__(self, world: World, name: str) -> None:
        self.station: Station = world.copy(name)
        self._world = world
        self._name = name
        self._days = DAYS[name]
        self._file = world.folder / f"{name}.time"
        self._file.write_text("+0d")
        sleeps = world.folder / f"{name}-sleeps"
        sleeps.mkdir()
        (sleeps / "sitecustomize.py").write_text(_SLEEP)
        path = os.pathsep.join(filter(None, (str(sleeps), os.environ.get("PYTHONPATH"))))
        self._environment = _shifted(FAKETIME_TIMESTAMP_FILE=str(self._file), PYTHONPATH=path)
        self._daemon = Daemon(self.station, environment=self._environment)

    def goes_on(self) -> None:
        """See that scans and uploads go on, and that a person is told, though the clock is set meanwhile."""
        self._daemon.wait_ready()
        self._scan("before")
        self._file.write_text(f"{self._days:+d}d")
        for number in range(3):
            self._scan(f"after {number}")
        self._is_told()

    def takes(self, release: int) -> None:
        """See that a good release is taken, and that the agent starts with a wrong clock."""
        self._daemon.wait_for("it takes a good release", lambda: self.station.release() == release, SOON_S)
        self._daemon.kill()
        self._daemon = Daemon(self.station, environment=self._environment)
        self._scan("restarted")
        self._is_told()

    def refuses_expired(self, right: int) -> None:
        """See that the release that has expired is not taken from the server, and that scans and uploads go on."""
        self._daemon.wait_for("it finds the release expired", self._finds_expired, SOON_S)
        self._scan("expired")
        self._runs(right)
        self._world.check(list(self.station.check(drained=True).records))

    def refuses_alone(self, right: int, exported: Path) -> None:
        """See the same of a folder, by a daemon that has never spoken with a server; scans go on."""
        self._daemon.kill()
        self._daemon = Daemon(self.station, environment=self._environment)
        self._daemon.wait_ready()
        self._agent("update", "--from", str(exported))
        self._daemon.wait_for("it finds the release expired", self._finds_expired, SOON_S)
        self._give("alone")
        self._daemon.wait_for("it scans", lambda: not self.station.look().waiting, SOON_S)
        self._runs(right)
        self.station.check(drained=False)
        self._daemon.stop()

    def end(self) -> None:
        """Leave nothing behind."""
        if self._daemon.process.poll() is None:
            self._daemon.kill()

    def _give(self, when: str) -> None:
        self.station.give(f"{self._name}, {when}", "case", 1000 + self._days + len(self.station.put))

    def _scan(self, when: str) -> None:
        self._give(when)
        self._daemon.wait_drained(SOON_S)

    def _runs(self, release: int) -> None:
        if self.station.release() != release:
            raise Broken(f"runs release {self.station.release()}, not {release}")

    def _finds_expired(self) -> bool:
        return any("expired" in line.get("why", "") for line in self._daemon.events("try_later"))

    def _is_told(self) -> None:
        which = "behind" if self._days < 0 else "ahead of"
        said = json.loads(self._agent("status", "--json"))["clock"] or ""
        if which not in said or "days" not in said:
            raise Broken(f"status says of the clock: {said!r}")
        findings = json.loads(self._agent("doctor", "--json"))["findings"]
        (clock,) = [one for one in findings if one["check"] == "clock"]
        if clock["state"] == "ok":
            raise Broken(f"doctor says of the clock: {clock}")

    def _agent(self, *arguments: str) -> str:
        done = subprocess.run(
            [AGENT, *arguments, "--home", self.station.home.root],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode not in (0, 1):
            raise Broken(f"{arguments[0]}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        return done.stdout
