"""The cost of 1,000 verdicts: the arithmetic, what is refused, and the example that ships."""

from __future__ import annotations

import copy
import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.latency.results import Absent
from benchmarks.latency.tco import CloudPrices, Prices, StationPrices, check_prices, read_prices, tco
from runtime.contracts.errors import Unsupported
from tests.benchmarks.latency.run_rigs import result, run

EXAMPLE = Path(__file__).parents[3] / "docs" / "prices.toml"
PRICES: dict[str, Any] = {
    "currency": "EUR",
    "station": {
        "core_hour": 0.36,
        "watts_per_busy_core": 20.0,
        "kwh": 0.5,
        "stored_gb_month": 0.01,
        "months_stored": 3.0,
        "gb_up": 0.2,
        "review_share": 0.1,
    },
    "cloud": {"gb_up": 0.05, "request": 0.00001, "compute_second": 0.0002},
}
MEASURED = dataclasses.replace(result(), cpu_ms=500.0, written_bytes=2e6, photo_bytes=4e6)


def with_(table: str, **changed: Any) -> dict[str, Any]:
    data = copy.deepcopy(PRICES)
    data[table].update(changed)
    data[table] = {key: value for key, value in data[table].items() if value is not None}
    return data


BOUGHT = with_("station", core_hour=None, machine=800.0, years=4.0, verdicts_per_year=100_000.0)


def test_every_item_is_its_figure_times_its_price() -> None:
    (cost,) = tco(run(MEASURED), check_prices(PRICES, "prices")).systems
    assert cost.station == pytest.approx(
        {
            "compute": 500 / 3600 * 0.36,
            "energy": 500 / 3600 * 20 / 1000 * 0.5,
            "storage": 2.0 * 3 * 0.01,
            "uplink": 4.0 * 0.1 * 0.2,
        }
    )
    assert cost.cloud == pytest.approx({"uplink": 4.0 * 0.05, "requests": 0.01, "compute": 500 * 0.0002})
    assert cost.station_total == pytest.approx(sum(cost.station.values()))
    assert cost.cloud_total == pytest.approx(0.2 + 0.01 + 0.1)


def test_a_bought_station_costs_its_share_whether_it_is_busy_or_not() -> None:
    prices = check_prices(BOUGHT, "prices")
    for cpu_ms in (1.0, 5000.0):
        (cost,) = tco(run(dataclasses.replace(MEASURED, cpu_ms=cpu_ms)), prices).systems
        assert cost.station["compute"] == pytest.approx(1000 * 800 / (4 * 100_000))


def test_without_a_price_of_energy_none_is_counted_and_that_is_said() -> None:
    cost = tco(run(MEASURED), check_prices(with_("station", watts_per_busy_core=None, kwh=None), "prices"))
    assert cost.systems[0].station["energy"] == 0
    assert "assumed: energy is not counted" in cost.as_text()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_("station", rent=1.0), "prices.station: unknown field 'rent'"),
        ({**PRICES, "gpu": {}}, "prices: unknown field 'gpu'"),
        (with_("cloud", request=None), "prices.cloud: field 'request' is missing; docs/prices.toml has every key"),
        ({**PRICES, "cloud": {}}, "prices.cloud: field 'compute_second' is missing"),
        (with_("cloud", gb_up=-0.01), "prices.cloud.gb_up: expected 0 or more, got -0.01"),
        (with_("station", kwh=float("inf")), "prices.station.kwh: expected a float, got Infinity"),
        (with_("station", gb_up=float("nan")), "prices.station.gb_up: expected a float, got NaN"),
        (with_("station", gb_up="cheap"), 'prices.station.gb_up: expected a float, got "cheap"'),
        (with_("station", review_share=1.2), "prices.station.review_share: expected 0 to 1, got 1.2"),
        (with_("station", core_hour=None), "expected core_hour, or machine, years and verdicts_per_year; add machine"),
        (with_("station", core_hour=None, machine=1.0, years=2.0), "add verdicts_per_year"),
        (with_("station", machine=800.0), "got both, which counts the station twice"),
        (with_("station", kwh=None), "expected watts_per_busy_core and kwh, got one of them"),
        ({**BOUGHT, "station": {**BOUGHT["station"], "years": 0.0}}, "expected years and verdicts_per_year above 0"),
    ],
)
def test_prices_that_cannot_be_are_refused_by_name(data: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(message)):
        check_prices(data, "prices")


def test_a_file_that_is_not_there_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="copy docs"):
        read_prices(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("currency =")
    with pytest.raises(Unsupported, match="expected TOML"):
        read_prices(tmp_path / "bad.toml")


def test_the_example_has_every_key_and_calls_every_number_an_example() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert tco(run(MEASURED), read_prices(EXAMPLE)).systems[0].station_total > 0
    keys = re.findall(r"(?m)^(?:# )?(\w+) = ", text)
    fields = [field.name for cls in (Prices, StationPrices, CloudPrices) for field in dataclasses.fields(cls)]
    assert sorted([*keys, "station", "cloud"]) == sorted(fields)
    numbers = re.findall(r"(?m)^(?:# )?\w+ = [\d.]+ .*$", text)
    assert len(numbers) == len(fields) - 3
    assert [line for line in numbers if "example" not in line] == []
    bought = text.replace("core_hour", "# core_hour")
    bought = re.sub(r"(?m)^# (machine|years|verdicts_per_year) =", r"\1 =", bought)
    prices = check_prices(tomllib.loads(bought), "prices")
    assert prices.station.machine is not None


def test_the_text_says_every_item_the_total_the_ratio_and_what_it_assumes() -> None:
    slow = dataclasses.replace(MEASURED, system="naive", cpu_ms=5000.0)
    gone = Absent(system="roboflow", why="it does not install")
    bad = dataclasses.replace(MEASURED, system="olive", valid=False, why="too warm")
    cost = tco(run(MEASURED, slow, bad, absent=(gone,)), check_prices(PRICES, "prices"))
    text = cost.as_text()
    assert len(cost.left_out) == 2
    assert text.splitlines()[2].split() == ["touchstone", "naive"]
    assert "cloud / station" in text
    assert "one verdict is 6 photos of 6.5 MB" in text
    assert "left out: olive: INVALID: too warm" in text
    assert "left out: roboflow: absent: it does not install" in text


def test_a_run_without_a_valid_item_has_no_cost() -> None:
    bad = dataclasses.replace(MEASURED, valid=False, why="too warm")
    for broken in (run(bad), run(result("view_warm"))):
        with pytest.raises(Unsupported, match="expected a valid result of scenario 'item'"):
            tco(broken, check_prices(PRICES, "prices"))


def test_a_station_that_costs_nothing_has_no_ratio() -> None:
    free = dict.fromkeys(PRICES["station"], 0.0)
    text = tco(run(MEASURED), check_prices({**PRICES, "station": free}, "prices")).as_text()
    assert re.search(r"cloud / station +-$", text, re.MULTILINE)
