"""A dataset in, a MODEL folder out: heads on a pretrained backbone, trees on listing features where there are any."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

from calibration_data.dataset import Dataset, Item, require_both_classes
from calibration_data.split import assign, folds
from optimize import backbone
from optimize.head import Embedded, Head, fit_head, side_by_side, with_head
from optimize.model import ModelSpec, require_free, save_model
from optimize.regions import Regions, require_views
from optimize.scoring import Progress, score_photos
from optimize.trees import fit_trees, trees_to_onnx
from runtime.contracts.bundle import ANY_VIEW, InputSpec
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import check_name
from runtime.engine import load_network


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """What a user may choose.

    ``cross_fit`` is the number of folds, 0 for a plain train split; ``px`` is 0 for the backbone's own.
    """

    name: str = "touchstone"
    seed: int = 7
    unfreeze: int = 0
    epochs: int = 4
    cross_fit: int = 0
    by_time: bool = False
    backbone: str = "lite0"
    px: int = 0
    regions: Regions = field(default_factory=dict)


def finetune(dataset: Dataset, out: Path, options: FinetuneOptions, progress: Progress | None = None) -> ModelSpec:
    """Train on the dataset's train split (all items but ``field`` when cross-fitted) and write a MODEL folder.

    Views are exchangeable where items do not all have the same set of views.

    Raises:
        Unsupported: too few items, a photo that does not decode, options that exclude each other, ``out`` in use.
    """
    require_free(out)
    chosen = _check_options(options)
    wanted = InputSpec(px=options.px or chosen.px, regions=options.regions)
    items, fold_of = training_items(dataset, options)
    views = scan_views(dataset)
    require_views(wanted.regions, views)
    embedder, tuned = backbone.load(chosen, wanted.px, options.unfreeze), None
    if options.unfreeze:
        from optimize.unfreeze import train_tail  # torch's optimisers load only when asked for

        tuned = train_tail(embedder, items, views, wanted, options.seed, options.epochs, progress)
    exported = backbone.export(embedder, wanted.px)
    rows = None if tuned else embed(exported, items, views, wanted, progress)
    heads = [tuned] if tuned else fit_heads(rows, views, fold_of, options) if rows else []
    spec = ModelSpec(
        name=options.name,
        px=wanted.px,
        views=views,
        trained_on=tuple(sorted(item.item_id for item in items)),
        folds=fold_of,
        listing=None if options.cross_fit else listing_names(dataset, items),
        seed=options.seed,
        by_time=options.by_time,
        provenance=_provenance(items, options, chosen.origin),
        regions=wanted.regions,
    )
    save_model(out, spec, with_head(exported, side_by_side(heads)), _listing_model(items, spec))
    return spec


def training_items(dataset: Dataset, options: FinetuneOptions) -> tuple[list[Item], dict[str, int] | None]:
    """Return the items to train on, and where the model is cross-fitted the fold of each item that will be judged.

    Cross-fitting judges what the data does not pin to ``train``: experts' labels are there because a model was unsure,
    so they teach every fold and judge none.
    """
    roles = assign(dataset.items, seed=options.seed, by_time=options.by_time)
    if options.cross_fit:
        items = [item for item in dataset.items if item.split != "field"]
        judged = [item for item in items if item.split != "train"]
        require_both_classes(judged, where=f"dataset {dataset.root} without its train and field items")
        return items, folds(judged, k=options.cross_fit, seed=options.seed)
    items = [item for item in dataset.items if roles[item.item_id] == "train"]
    if len({item.label for item in items}) < 2:
        raise Unsupported(
            f"dataset {dataset.root}: its train split of {len(items)} items lacks a class; add items, or train on all "
            "of a small set with --cross-fit 5"
        )
    return items, None


def scan_views(dataset: Dataset) -> tuple[str, ...]:
    """Return the views that every scan must bring, or ``("*",)`` where items differ in theirs.

    Experts' labels do not count: they may come from a scan that lacked a view, which is why it went to an expert.
    """
    judged = [item for item in dataset.items if item.split != "train"] or dataset.items
    kinds = {frozenset(photo.view for photo in item.photos) for item in judged}
    return tuple(sorted(*kinds)) if len(kinds) == 1 else (ANY_VIEW,)


def listing_names(dataset: Dataset, items: Sequence[Item]) -> tuple[str, ...] | None:
    """Return the listing features to learn from: ``None`` without features, or without both outcomes of fraud."""
    known = {item.fraud for item in items if item.listing is not None and item.fraud is not None}
    return dataset.listing_names if dataset.listing_names and len(known) == 2 else None


def embed(
    exported: onnx.ModelProto,
    items: Sequence[Item],
    views: Sequence[str],
    wanted: InputSpec,
    progress: Progress | None,
) -> Embedded:
    """Embed the items' photos of these views through the exported backbone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embedder.onnx"
        onnx.save(exported, path)
        network = load_network("onnxruntime", path, 1)
        rows = score_photos([(network, wanted.px)], items, views, wanted.regions, progress)
    counterfeit = {item.item_id: item.label == "counterfeit" for item in items}
    return Embedded(
        embedding=np.stack([row.outputs[0] for row in rows]),
        view=np.array([row.view for row in rows]),
        counterfeit=np.array([counterfeit[row.item_id] for row in rows]),
        item=np.array([row.item_id for row in rows]),
    )


