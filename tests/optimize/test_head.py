from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from optimize.head import Embedded, Head, columns_of, fit_head, keep_columns, side_by_side, with_head
from optimize.model import ModelSpec
from runtime.engine import load_network

SIZE = 12


@pytest.fixture
def embedder() -> onnx.ModelProto:
    """uint8 (N, 2, 2, 3) -> embedding float32 (N, 12): the pixels themselves, over 100."""
    nodes = [
        helper.make_node("Cast", ["photo"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"]),
        helper.make_node("Div", ["flat", "hundred"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pixels",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, ["N", 2, 2, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", SIZE])],
        [helper.make_tensor("hundred", TensorProto.FLOAT, [], [100.0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def a_head(columns: int, seed: int) -> Head:
    random = np.random.default_rng(seed)
    return Head(
        weight=random.normal(size=(SIZE, columns)).astype(np.float32),
        bias=random.normal(size=columns).astype(np.float32),
    )


def logits(model: onnx.ModelProto, photos: np.ndarray, tmp_path: Path) -> np.ndarray:
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "model.onnx")
    return load_network("onnxruntime", tmp_path / "model.onnx", 1).run(photos)


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)


def test_a_head_on_an_embedder_is_a_matrix_product(
    embedder: onnx.ModelProto, photos: np.ndarray, tmp_path: Path
) -> None:
    head = a_head(3, 1)
    expected = photos.reshape(5, SIZE) / np.float32(100) @ head.weight + head.bias
    assert logits(with_head(embedder, head), photos, tmp_path) == pytest.approx(expected, abs=1e-5)


def test_the_embedder_that_a_head_was_put_on_stays_as_it_was(embedder: onnx.ModelProto) -> None:
    before = embedder.SerializeToString()
    with_head(embedder, a_head(3, 1))
    assert embedder.SerializeToString() == before


def test_every_block_of_columns_is_the_head_it_came_from(
    embedder: onnx.ModelProto, photos: np.ndarray, tmp_path: Path
) -> None:
    heads = [a_head(2, seed) for seed in range(4)]  # the shipped one and three folds
    spec = ModelSpec(
        name="m",
        px=2,
        views=("logo", "serial"),
        trained_on=(),
        folds={"a": 0, "b": 1, "c": 2},
        listing=None,
        seed=7,
        by_time=False,
        provenance={},
    )
    wide = with_head(embedder, side_by_side(heads))
    assert columns_of(wide) == 8
    pixels = photos.reshape(5, SIZE) / np.float32(100)
    for fold, head in zip((None, 0, 1, 2), heads, strict=True):
        kept = keep_columns(wide, spec.block(fold))
        assert columns_of(kept) == 2
        assert kept.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 2
        assert logits(kept, photos, tmp_path) == pytest.approx(pixels @ head.weight + head.bias, abs=1e-5)
        assert side_by_side(heads).columns(spec.block(fold)).bias.tolist() == head.bias.tolist()
    assert columns_of(wide) == 8


def test_a_network_without_a_head_has_no_columns(embedder: onnx.ModelProto) -> None:
    assert columns_of(embedder) == 0


def rows(n: int = 60) -> Embedded:
    """Two photos an item; ``logo`` tells by the first number of the embedding, ``serial`` by the second."""
    random = np.random.default_rng(1)
    counterfeit = np.repeat(np.arange(n) % 2 == 0, 2)
    view = np.tile(["logo", "serial"], n)
    embedding = random.normal(size=(2 * n, SIZE)).astype(np.float32)
    embedding[view == "logo", 0] += 3 * counterfeit[view == "logo"]
    embedding[view == "serial", 1] += 3 * counterfeit[view == "serial"]
    return Embedded(
        embedding=embedding, view=view, counterfeit=counterfeit, item=np.repeat([f"i{i}" for i in range(n)], 2)
    )


def test_each_view_has_a_column_of_its_own_photos() -> None:
    head = fit_head(rows(), ("logo", "serial"), seed=7)
    assert np.abs(head.weight[:, 0]).argmax() == 0
    assert np.abs(head.weight[:, 1]).argmax() == 1


def test_a_column_does_not_see_the_photos_of_other_views() -> None:
    data = rows()
    spoilt = data.embedding.copy()
    spoilt[data.view == "serial"] = 99.0 * np.random.default_rng(3).normal(size=(60, SIZE))
    other = Embedded(embedding=spoilt, view=data.view, counterfeit=data.counterfeit, item=data.item)
    one, two = (fit_head(each, ("logo", "serial"), seed=7) for each in (data, other))
    assert one.weight[:, 0].tolist() == two.weight[:, 0].tolist()
    assert one.weight[:, 1].tolist() != two.weight[:, 1].tolist()


def test_exchangeable_views_share_one_column() -> None:
    head = fit_head(rows(), ("*",), seed=7)
    assert head.weight.shape == (SIZE, 1)
    assert set(np.abs(head.weight[:, 0]).argsort()[-2:]) == {0, 1}


def test_the_same_rows_and_seed_give_the_same_head() -> None:
    one, two = (fit_head(rows(), ("logo", "serial"), seed=7) for _ in range(2))
    assert one.weight.tobytes() == two.weight.tobytes()
    assert one.bias.tobytes() == two.bias.tobytes()


def test_a_single_counterfeit_item_is_enough_to_fit_on() -> None:
    data = rows()
    few = data.where(np.isin(data.item, ["i0", "i1", "i3", "i5"]))
    assert np.isfinite(fit_head(few, ("logo", "serial"), seed=7).weight).all()
