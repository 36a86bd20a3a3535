"""A model in MLflow, by its URI: what its flavour loads, and where it came from.

Loading a pytorch or sklearn flavour opens a pickle, which runs its author's code: open models of your own only.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException

from optimize.sources.run_onnx import one_line
from runtime.contracts.errors import Unsupported

SCHEMES = ("models:/", "runs:/")

FLAVOURS = ("pytorch", "onnx", "sklearn", "lightgbm", "xgboost")
"""In the order of preference; MLflow writes ``python_function`` beside each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromMlflow:
    """A model object as its flavour loads it, and its provenance."""

    model: object
    provenance: Mapping[str, str]


def load_uri(uri: str) -> FromMlflow:
    """Load a model from the tracking server that ``MLFLOW_TRACKING_URI`` names, else MLflow's own default.

    Args:
        uri: ``models:/name/version``, ``models:/name@alias`` or ``runs:/run_id/path``.

    Raises:
        Unsupported: there is no such model, it has no flavour that can be imported, or a library is missing.
    """
    try:
        with _quiet():
            info = mlflow.models.get_model_info(uri)
            flavour = next((one for one in FLAVOURS if one in info.flavors), None)
            if flavour is None:
                raise Unsupported(f"{uri}: flavours {', '.join(info.flavors)}, expected one of {', '.join(FLAVOURS)}")
            model: object = importlib.import_module(f"mlflow.{flavour}").load_model(uri)
    except (MlflowException, ImportError, OSError) as error:
        raise Unsupported(
            f"{uri}: MLflow at {mlflow.get_tracking_uri()} cannot load it: {one_line(error)}; check the URI and "
            "MLFLOW_TRACKING_URI"
        ) from error
    provenance = {"source": uri, "source_kind": f"mlflow {flavour}", "mlflow": mlflow.__version__}
    return FromMlflow(model=model, provenance={**provenance, "mlflow_model": str(info.model_uuid or info.run_id)})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's progress bars and warnings off the screen for one call."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
