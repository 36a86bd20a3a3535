"""A real server, and stations that are enrolled there and run a small model. Lives as long as its ``Programs``."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.faults.cases import Broken
from benchmarks.faults.invariants import Kept, broken_at_server
from benchmarks.faults.station import AGENT, Station
from benchmarks.faults.tiny_model import make_bundle
from benchmarks.programs import BIN, Programs

SERVER = "touchstone-server"


class World:
    """One server and its releases. ``station`` is enrolled and runs release 1; nothing but copies of it is harmed."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        """Found the server, publish release 1 and enrol a station."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.releases = 0
        self._programs = programs
        self._home, self._keys = folder / "server", folder / "offline-keys"
        founding = ("--home", self._home, "--offline-keys", self._keys, "--labels-needed", 1, "--audit-share", 0)
        printed = programs.run(SERVER, "init", *founding, secret=True)
        self._token = next(word for word in printed.split() if word.startswith("tsp_"))
        line = programs.start(folder.name, SERVER, "serve", "--home", self._home, "--port", 0)
        self.url = line.rpartition(" ")[2]
        self.publish()
        self.station = self.enrol("station")

    @property
    def port(self) -> int:
        """The server's port on this machine."""
        return int(self.url.rpartition(":")[2])

    def publish(
        self, environment: Mapping[str, str] | None = None, *, made: datetime | None = None, bias: float = 0.0
    ) -> int:
        """Sign and publish another bundle as the next release, and return its number.

        Args:
            environment: what the two programs see beside this process's, as a wrong clock.
            made: when it was built; None: now.
            bias: by which its logits are higher than the model's own.
        """
        self.releases += 1
        folder = self.folder / f"bundle-{self.releases}"
        make_bundle(folder, bias=bias + 0.001 * self.releases, now=made or datetime.now(UTC))
        for arguments in (
            ("sign", folder, "--offline-keys", self._keys),
            ("publish", folder, "--home", self._home),
        ):
            command = [str(BIN / SERVER), *map(str, arguments)]
            seen = {**os.environ, **(environment or {})}
            subprocess.run(command, check=True, env=seen, stdout=subprocess.DEVNULL, timeout=60)
        return self.releases

    def enrol(self, name: str) -> Station:
        """Make a station that is enrolled and runs the newest release."""
        code = self._programs.run(SERVER, "enrolment-code", "--home", self._home, secret=True).strip()
        station = Station(self.folder / name)
        enrol = ("enrol", "--server", self.url, "--code", code, "--home", station.home.root)
        self._programs.run(AGENT.name, *enrol, secret=True)
        station.configure()
        station.run_once(first=True)
        return station

    def copy(self, name: str) -> Station:
        """Return a copy of the station, to be harmed. It has the same identity, so give it items of its own."""
        return self.station.copy(self.folder / name)

    def cases(self) -> Counter[str]:
        """Return how many cases the server has of each item."""
        found: Counter[str] = Counter()
        after = ""
        while True:
            page = self._get(f"/v1/cases?limit=200{after}")
            found.update(case["item_id"] for case in page["cases"])
            if page["next_after"] is None:
                return found
            after = f"&after={urllib.parse.quote(page['next_after'])}"

    def check(self, records: list[Kept]) -> None:
        """See that the server has what stations count as taken by it, once each.

        Raises:
            Broken: it has not.
        """
        found = broken_at_server(records, self.cases())
        if found:
            raise Broken("; ".join(found[:5]))

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self._token}"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
            return json.load(answer)
