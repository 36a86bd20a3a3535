"""Model files of tabular libraries, by the end of their name. A pickle runs its author's code: trust it first."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib

from runtime.contracts.errors import Unsupported


def load_estimator(path: Path) -> object:
    """Load a fitted model.

    Args:
        path: LightGBM ``.txt``, XGBoost ``.json`` or ``.ubj``, scikit-learn ``.joblib``, ``.pkl`` or ``.pickle``. The
            last three are pickles: opening one runs whatever its author put into it.

    Raises:
        Unsupported: another name, contents that the name does not promise, or a library that is not installed.
    """
    if path.suffix not in _LOADERS:
        raise Unsupported(f"{path}: expected a model file that ends in {', '.join(_LOADERS)}")
    if not path.is_file():
        raise Unsupported(f"{path}: there is no such file")
    return _LOADERS[path.suffix](path)


def _lightgbm(path: Path) -> object:
    lightgbm = _installed("lightgbm", path)
    try:
        return lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as error:
        raise _wrong(path, "a model that LightGBM's save_model wrote", error) from error


def _xgboost(path: Path) -> object:
    xgboost = _installed("xgboost", path)
    booster = xgboost.Booster()
    try:
        booster.load_model(str(path))
        if "scikit_learn" not in booster.attributes():
            return booster
        classifier = xgboost.XGBClassifier()  # only the classifier knows where its training stopped early
        classifier.load_model(str(path))
    except (xgboost.core.XGBoostError, TypeError) as error:
        raise _wrong(path, "a model that XGBoost's save_model wrote", error) from error
    return classifier if booster.attr("scikit_learn") and '"classifier"' in booster.attr("scikit_learn") else booster


def _pickle(path: Path) -> object:
    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"{path}: it was saved with {error.name}, which is not installed; pip install {error.name}"
        ) from error
    except Exception as error:  # a pickle runs any code, which may raise anything
        raise _wrong(path, "a fitted estimator that joblib or pickle saved", error) from error


def _installed(library: str, path: Path) -> Any:
    try:
        module: ModuleType = importlib.import_module(library)
    except ImportError as error:
        raise Unsupported(f"{path}: reading it needs {library}, which is not installed; pip install {library}") from (
            error
        )
    return module


def _wrong(path: Path, expected: str, error: Exception) -> Unsupported:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return Unsupported(f"{path}: expected {expected}, got something else ({reason}); save the model again")


_LOADERS: Mapping[str, Callable[[Path], object]] = {
    ".txt": _lightgbm,
    ".json": _xgboost,
    ".ubj": _xgboost,
    ".joblib": _pickle,
    ".pkl": _pickle,
    ".pickle": _pickle,
}
