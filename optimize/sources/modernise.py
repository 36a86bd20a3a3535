"""Brings ONNX of any age to what every engine here reads, without changing what it computes.

The converter of ONNX itself is trusted with nothing: who calls ``candidates`` runs each against the source, and takes
the first that agrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import inliner, version_converter

from optimize.sources.graphs import all_graphs, opset_of
from optimize.sources.onnx_checks import is_quantised
from optimize.sources.onnx_file import LATEST_IR
from optimize.sources.run_onnx import one_line
from runtime.contracts.errors import Unsupported

OPSET = 20
OLDEST_KEPT = 17
"""From here on a network keeps its opset."""
_OLDEST_IR = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Modern:
    """One way to read an old network; ``notes`` say what was changed."""

    network: onnx.ModelProto
    notes: tuple[str, ...]


def tidy(model: onnx.ModelProto, name: str) -> Modern:
    """Return a copy with local functions inlined, weights taken off the inputs, and an IR version that engines load.

    Raises:
        Unsupported: its local functions cannot be inlined.
    """
    notes = []
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        try:
            copy = inliner.inline_local_functions(copy)
        except Exception as error:  # the inliner's errors share no other base
            raise Unsupported(
                f"{name}: its local functions cannot be inlined: {one_line(error)}; export without"
            ) from error
        notes.append("local functions inlined")
    weights = {tensor.name for tensor in copy.graph.initializer}
    used = {name for graph in all_graphs(copy.graph) for node in graph.node for name in node.input}
    used |= {value.name for graph in all_graphs(copy.graph) for value in graph.output}
    inputs = [value for value in copy.graph.input if value.name not in weights]
    if len(inputs) < len(copy.graph.input):
        notes.append(f"{len(copy.graph.input) - len(inputs)} weights were listed as inputs too; they no longer are")
        del copy.graph.input[:]
        copy.graph.input.extend(inputs)
    kept = [tensor for tensor in copy.graph.initializer if tensor.name in used]
    if len(kept) < len(weights):
        notes.append(f"{len(weights) - len(kept)} weights that nothing reads were dropped")
        del copy.graph.initializer[:]
        copy.graph.initializer.extend(kept)
    if not _OLDEST_IR <= copy.ir_version <= LATEST_IR:
        notes.append(f"IR version {copy.ir_version} set to {min(max(copy.ir_version, _OLDEST_IR), LATEST_IR)}")
        copy.ir_version = min(max(copy.ir_version, _OLDEST_IR), LATEST_IR)
    return Modern(network=copy, notes=tuple(notes))


def candidates(tidied: Modern) -> Iterator[Modern]:
    """Yield the ways to read a network, the preferred one first, the last one at its own opset."""
    opset = opset_of(tidied.network)
    if is_quantised(tidied.network):
        note = f"already quantised: kept as it came, at opset {opset}"
        yield Modern(network=tidied.network, notes=(*tidied.notes, note))
        return
    if opset >= OLDEST_KEPT:
        yield tidied
        return
    try:
        converted = version_converter.convert_version(tidied.network, OPSET)
    except (RuntimeError, ValueError, IndexError, version_converter.ConvertError) as error:
        why = f"it cannot be converted to {OPSET} ({one_line(error)})"
    else:
        converted.metadata_props.extend(tidied.network.metadata_props)
        yield Modern(network=converted, notes=(*tidied.notes, f"converted from opset {opset} to {OPSET}"))
        why = f"converted to {OPSET} it does not run, or does not agree with its source"
    yield Modern(network=tidied.network, notes=(*tidied.notes, f"kept at opset {opset}: {why}"))
