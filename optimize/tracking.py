"""Training runs into MLflow, when asked: parameters and metrics. MLflow is imported only then; it is slow to load."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.contracts.errors import StationFault


def track(uri: str, run_name: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
    """Log one run to the experiment ``touchstone``.

    Args:
        uri: MLflow tracking URI, for example ``sqlite:///mlflow.db``.
        run_name: what to call it.
        params: what was chosen.
        metrics: what came out.

    Raises:
        StationFault: MLflow refuses.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("touchstone")
        with mlflow.start_run(run_name=run_name):
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))
    except MlflowException as error:
        raise StationFault(f"--track {uri}: MLflow says: {error}; the result itself is written") from error
