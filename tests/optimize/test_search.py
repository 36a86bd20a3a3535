"""The search on real small networks: what wins, what is refused, what a second run does again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from optimize.calibrate import read_ranges
from optimize.compiling import CompareJob, CompileJob, inputs_digest, run_outputs
from optimize.executor import InProcess
from optimize.fidelity import write_outputs
from optimize.search import FEEDS, Filled, Task, Workbench, search
from optimize.step_cache import StepCache
from optimize.targets import x86
from optimize.targets.target import Inputs, Slot, load_target
from runtime.contracts.durable import sha256_hex
from tests.optimize.spoilt_network import SPOILT, spoilt_network
from tests.optimize.targets.engine_networks import write_inputs

Job = TypeVar("Job")
Result = TypeVar("Result")

SLOTS = {slot.name: slot for slot in load_target("x86").SLOTS}
INT8, FLOAT = SLOTS[x86.INT8_AVX2], SLOTS[x86.FLOAT]
SENSITIVE = (SPOILT, "head", "stem", "depth")


class Recorder(InProcess):
    """Runs jobs here and remembers them; those that ``dies`` picks end as if their process had died."""

    def __init__(self, dies: Callable[[Any], bool] = lambda job: False, most: int | None = None) -> None:
        self.jobs: list[object] = []
        self._dies = dies
        self._most = most

    def run(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int], None] | None = None
    ) -> list[Result | None]:
        results: list[Result | None] = []
        for job in jobs:
            if self._most is not None and len(self.jobs) >= self._most:
                raise KeyboardInterrupt
            self.jobs.append(job)
            results.append(None if self._dies(job) else function(job))
            if done:
                done(len(results))
        return results

    @property
    def compiled(self) -> list[CompileJob]:
        return [job for job in self.jobs if isinstance(job, CompileJob)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(spoilt_network(), tmp_path_factory.mktemp("spoilt"), rows=112)


@pytest.fixture(scope="module")
def reference(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "reference.npz"
    write_outputs(path, run_outputs("onnxruntime", inputs.network, inputs.samples.read(max(FEEDS))))
    return path


@pytest.fixture(scope="module")
def warm(inputs: Inputs, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which everything with an unlimited tolerance was done once."""
    folder = tmp_path_factory.mktemp("warm") / "cache"
    search([task(inputs, reference)], bench(folder))
    return folder


def task(inputs: Inputs, reference: Path, tolerance: float = 2.0, slot: Slot = INT8) -> Task:
    return Task(
        target="x86",
        slot=slot,
        inputs=inputs,
        inputs_digest=inputs_digest(inputs),
        reference=reference,
        sensitive=SENSITIVE,
        by_correlation=False,
        tolerance=tolerance,
    )


def bench(folder: Path, executor: InProcess | None = None, deadline_s: float | None = None) -> Workbench:
    return Workbench(
        cache=StepCache(folder),
        executor=executor or InProcess(),
        progress=lambda step, done, total: None,
        deadline_s=deadline_s,
        clock=lambda: 100.0,
    )


def harms(found: Filled) -> dict[int, float]:
    """Least harm by number of nodes in float."""
    known = [(one.excluded, one.harm) for one in found.tried if one.harm is not None]
    return {excluded: min(harm for number, harm in known if number == excluded) for excluded, _ in known}


def test_within_the_tolerance_nothing_stays_in_float_though_that_would_be_closer(
    inputs: Inputs, reference: Path, warm: Path
) -> None:
    (found,) = search([task(inputs, reference)], bench(warm))
    assert found.refusal is None
    assert found.candidate is not None
    assert found.candidate.plan.excluded == ()
    closer = harms(found)
    assert min(closer[2], closer[4]) < 0.5 * closer[0]
    assert sorted(one.excluded for one in found.tried) == [0, 0, 0, 2, 4]
    (winner,) = [one for one in found.tried if one.outcome == "frozen"]
    assert (winner.excluded, winner.calibration) == (0, found.candidate.plan.calibration)


def test_outside_the_tolerance_the_least_harm_wins(inputs: Inputs, reference: Path, warm: Path) -> None:
    (found,) = search([task(inputs, reference, tolerance=0.0)], bench(warm))
    assert found.candidate is not None
    assert SPOILT in found.candidate.plan.excluded
    (winner,) = [one for one in found.tried if one.outcome == "frozen"]
    assert winner.harm == min(harms(found).values())
    assert found.compared is not None
    assert found.compared.fidelity is not None
    assert winner.harm == max(0.0, 1.0 - found.compared.fidelity.cosine)


