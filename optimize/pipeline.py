"""``build``: a source and real inputs in, a bundle of gated variants with their evidence out. The composition root."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from calibration_data.dataset import Dataset
from optimize.bundle_evidence import read_evidence
from optimize.evidence import Evidence
from optimize.executor import Processes
from optimize.fidelity_build import build_by_fidelity
from optimize.float_model import FloatModel, open_model
from optimize.labelled_data import open_data
from optimize.listing import ListingSource, listing_rows
from optimize.model import require_free
from optimize.onnx_bytes import onnx_bytes
from optimize.recipe import Recipe
from optimize.risk_build import build_by_risk
from optimize.search import Workbench
from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from optimize.sources.user_samples import has_photos, photos_in
from optimize.step_cache import StepCache, default_cache
from optimize.targets.target import load_target
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.command import StepProgress
from runtime.contracts.errors import Unsupported

PARITY_PHOTOS = 16


def build(recipe: Recipe, *, now: datetime, progress: StepProgress) -> tuple[Bundle, Evidence]:
    """Do what a recipe says.

    Args:
        recipe: checked.
        now: the time to write into the manifest.
        progress: called with (step, done, total).

    Raises:
        Unsupported: a part of the recipe cannot work, or every variant was refused; the message says why.
    """
    started_s = time.monotonic()
    out = Path(recipe.out)
    require_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for target in recipe.targets:
        load_target(target).require()
    dataset = open_data(recipe.data) if recipe.data else None
    cache = StepCache(Path(recipe.search.cache) if recipe.search.cache else default_cache())
    cache.sweep()
    model = _open(recipe, dataset, cache)
    budget_s = recipe.search.time_budget_s
    with closing(Processes(recipe.search.workers)) as executor:
        bench = Workbench(
            cache=cache,
            executor=executor,
            progress=progress,
            deadline_s=None if budget_s is None else started_s + budget_s,
        )
        if recipe.escalate is not None and dataset is None:
            raise Unsupported(
                f"--escalate {recipe.escalate}: a cascade decides about items; give labelled ones with --data"
            )
        if model.kind == "authenticator" and dataset is not None:
            spent = frozenset(i for b in recipe.budget.after for i in read_evidence(open_bundle(Path(b))).certified_on)
            listing = _listing(recipe, model, dataset)
            if recipe.escalate is None:
                return build_by_risk(model, None, dataset, listing, recipe, spent, bench, now)
            large = _open(replace(recipe, source=recipe.escalate, name=model.spec.name), dataset, cache)
            return build_by_risk(large, model, dataset, listing, recipe, spent, bench, now)
        if recipe.samples is None:
            raise Unsupported(_what_is_needed(model))
        return build_by_fidelity(model, Path(recipe.samples), recipe, bench, now)


def _open(recipe: Recipe, dataset: Dataset | None, cache: StepCache) -> FloatModel:
    samples = Path(recipe.samples) if recipe.samples else None
    if samples is not None and not samples.exists():
        raise Unsupported(f"--samples {samples}: there is no such file or folder")
    photos = [photo.path for item in dataset.items for photo in item.photos][:PARITY_PHOTOS] if dataset else []
    if not photos and samples is not None and has_photos(samples):
        photos = photos_in(samples)[:PARITY_PHOTOS]
    model = open_model(recipe.source, _options(recipe), photos, samples, cache, name=recipe.name, seed=recipe.seed)
    if dataset is not None and model.kind != "authenticator" and samples is None:
        raise Unsupported(_what_is_needed(model))
    return model


def _options(recipe: Recipe) -> SourceOptions:
    given = recipe.input
    return SourceOptions(
        mean=given.mean,
        std=given.std,
        counterfeit_class=given.counterfeit_class,
        px=given.px,
        features=given.features,
    )


def _listing(recipe: Recipe, model: FloatModel, dataset: Dataset) -> ListingSource | None:
    if recipe.listing is None:
        if model.listing is None or model.spec.listing is None:
            return None
        return ListingSource(network=model.listing, features=model.spec.listing)
    options = _options(recipe)
    names = options.features or dataset.listing_names
    rows = listing_rows(dataset.items, names)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, listing=rows)
        found = import_source(recipe.listing, replace(options, features=names), [], path)
    if found.kind != "table" or found.features is None:
        raise Unsupported(f"--listing {recipe.listing}: expected a model of a table's rows, got one of {found.kind}")
    unknown = sorted(set(found.features) - set(dataset.listing_names))
    if unknown:
        raise Unsupported(
            f"--listing {recipe.listing}: the model wants the feature {unknown[0]!r}, the data has "
            f"{', '.join(dataset.listing_names) or 'none'}"
        )
    return ListingSource(network=onnx_bytes(found.network), features=found.features)


def _what_is_needed(model: FloatModel) -> str:
    name = model.spec.name
    if model.kind == "authenticator":
        return f"source {name}: it tells counterfeits from genuine items; give labelled items with --data"
    if model.kind == "photos":
        return (
            f"source {name}: it classifies photos, but no class of it is known to mean counterfeit; name that class "
            "with --counterfeit-class, or give a folder of photos with --samples to judge its outputs alone"
        )
    wanted = ", ".join(f"{t.name} {t.dtype} {t.shape}" for t in model.tensors)
    return f"source {name}: it is no classifier of photos; give its inputs ({wanted}) with --samples"
