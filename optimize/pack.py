"""Puts a bundle together: files, golden samples, evidence, manifest. Whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from calibration_data.dataset import Item
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.bundle import MANIFEST_FILE, BundleManifest, FileEntry, Golden, bundle_id_of
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex, sync_folder, write_durably
from runtime.contracts.errors import TouchstoneError
from runtime.inspector import Inspector, disagreements
from runtime.photo import sanitise

GOLDEN_TOLERANCE = 0.05
"""In probability: other CPUs round INT8 sums' inputs differently by a step or two."""


def write_golden_photos(draft: Path, items: Sequence[Item]) -> list[tuple[Mapping[str, tuple[str, ...]], Item]]:
    """Copy the photos of golden items into the draft, without their metadata; return paths by view."""
    (draft / "golden").mkdir()
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
    draft: Path, manifest: BundleManifest, golden: Sequence[tuple[Mapping[str, tuple[str, ...]], Item]]
) -> tuple[Golden, ...]:
    """Score the golden items with every variant, through the inspector that stations use."""
    bundle = Bundle(folder=draft, manifest=manifest, bundle_id=bundle_id_of(b""))
    inspectors = [Inspector.open(bundle, variant=variant.name) for variant in manifest.variants]
    proved = []
    for paths, item in golden:
        photos = {view: [(draft / name).read_bytes() for name in names] for view, names in paths.items()}
        listing = listing_of(item, manifest)
        found = {one.variant.name: one.inspect(photos, listing).prediction for one in inspectors}
        proved.append(
            Golden(
                photos=paths,
                listing=listing,
                p_counterfeit={n: p.p_counterfeit for n, p in found.items() if p.p_counterfeit is not None},
                p_fraud=found[manifest.preferred].p_fraud,
            )
        )
    return tuple(proved)


def listing_of(item: Item, manifest: BundleManifest) -> Mapping[str, float | None] | None:
    """Return an item's listing as a station would send it: missing values are ``None``, not NaN."""
    if manifest.listing is None or item.listing is None:
        return None
    return {name: value if value == value else None for name, value in item.listing.items()}


def finish(draft: Path, manifest: BundleManifest, out: Path) -> Bundle:
    """Hash the draft's files, write the manifest, prove the bundle, and move it to ``out``.

    Raises:
        TouchstoneError: the bundle does not prove itself; nothing is left at ``out``.
    """
    files = tuple(_entry(path, draft) for path in sorted(draft.rglob("*")) if path.is_file())
    write_durably(draft / MANIFEST_FILE, canonical_json(replace(manifest, files=files)))
    bundle = open_bundle(draft)
    for variant in manifest.variants:
        found = disagreements(Inspector.open(bundle, variant=variant.name))
        if found:
            raise TouchstoneError(f"bundle {out}: variant {variant.name} does not prove itself: {'; '.join(found)}")
    if out.exists():
        out.rmdir()  # an empty folder that the user made
    shutil.move(draft, out)
    sync_folder(out.parent)
    return replace(bundle, folder=out)


def _entry(path: Path, root: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(path=path.relative_to(root).as_posix(), sha256=sha256_hex(data), size=len(data))
