"""Six colour statistics as a baseline: what lighting alone can tell, so that nobody mistakes it for authentication."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from optimize.risk import auc
from optimize.scoring import Row


class ColourStatistics:
    """Looks like a network: mean and standard deviation of R, G and B, ``float32 (N, 6)``."""

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the statistics of ``(N, H, W, 3)`` photos."""
        pixels = batch.reshape(len(batch), -1, batch.shape[-1]).astype(np.float32)
        return np.concatenate([pixels.mean(1), pixels.std(1)], axis=1)


def item_colours(rows: Sequence[Row]) -> dict[str, npt.NDArray[np.float64]]:
    """Average the last output of each row (the statistics) over an item's photos."""
    grouped = defaultdict(list)
    for row in rows:
        grouped[row.item_id].append(row.outputs[-1])
    return {item_id: np.mean(values, axis=0, dtype=np.float64) for item_id, values in grouped.items()}


def colour_auc(
    colours: Mapping[str, npt.NDArray[np.float64]],
    counterfeit: Mapping[str, bool],
    folds: Sequence[tuple[Sequence[str], Sequence[str]]],
) -> float | None:
    """Return the AUC of a logistic regression on colours over the pooled test items of (train, test) folds.

    Items without a photo that the model looks at are passed over.
    """
    scores: dict[bool, list[float]] = {True: [], False: []}
    for side in folds:
        train, test = ([item_id for item_id in ids if item_id in colours] for ids in side)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(np.array([colours[i] for i in train]), np.array([counterfeit[i] for i in train]))
        found = model.decision_function(np.array([colours[i] for i in test]))
        for item_id, score in zip(test, found, strict=True):
            scores[counterfeit[item_id]].append(float(score))
    return auc(np.array(scores[True]), np.array(scores[False]))
