"""Binary classifiers as ONNX in float64: linear models, scikit-learn's trees, votes and calibrators.

Classifiers nest (a calibrator around a pipeline around trees), so ``classify`` calls itself. Other libraries' trees are
reached through ``ADAPTERS`` and imported only when one is met.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from optimize.sources.tabular_graph import Answer, NoConverter, Score, Table, TableGraph
from optimize.sources.tabular_steps import transform
from optimize.sources.tree_ensemble import Tree
from runtime.contracts.errors import Unsupported

ADAPTERS: Mapping[str, str] = {
    "lightgbm.sklearn.LGBMClassifier": "optimize.sources.tabular_lightgbm",
    "lightgbm.basic.Booster": "optimize.sources.tabular_lightgbm",
    "xgboost.sklearn.XGBClassifier": "optimize.sources.tabular_xgboost",
    "xgboost.core.Booster": "optimize.sources.tabular_xgboost",
}
"""Class to the module whose ``classify`` converts it."""
TEMPERATURE_EPS = 1e-12
"""What scikit-learn adds to probabilities before it takes their logarithm."""


def classify(graph: TableGraph, rows: Table, model: Any) -> Answer:
    """Append a fitted binary classifier.

    Raises:
        Unsupported: it cannot be ONNX.
        NoConverter: it is not known here.
    """
    for kind in type(model).__mro__:
        if module := ADAPTERS.get(f"{kind.__module__}.{kind.__qualname__}"):
            answer = importlib.import_module(module).classify(graph, rows, model)
            assert isinstance(answer, Answer)  # the contract of a module named in ADAPTERS
            return answer
    for known, convert in _CONVERTERS.items():
        if isinstance(model, known):
            return convert(graph, rows, model)
    raise NoConverter(type(model).__name__)


def _pipeline(graph: TableGraph, rows: Table, model: Any) -> Answer:
    for _, step in model.steps[:-1]:
        rows = transform(graph, rows, step)
    return classify(graph, rows, model.steps[-1][1])


def _searched(graph: TableGraph, rows: Table, model: Any) -> Answer:
    return classify(graph, rows, model.best_estimator_)


def _frozen(graph: TableGraph, rows: Table, model: Any) -> Answer:
    return classify(graph, rows, model.estimator)


def _linear(graph: TableGraph, rows: Table, model: Any) -> Answer:
    decision = graph.weighed(rows, model.coef_, float(np.ravel(model.intercept_)[0]))
    if not hasattr(model, "predict_proba"):  # LinearSVC, RidgeClassifier, SGDClassifier of a hinge
        return Answer(decision=decision, score=None)
    if isinstance(model, SGDClassifier) and model.loss != "log_loss":
        raise NoConverter(f"SGDClassifier(loss={model.loss!r})")
    return Answer(decision=decision, score=Score(name=decision, form="logit"))


def _sklearn_tree(fitted: Any, scale: float = 1.0) -> Tree:
    """Return a fitted ``Tree`` of scikit-learn; of a classifier, leaves hold the share of the second class."""
    values = np.asarray(fitted.value)  # (nodes, 1, classes), or (nodes, 1, 1) of a regressor
    return Tree(
        feature=np.asarray(fitted.feature, np.int64),
        threshold=np.asarray(fitted.threshold, np.float64),
        left=np.asarray(fitted.children_left, np.int64),
        right=np.asarray(fitted.children_right, np.int64),
        missing_left=np.asarray(fitted.missing_go_to_left, np.bool_),
        value=scale * values[:, 0, -1].astype(np.float64),
    )


def _forest(graph: TableGraph, rows: Table, model: Any) -> Answer:
    grown = model.estimators_ if hasattr(model, "estimators_") else [model]
    sums = graph.trees([_sklearn_tree(each.tree_) for each in grown], "<=", graph.as_float32(rows))
    share = sums if len(grown) == 1 else graph.op("Div", sums, graph.constant(float(len(grown))))
    return Answer(decision=None, score=Score(name=share, form="probability"))


def _gradient_boosting(graph: TableGraph, rows: Table, model: Any) -> Answer:
    rows = graph.as_float32(rows)
    trees = [_sklearn_tree(each.tree_, model.learning_rate) for each in model.estimators_.ravel()]
    # the private method is the one place that knows the link of the loss; a row's values do not matter to a prior
    if model.init_ != "zero" and type(model.init_).__name__ != "DummyClassifier":
        raise Unsupported(f"GradientBoostingClassifier(init={type(model.init_).__name__}): expected no init, or 'zero'")
    start = float(model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0, 0])
    raw = graph.op("Add", graph.trees(trees, "<=", rows), graph.constant(start))
    logit = raw if model.loss == "log_loss" else graph.op("Mul", raw, graph.constant(2.0))  # exponential
    return Answer(decision=raw, score=Score(name=logit, form="logit"))


def _hist_gradient_boosting(graph: TableGraph, rows: Table, model: Any) -> Answer:
    trees = []
    for (predictor,) in model._predictors:
        nodes, leaf = predictor.nodes, predictor.nodes["is_leaf"].astype(np.bool_)
        if nodes["is_categorical"].any():
            raise Unsupported(
                "HistGradientBoostingClassifier: it splits on categories; train it with categorical_features=None"
            )
        trees.append(
            Tree(
                feature=nodes["feature_idx"].astype(np.int64),
                threshold=nodes["num_threshold"].astype(np.float64),
                left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
                right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
                missing_left=nodes["missing_go_to_left"].astype(np.bool_),
                value=nodes["value"].astype(np.float64),
            )
        )
    if getattr(model, "is_categorical_", None) is not None:
        raise Unsupported("HistGradientBoostingClassifier: it has categorical columns; every column must be a number")
    start = graph.constant(float(np.ravel(model._baseline_prediction)[0]))
    logit = graph.op("Add", graph.trees(trees, "<=", rows), start)
    return Answer(decision=logit, score=Score(name=logit, form="logit"))


def _vote(graph: TableGraph, rows: Table, model: Any) -> Answer:
    if model.voting != "soft":
        raise Unsupported("VotingClassifier: a hard vote has no probability; train it with voting='soft'")
    weights = model._weights_not_none or [1.0] * len(model.estimators_)
    parts = [_probability_of(graph, rows, each) for each in model.estimators_]
    return Answer(decision=None, score=_mean(graph, parts, np.asarray(weights, np.float64)))


def _probability_of(graph: TableGraph, rows: Table, model: Any) -> str:
    answer = classify(graph, rows, model)
    if answer.score is None:
        raise Unsupported(f"{type(model).__name__}: it has no probabilities; wrap it in CalibratedClassifierCV")
    return graph.probability(answer.score)


def _mean(graph: TableGraph, parts: list[str], weights: npt.NDArray[np.float64]) -> Score:
    total = graph.op("Mul", parts[0], graph.constant(weights[0])) if weights[0] != 1 else parts[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = graph.op("Add", total, graph.op("Mul", part, graph.constant(weight)) if weight != 1 else part)
    return Score(name=graph.op("Div", total, graph.constant(float(weights.sum()))), form="probability")


def _calibrated(graph: TableGraph, rows: Table, model: Any) -> Answer:
    scores = []
    for each in model.calibrated_classifiers_:
        answer = classify(graph, rows, each.estimator)
        if answer.decision is None and answer.score is None:
            raise Unsupported(f"{type(each.estimator).__name__}: it has neither decision_function nor probabilities")
        (calibrator,) = each.calibrators
        scores.append(_calibrate(graph, answer, calibrator))
    if len(scores) == 1:
        return Answer(decision=None, score=scores[0])
    parts = [graph.probability(score) for score in scores]
    return Answer(decision=None, score=_mean(graph, parts, np.ones(len(parts))))


def _calibrate(graph: TableGraph, answer: Answer, calibrator: Any) -> Score:
    """Append one calibrator; it takes the decision of a classifier that has one, else the probability."""
    kind = type(calibrator).__name__
    if kind == "_TemperatureScaling":
        return Score(name=_temperature(graph, answer, float(calibrator.beta_)), form="logit")
    if kind == "IsotonicRegression":
        return Score(name=_isotonic(graph, answer, calibrator), form="probability")
    if kind != "_SigmoidCalibration":
        raise NoConverter(kind)
    scaled = graph.op("Mul", _raw(graph, answer), graph.constant(-float(calibrator.a_)))
    return Score(name=graph.op("Sub", scaled, graph.constant(float(calibrator.b_))), form="logit")


def _raw(graph: TableGraph, answer: Answer) -> str:
    if answer.decision is not None:
        return answer.decision
    if answer.rounded is not None:
        return answer.rounded()
    assert answer.score is not None  # looked at by the caller
    return graph.probability(answer.score)


def _temperature(graph: TableGraph, answer: Answer, beta: float) -> str:
    """Append ``softmax(beta * (-x, x))`` of a decision, or ``softmax(beta * log(p + eps))`` of probabilities."""
    raw = _raw(graph, answer)
    if answer.decision is not None:
        return graph.op("Mul", raw, graph.constant(2.0 * beta))
    eps, one = graph.constant(TEMPERATURE_EPS), graph.constant(1.0)
    log_p = graph.op("Log", graph.op("Add", raw, eps))
    log_q = graph.op("Log", graph.op("Add", graph.op("Sub", one, raw), eps))
    return graph.op("Mul", graph.op("Sub", log_p, log_q), graph.constant(beta))


def _isotonic(graph: TableGraph, answer: Answer, calibrator: Any) -> str:
    """Append the piecewise-linear map as a sum of ramps: ``y0 + sum(rise_i * clip((x - x_i) / run_i, 0, 1))``."""
    x = np.asarray(calibrator.X_thresholds_, np.float64)
    y = np.asarray(calibrator.y_thresholds_, np.float64)
    raw = _raw(graph, answer)
    if calibrator.X_thresholds_.dtype == np.float32:  # then scikit-learn rounds what it calibrates
        raw = graph.as_float32(Table(name=raw, width=1)).name
    run, rise = np.diff(x), np.diff(y)
    steps = rise != 0
    if not steps.any():
        flat = graph.op("Clip", raw, graph.constant(0.0), graph.constant(0.0))
        return graph.op("Add", flat, graph.constant(float(y[0])))
    along = graph.op("Div", graph.op("Sub", raw, graph.constant(x[:-1][steps][None])), graph.constant(run[steps][None]))
    clipped = graph.op("Clip", along, graph.constant(0.0), graph.constant(1.0))
    return graph.weighed(Table(name=clipped, width=int(steps.sum())), rise[steps], float(y[0]))


_CONVERTERS: Mapping[type[BaseEstimator], Callable[[TableGraph, Table, Any], Answer]] = {
    Pipeline: _pipeline,
    GridSearchCV: _searched,
    RandomizedSearchCV: _searched,
    FrozenEstimator: _frozen,
    LogisticRegression: _linear,
    LogisticRegressionCV: _linear,
    LinearDiscriminantAnalysis: _linear,
    RidgeClassifier: _linear,
    SGDClassifier: _linear,
    LinearSVC: _linear,
    DecisionTreeClassifier: _forest,
    RandomForestClassifier: _forest,
    ExtraTreesClassifier: _forest,
    GradientBoostingClassifier: _gradient_boosting,
    HistGradientBoostingClassifier: _hist_gradient_boosting,
    VotingClassifier: _vote,
    CalibratedClassifierCV: _calibrated,
}
