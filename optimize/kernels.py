"""What really runs: the kernels in the graph after ONNX Runtime's own optimiser, on this machine.

A QDQ file looks quantised even where nothing fused, so only the optimised graph counts.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from runtime.contracts.errors import Unsupported

NEEDED_COVERAGE = 0.95

_INTEGER = {
    "QLinearConv",
    "QGemm",
    "QLinearMatMul",
    "MatMulIntegerToFloat",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
    "QAttention",
}
_FLOAT = {
    "Conv",
    "ConvTranspose",
    "FusedConv",
    "NhwcFusedConv",
    "Gemm",
    "FusedGemm",
    "MatMul",
    "FusedMatMul",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Convolutions and matrix products of the optimised graph; those that stay in float on purpose are not counted."""

    integer: int
    floating: int
    excluded: int = 0

    @property
    def share(self) -> float:
        """Integer kernels as a share of all that were meant to be."""
        return self.integer / max(self.integer + max(self.floating - self.excluded, 0), 1)


def kernels(path: Path, *, kept: int = 0) -> Coverage:
    """Count the kernels of an ONNX or ``.ort`` file as ONNX Runtime runs it here, subgraphs included.

    Args:
        path: the network.
        kept: how many convolutions and matrix products stay in float on purpose.

    Raises:
        Unsupported: ONNX Runtime refuses the file.
    """
    kinds = Counter(node.op_type for node in _all_nodes(optimised(path).graph))
    floating = sum(kinds[kind] for kind in _FLOAT)
    return Coverage(integer=sum(kinds[kind] for kind in _INTEGER), floating=floating, excluded=min(kept, floating))


def optimised(path: Path, *, layout: bool = True) -> onnx.ModelProto:
    """Return the graph as ONNX Runtime optimises it for this CPU.

    Args:
        path: the network.
        layout: also let it reorder channels, which renames and transposes tensors.

    Raises:
        Unsupported: ONNX Runtime refuses the file.
    """
    with tempfile.TemporaryDirectory() as name:
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(Path(name) / "optimised.onnx")
        options.log_severity_level = 3
        options.add_session_config_entry("session.save_model_format", "ONNX")
        if not layout:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        try:
            ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no other base
            why = " ".join(str(error).split())[:300]
            raise Unsupported(f"network {path.name}: ONNX Runtime refuses it: {why}") from error
        return onnx.load(options.optimized_model_filepath)


def quantisable_kernels(network: Path, names: Collection[str]) -> int:
    """Count the convolutions and matrix products of a prepared network that have one of these names."""
    return sum(node.op_type in _FLOAT and node.name in names for node in onnx.load(network).graph.node)


def fallbacks(path: Path, provider: str) -> list[str]:
    """Return, in words, what would run elsewhere than on a provider if nobody looked.

    Args:
        path: the network.
        provider: ONNX Runtime's name of it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "0" if provider.startswith("CPU") else "1")
    try:
        session = ort.InferenceSession(path, options, providers=[provider])
    except Exception as error:  # noqa: BLE001 - its errors share no other base, and each is the answer
        return [f"fallback: {provider} does not take the whole network: {' '.join(str(error).split())[:200]}"]
    used = session.get_providers()
    return [] if used[0] == provider else [f"fallback: asked for {provider}, got {used[0]}"]


def _all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _all_nodes(attribute.g)
    return found
