"""What a bundle carries as proof: ``evidence.json``, readable by ``inspect`` and by an auditor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from optimize.decisions import Evaluation
from optimize.risk import Certificate

EVIDENCE_FILE = "evidence.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The photos' budget and how its error level is divided over the variants, and the listing's budget of its own.

    The listing model is one claim at the whole error level: it does not differ between variants.
    """

    max_missed: float
    max_missed_fraud: float
    confidence: float
    claims: int
    alpha_per_claim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantEvidence:
    """One candidate: whether it is in the bundle, why, and what was measured."""

    name: str
    accepted: bool
    reasons: tuple[str, ...]
    size_bytes: int
    integer_kernels: int
    float_kernels: int
    latency_p50_us: float
    certificate: Certificate
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingEvidence:
    """The listing model: P(fraud) against the fraud label; ``honest_review`` on the certify items."""

    certificate: Certificate
    auc: float | None
    honest_review: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it. ``certified_on`` are the items that this release spent; a later one must not certify on them."""

    format: Literal[1] = 1
    claims: Claims
    cross_fitted: bool
    items: Mapping[str, Mapping[str, int]]
    variants: tuple[VariantEvidence, ...]
    preferred: str
    latency_ratio: float | None
    auc_change: float | None
    colour_baseline_auc: float | None
    listing: ListingEvidence | None
    certified_on: tuple[str, ...]
    provenance: Mapping[str, str]
