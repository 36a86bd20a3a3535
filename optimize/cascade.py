"""Cascades: a small model that looks first, and a large one for what it is not sure of, as one variant of a bundle.

Everything that judges a variant judges the pair by its one score (``rule.py``), so nothing here decides on risk: it
says which models may be paired, which of their variants are, and what a pair costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from calibration_data.dataset import Item
from optimize.decisions import Decided
from optimize.evidence import FirstStageEvidence, Gate, Latency
from optimize.float_model import FloatModel
from optimize.freezing import First, Frozen
from optimize.gate import SizeLimit, size
from optimize.model import ModelSpec
from optimize.risk import rate
from runtime.contracts.errors import Unsupported

SUFFIX = "-cascade"
"""Of a cascade's name, after its slot's."""


def paired_spec(first: FloatModel, second: FloatModel) -> ModelSpec:
    """Return what a bundle of both models is: as the second one, and trained on what either saw.

    Raises:
        Unsupported: the two do not make a cascade; the message says why.
    """
    one, other = first.spec, second.spec
    if first.kind != "authenticator" or second.kind != "authenticator":
        raise Unsupported("--escalate: both stages must tell counterfeits from genuine items; give two authenticators")
    if one.views != other.views:
        raise Unsupported(
            f"--escalate: the first stage looks at the views {', '.join(one.views)} and the second at "
            f"{', '.join(other.views)}; both must look at the same photos, so train them on the same data"
        )
    if one.regions != other.regions:
        raise Unsupported(
            "--escalate: the two stages look at different regions of the photos, which are cut once; give finetune the "
            "same --region for both"
        )
    if one.px > other.px:
        raise Unsupported(
            f"--escalate: the first stage wants photos of {one.px} px and the second of {other.px} px; the one that "
            "looks first must be the smaller one"
        )
    if one.folds != other.folds:
        raise Unsupported(
            "--escalate: the two models were not cross-fitted over the same folds, so that an item would be judged by "
            "a stage that saw it; give finetune the same --data, --cross-fit and --seed for both"
        )
    return replace(other, trained_on=tuple(sorted({*one.trained_on, *other.trained_on})))


def cascades(seconds: Sequence[Frozen], firsts: Sequence[Frozen], px: int, max_bytes: int | None) -> list[Frozen]:
    """Pair the variants of two models that fill the same slot.

    Args:
        seconds: of the large model.
        firsts: of the small one.
        px: side of the small one's photos.
        max_bytes: of both files together.

    Returns:
        One variant a slot, with the gates of both stages; one that either stage failed is refused.
    """
    by_slot = {one.slot: one for one in firsts}
    pairs = [
        replace(
            one,
            name=f"{one.name}{SUFFIX}",
            gates=_both(by_slot[one.slot], one),
            first=First(frozen=by_slot[one.slot], px=px),
        )
        for one in seconds
        if one.slot in by_slot
    ]
    limit = SizeLimit(max_bytes=max_bytes, baseline_bytes=None)
    return [one.judged(size(one.size_bytes, limit)) if one.alive else one for one in pairs]


def mean_cost(first: Latency, second: Latency, escalated: float) -> Latency:
    """Return what a photo takes on average: always the first stage, and the second for a share of the items.

    Args:
        first: of the first stage, as a ratio of the second's time.
        second: of the second stage alone.
        escalated: share of the items that need a second look, 0 to 1.
    """
    return Latency(
        p50_us=first.p50_us + escalated * second.p50_us,
        p90_us=first.p90_us + (second.p90_us if escalated > 0.1 else 0.0),
        baseline=first.baseline,
        ratio=first.ratio + escalated,
        ratio_low=first.ratio_low + escalated,
        ratio_high=first.ratio_high + escalated,
        mean=True,
    )


def first_evidence(
    one: Frozen, decided: Decided, tested: Sequence[Item], found: Mapping[str, Latency]
) -> FirstStageEvidence | None:
    """Return what the first stage of a judged cascade is and does; ``None`` for a variant of one stage.

    Args:
        one: the variant.
        decided: about it.
        tested: the certify items.
        found: latencies by variant; a cascade's is its first stage's.
    """
    rule = decided.rule.first
    if one.first is None or rule is None:
        return None
    sides = {
        label: [item.item_id in decided.sure for item in tested if item.label == label]
        for label in ("genuine", "counterfeit")
    }
    latency = found.get(one.name)
    return FirstStageEvidence(
        px=one.first.px,
        precision=one.first.frozen.precision,
        size_bytes=one.first.frozen.size_bytes,
        p50_us=latency.p50_us if latency else None,
        sure_below=rule.sure_below,
        sure_from=rule.sure_from,
        genuine=rate(sum(sides["genuine"]), len(sides["genuine"])),
        counterfeit=rate(sum(sides["counterfeit"]), len(sides["counterfeit"])),
    )


def _both(first: Frozen, second: Frozen) -> tuple[Gate, ...]:
    """Return every gate's answers for both stages as one; their sizes count together, so a good one is left out."""
    stages = (("first", first), ("second", second))
    found = []
    for name in dict.fromkeys(gate.gate for one in (second, first) for gate in one.gates):
        answers = [(stage, gate) for stage, one in stages for gate in one.gates if gate.gate == name]
        passed = all(gate.passed for _, gate in answers)
        if name == "size" and passed:
            continue
        found.append(
            Gate(gate=name, passed=passed, reason="; ".join(f"{stage} stage: {gate.reason}" for stage, gate in answers))
        )
    return tuple(found)
