"""A small tree model on listing features, and its exact ONNX form.

Trained with scikit-learn's histogram gradient boosting, which takes missing values as they are. The converter is our
own because the published one fails on this model with current onnx ("expected an int, got a boolean").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from sklearn.ensemble import HistGradientBoostingClassifier

from optimize.sources.tabular_classifiers import classify
from optimize.sources.tabular_graph import TableGraph

Floats = npt.NDArray[np.float32]


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
    graph = TableGraph(len(features))
    score = classify(graph, graph.listing, model).score
    assert score is not None  # this classifier has probabilities
    return graph.finish(score, 1)
