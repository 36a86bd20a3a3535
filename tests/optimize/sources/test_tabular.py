"""Every estimator, bare and inside every calibrator, on real rows: the ONNX gives the source's probability."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from optimize.sources.imported import Imported, SourceOptions
from optimize.sources.tabular import MAX_ERROR, import_estimator
from runtime.engine import load_network
from tests.optimize.sources.test_tabular_rows import Rows, Sample, banknotes, card_fraud


def columns() -> ColumnTransformer:
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    parts = [("scale", scaled, [0, 4, -1]), ("range", MinMaxScaler(), slice(5, 8)), ("gone", "drop", [8])]
    return ColumnTransformer(parts, remainder="passthrough", transformer_weights={"scale": 2.0})


def lgbm(**settings: Any) -> lightgbm.LGBMClassifier:
    return lightgbm.LGBMClassifier(n_estimators=40, num_leaves=8, n_jobs=1, verbose=-1, **settings)


def xgb(**settings: Any) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(**{"n_estimators": 40, "max_depth": 4, "n_jobs": 1, **settings})


TREES = {"max_depth": 8, "random_state": 0}
BINS = {"quantile_method": "averaged_inverted_cdf", "n_bins": 4}

TAKE_MISSING: Mapping[str, Callable[[], Any]] = {
    "imputed and scaled regression": lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
    "columns and histogram boosting": lambda: make_pipeline(columns(), HistGradientBoostingClassifier(max_iter=20)),
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_iter=30),
    "random forest": lambda: RandomForestClassifier(20, **TREES),
    "extra trees": lambda: ExtraTreesClassifier(20, **TREES),
    "decision tree": lambda: DecisionTreeClassifier(max_depth=6),
    "scaled random forest": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(20, **TREES)),
    "lightgbm": lgbm,
    "xgboost": xgb,
}
TAKE_NONE: Mapping[str, Callable[[], Any]] = {
    "regression": lambda: make_pipeline(RobustScaler(), LogisticRegression(max_iter=500)),
    "gradient descent": lambda: make_pipeline(MaxAbsScaler(), SGDClassifier(loss="log_loss", random_state=0)),
    "support vectors": lambda: make_pipeline(StandardScaler(), LinearSVC()),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=20, random_state=0),
}
ESTIMATORS = {**TAKE_MISSING, **TAKE_NONE}
CALIBRATORS: Mapping[str, Callable[[Any], Any]] = {
    "sigmoid, an ensemble": lambda own: CalibratedClassifierCV(own, method="sigmoid", cv=2),
    "sigmoid, one": lambda own: CalibratedClassifierCV(own, method="sigmoid", cv=2, ensemble=False),
    "isotonic, an ensemble": lambda own: CalibratedClassifierCV(own, method="isotonic", cv=2),
    "isotonic, one": lambda own: CalibratedClassifierCV(own, method="isotonic", cv=2, ensemble=False),
    "temperature": lambda own: CalibratedClassifierCV(own, method="temperature", cv=2),
}
ONE_OF_A_KIND: Mapping[str, Callable[[], Any]] = {
    "products": lambda: make_pipeline(
        SimpleImputer(add_indicator=True), StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=200)
    ),
    "bins": lambda: make_pipeline(SimpleImputer(), KBinsDiscretizer(**BINS), LogisticRegression(max_iter=500)),
    "numbered bins": lambda: make_pipeline(
        SimpleImputer(), KBinsDiscretizer(encode="ordinal", **BINS), MinMaxScaler(clip=True), LogisticRegression()
    ),
    "hot columns": lambda: make_pipeline(
        ColumnTransformer([("hot", OneHotEncoder(drop="first", handle_unknown="ignore"), [1, 2])]), LogisticRegression()
    ),
    "union and choice": lambda: make_pipeline(
        SimpleImputer(), make_union(StandardScaler(), MinMaxScaler()), SelectKBest(k=8), LogisticRegression()
    ),
    "exponential loss": lambda: make_pipeline(
        SimpleImputer(), GradientBoostingClassifier(loss="exponential", n_estimators=20)
    ),
    "a vote": lambda: VotingClassifier(
        [("a", ExtraTreesClassifier(10)), ("b", lgbm()), ("c", xgb())], voting="soft", weights=[1, 2, 3]
    ),
    "lightgbm, zeros missing": lambda: lgbm(zero_as_missing=True),
    "lightgbm, none missing": lambda: lgbm(use_missing=False),
    "lightgbm, forest": lambda: lgbm(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7),
    "lightgbm, dropped trees": lambda: lgbm(boosting_type="dart"),
    "lightgbm, steep": lambda: lgbm(sigmoid=2.5),
    "xgboost, zeros missing": lambda: xgb(missing=0.0),
    "xgboost, dropped trees": lambda: xgb(booster="dart", rate_drop=0.3),
    "xgboost, linear": lambda: xgboost.XGBClassifier(booster="gblinear", n_estimators=20),
    "xgboost, forest": lambda: xgboost.XGBRFClassifier(n_estimators=20, n_jobs=1),
    "xgboost, base score": lambda: xgb(base_score=0.2),
    "four hundred trees": lambda: lightgbm.LGBMClassifier(n_estimators=400, num_leaves=8, n_jobs=1, verbose=-1),
    "calibrated twice": lambda: CalibratedClassifierCV(CalibratedClassifierCV(lgbm(), cv=2), method="isotonic", cv=2),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small fits on a busy machine wait for each other's threads far longer than they compute."""
    with threadpool_limits(1):
        yield


@cache
def sample_for(missing: bool) -> Sample:
    return card_fraud().with_missing() if missing else card_fraud()


def fitted(estimator: Any, sample: Sample) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the trainers; what imports is run outside
        return estimator.fit(sample.rows[::2], sample.fraud[::2])


