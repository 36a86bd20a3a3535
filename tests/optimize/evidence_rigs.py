"""Realistic evidence without a build: drawn scores, the product's own statistics and gates on them."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np

from optimize import gate
from optimize.decisions import Decided, decide_split, evaluate_items
from optimize.evidence import (
    CandidateEvidence,
    Claims,
    Decision,
    Evidence,
    Fidelity,
    Gate,
    GroupClaim,
    Latency,
    LayerSensitivity,
    ListingEvidence,
    Regressions,
    ReportedItem,
    ReviewClaim,
    SourceEvidence,
    VariantEvidence,
)
from optimize.kernels import Coverage
from optimize.risk import Budget, certify, genuine_needed, review_bound, upper_bound
from optimize.rule import Scored
from optimize.sources.imported import Parity
from runtime.contracts.bundle import (
    ANY_VIEW,
    BundleManifest,
    FileEntry,
    Fusion,
    InputSpec,
    TensorSpec,
    Thresholds,
    Variant,
)

CREATED_AT = "2026-11-23T10:00:00+00:00"
GROUPS = {"Aurelia": 900, "Bellmonte": 700, "Corvo & Söhne": 120}
"""Counterfeits of the certify items by brand; the last are too few for a claim of their own."""
CLAIMS = Claims(
    max_missed=0.02,
    max_missed_fraud=0.5,
    confidence=0.95,
    variants=8,
    groups=("Aurelia", "Bellmonte"),
    max_review=0.35,
    prevalence=0.09,
    claims=32,
    alpha_per_claim=0.05 / 32,
)
HARD = 0.025
_FLOAT, _INT8, _AVX2, _BF16, _ARM, _FP16, _RTX8, _WEB = (
    *("ort-cpu-float32", "ort-cpu-int8", "ort-cpu-int8-avx2", "openvino-bf16"),
    *("ort-arm-int8", "tensorrt-rtx-fp16", "tensorrt-rtx-int8", "web-int8"),
)
ENGINES = (
    ("ort-cpu", "x86", "onnxruntime"),
    ("ort-arm", "arm", "onnxruntime"),
    ("openvino", "openvino", "openvino"),
    ("tensorrt-rtx", "tensorrt-rtx", "tensorrt_rtx"),
    ("web", "web", "onnxruntime-web"),
)
"""How a variant's name begins, its target, its engine."""


def items(side: str, groups: dict[str, int], seed: int, noise: float = 0.0) -> list[Scored]:
    """Draw items of both classes, as many genuine as counterfeit; ``noise`` is what a variant adds to the logits."""
    rng, own = np.random.default_rng(seed), np.random.default_rng(seed + 1000)
    drawn = []
    for group, count in groups.items():
        for number in range(count * 2):
            positive = number % 2 == 1
            clear = 1.6 if rng.random() < HARD else 3.3  # some items are hard for any model
            logit = rng.normal(clear if positive else -clear, 1.2) + own.normal(0, noise)
            name = f"{side}-{group.split()[0].lower()}-{number:04d}"
            drawn.append(Scored(item_id=name, positive=positive, logits={ANY_VIEW: [float(logit)]}, group=group))
    return drawn


