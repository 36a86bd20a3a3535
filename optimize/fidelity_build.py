"""A bundle whose variants are judged by their outputs alone: a model that is no authenticator.

Half of the samples calibrate, the other half judges. Such a bundle is marked in its manifest, and stations refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from optimize.compiling import Compared, CompareJob, compare_candidate
from optimize.evidence import EVIDENCE_FILE, CandidateEvidence, Evidence, VariantEvidence
from optimize.float_model import FloatModel
from optimize.freezing import Frozen, evidence_of, freeze, refusals, with_fidelity
from optimize.frozen_timing import time_frozen
from optimize.gate import prefer
from optimize.groundwork import Groundwork, float_outputs, lay_groundwork, stored_photos, stored_samples
from optimize.pack import GOLDEN_TOLERANCE, draft_beside, finish, runs_here, ship, write_evidence, write_golden_tensors
from optimize.provenance import machine_provenance
from optimize.recipe import Recipe
from optimize.rule import Rule
from optimize.samples import Feed, Samples
from optimize.search import FEEDS, Workbench
from optimize.sources.user_samples import feeds_of, has_photos, photos_in
from optimize.targets.target import needs_ranges
from runtime.bundle_store import Bundle
from runtime.contracts.bundle import ANY_VIEW, MANIFEST_VERSION, BundleManifest, Fusion, Thresholds
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported

_NO_RULE = Rule(fusion=Fusion(bias=0.0, weights={ANY_VIEW: 1.0}))
_NO_DECISION = Thresholds(authentic_below=0.0, suspect_from=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    model: FloatModel
    ground: Groundwork
    held_out: Samples
    frozen: Sequence[Frozen]
    variants: tuple[VariantEvidence, ...]
    tried: tuple[CandidateEvidence, ...]
    notes: tuple[str, ...]


def build_by_fidelity(
    model: FloatModel, samples: Path, recipe: Recipe, bench: Workbench, now: datetime
) -> tuple[Bundle, Evidence]:
    """Compile, search, compare with float and pack.

    Args:
        model: the float model.
        samples: the user's inputs.
        recipe: what to do.
        bench: cache, executor, time budget.
        now: the time to write into the manifest.

    Raises:
        Unsupported: the samples do not fit, or every variant was refused.
    """
    out, floor = Path(recipe.out), recipe.search.min_cosine
    calibrate, held_out, notes = _halves(model, samples, recipe, bench)
    quantise = needs_ranges(recipe.targets) and not model.already_quantised
    ground = lay_groundwork(model.network, calibrate, model.keep_float, bench, quantise=quantise)
    frozen, tried = freeze(
        recipe.targets,
        ground,
        ground.inputs,
        bench,
        by_correlation=False,
        tolerance=1.0 - floor,
        already_quantised=model.already_quantised,
        max_bytes=recipe.search.max_bytes,
    )
    frozen, latencies = time_frozen(frozen, _one(held_out.feed(0), model), bench)
    compared = _compare(frozen, ground, held_out, bench)
    frozen = with_fidelity(frozen, floor, compared)
    if not any(one.alive for one in frozen):
        raise Unsupported(f"every variant was refused: {refusals(frozen)}")
    variants = tuple(
        replace(
            evidence_of(one, latencies.get(one.name), accepted=one.alive),
            fidelity=judged.fidelity if (judged := compared.get(one.name, one.compared)) else None,
        )
        for one in frozen
    )
    parts = _Parts(
        model=model,
        ground=ground,
        held_out=held_out,
        frozen=frozen,
        variants=variants,
        tried=tried,
        notes=(*notes, *ground.notes),
    )
    with draft_beside(out) as draft:
        return _pack(parts, draft, out, floor, now)


def _halves(
    model: FloatModel, samples: Path, recipe: Recipe, bench: Workbench
) -> tuple[Samples, Samples, tuple[str, ...]]:
    """Return the samples that calibrate and those that judge; the same ones, with a note, where there is only one."""
    if model.kind != "tensors" and has_photos(samples):
        photos = photos_in(samples)
        most = 2 * recipe.search.calibration_photos
        photos = photos[:: max(-(-len(photos) // most), 1)]
        sides = (photos[::2], photos[1::2]) if len(photos) > 1 else (photos, photos)
        one, other = (stored_photos(bench, side, model.spec.px) for side in sides)
        alone = len(photos) < 2
    else:
        count = sum(1 for _ in feeds_of(samples, model.tensors))
        alone = count < 2
        turns = (range(count), range(count)) if alone else (range(0, count, 2), range(1, count, 2))
        one, other = (_feeds(samples, model, bench, turn) for turn in turns)
    if not alone:
        return one, other, ()
    return one, other, ("there is one sample only: what judges is what calibrated; give more for an honest comparison",)


def _feeds(samples: Path, model: FloatModel, bench: Workbench, chosen: range) -> Samples:
    files = [samples] if samples.is_file() else sorted(path for path in samples.iterdir() if path.is_file())
    hashes = [sha256_hex(path.read_bytes()) for path in files]
    key = [*hashes, f"{chosen.start}/{chosen.step}", str(model.tensors)]

    def read() -> Iterator[Feed]:
        return islice(feeds_of(samples, model.tensors), chosen.start, None, chosen.step)

    return stored_samples(bench, key, read, len(chosen))


def _compare(
    frozen: Sequence[Frozen], ground: Groundwork, held_out: Samples, bench: Workbench
) -> Mapping[str, Compared]:
    inputs = replace(ground.inputs, samples=held_out)
    reference = float_outputs(inputs, bench)
    found = {}
    for one in frozen:
        if one.alive and one.candidate is not None and one.attempt is not None:
            job = CompareJob(
                cache=bench.cache.folder,
                candidate=replace(one.candidate, inputs=inputs),
                attempt=one.attempt,
                reference=reference,
                feeds=min(max(FEEDS), held_out.feeds),
            )
            found[one.name] = compare_candidate(job)
    return found


def _one(feed: Feed, model: FloatModel) -> Feed:
    """Return one photo of a feed of photos; other feeds are whole as they are."""
    return {name: array[:1] for name, array in feed.items()} if model.kind != "tensors" else feed


def _pack(parts: _Parts, draft: Path, out: Path, floor: float, now: datetime) -> tuple[Bundle, Evidence]:
    name, created_at = parts.model.spec.name, now.isoformat(timespec="seconds")
    alive = [one for one in parts.frozen if one.alive]
    entries = tuple(ship(draft, one, _NO_RULE, _NO_DECISION) for one in alive)
    shipped = [variant for variant in parts.variants if variant.accepted]
    preferred, because = prefer(shipped, [entry.name for entry in entries if runs_here(entry)])
    evidence = Evidence(
        judged_by="fidelity",
        source=parts.model.evidence,
        claims=None,
        min_cosine=floor,
        cross_fitted=False,
        items={},
        variants=parts.variants,
        preferred=preferred,
        preferred_because=because,
        candidates=parts.tried,
        sensitivity=parts.ground.sensitivity,
        colour_baseline_auc=None,
        listing=None,
        reported=(),
        certified_on=(),
        notes=parts.notes,
        provenance={
            **parts.model.provenance,
            "calibration_samples_sha256": parts.ground.inputs.samples.digest,
            "judging_samples_sha256": parts.held_out.digest,
            **machine_provenance(),
        },
    )
    write_evidence(draft, name, created_at, evidence)
    manifest = BundleManifest(
        manifest=MANIFEST_VERSION,
        name=name,
        created_at=created_at,
        input=None,
        views=(ANY_VIEW,),
        variants=entries,
        preferred=preferred,
        listing=None,
        golden=(),
        golden_tolerance=GOLDEN_TOLERANCE,
        evidence=EVIDENCE_FILE,
        files=(),
        provenance=evidence.provenance,
        judged_by="fidelity",
        tensors=parts.model.tensors,
        golden_tensors=write_golden_tensors(draft, _one(parts.held_out.feed(0), parts.model), alive),
    )
    return finish(draft, manifest, out), evidence
