"""A classifier's own input and output replaced by ours: ``photo``, ``uint8 (N, px, px, 3)`` RGB, to ``logits``.

Normalisation moves into the graph, so that it cannot differ anywhere; a last Softmax or Sigmoid moves out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from optimize.sources.batch import photo_value
from optimize.sources.graphs import constants, free_name, producers, rename
from optimize.sources.imported import PHOTO
from optimize.sources.loaded import Layout, Normalisation
from runtime.contracts.bundle import TensorSpec

LOGITS = "logits"

Ending = Literal["Softmax", "LogSoftmax", "Sigmoid"]
_ENDINGS: tuple[Ending, ...] = ("Softmax", "LogSoftmax", "Sigmoid")
_TRANSPARENT = {"Identity", "Flatten", "Reshape", "Squeeze", "Dropout"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoInput:
    """The image input of a network: its name, its order of axes, its side, and whether it takes ``uint8``."""

    name: str
    layout: Layout
    px: int
    takes_uint8: bool

    def feed(
        self, photo: npt.NDArray[np.uint8], normalisation: Normalisation | None, batch: int | None
    ) -> dict[str, npt.NDArray[np.generic]]:
        """Return what the source itself eats for one photo.

        Args:
            photo: ``uint8 (px, px, 3)``, RGB.
            normalisation: ``None`` for an input of ``uint8``.
            batch: that the source fixes; the photo is repeated to fill it.
        """
        rows = np.repeat(photo[None], batch or 1, axis=0)
        pixels: npt.NDArray[np.generic] = normalisation.apply(rows) if normalisation else rows
        return {self.name: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if self.layout == "nchw" else pixels)}


def layout_of(graph: onnx.GraphProto, spec: TensorSpec) -> Layout | None:
    """Return the order of axes of an input that may be a photo; ``None`` where it is none."""
    if len(spec.shape) != 4 or spec.dtype not in ("float32", "uint8"):
        return None
    if spec.shape[1] == 3:
        return "nchw"
    if spec.shape[3] == 3:
        return "nhwc"
    if spec.shape[1] is None and _first_convolution_takes_three(graph, spec.name):
        return "nchw"
    return None


def _first_convolution_takes_three(graph: onnx.GraphProto, name: str) -> bool:
    weights = constants(graph)
    return any(
        node.op_type == "Conv" and node.input[0] == name and weights[node.input[1]].dims[1] == 3
        for node in graph.node
        if len(node.input) > 1 and node.input[1] in weights and len(weights[node.input[1]].dims) == 4
    )


def ending_of(graph: onnx.GraphProto, output: str) -> tuple[Ending, str] | None:
    """Return the last Softmax or Sigmoid before an output, and the value that it reads."""
    made_by = producers(graph)
    while output in made_by:
        node = made_by[output]
        for ending in _ENDINGS:
            if node.op_type == ending and node.domain in ("", "ai.onnx"):
                return ending, node.input[0]
        if node.op_type not in _TRANSPARENT:
            return None
        output = node.input[0]
    return None


def wrap(
    model: onnx.ModelProto, photo: PhotoInput, normalisation: Normalisation | None, columns: int, cut: bool
) -> onnx.ModelProto:
    """Return a copy that takes ``photo`` and gives ``logits``, ``float32 (N, columns)``.

    Args:
        model: with one input and one output.
        photo: its input.
        normalisation: to put into the graph; ``None`` for an input of ``uint8`` that does its own.
        columns: classes.
        cut: take the value before the last Softmax, LogSoftmax or Sigmoid.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    source = photo.name
    for ours in (PHOTO, LOGITS):
        theirs = free_name(graph, f"{ours}_inner")
        rename(graph, ours, theirs)
        source = theirs if source == ours else source
    before, bound = _input_nodes(graph, source, photo.layout, normalisation)
    ending = ending_of(graph, graph.output[0].name) if cut else None
    result = ending[1] if ending else graph.output[0].name
    flat = free_name(graph, f"{LOGITS}_flat")
    after = [
        helper.make_node("Flatten", [result], [flat], name="logits/Flatten", axis=1),
        helper.make_node("Cast", [flat], [LOGITS], name="logits/Cast", to=TensorProto.FLOAT),
    ]
    plain = graph.output[0].type.tensor_type
    if (
        plain.elem_type == TensorProto.FLOAT
        and len(plain.shape.dim) == 2
        and (ending is None or _is_flat(graph, result))
    ):
        rename(graph, result, LOGITS)
        after = []
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend(bound)
    graph.input.append(photo_value(PHOTO, TensorProto.UINT8, photo.px, photo.px, 3))
    graph.output.append(photo_value(LOGITS, TensorProto.FLOAT, columns))
    _drop_unread(graph)
    return copy


def _is_flat(graph: onnx.GraphProto, value: str) -> bool:
    made_by = producers(graph)
    return value in made_by and made_by[value].op_type in ("Gemm", "Flatten")


def _input_nodes(
    graph: onnx.GraphProto, source: str, layout: Layout, normalisation: Normalisation | None
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Return the nodes from ``photo`` to the network's own input, and their constants.

    Cast comes first: TensorRT transposes no ``uint8``.
    """
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    bound = []
    if normalisation is not None:
        if normalisation.bgr:
            bound.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), free_name(graph, "photo_bgr")))
        mean = numpy_helper.from_array(np.array(normalisation.mean, np.float32), free_name(graph, "photo_mean"))
        std = numpy_helper.from_array(np.array(normalisation.std, np.float32), free_name(graph, "photo_std"))
        steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
        steps += [("Gather", [bound[0].name], {"axis": 3})] if normalisation.bgr else []
        steps += [("Sub", [mean.name], {}), ("Div", [std.name], {})]
        bound += [mean, std]
    if layout == "nchw":
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if not steps:
        rename(graph, source, PHOTO)
    nodes, value = [], PHOTO
    for index, (operator, others, attributes) in enumerate(steps):
        output = source if index == len(steps) - 1 else free_name(graph, f"photo_{operator.lower()}")
        nodes.append(
            helper.make_node(operator, [value, *others], [output], name=f"photo_input/{operator}", **attributes)
        )
        value = output
    return nodes, bound


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Drop nodes whose outputs nothing reads any more, last first."""
    from_outputs = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(list(graph.node)):
        if from_outputs & set(node.output):
            kept.append(node)
            from_outputs |= set(node.input) | _outer_reads(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in from_outputs]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _outer_reads(node: onnx.NodeProto) -> set[str]:
    graphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    graphs += [one for attribute in node.attribute for one in attribute.graphs]
    found: set[str] = set()
    for graph in graphs:
        found |= {value.name for value in graph.output}
        for inner in graph.node:
            found |= set(inner.input) | _outer_reads(inner)
    return found
