from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.latency.children import Child
from benchmarks.latency.latency_stats import queries_needed
from benchmarks.latency.model_folder import make
from benchmarks.latency.photos import golden_items
from benchmarks.latency.results import Result
from benchmarks.latency.scenarios import SCENARIOS, Phase, Scenario, chosen
from benchmarks.latency.suite import Stage, play
from benchmarks.latency.systems.table import BASELINE, OURS, SYSTEMS
from benchmarks.programs import Programs
from runtime.bundle_store import open_bundle
from runtime.contracts.errors import Unsupported
from tests.benchmarks.latency.test_limits import LIMITS

Tiny = Callable[..., Child]
TURN = Scenario(
    name="turn",
    group="turn",
    prose="",
    sending="in turn",
    showing="all views",
    quick=(Phase(rate_per_s=0, count=4),),
    full=(),
    warm_up=1,
    views_left="all",
)


@pytest.fixture
def stage_of(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Callable[..., Stage]:
    def of(*children: Child) -> Stage:
        bundle = open_bundle(tiny_bundle(tmp_path / "bundle"))
        make(bundle, tmp_path / "model", None)
        items = golden_items(bundle, 1)
        return Stage(
            suite="quick",
            children=children,
            model=tmp_path / "model",
            bundle=bundle,
            large=items,
            small=items,
            listing=None,
            limits=LIMITS,
            infer_ms={1: 1.0, 2: 2.0},
            work=tmp_path,
            programs=Programs(tmp_path / "logs"),
            first_reference_ms=5.0,
        )

    return of


def results(stage: Stage, scenario: Scenario) -> dict[str, Result]:
    return {result.system: result for result in play(stage, scenario, lambda: None)}


def test_every_scenario_says_from_when_to_when_it_measures() -> None:
    for scenario in SCENARIOS.values():
        assert "From " in scenario.prose, scenario.name
        assert " to the " in scenario.prose, scenario.name


def test_the_full_suite_has_enough_verdicts_for_what_the_goals_name() -> None:
    for name in ("view_warm", "item_one_by_one", "steady", "swap"):
        assert SCENARIOS[name].count("full") >= queries_needed(0.99)
    assert SCENARIOS["soak"].count("full") == 10_000
    calm, surge, _ = SCENARIOS["surge"].full
    assert surge.rate_per_s == 10 * calm.rate_per_s
    assert surge.count / surge.rate_per_s == 60


def test_the_full_suite_plays_long_scenarios_with_few_systems_and_the_quick_one_with_all() -> None:
    played = {name for name in SYSTEMS if SCENARIOS["surge"].plays("full", name)}
    assert played == {OURS, BASELINE}
    assert all(SCENARIOS["surge"].plays("quick", name) and SCENARIOS["item"].plays("full", name) for name in SYSTEMS)


def test_a_scenario_is_chosen_by_its_group_or_name_and_an_unknown_one_is_refused() -> None:
    assert [one.name for one in chosen(["fraud", "item"])] == ["item", "item_one_by_one", "fraud_1", "fraud_1000"]
    assert [one.name for one in chosen(["view_cold"])] == ["view_cold"]
    assert len(chosen([])) == len(SCENARIOS)
    with pytest.raises(Unsupported, match="'fast'"):
        chosen(["fast"])


def test_a_scenario_gives_each_system_a_result_with_its_limit(tiny: Tiny, stage_of: Callable[..., Stage]) -> None:
    found = results(stage_of(tiny("a", work_ms=5), tiny("b")), TURN)
    assert set(found) == {"a", "b"}
    assert len(found["a"].latencies_ms) == len(found["a"].at_s) == 4
    assert found["a"].limit_ms == pytest.approx(40 + 2 + 0.5)  # two views on two cores
    assert found["a"].does == "sleeps"
    assert found["a"].photo_bytes > 1000
    assert found["a"].peak_rss_mb > 5


def test_a_death_makes_the_result_invalid_and_what_came_before_stays(
    tiny: Tiny, stage_of: Callable[..., Stage]
) -> None:
    found = results(stage_of(tiny("a", dies_at=4)), TURN)["a"]
    assert len(found.latencies_ms) == 2
    assert not found.valid
    assert "exit code 3" in found.why


def test_a_verdict_that_changes_makes_the_result_invalid(tiny: Tiny, stage_of: Callable[..., Stage]) -> None:
    longer = replace(TURN, quick=(Phase(rate_per_s=0, count=40),))  # than the ring of photos
    found = results(stage_of(tiny("a", changes_its_mind_at=36)), longer)["a"]
    assert not found.valid
    assert "'authentic' and 'suspect'" in found.why


def test_a_surge_brings_a_photo_of_its_own_for_all_that_wait(
    tiny: Tiny, stage_of: Callable[..., Stage], tmp_path: Path
) -> None:
    surge = replace(
        SCENARIOS["surge"],
        quick=(Phase(rate_per_s=100, count=2), Phase(rate_per_s=500, count=40), Phase(rate_per_s=50, count=3)),
    )
    found = results(stage_of(tiny("a", work_ms=20)), surge)["a"]
    assert found.figures["queue_most"] > 32
    shown = [line.split()[2] for line in (tmp_path / "systems" / "a" / "diary.txt").read_text().splitlines()]
    assert len(shown) == len(set(shown)) == 45 + surge.warm_up


def test_what_a_system_refuses_gives_no_result(tiny: Tiny, stage_of: Callable[..., Stage]) -> None:
    assert results(stage_of(tiny("a")), SCENARIOS["fraud_1"]) == {}


def test_photos_are_gone_when_a_scenario_is_over(tiny: Tiny, stage_of: Callable[..., Stage]) -> None:
    stage = stage_of(tiny("a"))
    kept = stage.work / "systems" / "a" / "photos" / "ab" / "abcdef"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a photo that the system has kept")
    results(stage, TURN)
    assert not kept.exists()
    assert not (stage.work / "shown").exists()


def test_the_second_bundle_is_the_first_under_another_id(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of()
    one, other = open_bundle(stage.model / "bundle"), open_bundle(stage.model / "bundle-2")
    assert one.bundle_id == stage.bundle.bundle_id != other.bundle_id
    assert one.manifest.variants == other.manifest.variants
    assert (stage.model / "float.onnx").read_bytes() == one.path("model.onnx").read_bytes()
    assert len(list((stage.model / "calibration").iterdir())) == 2
