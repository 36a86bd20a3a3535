"""``build``: a MODEL folder and labelled items in, a bundle with certified thresholds and evidence out."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration_data.dataset import Dataset, Item
from optimize.candidates import (
    ENGINE,
    FLOAT,
    INT8,
    Candidate,
    StepProgress,
    compile_candidates,
    gather,
    score_candidates,
    time_candidates,
)
from optimize.colour import colour_auc, item_colours
from optimize.decisions import Decided, Scored, decide_cross_fitted, decide_split, evaluate_items
from optimize.evidence import EVIDENCE_FILE, Claims, Evidence, VariantEvidence
from optimize.gate import Facts, prefer, refusals
from optimize.head import columns_of
from optimize.listing import DecidedListing, decide_listing
from optimize.model import MODEL_JSON, ModelSpec, load_network, load_spec, require_free
from optimize.pack import GOLDEN_TOLERANCE, finish, prove_golden, write_golden_photos
from optimize.quantize import VNNI
from optimize.risk import Budget
from optimize.roles import Roles, choose_roles
from optimize.scoring import Row
from optimize.timing import median_ratio
from runtime.bundle_store import Bundle
from runtime.contracts.bundle import MANIFEST_VERSION, BundleManifest, InputSpec, Variant
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported
from runtime.engine import cpu_flags

Timings = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """The risk budget, and which certify items to spend on it."""

    max_missed: float = 0.02
    max_missed_fraud: float = 0.5
    confidence: float = 0.95
    certify_share: float = 1.0
    spent: frozenset[str] = frozenset()


def build(
    model: Path, dataset: Dataset, out: Path, options: BuildOptions, *, now: datetime, progress: StepProgress
) -> tuple[Bundle, Evidence]:
    """Compile, certify and pack.

    Args:
        model: from ``finetune``.
        dataset: the same data, labelled.
        out: the bundle's folder, new or empty.
        options: the budget.
        now: the time to write into the manifest.
        progress: called with (step, done, total).

    Raises:
        Unsupported: the data leaks, lacks a class in a split, or a file is not what it should be.
    """
    require_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    spec, network = load_spec(model), load_network(model)
    wanted = spec.block(max(spec.folds.values()) if spec.folds else None).stop
    if columns_of(network) < wanted:
        raise Unsupported(
            f"model {model}: expected a network with a head of {wanted} columns, got {columns_of(network)}; make it "
            "again with 'touchstone-optimize finetune'"
        )
    roles = choose_roles(dataset, spec, share=options.certify_share, spent=options.spent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
        work, draft = Path(name), Path(name) / "bundle"
        (draft / "variants").mkdir(parents=True)
        candidates = compile_candidates(network, spec, roles, draft / "variants", work, progress)
        rows = score_candidates(candidates, spec, roles, progress)
        claims = _claims(len(candidates), options)
        fraud_budget = Budget(max_missed=claims.max_missed_fraud, alpha=1 - claims.confidence)
        listing = decide_listing(model, spec, roles, draft, fraud_budget)
        decided = {
            candidate.name: _decide(gather(rows, index, spec, roles), spec, roles, claims)
            for index, candidate in enumerate(candidates)
        }
        timings = time_candidates(candidates, spec, roles)
        found, preferred = _gate(candidates, decided, listing, timings, roles)
        aucs = {variant.name: variant.evaluation.auc or 0.0 for variant in found}
        evidence = Evidence(
            claims=claims,
            cross_fitted=roles.cross_fitted,
            items=roles.counts(),
            variants=found,
            preferred=preferred,
            latency_ratio=median_ratio(timings[INT8], timings[FLOAT]),
            auc_change=aucs[INT8] - aucs[FLOAT],
            colour_baseline_auc=_colour_baseline(rows, roles),
            listing=listing.evidence if listing else None,
            certified_on=tuple(sorted(item.item_id for item in roles.certify)),
            provenance=_provenance(model, spec),
        )
        (draft / EVIDENCE_FILE).write_bytes(canonical_json(evidence))
        accepted = {variant.name for variant in found if variant.accepted}
        for candidate in candidates:
            if candidate.name not in accepted:
                candidate.path.unlink()
        manifest = BundleManifest(
            manifest=MANIFEST_VERSION,
            name=spec.name,
            created_at=now.isoformat(timespec="seconds"),
            input=InputSpec(px=spec.px),
            views=spec.views,
            variants=tuple(_variant(c, decided[c.name]) for c in candidates if c.name in accepted),
            preferred=preferred,
            listing=listing.model if listing else None,
            golden=(),
            golden_tolerance=GOLDEN_TOLERANCE,
            evidence=EVIDENCE_FILE,
            files=(),
            provenance=evidence.provenance,
        )
        golden = write_golden_photos(draft, _golden_items(roles, decided[preferred].probabilities))
        manifest = replace(manifest, golden=prove_golden(draft, manifest, golden))
        return finish(draft, manifest, out), evidence


def _claims(variants: int, options: BuildOptions) -> Claims:
    return Claims(
        max_missed=options.max_missed,
        max_missed_fraud=options.max_missed_fraud,
        confidence=options.confidence,
        claims=variants,
        alpha_per_claim=(1 - options.confidence) / variants,
    )


def _decide(scored: Mapping[str, Scored], spec: ModelSpec, roles: Roles, claims: Claims) -> Decided:
    budget = Budget(max_missed=claims.max_missed, alpha=claims.alpha_per_claim)
    calibrate, certify, evaluate = (
        [scored[item.item_id] for item in side] for side in (roles.calibrate, roles.certify, roles.evaluate)
    )
    if roles.cross_fitted:
        return decide_cross_fitted(calibrate, spec.views, budget)
    return decide_split(calibrate, certify, evaluate, spec.views, budget)


def _gate(
    candidates: Sequence[Candidate],
    decided: Mapping[str, Decided],
    listing: DecidedListing | None,
    timings: Timings,
    roles: Roles,
) -> tuple[tuple[VariantEvidence, ...], str]:
    """Judge every candidate; return the evidence of each, and the name of the one that stations prefer."""
    lacks_vnni = not cpu_flags() & set(VNNI.split("|"))
    facts = {
        candidate.name: Facts(
            name=candidate.name,
            integer=candidate.precision == "int8",
            coverage=candidate.coverage,
            lacks_vnni=lacks_vnni,
            certified=decided[candidate.name].certificate.certified,
            genuine_review=decided[candidate.name].review,
        )
        for candidate in candidates
    }
    refused = {name: tuple(refusals(fact)) for name, fact in facts.items()}
    preferred, reasons = FLOAT, dict(refused)
    if not refused[INT8]:
        wins, reason = prefer(facts[FLOAT], facts[INT8], median_ratio(timings[INT8], timings[FLOAT]))
        preferred, reasons[INT8] = (INT8 if wins else FLOAT), (reason,)
    found = tuple(
        VariantEvidence(
            name=candidate.name,
            accepted=not refused[candidate.name],
            reasons=reasons[candidate.name],
            size_bytes=candidate.path.stat().st_size,
            integer_kernels=candidate.coverage.integer,
            float_kernels=candidate.coverage.floating,
            latency_p50_us=float(np.median(timings[candidate.name])),
            certificate=decided[candidate.name].certificate,
            evaluation=evaluate_items(
                [(item.item_id, item.label == "counterfeit") for item in roles.evaluate],
                decided[candidate.name].probabilities,
                decided[candidate.name].thresholds,
                listing.p_fraud if listing else {},
                listing.model.uncertain_from if listing else None,
            ),
        )
        for candidate in candidates
    )
    return found, preferred


def _variant(candidate: Candidate, choice: Decided) -> Variant:
    return Variant(
        name=candidate.name,
        engine=ENGINE,
        precision=candidate.precision,
        file=f"variants/{candidate.path.name}",
        isa=(VNNI,) if candidate.precision == "int8" else (),
        fusion=choice.fusion,
        thresholds=choice.thresholds,
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


def _provenance(model: Path, spec: ModelSpec) -> dict[str, str]:
    model_sha256 = hashlib.sha256()
    for path in sorted(model.iterdir()):
        model_sha256.update(bytes.fromhex(sha256_hex(path.read_bytes())))
    return {
        **spec.provenance,
        "model_sha256": model_sha256.hexdigest(),
        "model_json_sha256": sha256_hex((model / MODEL_JSON).read_bytes()),
        "built_with_cpu_flags": " ".join(sorted(cpu_flags() & {"avx2", "avx512f", "avx512_vnni", "avx_vnni"})),
        "seed": str(spec.seed),
        **{name: version(name) for name in ("onnx", "onnxruntime", "opencv-python-headless", "scikit-learn", "numpy")},
    }
