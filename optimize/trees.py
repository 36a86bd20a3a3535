"""A small tree model on listing features, and its exact ONNX form.

Trained with scikit-learn's histogram gradient boosting, which takes missing values as they are. The converter is our
own because the published one fails on this model with current onnx ("expected an int, got a boolean").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from sklearn.ensemble import HistGradientBoostingClassifier

Floats = npt.NDArray[np.float32]

_FIELDS = (
    "nodeids",
    "treeids",
    "featureids",
    "values",
    "modes",
    "truenodeids",
    "falsenodeids",
    "missing_value_tracks_true",
)


def fit_trees(features: Floats, fraud: npt.NDArray[np.bool_], seed: int) -> HistGradientBoostingClassifier:
    """Fit a small, strongly regularised ensemble.

    Args:
        features: ``float32 (n, F)``, NaN where missing.
        fraud: ``bool (n,)``.
        seed: of the fit.
    """
    return HistGradientBoostingClassifier(
        max_iter=80, max_leaf_nodes=8, learning_rate=0.08, min_samples_leaf=10, l2_regularization=1.0, random_state=seed
    ).fit(features, fraud)


def trees_to_onnx(model: HistGradientBoostingClassifier, features: Sequence[str]) -> onnx.ModelProto:
    """Convert to ONNX: input ``listing`` ``float32 (N, F)``, output ``logit`` ``float32 (N, 1)``."""
    nodes: dict[str, Any] = {name: [] for name in _FIELDS}
    targets: dict[str, Any] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree, (predictor,) in enumerate(model._predictors):
        for number, node in enumerate(predictor.nodes):
            leaf = bool(node["is_leaf"])
            row = (
                number,
                tree,
                0 if leaf else int(node["feature_idx"]),
                0.0 if leaf else _as_float32(float(node["num_threshold"])),
                "LEAF" if leaf else "BRANCH_LEQ",
                0 if leaf else int(node["left"]),
                0 if leaf else int(node["right"]),
                int(node["missing_go_to_left"]),
            )
            for name, value in zip(_FIELDS, row, strict=True):
                nodes[name].append(value)
            if leaf:
                for name, value in zip(targets, (tree, number, 0, float(node["value"])), strict=True):
                    targets[name].append(value)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["listing"],
        ["logit"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        base_values=[float(np.ravel(model._baseline_prediction)[0])],
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in targets.items()},
    )
    graph = helper.make_graph(
        [ensemble],
        "listing",
        [helper.make_tensor_value_info("listing", TensorProto.FLOAT, ["N", len(features)])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N", 1])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _as_float32(threshold: float) -> float:
    """Round towards minus infinity, so that ``x <= threshold`` keeps its answer for every float32 ``x``."""
    rounded = np.float32(threshold)
    too_high = float(rounded) > threshold  # in float64: numpy would compare a float32 with a Python float as float32
    return float(np.nextafter(rounded, np.float32(-np.inf)) if too_high else rounded)
