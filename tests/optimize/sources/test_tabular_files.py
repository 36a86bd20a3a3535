"""Model files, and everything that is refused in words."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from optimize.sources.imported import SourceOptions
from optimize.sources.tabular import import_estimator, import_file
from runtime.contracts.errors import Unsupported

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(300, 4)).astype(np.float32)
CLASSES = (ROWS[:, 0] + ROWS[:, 1] ** 2 > 0.7).astype(int)
NONE = SourceOptions()
QUIET = {"verbose": -1, "num_threads": 1}


def lgb_booster(objective: str = "binary", **settings: Any) -> lightgbm.Booster:
    parameters = {"objective": objective, "num_leaves": 4, **QUIET, **settings}
    return lightgbm.train(parameters, lightgbm.Dataset(ROWS, CLASSES), num_boost_round=8)


def xgb_booster(objective: str = "binary:logistic") -> xgboost.Booster:
    names = ["a", "b", "c", "d"]
    data = xgboost.DMatrix(ROWS, CLASSES, feature_names=names)
    return xgboost.train({"objective": objective, "max_depth": 3, "nthread": 1}, data, num_boost_round=8)


@pytest.mark.parametrize("name", ["model.txt", "model.json", "model.ubj", "model.joblib", "model.pkl"])
def test_a_model_file_becomes_a_network_that_says_where_it_came_from(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "model.txt":
        lgb_booster().save_model(path)
    elif name.endswith(("json", "ubj")):
        xgb_booster().save_model(path)
    else:
        joblib.dump(DecisionTreeClassifier(max_depth=3).fit(ROWS, CLASSES), path)
    found = import_file(path, NONE, ROWS)
    assert found.parity.max_abs_error < 1e-6
    assert found.provenance["source"] == name
    assert len(found.provenance["source_sha256"]) == 64
    assert found.features == (("a", "b", "c", "d") if name.endswith(("json", "ubj")) else ("f0", "f1", "f2", "f3"))


def test_a_classifiers_file_remembers_where_its_training_stopped(tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=80, learning_rate=0.9, early_stopping_rounds=2, n_jobs=1)
    model.fit(ROWS[:150], CLASSES[:150], eval_set=[(ROWS[150:], 1 - CLASSES[150:])], verbose=False)
    assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    model.save_model(tmp_path / "model.json")
    found = import_file(tmp_path / "model.json", NONE, ROWS)
    assert found.network == import_estimator(model, NONE, ROWS, {}).network


@pytest.mark.parametrize("name", ["model.txt", "model.json", "model.ubj", "model.joblib", "model.pkl"])
@pytest.mark.parametrize("content", [b"", b"no model\n", b'{"learner": 1}', bytes(range(256))])
def test_a_file_that_is_not_what_its_name_says_is_refused_in_one_line(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unsupported, match=r"expected a (model|fitted)") as refused:
        import_file(tmp_path / name, NONE, ROWS)
    assert "\n" not in str(refused.value)


def test_a_file_of_another_kind_or_none_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(Unsupported, match=r"ends in \.txt, \.json"):
        import_file(tmp_path / "model.h5", NONE, ROWS)
    with pytest.raises(Unsupported, match="no such file"):
        import_file(tmp_path / "model.txt", NONE, ROWS)


@pytest.mark.parametrize(("library", "name"), [("lightgbm", "model.txt"), ("xgboost", "model.json")])
def test_a_library_that_is_not_installed_is_named_with_the_command(
    library: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Unsupported, match=f"pip install {library}"):
        import_file(tmp_path / name, NONE, ROWS)


def test_without_the_published_converter_its_models_are_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(Unsupported, match="pip install skl2onnx"):
        import_estimator(GaussianNB().fit(ROWS, CLASSES), NONE, ROWS, {})


def test_a_pickle_of_a_library_that_is_not_here_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nowhere.py").write_text("class Model:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(importlib.import_module("nowhere").Model()))
    (tmp_path / "nowhere.py").unlink()
    monkeypatch.delitem(sys.modules, "nowhere")
    importlib.invalidate_caches()
    with pytest.raises(Unsupported, match="pip install nowhere"):
        import_file(tmp_path / "model.pkl", NONE, ROWS)


def fitted(model: Any, targets: Any = CLASSES) -> Any:
    return model.fit(ROWS, targets)


def three_classes() -> Any:
    return fitted(LogisticRegression(), np.digitize(ROWS[:, 0], [-0.5, 0.5]))


def text_columns() -> Any:
    table = np.array([["red", 1.0], ["blue", 2.0]] * 20, dtype=object)
    hot = ColumnTransformer([("hot", OneHotEncoder(), [0])], remainder="passthrough")
    return make_pipeline(hot, LogisticRegression()).fit(table, [0, 1] * 20)


def categories(kind: str) -> Any:
    rows = ROWS.copy()
    rows[:, 2] = RANDOM.integers(0, 8, len(rows))
    if kind == "sklearn":
        return HistGradientBoostingClassifier(max_iter=3, categorical_features=[2]).fit(rows, CLASSES)
    if kind == "lightgbm":
        data = lightgbm.Dataset(rows, rows[:, 2] % 3 == 1, categorical_feature=[2])
        return lightgbm.train({"objective": "binary", "min_data_per_group": 1, **QUIET}, data, 3)
    data = xgboost.DMatrix(rows, rows[:, 2] % 3 == 1, feature_types=["q", "q", "c", "q"], enable_categorical=True)
    return xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 3)


REFUSED = {
    "a regressor": (lambda: fitted(LinearRegression()), "expected a fitted binary classifier"),
    "a forest of regressors": (lambda: fitted(RandomForestRegressor(3)), "expected a fitted binary classifier"),
    "a clustering": (lambda: fitted(KMeans(2, n_init=1)), "expected a fitted binary classifier"),
    "a ranker": (
        lambda: lightgbm.LGBMRanker(n_estimators=3, n_jobs=1, verbose=-1).fit(ROWS, CLASSES, group=[300]),
        "expected a fitted binary classifier",
    ),
    "no model": (lambda: {"a": 1}, "dict: expected a fitted binary classifier"),
    "no fit": (LogisticRegression, "it is not fitted"),
    "three classes": (three_classes, "expected two classes, got 3"),
    "one class": (lambda: fitted(DecisionTreeClassifier(), np.zeros(300)), "expected two classes, got 1"),
    "two outputs": (lambda: fitted(DecisionTreeClassifier(), np.stack([CLASSES, CLASSES], 1)), "expected two classes"),
    "no probabilities": (lambda: fitted(LinearSVC()), "wrap it in CalibratedClassifierCV"),
    "a hinge": (lambda: fitted(SGDClassifier()), "wrap it in CalibratedClassifierCV"),
    "a hard vote": (lambda: fitted(VotingClassifier([("a", GaussianNB())])), "no probabilities"),
    "python inside": (
        lambda: fitted(make_pipeline(FunctionTransformer(np.cbrt), LogisticRegression())),
        "it runs Python .*cbrt",
    ),
    "text": (text_columns, "its categories are text"),
    "categories": (lambda: categories("sklearn"), "categor"),
    "categories of lightgbm": (lambda: categories("lightgbm"), "splits column 2 on categories"),
    "categories of xgboost": (lambda: categories("xgboost"), "splits on categories"),
    "linear leaves": (lambda: lgb_booster(linear_tree=True), "linear_tree=false"),
    "a regression of lightgbm": (lambda: lgb_booster("regression"), "objective 'regression'; expected 'binary'"),
    "a regression of xgboost": (lambda: xgb_booster("reg:squarederror"), "expected 'binary:logistic'"),
    "a hinge of xgboost": (lambda: xgb_booster("binary:hinge"), "expected 'binary:logistic'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_gives_no_single_probability_or_cannot_be_a_network_is_refused(case: str) -> None:
    make, reason = REFUSED[case]
    model = make()
    rows = ROWS[:, :2] if case == "text" else ROWS
    with pytest.raises(Unsupported, match=reason) as refused:
        import_estimator(model, NONE, rows, {})
    assert "\n" not in str(refused.value)


def test_rows_that_do_not_fit_are_refused() -> None:
    model = fitted(LogisticRegression())
    for rows, reason in (
        (ROWS[:0], "real rows"),
        (ROWS[:, :3], r"expected shape \(N, 4\)"),
        (np.where(ROWS > 1, np.nan, ROWS).astype(np.float32), "refuses the rows given .*NaN"),
    ):
        with pytest.raises(Unsupported, match=reason):
            import_estimator(model, NONE, rows, {})


def test_names_of_columns_come_from_the_user_first_and_must_fit() -> None:
    model = fitted(LogisticRegression())
    assert import_estimator(model, SourceOptions(features=("a", "b", "c", "d")), ROWS, {}).features == tuple("abcd")
    for wrong in (("a", "b"), ("a", "b", "c", "a")):
        with pytest.raises(Unsupported, match="features: "):
            import_estimator(model, SourceOptions(features=wrong), ROWS, {})
    with pytest.raises(Unsupported, match="the model has 0 and 1"):
        import_estimator(model, SourceOptions(counterfeit_class="fake"), ROWS, {})


def test_a_network_that_disagrees_is_refused_with_the_row_and_both_values() -> None:
    class Shifted(LogisticRegression):
        """Its probabilities are not those that its coefficients give, as in a class with code of its own."""

        def predict_proba(self, X: Any) -> np.ndarray:
            p = super().predict_proba(X)
            p[np.asarray(X)[:, 0] > 2] = [0.25, 0.75]
            return p

    first = int(np.argmax(ROWS[:, 0] > 2))
    with pytest.raises(Unsupported, match=r"row \d+: the source's probability is 0\.75, the network's 0\."):
        import_estimator(fitted(Shifted()), NONE, ROWS, {})
    assert import_estimator(fitted(Shifted()), NONE, ROWS[:first], {}).parity.inputs == first


def test_a_source_that_refuses_missing_values_says_so_in_the_notes() -> None:
    notes = import_estimator(fitted(LogisticRegression()), NONE, ROWS, {}).notes
    assert any("missing values" in note for note in notes)
    assert import_estimator(fitted(DecisionTreeClassifier()), NONE, ROWS, {}).notes == ()


def test_a_network_of_neurons_is_a_tables_model_too() -> None:
    model = fitted(make_pipeline(MLPClassifier((4,), solver="lbfgs", max_iter=2000, random_state=0)))
    calibrated = CalibratedClassifierCV(model, cv=2).fit(ROWS, CLASSES)
    for one in (model, calibrated):
        assert import_estimator(one, NONE, ROWS, {}).parity.max_abs_error < 1e-5
