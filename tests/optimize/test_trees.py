from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from optimize.trees import fit_trees, trees_to_onnx
from runtime.engine import load_network

Floats = np.ndarray
Run = Callable[[HistGradientBoostingClassifier, Floats], Floats]


@pytest.fixture
def onnx_logits(tmp_path: Path) -> Run:
    """Convert a model and run it through the engine that stations use."""

    def run(model: HistGradientBoostingClassifier, rows: Floats) -> Floats:
        onnx.save(trees_to_onnx(model, [f"f{i}" for i in range(rows.shape[1])]), tmp_path / "listing.onnx")
        return load_network("onnxruntime", tmp_path / "listing.onnx", 1).run(rows).reshape(-1)

    return run


def table(n: int, seed: int, missing: float = 0.15) -> tuple[Floats, Floats]:
    """Six features of different scales, some missing, and an outcome that depends on values and on what is missing."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 6)) * [1, 10, 1e-3, 1e4, 1, 1]
    rows[:, 4] = random.integers(0, 4, n)
    rows[random.random(rows.shape) < missing] = np.nan
    risk = np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, 1]) / 10 + np.isnan(rows[:, 2]) + (rows[:, 4] == 3)
    return rows.astype(np.float32), risk + random.normal(size=n) > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_the_onnx_form_gives_scikit_learns_logits(onnx_logits: Run, seed: int) -> None:
    model = fit_trees(*table(600, seed), seed)
    fresh, _ = table(500, seed + 100, missing=0.3)
    assert np.isnan(fresh).any()
    assert np.abs(onnx_logits(model, fresh) - model.decision_function(fresh)).max() < 1e-5


def test_a_value_that_was_never_missing_in_training_may_be_missing_now(onnx_logits: Run) -> None:
    model = fit_trees(*table(400, 5, missing=0.0), 5)
    fresh, _ = table(300, 6, missing=0.5)
    rows = np.concatenate([fresh, np.full((1, 6), np.nan, np.float32)])
    assert np.abs(onnx_logits(model, rows) - model.decision_function(rows)).max() < 1e-5


def test_a_value_on_either_side_of_a_threshold_goes_the_same_way(onnx_logits: Run) -> None:
    """Thresholds are float64 in training and float32 in ONNX: rounding one up would flip a value that lies between."""
    rows, fraud = table(600, 1)
    model = fit_trees(rows, fraud, 1)
    nodes = np.concatenate([predictor.nodes for (predictor,) in model._predictors])
    edges = []
    for node in nodes[nodes["is_leaf"] == 0]:
        near = np.float32(node["num_threshold"])
        for value in (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))):
            row = rows[len(edges) % len(rows)].copy()
            row[node["feature_idx"]] = value
            edges.append(row)
    table_of_edges = np.array(edges)
    assert len(table_of_edges) > 500
    assert np.abs(onnx_logits(model, table_of_edges) - model.decision_function(table_of_edges)).max() < 1e-5


def test_infinities_go_where_scikit_learn_sends_them(onnx_logits: Run) -> None:
    model = fit_trees(*table(400, 2), 2)
    rows = np.array([[np.inf] * 6, [-np.inf] * 6, [3e38] * 6], np.float32)
    assert np.abs(onnx_logits(model, rows) - model.decision_function(rows)).max() < 1e-5


def test_too_few_items_for_a_split_still_give_a_model(onnx_logits: Run) -> None:
    rows, _ = table(12, 3)
    model = fit_trees(rows, np.arange(12) % 3 == 0, 3)
    assert np.abs(onnx_logits(model, rows) - model.decision_function(rows)).max() < 1e-5


def test_the_same_items_and_seed_give_the_same_bytes() -> None:
    first, second = (
        trees_to_onnx(fit_trees(*table(300, 4), 4), [f"f{i}" for i in range(6)]).SerializeToString() for _ in range(2)
    )
    assert first == second
