"""Roboflow ``inference``: its classification model over a folder on this disk, offline, in a venv of its own.

``inference`` fetches models by name from its makers' server; ``inference-models``, on which it runs, also loads a
folder (``AutoModel.from_pretrained``), as is done here. OpenCV decodes, as in its README; the resize is its own. It has
no quantiser, so it runs the float network; it wants channels first, so one ``Transpose`` lies before that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from inference_models import AutoModel

from benchmarks.latency.systems.peer_station import PeerStation, px_of
from benchmarks.latency.systems.protocol import CannotTakePart, Setup, System, serve


class LocalPackage:
    """A loaded package."""

    def __init__(self, folder: Path) -> None:
        self._model: Any = AutoModel.from_pretrained(str(folder))

    def __call__(self, photo: bytes) -> Sequence[float]:
        """Return the logits of one photo; ``ValueError`` where OpenCV cannot decode it."""
        pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ValueError("OpenCV cannot decode the photo")
        (logits,) = self._model.forward(self._model.pre_process(pixels))
        return list(map(float, logits))


def start(setup: Setup) -> System:
    """Write the package and load it."""
    folder = Path(setup.work) / "package"
    _write_package(folder, Path(setup.model) / "float.onnx", px_of(setup))
    try:
        score = LocalPackage(folder)
    except Exception as error:
        raise CannotTakePart(f"it cannot run a local model: {type(error).__name__}: {error}") from error
    versions = (
        f"inference-cpu {version('inference-cpu')}, ONNX Runtime {version('onnxruntime')}, OpenCV {cv2.__version__}"
    )
    return PeerStation(setup, score, f"full decode, float network; {versions}")


def _write_package(folder: Path, network: Path, px: int) -> None:
    folder.mkdir()
    model = onnx.load(network)
    _take_channels_first(model.graph, px)
    onnx.save(model, folder / "weights.onnx")
    columns = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    (folder / "class_names.txt").write_text("".join(f"view {number}\n" for number in range(columns)))
    described = {"model_architecture": "resnet", "task_type": "classification", "backend_type": "onnx"}
    (folder / "model_config.json").write_text(json.dumps(described))
    configured = {
        "network_input": {
            "training_input_size": {"height": px, "width": px},
            "dynamic_spatial_size_supported": False,
            "color_mode": "rgb",
            "resize_mode": "stretch",
            "input_channels": 3,
        },
        "post_processing": {"type": "softmax", "fused": False},
    }
    (folder / "inference_config.json").write_text(json.dumps(configured))


def _take_channels_first(graph: onnx.GraphProto, px: int) -> None:
    photo = graph.input[0].name
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("channels_first", onnx.TensorProto.UINT8, ["N", 3, px, px])
    )
    graph.node.insert(0, onnx.helper.make_node("Transpose", ["channels_first"], [photo], perm=[0, 2, 3, 1]))


if __name__ == "__main__":
    sys.exit(serve(start, sys.argv[1:]))
