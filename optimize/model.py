"""The MODEL folder: what ``finetune`` leaves for ``build``. Float ONNX files and one ``model.json``; no torch needed.

``model.onnx`` has one block of columns for the model that ships, and after it one block for each fold of a cross-fitted
model; a fold's block was trained without the items of that fold, so that it can judge them.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import onnx

from runtime.contracts.bundle import InputSpec, Region
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import TouchstoneError, Unsupported
from runtime.contracts.records import check_name

MODEL_JSON = "model.json"
NETWORK = "model.onnx"
LISTING_NETWORK = "listing.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a trained model is.

    Attributes:
        views: columns of one block, ``("*",)`` where views are exchangeable.
        trained_on: ids of the items that the shipped block was trained on.
        folds: fold by item_id for a cross-fitted model, else ``None``.
        listing: feature names of ``listing.onnx`` in order, else ``None``.
        seed: of split and training.
        by_time: whether the split was by time.
        provenance: hashes and versions.
        regions: the part of a view's photos that it looks at; all of them where a view is not named.
    """

    format: Literal[1] = 1
    name: str
    px: int
    views: tuple[str, ...]
    trained_on: tuple[str, ...]
    folds: Mapping[str, int] | None
    listing: tuple[str, ...] | None
    seed: int
    by_time: bool
    provenance: Mapping[str, str]
    regions: Mapping[str, Region] = field(default_factory=dict)

    @property
    def input(self) -> InputSpec:
        """What the network eats, as a manifest says it."""
        return InputSpec(px=self.px, regions=self.regions)

    def block(self, fold: int | None) -> slice:
        """Return the columns of the shipped block (``None``) or of a fold's block."""
        start = 0 if fold is None else (fold + 1) * len(self.views)
        return slice(start, start + len(self.views))


def save_model(folder: Path, spec: ModelSpec, network: onnx.ModelProto, listing: onnx.ModelProto | None) -> None:
    """Write a MODEL folder, whole or not at all.

    Raises:
        Unsupported: ``folder`` exists and is not empty.
    """
    require_free(folder)
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    draft.mkdir(parents=True)
    try:
        onnx.save(network, draft / NETWORK)
        if listing is not None:
            onnx.save(listing, draft / LISTING_NETWORK)
        (draft / MODEL_JSON).write_bytes(canonical_json(spec))
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load_spec(folder: Path) -> ModelSpec:
    """Read a MODEL folder's ``model.json``.

    Raises:
        Unsupported: the folder is not one that ``finetune`` wrote.
    """
    path = folder / MODEL_JSON
    try:
        return decode(ModelSpec, parse_json(path.read_bytes(), str(path)), str(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unsupported(
            f"model {folder}: there is no {MODEL_JSON}; make one with 'touchstone-optimize finetune'"
        ) from error
    except TouchstoneError as error:
        raise Unsupported(f"model {folder}: {error}; make it again with 'touchstone-optimize finetune'") from error


def renamed(spec: ModelSpec, name: str) -> ModelSpec:
    """Return the spec under another name."""
    return replace(spec, name=check_name(name, "name of the model"))


def load_network(folder: Path) -> onnx.ModelProto:
    """Read and check ``model.onnx``.

    Raises:
        Unsupported: it is missing or is not ONNX.
    """
    path = folder / NETWORK
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise Unsupported(f"model {folder}: there is no {NETWORK}; run 'touchstone-optimize finetune' again") from error
    except Exception as error:  # protobuf's and onnx's errors share no other base
        raise Unsupported(f"model {path}: expected an ONNX file, got bytes that do not parse ({error})") from error
    return model


def require_free(folder: Path) -> None:
    """Check that an output folder is new or empty.

    Raises:
        Unsupported: it has something in it, or has no name of its own.
    """
    if not folder.name:
        raise Unsupported(f"output {folder}: expected the name of a folder to make")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Unsupported(f"output {folder}: it exists and is not empty; name another folder or remove it")
