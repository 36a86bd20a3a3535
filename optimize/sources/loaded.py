"""What reading a source gives, before anyone judges it: ONNX as the source gave it, and the source itself to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx

from optimize.samples import Feed

Layout = Literal["nchw", "nhwc"]

Reference = Callable[[Feed], list[npt.NDArray[np.generic]]]
"""Runs the source itself, not its ONNX, on one feed named as the network's inputs; gives its outputs in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """How a source's own preprocessing turns pixels into its input: ``(x - mean) / std``.

    Attributes:
        mean: of the channels in the network's order, in 0 to 255.
        std: likewise.
        bgr: the network wants blue first.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    def apply(self, photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Normalise ``uint8 (N, H, W, 3)`` RGB to ``float32 (N, H, W, 3)``, as the nodes in the graph do."""
        pixels = photo[..., ::-1] if self.bgr else photo
        centred = pixels.astype(np.float32) - np.asarray(self.mean, np.float32)
        return np.asarray(centred / np.asarray(self.std, np.float32), np.float32)


IMAGENET = Normalisation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A source that was read.

    Attributes:
        name: what messages call it.
        network: its ONNX, with the weights inside.
        reference: the source itself.
        of: what the reference is, in words.
        normalisation: what the source says of its pixels; ``None`` where it says nothing.
        layout: of its photos where the source says it.
        px: side of its photos where the source says it.
        classes: names of the classes where they are known.
        notes: for the evidence.
        provenance: hashes and versions.
    """

    name: str
    network: onnx.ModelProto
    reference: Reference
    of: str
    normalisation: Normalisation | None = None
    layout: Layout | None = None
    px: int | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
