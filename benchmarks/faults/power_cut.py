"""Power cuts as a disk sees them: the real agent's operations are recorded, cut off after each, and the agent restarted
on what ``benchmarks.faults.disk_model`` says is left. The server goes on: it was not its power.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults.cases import Broken, Settings, Timed, run_cases
from benchmarks.faults.disk_model import Disk, Entry, Tree, cuts
from benchmarks.faults.invariants import broken_words, decisions
from benchmarks.faults.operations import Operation
from benchmarks.faults.results import Outcome
from benchmarks.faults.station import ONCE_S, Station
from benchmarks.faults.supervised import LET_GO
from benchmarks.faults.world import World
from benchmarks.programs import Programs
from runtime.contracts.errors import Unsupported

QUICK_CUTS = 12
OTHER_STATES = {"items": 3, "swap": 1}
"""States drawn after each operation, beside the least that is sure; a swap is tried again in seconds, not in one."""


def run(settings: Settings) -> Iterator[Outcome]:
    """Cut the power while items are scanned, sent and acked, and while a release is swapped in."""
    with Programs(settings.work / "logs") as programs:
        world = World(settings.work / "power-cut", programs)
        if settings.includes("items"):
            yield _cut("items", world, settings)
        if settings.includes("swap"):
            world.publish()
            yield _cut("swap", world, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a station did to its folder, and to which."""

    station: Station
    before: Tree
    operations: Sequence[Operation]


def record(world: World, act: str) -> Recording:
    """Let a copy of the station do one act, and record it.

    Raises:
        Broken: the agent fails where nobody harms it.
        Unsupported: the model of a disk does not explain what the folder holds afterwards.
    """
    station = world.copy(f"recorded-{act}")
    if act == "items":
        station.give("a case", "case", 1)
        station.give("a confident one", "confident", 2)
        station.give_torn("a torn one")
    before = read_tree(station.home.root)
    operations: list[Operation] = []

    def keep(_: int, operation: Operation) -> int:
        operations.append(operation)
        return LET_GO

    if station.supervised("--once", decide=keep, with_data=True).wait(ONCE_S) != 0:
        raise Broken(f"the agent fails where nobody harms it: {station.log.read_text()[-500:]}")
    for rule in ("strict", "ext4"):
        disk = Disk(before, rule)
        for operation in operations:
            disk.do(operation)
        after = read_tree(station.home.root)
        wrong = [path for path in {*after, *disk.live()} if disk.live().get(path) != after.get(path)]
        if wrong:
            raise Unsupported(f"the recording does not explain {wrong[:3]}: the model of a disk is wrong")
    station.check(drained=True)
    return Recording(station=station, before=before, operations=operations)


def read_tree(folder: Path) -> Tree:
    """Read a folder; without SQLite's shared memory, which no disk holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.name.endswith("-shm"):
            found[str(path.relative_to(folder))] = Entry(data=_data(path), mode=path.lstat().st_mode & 0o777)
    return found


def _data(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return str(path.readlink())
    return None if path.is_dir() else path.read_bytes()


def write_tree(tree: Tree, folder: Path) -> None:
    """Make a folder that holds ``tree``."""
    folder.mkdir(mode=0o700)
    for path, entry in tree.items():
        place = folder / path
        if isinstance(entry.data, str):
            place.symlink_to(entry.data)
            continue
        if entry.data is None:
            place.mkdir()
        else:
            place.write_bytes(entry.data)
        place.chmod(entry.mode)


def _cut(act: str, world: World, settings: Settings) -> Outcome:
    timed = Timed("power-cut", f"power cut after every operation of the act '{act}', by the rule '{settings.rule}'")
    recording = record(world, act)
    states = cuts(recording.before, recording.operations, settings.rule, settings.random(act), OTHER_STATES[act])
    left = {f"{act}:{name}": (number, tree) for name, number, tree in states}
    names = settings.chosen(list(left), QUICK_CUTS)
    cases = {name: partial(_restart, name, recording, *left[name], world) for name in names}
    failures = run_cases(f"power-cut, {act}", cases, settings)
    least = sum(name.endswith(":least") for name in names)
    return timed.outcome(len(cases), failures, operations=len(recording.operations), least=least)


def _restart(name: str, recording: Recording, number: int, tree: Tree, world: World) -> None:
    """Start the agent on what a power cut after ``number`` operations left, and check."""
    station = Station(world.folder / name.replace(":", "-"))
    write_tree(tree, station.home.root)
    station.torn = list(recording.station.torn)
    station.put = [_renamed(station, item) for item in recording.station.put]
    shown = b"".join(one.data for one in recording.operations[:number] if one.kind == "show").decode()
    if "swap" in name:
        station.give(name.replace(":", " "), "case", 1000 + number)
    said = station.run_once()
    stand = station.check(drained=True)
    found = broken_words(decisions(shown), decisions(said), stand.records)
    if station.release() != world.releases:
        found.append(f"runs release {station.release()}, not {world.releases}")
    if found:
        raise Broken("; ".join(found))
    world.check(list(stand.records))
    station.remove()


def _renamed(station: Station, item: str) -> str:
    """Give an item that has no record on this disk another name, and return its name.

    The server has the record of the one that was recorded; it rightly refuses another scan of it as the same record.
    """
    folder = station.home.inbox / item
    if not folder.is_dir() or item in _recorded(station):
        return item
    name = f"{item} {station.home.root.name}"
    folder.rename(folder.with_name(name))
    return name


def _recorded(station: Station) -> set[str]:
    """Return the items that the outbox would know after a restart; the outbox itself stays as the power cut left it."""
    with tempfile.TemporaryDirectory() as folder:
        for path in station.home.root.glob(f"{station.home.database_file.name}*"):
            shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / station.home.database_file.name)) as db:
            return {item for (item,) in db.execute("SELECT item_id FROM record")}
