"""What every engine owes its callers, held over each one that runs here against the ONNX reference in numpy."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backends.cuda import gpu_missing
from runtime.background_engine import BackgroundEngine
from runtime.contracts.errors import StationFault, Unsupported
from runtime.engine import BACKENDS, LIBRARIES, Network, is_installed, load_network
from tests.optimize.targets.engine_networks import photos

PX = 32
CLASSES = 4
FLOAT_TOLERANCE = 1e-5  # float32, a few hundred additions in another order
STEP = 0.02  # of the activations of the INT8 network: an engine may round a tie to the other side

Load = Callable[[str, str], Network]


def why_not(engine: str) -> str | None:
    if not is_installed(engine):
        return f"{LIBRARIES[engine]} is not installed"
    return gpu_missing() if engine.startswith("tensorrt") else None


RUNNING = tuple(engine for engine in BACKENDS if why_not(engine) is None)
ANY = pytest.mark.parametrize("engine", [*RUNNING, *(["openvino ir"] if "openvino" in RUNNING else [])])
ANY_FOR_ONNX = pytest.mark.parametrize("engine", RUNNING)
ANY_FOR_INT8 = pytest.mark.parametrize(  # TensorRT takes another graph
    "engine",
    [one for one in ("onnxruntime", "openvino", "openvino ir", "reference") if why_not(one.split()[0]) is None],
)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    constants: dict[str, npt.NDArray[Any]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "contract",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def photo_model(*, int8: bool = False, bad_weight: float | None = None) -> onnx.ModelProto:
    """``photo`` uint8 (N, 32, 32, 3) to ``features`` (N, 8) and ``logits`` (N, 4); INT8 as pairs of Q and DQ."""
    draw = np.random.default_rng(7)
    constants: dict[str, npt.NDArray[Any]] = {
        "mean": np.float32(127) * np.ones(1, np.float32),
        "std": np.float32(128) * np.ones(1, np.float32),
        "conv_b": draw.normal(0, 0.1, 8).astype(np.float32),
        "head_w": draw.normal(0, 1, (CLASSES, 8)).astype(np.float32),
        "head_b": draw.normal(0, 1, CLASSES).astype(np.float32),
    }
    if bad_weight is not None:  # in the last layer: OpenVINO's ReLU makes 0 of NaN, see ADR 14
        constants["head_w"][1, 2] = bad_weight
    conv_w = draw.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32)
    middle: list[onnx.NodeProto] = []

    def pair(name: str) -> str:
        """Quantise a tensor and back."""
        scale = [f"{name}_scale", f"{name}_zero"]
        constants[scale[0]], constants[scale[1]] = np.float32(STEP).reshape(()), np.uint8(100).reshape(())
        middle.append(helper.make_node("QuantizeLinear", [name, *scale], [f"{name}_q"]))
        middle.append(helper.make_node("DequantizeLinear", [f"{name}_q", *scale], [f"{name}_dq"]))
        return f"{name}_dq"

    weight = "conv_w"
    if int8:  # 7 bits: exact on CPUs without VNNI too
        constants |= {
            "conv_q": np.clip(np.round(conv_w / 0.01), -63, 63).astype(np.int8),
            "conv_scale": np.full(8, 0.01, np.float32),
            "conv_zero": np.zeros(8, np.int8),
        }
        middle.append(helper.make_node("DequantizeLinear", ["conv_q", "conv_scale", "conv_zero"], ["conv_w"], axis=0))
    else:
        constants["conv_w"] = conv_w
    scaled = pair("scaled") if int8 else "scaled"
    middle += [
        helper.make_node("Conv", [scaled, weight, "conv_b"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
    ]
    relu = pair("relu") if int8 else "relu"
    nodes = [
        helper.make_node("Cast", ["photo"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        *middle,
        helper.make_node("GlobalAveragePool", [relu], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head_w", "head_b"], ["logits"], transB=1),
    ]
    return model_of(
        nodes,
        {"photo": (TensorProto.UINT8, ["N", PX, PX, 3])},
        {"features": (TensorProto.FLOAT, ["N", 8]), "logits": (TensorProto.FLOAT, ["N", CLASSES])},
        constants,
    )


def pair_model() -> onnx.ModelProto:
    """Two inputs of two types; outputs: a product, an index, one of the inputs, and a weight."""
    return model_of(
        [
            helper.make_node("Cast", ["bytes"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["rows", "weight"], ["turned"]),
            helper.make_node("Mul", ["turned", "float"], ["product"]),
            helper.make_node("ArgMax", ["product"], ["largest"], axis=1, keepdims=0),
            helper.make_node("Flatten", ["rows"], ["same"]),
            helper.make_node("Identity", ["weight"], ["weight_out"]),
        ],
        {"rows": (TensorProto.FLOAT, ["N", 3]), "bytes": (TensorProto.UINT8, ["N", 3])},
        {
            "product": (TensorProto.FLOAT, ["N", 3]),
            "largest": (TensorProto.INT64, ["N"]),
            "same": (TensorProto.FLOAT, ["N", 3]),
            "weight_out": (TensorProto.FLOAT, [3, 3]),
        },
        {"weight": np.arange(9, dtype=np.float32).reshape(3, 3)},
    )


def ratio_model() -> onnx.ModelProto:
    """``rows`` divided by itself, to ``share``: NaN where it is 0."""
    kind = (TensorProto.FLOAT, ["N", 3])
    return model_of([helper.make_node("Div", ["rows", "rows"], ["share"])], {"rows": kind}, {"share": kind}, {})


def unknown_operator() -> onnx.ModelProto:
    kind = (TensorProto.FLOAT, ["N", 3])
    return model_of([helper.make_node("Frobnicate", ["x"], ["y"])], {"x": kind}, {"y": kind}, {})


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "float": photo_model,
    "int8": lambda: photo_model(int8=True),
    "nan": lambda: photo_model(bad_weight=float("nan")),
    "infinite": lambda: photo_model(bad_weight=float("inf")),
    "pair": pair_model,
    "ratio": ratio_model,
    "unknown": unknown_operator,
}


def write(folder: Path, engine: str, model: str) -> Path:
    """Write a network as the engine reads it."""
    path = folder / f"{model}.onnx"
    onnx.save(MODELS[model](), path)
    if engine == "openvino ir":
        ov.save_model(ov.Core().read_model(path), path.with_suffix(".xml"), compress_to_fp16=False)
        return path.with_suffix(".xml")
    return path


def ready(network: Network) -> Network:
    """Wait until what is built in the background serves."""
    if isinstance(network, BackgroundEngine):
        for seed in range(3):
            network.run(photos(1, seed))
        assert network.wait(300) == "changed over", network.reason
    return network


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    @cache
    def loaded(engine: str, model: str) -> Network:
        path = write(tmp_path_factory.mktemp("contract"), engine, model)
        return ready(load_network(engine.split()[0], path, 1))

    return loaded


@pytest.mark.parametrize("engine", BACKENDS)
def test_an_engine_either_keeps_this_contract_or_refuses_to_load(engine: str, tmp_path: Path) -> None:
    reason = why_not(engine)
    if reason is None:
        assert engine in RUNNING
        return
    with pytest.raises(Unsupported, match=r"pip install|no NVIDIA GPU"):
        load_network(engine, write(tmp_path, engine, "float"), 1)
    pytest.skip(f"{engine}: {reason}")


@ANY
@pytest.mark.parametrize("count", [1, 3])
def test_a_float_network_gives_what_the_reference_gives(load: Load, engine: str, count: int) -> None:
    batch = photos(count, seed=count)
    expected, got = load("reference", "float").run(batch), load(engine, "float").run(batch)
    assert got.dtype == np.float32
    assert got.shape == (count, CLASSES)
    np.testing.assert_allclose(got, expected, atol=FLOAT_TOLERANCE, rtol=FLOAT_TOLERANCE)


@ANY_FOR_INT8
@pytest.mark.parametrize("count", [1, 3])
def test_an_int8_network_gives_what_the_reference_gives(load: Load, engine: str, count: int) -> None:
    batch = photos(count, seed=count)
    expected, got = load("reference", "int8").run(batch), load(engine, "int8").run(batch)
    np.testing.assert_allclose(got, expected, atol=STEP)
    assert np.abs(expected - load("reference", "float").run(batch)).max() > 1e-3  # it was rounded at all


@ANY
def test_each_photo_of_a_batch_gets_what_it_gets_alone(load: Load, engine: str) -> None:
    network, batch = load(engine, "float"), photos(8)
    alone = np.concatenate([network.run(batch[i : i + 1]) for i in range(8)])
    np.testing.assert_allclose(network.run(batch), alone, atol=FLOAT_TOLERANCE, rtol=FLOAT_TOLERANCE)
    assert np.ptp(alone, axis=0).min() > 1e-3  # photos are told apart


@ANY
def test_a_batch_without_photos_gives_no_rows_or_a_fault(load: Load, engine: str) -> None:
    network = load(engine, "float")
    try:
        assert network.run(np.empty((0, PX, PX, 3), np.uint8)).shape == (0, CLASSES)
    except StationFault as fault:
        assert "(0, 32, 32, 3)" in str(fault)
    assert network.run(photos(1)).shape == (1, CLASSES)  # and it goes on


@ANY
def test_a_batch_that_is_no_block_of_memory_is_run_as_if_it_were(load: Load, engine: str) -> None:
    network, batch = load(engine, "float"), photos(6)
    np.testing.assert_array_equal(network.run(batch[::2]), network.run(batch[::2].copy()))


@ANY
def test_all_outputs_come_by_name_and_the_last_one_counts(load: Load, engine: str) -> None:
    network, batch = load(engine, "float"), photos(3)
    outputs = network.run_all({"photo": batch})
    assert list(outputs) == ["features", "logits"]
    assert outputs["features"].shape == (3, 8)
    np.testing.assert_array_equal(outputs["logits"], network.run(batch))


ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
BYTES = np.array([[3, 1, 2], [0, 1, 0]], np.uint8)


@ANY
def test_several_inputs_of_several_types_give_every_output_in_its_type(load: Load, engine: str) -> None:
    outputs = load(engine, "pair").run_all({"bytes": BYTES, "rows": ROWS})  # names count, not the order
    assert list(outputs) == ["product", "largest", "same", "weight_out"]
    assert {name: array.dtype for name, array in outputs.items()} == {
        "product": np.float32,
        "largest": np.int64,
        "same": np.float32,
        "weight_out": np.float32,
    }
    product = (ROWS @ np.arange(9, dtype=np.float32).reshape(3, 3)) * BYTES
    np.testing.assert_allclose(outputs["product"], product, rtol=FLOAT_TOLERANCE)
    np.testing.assert_array_equal(outputs["largest"], product.argmax(axis=1))


@ANY
def test_outputs_belong_to_the_caller(load: Load, engine: str) -> None:
    network, rows = load(engine, "pair"), ROWS.copy()
    outputs = network.run_all({"rows": rows, "bytes": BYTES})
    before = {name: array.copy() for name, array in outputs.items()}
    rows[:] = -1
    network.run_all({"rows": rows, "bytes": BYTES + 1})
    for name, array in outputs.items():
        np.testing.assert_array_equal(array, before[name])
        array[:] = 99  # writable, and nobody else's
    for name, array in network.run_all({"rows": ROWS, "bytes": BYTES}).items():
        np.testing.assert_array_equal(array, before[name])


@ANY
def test_a_result_is_not_written_over_and_outlives_its_network(engine: str, tmp_path: Path) -> None:
    network = ready(load_network(engine.split()[0], write(tmp_path, engine, "float"), 1))
    first = network.run(photos(1, seed=1))
    before = first.copy()
    network.run(photos(1, seed=2))
    del network
    np.testing.assert_array_equal(first, before)
    assert first.flags.writeable


@ANY
def test_four_threads_at_once_get_what_each_gets_alone(load: Load, engine: str) -> None:
    network = load(engine, "float")
    batches = [photos(2, seed) for seed in range(24)]
    alone = [network.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(network.run, batches))
    np.testing.assert_array_equal(np.stack(together), np.stack(alone))


@ANY
@pytest.mark.parametrize("threads", [0, 2])
def test_any_number_of_threads_gives_the_same_logits(load: Load, engine: str, threads: int, tmp_path: Path) -> None:
    network = ready(load_network(engine.split()[0], write(tmp_path, engine, "float"), threads))
    np.testing.assert_allclose(
        network.run(photos(3)), load(engine, "float").run(photos(3)), atol=FLOAT_TOLERANCE, rtol=FLOAT_TOLERANCE
    )


@ANY
@pytest.mark.parametrize(
    "batch",
    [photos(1).astype(np.float32), photos(1).astype(np.int8), photos(1)[:, : PX - 1], photos(1)[0]],
    ids=["float32 photos", "int8 photos", "a row too few", "no batch"],
)
def test_what_a_network_does_not_take_is_a_fault_and_nothing_is_cast(
    load: Load, engine: str, batch: npt.NDArray[Any]
) -> None:
    network = load(engine, "float")
    with pytest.raises(StationFault, match=f"photo {batch.dtype} .*{batch.shape[-2]}"):
        network.run(batch)
    assert network.run(photos(1)).shape == (1, CLASSES)  # and it goes on


@ANY
@pytest.mark.parametrize(
    "feeds", [{"picture": photos(1)}, {}, {"photo": photos(1), "picture": photos(1)}], ids=["other", "none", "more"]
)
def test_a_feed_under_other_names_is_a_fault(load: Load, engine: str, feeds: dict[str, npt.NDArray[Any]]) -> None:
    with pytest.raises(StationFault, match=next(reversed(feeds), "photo")):
        load(engine, "float").run_all(feeds)


@ANY
@pytest.mark.parametrize("model", ["nan", "infinite"])
def test_a_weight_that_is_no_number_comes_out_as_the_reference_says(load: Load, engine: str, model: str) -> None:
    expected, got = load("reference", model).run(photos(2)), load(engine, model).run(photos(2))
    assert not np.isfinite(expected[:, 1]).any()
    np.testing.assert_allclose(got, expected, atol=FLOAT_TOLERANCE, rtol=FLOAT_TOLERANCE)  # NaN equals NaN here


@ANY
def test_what_becomes_no_number_on_the_way_comes_out_as_that_and_nothing_warns(load: Load, engine: str) -> None:
    rows = np.array([[0, 1, -2], [np.inf, 3, np.nan]], np.float32)
    got = load(engine, "ratio").run(rows)
    np.testing.assert_array_equal(got, np.array([[np.nan, 1, 1], [np.nan, 1, np.nan]], np.float32))


@ANY_FOR_ONNX
def test_an_unknown_operator_is_refused_by_the_files_name(engine: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"network unknown\.onnx: .*"):
        load_network(engine, write(tmp_path, engine, "unknown"), 1)


@ANY
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_its_name(engine: str, kept: float, tmp_path: Path) -> None:
    path = write(tmp_path, engine, "float")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(Unsupported, match=f"network {path.name}: "):
        load_network(engine.split()[0], path, 1)


def test_weights_that_were_truncated_beside_their_graph_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "openvino ir", "float")
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Unsupported, match=r"network float\.xml: OpenVINO refuses it"):
        load_network("openvino", path, 1)


@ANY_FOR_ONNX
def test_a_file_that_is_missing_is_refused_by_its_name(engine: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"network gone\.onnx: "):
        load_network(engine, tmp_path / "gone.onnx", 1)
