"""The Torch-TensorRT path, for a torch module that should stay one: compiled on the machine with the GPU.

Built, execution unverified: no GPU ran it here. It makes no variant of a bundle; bundles carry the ONNX of
``optimize.targets.tensorrt``, from which the same engine is built without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from runtime.backends.cuda import gpu_missing
from runtime.contracts.errors import Unsupported


def compile_module(module: Any, example: Any) -> Any:
    """Compile a torch module for this machine's GPU.

    Args:
        module: a ``torch.nn.Module`` in evaluation mode, on the GPU; it keeps the types that it has.
        example: one batch that it takes, a ``torch.Tensor`` on the GPU; its shape is the only one that will run.

    Returns:
        A module that is called like the one given.

    Raises:
        Unsupported: there is no GPU, Torch-TensorRT is not installed, or it refuses the module.
    """
    missing = gpu_missing()
    if missing:
        raise Unsupported(f"Torch-TensorRT: {missing}; it compiles only on the GPU that it is for")
    try:
        library = importlib.import_module("torch_tensorrt")
    except (ImportError, OSError) as error:  # OSError: a shared library of TensorRT
        raise Unsupported(f"Torch-TensorRT: {error}; pip install torch-tensorrt tensorrt") from error
    try:
        return library.compile(module, ir="dynamo", inputs=[example])
    except Exception as error:  # its errors share no other base
        raise Unsupported(f"Torch-TensorRT refuses this module: {' '.join(str(error).split())[:300]}") from error
