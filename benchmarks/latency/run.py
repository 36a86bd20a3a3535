"""One run of the suite: the bundle, the photos, the limits, the systems, the scenarios, and the file of results.

The file grows line by line, so a run that is cut short keeps what it had. Everything else that it makes is removed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from benchmarks.fingerprint import fingerprint
from benchmarks.latency import limits, model_folder, photos
from benchmarks.latency.children import Child
from benchmarks.latency.network_work import network_work
from benchmarks.latency.results import Absent, Header, write_lines
from benchmarks.latency.scenarios import Scenario, Suite
from benchmarks.latency.suite import SYSTEMS_FOLDER, Stage, play
from benchmarks.latency.systems.protocol import Setup
from benchmarks.latency.systems.table import BASELINE, OURS, REPOSITORY, SYSTEMS, absence_of, command_of
from benchmarks.programs import Programs
from benchmarks.wheel_files import peers_cache
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.errors import StationFault, Unsupported
from runtime.cores import core_count

_ITEMS = 2
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the user chose.

    Attributes:
        suite: how much of each scenario.
        bundle: folder; ``None``: one of the suite's own.
        scenarios: to play.
        systems: names; none: ours and the naive station in the quick suite, all in the full one.
        out: file of results to make.
        work: folder on the disk to measure; ``None``: the user's cache folder.
        photos: folder of ``VIEW.jpg`` to show instead of enlarged golden photos.
        command: for the header.
    """

    suite: Suite
    bundle: Path | None
    scenarios: Sequence[Scenario]
    systems: Sequence[str]
    out: Path
    work: Path | None
    photos: Path | None
    command: str


def run(options: RunOptions, now: datetime, progress: Progress) -> None:
    """Play the suite and write its file.

    Args:
        options: what to play.
        now: for the header.
        progress: called with a step, how much is done, and of how much.

    Raises:
        Unsupported: the file exists, a system or the bundle cannot be used.
    """
    names = _systems(options)
    if options.out.exists():
        raise Unsupported(f"{options.out}: it exists; name another file with --out")
    given = open_bundle(options.bundle) if options.bundle else None  # the user's mistakes before any work
    device = fingerprint(now)
    disk = options.work or model_folder.cache_folder()
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=disk, prefix="run-") as folder, Programs(Path(folder) / "logs") as programs:
        work = Path(folder)
        bundle, calibration = (given, None) if given else model_folder.own_bundle(programs)
        model_folder.make(bundle, work / "model", calibration)
        small = photos.golden_items(bundle, _ITEMS)
        large = _large(options, bundle, small, progress)
        progress("limits", 0, 1)
        one = next(iter(large[0].values()))
        infer_ms = {views: limits.infer_ms(bundle, views) for views in (1, len(large[0]))}
        header = Header(
            device=device,
            command=options.command,
            suite=options.suite,
            views=len(large[0]),
            photo_mb=sum(len(photo) for photo in large[0].values()) / len(large[0]) / 1e6,
            limits=limits.measure(one, work),
            network=network_work(bundle, infer_ms[1]),
        )
        write_lines(options.out, [header])
        reference_ms = limits.reference_ms()
        with _started(names, work, options.out, progress) as children:
            stage = Stage(
                suite=options.suite,
                children=children,
                model=work / "model",
                bundle=bundle,
                large=large,
                small=small,
                listing=bundle.manifest.golden[0].listing,
                limits=header.limits,
                infer_ms=infer_ms,
                work=work,
                programs=programs,
                first_reference_ms=reference_ms,
            )
            for scenario in options.scenarios:
                plays = [one for one in children if options.systems or scenario.plays(options.suite, one.name)]
                _play(replace(stage, children=plays), scenario, options.out, progress)


def _systems(options: RunOptions) -> Sequence[str]:
    unknown = [name for name in options.systems if name not in SYSTEMS]
    if unknown:
        raise Unsupported(f"system {unknown[0]!r}: expected one of {', '.join(SYSTEMS)}; name one with --system")
    return tuple(dict.fromkeys(options.systems)) or ((OURS, BASELINE) if options.suite == "quick" else tuple(SYSTEMS))


def _large(options: RunOptions, bundle: Bundle, small: Sequence[photos.Item], progress: Progress) -> list[photos.Item]:
    if options.photos:
        return [photos.given_item(options.photos, bundle.manifest.views)]
    found = []
    for number, item in enumerate(small):
        progress("12-megapixel photos", number, len(small))
        found.append(photos.enlarged(item))
    return found


@contextmanager
def _started(names: Sequence[str], work: Path, out: Path, progress: Progress) -> Iterator[list[Child]]:
    """Start every system that can take part, note the others, and end all of them whatever happens."""
    children: list[Child] = []
    try:
        for number, name in enumerate(names):
            progress("systems start", number, len(names))
            why = absence_of(name, peers_cache())
            own = work / SYSTEMS_FOLDER / name
            own.mkdir(parents=True)
            setup = Setup(model=str(work / "model"), work=str(own), threads=core_count())
            try:
                if why is None:
                    command, log = command_of(name, peers_cache()), work / "logs" / f"{name}.log"
                    children.append(Child.start(name, command, REPOSITORY, setup, log))
            except (StationFault, Unsupported) as error:
                why = str(error)
            if why is not None:
                write_lines(out, [Absent(system=name, why=why)])
        if not children:
            raise StationFault("no system could be started; 'touchstone-bench report' shows why, system by system")
        yield children
    finally:
        for child in children:
            child.close()


def _play(stage: Stage, scenario: Scenario, out: Path, progress: Progress) -> None:
    parts = 6
    done = iter(range(1, 1000))
    for result in play(stage, scenario, lambda: progress(scenario.name, min(next(done), parts - 1), parts)):
        write_lines(out, [result])
    progress(scenario.name, parts, parts)