@cache
def fitted_once(name: str) -> Any:
    return fitted(ESTIMATORS[name](), sample_for(name in TAKE_MISSING))


def imported(estimator: Any, rows: Rows, **options: Any) -> Imported:
    return import_estimator(estimator, SourceOptions(**options), rows, {})


def probabilities(found: Imported, rows: Rows, folder: Path) -> np.ndarray:
    onnx.save(found.network, folder / "table.onnx")
    logits = load_network("onnxruntime", folder / "table.onnx", 1).run(rows)
    assert logits.dtype == np.float32
    assert logits.shape == (len(rows), 1)
    assert np.isfinite(logits).all()
    return 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "support vectors"])
def test_a_bare_estimator_keeps_its_probabilities(name: str, tmp_path: Path) -> None:
    sample = sample_for(name in TAKE_MISSING)
    model = fitted_once(name)
    found = imported(model, sample.rows)
    onnx.checker.check_model(found.network, full_check=True)
    expected = model.predict_proba(sample.rows.astype(np.float64))[:, 1]
    assert np.abs(probabilities(found, sample.rows, tmp_path) - expected).max() < MAX_ERROR
    assert found.kind == "table"
    assert found.parity.inputs == len(sample.rows)
    assert found.parity.max_abs_error < 1e-6
    assert not any("skl2onnx" in note for note in found.notes)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_calibrated_estimator_keeps_its_probabilities(name: str, calibrator: str) -> None:
    sample = sample_for(name in TAKE_MISSING)
    model = fitted(CALIBRATORS[calibrator](ESTIMATORS[name]()), sample)
    assert imported(model, sample.rows).parity.max_abs_error < MAX_ERROR


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_that_was_calibrated_after_its_training_keeps_its_probabilities(name: str, method: str) -> None:
    sample = sample_for(name in TAKE_MISSING)
    model = fitted(CalibratedClassifierCV(FrozenEstimator(fitted_once(name)), method=method), sample)
    assert imported(model, sample.rows).parity.max_abs_error < MAX_ERROR


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_what_only_some_models_do_is_kept_too(name: str) -> None:
    sample = sample_for(name != "hot columns")
    model = fitted(ONE_OF_A_KIND[name](), sample)
    found = imported(model, sample.rows)
    assert found.parity.max_abs_error < MAX_ERROR
    assert not any("skl2onnx" in note for note in found.notes)


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "support vectors" and "columns" not in n])
def test_the_swiss_banknotes_are_told_as_the_source_tells_them(name: str) -> None:
    sample = banknotes()
    found = imported(fitted(clone(ESTIMATORS[name]()), sample), sample.rows, features=sample.names)
    assert found.parity.max_abs_error < MAX_ERROR
    assert found.features == sample.names


def test_a_model_that_ours_does_not_know_goes_through_the_published_converter() -> None:
    sample = sample_for(False)
    found = imported(fitted(AdaBoostClassifier(n_estimators=5), sample), sample.rows)
    assert any("skl2onnx" in note for note in found.notes)
    assert found.parity.max_abs_error < MAX_ERROR


def test_certainty_is_a_large_finite_logit(tmp_path: Path) -> None:
    sample = sample_for(False)
    model = fitted(DecisionTreeClassifier(random_state=0), sample)
    assert set(np.unique(model.predict_proba(sample.rows[::2])[:, 1])) == {0.0, 1.0}
    found = imported(model, sample.rows)
    onnx.save(found.network, tmp_path / "sure.onnx")
    logits = load_network("onnxruntime", tmp_path / "sure.onnx", 1).run(sample.rows)
    assert 30 < np.abs(logits).min() <= np.abs(logits).max() < 40


def test_the_class_that_means_fraud_may_be_the_first() -> None:
    sample = sample_for(False)
    names = np.where(sample.fraud, "bad", "good")
    model = RandomForestClassifier(10, random_state=0).fit(sample.rows, names)
    for wanted, column in (("bad", 0), ("good", 1), (None, 1), ("0", 0)):
        found = imported(model, sample.rows, counterfeit_class=wanted)
        assert found.classes == ("bad", "good")
        assert found.parity.max_abs_error < MAX_ERROR
        assert np.isclose(model.predict_proba(sample.rows)[:, column].mean() < 0.5, column == 0)


def test_columns_that_a_data_frame_named_are_found_by_name() -> None:
    pandas = pytest.importorskip("pandas")
    sample = sample_for(False)
    frame = pandas.DataFrame(sample.rows, columns=list(sample.names))
    chosen = ColumnTransformer(
        [
            ("a", StandardScaler(), ["TX_AMOUNT", sample.names[5]]),
            ("b", "passthrough", make_column_selector("TERMINAL")),
        ]
    )
    model = make_pipeline(chosen, LogisticRegression(max_iter=500)).fit(frame, sample.fraud)
    found = imported(model, sample.rows)
    assert found.features == sample.names
    assert found.parity.max_abs_error < MAX_ERROR


def test_training_that_stopped_early_is_imported_as_far_as_it_predicts() -> None:
    sample = sample_for(True)
    stopped = xgb(n_estimators=60, learning_rate=0.9, early_stopping_rounds=3)
    stopped.fit(sample.rows[::2], sample.fraud[::2], eval_set=[(sample.rows[1::2], sample.fraud[1::2])], verbose=False)
    assert stopped.best_iteration < stopped.get_booster().num_boosted_rounds() - 1
    assert imported(stopped, sample.rows).parity.max_abs_error < MAX_ERROR


def test_the_same_model_gives_the_same_bytes() -> None:
    sample = sample_for(True)
    first, second = (imported(fitted_once("xgboost"), sample.rows).network.SerializeToString() for _ in range(2))
    assert first == second
