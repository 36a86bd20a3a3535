"""Models that nobody here wrote: each is compiled within the gate that it claims, or refused in one clear line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

from optimize.evidence import Evidence
from runtime.contracts.errors import TryLater
from tests.optimize.rigs import Run, built, touchstone_optimize
from tests.system import third_party_onnx as third_party

pytestmark = pytest.mark.long

DATA = Path(os.environ.get("TOUCHSTONE_DATA", Path(__file__).parents[3] / "shared" / "data"))
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
TOPOLOGIES = {path.stem.removeprefix("light_"): path for path in sorted(LIGHT.glob("*.onnx"))}
ROUNDING = 2e-3
"""How far an independent recheck of a cosine may lie from what the bundle claims."""

REFUSED: Mapping[str, str] = {}
"""Models that are refused today, each with words of its reason: any other refusal is a regression, for plain ONNX
Runtime runs them all, and keeping float is an allowed answer."""

Feeds = list[dict[str, npt.NDArray[np.generic]]]
Outputs = list[dict[str, npt.NDArray[np.generic]]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, and inputs with a leading axis of feeds."""

    file: Path
    inputs: third_party.Inputs


@pytest.fixture(scope="module")
def photos() -> Sequence[Path]:
    found = sorted((DATA / "photos").glob("*.JPEG"))
    if not found:
        pytest.skip(f"no real photos at {DATA / 'photos'}; set TOUCHSTONE_DATA")
    return found


def case_of(name: str, photos: Sequence[Path]) -> Case:
    if name in TOPOLOGIES:
        file = TOPOLOGIES[name]
        return Case(file=file, inputs=photo_inputs(file, photos))
    try:
        return Case(file=third_party.fetch(name), inputs=third_party.samples_for(name, photos))
    except TryLater as error:
        pytest.skip(str(error))


def photo_inputs(file: Path, photos: Sequence[Path]) -> third_party.Inputs:
    """Photos for a topology of the onnx wheel, whose one real input is an image."""
    (image,) = session(file).get_inputs()
    _, _, height, width = image.shape
    return third_party.image_inputs(image.name, width, height, photos)


def session(file: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run_all(file: Path, feeds: Feeds) -> Outputs:
    network = session(file)
    names = [output.name for output in network.get_outputs()]
    return [dict(zip(names, map(np.asarray, network.run(None, feed)), strict=True)) for feed in feeds]


def feeds_of(inputs: third_party.Inputs) -> Feeds:
    return [{name: np.asarray(array[row]) for name, array in inputs.items()} for row in range(third_party.FEEDS)]


def least_cosine(found: Outputs, reference: Outputs) -> float:
    """The least cosine over the outputs, each over all feeds, less the original's mean row; matched by place."""
    least = 1.0
    for place in range(len(reference[0])):
        mine, theirs = (
            [np.asarray(list(feed.values())[place], np.float64) for feed in side] for side in (found, reference)
        )
        assert [one.shape for one in mine] == [one.shape for one in theirs]
        if all(one.ndim > 1 for one in theirs) and len({one.shape[1:] for one in theirs}) == 1:
            rows = np.concatenate(theirs)
            mean = rows.mean(axis=0) if len(rows) >= 4 else 0.0
            mine, theirs = [one - mean for one in mine], [one - mean for one in theirs]
        a, b = (np.concatenate([one.ravel() for one in side]) for side in (mine, theirs))
        norm = float(np.linalg.norm(a) * np.linalg.norm(b))
        least = min(least, float(a @ b) / norm if norm else float(np.array_equal(a, b)))
    return least


def claims(evidence: Evidence) -> Mapping[str, float]:
    """Cosine that the bundle claims, by shipped variant."""
    shipped = [variant for variant in evidence.variants if variant.accepted]
    assert all(variant.fidelity is not None for variant in shipped), "a variant that nothing was compared of"
    return {variant.name: variant.fidelity.cosine for variant in shipped if variant.fidelity}


def check_refusal(name: str, run: Run) -> str:
    told = [line for line in run.err.splitlines() if line.startswith("touchstone-optimize: ")]
    assert "Traceback" not in run.err
    assert len(told) == 1, run.err
    assert run.err.strip().splitlines()[-1] == told[0]
    assert len(told[0]) > 40, "a reason says what was expected, what came, and what to do"
    assert REFUSED[name] in told[0]
    return told[0]


def check_bundle(case: Case, folder: Path, text: str) -> str:
    """Run every variant and the original in plain ONNX Runtime on the feeds that judged."""
    made = built(folder, text)
    manifest = made.bundle.manifest
    assert manifest.judged_by == "fidelity"
    floor = made.evidence.min_cosine
    assert floor is not None
    assert floor >= 0.9, "a gate that lets everything through"
    judged = feeds_of(case.inputs)[1::2]  # the first half of each pair calibrates
    reference = run_all(case.file, judged)
    said, told = claims(made.evidence), []
    assert {variant.name for variant in manifest.variants} == set(said)
    for variant in manifest.variants:
        assert variant.target == "x86"
        found = least_cosine(run_all(made.bundle.path(variant.file), judged), reference)
        assert found >= floor, f"{variant.name} claims {said[variant.name]:.4f}, needs {floor}, has {found:.4f}"
        assert found == pytest.approx(said[variant.name], abs=ROUNDING)
        told.append(f"{variant.name} {found:.4f}")
    assert manifest.preferred in said
    return f"preferred {manifest.preferred}; {', '.join(told)}"


@pytest.mark.parametrize("name", [*third_party.MODELS, *TOPOLOGIES])
def test_a_model_of_someone_else_is_compiled_within_its_gate_or_refused_in_one_line(
    name: str, photos: Sequence[Path], tmp_path: Path
) -> None:
    case = case_of(name, photos)
    np.savez(tmp_path / "samples.npz", **case.inputs)
    run = touchstone_optimize(
        *("build", case.file, "--samples", tmp_path / "samples.npz", "--target", "x86"),
        *("--out", tmp_path / "bundle", "--cache", tmp_path / "cache", "--time-budget", 1),  # one round of the search
    )
    assert run.code in (0, 2), run.err
    assert (run.code == 2) == (name in REFUSED), f"{name}: exit code {run.code}; {run.err[-500:]}"
    told = check_bundle(case, tmp_path / "bundle", run.out) if run.code == 0 else check_refusal(name, run)
    print(f"{name}: {told}")


def test_the_recheck_sees_outputs_that_turned_away() -> None:
    reference: Outputs = [{"y": np.array([1.0, 2.0, 3.0])}, {"y": np.array([0.5, -1.0, 2.0])}]
    assert least_cosine(reference, reference) == pytest.approx(1.0)
    turned: Outputs = [{"y": feed["y"] * np.array([1, -1, 1])} for feed in reference]
    assert least_cosine(turned, reference) < 0.8


def test_there_are_enough_models_of_others() -> None:
    assert len(third_party.MODELS) >= 10
    assert len(TOPOLOGIES) == 9
