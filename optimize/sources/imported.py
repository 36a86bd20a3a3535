"""What every source becomes: float ONNX, what goes in and comes out, and the proof that it agrees with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx

from runtime.contracts.bundle import TensorSpec

Kind = Literal["authenticator", "photos", "tensors", "table"]
"""``authenticator``: ``uint8 (N, px, px, 3)`` RGB to one logit of P(counterfeit), ``float32 (N, 1)``. ``photos``: the
same input to the logits of classes that say nothing of counterfeits. ``table``: ``float32 (N, F)`` to one logit of
P(fraud), ``float32 (N, 1)``. ``tensors``: anything else."""

PHOTO = "photo"
"""Name of the input of every network that takes photos."""
LISTING_INPUT = "listing"
"""Name of the input of every network that takes a table's rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How the imported ONNX agrees with its source on real inputs.

    Attributes:
        inputs: how many rows or photos were compared.
        of: what they were, in words.
        max_abs_error: of logits; of probabilities for a table.
        cosine: the least over the outputs.
    """

    inputs: int
    of: str
    max_abs_error: float
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A float model, ready to compile.

    Attributes:
        kind: what it takes and gives.
        network: float ONNX at an opset that every engine here reads, weights inside.
        tensors: its inputs.
        px: side of its photos; ``None`` for tables and tensors.
        classes: names of the classes where they are known.
        features: names of a table's columns in order.
        already_quantised: it came with Q/DQ or integer operators: it is passed through to the gates as it is.
        notes: what the import changed or assumed, in words, for the evidence.
        parity: with the source.
        provenance: hashes and versions.
    """

    kind: Kind
    network: onnx.ModelProto
    tensors: tuple[TensorSpec, ...]
    px: int | None = None
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    already_quantised: bool = False
    notes: tuple[str, ...] = ()
    parity: Parity
    provenance: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What a user may have to say about a source that it does not say itself.

    Attributes:
        mean: of R, G and B in 0 to 255, subtracted from photos; ``None``: what the source says, else ImageNet's.
        std: likewise, divided by.
        counterfeit_class: index or name of the class that means counterfeit (or fraud, for a table).
        px: side of the input where the source leaves it open.
        features: names of a table's columns where the source has none.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    counterfeit_class: str | None = None
    px: int | None = None
    features: tuple[str, ...] | None = None
