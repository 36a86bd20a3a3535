"""A full disk: at any one step of a busy daemon by injection, then on real small file systems; freed a little later.

The daemon must go on by itself. One that is told at its very start that the disk is full may end with exit code 2 and
one line, as whoever starts it starts it again.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.faults.cases import Broken, Settings, Timed, run_cases
from benchmarks.faults.operations import TAKES_SPACE, Operation
from benchmarks.faults.results import NotPermitted, Outcome
from benchmarks.faults.station import Daemon, Station, stop, wait_while
from benchmarks.faults.supervised import LET_GO
from benchmarks.faults.world import World
from benchmarks.programs import Programs
from edge_agent.disk import free_bytes

FULL_FOR_S = 1.2
QUICK_POINTS = 12
DRAIN_S = 90.0
LEFT_BYTES = (0, 4096, 8192, 12288, 16384, 24576, 32768, 49152, 65536, 131072)
_SMALL_MIB = 24


def run(settings: Settings) -> Iterator[Outcome]:
    """Fill it all three ways."""
    with Programs(settings.work / "logs") as programs:
        world = World(settings.work / "disk-full", programs)
        total = _count(world)
        for mode in filter(settings.includes, ("one", "from")):
            yield _injected(mode, total, world, settings)
        for kind in filter(settings.includes, ("tmpfs", "ext4")):
            yield _real(kind, world, settings)


class FullDisk:
    """Refuses steps that take space: one (``one``), or every one from then on until it is freed (``from``)."""

    def __init__(self, mode: str, at: int) -> None:
        self._mode, self._at = mode, at
        self._until_s = 0.0
        self.steps = 0

    def decide(self, _: int, operation: Operation) -> int:
        """Let go, or say that the disk is full."""
        if operation.kind not in TAKES_SPACE:
            return LET_GO
        self.steps += 1
        if self.steps == self._at:
            self._until_s = time.monotonic() + FULL_FOR_S
            return errno.ENOSPC
        is_full = self._mode == "from" and time.monotonic() < self._until_s
        return errno.ENOSPC if is_full else LET_GO


def _with_items(world: World, name: str, root: Path | None = None) -> Station:
    station = world.station.copy(root) if root else world.copy(name)
    station.configure(min_free_bytes=0)
    number = sum(map(ord, name))
    station.give(f"{name} case", "case", number)
    station.give(f"{name} confident", "confident", number + 1)
    return station


def _count(world: World) -> int:
    disk = FullDisk("one", 0)
    _play(_with_items(world, "full-0"), disk)
    return disk.steps


def _play(station: Station, disk: FullDisk) -> bool:
    """Run a daemon on a disk until it has drained; return whether it did so without being started again."""
    daemon = station.supervised(decide=disk.decide)
    try:
        return _drained(station, daemon.process)
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.wait(30.0)


def _drained(station: Station, process: subprocess.Popen[bytes]) -> bool:
    said = station.log.read_text
    try:
        wait_while(process, "all is acked", lambda: station.look().is_drained, said, DRAIN_S, 0.1)
    except Broken:
        if not _ended_as_it_may(process, said()):
            raise
        _again(station)
        return False
    stop(process)
    return True


def _ended_as_it_may(process: subprocess.Popen[bytes], said: str) -> bool:
    return process.returncode == 2 and "ready in" not in said and said.count("\n") == 1


def _again(station: Station) -> None:
    time.sleep(FULL_FOR_S)
    daemon = Daemon(station)
    daemon.wait_drained(DRAIN_S)
    daemon.stop()


def _injected(mode: str, total: int, world: World, settings: Settings) -> Outcome:
    what = {"one": "one step", "from": f"every step for {FULL_FOR_S} s"}[mode]
    timed = Timed("disk-full", f"no space (ENOSPC) for {what} of a busy daemon, from each on")
    names = settings.chosen([f"{mode}:{at}" for at in range(1, total + 1)], QUICK_POINTS)
    by_itself: dict[str, bool] = {}

    def case(name: str) -> None:
        station = _with_items(world, f"full-{name.replace(':', '-')}")
        by_itself[name] = _play(station, FullDisk(mode, int(name.rpartition(":")[2])))
        world.check(list(station.check(drained=True).records))
        station.remove()

    failures = run_cases(f"disk-full, {mode}", {name: partial(case, name) for name in names}, settings)
    return timed.outcome(
        len(names),
        failures,
        steps=total,
        by_itself=sum(by_itself.values()),
        started_again=list(by_itself.values()).count(False),
    )


def _real(kind: str, world: World, settings: Settings) -> Outcome:
    timed = Timed("disk-full", f"a real {kind} of {_SMALL_MIB} MiB filled up to some bytes, before and under a daemon")
    names = [f"{kind}:{when}:{left}" for when in ("before", "under") for left in LEFT_BYTES]
    chosen = settings.chosen(names, 4)
    try:
        failures = run_cases(f"disk-full, {kind}", {name: partial(_fill, name, world) for name in chosen}, settings)
    except NotPermitted as error:
        return timed.not_run(str(error))
    return timed.outcome(len(chosen), failures)


def _fill(name: str, world: World) -> None:
    kind, when, left = name.split(":")
    folder = world.folder / name.replace(":", "-")
    with small_disk(kind, folder):
        station = _with_items(world, folder.name, folder / "station")
        station.log = world.folder / f"{folder.name}.log"
        if when == "under":
            for item in station.put:
                (station.home.inbox / item).rename(station.home.inbox / f".{item}")
        filler = folder / "filler"
        if when == "before":
            fill_up(filler, int(left))
        daemon = Daemon(station)
        try:
            if when == "under":
                daemon.wait_ready()
                fill_up(filler, int(left))
                for item in station.put:
                    (station.home.inbox / f".{item}").rename(station.home.inbox / item)
            deadline_s = time.monotonic() + 2 * FULL_FOR_S
            while "disk is full" not in daemon.said() and time.monotonic() < deadline_s:
                time.sleep(0.05)
            filler.unlink()
            _drained(station, daemon.process)
        finally:
            if daemon.process.poll() is None:
                daemon.kill()
        world.check(list(station.check(drained=True).records))


@contextmanager
def small_disk(kind: str, folder: Path, mib: int = _SMALL_MIB) -> Iterator[None]:
    """Mount a file system of its own on ``folder``, and make the folder.

    Raises:
        NotPermitted: it cannot be mounted here.
    """
    folder.mkdir()
    image = folder.with_suffix(".image")
    if kind == "ext4":
        with image.open("wb") as file:
            file.truncate(mib << 20)
        _must("mkfs.ext4", "-q", "-F", str(image))
        _must("mount", "-o", "loop", str(image), str(folder))
    else:
        _must("mount", "-t", kind, "-o", f"size={mib}m", kind, str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        image.unlink(missing_ok=True)


def _must(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotPermitted(f"{command[0]} is missing") from error
    if done.returncode:
        raise NotPermitted(f"{command[0]}: {done.stderr.strip()}")


def fill_up(filler: Path, leave_bytes: int) -> None:
    """Write a file that leaves so much room."""
    with filler.open("wb") as file:
        try:
            while (room := free_bytes(filler.parent) - leave_bytes) > 0:
                file.write(b"\0" * min(room, 1 << 20))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
