"""INT8 QDQ in three styles, the same bytes from every process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from optimize.agreement import open_session, run_all
from optimize.calibrate import collect_ranges
from optimize.kernels import kernels
from optimize.onnx_bytes import onnx_bytes, onnx_digest, save_onnx
from optimize.quantize import QdqStyle, prepare_network, quantisable, quantize
from optimize.samples import write_samples
from optimize.targets.target import Calibration, Inputs
from runtime.contracts.errors import Unsupported
from tests.optimize.targets.engine_networks import photo_network, write_inputs

X86 = QdqStyle(activation="uint8")
AVX2 = QdqStyle(activation="uint8", reduce_range=True)
ARM = QdqStyle(activation="int8")
TENSORRT = QdqStyle(activation="int8", for_tensorrt=True)
STYLES = {"x86": X86, "avx2": AVX2, "arm": ARM, "tensorrt": TENSORRT}
WEIGHTS = ("stem_w", "depth_w", "point_w", "head_w")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(photo_network(), tmp_path_factory.mktemp("small"), rows=32)


def quantised(inputs: Inputs, style: QdqStyle, calibration: Calibration = "minmax", *excluded: str) -> onnx.ModelProto:
    assert inputs.ranges is not None
    return quantize(inputs.network, inputs.ranges, style, calibration, excluded)


def constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def cosine(file: Path, inputs: Inputs) -> float:
    exact, rounded = open_session(inputs.network), open_session(file)
    a, b = (
        np.concatenate([run_all(session, feed)["logits"].ravel() for feed in inputs.samples.read()]).astype(np.float64)
        for session in (exact, rounded)
    )
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_every_style_keeps_what_the_network_says(small: Inputs, tmp_path: Path, style: QdqStyle) -> None:
    save_onnx(quantised(small, style), tmp_path / "int8.onnx")
    assert cosine(tmp_path / "int8.onnx", small) > 0.99


@pytest.mark.parametrize("style", [X86, AVX2, ARM], ids=["x86", "avx2", "arm"])
def test_weights_are_int8_with_a_scale_a_channel(small: Inputs, style: QdqStyle) -> None:
    found = constants(quantised(small, style))
    for name in WEIGHTS:
        weight, scale, zero = (found[f"{name}_{part}"] for part in ("quantized", "scale", "zero_point"))
        assert weight.dtype == np.int8
        assert scale.shape == (weight.shape[0],)
        assert not zero.any()
        assert np.abs(weight.astype(int)).max() == (64 if style.reduce_range else 127)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_activations_have_the_signs_of_the_style(small: Inputs, style: QdqStyle) -> None:
    model = quantised(small, style)
    found = constants(model)
    zeros = [found[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    activations = [zero for zero in zeros if zero.ndim == 0]
    assert len(activations) > 4
    assert {zero.dtype for zero in activations} == {np.dtype(style.activation)}
    assert all(zero == 0 for zero in activations) == style.for_tensorrt


def test_tensorrt_gets_float_biases_and_q_dq_pairs_for_weights_and_consumers(small: Inputs) -> None:
    model = quantised(small, TENSORRT)
    found = constants(model)
    biases = [found[node.input[2]].dtype for node in model.graph.node if node.op_type == "Conv"]
    assert biases == [np.float32] * 3
    weights = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in WEIGHTS]
    assert len(weights) == 4
    assert all(found[node.input[1]].shape == found[node.input[0]].shape[:1] for node in weights)
    dequantised = [node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert max(sum(name in node.input for node in model.graph.node) for name in dequantised) == 1
    x86 = quantised(small, X86)
    assert any(array.dtype == np.int32 for array in constants(x86).values())


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_a_calibration_that_clips_makes_finer_steps(small: Inputs, calibration: Calibration) -> None:
    wide, narrow = (constants(quantised(small, X86, one)) for one in ("minmax", calibration))
    scales = [name for name in wide if name.endswith("_scale") and wide[name].ndim == 0]
    assert len(scales) > 4
    assert all(narrow[name] <= wide[name] * 1.0001 for name in scales)
    assert any(narrow[name] < 0.999 * wide[name] for name in scales)


@pytest.mark.parametrize("style", [X86, AVX2], ids=["x86", "avx2"])
@pytest.mark.parametrize("excluded", [("depth",), ("point",), ("depth", "point"), ("stem", "head")])
def test_nodes_that_are_excluded_run_in_float(
    small: Inputs, tmp_path: Path, style: QdqStyle, excluded: tuple[str, ...]
) -> None:
    """ONNX Runtime quantises a lone float convolution between Q/DQ pairs again, with one scale for all channels."""
    save_onnx(quantised(small, style, "minmax", *excluded), tmp_path / "mixed.onnx")
    found = kernels(tmp_path / "mixed.onnx")
    assert (found.integer, found.floating) == (4 - len(excluded), len(excluded))
    model = onnx.load(tmp_path / "mixed.onnx")
    exact = constants(onnx.load(small.network))
    for node in model.graph.node:
        if node.name in excluded:
            np.testing.assert_array_equal(constants(model)[node.input[1]], exact[f"{node.name}_w"])
            np.testing.assert_array_equal(constants(model)[node.input[2]], exact[f"{node.name}_b"])


def test_holding_a_node_in_float_changes_no_number(small: Inputs, tmp_path: Path) -> None:
    """With every optimisation off, the file says what plain Q/DQ would say."""
    model = quantised(small, X86, "minmax", "depth")
    save_onnx(model, tmp_path / "held.onnx")
    (held,) = [node for node in model.graph.node if node.name == "depth:held"]
    (plain,) = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] == held.input[0] and node is not held
    ]
    next(node for node in model.graph.node if node.name == "depth").input[0] = plain.output[0]
    save_onnx(model, tmp_path / "plain.onnx")
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    one, other = (
        InferenceSession(tmp_path / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        for name in ("held", "plain")
    )
    for feed in small.samples.read(1):
        for a, b in zip(one.run(None, feed), other.run(None, feed), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_deconvolution_and_a_product_are_held_in_float_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {"a_w": (8, 4, 3, 3), "up_w": (8, 2, 2, 2), "b_w": (16, 4, 1, 1), "m_w": (8, 16), "n_w": (8, 8)}
    nodes = [
        helper.make_node("Conv", ["x", "a_w"], ["a"], name="a", pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "up_w"], ["up"], name="up", strides=[2, 2], group=2),
        helper.make_node("Conv", ["up", "b_w"], ["b"], name="b"),
        helper.make_node("GlobalAveragePool", ["b"], ["p"], name="p"),
        helper.make_node("Reshape", ["p", "shape"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "m_w"], ["m"], name="m", transB=1),
        helper.make_node("Reshape", ["m", "shape_m"], ["g"], name="g"),
        helper.make_node("Gemm", ["g", "n_w"], ["y"], name="n"),
    ]
    graph = helper.make_graph(
        nodes,
        "up",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8])],
        [
            *(numpy_helper.from_array(random.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()),
            numpy_helper.from_array(np.array([-1, 16], np.int64), "shape"),
            numpy_helper.from_array(np.array([-1, 8], np.int64), "shape_m"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(prepare_network(model), tmp_path / "n.onnx")
    samples = write_samples(tmp_path / "s", [{"x": random.standard_normal((4, 4, 8, 8)).astype(np.float32)}])
    collect_ranges(tmp_path / "n.onnx", samples, tmp_path / "r.npz")
    save_onnx(quantize(tmp_path / "n.onnx", tmp_path / "r.npz", AVX2, "minmax", ("up", "m")), tmp_path / "q.onnx")
    found = kernels(tmp_path / "q.onnx")
    assert (found.integer, found.floating) == (3, 2)
    exact, rounded = (
        run_all(open_session(tmp_path / f"{name}.onnx"), next(samples.read()))["y"] for name in ("n", "q")
    )
    assert np.linalg.norm(exact - rounded) < 0.05 * np.linalg.norm(exact)


_ELSEWHERE = """
import json, sys
from pathlib import Path
from optimize.onnx_bytes import onnx_digest
from optimize.quantize import QdqStyle, prepare_network, quantize
import onnx
source, network, ranges, styles = json.load(sys.stdin)
digests = {"prepared": onnx_digest(prepare_network(onnx.load(source)))}
for name, style in styles.items():
    digests[name] = onnx_digest(quantize(Path(network), Path(ranges), QdqStyle(**style), "entropy", ["point"]))
