"""Endurance: a leak in any figure is noticed, noise and saws are not, and a short day really passes."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.faults.endurance import Sample, judge, slope, too_much
from benchmarks.faults.network import UPLINK_LONGEST_S, most_attempts
from benchmarks.faults.results import read_lines

REPOSITORY = Path(__file__).parents[3]
HOUR_S, ITEMS_AN_HOUR = 3600.0, 120.0


def day() -> list[Sample]:
    """A day of a healthy agent, a sample every six minutes: warm-up, noise, hourly deletions, 1,500 bytes an item."""
    chance = random.Random(7)
    return [
        Sample(
            at_s=number * 360.0,
            resident_mb=130.0 + min(8.0, number) + chance.uniform(-0.5, 0.5),
            handles=10 + chance.choice((0, 0, 0, 1, 2)),
            threads=14,
            database_bytes=int(number * 360.0 / HOUR_S * ITEMS_AN_HOUR * 1500),
            other_bytes=5_000_000 + 100_000 * (number % 10),
        )
        for number in range(240)
    ]


def test_a_healthy_day_passes_its_limits() -> None:
    assert too_much(judge(day(), ITEMS_AN_HOUR)) == []


@pytest.mark.parametrize(
    ("figure", "an_hour"),
    [("resident_mb", 0.5), ("handles", 1), ("threads", 1), ("database_bytes", 700_000), ("other_bytes", 100_000)],
)
def test_a_leak_is_noticed_in_each_figure_and_in_it_alone(figure: str, an_hour: float) -> None:
    leaking = [
        replace(sample, **{figure: getattr(sample, figure) + int(an_hour * sample.at_s / HOUR_S)}) for sample in day()
    ]
    (found,) = too_much(judge(leaking, ITEMS_AN_HOUR))
    assert found.startswith(figure.partition("_")[0])


def test_the_slope_is_blind_to_a_few_peaks() -> None:
    values = [2.0 * number for number in range(50)]
    values[10] = values[49] = 1e9
    assert slope(list(range(50)), values) == 2.0


def test_a_back_off_allows_few_attempts() -> None:
    assert most_attempts(0.0, UPLINK_LONGEST_S) == 1
    assert most_attempts(1800.0, UPLINK_LONGEST_S) < 130
    assert most_attempts(1800.0, UPLINK_LONGEST_S) > 1800 / UPLINK_LONGEST_S


@pytest.mark.slow
def test_a_short_day_of_the_real_agent_stays_flat(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "benchmarks.faults", "endurance", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = read_lines(out)
    assert line.outcome.figures["items"] == 200
    assert line.outcome.figures["samples"] >= 90
