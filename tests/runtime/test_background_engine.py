"""A faster network takes over only when it agrees with the one that serves; real networks, no GPU."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from optimize.half import to_half
from optimize.onnx_bytes import save_onnx
from runtime.background_engine import AGREE_ON_BATCHES, BackgroundEngine, relative_error
from runtime.contracts.errors import StationFault, Unsupported
from runtime.engine import Network, load_network
from tests.optimize.targets.engine_networks import photo_network, photos


def load(model: onnx.ModelProto, folder: Path) -> Network:
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    save_onnx(model, path)
    return load_network("onnxruntime", path, 1)


def scan(engine: BackgroundEngine, count: int = AGREE_ON_BATCHES) -> None:
    for seed in range(count):
        engine.run(photos(1, seed))


def test_a_network_that_agrees_takes_over(tmp_path: Path) -> None:
    first, half = load(photo_network(), tmp_path), load(to_half(photo_network()), tmp_path)
    engine = BackgroundEngine(first, lambda: half)
    scan(engine)
    assert engine.wait(10) == "changed over"
    np.testing.assert_array_equal(engine.run(photos(1, 9)), half.run(photos(1, 9)))
    assert not np.array_equal(first.run(photos(1, 9)), half.run(photos(1, 9)))
    assert engine.run_all({"photo": photos(2)})["features"].shape == (2, 16)


def test_a_network_that_disagrees_never_serves(tmp_path: Path) -> None:
    first, other = load(photo_network(), tmp_path), load(photo_network(seed=1), tmp_path)
    engine = BackgroundEngine(first, lambda: other)
    scan(engine)
    assert engine.wait(10) == "refused"
    assert engine.reason is not None
    assert "outputs differ by" in engine.reason
    np.testing.assert_array_equal(engine.run(photos(1, 9)), first.run(photos(1, 9)))


def test_nobody_waits_while_the_other_network_is_made_or_before_there_is_something_to_compare(tmp_path: Path) -> None:
    first, may_end = load(photo_network(), tmp_path), threading.Event()

    def make() -> Network:
        assert may_end.wait(20)
        return first

    engine = BackgroundEngine(first, make)
    scan(engine, AGREE_ON_BATCHES - 1)
    assert engine.wait(0.05) == "building"
    may_end.set()
    engine.wait(0.2)
    assert engine.state != "changed over"
    scan(engine, 1)
    assert engine.wait(10) == "changed over"


def test_a_network_that_cannot_be_made_leaves_the_first_one_serving(tmp_path: Path) -> None:
    def make() -> Network:
        raise Unsupported("no memory on the GPU")

    engine = BackgroundEngine(load(photo_network(), tmp_path), make)
    assert engine.wait(10) == "refused"
    assert engine.reason == "no memory on the GPU"
    assert engine.run(photos(2)).shape == (2, 4)


def test_a_network_that_fails_after_it_took_over_is_dropped_and_the_scan_goes_through(tmp_path: Path) -> None:
    model = photo_network()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    first, only_one = load(photo_network(), tmp_path), load(model, tmp_path)
    engine = BackgroundEngine(first, lambda: only_one)
    scan(engine)
    assert engine.wait(10) == "changed over"
    np.testing.assert_array_equal(engine.run(photos(3)), first.run(photos(3)))
    assert engine.state == "refused"
    assert engine.reason is not None
    assert "after it had taken over" in engine.reason


def test_a_fault_of_the_first_network_stays_a_fault(tmp_path: Path) -> None:
    first = load(photo_network(), tmp_path)
    engine = BackgroundEngine(first, lambda: first)
    with pytest.raises(StationFault):
        engine.run(photos(1)[0])


def test_the_error_between_outputs_is_relative_and_other_shapes_never_agree() -> None:
    ones = {"a": np.ones(4, np.float32)}
    assert relative_error(ones, {"a": np.full(4, 1.5, np.float32)}) == pytest.approx(0.5)
    assert relative_error(ones, {"a": np.ones(3, np.float32)}) == float("inf")
    assert relative_error(ones, {"b": np.ones(4, np.float32)}) == float("inf")
    assert not relative_error(ones, {"a": np.full(4, np.nan, np.float32)}) <= 1