@cache
def decided(noise: float, claims: Claims, reported: int) -> tuple[Decided, tuple[Scored, ...]]:
    """Decide one variant on the drawn items; return what it reports on, too."""
    evaluate = items("e", dict.fromkeys(GROUPS, reported // 6), 3, noise) if reported else []
    tested = items("t", GROUPS, 2, noise)
    if noise > 2:  # its ranges do not fit what it was certified on
        tested = [
            dataclasses.replace(one, logits={ANY_VIEW: [-30.0]}) if n % 40 == 1 else one for n, one in enumerate(tested)
        ]
    found = decide_split(
        items("c", dict.fromkeys(GROUPS, 200), 1, noise),
        tested,
        evaluate,
        (ANY_VIEW,),
        Budget(max_missed=claims.max_missed, alpha=claims.alpha_per_claim),
        claims.groups,
    )
    return found, tuple(evaluate)


def decision(noise: float, claims: Claims, reported: int, *, reference: bool = False) -> Decision:
    """Return the evidence of what one variant decides; all but the reference are compared with float."""
    found, evaluate = decided(noise, claims, reported)
    n = sum(GROUPS.values())
    missed = tuple(sorted(found.missed - decided(0.0, claims, reported)[0].missed))
    regressions = Regressions(
        items=missed, n=n, upper_bound=upper_bound(len(missed), n, 1 - claims.confidence), confidence=claims.confidence
    )
    return Decision(
        certificate=found.certificate,
        groups=tuple(
            GroupClaim(group=g, n=size, misses=m, upper_bound=upper_bound(m, size, claims.alpha_per_claim))
            for g, (size, m) in sorted(found.groups.items())
            if found.certificate.certified
        ),
        review=_review(found, claims),
        genuine_review=found.review,
        regressions=None if reference else regressions,
        evaluation=evaluate_items(
            [(one.item_id, one.positive) for one in evaluate], found.probabilities, found.thresholds, {}, None
        ),
        authentic_below=found.thresholds.authentic_below,
        suspect_from=found.thresholds.suspect_from,
        p=tuple(found.probabilities[one.item_id] for one in evaluate),
    )


def _review(found: Decided, claims: Claims) -> ReviewClaim | None:
    if claims.max_review is None or claims.prevalence is None:
        return None
    assumed, alpha = claims.prevalence, claims.alpha_per_claim
    bound = review_bound(found.reviewed, found.genuine, assumed, alpha)
    return ReviewClaim(
        genuine=found.genuine,
        reviewed=found.reviewed,
        share=assumed + (1 - assumed) * found.review,
        upper_bound=bound,
        holds=bound <= claims.max_review,
        more_genuine=genuine_needed(found.reviewed, found.genuine, assumed, claims.max_review, alpha),
    )


def fidelity_of(cosine: float) -> Fidelity:
    return Fidelity(inputs=96, cosine=cosine, relative_error=(2 - 2 * cosine) ** 0.5, top1_agreement=None)


def latency_of(p50_ms: float, baseline_ms: float, baseline: str) -> Latency:
    ratio = p50_ms / baseline_ms
    return Latency(
        p50_us=p50_ms * 1000,
        p90_us=p50_ms * 1120,
        baseline=baseline,
        ratio=ratio,
        ratio_low=ratio * 0.98,
        ratio_high=ratio * 1.03,
    )


def variant(name: str, precision: str, *, gates: tuple[Gate, ...] = (), **changes: object) -> VariantEvidence:
    """Return a variant that passed what ``gates`` say, with the kernels of its precision."""
    whole = precision in ("int8", "mixed")
    target, engine = next(row[1:] for row in ENGINES if name.startswith(row[0]))
    plain = VariantEvidence(
        name=name,
        target=target,
        engine=engine,
        precision=precision,
        isa=(),
        execution="timed",
        accepted=True,
        gates=(Gate(gate="compile", passed=True, reason="compiled"), *gates),
        calibration="percentile" if whole else None,
        excluded=(),
        size_bytes=3_900_000 if whole else 13_100_000,
        integer_kernels=49 if whole else 0,
        float_kernels=0 if whole else 49,
        latency=None,
        fidelity=fidelity_of(0.9991 if whole else 0.99999),
        decision=None,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def judged(one: VariantEvidence, claims: Claims) -> VariantEvidence:
    """Return a variant with the answers of the gates that apply to it, in the order of a build."""
    gates = [*one.gates, gate.parity(one.fidelity, one.precision, None)]
    if one.precision in ("int8", "mixed"):
        found = Coverage(integer=one.integer_kernels, floating=one.float_kernels, excluded=len(one.excluded))
        gates.append(gate.fusion(found, one.precision))
    gates.append(gate.size(one.size_bytes, gate.SizeLimit(max_bytes=None, baseline_bytes=None)))
    baseline = one.latency.baseline if one.latency and one.latency.baseline != one.name else None
    gates.append(gate.latency(one.latency, one.execution, baseline))
    if one.decision is not None:
        gates.append(gate.risk(one.decision, claims.max_missed))
        if claims.max_review is not None and claims.prevalence is not None:
            gates.append(gate.review(one.decision, claims.max_review, claims.prevalence))
    return dataclasses.replace(one, gates=tuple(gates))


def _variants(claims: Claims, reported: int) -> tuple[VariantEvidence, ...]:
    layers = ("/blocks.0/conv_dw/Conv", "/conv_stem/Conv")
    decided_by = {noise: decision(noise, claims, reported, reference=noise == 0.0) for noise in (0, 0.1, 0.3, 0.5, 2.6)}
    found = [
        variant(_FLOAT, "float32", latency=latency_of(8.1, 8.1, _FLOAT), decision=decided_by[0]),
        variant(
            _INT8,
            "mixed",
            isa=("avx512_vnni|avx_vnni",),
            excluded=layers,
            integer_kernels=47,
            float_kernels=2,
            latency=latency_of(4.9, 8.1, _FLOAT),
            decision=decided_by[0.3],
        ),
        variant(_AVX2, "int8", isa=("avx2",), latency=latency_of(8.9, 8.1, _FLOAT)),
        variant(_BF16, "bf16", fidelity=None, latency=None),
        variant(_ARM, "int8", execution="untimed", calibration="entropy", decision=decided_by[0.5]),
        variant(_WEB, "int8", execution="untimed", decision=decided_by[0.3]),
        variant(_FP16, "fp16", execution="unverified", size_bytes=7_200_000, decision=decided_by[0.1]),
        variant(_RTX8, "int8", execution="unverified", decision=decided_by[2.6]),
    ]
    found = [judged(one, claims) for one in found]
    lacking = Gate(gate="ISA", passed=False, reason="this machine lacks avx512_bf16, so its decisions cannot be judged")
    found[3] = dataclasses.replace(found[3], gates=(lacking,), size_bytes=0, integer_kernels=None, float_kernels=None)
    admitted = gate.accepted(found)
    return tuple(dataclasses.replace(one, accepted=admitted[one.name]) for one in found)


def candidates() -> tuple[CandidateEvidence, ...]:
    died = "refused: the compiler's process died"
    rows = (
        (_FLOAT, "x86", None, 0, 96, 0.0, "frozen"),
        (_INT8, "x86", "minmax", 0, 32, 0.061, "dropped after 32 inputs"),
        (_INT8, "x86", "percentile", 0, 96, 0.0131, "dropped after 96 inputs"),
        (_INT8, "x86", "percentile", 2, 256, 0.0042, "frozen"),
        (_INT8, "x86", "entropy", 0, 0, None, died),
        (_RTX8, "tensorrt-rtx", "minmax", 0, 32, 0.093, "frozen"),
    )
    names = ("slot", "target", "calibration", "excluded", "inputs", "harm", "outcome")
    return tuple(CandidateEvidence(**dict(zip(names, row, strict=True))) for row in rows)


def layers(count: int = 40) -> tuple[LayerSensitivity, ...]:
    return tuple(
        LayerSensitivity(
            node=f"/blocks.{place}/a-rather-long-module-name/conv_pwl/Conv_quantised_{place}",
            sqnr_db=14.0 + 0.7 * place,
            added_noise=0.03 / (place + 1) - 0.0012,
        )
        for place in range(count)
    )


@cache
def risk_evidence(claims: Claims = CLAIMS, reported: int = 360) -> Evidence:
    """Return the evidence of an authenticator: accepted, mixed, refused, untimed and unverified variants."""
    variants = _variants(claims, reported)
    _, evaluate = decided(0.0, claims, reported)
    certified_on = tuple(sorted(one.item_id for one in items("t", GROUPS, 2)))
    preferred, because = gate.prefer([one for one in variants if one.accepted], [_FLOAT, _INT8])
    fraud = certify([(0.2, 3), (0.4, 9)], 60, Budget(max_missed=0.5, alpha=0.05))
    return Evidence(
        judged_by="risk",
        source=SourceEvidence(
            kind="authenticator",
            notes=("opset 11 was converted to 17",),
            parity=Parity(inputs=16, of="photos of the set", max_abs_error=2.4e-6, cosine=0.99999998),
        ),
        claims=claims,
        min_cosine=None,
        cross_fitted=False,
        items={
            "calibrate": {"genuine": 600, "counterfeit": 600},
            "certify": {"genuine": 1720, "counterfeit": 1720},
            "evaluate": {"genuine": reported // 2, "counterfeit": reported // 2},
        },
        variants=variants,
        preferred=preferred,
        preferred_because=because,
        candidates=candidates(),
        sensitivity=layers(),
        colour_baseline_auc=0.874,
        listing=ListingEvidence(certificate=fraud, auc=0.861, honest_review=0.122),
        reported=tuple(ReportedItem(item_id=i.item_id, counterfeit=i.positive, group=i.group) for i in evaluate),
        certified_on=certified_on,
        notes=("ranges of 2 nodes were constant and stay in float",),
        provenance=PROVENANCE,
    )


PROVENANCE = {
    "model_sha256": "9f" * 32,
    "dataset_sha256": "0a" * 32,
    "calibration_samples_sha256": "5c" * 32,
    "seed": "7",
    "onnx": "1.23.2",
    "onnxruntime": "1.32.0",
    "python": "3.11.2",
    "built_on": "Linux x86_64",
    "built_with_cpu_flags": "avx2 avx512_vnni avx512f",
}


@cache
def unproved_evidence() -> Evidence:
    """The same with a budget that wants more items than there are: nothing is authentic."""
    claims = dataclasses.replace(CLAIMS, max_missed=0.0001, groups=(), max_review=None, prevalence=None)
    return risk_evidence(claims=claims)


@cache
def fidelity_evidence() -> Evidence:
    """Return the evidence of a model that is no authenticator."""
    variants = []
    for one, floor in (
        (variant(_FLOAT, "float32", latency=latency_of(21.0, 21.0, _FLOAT), fidelity=fidelity_of(1.0)), 0.95),
        (variant(_INT8, "int8", latency=latency_of(12.0, 21.0, _FLOAT), fidelity=fidelity_of(0.9981)), 0.95),
        (variant(_RTX8, "int8", execution="unverified", fidelity=fidelity_of(0.913)), 0.95),
    ):
        done = judged(one, CLAIMS)
        done = dataclasses.replace(done, gates=(*done.gates, gate.fidelity(done.fidelity, floor)))
        variants.append(dataclasses.replace(done, accepted=not done.reasons))
    return Evidence(
        judged_by="fidelity",
        source=SourceEvidence(kind="tensors", notes=(), parity=None),
        claims=None,
        min_cosine=0.95,
        cross_fitted=False,
        items={},
        variants=tuple(variants),
        preferred=_INT8,
        preferred_because="fastest of 2: 12.00 ms a photo, 0.57 of ort-cpu-float32",
        candidates=(),
        sensitivity=(),
        colour_baseline_auc=None,
        listing=None,
        reported=(),
        certified_on=(),
        notes=("there is one sample only: what judges is what calibrated; give more for an honest comparison",),
        provenance={"source_sha256": "77" * 32, "onnxruntime": "1.32.0", "built_on": "Linux x86_64"},
    )


def manifest_of(evidence: Evidence, name: str = "goods") -> BundleManifest:
    """Return a manifest that fits the evidence."""
    by_risk = evidence.judged_by == "risk"
    inside = [one for one in evidence.variants if one.accepted]
    entries = tuple(
        Variant(
            name=one.name,
            engine=one.engine,
            precision=one.precision,
            file=f"variants/{one.name}.onnx",
            isa=one.isa,
            fusion=Fusion(bias=0.0, weights={ANY_VIEW: 1.0}),
            thresholds=Thresholds(
                authentic_below=one.decision.authentic_below if one.decision else 0.0,
                suspect_from=one.decision.suspect_from if one.decision else 1.0,
            ),
            target=one.target,
            execution=one.execution,  # type: ignore[arg-type]
        )
        for one in inside
    )
    return BundleManifest(
        manifest=2,
        name=name,
        created_at=CREATED_AT,
        input=InputSpec(px=224) if by_risk else None,
        views=(ANY_VIEW,),
        variants=entries,
        preferred=evidence.preferred,
        listing=None,
        golden=(),
        golden_tolerance=0.05,
        evidence="evidence.json",
        files=tuple(FileEntry(path=entry.file, sha256="ab" * 32, size=4_000_000) for entry in entries),
        provenance=evidence.provenance,
        judged_by=evidence.judged_by,
        tensors=() if by_risk else (TensorSpec(name="x", dtype="float32", shape=(None, 3, 64, 64)),),
    )
