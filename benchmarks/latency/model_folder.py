"""The folder that every system is given (``systems.protocol.Setup.model``), from a bundle: one model for all.

Where the user names no bundle, a small one is made once from generated leather goods, six views an item, by the
product's own commands, and kept in the user's cache folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.programs import Programs
from calibration_data.dataset import Item, load, write_items
from optimize.step_cache import StepCache, default_cache
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.bundle import MANIFEST_FILE, Variant
from runtime.contracts.codec import canonical_json, encode
from runtime.contracts.errors import Unsupported

FLOAT_NETWORK = "float.onnx"
FIRST, SECOND = "bundle", "bundle-2"
CALIBRATION_PHOTOS = 100

_RECIPE = {"items": 160, "photo_px": 320, "seed": 7, "max_missed": 0.35, "format": 1}
_SHARES = ("train=0.3", "calibrate=0.15", "certify=0.45", "evaluate=0.1")


def cache_folder() -> Path:
    """Return the suite's folder in the user's cache: its own bundle, and runs unless they are told another disk."""
    folder = default_cache().with_name("bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def own_bundle(programs: Programs) -> tuple[Bundle, Path]:
    """Return a bundle and the folder of the photos that it was made from; made now where the user's cache has none."""
    cache = StepCache(cache_folder())
    step = cache.step("bundle", _RECIPE, lambda draft: _make(draft, programs))
    return open_bundle(step / "bundle"), step / "goods" / "photos"


def make(bundle: Bundle, folder: Path, calibration: Path | None) -> None:
    """Fill ``folder`` with what ``Setup.model`` describes.

    Args:
        bundle: verified, with golden samples.
        folder: to make.
        calibration: folder with photos for the peers' quantisers; ``None``: the golden ones.

    Raises:
        Unsupported: the bundle has no float variant that every system could run, or looks at regions.
    """
    manifest = bundle.manifest
    if manifest.input is None or manifest.input.regions:
        raise Unsupported(
            f"bundle {manifest.name}: expected a model that decides about whole photos; peers know no regions"
        )
    network = _float_variant(bundle)
    folder.mkdir(parents=True)
    shutil.copyfile(bundle.path(network.file), folder / FLOAT_NETWORK)
    described = {
        "px": manifest.input.px,
        "views": list(manifest.views),
        "fusion": encode(network.fusion),
        "thresholds": encode(network.thresholds),
    }
    (folder / "model.json").write_bytes(canonical_json(described))
    _copy_photos(_photos_in(calibration or bundle.folder / "golden"), folder / "calibration")
    shutil.copytree(bundle.folder, folder / FIRST)
    shutil.copytree(bundle.folder, folder / SECOND)
    renamed = replace(manifest, name=f"{manifest.name}-2")
    (folder / SECOND / MANIFEST_FILE).write_bytes(canonical_json(renamed))


def _float_variant(bundle: Bundle) -> Variant:
    for variant in bundle.manifest.variants:
        if (variant.engine, variant.precision) == ("onnxruntime", "float32") and not variant.first:
            return variant
    raise Unsupported(
        f"bundle {bundle.manifest.name}: it has no float32 variant for onnxruntime, which the peers start from; build "
        "it with --target x86"
    )


def _photos_in(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise Unsupported(f"photos {folder}: expected JPEG files to calibrate on, found none")
    return found[:: max(1, len(found) // CALIBRATION_PHOTOS)][:CALIBRATION_PHOTOS]


def _copy_photos(photos: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for number, photo in enumerate(photos):
        shutil.copyfile(photo, folder / f"{number:03d}.jpg")


def _make(draft: Path, programs: Programs) -> None:
    goods, model, bundle, seed = draft / "goods", draft / "model", draft / "bundle", _RECIPE["seed"]
    programs.run(
        "touchstone-data",
        *("generate", "--out", goods, "--items", _RECIPE["items"], "--photo-px", _RECIPE["photo_px"]),
        *("--difficulty", 0.0, "--counterfeit-share", 0.5, "--seed", seed),
        quiet=False,
    )
    write_items(goods, _in_pairs(load(goods).items))
    shares = [part for share in _SHARES for part in ("--share", share)]
    programs.run("touchstone-data", "split", goods, "--seed", seed, *shares)
    programs.run("touchstone-optimize", "finetune", "--data", goods, "--out", model, "--name", "bench", quiet=False)
    programs.run(
        "touchstone-optimize",
        *("build", model, "--data", goods, "--out", bundle),
        *("--max-missed", _RECIPE["max_missed"], "--max-missed-fraud", 1),
        quiet=False,
    )
    open_bundle(bundle)


def _in_pairs(items: Sequence[Item]) -> list[Item]:
    """Unite two items of three views each into one of six; the second's views are named ``VIEW-2``."""
    united = []
    for label in ("genuine", "counterfeit"):
        alike = [item for item in items if item.label == label]
        for one, other in zip(alike[0::2], alike[1::2], strict=False):
            more = tuple(replace(photo, view=f"{photo.view}-2") for photo in other.photos)
            united.append(replace(one, photos=(*one.photos, *more)))
    return united
