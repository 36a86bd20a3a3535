"""scikit-learn's steps before the classifier, as ONNX in float64: choosing, imputing, scaling, binning, products.

A step that runs the user's own Python cannot be written down and is refused; one that is merely unknown here raises
``NoConverter``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from optimize.sources.tabular_graph import NoConverter, Table, TableGraph
from runtime.contracts.errors import Unsupported


def transform(graph: TableGraph, rows: Table, step: Any) -> Table:
    """Append a fitted transformer.

    Args:
        graph: to append to.
        rows: what it takes.
        step: a transformer, ``"passthrough"`` or ``None``.

    Raises:
        Unsupported: it cannot be ONNX.
        NoConverter: it is not known here.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return rows
    for kind, convert in _CONVERTERS.items():
        if isinstance(step, kind):
            return convert(graph, rows, step)
    raise NoConverter(type(step).__name__)


def _pipeline(graph: TableGraph, rows: Table, step: Any) -> Table:
    for _, each in step.steps:
        rows = transform(graph, rows, each)
    return rows


def _union(graph: TableGraph, rows: Table, step: Any) -> Table:
    weights = step.transformer_weights or {}
    parts = [(name, each) for name, each in step.transformer_list if not _is_drop(each)]
    return graph.beside([_times(graph, transform(graph, rows, each), weights.get(name)) for name, each in parts])


def _column_transformer(graph: TableGraph, rows: Table, step: Any) -> Table:
    weights, parts = step.transformer_weights or {}, []
    for name, each, chosen in step.transformers_:
        indices = _column_numbers(step, chosen)
        if not _is_drop(each) and len(indices):
            part = transform(graph, graph.columns(rows, indices), each)
            parts.append(_times(graph, part, weights.get(name)))
    if not parts:
        raise Unsupported("ColumnTransformer: it drops every column; expected at least one")
    return graph.beside(parts)


def _column_numbers(step: Any, chosen: Any) -> npt.NDArray[np.int64]:
    """Return the numbers of the columns that a fitted ``ColumnTransformer`` names, numbers, masks or slices."""
    names = list(getattr(step, "feature_names_in_", ()))
    if isinstance(chosen, slice):
        start = names.index(chosen.start) if isinstance(chosen.start, str) else chosen.start
        # a slice of names includes its end
        stop = names.index(chosen.stop) + 1 if isinstance(chosen.stop, str) else chosen.stop
        return np.arange(step.n_features_in_)[start : stop : chosen.step]
    listed = np.atleast_1d(np.asarray(chosen))
    if listed.dtype == np.bool_:
        return np.flatnonzero(listed)
    numbers = [names.index(str(one)) if isinstance(one, str) else int(one) for one in listed.tolist()]
    return np.array([number % step.n_features_in_ for number in numbers], np.int64)


def _is_drop(step: Any) -> bool:
    return isinstance(step, str) and step == "drop"


def _times(graph: TableGraph, part: Table, weight: float | None) -> Table:
    if weight is None:
        return part
    return Table(name=graph.op("Mul", part.name, graph.constant(weight)), width=part.width)


def _shifted(graph: TableGraph, rows: Table, minus: Any, divided_by: Any) -> Table:
    name = rows.name
    if minus is not None:
        name = graph.op("Sub", name, graph.constant(minus))
    if divided_by is not None:
        name = graph.op("Div", name, graph.constant(divided_by))
    return Table(name=name, width=rows.width)


def _standard(graph: TableGraph, rows: Table, step: Any) -> Table:
    return _shifted(graph, rows, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)


def _robust(graph: TableGraph, rows: Table, step: Any) -> Table:
    centre, scale = step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None
    return _shifted(graph, rows, centre, scale)


def _max_abs(graph: TableGraph, rows: Table, step: Any) -> Table:
    if getattr(step, "clip", False):
        raise NoConverter("MaxAbsScaler(clip=True)")
    return _shifted(graph, rows, None, step.scale_)


def _min_max(graph: TableGraph, rows: Table, step: Any) -> Table:
    name = graph.op(
        "Add", graph.op("Mul", rows.name, graph.constant(step.scale_)), graph.constant(np.asarray(step.min_))
    )
    if step.clip:
        low, high = (graph.constant(float(end)) for end in step.feature_range)
        name = graph.op("Min", graph.op("Max", name, low), high)
    return Table(name=name, width=rows.width)


def _impute(graph: TableGraph, rows: Table, step: Any) -> Table:
    if np.asarray(step.statistics_).dtype.kind not in "fiu":
        raise Unsupported("SimpleImputer: it fills in text; every column must be a number, so encode them beforehand")
    # it fills in what it found in the type that it was fitted on: of float32, the rounded value
    statistics = np.asarray(step.statistics_).astype(getattr(step, "_fill_dtype", np.float64)).astype(np.float64)
    kept = np.arange(rows.width) if step.keep_empty_features else np.flatnonzero(~np.isnan(statistics))
    there = graph.columns(rows, kept)
    filled = graph.op(
        "Where", _missing(graph, there, step.missing_values), graph.constant(statistics[kept]), there.name
    )
    parts = [Table(name=filled, width=len(kept))]
    if step.indicator_ is not None:
        parts.append(_indicate(graph, rows, step.indicator_))
    return graph.beside(parts)


