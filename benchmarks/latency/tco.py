"""What 1,000 verdicts cost on a station and at a cloud endpoint: measured figures times the user's own prices.

Knows no price: every one is read from a file that the user fills in, and no cost is shown without what it assumes. What
experts cost is left out, as the same items go to them either way.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.latency.results import Header, Result, Run
from runtime.contracts.codec import decode
from runtime.contracts.errors import Unsupported, Untrusted

SCENARIO = "item"
"""What one verdict is: all views of one item."""

_VERDICTS = 1000
_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class StationPrices:
    """Of a station: either ``core_hour``, or ``machine``, ``years`` and ``verdicts_per_year``.

    Attributes:
        core_hour: one core for one hour.
        machine: one station, with its upkeep.
        years: over which it is written off.
        verdicts_per_year: that it gives.
        watts_per_busy_core: that one busy core draws more than an idle one; with ``kwh``, or not at all.
        kwh: one kilowatt-hour.
        stored_gb_month: one gigabyte kept for one month.
        months_stored: how long what a verdict writes is kept.
        gb_up: one gigabyte sent to the server.
        review_share: of items whose photos go up, to an expert or for an audit.
    """

    core_hour: float | None = None
    machine: float | None = None
    years: float | None = None
    verdicts_per_year: float | None = None
    watts_per_busy_core: float | None = None
    kwh: float | None = None
    stored_gb_month: float
    months_stored: float
    gb_up: float
    review_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudPrices:
    """Of an endpoint that gets every photo.

    Attributes:
        gb_up: one gigabyte sent there.
        request: one request; a verdict is one.
        compute_second: one second of one core there.
    """

    gb_up: float
    request: float
    compute_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """All of them, in one currency."""

    currency: str
    station: StationPrices
    cloud: CloudPrices


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCost:
    """Of 1,000 verdicts by one system, by item and in the prices' currency."""

    system: str
    station: Mapping[str, float]
    cloud: Mapping[str, float]

    @property
    def station_total(self) -> float:
        """All items of the station."""
        return math.fsum(self.station.values())

    @property
    def cloud_total(self) -> float:
        """All items of the endpoint."""
        return math.fsum(self.cloud.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The costs, with what they assume, a sentence each; ``left_out`` says which systems have none, and why."""

    currency: str
    systems: tuple[SystemCost, ...]
    assumptions: tuple[str, ...]
    left_out: tuple[str, ...]

    def as_text(self) -> str:
        """Return a table for a terminal, with the assumptions below it."""
        return "\n".join(_lines(self)) + "\n"


def read_prices(path: Path) -> Prices:
    """Read and check a file of prices; ``docs/prices.toml`` has every key.

    Raises:
        Unsupported: it is not there, not TOML, lacks a key, has one too many, or a number cannot be a price.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unsupported(
            f"prices {path}: cannot be read ({error.strerror}); copy docs/prices.toml and fill it in"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unsupported(f"prices {path}: expected TOML, got text that does not parse ({error})") from error
    return check_prices(data, f"prices {path}")


def check_prices(data: object, what: str) -> Prices:
    """Build prices from plain data.

    Raises:
        Unsupported: see ``read_prices``; the message names the key.
    """
    try:
        prices = decode(Prices, data, what)
    except Untrusted as error:
        raise Unsupported(f"{error}; docs/prices.toml has every key") from error
    for name, table in (("station", prices.station), ("cloud", prices.cloud)):
        for field in dataclasses.fields(table):
            value = getattr(table, field.name)
            if value is not None and value < 0:
                raise Unsupported(f"{what}.{name}.{field.name}: expected 0 or more, got {value}")
    _check_station(prices.station, f"{what}.station")
    return prices


def _check_station(station: StationPrices, what: str) -> None:
    bought = {name: getattr(station, name) for name in ("machine", "years", "verdicts_per_year")}
    missing = [name for name, value in bought.items() if value is None]
    if station.core_hour is None and missing:
        raise Unsupported(f"{what}: expected core_hour, or machine, years and verdicts_per_year; add {missing[0]}")
    if station.core_hour is not None and len(missing) < len(bought):
        raise Unsupported(f"{what}: expected core_hour or machine, got both, which counts the station twice; drop one")
    if station.core_hour is None and not (bought["years"] and bought["verdicts_per_year"]):
        raise Unsupported(f"{what}: expected years and verdicts_per_year above 0")
    if (station.watts_per_busy_core is None) != (station.kwh is None):
        raise Unsupported(f"{what}: expected watts_per_busy_core and kwh, got one of them; add the other or drop both")
    if station.review_share > 1:
        raise Unsupported(f"{what}.review_share: expected 0 to 1, got {station.review_share}")


def tco(run: Run, prices: Prices) -> Cost:
    """Price 1,000 verdicts of every system that played ``item`` and is valid.

    With ``cpu_s``, ``written_gb`` and ``photo_gb`` of one verdict as measured, each times 1,000::

        station compute  = cpu_s / 3600 * core_hour
                     or  = machine / (years * verdicts_per_year)
        station energy   = cpu_s / 3600 * watts_per_busy_core / 1000 * kwh
        station storage  = written_gb * months_stored * stored_gb_month
        station uplink   = photo_gb * review_share * gb_up
        cloud uplink     = photo_gb * gb_up
        cloud requests   = request
        cloud compute    = cpu_s * compute_second

    Raises:
        Unsupported: no system has a valid result.
    """
    played = [one for one in run.results if one.scenario == SCENARIO]
    left_out = [f"{one.system}: INVALID: {one.why}" for one in played if not one.valid]
    left_out += [f"{one.system}: absent: {one.why}" for one in run.absent]
    valid = [one for one in played if one.valid]
    if not valid:
        raise Unsupported(
            f"run of {run.header.device.date}: expected a valid result of scenario {SCENARIO!r}, got none of "
            f"{len(played)}; run 'touchstone-bench doctor', then 'touchstone-bench run --scenario {SCENARIO}'"
        )
    return Cost(
        currency=prices.currency,
        systems=tuple(_system(one, prices) for one in valid),
        assumptions=tuple(_assumptions(run.header, prices)),
        left_out=tuple(left_out),
    )


def _system(result: Result, prices: Prices) -> SystemCost:
    station, cloud = prices.station, prices.cloud
    cpu_s, written_gb, photo_gb = (
        _VERDICTS * one for one in (result.cpu_ms / 1000, result.written_bytes / _GB, result.photo_bytes / _GB)
    )
    if station.core_hour is not None:
        compute = cpu_s / 3600 * station.core_hour
    else:
        assert station.machine is not None and station.years and station.verdicts_per_year  # checked when read
        compute = _VERDICTS * station.machine / (station.years * station.verdicts_per_year)
    energy = cpu_s / 3600 * (station.watts_per_busy_core or 0.0) / 1000 * (station.kwh or 0.0)
    return SystemCost(
        system=result.system,
        station={
            "compute": compute,
            "energy": energy,
            "storage": written_gb * station.months_stored * station.stored_gb_month,
            "uplink": photo_gb * station.review_share * station.gb_up,
        },
        cloud={
            "uplink": photo_gb * cloud.gb_up,
            "requests": _VERDICTS * cloud.request,
            "compute": cpu_s * cloud.compute_second,
        },
    )


def _assumptions(header: Header, prices: Prices) -> Iterator[str]:
    station = prices.station
    yield f"measured on {header.device.line()}; one verdict is {header.views} photos of {header.photo_mb:.1f} MB"
    if station.core_hour is None:
        yield (
            f"the station costs {station.machine:g} {prices.currency}, lasts {station.years:g} years and gives "
            f"{station.verdicts_per_year:,.0f} verdicts a year, busy or not"
        )
    else:
        yield f"a core of the station costs {station.core_hour:g} {prices.currency} an hour at work, else nothing"
    if station.kwh is None:
        yield "energy is not counted: watts_per_busy_core and kwh are not given"
    yield (
        f"all that a verdict writes is kept for {station.months_stored:g} months, and photos of "
        f"{station.review_share:.1%} of the items go up"
    )
    yield "the cloud gets every photo as the camera made it, one request a verdict, and keeps none"
    yield "a core of the cloud takes as long for a verdict as one here: measure there, if it matters"
    yield "experts, the network's line and the operator's waiting are not priced"


def _lines(cost: Cost) -> Iterator[str]:
    first = cost.systems[0]
    rows = [f"station {name}" for name in first.station] + ["station"]
    rows += [f"cloud {name}" for name in first.cloud] + ["cloud", "cloud / station"]
    columns = [_column(one) for one in cost.systems]
    widths = [max(len(one.system), *map(len, column)) for one, column in zip(cost.systems, columns, strict=True)]
    yield f"{cost.currency} for {_VERDICTS:,} verdicts, by which system gives them, at the prices of your file"
    yield ""
    head = "  ".join(f"{one.system:>{width}}" for one, width in zip(cost.systems, widths, strict=True))
    yield f"{'':<16}  {head}"
    for place, name in enumerate(rows):
        cells = "  ".join(f"{column[place]:>{width}}" for column, width in zip(columns, widths, strict=True))
        yield f"{name:<16}  {cells}"
    yield ""
    yield from (f"assumed: {text}" for text in cost.assumptions)
    yield from (f"left out: {text}" for text in cost.left_out)


def _column(one: SystemCost) -> list[str]:
    ratio = f"{one.cloud_total / one.station_total:.1f}" if one.station_total else "-"
    station = [*one.station.values(), one.station_total]
    return [f"{value:.4f}" for value in (*station, *one.cloud.values(), one.cloud_total)] + [ratio]
