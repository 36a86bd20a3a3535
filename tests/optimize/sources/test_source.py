"""What a user may name as a source, and what is said of everything else."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pytest

from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import classifier

HERE = "tests.optimize.sources.test_source"
NOT_CALLABLE = 3


def network() -> onnx.ModelProto:
    return classifier()


def estimator() -> object:
    rows = np.random.default_rng(0).normal(size=(80, 3))
    return lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, verbosity=-1).fit(rows, rows[:, 0] > 0)


def raising() -> object:
    raise RuntimeError("no\nweights here")


def text() -> str:
    return "a model, honestly"


def refusal(source: str, photos: list[Path]) -> str:
    with pytest.raises(Unsupported) as caught:
        import_source(source, SourceOptions(), photos, None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_factory_may_give_onnx(photos: list[Path], plain: SourceOptions) -> None:
    imported = import_source(f"{HERE}:network", plain, photos, None)
    assert imported.kind == "photos"
    assert imported.provenance["source"] == f"{HERE}:network"


def test_a_factory_may_give_an_estimator(plain: SourceOptions, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32))
    assert import_source(f"{HERE}:estimator", plain, [], tmp_path / "rows.npy").kind == "table"


def test_a_table_models_file_goes_to_the_tables(plain: SourceOptions, tmp_path: Path) -> None:
    estimator().booster_.save_model(tmp_path / "m.txt")  # type: ignore[attr-defined]
    np.save(tmp_path / "rows.npy", np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32))
    assert import_source(str(tmp_path / "m.txt"), plain, [], tmp_path / "rows.npy").kind == "table"
    with pytest.raises(Unsupported, match="give --samples"):
        import_source(str(tmp_path / "m.txt"), plain, [], None)


def test_a_factory_in_the_current_directory_is_found(
    plain: SourceOptions, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(classifier(), tmp_path / "m.onnx")
    (tmp_path / "station_model_of_mine.py").write_text("import onnx\ndef make():\n    return onnx.load('m.onnx')\n")
    monkeypatch.chdir(tmp_path)
    assert import_source("station_model_of_mine:make", plain, photos, None).kind == "photos"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("no_such_module:make", "module 'no_such_module' cannot be imported: ModuleNotFoundError"),
        (f"{HERE}:missing", "has no 'missing'"),
        (f"{HERE}:raising", "called without arguments and raised RuntimeError: no weights here"),
        (f"{HERE}:NOT_CALLABLE", "a int is not callable"),
        (f"{HERE}:text", "it gives a builtins.str; expected a torch module"),
        (f"{HERE}:refusal", "raised TypeError: refusal() missing 2 required"),
    ],
)
def test_a_factory_that_gives_no_model_is_refused(source: str, said: str, photos: list[Path]) -> None:
    assert said in refusal(source, photos)


@pytest.mark.parametrize("source", ["", "model.h5", "some folder", "https://example.org/m.onnxx", "a.b", ":", "3:x"])
def test_anything_else_is_answered_with_what_is_accepted(source: str, photos: list[Path]) -> None:
    message = refusal(source, photos)
    for accepted in (".onnx", "package.module:factory", ".pt2", "Hugging Face", "models:/", ".ubj", ".joblib"):
        assert accepted in message


def test_a_folder_without_config_json_is_none_of_them(photos: list[Path], tmp_path: Path) -> None:
    assert "this is none of them" in refusal(str(tmp_path), photos)