def _indicate(graph: TableGraph, rows: Table, step: Any) -> Table:
    told = graph.columns(rows, step.features_)
    if not told.width:
        return told
    missing = _missing(graph, told, step.missing_values)
    return Table(name=graph.op("Cast", missing, to=TensorProto.DOUBLE), width=told.width)


def _missing(graph: TableGraph, rows: Table, marker: Any) -> str:
    if isinstance(marker, str) or marker is None:
        raise Unsupported(f"missing values are marked {marker!r}; expected NaN or a number")
    return graph.op("IsNaN", rows.name) if np.isnan(marker) else graph.op("Equal", rows.name, graph.constant(marker))


def _polynomial(graph: TableGraph, rows: Table, step: Any) -> Table:
    powers = np.asarray(step.powers_, np.int64)  # (terms, F)
    shape = graph.op("Concat", graph.op("Shape", rows.name, start=0, end=1), graph.constant(np.array([1])), axis=0)
    ones = Table(name=graph.op("Expand", graph.constant([[1.0]]), shape), width=1)
    padded = graph.beside([rows, ones])
    factors = [np.repeat(np.arange(rows.width), term) for term in powers]
    most = max(1, max(len(term) for term in factors))
    table = np.array([[*term, *([rows.width] * (most - len(term)))] for term in factors], np.int64)
    product = graph.columns(padded, table[:, 0]).name
    for place in range(1, most):
        product = graph.op("Mul", product, graph.columns(padded, table[:, place]).name)
    return Table(name=product, width=len(powers))


def _bins(graph: TableGraph, rows: Table, step: Any) -> Table:
    parts = []
    for column, edges in enumerate(step.bin_edges_):
        inner = np.asarray(edges[1:-1], np.float64)
        number = _count(graph, graph.columns(rows, [column]), inner if len(inner) else np.array([np.inf]))
        if step.encode == "ordinal":
            parts.append(Table(name=number, width=1))
        else:
            parts.append(_equal_to(graph, number, np.arange(len(edges) - 1, dtype=np.float64)))
    return graph.beside(parts)


def _count(graph: TableGraph, column: Table, edges: npt.NDArray[np.float64]) -> str:
    above = graph.op("GreaterOrEqual", column.name, graph.constant(edges.reshape(1, -1)))
    return graph.op(
        "ReduceSum", graph.op("Cast", above, to=TensorProto.DOUBLE), graph.constant(np.array([1])), keepdims=1
    )


def _equal_to(graph: TableGraph, column: str, values: npt.NDArray[np.float64]) -> Table:
    equal = graph.op("Equal", column, graph.constant(values.reshape(1, -1)))
    return Table(name=graph.op("Cast", equal, to=TensorProto.DOUBLE), width=len(values))


def _one_hot(graph: TableGraph, rows: Table, step: Any) -> Table:
    if any(np.asarray(values).dtype.kind not in "fiub" for values in step.categories_):
        raise Unsupported(
            "OneHotEncoder: its categories are text; the network takes numbers, so encode the columns beforehand"
        )
    if step.min_frequency is not None or step.max_categories is not None or step.handle_unknown == "warn":
        raise NoConverter("OneHotEncoder with rare categories")
    parts = []
    for column, values in enumerate(step.categories_):
        known = np.asarray(values, np.float64)
        if step.drop_idx_ is not None and step.drop_idx_[column] is not None:
            known = np.delete(known, int(step.drop_idx_[column]))
        if np.isnan(known).any():
            raise NoConverter("OneHotEncoder with NaN for a category")
        if len(known):
            parts.append(_equal_to(graph, graph.columns(rows, [column]).name, known))
    return graph.beside(parts)


def _ordinal(graph: TableGraph, rows: Table, step: Any) -> Table:
    if any(np.asarray(values).dtype.kind not in "fiub" for values in step.categories_):
        raise Unsupported("OrdinalEncoder: its categories are text; the network takes numbers: encode them beforehand")
    raise NoConverter("OrdinalEncoder")


def _selected(graph: TableGraph, rows: Table, step: Any) -> Table:
    return graph.columns(rows, step.get_support(indices=True))


def _function(graph: TableGraph, rows: Table, step: Any) -> Table:
    if step.func is None:
        return rows
    raise Unsupported(
        f"FunctionTransformer: it runs Python ({getattr(step.func, '__qualname__', step.func)}), which no network can "
        "hold; do this step before the table, or use a transformer that scikit-learn ships"
    )


_CONVERTERS: Mapping[type[BaseEstimator], Callable[[TableGraph, Table, Any], Table]] = {
    Pipeline: _pipeline,
    FeatureUnion: _union,
    ColumnTransformer: _column_transformer,
    SimpleImputer: _impute,
    MissingIndicator: _indicate,
    StandardScaler: _standard,
    RobustScaler: _robust,
    MaxAbsScaler: _max_abs,
    MinMaxScaler: _min_max,
    PolynomialFeatures: _polynomial,
    KBinsDiscretizer: _bins,
    OneHotEncoder: _one_hot,
    OrdinalEncoder: _ordinal,
    SelectorMixin: _selected,
    FunctionTransformer: _function,
}
