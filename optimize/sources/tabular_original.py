"""A fitted classifier as its own library runs it: its columns, its classes, and the probabilities to be equal to."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.utils._optional_dependencies import check_pandas_support

from optimize.sources.tabular_classifiers import ADAPTERS
from runtime.contracts.errors import Unsupported

LIBRARIES = ("scikit-learn", "lightgbm", "xgboost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The source of an import.

    Attributes:
        model: the fitted estimator or booster.
        width: number of its columns.
        features: their names, ``None`` where it has none.
        classes: names of its two classes in the order of its probabilities.
        booster: module that predicts with it; ``None`` for what has ``predict_proba``.
    """

    model: Any
    width: int
    features: tuple[str, ...] | None
    classes: tuple[str, str]
    booster: str | None

    def probabilities(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return P of both classes, ``float64 (N, 2)``, for ``float32 (N, F)``.

        Raises:
            Unsupported: it refuses the rows.
        """
        try:
            return self._predict(rows)
        except ValueError as error:
            reason = str(error).strip().splitlines()[0]
            raise Unsupported(
                f"{type(self.model).__name__}: it refuses the rows given ({reason}); impute in its pipeline, or give "
                "rows that it takes"
            ) from error

    def takes_missing(self) -> bool:
        """Return whether it answers for a row whose every value is missing."""
        try:
            self._predict(np.full((1, self.width), np.nan, np.float32))
        except ValueError:
            return False
        return True

    def _predict(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        if self.booster is not None:
            p = np.asarray(importlib.import_module(self.booster).predict(self.model, rows), np.float64)
            return np.stack([1.0 - p, p], axis=1)
        wide = rows.astype(np.float64)  # what a table read from a file is
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
            warnings.filterwarnings("ignore", "Skipping features without any observed values", UserWarning)
            try:
                return np.asarray(self.model.predict_proba(wide), np.float64)
            except ValueError as error:
                if "dataframe" not in str(error):
                    raise
                return np.asarray(self.model.predict_proba(self._frame(wide)), np.float64)

    def _frame(self, rows: npt.NDArray[np.float64]) -> Any:
        """Return rows as a data frame, which a ``ColumnTransformer`` that names its columns insists on."""
        return check_pandas_support("a ColumnTransformer that names its columns").DataFrame(rows, columns=self.features)


def open_original(model: Any) -> Original:
    """Look at a fitted binary classifier.

    Raises:
        Unsupported: it is something else, is not fitted, or gives no probabilities.
    """
    name = type(model).__name__
    module = next(
        (
            ADAPTERS[key]
            for kind in type(model).__mro__
            if (key := f"{kind.__module__}.{kind.__qualname__}") in ADAPTERS
        ),
        None,
    )
    if module is not None and not hasattr(model, "predict_proba"):
        names, width = importlib.import_module(module).columns(model)
        return Original(model=model, width=width, features=names, classes=("0", "1"), booster=module)
    if not hasattr(model, "get_params") or not is_classifier(model):
        raise Unsupported(
            f"{name}: expected a fitted binary classifier of scikit-learn, LightGBM or XGBoost, which gives one "
            "probability; regressors, rankers and clusterings give none"
        )
    classes = getattr(model, "classes_", None)
    if classes is None:
        raise Unsupported(f"{name}: it is not fitted; fit it, save it, and import it again")
    if not hasattr(model, "predict_proba"):
        raise Unsupported(f"{name}: it has no probabilities; wrap it in CalibratedClassifierCV and fit that")
    shape = np.shape(classes) if not isinstance(classes, list) else (len(classes), 0)
    if shape != (2,):
        raise Unsupported(f"{name}: expected two classes, got {shape[0]}; train one against the rest")
    first, second = (str(one) for one in classes)
    return Original(model=model, width=_width(model), features=_names(model), classes=(first, second), booster=None)


def library_versions() -> dict[str, str]:
    """Return the versions of the tabular libraries that this process has loaded."""
    loaded = {"scikit-learn": "sklearn"}
    return {name: importlib.metadata.version(name) for name in LIBRARIES if loaded.get(name, name) in sys.modules}


def _width(model: Any) -> int:
    width = getattr(model, "n_features_in_", None)
    if width is None:
        raise Unsupported(f"{type(model).__name__}: it does not say how many columns it takes (n_features_in_)")
    return int(width)


def _names(model: Any) -> tuple[str, ...] | None:
    for attribute in ("feature_names_in_", "feature_name_"):
        names = getattr(model, attribute, None)
        if names is not None and len(names) == _width(model):
            return tuple(str(one) for one in names)
    return None
