"""Classifiers that our own converter does not know, through skl2onnx, with the same input and output as ours.

It computes in float32, so a model may be refused by the comparison that follows.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.pipeline import Pipeline

from optimize.sources.imported import LISTING_INPUT
from optimize.sources.tabular_graph import IR_VERSION, LOGIT, MIN_PROBABILITY
from runtime.contracts.errors import Unsupported

_OPSET = {"": 20, "ai.onnx.ml": 3}
_REFUSALS = (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, KeyError, IndexError, NameError)


def convert_elsewhere(model: Any, width: int, positive: int, unknown: str) -> onnx.ModelProto:
    """Convert with skl2onnx.

    Args:
        model: a fitted binary classifier of scikit-learn.
        width: number of its columns.
        positive: which of its two probabilities to give.
        unknown: the step that we have no converter for, for the message.

    Raises:
        Unsupported: skl2onnx is not installed, or refuses the model.
    """
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError as error:
        raise Unsupported(f"{unknown}: only skl2onnx may know it, which is not installed; pip install skl2onnx") from (
            error
        )
    model = _with_numbered_classes(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own use of libraries that moved on
            network = to_onnx(
                model,
                initial_types=[(LISTING_INPUT, FloatTensorType([None, width]))],
                options={id(model): {"zipmap": False}},
                target_opset=_OPSET,
            )
    except _REFUSALS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unsupported(
            f"{unknown}: neither our converter nor skl2onnx knows it ({reason}); use another step or classifier"
        ) from error
    assert isinstance(network, onnx.ModelProto)  # what to_onnx returns without final types
    return _with_a_logit(network, positive)


def _with_numbered_classes(model: Any) -> Any:
    """Return a copy whose classes are 0 and 1 where they are booleans, which skl2onnx cannot store."""
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return Pipeline([*model.steps[:-1], (name, _with_numbered_classes(last))])
    if np.asarray(model.classes_).dtype != np.bool_:
        return model
    model = copy.copy(model)
    model.classes_ = np.arange(2)
    return model


def _with_a_logit(network: onnx.ModelProto, positive: int) -> onnx.ModelProto:
    graph = network.graph
    constants = {
        "touchstone_column": numpy_helper.from_array(np.array([positive], np.int64), "touchstone_column"),
        **{
            name: helper.make_tensor(name, TensorProto.DOUBLE, [], [value])
            for name, value in {
                "touchstone_low": MIN_PROBABILITY,
                "touchstone_high": 1.0 - MIN_PROBABILITY,
                "touchstone_one": 1.0,
            }.items()
        },
    }
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", [graph.output[1].name, "touchstone_column"], "touchstone_p32", {"axis": 1}),
        ("Cast", ["touchstone_p32"], "touchstone_p64", {"to": TensorProto.DOUBLE}),
        ("Max", ["touchstone_p64", "touchstone_low"], "touchstone_p_above", {}),
        ("Min", ["touchstone_p_above", "touchstone_high"], "touchstone_p", {}),
        ("Sub", ["touchstone_one", "touchstone_p"], "touchstone_q", {}),
        ("Log", ["touchstone_p"], "touchstone_log_p", {}),
        ("Log", ["touchstone_q"], "touchstone_log_q", {}),
        ("Sub", ["touchstone_log_p", "touchstone_log_q"], "touchstone_logit", {}),
        ("Cast", ["touchstone_logit"], LOGIT, {"to": TensorProto.FLOAT}),
    ]
    graph.node.extend(helper.make_node(kind, ins, [out], **attributes) for kind, ins, out, attributes in steps)
    graph.initializer.extend(constants.values())
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(LOGIT, TensorProto.FLOAT, ["N", 1]))
    graph.input[0].CopyFrom(helper.make_tensor_value_info(LISTING_INPUT, TensorProto.FLOAT, ["N", _width_of(graph)]))
    network.ir_version = IR_VERSION
    return network


def _width_of(graph: onnx.GraphProto) -> int:
    return int(graph.input[0].type.tensor_type.shape.dim[1].dim_value)
