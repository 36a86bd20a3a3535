from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.latency import load
from benchmarks.latency.children import Child
from benchmarks.latency.scenarios import Phase
from runtime.contracts.errors import StationFault, Unsupported

Tiny = Callable[..., Child]


def scan(number: int) -> load.Order:
    return {"do": "scan", "item": f"item-{number}", "photos": {}, "listing": None}


def nothing() -> None:
    pass


def diary(tmp_path: Path, name: str) -> list[tuple[int, str]]:
    lines = (tmp_path / "systems" / name / "diary.txt").read_text().splitlines()
    return [(int(line.split()[0]), line.split()[1]) for line in lines]


def test_systems_take_turns_and_get_the_same_items(tiny: Tiny, tmp_path: Path) -> None:
    children = [tiny("a"), tiny("b")]
    played = load.in_turn(children, scan, 6, warm_up=2, seed=1, between=nothing)
    assert [item for _, item in diary(tmp_path, "a")] == [item for _, item in diary(tmp_path, "b")]
    assert [one.number for one in played["a"].taken] == [2, 3, 4, 5, 6, 7]
    both = sorted((at, name) for name in "ab" for at, _ in diary(tmp_path, name))
    for first, second in zip(both[0::2], both[1::2], strict=True):  # every round has each once
        assert {first[1], second[1]} == {"a", "b"}


def test_a_latency_without_a_schedule_is_the_systems_own_work(tiny: Tiny) -> None:
    played = load.in_turn([tiny("a", work_ms=20)], scan, 5, warm_up=1, seed=1, between=nothing)
    assert all(one.latency_ms > 19 for one in played["a"].taken)
    assert min(one.latency_ms for one in played["a"].taken) < 60


def test_a_system_that_dies_is_noted_with_its_last_word_and_the_others_go_on(tiny: Tiny) -> None:
    played = load.in_turn([tiny("a", dies_at=3), tiny("b")], scan, 6, warm_up=0, seed=1, between=nothing)
    assert len(played["a"].taken) == 2
    assert "exit code 3" in played["a"].died
    assert "out of memory" in played["a"].died
    assert len(played["b"].taken) == 6


def test_a_system_that_fails_once_is_noted_and_goes_on(tiny: Tiny) -> None:
    played = load.in_turn([tiny("a", fails_at=2)], scan, 4, warm_up=0, seed=1, between=nothing)
    assert played["a"].failed == ["ValueError: bad photo"]
    assert len(played["a"].taken) == 3


def test_a_system_that_hangs_is_ended_when_its_time_is_over(tiny: Tiny) -> None:
    child = tiny("a", hangs_at=1)
    started = time.monotonic()
    with pytest.raises(StationFault, match=r"did not answer within 0 s"):
        child.ask(scan(0), timeout_s=0.3)
    with pytest.raises(StationFault):
        child.ask(scan(1))
    assert time.monotonic() - started < 10


def test_a_system_that_cannot_take_part_says_why(tiny: Tiny) -> None:
    with pytest.raises(Unsupported, match="no licence"):
        tiny("a", absent="no licence")
    with pytest.raises(StationFault, match="no such network"):
        tiny("b", dies_at_start=True)


def test_on_a_schedule_a_latency_counts_from_the_arrival_and_so_the_queue_shows(tiny: Tiny) -> None:
    arrivals = load.schedule([Phase(rate_per_s=100.0, count=12)], seed=1)
    played = load.on_schedule([tiny("a", work_ms=30)], scan, arrivals, slices=1, warm_up=1, between=nothing)
    latencies = [one.latency_ms for one in played["a"].taken]
    assert len(latencies) == 12
    assert latencies[-1] > 12 * 30 - arrivals[-1] * 1000 - 30  # the work before it, less the time passed
    assert latencies[-1] > 3 * latencies[0]


def test_orders_on_a_schedule_do_not_wait_for_answers(tiny: Tiny) -> None:
    sent: list[float] = []

    def noted(number: int) -> load.Order:
        sent.append(time.monotonic())
        return scan(number)

    arrivals = load.schedule([Phase(rate_per_s=200.0, count=10)], seed=1)
    load.on_schedule([tiny("a", work_ms=40)], noted, arrivals, slices=1, warm_up=0, between=nothing)
    assert sent[-1] - sent[0] < 0.2  # the answers take 0.4 s


def test_slices_interleave_systems_and_lose_no_arrival(tiny: Tiny, tmp_path: Path) -> None:
    arrivals = load.schedule([Phase(rate_per_s=200.0, count=8)], seed=1)
    played = load.on_schedule([tiny("a"), tiny("b")], scan, arrivals, slices=2, warm_up=0, between=nothing)
    assert [one.number for one in played["b"].taken] == list(range(8))
    assert [one.at_s for one in played["a"].taken] == pytest.approx(arrivals, abs=1e-6)
    assert diary(tmp_path, "b")[0][0] < diary(tmp_path, "a")[4][0]


def test_a_swap_is_ordered_in_mid_schedule_and_not_counted(tiny: Tiny) -> None:
    arrivals = load.schedule([Phase(rate_per_s=200.0, count=6)], seed=1)
    swaps = {3: {"do": "swap", "bundle": "other"}}
    children = [tiny("a"), tiny("b", no_swap=True)]
    played = load.on_schedule(children, scan, arrivals, slices=1, warm_up=0, between=nothing, swaps=swaps)
    assert len(played["a"].taken) == 6
    assert played["b"].cannot == "swap"
    assert not played["b"].taken


def test_a_swap_that_fails_behind_is_found_when_the_schedule_is_over(tiny: Tiny) -> None:
    arrivals = load.schedule([Phase(rate_per_s=200.0, count=2)], seed=1)
    swaps = {1: {"do": "swap", "bundle": "other"}}
    child = tiny("a", swap_fails=True)
    played = load.on_schedule([child], scan, arrivals, slices=1, warm_up=0, between=nothing, swaps=swaps)
    assert len(played["a"].taken) == 2
    assert played["a"].failed == ["RuntimeError: the second bundle does not load"]


def test_a_schedule_keeps_its_rate_and_its_seed() -> None:
    phases = [Phase(rate_per_s=10.0, count=50), Phase(rate_per_s=100.0, count=100)]
    arrivals = load.schedule(phases, seed=3)
    assert arrivals == load.schedule(phases, seed=3) != load.schedule(phases, seed=4)
    assert arrivals == sorted(arrivals)
    assert arrivals[0] == 0.0
    assert arrivals[49] == pytest.approx(4.9, abs=0.05)
    assert arrivals[-1] == pytest.approx(6.0, abs=0.05)


def test_back_to_back_the_system_never_waits_for_the_suite(tiny: Tiny) -> None:
    played = load.back_to_back([tiny("a", work_ms=10)], scan, 6, warm_up=1, between=nothing)
    latencies = [one.latency_ms for one in played["a"].taken]
    assert len(latencies) == 6
    assert all(ms > 9 for ms in latencies)
    assert len({one.number for one in played["a"].taken}) == 6


def test_the_peak_of_a_system_is_its_own_and_not_that_of_the_suite_that_started_it(tiny: Tiny) -> None:
    ballast = bytearray(300_000_000)
    child = tiny("a")
    del ballast
    assert 5 < child.peak_rss_mb() < 200