def test_a_tolerance_between_two_candidates_lets_the_fewest_exclusions_win(
    inputs: Inputs, reference: Path, warm: Path
) -> None:
    (loose,) = search([task(inputs, reference)], bench(warm))
    by_number = harms(loose)
    between = (by_number[0] + by_number[2]) / 2
    (found,) = search([task(inputs, reference, tolerance=between)], bench(warm))
    assert found.candidate is not None
    assert len(found.candidate.plan.excluded) == 2


def test_rounds_widen_and_every_candidate_says_what_became_of_it(inputs: Inputs, reference: Path, warm: Path) -> None:
    (found,) = search([task(inputs, reference)], bench(warm))
    outcomes = sorted(one.outcome for one in found.tried)
    assert outcomes.count("frozen") == 1
    assert f"dropped after {8 * FEEDS[0]} inputs" in outcomes
    assert f"dropped after {8 * FEEDS[1]} inputs" in outcomes
    (winner,) = [one for one in found.tried if one.outcome == "frozen"]
    assert winner.inputs == 112  # all there are, less than the last round would take


def test_a_slot_that_needs_no_calibration_has_one_candidate(inputs: Inputs, reference: Path, tmp_path: Path) -> None:
    (found,) = search([task(inputs, reference, slot=FLOAT)], bench(tmp_path / "cache"))
    (only,) = found.tried
    assert (only.calibration, only.excluded, only.outcome) == (None, 0, "frozen")
    assert only.harm == pytest.approx(0.0, abs=1e-6)


def test_a_slot_that_may_not_exclude_tries_no_exclusions(inputs: Inputs, reference: Path, warm: Path) -> None:
    fixed = dataclasses.replace(INT8, excludable=False)
    (found,) = search([task(inputs, reference, slot=fixed)], bench(warm))
    assert {one.excluded for one in found.tried} == {0}


def test_tasks_are_filled_in_their_order(inputs: Inputs, reference: Path, warm: Path) -> None:
    tasks = [task(inputs, reference), task(inputs, reference, slot=FLOAT)]
    for order in (tasks, tasks[::-1]):
        assert [one.task.slot.name for one in search(order, bench(warm))] == [one.slot.name for one in order]


def test_a_second_search_does_nothing_again(inputs: Inputs, reference: Path, warm: Path) -> None:
    recorder = Recorder()
    (again,) = search([task(inputs, reference)], bench(warm, recorder))
    assert recorder.jobs == []
    assert again.candidate is not None


def test_an_interrupted_search_goes_on_where_it_was(inputs: Inputs, reference: Path, tmp_path: Path) -> None:
    first, second = Recorder(most=7), Recorder()
    with pytest.raises(KeyboardInterrupt):
        search([task(inputs, reference)], bench(tmp_path / "cache", first))
    (found,) = search([task(inputs, reference)], bench(tmp_path / "cache", second))
    assert found.candidate is not None
    plans = [job.candidate.plan for job in (*first.compiled, *second.compiled)]
    assert len(plans) == len(set(plans)) == 5
    assert len(first.jobs) == 7
    whole = Recorder()
    search([task(inputs, reference)], bench(tmp_path / "other", whole))
    assert len(first.jobs) + len(second.jobs) == len(whole.jobs)


def test_steps_that_were_lost_are_made_again_and_no_others(inputs: Inputs, reference: Path, tmp_path: Path) -> None:
    search([task(inputs, reference)], bench(tmp_path / "cache"))
    lost = sorted((tmp_path / "cache").glob("compile-*"))[:2]
    for folder in lost:
        shutil.rmtree(folder)
    recorder = Recorder()
    search([task(inputs, reference)], bench(tmp_path / "cache", recorder))
    assert len(recorder.jobs) == len(recorder.compiled) == 2
    assert all(folder.is_dir() for folder in lost)


