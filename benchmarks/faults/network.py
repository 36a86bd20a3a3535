"""Bad networks between a station and its server, each for a while with items coming in, and then a good one.

The weather is made by ``proxy`` on real sockets; lost and late packets are made by ``lossy_link`` where this machine
allows it. What is asked: nothing lost, nothing twice, few attempts while nobody answers, and all sent soon after. A day
without a network is not waited for: its first minutes are, until the longest wait between two attempts is reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.faults.cases import Broken, Settings, Timed, run_cases, why_broken
from benchmarks.faults.lossy_link import LossyLink
from benchmarks.faults.proxy import Proxy, Weather
from benchmarks.faults.results import Failure, NotPermitted, Outcome
from benchmarks.faults.station import Daemon, Station
from benchmarks.faults.world import World
from benchmarks.programs import Programs
from edge_agent.back_off import FIRST_S, LONGEST_S

UPLINK_LONGEST_S, UPDATE_LONGEST_S = 30.0, 300.0
"""The longest that the agent's two loops wait after failures; ``edge_agent.commands.run`` promises them."""
DRAIN_S = LONGEST_S + UPLINK_LONGEST_S + 60.0
CALM = Weather()
_FLAP_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """One kind of bad network.

    Attributes:
        name: in words.
        weather: what it does to requests.
        loss: share of packets lost each way; with ``delay_s``, needs a link.
        delay_s: of packets, each way.
        flaps: that it comes and goes.
        seconds: it lasts; in a quick run ``quick_s``.
        quick_s: see ``seconds``.
        is_dark: nobody ever answers, so attempts are counted against what the back-off allows.
    """

    name: str
    weather: Weather = CALM
    loss: float = 0.0
    delay_s: float = 0.0
    flaps: bool = False
    seconds: float = 120.0
    quick_s: float = 12.0
    is_dark: bool = False


STORMS: Sequence[Storm] = (
    Storm(name="down", weather=Weather(down=1.0), seconds=780.0, quick_s=20.0, is_dark=True),
    Storm(name="silent", weather=Weather(silent=1.0), seconds=180.0, is_dark=True),
    Storm(name="late by 2 s each way", weather=Weather(delay_s=2.0)),
    Storm(name="30 % of connections lost", weather=Weather(lost=0.3)),
    Storm(name="flapping", weather=Weather(down=1.0), flaps=True),
    Storm(name="half of the answers cut in half", weather=Weather(halves=0.5)),
    Storm(name="every request twice", weather=Weather(twice=1.0)),
    Storm(name="half of the answers 500 or 503", weather=Weather(errors=0.5)),
    Storm(name="half of the answers a login page", weather=Weather(portal=0.5)),
    Storm(
        name="all of it at once",
        weather=Weather(delay_s=1.0, lost=0.3, halves=0.2, twice=0.3, errors=0.2, portal=0.1),
    ),
    Storm(name="30 % of packets lost", loss=0.3),
    Storm(name="packets late by 2 s", delay_s=2.0),
    Storm(name="30 % of packets lost, the rest late by 2 s", loss=0.3, delay_s=2.0, seconds=300.0),
)


def run(settings: Settings) -> Iterator[Outcome]:
    """Let all storms pass beside each other, each over a station of its own."""
    with Programs(settings.work / "logs") as programs:
        world = World(settings.work / "network", programs)
        storms = {f"storm-{number}": storm for number, storm in enumerate(STORMS, 1)}
        names = settings.chosen(list(storms), len(storms))
        outcomes: dict[str, Outcome] = {}

        def case(name: str) -> None:
            outcomes[name] = _pass(name, storms[name], world, settings)

        run_cases("network", {name: partial(case, name) for name in names}, settings, workers=len(storms))
        yield from (outcomes[name] for name in names)


def most_attempts(seconds: float, longest_s: float) -> int:
    """Return how often a loop that always fails may try within some seconds: at once, then after half of each wait."""
    at_s, count = 0.0, 0
    while at_s <= seconds:
        at_s += min(longest_s, 0.5 * min(LONGEST_S, FIRST_S * 2.0**count))
        count += 1
    return count


def _pass(name: str, storm: Storm, world: World, settings: Settings) -> Outcome:
    timed = Timed("network", storm.name)
    figures: dict[str, float] = {}
    try:
        why = why_broken(lambda: _weathered(name, storm, world, settings, figures))
    except NotPermitted as error:
        return timed.not_run(str(error))
    failures = [Failure(case=name, why=why)] if why else []
    return timed.outcome(1, failures, **figures)


def _weathered(name: str, storm: Storm, world: World, settings: Settings, figures: dict[str, float]) -> None:
    station = world.copy(name)
    seconds = storm.quick_s if settings.quick else storm.seconds
    items = 4 if settings.quick else 40
    seed = f"{settings.seed} {name}"
    with ExitStack() as stack:
        prefix: Sequence[str] = ()
        if storm.loss or storm.delay_s:
            link = stack.enter_context(LossyLink(world.port, seed, loss=storm.loss, delay_s=storm.delay_s))
            url, prefix = link.url, link.prefix
            proxy = None
        else:
            proxy = stack.enter_context(Proxy(world.port, seed))
            proxy.weather, url = storm.weather, proxy.url
        station.configure(server=url)
        daemon = Daemon(station, prefix=prefix)
        stack.callback(daemon.kill)
        daemon.wait_ready()
        began_s = time.monotonic()
        _give_over(station, items, seconds, lambda: _flap(storm, proxy, began_s))
        stand = station.look()
        figures["items"] = items
        figures["storm_s"] = seconds
        figures["acked_in_storm"] = sum(record.state == "acked" for record in stand.records)
        if proxy is not None:
            figures["attempts"] = len(proxy.attempts_s)
            _check_attempts(storm, time.monotonic() - began_s, figures)
            proxy.weather = CALM
        else:
            figures["packets"], figures["packets_lost"] = link.packets, link.lost
            link.loss = link.delay_s = 0.0
        healed_s = time.monotonic()
        daemon.wait_drained(DRAIN_S)
        figures["drained_after_s"] = round(time.monotonic() - healed_s, 1)
        daemon.stop()
    world.check(list(station.check(drained=True).records))


def _give_over(station: Station, items: int, seconds: float, meanwhile: Callable[[], None]) -> None:
    began_s = time.monotonic()
    given = 0
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        while given < items and given * seconds <= elapsed_s * items:
            name = f"{station.home.root.name} item {given}"
            station.give(name, "case" if given % 2 == 0 else "confident", given)
            given += 1
        meanwhile()
        time.sleep(0.1)


def _flap(storm: Storm, proxy: Proxy | None, began_s: float) -> None:
    if storm.flaps and proxy is not None:
        is_up = int((time.monotonic() - began_s) / _FLAP_S) % 2 == 1
        proxy.weather = CALM if is_up else storm.weather


def _check_attempts(storm: Storm, seconds: float, figures: dict[str, float]) -> None:
    if not storm.is_dark:
        return
    allowed = most_attempts(seconds, UPLINK_LONGEST_S) + most_attempts(seconds, UPDATE_LONGEST_S)
    figures["attempts_allowed"] = allowed
    if figures["attempts"] > allowed:
        raise Broken(f"{figures['attempts']:.0f} attempts in {seconds:.0f} s; the back-off allows {allowed}")
