"""A bundle whose variants are judged by what they decide: an authenticator, and labelled items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from calibration_data.dataset import Dataset, Item
from optimize.colour import colour_auc, item_colours
from optimize.evidence import EVIDENCE_FILE, CandidateEvidence, Evidence, Gate, Latency, VariantEvidence
from optimize.float_model import FloatModel
from optimize.freezing import Frozen, evidence_of, freeze, refusals, time_frozen
from optimize.gate import accepted, prefer, review, risk
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
from optimize.risk import Budget
from optimize.risk_judge import Judged, judge, reported, score
from optimize.roles import Roles, choose_roles
from optimize.scoring import Row, photos_of
from optimize.search import Workbench
from optimize.targets.target import Inputs, needs_ranges
from runtime.bundle_store import Bundle
from runtime.contracts.bundle import MANIFEST_VERSION, BundleManifest, InputSpec
from runtime.contracts.errors import Unsupported

HARM_TOLERANCE = 0.01
"""1 - correlation of a candidate's logits with float's: a candidate as close as this keeps the order of the items."""


_APPS = ("mobile", "web")
"""Targets whose apps decode photos themselves, and prove their preprocessing on golden tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a build has found by the time it is packed."""

    model: FloatModel
    roles: Roles
    ground: Groundwork
    frozen: Sequence[Frozen]
    variants: tuple[VariantEvidence, ...]
    tried: tuple[CandidateEvidence, ...]
    judged: Judged
    listing: DecidedListing | None


def build_by_risk(
    model: FloatModel,
    dataset: Dataset,
    listing: ListingSource | None,
    recipe: Recipe,
    spent: frozenset[str],
    bench: Workbench,
    now: datetime,
) -> tuple[Bundle, Evidence]:
    """Compile, search, certify and pack an authenticator.

    Args:
        model: the float model.
        dataset: labelled items.
        listing: the listing model, if any.
        recipe: what to do.
        spent: items that earlier releases were certified on.
        bench: cache, executor, time budget.
        now: the time to write into the manifest.

    Raises:
        Unsupported: the data leaks or lacks a class, or every variant was refused.
    """
    out = Path(recipe.out)
    spec = model.spec
    roles = choose_roles(dataset, spec, share=recipe.budget.certify_share, spent=spent)
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
    first = {name: array[:1] for name, array in ground.inputs.samples.feed(0).items()}
    frozen, latencies = time_frozen(frozen, first, bench)
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
            roles=roles,
            ground=ground,
            frozen=frozen,
            variants=_judged_variants(frozen, latencies, judged),
            tried=tried,
            judged=judged,
            listing=decided_listing,
        )
        return _pack(parts, draft, out, now)


def _ground(model: FloatModel, roles: Roles, recipe: Recipe, bench: Workbench) -> tuple[Groundwork, Inputs]:
    """Lay the groundwork on the network with the columns of every fold; what ships has those of one block."""
    spec = model.spec
    photos = [photo.path for _, photo in photos_of(roles.calibrate, spec.views)]
    step = max(-(-len(photos) // recipe.search.calibration_photos), 1)
    samples = stored_photos(bench, photos[::step], spec.px)
    quantise = needs_ranges(recipe.targets) and not model.already_quantised
    ground = lay_groundwork(model.network, samples, model.keep_float, bench, quantise=quantise)
    if spec.folds is None:
        return ground, ground.inputs
    narrow = prepared_network(keep_columns(model.network, spec.block(None)), bench)
    return ground, replace(ground.inputs, network=narrow)


def _judged_variants(
    frozen: Sequence[Frozen], latencies: Mapping[str, Latency], judged: Judged
) -> tuple[VariantEvidence, ...]:
    claims = judged.claims
    found = []
    for one in frozen:
        decision = judged.decisions.get(one.name) if one.alive else None
        variant = replace(evidence_of(one, latencies.get(one.name), accepted=False), decision=decision)
        if decision is not None:
            gates: list[Gate] = [*variant.gates, risk(decision, claims.max_missed)]
            if claims.max_review is not None and claims.prevalence is not None:
                gates.append(review(decision, claims.max_review, claims.prevalence))
            variant = replace(variant, gates=tuple(gates))
        found.append(variant)
    admitted = accepted(found)
    return tuple(replace(one, accepted=admitted[one.name]) for one in found)


def _pack(parts: _Parts, draft: Path, out: Path, now: datetime) -> tuple[Bundle, Evidence]:
    spec = parts.model.spec
    by_name = {one.name: one for one in parts.frozen}
    shipped = [variant for variant in parts.variants if variant.accepted]
    if not shipped:
        raise Unsupported(f"every variant was refused: {refusals(parts.variants)}")
    decided = parts.judged.decided
    entries = tuple(
        ship(draft, by_name[one.name], decided[one.name].fusion, decided[one.name].thresholds) for one in shipped
    )
    preferred, because = prefer(shipped, [entry.name for entry in entries if runs_here(entry)])
    evidence = _evidence(parts, preferred, because)
    created_at = now.isoformat(timespec="seconds")
    write_evidence(draft, spec.name, created_at, evidence)
    manifest = BundleManifest(
        manifest=MANIFEST_VERSION,
        name=spec.name,
        created_at=created_at,
        input=InputSpec(px=spec.px),
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
    photos = write_golden_photos(draft, _golden_items(parts.roles, decided[preferred].probabilities))
    manifest = replace(manifest, golden=prove_golden(draft, manifest, photos, by_name))
    apps = [by_name[entry.name] for entry in entries if entry.target in _APPS]
    if apps:
        feed = golden_feed(draft, photos, spec.px)
        manifest = replace(manifest, golden_tensors=write_golden_tensors(draft, feed, apps))
    return finish(draft, manifest, out), evidence


def _evidence(parts: _Parts, preferred: str, because: str) -> Evidence:
    roles, model = parts.roles, parts.model
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
        notes=parts.ground.notes,
        provenance={
            **model.provenance,
            "calibration_samples_sha256": parts.ground.inputs.samples.digest,
            "seed": str(model.spec.seed),
            **machine_provenance(),
        },
    )


def _golden_items(roles: Roles, p: Mapping[str, float]) -> list[Item]:
    """Pick the least, the middle and the most suspicious reported item: a drift of any part of the scale shows."""
    ordered = sorted(roles.evaluate, key=lambda item: (p[item.item_id], item.item_id))
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