def test_after_the_time_budget_no_new_round_begins_and_something_is_frozen_all_the_same(
    inputs: Inputs, reference: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    (found,) = search([task(inputs, reference, tolerance=0.0)], bench(tmp_path / "cache", recorder, deadline_s=99.0))
    assert found.candidate is not None
    assert {one.excluded for one in found.tried} == {0}
    assert {one.inputs for one in found.tried} == {8 * FEEDS[0]}
    assert [one.outcome for one in found.tried].count("frozen") == 1
    assert len(recorder.jobs) == 6  # three compiled, three compared
    (later,) = search([task(inputs, reference, tolerance=0.0)], bench(tmp_path / "cache", deadline_s=101.0))
    assert {one.excluded for one in later.tried} == {0, 2, 4}


def test_a_candidate_whose_compiler_dies_is_reported_and_never_frozen(
    inputs: Inputs, reference: Path, tmp_path: Path
) -> None:
    recorder = Recorder(
        lambda job: isinstance(job, CompileJob) and job.candidate.plan.calibration in ("minmax", "percentile")
    )
    (found,) = search([task(inputs, reference)], bench(tmp_path / "cache", recorder))
    assert found.candidate is not None
    assert found.candidate.plan.calibration == "entropy"
    died = [one for one in found.tried if one.outcome == "refused: the compiler's process died"]
    assert {one.calibration for one in died} == {"minmax", "percentile"}
    assert {(one.inputs, one.harm) for one in died} == {(0, None)}


def test_a_candidate_whose_engine_dies_is_reported_and_never_frozen(
    inputs: Inputs, reference: Path, tmp_path: Path
) -> None:
    recorder = Recorder(lambda job: isinstance(job, CompareJob) and job.candidate.plan.calibration == "minmax")
    (found,) = search([task(inputs, reference)], bench(tmp_path / "cache", recorder))
    assert found.candidate is not None
    assert found.candidate.plan.calibration != "minmax"
    (died,) = [one for one in found.tried if one.outcome.startswith("refused")]
    assert died.outcome == "refused: the engine's process died while it ran this network"


def test_a_file_that_its_engine_does_not_load_is_reported_and_never_frozen(
    inputs: Inputs, reference: Path, warm: Path, tmp_path: Path
) -> None:
    shutil.copytree(warm, tmp_path / "cache")
    for folder in (tmp_path / "cache").glob("compare-*"):
        shutil.rmtree(folder)
    (before,) = search([task(inputs, reference)], bench(warm))
    assert before.attempt is not None
    assert before.attempt.compiled is not None
    torn = tmp_path / "cache" / before.attempt.compiled.file.relative_to(warm)
    torn.write_bytes(torn.read_bytes()[:100])
    contents = torn.parent / "step.json"
    contents.write_text(json.dumps(json.loads(contents.read_bytes()) | {torn.name: sha256_hex(torn.read_bytes())}))
    (found,) = search([task(inputs, reference)], bench(tmp_path / "cache"))
    assert found.candidate is not None
    assert before.candidate is not None
    assert found.candidate.plan != before.candidate.plan
    (refused,) = [one for one in found.tried if one.outcome.startswith("refused: ")]
    assert refused.calibration == before.candidate.plan.calibration
    assert "\n" not in refused.outcome


@pytest.fixture(scope="module")
def hopeless(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Inputs whose ranges lack a tensor: the quantiser refuses every candidate."""
    assert inputs.ranges is not None
    folder = tmp_path_factory.mktemp("hopeless")
    found = read_ranges(inputs.ranges)
    ranges = folder / "ranges.npz"
    keep = [place for place, name in enumerate(found.names) if name != "stem_relu"]
    np.savez(
        ranges,
        names=np.array([found.names[place] for place in keep]),
        low=found.low[keep],
        high=found.high[keep],
        counts=found.counts[keep],
    )
    return dataclasses.replace(inputs, ranges=ranges)


def test_a_slot_whose_every_candidate_is_refused_says_why_and_others_are_filled(
    hopeless: Inputs, reference: Path, tmp_path: Path
) -> None:
    refused, filled = search(
        [task(hopeless, reference), task(hopeless, reference, slot=FLOAT)], bench(tmp_path / "cache")
    )
    assert (refused.candidate, refused.attempt, refused.compared) == (None, None, None)
    assert refused.refusal is not None
    assert refused.refusal.startswith("INT8: ONNX Runtime's quantiser refuses this network: ")
    assert [one.outcome for one in refused.tried] == [f"refused: {refused.refusal}"] * 3
    assert filled.candidate is not None
    again = Recorder()
    search([task(hopeless, reference)], bench(tmp_path / "cache", again))
    assert again.jobs == []  # a refusal is a result, and is remembered
