"""The graph of a table's model while it is written: float64 inside, float32 rows in, one float32 logit out.

Libraries scale, compare and add in float64, so the graph does too: in float32 a scaled value next to a threshold would
take the other branch. Knows nothing of any library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from optimize.sources.imported import LISTING_INPUT
from optimize.sources.tree_ensemble import Comparison, Tree, ensemble_node

OPSETS = {"": 20, "ai.onnx.ml": 5}
IR_VERSION = 10
LOGIT = "logit"
MIN_PROBABILITY = 1e-15
"""What probabilities 0 and 1 become, so that their logits stay finite: -34.5 and 34.5."""


class NoConverter(Exception):
    """There is no converter of ours for this step; another library may know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A tensor of columns: its name, ``float64 (N, width)``."""

    name: str
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """P of the second class as a tensor, ``float64 (N, 1)``: the probability itself, or its logit."""

    name: str
    form: Literal["probability", "logit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a classifier gives.

    Attributes:
        decision: name of what its ``decision_function`` returns, ``float64 (N, 1)``; ``None`` where it has none.
        score: of its ``predict_proba``; ``None`` where it has none.
        rounded: appends P as a library gives it that adds in float32, rounding where it rounds, and returns its name,
            ``float64 (N, 1)``. A calibrator with steps needs it: on a steep step, one float32 next door is far away.
    """

    decision: str | None
    score: Score | None
    rounded: Callable[[], str] | None = None


class TableGraph:
    """Nodes in the order of their making; every tensor has a number for a name, so equal models give equal bytes."""

    def __init__(self, width: int) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._width = width
        self.listing = Table(name=self.op("Cast", LISTING_INPUT, to=TensorProto.DOUBLE), width=width)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: npt.ArrayLike) -> str:
        """Return the name of a constant: ``int64`` stays, all else becomes ``float64``; equal ones are stored once."""
        array = np.asarray(values)
        array = np.ascontiguousarray(array if array.dtype == np.int64 else array.astype(np.float64))
        key = (array.dtype.str, np.shape(values), array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array.reshape(np.shape(values)), name)
        return str(self._constants[key].name)

    def trees(self, trees: Sequence[Tree], comparison: Comparison, rows: Table, *, apart: bool = False) -> str:
        """Append an ensemble; return the sums of its leaves, ``float64 (N, 1)``, or ``apart`` one column a tree."""
        name = f"trees_{len(self._nodes)}"
        self._nodes.append(ensemble_node(trees, comparison, rows.name, name, apart=apart))
        return name

    def columns(self, rows: Table, indices: Sequence[int] | npt.NDArray[np.int64]) -> Table:
        """Choose columns by number."""
        chosen = np.asarray(indices, np.int64)
        if len(chosen) == rows.width and (chosen == np.arange(rows.width)).all():
            return rows
        return Table(name=self.op("Gather", rows.name, self.constant(chosen), axis=1), width=len(chosen))

    def beside(self, parts: Sequence[Table]) -> Table:
        """Put tables side by side; empty ones vanish."""
        there = [part for part in parts if part.width]
        if len(there) == 1:
            return there[0]
        return Table(
            name=self.op("Concat", *(part.name for part in there), axis=1), width=sum(part.width for part in there)
        )

    def weighed(self, rows: Table, weights: npt.ArrayLike, bias: float) -> str:
        """Return ``rows @ weights + bias``, ``float64 (N, 1)``."""
        column = self.constant(np.asarray(weights, np.float64).reshape(-1, 1))
        return self.op("Add", self.op("MatMul", rows.name, column), self.constant(bias))

    def as_float32(self, rows: Table) -> Table:
        """Round every value to float32 and back, as a library does that reads its input in float32."""
        if rows == self.listing:
            return rows
        rounded = self.op("Cast", rows.name, to=TensorProto.FLOAT)
        return Table(name=self.op("Cast", rounded, to=TensorProto.DOUBLE), width=rows.width)

    def probability(self, score: Score) -> str:
        """Return the name of a score as a probability."""
        return score.name if score.form == "probability" else self.op("Sigmoid", score.name)

    def logit(self, score: Score) -> str:
        """Return the name of a score as a finite logit."""
        if score.form == "logit":
            return score.name
        low, high = self.constant(MIN_PROBABILITY), self.constant(1.0 - MIN_PROBABILITY)
        p = self.op("Min", self.op("Max", score.name, low), high)
        return self.op("Sub", self.op("Log", p), self.op("Log", self.op("Sub", self.constant(1.0), p)))

    def finish(self, score: Score, positive: int) -> onnx.ModelProto:
        """Return the whole network.

        Args:
            score: of the second class.
            positive: 1 to give the second class's logit, 0 to give the first's.
        """
        logit = self.logit(score)
        logit = logit if positive else self.op("Neg", logit)
        self._nodes.append(helper.make_node("Cast", [logit], [LOGIT], to=TensorProto.FLOAT))
        graph = helper.make_graph(
            self._nodes,
            LISTING_INPUT,
            [helper.make_tensor_value_info(LISTING_INPUT, TensorProto.FLOAT, ["N", self._width])],
            [helper.make_tensor_value_info(LOGIT, TensorProto.FLOAT, ["N", 1])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
