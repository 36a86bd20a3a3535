"""A bundle whose variants are judged by what they decide: an authenticator, and labelled items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from calibration_data.dataset import Dataset, Item
from optimize.cascade import cascades, first_evidence, mean_cost, paired_spec
from optimize.colour import colour_auc, item_colours
from optimize.decisions import Decided
from optimize.evidence import (
    EVIDENCE_FILE,
    CandidateEvidence,
    Evidence,
    FirstStageEvidence,
    Gate,
    Latency,
    VariantEvidence,
)
from optimize.float_model import FloatModel
from optimize.freezing import Frozen, evidence_of, freeze, refusals
from optimize.frozen_timing import time_frozen
from optimize.gate import accepted, mean_latency, prefer, review, risk
from optimize.groundwork import Groundwork, lay_groundwork, prepared_network, stored_photos
from optimize.head import keep_columns
from optimize.listing import DecidedListing, ListingSource, decide_listing
from optimize.pack import (
    GOLDEN_TOLERANCE,
    draft_beside,
    finish,
    golden_feed,
    prove_golden,
    runs_here,
    ship,
    write_evidence,
    write_golden_photos,
    write_golden_tensors,
)
from optimize.provenance import machine_provenance
from optimize.recipe import Recipe
from optimize.regions import region_of
from optimize.risk import Budget
from optimize.risk_judge import Judged, judge, reported, score
from optimize.roles import Roles, choose_roles
from optimize.scoring import Row, photos_of
from optimize.search import Workbench
from optimize.targets.target import Inputs, needs_ranges
from runtime.bundle_store import Bundle
from runtime.contracts.bundle import MANIFEST_VERSION, BundleManifest
from runtime.contracts.errors import Unsupported

HARM_TOLERANCE = 0.01
"""1 - correlation of a candidate's logits with float's: a candidate as close as this keeps the order of the items."""


_APPS = ("mobile", "web")
"""Targets whose apps decode photos themselves, prove their preprocessing on golden tensors, and run one network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a build has found by the time it is packed."""

    model: FloatModel
    first: FloatModel | None
    roles: Roles
    ground: Groundwork
    frozen: Sequence[Frozen]
    variants: tuple[VariantEvidence, ...]
    tried: tuple[CandidateEvidence, ...]
    judged: Judged
    listing: DecidedListing | None


def build_by_risk(
    model: FloatModel,
    first: FloatModel | None,
    dataset: Dataset,
    listing: ListingSource | None,
    recipe: Recipe,
    spent: frozenset[str],
    bench: Workbench,
    now: datetime,
) -> tuple[Bundle, Evidence]:
    """Compile, search, certify and pack an authenticator.

    Args:
        model: the float model; of a cascade the second stage's.
        first: of a cascade, the first stage's.
        dataset: labelled items.
        listing: the listing model, if any.
        recipe: what to do.
        spent: items that earlier releases were certified on.
        bench: cache, executor, time budget.
        now: the time to write into the manifest.

    Raises:
        Unsupported: the data leaks or lacks a class, the two models make no cascade, or every variant was refused.
    """
    out = Path(recipe.out)
    spec = paired_spec(first, model) if first else model.spec
    roles = choose_roles(dataset, spec, share=recipe.budget.certify_share, spent=spent)
    ground, frozen, tried = _freeze(model, roles, recipe, bench)
    if first is not None:
        _, firsts, tried_first = _freeze(first, roles, recipe, bench)
        stations = [one for one in frozen if one.target not in _APPS]
        frozen = [*frozen, *cascades(stations, firsts, first.spec.px, recipe.search.max_bytes)]
        tried += tuple(replace(one, slot=f"{one.slot} (first stage)") for one in tried_first)
    one_photo = {name: array[:1] for name, array in ground.inputs.samples.feed(0).items()}
    frozen, latencies = time_frozen(frozen, one_photo, bench)
    alive = [one for one in frozen if one.alive]
    if not alive:
        raise Unsupported(f"every variant was refused: {refusals(frozen)}")
    rows = score(alive, spec, roles, bench)
    with draft_beside(out) as draft:
        fraud_budget = Budget(max_missed=recipe.budget.max_missed_fraud, alpha=1 - recipe.budget.confidence)
        decided_listing = decide_listing(listing, roles, draft, fraud_budget) if listing else None
        judged = judge(alive, rows, spec, roles, recipe.budget, decided_listing)
        parts = _Parts(
            model=model,
            first=first,
            roles=roles,
            ground=ground,
            frozen=frozen,
            variants=_judged_variants(frozen, latencies, judged, roles),
            tried=tried,
            judged=judged,
            listing=decided_listing,
        )
        return _pack(parts, draft, out, now)


def _freeze(
    model: FloatModel, roles: Roles, recipe: Recipe, bench: Workbench
) -> tuple[Groundwork, list[Frozen], tuple[CandidateEvidence, ...]]:
    ground, shipped = _ground(model, roles, recipe, bench)
    frozen, tried = freeze(
        recipe.targets,
        ground,
        shipped,
        bench,
        by_correlation=True,
        tolerance=HARM_TOLERANCE,
        already_quantised=model.already_quantised,
        max_bytes=recipe.search.max_bytes,
    )
    return ground, frozen, tried


def _ground(model: FloatModel, roles: Roles, recipe: Recipe, bench: Workbench) -> tuple[Groundwork, Inputs]:
    """Lay the groundwork on the network with the columns of every fold; what ships has those of one block."""
    spec = model.spec
    photos = [photo for _, photo in photos_of(roles.calibrate, spec.views)]
    photos = photos[:: max(-(-len(photos) // recipe.search.calibration_photos), 1)]
    parts = [region_of(photo.view, spec.views, spec.regions) for photo in photos]
    samples = stored_photos(bench, [photo.path for photo in photos], spec.px, parts)
    quantise = needs_ranges(recipe.targets) and not model.already_quantised
    ground = lay_groundwork(model.network, samples, model.keep_float, bench, quantise=quantise)
    if spec.folds is None:
        return ground, ground.inputs
    narrow = prepared_network(keep_columns(model.network, spec.block(None)), bench)
    return ground, replace(ground.inputs, network=narrow)


def _judged_variants(
    frozen: Sequence[Frozen], latencies: Mapping[str, Latency], judged: Judged, roles: Roles
) -> tuple[VariantEvidence, ...]:
    claims = judged.claims
    found = []
    for one in frozen:
        decision = judged.decisions.get(one.name) if one.alive else None
        variant = replace(evidence_of(one, latencies.get(one.name), accepted=False), decision=decision)
        if decision is not None:
            first = first_evidence(one, judged.decided[one.name], roles.certify, latencies)
            if first is not None:
                variant = _averaged(variant, first, latencies)
            gates: list[Gate] = [*variant.gates, risk(decision, claims.max_missed)]
            if claims.max_review is not None and claims.prevalence is not None:
                gates.append(review(decision, claims.max_review, claims.prevalence))
            variant = replace(variant, gates=tuple(gates))
        found.append(variant)
    admitted = accepted(found)
    return tuple(replace(one, accepted=admitted[one.name]) for one in found)


def _averaged(variant: VariantEvidence, first: FirstStageEvidence, latencies: Mapping[str, Latency]) -> VariantEvidence:
    """Return a cascade with what it takes on average: how often its second stage is needed is known only now."""
    found = variant.latency
    if found is not None:
        found = mean_cost(found, latencies[found.baseline], 1 - first.decided)
    return replace(variant, first=first, latency=found, gates=(*variant.gates, mean_latency(found, first)))


def _pack(parts: _Parts, draft: Path, out: Path, now: datetime) -> tuple[Bundle, Evidence]:
    spec = parts.model.spec
    by_name = {one.name: one for one in parts.frozen}
    shipped = [variant for variant in parts.variants if variant.accepted]
    if not shipped:
        raise Unsupported(f"every variant was refused: {refusals(parts.variants)}")
    decided = parts.judged.decided
    entries = tuple(
        ship(draft, by_name[one.name], decided[one.name].rule, decided[one.name].thresholds) for one in shipped
    )
    preferred, because = prefer(shipped, [entry.name for entry in entries if runs_here(entry)])
    evidence = _evidence(parts, preferred, because)
    created_at = now.isoformat(timespec="seconds")
    write_evidence(draft, spec.name, created_at, evidence)
    manifest = BundleManifest(
        manifest=MANIFEST_VERSION,
        name=spec.name,
        created_at=created_at,
        input=spec.input,
        views=spec.views,
        variants=entries,
        preferred=preferred,
        listing=parts.listing.model if parts.listing else None,
        golden=(),
        golden_tolerance=GOLDEN_TOLERANCE,
        evidence=EVIDENCE_FILE,
        files=(),
        provenance=evidence.provenance,
    )
    golden = _golden_items(parts.roles, decided[preferred].probabilities, [decided[one.name] for one in shipped])
    photos = write_golden_photos(draft, golden)
    manifest = replace(manifest, golden=prove_golden(draft, manifest, photos, by_name))
    apps = [by_name[entry.name] for entry in entries if entry.target in _APPS]
    if apps:
        feed = golden_feed(draft, photos, spec)
        manifest = replace(manifest, golden_tensors=write_golden_tensors(draft, feed, apps))
    return finish(draft, manifest, out), evidence


def _evidence(parts: _Parts, preferred: str, because: str) -> Evidence:
    roles, model, first = parts.roles, parts.model, parts.first
    return Evidence(
        judged_by="risk",
        source=model.evidence,
        claims=parts.judged.claims,
        min_cosine=None,
        cross_fitted=roles.cross_fitted,
        items=roles.counts(),
        variants=parts.variants,
        preferred=preferred,
        preferred_because=because,
        candidates=parts.tried,
        sensitivity=parts.ground.sensitivity,
        colour_baseline_auc=_colour_baseline(parts.judged.rows, roles),
        listing=parts.listing.evidence if parts.listing else None,
        reported=reported(roles),
        certified_on=tuple(sorted(item.item_id for item in roles.certify)),
        notes=(*parts.ground.notes, *(f"first stage: {note}" for note in (first.evidence.notes if first else ()))),
        provenance={
            **({f"first_stage_{key}": value for key, value in first.provenance.items()} if first else {}),
            **model.provenance,
            "calibration_samples_sha256": parts.ground.inputs.samples.digest,
            "seed": str(model.spec.seed),
            **machine_provenance(),
        },
    )


def _golden_items(roles: Roles, p: Mapping[str, float], shipped: Sequence[Decided]) -> list[Item]:
    """Pick the least, the middle and the most suspicious reported item: a drift of any part of the scale shows.

    Those that a little rounding would leave to a cascade's other stage, where P may be another, are passed over.
    """
    steady = [item for item in roles.evaluate if all(item.item_id in decided.steady for decided in shipped)]
    ordered = sorted(steady or roles.evaluate, key=lambda item: (p[item.item_id], item.item_id))
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _colour_baseline(rows: Sequence[Row], roles: Roles) -> float | None:
    counterfeit = {item.item_id: item.label == "counterfeit" for item in roles.scored}
    if roles.cross_fitted:
        folds = [
            (
                [i for i in counterfeit if roles.fold_of[i] != fold],
                [i for i in counterfeit if roles.fold_of[i] == fold],
            )
            for fold in sorted({roles.fold_of[i] for i in counterfeit})
        ]
    else:
        folds = [([item.item_id for item in roles.calibrate], [item.item_id for item in roles.evaluate])]
    return colour_auc(item_colours(rows), counterfeit, folds)
