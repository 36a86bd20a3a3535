"""The float model of a build: a MODEL folder, or what ``optimize.sources`` imports. Never compiles anything."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from optimize import model as model_folder
from optimize.evidence import SourceEvidence
from optimize.head import HEAD_NODE, columns_of
from optimize.import_cache import import_once
from optimize.model import LISTING_NETWORK, MODEL_JSON, ModelSpec
from optimize.sources.imported import Imported, Kind, SourceOptions
from optimize.step_cache import StepCache
from runtime.contracts.bundle import ANY_VIEW, TensorSpec
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatModel:
    """What a build starts from.

    Attributes:
        spec: of an authenticator; for any other kind its name and seed are all that counts.
        kind: what it takes and gives.
        network: float ONNX, with the columns of every fold.
        tensors: its inputs.
        keep_float: nodes that are never quantised.
        listing: the listing network's bytes where the model has one.
        already_quantised: passed through to the gates as it is.
        evidence: what the import found.
        provenance: hashes and versions.
    """

    spec: ModelSpec
    kind: Kind
    network: onnx.ModelProto
    tensors: tuple[TensorSpec, ...]
    keep_float: tuple[str, ...]
    listing: bytes | None
    already_quantised: bool
    evidence: SourceEvidence
    provenance: Mapping[str, str]


def open_model(
    source: str,
    options: SourceOptions,
    photos: Sequence[Path],
    samples: Path | None,
    cache: StepCache,
    *,
    name: str | None,
    seed: int,
) -> FloatModel:
    """Open a MODEL folder, or import a source.

    Args:
        source: a folder from ``finetune``, or what ``import_source`` takes.
        options: what the source does not say itself.
        photos: real photos for the import's parity check.
        samples: the user's inputs for a model that takes no photos.
        cache: of finished imports.
        name: of the bundle; ``None`` for the source's own.
        seed: of the split, where the source has none.

    Raises:
        Unsupported: it cannot be opened; the message says why.
    """
    if (Path(source) / MODEL_JSON).exists():
        return _from_folder(Path(source), name)
    return _from_import(import_once(source, options, photos, samples, cache), name or _name_of(source), seed)


def _from_folder(folder: Path, name: str | None) -> FloatModel:
    spec, network = model_folder.load_spec(folder), model_folder.load_network(folder)
    wanted = spec.block(max(spec.folds.values()) if spec.folds else None).stop
    if columns_of(network) < wanted:
        raise Unsupported(
            f"model {folder}: expected a network with a head of {wanted} columns, got {columns_of(network)}; make it "
            "again with 'touchstone-optimize finetune'"
        )
    listing = None
    if spec.listing is not None:
        try:
            listing = (folder / LISTING_NETWORK).read_bytes()
        except FileNotFoundError as error:
            raise Unsupported(
                f"model {folder}: {LISTING_NETWORK} is missing; run 'touchstone-optimize finetune' again"
            ) from error
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(bytes.fromhex(sha256_hex(path.read_bytes())))
    return FloatModel(
        spec=spec if name is None else model_folder.renamed(spec, name),
        kind="authenticator",
        network=network,
        tensors=(TensorSpec(name="photo", dtype="uint8", shape=(None, spec.px, spec.px, 3)),),
        keep_float=(HEAD_NODE,),
        listing=listing,
        already_quantised=False,
        evidence=SourceEvidence(kind="authenticator", notes=(), parity=None),
        provenance={**spec.provenance, "model_sha256": digest.hexdigest()},
    )


def _from_import(found: Imported, name: str, seed: int) -> FloatModel:
    if found.kind == "table":
        raise Unsupported("source: it scores a table's rows, not photos; give it as --listing beside a model of photos")
    notes = list(found.notes)
    if found.kind == "authenticator":
        notes.append(
            "the source does not say what it was trained on: that it never saw the items that judge it is only said"
        )
    return FloatModel(
        spec=ModelSpec(
            name=name,
            px=found.px or 0,
            views=(ANY_VIEW,),
            trained_on=(),
            folds=None,
            listing=None,
            seed=seed,
            by_time=False,
            provenance=found.provenance,
        ),
        kind=found.kind,
        network=found.network,
        tensors=found.tensors,
        keep_float=(),
        listing=None,
        already_quantised=found.already_quantised,
        evidence=SourceEvidence(kind=found.kind, notes=tuple(notes), parity=found.parity),
        provenance=found.provenance,
    )


def _name_of(source: str) -> str:
    """Return a name for a bundle from where its model came from."""
    last = source.rstrip("/").rpartition("/")[2].rpartition(":")[2] or source
    stem = last.rsplit(".", 1)[0] if "." in last else last
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in stem)
    return kept.strip("-") or "model"
