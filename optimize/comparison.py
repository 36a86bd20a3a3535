"""What changed from one bundle to another, in words and as data. Reads nothing, and judges neither.

Timings of two runs are never set against each other without saying so: only ratios to a baseline of the same run are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optimize.evidence import Evidence, VariantEvidence
from optimize.wording import (
    budget_text,
    first_stage_text,
    latency_text,
    megabytes,
    missed_text,
    percent,
    ratio_text,
    review_text,
    state,
)
from runtime.contracts.bundle import BundleManifest
from runtime.contracts.codec import encode

Side = tuple[BundleManifest, Evidence]

_MACHINE = ("built_on", "built_with_cpu", "built_with_cpu_flags")
_TOOLS = (
    *("onnx", "onnxruntime", "openvino", "nncf", "tensorrt_rtx", "tensorrt", "torch", "scikit-learn", "python"),
    *("numpy", "optimum", "transformers", "lightgbm", "xgboost", "skl2onnx"),
)
_MOST_ITEMS = 10


def compare(one: Side, other: Side) -> str:
    """Say what changed from ``one`` to ``other``, a few lines a subject.

    Args:
        one: manifest and evidence of the first bundle.
        other: of the second.
    """
    return "\n".join(_lines(one, other))


def comparison_json(one: Side, other: Side) -> dict[str, Any]:
    """Return what changed as plain JSON data: a pair (first, second) wherever two values differ."""
    (_, before), (_, after) = one, other
    return {
        "names": [one[0].name, other[0].name],
        "created_at": [one[0].created_at, other[0].created_at],
        "judged_by": [before.judged_by, after.judged_by],
        "budget": _changes(_budget(before), _budget(after)),
        "items": _changes(_flat_items(before), _flat_items(after)),
        "certify_items": _overlap(before, after),
        "same_machine": _same_machine(before, after),
        "preferred": [before.preferred, after.preferred],
        "variants_added": [name for name in _names(after) if name not in _names(before)],
        "variants_gone": [name for name in _names(before) if name not in _names(after)],
        "variants": {
            name: {"changes": _changes(_figures(before.variant(name)), _figures(after.variant(name)))}
            for name in _names(before)
            if name in _names(after)
        },
        "verdicts_on_common_reported_items": _verdict_changes(before, after),
        "provenance": _changes(before.provenance, after.provenance),
    }


def _lines(one: Side, other: Side) -> Iterator[str]:
    (first, before), (second, after) = one, other
    yield f"from {first.name}, built {first.created_at}"
    yield f"to   {second.name}, built {second.created_at}"
    if before.judged_by != after.judged_by:
        yield f"  judged    by {before.judged_by}, now by {after.judged_by}: their proofs cannot be compared"
    yield from _provenance_lines(before, after)
    yield from _changed("budget", _changes(_budget(before), _budget(after)))
    yield from _changed("items", _changes(_flat_items(before), _flat_items(after)))
    yield from _overlap_lines(before, after)
    if not _same_machine(before, after):
        yield (
            "  WARNING   the two were built on different CPUs, or one does not say on which: their times cannot be "
            "compared, only each one's ratio to its own baseline"
        )
    else:
        yield "  times are of two runs on CPUs of one kind: compare each one's ratio to its own baseline first"
    yield from _preference_lines(before, after)
    for name in _names(before):
        if name in _names(after):
            yield from _variant_lines(before, after, name)
        else:
            yield f"  {name}: gone (it was {state(before.variant(name), before.preferred)})"
    for name in _names(after):
        if name not in _names(before):
            found = after.variant(name)
            yield f"  {name}: new, {state(found, after.preferred)}; {megabytes(found.size_bytes)}"
            yield from (f"    because  {reason}" for reason in found.reasons)
    yield from _verdict_lines(before, after)


def _provenance_lines(before: Evidence, after: Evidence) -> Iterator[str]:
    changes = _changes(before.provenance, after.provenance)
    tools = {key: pair for key, pair in changes.items() if key in _TOOLS}
    rest = {key: pair for key, pair in changes.items() if key not in _TOOLS and key not in _MACHINE}
    if before.source != after.source:
        rest["kind of source or its parity"] = [_source(before), _source(after)]
    yield from _changed("source and data", rest)
    yield from _changed("tools", tools)
    yield from _changed("machine", {key: pair for key, pair in changes.items() if key in _MACHINE})


def _changed(subject: str, changes: Mapping[str, list[Any]]) -> Iterator[str]:
    if not changes:
        yield f"  {subject}: unchanged"
        return
    yield f"  {subject}:"
    for key, (was, now) in changes.items():
        yield f"    {key}: {_word(was)} -> {_word(now)}"


def _overlap_lines(before: Evidence, after: Evidence) -> Iterator[str]:
    found = _overlap(before, after)
    if not found["first"] or not found["second"]:
        return
    common = found["common"]
    text = f"  certify items: {found['first']:,} and {found['second']:,}, {common:,} of them in both; "
    if common == found["first"] == found["second"]:
        yield text + "the same items: good for comparing, but only the earlier proof is fresh"
    elif common:
        yield text + "so only the earlier proof is fresh, and the two rates are of different items"
    else:
        yield text + "both proofs are fresh, and a difference of the two may be one of the items"


def _preference_lines(before: Evidence, after: Evidence) -> Iterator[str]:
    if before.preferred == after.preferred:
        yield f"  preferred: {after.preferred}, as before"
    else:
        yield f"  preferred: {before.preferred} -> {after.preferred} ({after.preferred_because})"


def _variant_lines(before: Evidence, after: Evidence, name: str) -> Iterator[str]:
    was, now = before.variant(name), after.variant(name)
    lines = [
        ("state", state(was, before.preferred), state(now, after.preferred)),
        ("size", megabytes(was.size_bytes), megabytes(now.size_bytes)),
        ("time", latency_text(was.latency), latency_text(now.latency)),
        ("ratio", ratio_text(was.latency, name), ratio_text(now.latency, name)),
        ("precision", was.precision, now.precision),
        ("ranges by", was.calibration or "-", now.calibration or "-"),
        ("kept in float", str(len(was.excluded)), str(len(now.excluded))),
        ("first stage", _first_stage(was), _first_stage(now)),
        ("missed", _missed(was, before), _missed(now, after)),
        ("review", review_text(was), review_text(now)),
        ("misses that float does not", _regressions(was), _regressions(now)),
        ("thresholds", _thresholds(was), _thresholds(now)),
        ("outputs", _cosine(was), _cosine(now)),
    ]
    changed = [f"    {what}: {one} -> {other}" for what, one, other in lines if one != other]
    yield f"  {name}:" if changed else f"  {name}: unchanged"
    yield from changed
    yield from (f"    because  {reason}" for reason in now.reasons if reason not in was.reasons)


def _verdict_lines(before: Evidence, after: Evidence) -> Iterator[str]:
    found = _verdict_changes(before, after)
    if found is None:
        return
    if not found["items"]:
        yield "  verdicts: the two report on no item in common"
        return
    yield f"  verdicts on the {found['items']:,} reported items in common, by the photos and the preferred variants:"
    for key, text in (
        ("newly_missed", "counterfeits that only the second calls authentic"),
        ("no_longer_missed", "counterfeits that only the first calls authentic"),
        ("newly_reviewed", "genuine items that only the second sends to an expert"),
        ("no_longer_reviewed", "genuine items that only the first sends to an expert"),
    ):
        names = found[key]
        cut = f" and {len(names) - _MOST_ITEMS} more" if len(names) > _MOST_ITEMS else ""
        yield f"    {len(names)} {text}" + (f": {', '.join(names[:_MOST_ITEMS])}{cut}" if names else "")


def _verdict_changes(before: Evidence, after: Evidence) -> dict[str, Any] | None:
    """Compare what the preferred variants call authentic; ``None`` where one of them decides nothing."""
    sides = [_authentic(before), _authentic(after)]
    if sides[0] is None or sides[1] is None:
        return None
    first, second = sides[0], sides[1]
    fake = {item.item_id for item in after.reported if item.counterfeit}
    common = sorted(first.keys() & second.keys())
    newly = [item for item in common if second[item] and not first[item]]
    no_longer = [item for item in common if first[item] and not second[item]]
    return {
        "items": len(common),
        "newly_missed": [item for item in newly if item in fake],
        "no_longer_missed": [item for item in no_longer if item in fake],
        "newly_reviewed": [item for item in no_longer if item not in fake],
        "no_longer_reviewed": [item for item in newly if item not in fake],
    }


def _authentic(evidence: Evidence) -> dict[str, bool] | None:
    decision = evidence.variant(evidence.preferred).decision
    if decision is None:
        return None
    pairs = zip(evidence.reported, decision.p, strict=True)
    return {item.item_id: p < decision.authentic_below for item, p in pairs}


def _overlap(before: Evidence, after: Evidence) -> dict[str, int]:
    one, other = set(before.certified_on), set(after.certified_on)
    return {"first": len(one), "second": len(other), "common": len(one & other)}


def _same_machine(before: Evidence, after: Evidence) -> bool:
    """Whether both say what they were built on, and say the same."""
    one, other = ({key: side.provenance.get(key) for key in _MACHINE} for side in (before, after))
    return one == other and one["built_on"] is not None and one["built_with_cpu_flags"] is not None


def _figures(variant: VariantEvidence) -> dict[str, Any]:
    """Return what is compared of a variant, but for items and scores."""
    decision, latency = variant.decision, variant.latency
    return {
        "accepted": variant.accepted,
        "precision": variant.precision,
        "execution": variant.execution,
        "calibration": variant.calibration,
        "excluded": list(variant.excluded),
        "size_bytes": variant.size_bytes,
        "p50_us": latency.p50_us if latency else None,
        "latency_ratio": latency.ratio if latency else None,
        "cosine": variant.fidelity.cosine if variant.fidelity else None,
        "first_stage": encode(variant.first) if variant.first else None,
        "refused_because": list(variant.reasons),
        **(
            {
                "certified": decision.certificate.certified,
                "missed_upper_bound": decision.certificate.upper_bound,
                "missed": [decision.certificate.misses, decision.certificate.n],
                "genuine_review": decision.genuine_review,
                "authentic_below": decision.authentic_below,
                "suspect_from": decision.suspect_from,
                "regressions": list(decision.regressions.items) if decision.regressions else None,
            }
            if decision
            else {}
        ),
    }


def _budget(evidence: Evidence) -> dict[str, Any]:
    found = encode(evidence.claims) if evidence.claims else {}
    return {**found, "min_cosine": evidence.min_cosine, "cross_fitted": evidence.cross_fitted}


def _flat_items(evidence: Evidence) -> dict[str, int]:
    return {f"{side}, {label}": n for side, counts in evidence.items.items() for label, n in counts.items()}


def _changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    keys = [*one, *(key for key in other if key not in one)]
    return {key: [one.get(key), other.get(key)] for key in keys if one.get(key) != other.get(key)}


def _names(evidence: Evidence) -> list[str]:
    return [one.name for one in evidence.variants]


def _source(evidence: Evidence) -> str:
    parity = evidence.source.parity
    return evidence.source.kind + (f", off by {parity.max_abs_error:.2g}" if parity else "")


def _missed(variant: VariantEvidence, evidence: Evidence) -> str:
    if evidence.claims is None or variant.decision is None:
        return "not judged"
    return f"{missed_text(variant, evidence.claims)}, budget {budget_text(evidence.claims.max_missed)}"


def _regressions(variant: VariantEvidence) -> str:
    decision = variant.decision
    if decision is None or decision.regressions is None or not decision.certificate.certified:
        return "-"
    found = decision.regressions
    named = f" ({', '.join(found.items[:_MOST_ITEMS])})" if found.items else ""
    bound = f"at most {percent(found.upper_bound)} with {found.confidence:.0%} confidence"
    return f"{len(found.items)} of {found.n:,}, {bound}{named}"


def _thresholds(variant: VariantEvidence) -> str:
    found = variant.decision
    return (
        "-" if found is None else f"authentic below {found.authentic_below:.4f}, suspect from {found.suspect_from:.4f}"
    )


def _first_stage(variant: VariantEvidence) -> str:
    return "-" if variant.first is None else first_stage_text(variant.first)


def _cosine(variant: VariantEvidence) -> str:
    return "-" if variant.fidelity is None else f"cosine {variant.fidelity.cosine:.5f}"


def _word(value: object) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
