"""XGBoost's trees, DART trees and linear models, read from its own JSON. Splits on categories are refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost
from onnx import TensorProto

from optimize.sources.tabular_graph import Answer, Score, Table, TableGraph
from optimize.sources.tree_ensemble import Tree
from runtime.contracts.errors import Unsupported


def classify(graph: TableGraph, rows: Table, model: Any) -> Answer:
    """Append an ``XGBClassifier`` or a ``Booster``.

    Raises:
        Unsupported: its objective is not ``binary:logistic``, or a tree is not of plain numeric splits.
    """
    wrapped = isinstance(model, xgboost.XGBClassifier)
    booster = model.get_booster() if wrapped else model
    learner = json.loads(booster.save_raw("json"))["learner"]
    objective = learner["objective"]["name"]
    if objective != "binary:logistic":
        raise Unsupported(
            f"XGBoost: objective {objective!r}; expected 'binary:logistic', since only that has one probability"
        )
    rows = graph.as_float32(rows)
    if wrapped and not math.isnan(model.missing):
        marked = graph.op("Equal", rows.name, graph.constant(float(np.float32(model.missing))))
        rows = Table(name=graph.op("Where", marked, graph.constant(np.nan), rows.name), width=rows.width)
    start = _start(learner["learner_model_param"])
    boosted = learner["gradient_booster"]
    if boosted["name"] == "gblinear":
        logit = _linear(graph, rows, boosted["model"]["weights"], start)
        return Answer(decision=None, score=Score(name=logit, form="logit"))
    trees = _trees(boosted, _rounds(model) if wrapped else None)
    logit = graph.op("Add", graph.trees(trees, "<", rows), graph.constant(start))
    return Answer(
        decision=None,
        score=Score(name=logit, form="logit"),
        rounded=lambda: _as_it_rounds(graph, rows, trees, start),
    )


def columns(booster: Any) -> tuple[tuple[str, ...] | None, int]:
    """Return the names of a booster's columns, ``None`` where it has none, and their number."""
    names = booster.feature_names
    return tuple(names) if names else None, int(booster.num_features())


def predict(booster: Any, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return what a booster says of ``float32 (N, F)``: P of class 1, ``float64 (N,)``."""
    return np.asarray(booster.predict(xgboost.DMatrix(rows, feature_names=booster.feature_names)), np.float64)


def _as_it_rounds(graph: TableGraph, rows: Table, trees: list[Tree], start: float) -> str:
    """Append P as XGBoost's CPU predictor gets it: leaves added to the start one by one, all in float32."""
    leaf = np.array([0], np.int64)
    first = Tree(
        feature=leaf,
        threshold=np.zeros(1),
        left=leaf - 1,
        right=leaf - 1,
        missing_left=np.zeros(1, np.bool_),
        value=np.array([start]),
    )
    leaves = graph.op("Cast", graph.trees([first, *trees], "<", rows, apart=True), to=TensorProto.FLOAT)
    margin = graph.op(
        "Gather",
        graph.op("CumSum", leaves, graph.constant(np.int64(1))),
        graph.constant(np.array([len(trees)])),
        axis=1,
    )
    # its expf is correctly rounded all but always, which ONNX Runtime's own is not: exp in float64, rounded
    wide = graph.op("Min", graph.op("Neg", graph.op("Cast", margin, to=TensorProto.DOUBLE)), graph.constant(88.7))
    power = graph.op("Cast", graph.op("Exp", wide), to=TensorProto.FLOAT)
    one = graph.op("Cast", graph.constant(1.0), to=TensorProto.FLOAT)
    return graph.op("Cast", graph.op("Div", one, graph.op("Add", power, one)), to=TensorProto.DOUBLE)


def _start(parameters: dict[str, str]) -> float:
    """Return the logit that boosting starts from; since version 3 it is stored as a list of one."""
    base = json.loads(parameters["base_score"])
    p, one = np.float32(base[0] if isinstance(base, list) else base), np.float32(1)
    return -float(np.log(one / p - one))


def _rounds(model: Any) -> int | None:
    """Return how many rounds a classifier predicts with, ``None`` for all: fewer where its training stopped early."""
    try:
        return int(model.best_iteration) + 1
    except AttributeError:
        return None


def _trees(boosted: dict[str, Any], rounds: int | None) -> list[Tree]:
    dart = boosted["name"] == "dart"
    model = (boosted["gbtree"] if dart else boosted)["model"]
    last = len(model["trees"]) if rounds is None else model["iteration_indptr"][rounds]
    weights = boosted["weight_drop"] if dart else [1.0] * len(model["trees"])
    return [_tree(each, weight) for each, weight in zip(model["trees"][:last], weights, strict=False)]


def _tree(stored: dict[str, Any], weight: float) -> Tree:
    if any(stored["split_type"]):
        raise Unsupported("XGBoost: it splits on categories; encode them as numbers and retrain")
    left = np.asarray(stored["left_children"], np.int64)
    # its numbers are float32; a leaf keeps its value where a split keeps its threshold
    conditions = np.asarray(stored["split_conditions"], np.float32).astype(np.float64)
    return Tree(
        feature=np.asarray(stored["split_indices"], np.int64),
        threshold=conditions,
        left=left,
        right=np.asarray(stored["right_children"], np.int64),
        missing_left=np.asarray(stored["default_left"], np.bool_),
        value=weight * conditions,
    )


def _linear(graph: TableGraph, rows: Table, weights: list[float], start: float) -> str:
    there = graph.op("Where", graph.op("IsNaN", rows.name), graph.constant(0.0), rows.name)
    return graph.weighed(Table(name=there, width=rows.width), weights[:-1], weights[-1] + start)
