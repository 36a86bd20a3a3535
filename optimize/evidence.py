"""What a bundle carries as proof: ``evidence.json``, readable by ``inspect`` and by an auditor. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from optimize.risk import Certificate, Evaluation, Rate
from optimize.sources.imported import Parity

EVIDENCE_FILE = "evidence.json"

GateName = Literal["compile", "ISA", "parity", "fusion", "fallback", "size", "latency", "risk", "review", "fidelity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The photos' budget and how its error level is divided over the claims, and the listing's budget of its own.

    Attributes:
        max_missed: share of counterfeits that may pass as authentic.
        max_missed_fraud: share of frauds that the listing score may miss.
        confidence: of all the photos' claims together.
        variants: that are judged.
        groups: with enough counterfeits to certify on for a claim of their own.
        max_review: share of items that may go to an expert at ``prevalence``; ``None`` where no such budget was given.
        prevalence: share of counterfeits that ``max_review`` assumes.
        claims: variants x (1 + groups + whether there is a review budget).
        alpha_per_claim: error level of each. The listing model is one claim at the whole error level: it does not
            differ between variants.
    """

    max_missed: float
    max_missed_fraud: float
    confidence: float
    variants: int
    groups: tuple[str, ...]
    max_review: float | None
    prevalence: float | None
    claims: int
    alpha_per_claim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate's answer for one variant, in words."""

    gate: GateName
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Outputs against the float model's on the same inputs.

    Attributes:
        inputs: how many photos or rows.
        cosine: similarity of the outputs, less the float model's mean row where there are four rows; the least over
            the outputs.
        relative_error: ``|a - b| / |b|`` in the Euclidean norm; the greatest over the outputs.
        top1_agreement: share of inputs with the same greatest class; ``None`` where the outputs are no classes.
    """

    inputs: int
    cosine: float
    relative_error: float
    top1_agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One photo (or feed) on this machine, interleaved with all other variants.

    ``ratio`` is the median over the baseline's median; ``ratio_low`` and ``ratio_high`` its 95 % bootstrap interval.
    Where it is a ``mean``, it is of a cascade, whose baseline is its second stage alone: ``p50_us`` is the first
    stage's median plus the second's for the share of items that need it, and ``p90_us`` that of the slower path where
    one item in ten takes it.
    """

    p50_us: float
    p90_us: float
    baseline: str
    ratio: float
    ratio_low: float
    ratio_high: float
    mean: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStageEvidence:
    """What looks first in a cascade, and what it decides alone of the items that certified.

    Attributes:
        px: side of its photos.
        precision: of its network.
        size_bytes: of its files, which the variant's own size holds too.
        p50_us: of one photo in it; ``None`` where it was not timed.
        sure_below: P below which an item needs no second look.
        sure_from: P from which on neither.
        genuine: share of the genuine items that it decides alone.
        counterfeit: share of the counterfeits that it decides alone.
    """

    px: int
    precision: str
    size_bytes: int
    p50_us: float | None
    sure_below: float
    sure_from: float
    genuine: Rate
    counterfeit: Rate

    @property
    def decided(self) -> float:
        """Share of all items that it decides alone, as common as both classes are among those that certified."""
        n = self.genuine.n + self.counterfeit.n
        return (self.genuine.count + self.counterfeit.count) / n if n else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupClaim:
    """What was certified of one group of items (a brand, say) at the variant's threshold."""

    group: str
    n: int
    misses: int
    upper_bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewClaim:
    """The share of items that go to an expert at the assumed prevalence, bounded on the certify items.

    ``more_genuine`` is how many more genuine items of the same kind would prove the budget; ``None`` where no number
    would, 0 where it holds.
    """

    genuine: int
    reviewed: int
    share: float
    upper_bound: float
    holds: bool
    more_genuine: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressions:
    """Counterfeits that the variant calls authentic and the float model does not, each at its own threshold."""

    items: tuple[str, ...]
    n: int
    upper_bound: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a variant decides: its certificate, what else was proved of it, and its scores of the reported items.

    ``p`` holds P(counterfeit) in the order of ``Evidence.reported``.
    """

    certificate: Certificate
    groups: tuple[GroupClaim, ...]
    review: ReviewClaim | None
    genuine_review: float
    regressions: Regressions | None
    evaluation: Evaluation
    authentic_below: float
    suspect_from: float
    p: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantEvidence:
    """One frozen candidate: whether it is in the bundle, every gate's answer, and what was measured.

    Of a cascade that was judged, ``first`` is its first stage; kernels, ranges and fidelity are of its second.
    """

    name: str
    target: str
    engine: str
    precision: str
    isa: tuple[str, ...]
    execution: str
    accepted: bool
    gates: tuple[Gate, ...]
    calibration: str | None
    excluded: tuple[str, ...]
    size_bytes: int
    integer_kernels: int | None
    float_kernels: int | None
    latency: Latency | None
    fidelity: Fidelity | None
    decision: Decision | None
    first: FirstStageEvidence | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused; empty where it was not."""
        return tuple(f"{gate.gate}: {gate.reason}" for gate in self.gates if not gate.passed)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateEvidence:
    """One candidate of the search: compared with float on how many inputs, how far off, and what became of it.

    ``harm`` is 1 - correlation of the logits for an authenticator, 1 - cosine of the outputs for anything else.
    """

    slot: str
    target: str
    calibration: str | None
    excluded: int
    inputs: int
    harm: float | None
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSensitivity:
    """One quantised node: signal to quantisation noise of its output in dB, and the noise power that it added.

    ``added_noise`` is noise over signal (a ratio of powers) at its output, less that at its input.
    """

    node: str
    sqnr_db: float
    added_noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingEvidence:
    """The listing model: P(fraud) against the fraud label; ``honest_review`` on the certify items."""

    certificate: Certificate
    auc: float | None
    honest_review: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedItem:
    """One item that chose nothing."""

    item_id: str
    counterfeit: bool
    group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEvidence:
    """Where the float model came from, what the import changed, and how it agrees with its source."""

    kind: str
    notes: tuple[str, ...]
    parity: Parity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it. ``certified_on`` are the items that this release spent; a later one must not certify on them."""

    format: Literal[2] = 2
    judged_by: Literal["risk", "fidelity"]
    source: SourceEvidence
    claims: Claims | None
    min_cosine: float | None
    cross_fitted: bool
    items: Mapping[str, Mapping[str, int]]
    variants: tuple[VariantEvidence, ...]
    preferred: str
    preferred_because: str
    candidates: tuple[CandidateEvidence, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    colour_baseline_auc: float | None
    listing: ListingEvidence | None
    reported: tuple[ReportedItem, ...]
    certified_on: tuple[str, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, str]

    def variant(self, name: str) -> VariantEvidence:
        """Return one variant by its name."""
        return next(variant for variant in self.variants if variant.name == name)
