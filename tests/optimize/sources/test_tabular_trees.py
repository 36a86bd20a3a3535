"""Trees to the last comparison: random trees of every library, and rows with values exactly at their thresholds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from optimize.sources.imported import SourceOptions
from optimize.sources.tabular import MAX_ERROR, import_estimator
from optimize.sources.tree_ensemble import Tree, ensemble_node
from runtime.engine import load_network

COLUMNS = 3
GROWERS: Mapping[str, Callable[[int], Any]] = {
    "histogram boosting": lambda seed: HistGradientBoostingClassifier(
        max_iter=4, max_leaf_nodes=5, min_samples_leaf=1, early_stopping=False, random_state=seed
    ),
    "decision tree": lambda seed: DecisionTreeClassifier(max_depth=4, random_state=seed),
    "extra trees": lambda seed: ExtraTreesClassifier(4, max_depth=4, random_state=seed),
    "gradient boosting": lambda seed: GradientBoostingClassifier(n_estimators=4, max_depth=2, random_state=seed),
    "scaled tree": lambda seed: make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=seed)),
    "lightgbm": lambda seed: lightgbm.LGBMClassifier(
        n_estimators=4, num_leaves=5, min_child_samples=1, min_data_in_bin=1, n_jobs=1, verbose=-1, random_state=seed
    ),
    "lightgbm, zeros missing": lambda seed: lightgbm.LGBMClassifier(
        n_estimators=4, num_leaves=5, min_child_samples=1, zero_as_missing=True, n_jobs=1, verbose=-1
    ),
    "xgboost": lambda seed: xgboost.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1, random_state=seed),
}
NO_NAN = {"gradient boosting"}

floats = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e-35, -1e-36, 16777216.0])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small fits on a busy machine wait for each other's threads far longer than they compute."""
    with threadpool_limits(1):
        yield


def thresholds(network: onnx.ModelProto) -> np.ndarray:
    """Return every threshold of a network's trees."""
    (node,) = (node for node in network.graph.node if node.op_type == "TreeEnsemble")
    (splits,) = (one for one in node.attribute if one.name == "nodes_splits")
    return onnx.numpy_helper.to_array(splits.t)


def around(values: np.ndarray) -> np.ndarray:
    """Return the float32 numbers at and next to each value, in rows of one number: ``float32 (n, COLUMNS)``."""
    near = np.unique(values[np.abs(values) < 1e30]).astype(np.float32)  # LightGBM's "all but NaN" is 1.8e308
    low, high = (np.nextafter(near, np.float32(way)) for way in (-np.inf, np.inf))
    return np.repeat(np.concatenate([low, near, high])[:, None], COLUMNS, axis=1)


@pytest.mark.parametrize("grower", GROWERS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_tree_answers_any_row_as_its_library_does(grower: str, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 1000))
    missing = st.just(float("nan")) if grower not in NO_NAN else st.just(0.5)
    row = st.lists(floats | missing, min_size=COLUMNS, max_size=COLUMNS)
    rows = np.array(data.draw(st.lists(row, min_size=8, max_size=40)), np.float32)
    classes = np.random.default_rng(seed).permutation(len(rows)) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the trainers: columns that are always missing
        model = GROWERS[grower](seed).fit(rows, classes)
    network = import_estimator(model, SourceOptions(), rows, {}).network
    if grower != "scaled tree":  # its thresholds are of scaled values
        rows = np.concatenate([rows, around(thresholds(network))])
    found = import_estimator(model, SourceOptions(), rows, {})
    assert found.parity.max_abs_error < MAX_ERROR
    assert found.parity.inputs == len(rows)


def test_leaves_apart_are_one_column_a_tree_and_a_lone_leaf_is_a_tree(tmp_path: Any) -> None:
    lone = Tree(
        feature=np.zeros(1, np.int64),
        threshold=np.zeros(1),
        left=np.array([-1]),
        right=np.array([-1]),
        missing_left=np.zeros(1, np.bool_),
        value=np.array([7.0]),
    )
    split = Tree(
        feature=np.array([1, 0, 0]),
        threshold=np.array([0.1, 0.0, 0.0]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        missing_left=np.array([True, False, False]),
        value=np.array([0.0, 1.0, 2.0]),
    )
    above = float(np.nextafter(0.1, 1))
    expected = {"<=": [[7, 1], [7, 2], [7, 1], [7, 1]], "<": [[7, 2], [7, 2], [7, 1], [7, 1]]}
    for comparison in ("<=", "<"):
        node = ensemble_node([lone, split], comparison, "x", "y", apart=True)
        kind = onnx.TensorProto.DOUBLE
        graph = onnx.helper.make_graph(
            [node, onnx.helper.make_node("Cast", ["listing"], ["x"], to=kind)][::-1],
            "g",
            [onnx.helper.make_tensor_value_info("listing", kind, ["N", 2])],
            [onnx.helper.make_tensor_value_info("y", kind, ["N", 2])],
        )
        opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("ai.onnx.ml", 5)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "apart.onnx")
        rows: Any = np.array([[0, 0.1], [0, above], [0, np.nan], [0, -1]])
        assert load_network("onnxruntime", tmp_path / "apart.onnx", 1).run(rows).tolist() == expected[comparison]
