"""The manifest of a bundle: one compiled model, ready for stations. Verified here, with the standard library alone.

The manifest names every other file of the bundle with its size and SHA-256; the SHA-256 of the manifest's own bytes is
the ``bundle_id``. Release counter and floor are not in it: they are signed around it (see ``runtime.contracts.sync``),
so that what was built and certified is the very bytes that are signed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported, Untrusted
from runtime.contracts.records import BundleId

MANIFEST_VERSION = 3
OLDEST_MANIFEST = 1
"""Version 1 had no targets, version 2 neither regions nor first stages; bundles of them still run."""

MANIFEST_FILE = "manifest.json"
ANY_VIEW = "*"
"""The one column of a model whose views are exchangeable."""
MIN_PX, MAX_PX = 16, 4096
"""Sides of the input that a network may have."""
LISTING = "listing"
"""The one weight of a listing model's ``Fusion``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the bundle: POSIX path inside it, SHA-256 in hex, size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of an upright photo, in fractions of its width and height: what dies when the whole photo is shrunk."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the network eats: ``uint8 (N, px, px, 3)`` RGB, normalised inside the graph.

    ``regions`` names the views of which it sees a part only.
    """

    px: int
    resize: Literal["area"] = "area"
    regions: Mapping[str, Region] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """Calibration and fusion in one: ``P = sigmoid(bias + sum(weights[v] * mean logit of view v))``."""

    bias: float
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """``P < authentic_below`` is authentic, ``P >= suspect_from`` is suspect, the rest goes to an expert."""

    authentic_below: float
    suspect_from: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStage:
    """A small network that decides the items it is sure of; only the rest goes to the variant's own network.

    An item's P(counterfeit) is the first stage's where that is below ``sure_below`` or at least ``sure_from``, and the
    variant's own otherwise; the variant's thresholds were certified on this mixture.

    Attributes:
        file: the network, for the variant's engine.
        px: side of its input.
        fusion: calibration of its scores.
        sure_below: below it the item needs no second look.
        sure_from: from it on neither.
        companions: files that belong to ``file``.
    """

    file: str
    px: int
    fusion: Fusion
    sure_below: float
    sure_from: float
    companions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The network compiled for one kind of device.

    Attributes:
        name: unique in the bundle.
        engine: what loads ``file``; stations know those of ``runtime.engine.BACKENDS``.
        precision: ``float32``, ``bf16``, ``fp16``, ``int8`` or ``mixed`` (INT8 with some nodes left in float).
        file: the network.
        isa: CPU flags that it was gated on and needs; ``a|b`` asks for either.
        fusion: calibration of this variant's scores.
        thresholds: certified on this variant's scores; 0 and 1 where nothing was (then nothing is authentic).
        target: what it was compiled for, for example ``x86`` or ``tensorrt-rtx``.
        companions: files that belong to ``file``: weights beside a graph, the operators that a mobile build needs.
        execution: ``timed`` on a device of its kind; ``untimed``: run, but not on its kind; ``unverified``: built, and
            judged by its ONNX on another engine. A station lets the golden samples decide before it serves either.
        first: of a cascade, the stage that looks first.
    """

    name: str
    engine: str
    precision: str
    file: str
    isa: tuple[str, ...]
    fusion: Fusion
    thresholds: Thresholds
    target: str = "x86"
    companions: tuple[str, ...] = ()
    execution: Literal["timed", "untimed", "unverified"] = "timed"
    first: FirstStage | None = None

    @property
    def all_files(self) -> tuple[str, ...]:
        """Every file that this variant needs."""
        first = (self.first.file, *self.first.companions) if self.first else ()
        return (self.file, *self.companions, *first)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input of a network that is no classifier of photos; ``None`` in ``shape`` is a dimension that may vary."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingModel:
    """Trees on listing features: ``float32 (N, len(features))`` in this order, NaN where missing, to one logit."""

    file: str
    features: tuple[str, ...]
    fusion: Fusion
    uncertain_from: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One item that a station must score as the builder did: photo files by view, and P by variant."""

    photos: Mapping[str, tuple[str, ...]]
    listing: Mapping[str, float | None] | None
    p_counterfeit: Mapping[str, float]
    p_fraud: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleManifest:
    """Everything a station needs to know of a bundle.

    ``views`` are the output columns of the network, ``float32 (N, len(views))`` logits, and at the same time the views
    that a scan must bring; ``("*",)`` means that views are exchangeable. ``preferred`` names the variant to run.

    A bundle ``judged_by`` ``fidelity`` holds a network that is no classifier of photos: only its outputs were compared
    with the float model's. It has ``tensors`` instead of ``input``, and decides nothing. ``golden_tensors`` is a JSON
    file for apps on phones and pages: inputs after preprocessing, and the logits that each variant must give.
    """

    manifest: int
    name: str
    created_at: str
    input: InputSpec | None
    views: tuple[str, ...]
    variants: tuple[Variant, ...]
    preferred: str
    listing: ListingModel | None
    golden: tuple[Golden, ...]
    golden_tolerance: float
    evidence: str
    files: tuple[FileEntry, ...]
    provenance: Mapping[str, str]
    judged_by: Literal["risk", "fidelity"] = "risk"
    tensors: tuple[TensorSpec, ...] = ()
    golden_tensors: str | None = None


def check_file(folder: Path, entry: FileEntry) -> None:
    """Check one file of the bundle in ``folder`` against its entry: it is there, inside, and byte for byte the same.

    Raises:
        Untrusted: it is not.
    """
    path = folder / entry.path
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise Untrusted(f"bundle {folder}: file {entry.path} is missing; fetch the bundle again")
    size = path.stat().st_size
    if size != entry.size:
        raise Untrusted(f"bundle {folder}: file {entry.path} has {size} bytes, the manifest says {entry.size}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            raise Untrusted(
                f"bundle {folder}: file {entry.path} was changed after the bundle was built; fetch it again"
            )


def bundle_id_of(raw: bytes) -> BundleId:
    """Return the id of the bundle whose manifest is ``raw``."""
    return BundleId(sha256_hex(raw))


def read_manifest(raw: bytes) -> BundleManifest:
    """Parse and check a manifest.

    Raises:
        Unsupported: it is of a newer version than this program reads.
        Untrusted: it is not a manifest, or contradicts itself.
    """
    data = parse_json(raw, MANIFEST_FILE)
    version = data.get("manifest") if isinstance(data, dict) else None
    if isinstance(version, int) and version > MANIFEST_VERSION:
        raise Unsupported(
            f"{MANIFEST_FILE}: version {version} is newer than version {MANIFEST_VERSION}, which this program reads; "
            "update the agent first"
        )
    if type(version) is not int or version < OLDEST_MANIFEST:
        raise Untrusted(f"{MANIFEST_FILE}: expected version {OLDEST_MANIFEST} to {MANIFEST_VERSION}, got {version!r}")
    manifest = decode(BundleManifest, data, MANIFEST_FILE)
    _check_files(manifest)
    _check_decisions(manifest)
    return manifest


def _check_files(manifest: BundleManifest) -> None:
    listed = [entry.path for entry in manifest.files]
    for path in listed:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or "\\" in path or ".." in parts or path != str(PurePosixPath(path)):
            raise Untrusted(f"{MANIFEST_FILE}: file path {path!r} does not stay inside the bundle")
    if len(set(listed)) != len(listed) or MANIFEST_FILE in listed:
        raise Untrusted(f"{MANIFEST_FILE}: a file is listed twice, or the manifest lists itself")
    if any(entry.size < 0 for entry in manifest.files):
        raise Untrusted(f"{MANIFEST_FILE}: a file has a negative size")
    used = [path for variant in manifest.variants for path in variant.all_files]
    used += [manifest.evidence, *([manifest.golden_tensors] if manifest.golden_tensors else [])]
    used += [manifest.listing.file] if manifest.listing else []
    used += [path for golden in manifest.golden for paths in golden.photos.values() for path in paths]
    for path in used:
        if path not in listed:
            raise Untrusted(f"{MANIFEST_FILE}: {path!r} is used but not listed under files")


def _check_decisions(manifest: BundleManifest) -> None:
    names = [variant.name for variant in manifest.variants]
    if manifest.preferred not in names or len(set(names)) != len(names):
        raise Untrusted(
            f"{MANIFEST_FILE}: preferred {manifest.preferred!r} must be one of the distinct variants {names}"
        )
    if not manifest.views or (ANY_VIEW in manifest.views and len(manifest.views) > 1):
        raise Untrusted(f"{MANIFEST_FILE}: views must be named, or be exactly [{ANY_VIEW!r}], got {manifest.views}")
    if (manifest.input is None) != (manifest.judged_by == "fidelity") or (manifest.input is None) != bool(
        manifest.tensors
    ):
        raise Untrusted(f"{MANIFEST_FILE}: expected 'input' where judged by risk, 'tensors' where judged by fidelity")
    if manifest.input is not None:
        _check_input(manifest.input)
    for variant in manifest.variants:
        low, high = variant.thresholds.authentic_below, variant.thresholds.suspect_from
        _check_scale(variant.name, variant.fusion, manifest.views, "thresholds", low, high)
        if variant.first is not None:
            first = variant.first
            _check_px(first.px, f"{variant.name}: first.px")
            _check_scale(variant.name, first.fusion, manifest.views, "first stage", first.sure_below, first.sure_from)
    listing = manifest.listing
    if listing is not None and (set(listing.fusion.weights) != {LISTING} or not listing.features):
        raise Untrusted(f"{MANIFEST_FILE}: listing must have features, and the one fusion weight {LISTING!r}")
    if listing is not None and not 0.0 <= listing.uncertain_from <= 1.0:
        raise Untrusted(f"{MANIFEST_FILE}: listing.uncertain_from must lie in 0 to 1, got {listing.uncertain_from}")


def _check_input(spec: InputSpec) -> None:
    _check_px(spec.px, "input.px")
    for view, part in spec.regions.items():
        inside = part.left >= 0 and part.top >= 0 and part.left + part.width <= 1 and part.top + part.height <= 1
        if not (inside and part.width > 0 and part.height > 0):
            raise Untrusted(f"{MANIFEST_FILE}: the region of view {view!r} must lie inside the photo, got {part}")


def _check_px(px: int, what: str) -> None:
    if not MIN_PX <= px <= MAX_PX:
        raise Untrusted(f"{MANIFEST_FILE}: {what} must lie in {MIN_PX} to {MAX_PX}, got {px}")


def _check_scale(name: str, fusion: Fusion, views: tuple[str, ...], what: str, low: float, high: float) -> None:
    if set(fusion.weights) != set(views):
        raise Untrusted(f"{MANIFEST_FILE}: {name}: fusion weights must name the views {views}")
    if not (0.0 <= low <= high <= 1.0 + math.ulp(1.0)):
        raise Untrusted(f"{MANIFEST_FILE}: {name}: {what} must hold 0 <= {low} <= {high} <= 1")
