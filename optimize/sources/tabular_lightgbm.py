"""LightGBM's trees, read from its own dump. Splits on categories and linear leaves are refused."""

from __future__ import annotations

import math
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from optimize.sources.tabular_graph import Answer, Score, Table, TableGraph
from optimize.sources.tree_ensemble import Tree
from runtime.contracts.errors import Unsupported

ZERO = float(np.float32(1e-35))
"""LightGBM calls a value zero within this distance of it."""


def classify(graph: TableGraph, rows: Table, model: Any) -> Answer:
    """Append an ``LGBMClassifier`` or a ``Booster``.

    Raises:
        Unsupported: its objective is not ``binary``, or a tree is not of plain numeric splits.
    """
    booster = model.booster_ if isinstance(model, lightgbm.LGBMClassifier) else model
    dump = booster.dump_model()
    objective, *settings = str(dump.get("objective", "none")).split()
    if objective != "binary":
        raise Unsupported(
            f"LightGBM: objective {objective!r}; expected 'binary', since only a binary classifier has one probability"
        )
    steepness = next((float(one.split(":")[1]) for one in settings if one.startswith("sigmoid:")), 1.0)
    zero_is_missing: dict[int, bool] = {}
    trees = [_tree(each["tree_structure"], zero_is_missing) for each in dump["tree_info"]]
    marked = [zero_is_missing.get(column, False) for column in range(rows.width)]
    raw = graph.trees(trees, "<=", _zeros_as_missing(graph, rows, marked))
    if dump.get("average_output"):  # boosting "rf"
        raw = graph.op("Div", raw, graph.constant(float(len(trees))))
    logit = graph.op("Mul", raw, graph.constant(steepness)) if steepness != 1.0 else raw
    # its classifiers have a decision_function since version 4.7, and a calibrator around one takes that if it can
    return Answer(decision=raw if hasattr(model, "decision_function") else None, score=Score(name=logit, form="logit"))


def columns(booster: Any) -> tuple[tuple[str, ...] | None, int]:
    """Return the names of a booster's columns, ``None`` where it made them up, and their number."""
    names = tuple(booster.feature_name())
    made_up = all(name == f"Column_{number}" for number, name in enumerate(names))
    return None if made_up else names, len(names)


def predict(booster: Any, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return what a booster says of ``float32 (N, F)``: P of class 1, ``float64 (N,)``."""
    return np.asarray(booster.predict(rows), np.float64)


def _tree(root: dict[str, Any], zero_is_missing: dict[int, bool]) -> Tree:
    """Lay a nested tree out, and note for each column whether its zeros are missing values."""
    nodes: list[tuple[int, float, int, int, bool, float]] = []
    waiting, nodes_made = [(root, 0)], 1
    while waiting:
        node, number = waiting.pop()
        nodes.extend([(0, 0.0, -1, -1, False, 0.0)] * (nodes_made - len(nodes)))
        if "split_feature" not in node:
            if "leaf_coeff" in node:
                raise Unsupported("LightGBM: its leaves are linear models; train it with linear_tree=false")
            nodes[number] = (0, 0.0, -1, -1, False, float(node["leaf_value"]))
            continue
        column, threshold = int(node["split_feature"]), node["threshold"]
        if node["decision_type"] != "<=":
            raise Unsupported(f"LightGBM: it splits column {column} on categories; encode them as numbers and retrain")
        left, right = nodes_made, nodes_made + 1
        nodes_made += 2
        nodes[number] = (column, _threshold(float(threshold)), left, right, _missing_left(node, zero_is_missing), 0.0)
        waiting += [(node["left_child"], left), (node["right_child"], right)]
    feature, split, left_of, right_of, missing, value = (np.array(column) for column in zip(*nodes, strict=True))
    return Tree(feature=feature, threshold=split, left=left_of, right=right_of, missing_left=missing, value=value)


def _threshold(stored: float) -> float:
    """Return a threshold that sends what LightGBM calls zero, both ends included, to where it sends 0.0."""
    if -ZERO <= stored < 0.0:
        return math.nextafter(-ZERO, -math.inf)
    return ZERO if 0.0 <= stored < ZERO else stored


def _missing_left(node: dict[str, Any], zero_is_missing: dict[int, bool]) -> bool:
    """Return where NaN goes; LightGBM's ``NumericalDecision``: without ``NaN`` as a kind of its own, NaN is zero."""
    kind, column = node["missing_type"], int(node["split_feature"])
    if zero_is_missing.setdefault(column, kind == "Zero") != (kind == "Zero"):
        raise Unsupported(f"LightGBM: zero in column {column} is missing in some trees only; retrain in one go")
    return bool(float(node["threshold"]) >= 0.0) if kind == "None" else bool(node["default_left"])


def _zeros_as_missing(graph: TableGraph, rows: Table, marked: list[bool]) -> Table:
    if not any(marked):
        return rows
    reach = graph.constant(np.where(marked, ZERO, -1.0))
    zero = graph.op("LessOrEqual", graph.op("Abs", rows.name), reach)
    return Table(name=graph.op("Where", zero, graph.constant(np.nan), rows.name), width=rows.width)
