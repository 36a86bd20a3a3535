"""Which class means counterfeit, and the one logit that follows from it.

The rule. Two classes: ``z_counterfeit - z_other``, where a class is known to be the counterfeit one because the user
says so (index or name) or because exactly one name says so. One class: its logit is that of counterfeit; where the user
says that counterfeit is class 0, or the first of two names, the network tells genuine goods and its sign is turned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from optimize.sources.batch import photo_value
from optimize.sources.graphs import free_name, rename
from optimize.sources.photo_input import LOGITS
from runtime.contracts.errors import Unsupported

_COUNTERFEIT = re.compile(r"counterfeit|fake|replica|fraud|forge(d|ry)|inauthentic", re.IGNORECASE)
_DENIAL = re.compile(r"\b(no|not|non|un)(\b|[_-])|genuine|real", re.IGNORECASE)


def counterfeit_index(wanted: str | None, classes: Sequence[str], columns: int, name: str) -> int | None:
    """Return which column means counterfeit; ``None`` where nobody says.

    Args:
        wanted: index or name, as the user gave it.
        classes: names where they are known.
        columns: of the network; for one column, 1 means as it is and 0 means turned.
        name: what messages call the source.

    Raises:
        Unsupported: there is no such class.
    """
    choices = max(columns, 2)
    if wanted is not None:
        if wanted in classes:
            return list(classes).index(wanted) if len(classes) > 1 else 1
        if wanted.isdecimal() and int(wanted) < choices:
            return int(wanted)
        known = f"one of {', '.join(classes)}, or " if classes else ""
        raise Unsupported(f"{name}: counterfeit class {wanted!r}: expected {known}an index from 0 to {choices - 1}")
    named = [index for index, one in enumerate(classes) if _COUNTERFEIT.search(one) and not _DENIAL.search(one)]
    if columns <= 2 and len(classes) == 2 and len(named) == 1:
        return named[0]
    return 1 if columns == 1 else None


def one_logit(model: onnx.ModelProto, columns: int, counterfeit: int) -> onnx.ModelProto:
    """Return a copy whose ``logits`` are ``float32 (N, 1)``, the logit of counterfeit.

    Args:
        model: that gives ``logits``, ``float32 (N, columns)``.
        columns: 1 or 2.
        counterfeit: index of the class.
    """
    if columns == 1 and counterfeit == 1:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    classes = free_name(graph, f"{LOGITS}_classes")
    rename(graph, LOGITS, classes)
    if columns == 1:
        graph.node.append(helper.make_node("Neg", [classes], [LOGITS], name="logits/Neg"))
    else:
        sides = []
        for side, index in (("counterfeit", counterfeit), ("other", 1 - counterfeit)):
            at, value = free_name(graph, f"{side}_index"), free_name(graph, f"{side}_logit")
            graph.initializer.append(numpy_helper.from_array(np.array([index], np.int64), at))
            graph.node.append(helper.make_node("Gather", [classes, at], [value], name=f"logits/{side}", axis=1))
            sides.append(value)
        graph.node.append(helper.make_node("Sub", sides, [LOGITS], name="logits/Sub"))
    del graph.output[:]
    graph.output.append(photo_value(LOGITS, TensorProto.FLOAT, 1))
    return copy


def logit_of(logits: npt.NDArray[np.float32], counterfeit: int) -> npt.NDArray[np.float32]:
    """Return what ``one_logit`` must give: ``float32 (N, 1)`` of ``float32 (N, 1 or 2)``."""
    if logits.shape[1] == 1:
        return logits if counterfeit == 1 else -logits
    return logits[:, [counterfeit]] - logits[:, [1 - counterfeit]]
