"""What rounding weights adds on average is taken back by the biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimize.agreement import open_session, run_all
from optimize.bias_correction import LEVELS, REDUCED_LEVELS, correct_biases, correctable
from optimize.calibrate import read_ranges
from optimize.quantize import QdqStyle, quantize
from optimize.targets.target import Inputs
from tests.optimize.targets.engine_networks import photo_network, write_inputs

Floats = npt.NDArray[np.float32]


def convolution(
    weight: Floats, groups: int, *, bias: bool = True, twice: bool = False, kernel: tuple[int, int] = (3, 3)
) -> onnx.ModelProto:
    channels = weight.shape[1] * groups
    given = ["x", "w", "b"] if bias else ["x", "w"]
    nodes = [helper.make_node("Conv", given, ["y"], name="conv", group=groups)]
    if twice:
        nodes.append(helper.make_node("Conv", given, ["z"], name="again", group=groups))
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.arange(weight.shape[0], dtype=np.float32), "b"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def bias_of(model: onnx.ModelProto, name: str = "b") -> Floats:
    return numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == name))


def expected_shift(weight: Floats, mean: Floats, groups: int, levels: int) -> Floats:
    """What rounding adds to each output channel, one product after the other."""
    outputs, inputs, height, width = weight.shape
    shift = np.zeros(outputs, np.float64)
    for o in range(outputs):
        scale = float(np.abs(weight[o]).max()) / levels or 1.0
        first = (o // (outputs // groups)) * inputs
        for c in range(inputs):
            for i in range(height):
                for j in range(width):
                    w = float(weight[o, c, i, j])
                    shift[o] += (round(w / scale) * scale - w) * float(mean[first + c])
    return shift.astype(np.float32)


@pytest.mark.parametrize("levels", [LEVELS, REDUCED_LEVELS])
@pytest.mark.parametrize(
    ("outputs", "channels", "groups"), [(6, 4, 1), (6, 4, 2), (8, 8, 8), (16, 8, 8)], ids=["plain", "2", "depth", "x2"]
)
def test_every_channel_gives_back_what_rounding_adds(outputs: int, channels: int, groups: int, levels: int) -> None:
    random = np.random.default_rng(outputs + groups)
    weight = random.standard_normal((outputs, channels // groups, 3, 3)).astype(np.float32)
    weight[1] = 0.0  # a channel that was pruned
    mean = random.uniform(0.5, 3.0, channels).astype(np.float32)
    before = convolution(weight, groups)
    after = correct_biases(before, {"x": mean}, levels, ())
    taken = bias_of(before) - bias_of(after)
    np.testing.assert_allclose(taken, expected_shift(weight, mean, groups, levels), rtol=1e-3, atol=1e-5)
    assert np.abs(taken).max() > 1e-3
    assert taken[1] == 0.0


def test_the_network_that_was_given_is_not_touched() -> None:
    model = convolution(np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32), 1)
    before = model.SerializeToString()
    correct_biases(model, {"x": np.ones(3, np.float32)}, LEVELS, ())
    assert model.SerializeToString() == before


def test_nodes_that_stay_in_float_or_whose_inputs_nobody_measured_keep_their_bias() -> None:
    model = convolution(np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32), 1)
    means = {"x": np.ones(3, np.float32)}
    assert (bias_of(correct_biases(model, means, LEVELS, ())) != bias_of(model)).any()
    assert (bias_of(correct_biases(model, means, LEVELS, ("conv",))) == bias_of(model)).all()
    assert (bias_of(correct_biases(model, {}, LEVELS, ())) == bias_of(model)).all()


def test_a_bias_that_is_missing_or_shared_is_left_alone() -> None:
    weight = np.ones((2, 3, 3, 3), np.float32)
    assert [node.name for node in correctable(convolution(weight, 1))] == ["conv"]
    assert correctable(convolution(weight, 1, bias=False)) == []
    assert correctable(convolution(weight, 1, twice=True)) == []


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(photo_network(seed=3), tmp_path_factory.mktemp("small"), rows=64)


def test_the_mean_error_of_a_quantised_depthwise_network_shrinks(small: Inputs, tmp_path: Path) -> None:
    assert small.ranges is not None
    found = read_ranges(small.ranges)
    np.savez(tmp_path / "bare.npz", names=np.array(found.names), low=found.low, high=found.high, counts=found.counts)

    def mean_error(ranges: Path, name: str) -> float:
        path = tmp_path / name
        onnx.save(quantize(small.network, ranges, QdqStyle(activation="uint8", reduce_range=True), "minmax", ()), path)
        exact, rounded = open_session(small.network), open_session(path)
        errors = [
            np.asarray(run_all(rounded, feed)["features"], np.float64) - run_all(exact, feed)["features"]
            for feed in small.samples.read()
        ]
        return float(np.abs(np.concatenate(errors).mean(0)).mean())

    without, corrected = mean_error(tmp_path / "bare.npz", "without.onnx"), mean_error(small.ranges, "corrected.onnx")
    assert corrected < 0.6 * without
