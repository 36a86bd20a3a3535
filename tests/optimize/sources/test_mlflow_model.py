"""Models out of a real MLflow with SQLite: three flavours, by registry and by run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import mlflow.onnx
import mlflow.pytorch
import mlflow.sklearn
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import PX, classifier
from tests.optimize.sources.test_torch_modules import classes

ROWS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def uris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """One model a flavour, logged and registered."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.create_experiment("sources", artifact_location=(folder / "artifacts").as_uri())
        mlflow.set_experiment("sources")
        fitted = LogisticRegression().fit(ROWS, ROWS[:, 0] + ROWS[:, 1] > 0)
        with mlflow.start_run() as run:
            example = np.zeros((2, 3, PX, PX), np.float32)
            mlflow.pytorch.log_model(
                classes().eval(),
                name="torch",
                registered_model_name="torch",
                input_example=example,
                pip_requirements=[],
            )
            mlflow.pytorch.log_model(classes(), name="pickled", serialization_format="pickle", pip_requirements=[])
            mlflow.onnx.log_model(classifier(), name="onnx", registered_model_name="onnx", pip_requirements=[])
            mlflow.sklearn.log_model(fitted, name="sklearn", registered_model_name="sklearn", pip_requirements=[])
    yield {"registry": "models:/{}/1", "run": f"runs:/{run.info.run_id}/{{}}"}
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("place", ["registry", "run"])
@pytest.mark.parametrize("flavour", ["torch", "onnx"])
def test_a_network_in_mlflow_is_imported_and_equal_to_its_flavour(
    flavour: str, place: str, uris: Mapping[str, str], photos: list[Path]
) -> None:
    uri = uris[place].format(flavour)
    imported = import_source(uri, SourceOptions(px=PX), photos, None)
    assert (imported.kind, imported.px) == ("photos", PX)
    assert imported.provenance["source"] == uri
    assert imported.provenance["mlflow"] == mlflow.__version__
    assert ("torch" if flavour == "torch" else "ONNX Runtime") in imported.parity.of


def test_a_pickled_module_in_mlflow_is_imported_too(uris: Mapping[str, str], photos: list[Path]) -> None:
    assert import_source(uris["run"].format("pickled"), SourceOptions(px=PX), photos, None).kind == "photos"


def test_an_estimator_in_mlflow_becomes_a_table(uris: Mapping[str, str], tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    uri = uris["registry"].format("sklearn")
    imported = import_source(uri, SourceOptions(), [], tmp_path / "rows.npy")
    assert imported.kind == "table"
    assert imported.parity.max_abs_error <= 1e-5
    assert imported.provenance["source"] == uri
    with pytest.raises(Unsupported, match="compared on real rows: give --samples"):
        import_source(uri, SourceOptions(), [], None)


@pytest.mark.parametrize("uri", ["models:/nobody/1", "models:/torch/77", "runs:/0123456789abcdef/m", "models:/"])
def test_a_uri_that_leads_nowhere_is_refused_in_one_line(uri: str, uris: Mapping[str, str], photos: list[Path]) -> None:
    with pytest.raises(Unsupported, match="cannot load it") as caught:
        import_source(uri, SourceOptions(), photos, None)
    assert uri in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flavour_that_nobody_reads_is_named(uris: Mapping[str, str], photos: list[Path]) -> None:
    class Own(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mlflow.start_run() as run:
            mlflow.pyfunc.log_model(python_model=Own(), name="own", pip_requirements=[])
    with pytest.raises(Unsupported, match="flavours python_function, expected one of pytorch, onnx, sklearn"):
        import_source(f"runs:/{run.info.run_id}/own", SourceOptions(), photos, None)
