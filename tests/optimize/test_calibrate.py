"""Ranges of activations: exact where they are exact, sane where they clip, and never the memory of all photos."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from optimize.calibrate import BINS, HISTOGRAM_FEEDS, Ranges, collect_ranges, float_tensors, read_ranges, symmetric
from optimize.samples import Samples, write_samples
from optimize.targets.target import Calibration, Inputs
from runtime.contracts.errors import Unsupported
from tests.optimize.targets.engine_networks import photo_network, photos, write_inputs

METHODS: tuple[Calibration, ...] = ("minmax", "percentile", "entropy")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A small photo network and the ranges of 40 photos."""
    return write_inputs(photo_network(), tmp_path_factory.mktemp("small"), rows=40)


@pytest.fixture(scope="module")
def activations(small: Inputs) -> dict[str, npt.NDArray[np.float32]]:
    """What really lies inside, all feeds together."""
    model = onnx.load(small.network)
    names = float_tensors(model)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, feed) for feed in small.samples.read()]
    return {name: np.concatenate([run[place] for run in runs]) for place, name in enumerate(names)}


def ranges_of(inputs: Inputs) -> Ranges:
    assert inputs.ranges is not None
    return read_ranges(inputs.ranges)


def histogram(low: float, high: float, counts: npt.NDArray[np.int64]) -> Ranges:
    return Ranges(
        names=("t",), low=np.array([low], np.float32), high=np.array([high], np.float32), counts=counts[None], means={}
    )


def of_values(values: npt.NDArray[np.float64]) -> Ranges:
    counts, _ = np.histogram(values, BINS)
    return histogram(float(values.min()), float(values.max()), counts)