print(json.dumps(digests))
"""


def test_every_process_makes_the_same_bytes(small: Inputs, tmp_path: Path) -> None:
    onnx.save(photo_network(), tmp_path / "source.onnx")
    fields = ("activation", "reduce_range", "for_tensorrt")
    styles = {name: {field: getattr(style, field) for field in fields} for name, style in STYLES.items()}
    request = json.dumps([str(tmp_path / "source.onnx"), str(small.network), str(small.ranges), styles])
    found = [
        subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            input=request,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        for seed in (1, 2)
    ]
    assert [process.returncode for process in found] == [0, 0], found[0].stderr
    here = {name: onnx_digest(quantised(small, style, "entropy", "point")) for name, style in STYLES.items()}
    here["prepared"] = onnx_digest(prepare_network(photo_network()))
    assert [json.loads(process.stdout) for process in found] == [here, here]
    assert len(set(here.values())) == 5


def at_opset(version: int) -> onnx.ModelProto:
    """The small network as an exporter of that time wrote it."""
    model = photo_network()
    model.opset_import[0].version = version
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("version", [7, 8, 9, 10, 11, 12])
def test_an_old_network_is_raised_to_an_opset_that_has_per_channel_q_dq(tmp_path: Path, version: int) -> None:
    inputs = write_inputs(at_opset(version), tmp_path, rows=16)
    model = quantised(inputs, X86)
    assert next(opset.version for opset in model.opset_import if opset.domain == "") >= 13
    save_onnx(model, tmp_path / "int8.onnx")
    assert cosine(tmp_path / "int8.onnx", inputs) > 0.98
    assert kernels(tmp_path / "int8.onnx").integer == 4


def test_an_old_network_that_cannot_be_raised_is_refused_in_one_line(small: Inputs, tmp_path: Path) -> None:
    model = at_opset(12)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.append(helper.make_node("Upsample", ["scaled"], ["broken"], name="gone", mode="nearest"))
    onnx.save(model, tmp_path / "network.onnx")
    assert small.ranges is not None
    with pytest.raises(
        Unsupported, match=r"^INT8: opset 12 has no per-channel Q/DQ and cannot be converted"
    ) as refused:
        quantize(tmp_path / "network.onnx", small.ranges, X86, "minmax", ())
    assert "\n" not in str(refused.value)


def renamed(inputs: Inputs, path: Path) -> Path:
    """The network with a tensor that its ranges do not know."""
    model = onnx.load(inputs.network)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = "renamed" if name == "stem_relu" else name
    onnx.save(model, path)
    return path


def test_what_the_quantiser_refuses_is_refused_in_one_line(small: Inputs, tmp_path: Path) -> None:
    assert small.ranges is not None
    with pytest.raises(Unsupported, match=r"^INT8: ONNX Runtime's quantiser refuses this.*renamed") as refused:
        quantize(renamed(small, tmp_path / "renamed.onnx"), small.ranges, X86, "minmax", ())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("refused", [False, True])
def test_the_programs_own_log_is_as_loud_afterwards_as_before(
    small: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture, refused: bool
) -> None:
    caplog.set_level(logging.INFO)
    assert small.ranges is not None
    network = renamed(small, tmp_path / "renamed.onnx") if refused else small.network
    with pytest.raises(Unsupported) if refused else contextlib.nullcontext():
        quantize(network, small.ranges, X86, "minmax", ("depth",))
    assert logging.getLogger().level == logging.INFO
    assert caplog.records == []


def test_a_prepared_network_has_no_batch_norm_and_every_node_has_a_name_of_its_own() -> None:
    model = photo_network()
    for node in model.graph.node:
        node.name = "" if node.op_type == "Relu" else node.name
    model.graph.node[0].name = "Relu_5"  # a name that would be given
    stem = next(node for node in model.graph.node if node.output[0] == "stem")
    stem.output[0] = "raw"
    place = list(model.graph.node).index(stem) + 1
    model.graph.node.insert(place, helper.make_node("BatchNormalization", ["raw", *"abcd"], ["stem"]))
    model.graph.initializer.extend(numpy_helper.from_array(np.full(16, 2, np.float32), name) for name in "abcd")
    found = prepare_network(model)
    names = [node.name for node in found.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert "BatchNormalization" not in {node.op_type for node in found.graph.node}


def test_a_network_that_the_optimiser_refuses_stays_as_it_is_but_gets_names() -> None:
    model = photo_network()
    model.opset_import.append(helper.make_opsetid("somebody.else", 1))
    model.graph.node.append(helper.make_node("Unknown", ["features"], ["extra"], domain="somebody.else"))
    found = prepare_network(model)
    assert [node.op_type for node in found.graph.node] == [node.op_type for node in model.graph.node]
    assert all(node.name for node in found.graph.node)


def test_only_products_with_constant_weights_are_what_int8_is_about(small: Inputs) -> None:
    model = onnx.load(small.network)
    model.graph.node.append(helper.make_node("MatMul", ["features", "features"], ["square"], name="attention"))
    assert quantisable(model) == ["stem", "depth", "point", "head"]
    assert quantisable(model, ("head",)) == ["stem", "depth", "point"]


def test_onnx_is_written_in_one_order(tmp_path: Path) -> None:
    model = photo_network()
    save_onnx(model, tmp_path / "n.onnx")
    assert (tmp_path / "n.onnx").read_bytes() == onnx_bytes(model)
    assert onnx_digest(model) == hashlib.sha256(onnx_bytes(model)).hexdigest()
    assert onnx_digest(onnx.load(tmp_path / "n.onnx")) == onnx_digest(model)
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT
