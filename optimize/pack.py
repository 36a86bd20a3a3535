"""Puts a bundle together: files, golden samples, evidence, manifest. Whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration_data.dataset import Item
from optimize.compiling import run_outputs
from optimize.evidence import EVIDENCE_FILE, Evidence
from optimize.fidelity import Outputs
from optimize.freezing import Frozen
from optimize.model import ModelSpec
from optimize.model_card import CARD_FILE, model_card
from optimize.page import PAGE_FILE, page
from optimize.regions import region_of
from optimize.rule import Rule
from optimize.samples import Feed
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.bundle import (
    MANIFEST_FILE,
    BundleManifest,
    FileEntry,
    Golden,
    Thresholds,
    Variant,
    bundle_id_of,
)
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex, sync_folder, write_durably
from runtime.contracts.errors import TouchstoneError
from runtime.engine import BACKENDS, cpu_flags, missing_isa
from runtime.inspector import Inspector, disagreements
from runtime.photo import sanitise
from runtime.preprocess import prepare

GOLDEN_TOLERANCE = 0.05
"""In probability: other CPUs round INT8 sums' inputs differently by a step or two."""
GOLDEN_TENSORS = "golden/tensors.json"
_GOLDEN_BYTES = "golden/tensors.bin"


@contextmanager
def draft_beside(out: Path) -> Iterator[Path]:
    """Give an empty draft of a bundle on the same disk as ``out``; whatever ``finish`` did not move away is deleted."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
        draft = Path(name) / "bundle"
        (draft / "variants").mkdir(parents=True)
        yield draft


def ship(draft: Path, one: Frozen, rule: Rule, thresholds: Thresholds) -> Variant:
    """Copy a variant's files into the draft, and return its entry in the manifest."""
    main, companions = _copied(draft, "variants", one)
    first = rule.first
    if first is not None and one.first is not None:
        file, beside = _copied(draft, "variants/first", one.first.frozen)
        first = replace(first, file=file, companions=beside, px=one.first.px)
    return Variant(
        name=one.name,
        engine=one.slot.engine,
        precision=one.precision,
        file=main,
        isa=one.slot.isa,
        fusion=rule.fusion,
        thresholds=thresholds,
        target=one.target,
        companions=companions,
        execution=one.slot.execution,
        first=first,
    )


def _copied(draft: Path, folder: str, one: Frozen) -> tuple[str, tuple[str, ...]]:
    assert one.shipped is not None
    (draft / folder).mkdir(exist_ok=True)
    files = (one.shipped.file, *one.shipped.companions)
    for path in files:
        shutil.copyfile(path, draft / folder / path.name)  # both variants of a cascade's second stage share its file
    main, *companions = (f"{folder}/{path.name}" for path in files)
    return main, tuple(companions)


def write_evidence(draft: Path, name: str, created_at: str, evidence: Evidence) -> None:
    """Write the evidence into the draft: for machines, for a reader, for an auditor."""
    (draft / EVIDENCE_FILE).write_bytes(canonical_json(evidence))
    (draft / PAGE_FILE).write_text(page(name, created_at, evidence), encoding="utf-8")
    (draft / CARD_FILE).write_text(model_card(name, created_at, evidence), encoding="utf-8")


def runs_here(variant: Variant) -> bool:
    """Whether this machine runs the variant as a station would."""
    return variant.engine in BACKENDS and variant.execution == "timed" and not missing_isa(variant, cpu_flags())


def write_golden_photos(draft: Path, items: Sequence[Item]) -> list[tuple[Mapping[str, tuple[str, ...]], Item]]:
    """Copy the photos of golden items into the draft, without their metadata; return paths by view."""
    (draft / "golden").mkdir(exist_ok=True)
    written: list[tuple[Mapping[str, tuple[str, ...]], Item]] = []
    for item in items:
        paths: dict[str, tuple[str, ...]] = {}
        for photo in item.photos:
            data = sanitise(photo.path.read_bytes(), str(photo.path))
            name = f"golden/{sha256_hex(data)[:32]}{photo.path.suffix.lower()}"
            (draft / name).write_bytes(data)
            paths[photo.view] = (*paths.get(photo.view, ()), name)
        written.append((paths, item))
    return written


def prove_golden(
    draft: Path,
    manifest: BundleManifest,
    golden: Sequence[tuple[Mapping[str, tuple[str, ...]], Item]],
    frozen: Mapping[str, Frozen],
) -> tuple[Golden, ...]:
    """Score the golden items with every variant, through the inspector that stations use.

    A variant that does not run here is scored by what it was judged by: the ONNX behind its engine.
    """
    bundle = Bundle(folder=draft, manifest=manifest, bundle_id=bundle_id_of(b""))
    inspectors = {v.name: _inspector(bundle, v, frozen[v.name]) for v in manifest.variants}
    proved = []
    for paths, item in golden:
        photos = {view: [(draft / name).read_bytes() for name in names] for view, names in paths.items()}
        listing = listing_of(item, manifest)
        found = {name: one.inspect(photos, listing).prediction for name, one in inspectors.items()}
        proved.append(
            Golden(
                photos=paths,
                listing=listing,
                p_counterfeit={n: p.p_counterfeit for n, p in found.items() if p.p_counterfeit is not None},
                p_fraud=found[manifest.preferred].p_fraud,
            )
        )
    return tuple(proved)


def _inspector(bundle: Bundle, variant: Variant, one: Frozen) -> Inspector:
    if runs_here(variant):
        return Inspector.open(bundle, variant=variant.name)
    assert one.shipped is not None
    judged = replace(variant, engine=one.shipped.judged_engine, file=str(one.shipped.judged_file.resolve()), isa=())
    if variant.first is not None and one.looks_first.shipped is not None:
        stand_in_file = str(one.looks_first.shipped.judged_file.resolve())
        judged = replace(judged, first=replace(variant.first, file=stand_in_file))
    stand_in = replace(bundle, manifest=replace(bundle.manifest, variants=(judged,), preferred=judged.name))
    return Inspector.open(stand_in, variant=variant.name)


def listing_of(item: Item, manifest: BundleManifest) -> Mapping[str, float | None] | None:
    """Return an item's listing as a station would send it: missing values are ``None``, not NaN."""
    if manifest.listing is None or item.listing is None:
        return None
    return {name: value if value == value else None for name, value in item.listing.items()}


def write_golden_tensors(draft: Path, feed: Feed, frozen: Sequence[Frozen]) -> str:
    """Write one feed as the networks eat it, and what each variant gives for it: raw bytes, described in JSON.

    An app that has no photo decoder of ours proves its preprocessing and its engine with it.

    Returns:
        The JSON's path in the bundle.
    """
    outputs = {
        one.name: run_outputs(one.shipped.judged_engine, one.shipped.judged_file, [feed])[0]
        for one in frozen
        if one.shipped
    }
    (draft / "golden").mkdir(exist_ok=True)
    with (draft / _GOLDEN_BYTES).open("wb") as file:

        def put(arrays: Mapping[str, npt.NDArray[np.generic]]) -> list[dict[str, object]]:
            described = []
            for name, array in arrays.items():
                kind = array.dtype.newbyteorder("<").name
                described.append({"name": name, "dtype": kind, "shape": list(array.shape), "offset": file.tell()})
                file.write(np.ascontiguousarray(array).tobytes())
            return described

        told = {
            "file": _GOLDEN_BYTES,
            "inputs": put(feed),
            "outputs": {name: put(_plain(found)) for name, found in outputs.items()},
        }
    (draft / GOLDEN_TENSORS).write_bytes(canonical_json(told))
    return GOLDEN_TENSORS


def golden_feed(draft: Path, golden: Sequence[tuple[Mapping[str, tuple[str, ...]], Item]], spec: ModelSpec) -> Feed:
    """Return the golden photos of a model's views as one feed, ``uint8 (n, px, px, 3)``."""
    shown = [(view, draft / name) for by_view, _ in golden for view, names in by_view.items() for name in names]
    parts = [region_of(view, spec.views, spec.regions) for view, _ in shown]
    return {"photo": prepare([path.read_bytes() for _, path in shown], spec.px, [p.name for _, p in shown], parts)}


def finish(draft: Path, manifest: BundleManifest, out: Path) -> Bundle:
    """Hash the draft's files, write the manifest, prove the bundle, and move it to ``out``.

    Raises:
        TouchstoneError: the bundle does not prove itself; nothing is left at ``out``.
    """
    files = tuple(_entry(path, draft) for path in sorted(draft.rglob("*")) if path.is_file())
    write_durably(draft / MANIFEST_FILE, canonical_json(replace(manifest, files=files)))
    bundle = open_bundle(draft)
    for variant in manifest.variants if manifest.judged_by == "risk" else ():
        found = disagreements(Inspector.open(bundle, variant=variant.name)) if runs_here(variant) else []
        if found:
            raise TouchstoneError(f"bundle {out}: variant {variant.name} does not prove itself: {'; '.join(found)}")
    if out.exists():
        out.rmdir()  # an empty folder that the user made
    shutil.move(draft, out)
    sync_folder(out.parent)
    return replace(bundle, folder=out)


def _plain(outputs: Outputs) -> dict[str, npt.NDArray[np.generic]]:
    return {name: np.asarray(value) for name, value in outputs.items() if value.dtype.kind in "fiub"}


def _entry(path: Path, root: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(path=path.relative_to(root).as_posix(), sha256=sha256_hex(data), size=len(data))
