"""Training runs into MLflow, when asked. Imports MLflow only then: it is slow to load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def track(uri: str, run_name: str, params: Mapping[str, object], metrics: Mapping[str, float], files: Path) -> None:
    """Log one run.

    Args:
        uri: MLflow tracking URI, for example ``sqlite:///mlflow.db``.
        run_name: what to call it.
        params: what was chosen.
        metrics: what came out.
        files: one file to keep with the run.
    """
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("touchstone")
    with mlflow.start_run(run_name=run_name):
        mlflow.log_params(dict(params))
        mlflow.log_metrics(dict(metrics))
        mlflow.log_artifact(str(files))
