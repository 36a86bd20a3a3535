"""A day of scans at 50 times speed: a real daemon and a real server, a network that goes away for an hour, and growth.

An item every 30 s is taken as realistic: an inspector photographs two views in less, and fetches the next item. One in
ten is a case. Whatever has a period runs 50 times as often; the longest back-off (30 s) and time limits stay as they
are. Photos are kept for 4 hours instead of 30 days, so that a day shows them go.

Growth is the Theil-Sen slope over the second half, times its length: robust against single peaks, blind to none that
stays. Records are kept for ever, so the database may grow, by so much an item.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from benchmarks.faults.cases import Broken, Settings, Timed, why_broken
from benchmarks.faults.proxy import Proxy, Weather
from benchmarks.faults.results import Failure, Outcome
from benchmarks.faults.station import Daemon, Station
from benchmarks.faults.world import World
from benchmarks.programs import Programs, resident_mb
from edge_agent.config import Config

SPEED = 50.0
ITEM_EVERY_S, SAMPLE_EVERY_S = 30.0, 60.0
CASE_EVERY = 10
DRAIN_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """Simulated seconds: its length, when the network is gone, how long photos stay, how often they are let go."""

    lasts_s: float
    cut_s: tuple[float, float]
    kept_s: float
    retention_every_s: float


WHOLE = Day(lasts_s=86_400.0, cut_s=(8 * 3600.0, 9 * 3600.0), kept_s=4 * 3600.0, retention_every_s=3600.0)
SHORT = Day(lasts_s=6000.0, cut_s=(1200.0, 1800.0), kept_s=600.0, retention_every_s=120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a daemon holds at a moment; ``at_s`` simulated."""

    at_s: float
    resident_mb: float
    handles: int
    threads: int
    database_bytes: int
    other_bytes: int


LIMITS: Mapping[str, float] = {
    "resident_growth_mb": 4.0,
    "handles_growth": 1.0,
    "threads_growth": 1.0,
    "database_bytes_an_item": 4096.0,
    "other_growth_share": 0.10,
}
"""The most that the second half may add; the last as a share of what lies there in the median."""


def run(settings: Settings) -> Iterator[Outcome]:
    """Let the day pass; a quick one has 100 minutes."""
    day = SHORT if settings.quick else WHOLE
    timed = Timed("endurance", f"{day.lasts_s / 3600:.3g} hours of scans at {SPEED:.0f} times speed")
    figures: dict[str, float] = {}
    with Programs(settings.work / "logs") as programs:
        world = World(settings.work / "endurance", programs)
        why = why_broken(lambda: _pass(world, day, settings, figures))
    yield timed.outcome(1, [Failure(case="the day", why=why)] if why else [], **figures)


def judge(samples: Sequence[Sample], items_an_hour: float) -> dict[str, float]:
    """Return how much the second half of a day added, by the names of ``LIMITS``."""
    half = samples[len(samples) // 2 :]
    lasts_s = half[-1].at_s - half[0].at_s
    at_s = [sample.at_s for sample in half]

    def growth(values: Sequence[float]) -> float:
        return slope(at_s, values) * lasts_s

    other = [float(sample.other_bytes) for sample in half]
    return {
        "resident_growth_mb": growth([sample.resident_mb for sample in half]),
        "handles_growth": growth([sample.handles for sample in half]),
        "threads_growth": growth([sample.threads for sample in half]),
        "database_bytes_an_item": slope(at_s, [sample.database_bytes for sample in half]) * 3600 / items_an_hour,
        "other_growth_share": growth(other) / max(1.0, statistics.median(other)),
    }


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the Theil-Sen slope: the median of the slopes of all pairs."""
    return statistics.median((y[b] - y[a]) / (x[b] - x[a]) for a, b in combinations(range(len(x)), 2))


def too_much(growth: Mapping[str, float]) -> list[str]:
    """Return in words which limits were passed."""
    return [f"{name} {growth[name]:.4g}, at most {most:.4g}" for name, most in LIMITS.items() if growth[name] > most]


def _pass(world: World, day: Day, settings: Settings, figures: dict[str, float]) -> None:
    station = world.copy("day")
    normal = Config()
    with Proxy(world.port, f"{settings.seed} endurance") as proxy:
        station.configure(
            server=proxy.url,
            desk_port=0,
            uplink_every_s=normal.uplink_every_s / SPEED,
            update_every_s=normal.update_every_s / SPEED,
            heartbeat_every_s=normal.heartbeat_every_s / SPEED,
            keep_photos_days=1,
            keep_case_photos_days=1,
        )
        scaled = (SPEED, day.retention_every_s / SPEED, day.kept_s / SPEED)
        agent = (sys.executable, "-m", "benchmarks.faults.fast_agent", *map(str, scaled))
        daemon = Daemon(station, agent=agent)
        try:
            daemon.wait_ready()
            samples = _live(station, daemon, proxy, day, settings, figures)
            daemon.wait_drained(DRAIN_S)
            daemon.stop()
        finally:
            if daemon.process.poll() is None:
                daemon.kill()
    world.check(list(station.check(drained=True).records))
    growth = judge(samples, 3600 / ITEM_EVERY_S)
    half = samples[len(samples) // 2 :]
    figures["resident_mb"] = statistics.median(sample.resident_mb for sample in half)
    figures["handles"] = statistics.median(sample.handles for sample in half)
    figures["threads"] = statistics.median(sample.threads for sample in half)
    figures |= {name: round(value, 4) for name, value in growth.items()}
    found = too_much(growth)
    if found:
        raise Broken("; ".join(found))


def _live(
    station: Station, daemon: Daemon, proxy: Proxy, day: Day, settings: Settings, figures: dict[str, float]
) -> list[Sample]:
    began_s = time.monotonic()
    samples: list[Sample] = []
    given, waiting = 0, 0
    while (at_s := (time.monotonic() - began_s) * SPEED) < day.lasts_s:
        proxy.weather = Weather(down=1.0) if day.cut_s[0] <= at_s < day.cut_s[1] else Weather()
        while given * ITEM_EVERY_S <= at_s:
            station.give(f"item {given}", "case" if given % CASE_EVERY == 0 else "confident", given)
            given += 1
        if len(samples) * SAMPLE_EVERY_S <= at_s:
            if daemon.process.poll() is not None:
                raise Broken(f"the agent ended by itself: {daemon.said()[-500:]}")
            samples.append(_sample(station, daemon.process.pid, at_s))
            waiting = max(waiting, sum(1 for _ in station.home.inbox.iterdir()))
            settings.progress("endurance", int(at_s / 60), int(day.lasts_s / 60))
        time.sleep(0.02)
    figures |= {"items": given, "samples": len(samples), "most_waiting": waiting}
    return samples


def _sample(station: Station, pid: int, at_s: float) -> Sample:
    database = other = 0
    for path in station.home.root.rglob("*"):
        try:
            size = path.stat().st_size
        except FileNotFoundError:  # deleted meanwhile
            continue
        if path.name.startswith(station.home.database_file.name):
            database += size
        elif path.is_file():
            other += size
    return Sample(
        at_s=at_s,
        resident_mb=resident_mb(pid),
        handles=_count(Path(f"/proc/{pid}/fd")),
        threads=_count(Path(f"/proc/{pid}/task")),
        database_bytes=database,
        other_bytes=other,
    )


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())
