"""Plays scenarios with running systems, and judges what came of it. Starts no system and writes no file of results."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.latency import cold, figures, load, validity
from benchmarks.latency.children import Child
from benchmarks.latency.limits import floor_ms, reference_ms
from benchmarks.latency.load import Between, Orders, Played
from benchmarks.latency.model_folder import FIRST, FLOAT_NETWORK, SECOND
from benchmarks.latency.photos import Item, Ring
from benchmarks.latency.results import Limits, Result
from benchmarks.latency.scenarios import Scenario, Suite
from benchmarks.latency.systems.table import OURS
from benchmarks.programs import Programs
from runtime.bundle_store import Bundle

SYSTEMS_FOLDER = "systems"
"""In the work folder; each system's own folder is in it."""

_BUSY_S = 1.0
_SEEDS = {"items": 101, "arrivals": 202, "turns": 303}
"""Separate, so that one can be changed without the others."""
_SLOTS = 32
_IDLE_S: Mapping[Suite, float] = {"quick": 5.0, "full": 60.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What every scenario of a run shares.

    Attributes:
        suite: how much of each scenario.
        children: running systems.
        model: the folder that they were given.
        bundle: that it was made from.
        large: items of 12-megapixel photos.
        small: the same at their own size.
        listing: that goes with them.
        limits: of the machine.
        infer_ms: of the network alone, by number of views.
        work: folder on the measured disk; each system has a folder in SYSTEMS_FOLDER.
        programs: for commands of the product.
        first_reference_ms: the machine's speed when the run began.
    """

    suite: Suite
    children: Sequence[Child]
    model: Path
    bundle: Bundle
    large: Sequence[Item]
    small: Sequence[Item]
    listing: Mapping[str, float | None] | None
    limits: Limits
    infer_ms: Mapping[int, float]
    work: Path
    programs: Programs
    first_reference_ms: float


@dataclass(slots=True)
class _Watch:
    """The machine while a scenario is played: its speed, what others did before, its disk at the end of each part."""

    reference_ms: list[float]
    busy_percent: float
    work: Path
    progress: Between
    least_free: tuple[int, int] = (1, 1)

    def between(self) -> None:
        """Look at the machine while no system works, and take the photos away that systems have kept."""
        disk = shutil.disk_usage(self.work)
        self.least_free = min(self.least_free, (disk.free, disk.total), key=lambda one: one[0] / one[1])
        for photo in self.work.glob(f"{SYSTEMS_FOLDER}/*/photos/**/*"):
            if photo.is_file():
                photo.unlink(missing_ok=True)
        self.reference_ms.append(reference_ms())
        self.progress()


def play(stage: Stage, scenario: Scenario, progress: Between) -> Iterator[Result]:
    """Play one scenario with every system that can, and yield a result for each.

    Args:
        stage: of the run.
        scenario: to play.
        progress: called a few times meanwhile.
    """
    watch = _Watch([stage.first_reference_ms, reference_ms()], psutil.cpu_percent(_BUSY_S), stage.work, progress)
    ring = Ring(stage.work / "shown", _items(stage, scenario))
    more: Mapping[str, float] = {}
    for child in stage.children:
        child.forget_peak()
    try:
        if scenario.sending == "process":
            played, more = _play_processes(stage, scenario, ring, watch)
        else:
            played = _play_children(stage, scenario, ring, watch)
    finally:
        shutil.rmtree(stage.work / "shown", ignore_errors=True)
    watch.between()
    for name, mine in played.items():
        if mine.taken and not mine.cannot:
            yield _result(stage, scenario, name, mine, ring, watch, more if name == OURS else {})


def _items(stage: Stage, scenario: Scenario) -> list[Item]:
    """Return what the scenario's ring of files holds: as many as may wait to be read at once."""
    if scenario.showing == "rows":
        return []
    random = np.random.default_rng(_SEEDS["items"])
    whole = stage.small if scenario.showing == "small" else stage.large
    phases = scenario.phases(stage.suite)
    slots = max(_SLOTS, phases[1].count if len(phases) > 1 else 0)  # all of a surge may wait
    drawn = [whole[index] for index in random.integers(0, len(whole), slots)]
    if scenario.showing != "one view":
        return drawn
    views = [list(item)[random.integers(len(item))] for item in drawn]
    return [{view: item[view]} for view, item in zip(views, drawn, strict=True)]


def _play_children(stage: Stage, scenario: Scenario, ring: Ring, watch: _Watch) -> dict[str, Played]:
    children, orders, warm_up = stage.children, _orders(stage, scenario, ring), scenario.warm_up
    count = scenario.count(stage.suite)
    if scenario.sending == "in turn":
        seed = _SEEDS["turns"]
        return load.in_turn(children, orders, count, warm_up=warm_up, seed=seed, between=watch.between)
    if scenario.sending == "back to back":
        return load.back_to_back(children, orders, count, warm_up=warm_up, between=watch.between)
    phases = scenario.phases(stage.suite)
    return load.on_schedule(
        children,
        orders,
        load.schedule(phases, seed=_SEEDS["arrivals"]),
        slices=load.SLICES if len(phases) == 1 else 1,
        warm_up=warm_up,
        between=watch.between,
        swaps=_swaps(stage, scenario, count),
    )


def _orders(stage: Stage, scenario: Scenario, ring: Ring) -> Orders:
    def order(number: int) -> dict[str, Any]:
        if scenario.showing == "rows":
            return {"do": "listing", "rows": scenario.rows}
        return {
            "do": "scan",
            "item": f"{scenario.name}-{number}",
            "photos": ring.show(number),
            "listing": stage.listing,
            "cold": scenario.cold,
            "one_by_one": scenario.gap_ms > 0,
            "gap_ms": scenario.gap_ms,
        }

    return order


def _swaps(stage: Stage, scenario: Scenario, count: int) -> dict[int, dict[str, Any]]:
    every = scenario.swap_every
    if not every:
        return {}
    folders = [str(stage.model / name) for name in (SECOND, FIRST)]
    return {
        index: {"do": "swap", "bundle": folders[turn % 2]} for turn, index in enumerate(range(every // 2, count, every))
    }


def _play_processes(
    stage: Stage, scenario: Scenario, ring: Ring, watch: _Watch
) -> tuple[dict[str, Played], dict[str, float]]:
    with tempfile.TemporaryDirectory(dir=stage.work, prefix="agent-") as folder:
        home = cold.make_home(stage.model / FIRST, Path(folder), stage.programs)
        played = cold.starts(
            cold.commands_of(home, stage.model / FLOAT_NETWORK),
            ring,
            scenario.count(stage.suite),
            warm_up=scenario.warm_up,
            seed=_SEEDS["turns"],
            between=watch.between,
        )
        return played, cold.at_rest(home, stage.programs, _IDLE_S[stage.suite])


def _result(
    stage: Stage, scenario: Scenario, name: str, mine: Played, ring: Ring, watch: _Watch, more: Mapping[str, float]
) -> Result:
    replies = [one.reply for one in mine.taken]
    latencies_ms, limit_ms = tuple(one.latency_ms for one in mine.taken), _limit_ms(stage, scenario)
    child = next((child for child in stage.children if child.name == name and scenario.sending != "process"), None)
    peak_mb = child.peak_rss_mb() if child else 0.0
    verdicts: dict[str, list[str]] = {}
    for one in mine.taken:
        verdicts.setdefault(f"item {ring.slot(one.number)}", []).append(one.reply.verdict)
    valid, why = validity.judge(
        validity.failed([*mine.failed, *([mine.died] if mine.died else [])]),
        validity.too_few(len(mine.taken), scenario.count(stage.suite)),
        validity.undecided(verdicts),
        validity.busy(watch.busy_percent),
        validity.slowed(watch.reference_ms),
        validity.under_the_limit(statistics.median(latencies_ms), limit_ms),
        validity.disk_nearly_full(*watch.least_free),
        validity.off_schedule(mine.late_ms),
        validity.overrun(figures.queue_most(mine.taken), len(ring)) if scenario.sending == "on schedule" else "",
    )
    return Result(
        scenario=scenario.name,
        system=name,
        does=child.does if child else cold.DOES[name],
        seed=_SEEDS["items"],
        warm_up=scenario.warm_up,
        latencies_ms=latencies_ms,
        at_s=tuple(one.at_s for one in mine.taken),
        cpu_ms=statistics.fmean(reply.cpu_ns for reply in replies) / 1e6,
        peak_rss_mb=max(peak_mb, *(reply.rss_mb for reply in replies)),
        written_bytes=statistics.fmean(reply.written_bytes for reply in replies),
        photo_bytes=ring.photo_bytes,
        limit_ms=limit_ms,
        valid=valid,
        why=why,
        figures={**_figures(stage, scenario, mine), **more},
    )


def _limit_ms(stage: Stage, scenario: Scenario) -> float | None:
    if scenario.views_left is None:
        return None
    views = len(stage.large[0]) if scenario.views_left == "all" else 1
    return floor_ms(stage.limits, views, stage.infer_ms[views])


def _figures(stage: Stage, scenario: Scenario, mine: Played) -> dict[str, float]:
    taken, phases = mine.taken, scenario.phases(stage.suite)
    if scenario.sending == "back to back":
        return figures.offline(taken, len(stage.large[0]))
    if len(phases) > 1 and len(taken) == scenario.count(stage.suite):
        return figures.surge(taken, phases)
    if scenario.group == "soak" and len(taken) > 1:
        return figures.soak(taken)
    if scenario.swap_every:
        return {"swaps": float(len(_swaps(stage, scenario, len(taken))))}
    return {}
