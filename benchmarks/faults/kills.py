"""SIGKILL: between any two system calls that change something while a case is recorded, sent and acked, while a release
is swapped in, and while one is taken back; and at random moments of a busy daemon. The disk keeps what was written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.faults.cases import Broken, Settings, Timed, run_cases
from benchmarks.faults.invariants import Kept, broken_words, decisions
from benchmarks.faults.operations import Operation
from benchmarks.faults.results import Failure, Outcome
from benchmarks.faults.station import ONCE_S, Daemon, Station
from benchmarks.faults.supervised import KILL, LET_GO
from benchmarks.faults.tiny_model import Mood
from benchmarks.faults.world import World
from benchmarks.programs import Programs

QUICK_POINTS, QUICK_KILLS, KILLS = 10, 20, 1000
WATCH_SCANS, SCANS_TO_REVERT = 10, 6
"""Of a watch window, and by how many items that it does not confirm the release is known to be worse."""
LESS_SURE = 6.5
"""Added to the logits: items that were confirmed are so no more."""
_LONGEST_S = 1400.0
_PUBLISH_EVERY_S = 25.0


def run(settings: Settings) -> Iterator[Outcome]:
    """Do all four."""
    with Programs(settings.work / "logs") as programs:
        world = World(settings.work / "kills", programs)
        if settings.includes("case"):
            yield _systematic("case", world, settings)
        if settings.includes("swap"):
            world.publish()
            yield _systematic("swap", world, settings)
        if settings.includes("random"):
            yield _random(world, settings)
        if settings.includes("revert"):
            _give_a_past(world)
            yield _systematic("revert", world, settings)


class _Points:
    """The points of one act at which a station is killed, each on a copy of its own."""

    def __init__(self, act: str, world: World) -> None:
        self._act = act
        self._world = world
        self._release = world.releases - 1 if act == "revert" else world.releases
        self.records: dict[str, list[Kept]] = {}

    def count(self) -> int:
        """Return how many points there are, undisturbed."""
        station = self._prepare(0)
        steps = station.supervised("--once", decide=lambda number, operation: LET_GO)
        if steps.wait(ONCE_S) != 0:
            raise Broken(f"the agent fails where nobody harms it: {station.log.read_text()[-500:]}")
        station.check(drained=True)
        if station.release() != self._release:
            raise Broken(f"runs release {station.release()} where nobody harms it, not {self._release}")
        station.remove()
        return steps.seen

    def kill_at(self, point: int) -> bool:
        """Kill one before its operation number ``point``, restart it, and check; return whether it came so far."""
        station = self._prepare(point)
        killed = station.supervised("--once", decide=_killer(point))
        code = killed.wait(ONCE_S)
        if code not in (0, -9):
            raise Broken(f"exit code {code} instead of a death: {station.log.read_text()[-500:]}")
        shown = decisions(station.log.read_text())
        if self._act == "swap":
            station.give(f"swap-{point}", "case", point)
        said = station.run_once()
        stand = station.check(drained=True)
        found = broken_words(shown, decisions(said), stand.records)
        if station.release() != self._release:
            found.append(f"runs release {station.release()}, not {self._release}")
        found += [f"{entry.name}: left in bundles" for entry in station.home.bundles.glob(".*")]
        if found:
            raise Broken("; ".join(found))
        self.records[f"{self._act}:{point}"] = list(stand.records)
        station.remove()
        return code == -9

    def _prepare(self, point: int) -> Station:
        name = f"{self._act}-{point}"
        station = self._world.copy(name)
        if self._act == "case":
            station.give(name, "case", point)
        elif self._act == "revert":
            station.give(name, "confident", point)
        return station


def _killer(point: int) -> Callable[[int, Operation], int]:
    return lambda number, operation: KILL if number == point else LET_GO


def _give_a_past(world: World) -> None:
    """Let the station confirm items, take a release that confirms none, and stop one scan before it is taken back."""
    station = world.station
    station.configure(watch_scans=WATCH_SCANS)
    station.run_once()  # with the newest release
    for number in range(WATCH_SCANS):
        station.give(f"before {number}", "confident", 5000 + number)
    station.run_once()  # which thereby passes its own window
    world.publish(bias=LESS_SURE)
    for number in range(SCANS_TO_REVERT - 1):
        station.give(f"watched {number}", "confident", 6000 + number)
    station.run_once()
    if station.release() != world.releases:
        raise Broken(f"runs release {station.release()}, not the one to take back: {station.log.read_text()[-500:]}")


def _systematic(act: str, world: World, settings: Settings) -> Outcome:
    timed = Timed("kills", f"SIGKILL before every change of the act '{act}'")
    points = _Points(act, world)
    total = points.count()
    names = settings.chosen([f"{act}:{point}" for point in range(1, total + 1)], QUICK_POINTS)
    reached: dict[str, bool] = {}

    def case(name: str) -> None:
        reached[name] = points.kill_at(int(name.rpartition(":")[2]))

    failures = list(run_cases(f"kills, {act}", {name: partial(case, name) for name in names}, settings))
    point = total
    takes_all = ":" not in settings.only and not settings.quick and settings.part == (1, 1)
    while takes_all and reached.get(f"{act}:{point}"):  # threads may take more this time
        point += 1
        failures += run_cases(f"kills, {act}", {f"{act}:{point}": partial(case, f"{act}:{point}")}, settings)
    failures += _server_failures(world, points.records)
    return timed.outcome(len(reached), failures, points=total, killed=sum(reached.values()))


def _server_failures(world: World, records: dict[str, list[Kept]]) -> list[Failure]:
    known = world.cases()
    found = []
    for name, kept in records.items():
        counts = [known[record.item_id] for record in kept if record.is_case]
        if any(count != 1 for count in counts):
            found.append(Failure(case=name, why=f"cases at the server: {counts}"))
    return found


def _random(world: World, settings: Settings) -> Outcome:
    timed = Timed("kills", "SIGKILL at random moments of a busy daemon, while releases are published")
    workers = settings.workers
    wanted = settings.kills or (QUICK_KILLS if settings.quick else KILLS)
    deadline_s = time.monotonic() + _LONGEST_S
    stations = [world.enrol(f"random-{number}") for number in range(workers)]
    shares = [wanted // workers + (number < wanted % workers) for number in range(workers)]
    busy = [_Busy(station, settings, share, deadline_s) for station, share in zip(stations, shares, strict=True)]
    with ThreadPoolExecutor(1) as pool:
        names = {one.name: one.play for one in busy}
        playing = pool.submit(run_cases, "kills, random", names, settings)
        while not playing.done() and time.monotonic() < deadline_s:
            try:
                playing.result(_PUBLISH_EVERY_S)
            except TimeoutError:
                world.publish()
        failures = list(playing.result())
    if not failures:
        last = {one.name: partial(one.end, world) for one in busy}
        failures += run_cases("kills, the end", last, settings)
    kills, items = sum(one.kills for one in busy), sum(len(one.station.put) for one in busy)
    return timed.outcome(kills, failures, items=items, releases=world.releases, wanted=wanted)


class _Busy:
    """One station that gets items, and is killed again and again."""

    def __init__(self, station: Station, settings: Settings, kills: int, deadline_s: float) -> None:
        self.station = station
        self.name = station.home.root.name
        self.kills = 0
        self._wanted = kills
        self._deadline_s = deadline_s
        self._choose = settings.random(self.name)
        self._coming: list[Path] = []

    def play(self) -> None:
        """Do the kills."""
        while self.kills < self._wanted and time.monotonic() < self._deadline_s:
            self._give()
            daemon = Daemon(self.station)
            if self._choose.random() < 0.3:
                time.sleep(self._choose.uniform(0.02, 0.6))  # while it starts
            else:
                daemon.wait_ready()
                time.sleep(self._choose.uniform(0.0, 0.25))  # while it scans, sends and updates
                while self._coming and self._choose.random() < 0.7:
                    _finish(self._coming.pop(0))
                time.sleep(self._choose.expovariate(4.0))
            if daemon.process.poll() is not None:
                raise Broken(f"the agent ended by itself before kill {self.kills + 1}: {daemon.said()[-500:]}")
            daemon.kill()
            self.kills += 1

    def end(self, world: World) -> None:
        """Let it drain and update, and check."""
        daemon = Daemon(self.station)
        for folder in self._coming:
            _finish(folder)
        daemon.wait_drained(120.0)
        daemon.wait_for("it runs the newest release", lambda: self.station.release() == world.releases, 60.0)
        daemon.stop()
        world.check(list(self.station.check(drained=True).records))

    def _give(self) -> None:
        for _ in range(self._choose.randint(1, 3)):
            seed = self._choose.randrange(1 << 30)
            name = f"{self.name}-{len(self.station.put)}"
            mood: Mood = "case" if self._choose.random() < 0.7 else "confident"
            if self._choose.random() < 0.5:  # taken as it comes, perhaps not finished in this life
                self._coming.append(self.station.fill(name, mood, seed, prefix="", suffix=".part"))
            else:
                self.station.give(name, mood, seed)


def _finish(folder: Path) -> None:
    folder.rename(folder.with_suffix(""))