def fit_heads(
    rows: Embedded, views: Sequence[str], fold_of: dict[str, int] | None, options: FinetuneOptions
) -> list[Head]:
    """Fit the head that ships, and after it one for each fold, trained without that fold's items."""
    heads = [fit_head(rows, views, options.seed)]
    if fold_of is not None:
        fold = np.array([fold_of.get(item, -1) for item in rows.item])
        heads += [fit_head(rows.where(fold != k), views, options.seed) for k in range(options.cross_fit)]
    return heads


def _check_options(options: FinetuneOptions) -> backbone.Backbone:
    check_name(options.name, "name of the model")
    if options.unfreeze and options.cross_fit:
        raise Unsupported(
            "--unfreeze with --cross-fit: one trained backbone would see every fold; choose one of the two"
        )
    chosen = backbone.BACKBONES.get(options.backbone)
    if chosen is None:
        raise Unsupported(f"--backbone {options.backbone}: expected one of {', '.join(backbone.BACKBONES)}")
    for flag, value, least, most in (
        ("--unfreeze", options.unfreeze, 0, chosen.blocks),
        ("--px", options.px or chosen.px, 32, 1024),
        ("--epochs", options.epochs, 1, 1000),
        ("--cross-fit", options.cross_fit, 2 if options.cross_fit else 0, 1000),
        ("--seed", options.seed, 0, 2**32 - 1),
    ):
        if not least <= value <= most:
            raise Unsupported(f"{flag} {value}: expected {least} to {most}")
    return chosen


def _listing_model(items: Sequence[Item], spec: ModelSpec) -> onnx.ModelProto | None:
    if spec.listing is None:
        return None
    known = [item for item in items if item.fraud is not None and item.listing is not None]
    features = np.array([[(item.listing or {})[name] for name in spec.listing] for item in known], np.float32)
    fraud = np.array([bool(item.fraud) for item in known])
    return trees_to_onnx(fit_trees(features, fraud, spec.seed), spec.listing)


def _provenance(items: Sequence[Item], options: FinetuneOptions, origin: str) -> dict[str, str]:
    photos = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.item_id):
        for photo in item.photos:
            photos.update(hashlib.sha256(photo.path.read_bytes()).digest())
    return {
        "backbone": origin,
        "unfrozen_blocks": str(options.unfreeze),
        "train_photos_sha256": photos.hexdigest(),
        **{name: version(name) for name in ("torch", "onnx", "scikit-learn", "numpy")},
    }