def pointwise(operator: str, path: Path, **attributes: object) -> Path:
    """``x`` (N, 4) to ``y``."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], name="only", **attributes)],
        "pointwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_least_and_greatest_values_are_exactly_those_of_numpy(
    small: Inputs, activations: dict[str, npt.NDArray[np.float32]]
) -> None:
    found = ranges_of(small)
    assert found.names == tuple(activations)
    assert len(found.names) > 8
    np.testing.assert_array_equal(found.low, [values.min() for values in activations.values()])
    np.testing.assert_array_equal(found.high, [values.max() for values in activations.values()])


def test_means_of_channels_are_those_of_numpy(small: Inputs, activations: dict[str, npt.NDArray[np.float32]]) -> None:
    found = ranges_of(small)
    assert set(found.means) == {"scaled", "stem_relu", "depth_relu"}
    for name, mean in found.means.items():
        np.testing.assert_allclose(mean, activations[name].mean((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_every_value_is_counted_once_in_its_bin(small: Inputs, activations: dict[str, npt.NDArray[np.float32]]) -> None:
    found = ranges_of(small)
    for values, counts in zip(activations.values(), found.counts, strict=True):
        expected, _ = np.histogram(values.astype(np.float64), BINS)
        assert counts.sum() == values.size
        # a value on the edge of two bins may round into either
        assert np.abs(counts.cumsum() - expected.cumsum()).max() <= max(3, values.size // 1000)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=40))
def test_no_value_falls_between_or_beside_the_bins(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("edges")
    x = np.array(values[: len(values) // 4 * 4], np.float32).reshape(-1, 4)
    samples = write_samples(folder / "samples", [{"x": x}])
    collect_ranges(pointwise("Identity", folder / "n.onnx"), samples, folder / "r.npz")
    found = read_ranges(folder / "r.npz")
    assert (found.low[0], found.high[0]) == (x.min(), x.max())
    assert set(found.counts.sum(1).tolist()) == ({x.size} if x.max() > x.min() else {0})


def test_many_feeds_are_thinned_for_histograms_but_never_for_extremes(tmp_path: Path) -> None:
    feeds = 2 * HISTOGRAM_FEEDS + 1
    x = np.zeros((feeds, 1, 4), np.float32)
    x[:, 0, 0], x[7, 0, 1] = 1.0, 50.0
    told: list[tuple[int, int]] = []
    collect_ranges(
        pointwise("Identity", tmp_path / "n.onnx"),
        write_samples(tmp_path / "samples", [{"x": feed} for feed in x]),
        tmp_path / "r.npz",
        lambda done, total: told.append((done, total)),
    )
    found = read_ranges(tmp_path / "r.npz")
    assert found.high.tolist() == [50.0, 50.0]
    assert found.counts.sum(1).tolist() == [4 * (HISTOGRAM_FEEDS + 1)] * 2
    total = feeds + HISTOGRAM_FEEDS + 1
    assert told == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize("calibration", METHODS)
def test_no_method_leaves_what_was_seen(small: Inputs, calibration: Calibration) -> None:
    found = ranges_of(small)
    clipped = found.clipped(calibration)
    assert tuple(clipped) == found.names
    for (low, high), least, greatest in zip(clipped.values(), found.low, found.high, strict=True):
        assert least <= low < high <= greatest
    if calibration == "minmax":
        assert [*clipped.values()] == [*zip(found.low.tolist(), found.high.tolist(), strict=True)]


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-100, 100, width=32),
    st.floats(0.125, 200, width=32),
    st.lists(st.tuples(st.integers(0, BINS - 1), st.integers(1, 10**6)), min_size=1, max_size=12),
    st.sampled_from(METHODS),
)
def test_any_histogram_gives_a_range_inside_it(
    low: float, width: float, filled: list[tuple[int, int]], calibration: Calibration
) -> None:
    counts = np.zeros(BINS, np.int64)
    counts[0] = counts[-1] = 1  # the extremes were seen
    for place, count in filled:
        counts[place] += count
    ranges = histogram(low, low + width, counts)
    ((a, b),) = ranges.clipped(calibration).values()
    assert ranges.low[0] <= a < b <= ranges.high[0]


def test_a_tensor_that_never_changes_keeps_its_one_value() -> None:
    for calibration in METHODS:
        assert histogram(3, 3, np.zeros(BINS, np.int64)).clipped(calibration) == {"t": (3.0, 3.0)}


def test_uniform_values_are_hardly_clipped() -> None:
    ranges = histogram(-1, 1, np.full(BINS, 50, np.int64))
    assert ranges.clipped("percentile")["t"] == pytest.approx((-1, 1), abs=2 * 2 / BINS)
    low, high = ranges.clipped("entropy")["t"]
    assert low == -high
    assert high > 0.9


def test_after_a_relu_zero_stays_the_lower_end_and_the_spike_there_decides_nothing() -> None:
    random = np.random.default_rng(0)
    positive = np.abs(random.standard_normal(100_000))
    spiked = np.concatenate([positive, np.zeros(900_000), [0.0]])
    for calibration in ("percentile", "entropy"):
        low, high = of_values(spiked).clipped(calibration)["t"]  # type: ignore[arg-type]
        assert low == 0.0
        assert 2.5 < high < positive.max() + 1e-5
    without = of_values(np.append(positive, 0.0)).clipped("entropy")["t"]
    assert of_values(spiked).clipped("entropy")["t"] == pytest.approx(without, rel=0.15)


def test_a_long_tail_is_cut_and_minmax_keeps_it() -> None:
    body = np.random.default_rng(0).standard_normal(1_000_000)
    ranges = of_values(np.concatenate([body, [100.0, -60.0]]))
    assert ranges.clipped("minmax")["t"] == (-60.0, 100.0)
    low, high = ranges.clipped("percentile")["t"]
    assert (low, high) == pytest.approx((-3.9, 3.9), abs=0.2)  # the normal distribution's 0.005 % and 99.995 %
    low, high = ranges.clipped("entropy")["t"]
    assert -12.0 < low < -2.5
    assert 2.5 < high < 12.0


def test_symmetric_ranges_hold_the_given_ones() -> None:
    assert symmetric({"a": (-1.0, 3.0), "b": (-4.0, -1.0)}) == {"a": (-3.0, 3.0), "b": (-4.0, 4.0)}


@pytest.mark.parametrize("how_often", ["in one value of one feed", "in one value of every feed", "always"])
@pytest.mark.parametrize(("operator", "bad"), [("Log", -1.0), ("Reciprocal", 0.0), ("Sqrt", -4.0)])
def test_a_network_that_is_not_finite_is_refused_in_words(
    tmp_path: Path, operator: str, bad: float, how_often: str
) -> None:
    x = np.ones((3, 2, 4), np.float32)
    x[1 : 2 if how_often == "in one value of one feed" else 3, 1, 2] = bad
    if how_often == "always":
        x[:] = bad
    samples = write_samples(tmp_path / "s", [{"x": feed} for feed in x])
    with pytest.raises(
        Unsupported, match=r"^calibration: tensor 'y' is not finite on the given inputs[^\n]*keep float"
    ):
        collect_ranges(pointwise(operator, tmp_path / "n.onnx"), samples, tmp_path / "r.npz")
    assert not (tmp_path / "r.npz").exists()


def test_inputs_that_the_network_does_not_take_are_refused_in_one_line(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "s", [{"x": np.ones((2, 5), np.float32)}])
    with pytest.raises(Unsupported, match=r"^calibration: ONNX Runtime cannot show what lies inside") as refused:
        collect_ranges(pointwise("Log", tmp_path / "n.onnx"), samples, tmp_path / "r.npz")
    assert "\n" not in str(refused.value)


_ELSEWHERE = """
import resource, sys
from pathlib import Path
from optimize.calibrate import collect_ranges
from optimize.samples import Samples
network, folder, feeds, out = sys.argv[1:]
collect_ranges(Path(network), Samples(folder=Path(folder), feeds=int(feeds), rows=0, digest=""), Path(out))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(network: Path, samples: Samples, feeds: int, out: Path, hash_seed: int = 0) -> int:
    """Collect ranges in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(network), str(samples.folder), str(feeds), str(out)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_does_not_grow_with_the_number_of_photos(small: Inputs, tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "samples", ({"photo": photos(64, seed)} for seed in range(64)))
    few, many = (peak_kib(small.network, samples, feeds, tmp_path / f"{feeds}.npz") for feeds in (8, 64))
    # the activations of one feed are 7 MB: kept, those of 56 more would be 400 MB
    assert many - few < 40_000


def test_every_process_writes_the_same_bytes(small: Inputs, tmp_path: Path) -> None:
    assert small.ranges is not None
    digests = {hashlib.sha256(small.ranges.read_bytes()).hexdigest()}
    for seed in (1, 2):
        peak_kib(small.network, small.samples, small.samples.feeds, tmp_path / f"{seed}.npz", seed)
        digests.add(hashlib.sha256((tmp_path / f"{seed}.npz").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_constants_and_integers_have_no_ranges() -> None:
    model = onnx.shape_inference.infer_shapes(photo_network())
    weights = {tensor.name for tensor in model.graph.initializer}
    found = float_tensors(model)
    assert "stem" in found
    assert not weights & set(found)
    assert "photo" not in found
    assert "planes" not in found
    assert numpy_helper.to_array(model.graph.initializer[0]).dtype == np.float32
