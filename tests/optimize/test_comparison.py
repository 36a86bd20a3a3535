"""Two bundles side by side: what changed is said, what did not is not, and what cannot be compared is called so."""

from __future__ import annotations

import dataclasses
import json

from optimize.comparison import Side, compare, comparison_json
from optimize.evidence import Evidence
from tests.optimize.evidence_rigs import fidelity_evidence, manifest_of, risk_evidence, unproved_evidence


def side(evidence: Evidence) -> Side:
    return manifest_of(evidence), evidence


def with_provenance(evidence: Evidence, **changes: str) -> Evidence:
    return dataclasses.replace(evidence, provenance={**evidence.provenance, **changes})


def test_a_bundle_beside_itself_has_nothing_to_say() -> None:
    one = side(risk_evidence())
    text = compare(one, one)
    assert "->" not in text
    assert "WARNING" not in text
    assert text.count(": unchanged") == 5 + len(one[1].variants)
    found = comparison_json(one, one)
    assert found["budget"] == found["items"] == found["provenance"] == {}
    assert all(variant["changes"] == {} for variant in found["variants"].values())


def test_what_changed_in_source_data_tools_and_budget_is_said() -> None:
    other = with_provenance(risk_evidence(), model_sha256="cc" * 32, onnxruntime="1.33.0")
    text = compare(side(risk_evidence()), side(other))
    assert f"    model_sha256: {'9f' * 32} -> {'cc' * 32}" in text
    assert "  tools:\n    onnxruntime: 1.32.0 -> 1.33.0" in text
    assert "    max_missed: 0.02 -> 0.0001" in compare(side(risk_evidence()), side(unproved_evidence()))


def test_times_of_different_cpus_come_with_a_warning() -> None:
    one = risk_evidence()
    assert "WARNING" not in compare(side(one), side(with_provenance(one, seed="8")))
    other = with_provenance(one, built_with_cpu_flags="avx2")
    assert "their times cannot be compared" in compare(side(one), side(other))
    assert comparison_json(side(one), side(other))["same_machine"] is False
    silent = dataclasses.replace(one, provenance={})
    assert "WARNING" in compare(side(silent), side(silent))


def test_variants_that_came_went_or_changed_are_told_apart() -> None:
    one, other = risk_evidence(), fidelity_evidence()
    text = compare(side(one), side(other))
    assert "ort-arm-int8: gone (it was in the bundle, not timed on target)" in text
    assert "ort-cpu-int8:\n" in text
    assert "    time: p50 4.90 ms, p90 5.49 ms -> p50 12.00 ms, p90 13.44 ms" in text
    assert "judged    by risk, now by fidelity: their proofs cannot be compared" in text
    assert "ort-arm-int8: new, in the bundle, not timed on target; 3.9 MB" in compare(side(other), side(one))
    found = comparison_json(side(one), side(other))
    assert "ort-arm-int8" in found["variants_gone"]
    assert found["variants"]["ort-cpu-int8"]["changes"]["p50_us"] == [4900.0, 12000.0]
    json.dumps(found, allow_nan=False)


def test_a_lost_proof_is_shown_with_its_reason() -> None:
    text = compare(side(risk_evidence()), side(unproved_evidence()))
    assert "budget 2.0% -> not proved (n = 1,720), budget 0.01%" in text
    assert "because  risk: not proved with 1720 counterfeits" in text


def test_certify_items_that_are_the_same_overlap_or_differ_are_told_apart() -> None:
    one = risk_evidence()
    assert "the same items: good for comparing, but only the earlier proof is fresh" in compare(side(one), side(one))
    half = dataclasses.replace(one, certified_on=one.certified_on[:1000])
    text = compare(side(one), side(half))
    assert "3,440 and 1,000, 1,000 of them in both; so only the earlier proof is fresh" in text
    fresh = dataclasses.replace(one, certified_on=("a", "b"))
    assert "0 of them in both; both proofs are fresh" in compare(side(one), side(fresh))
    assert comparison_json(side(one), side(fresh))["certify_items"] == {"first": 3440, "second": 2, "common": 0}


def test_items_whose_verdict_changed_are_named() -> None:
    one = risk_evidence()
    decision = one.variant(one.preferred).decision
    assert decision is not None
    fake = next(
        n for n, item in enumerate(one.reported) if item.counterfeit and decision.p[n] >= decision.authentic_below
    )
    p = (*decision.p[:fake], 0.0, *decision.p[fake + 1 :])
    variants = tuple(
        dataclasses.replace(v, decision=dataclasses.replace(decision, p=p)) if v.name == one.preferred else v
        for v in one.variants
    )
    other = dataclasses.replace(one, variants=variants)
    found = comparison_json(side(one), side(other))["verdicts_on_common_reported_items"]
    assert found["newly_missed"] == [one.reported[fake].item_id]
    assert found["no_longer_missed"] == found["newly_reviewed"] == found["no_longer_reviewed"] == []
    line = f"1 counterfeits that only the second calls authentic: {one.reported[fake].item_id}"
    assert line in compare(side(one), side(other))


def test_bundles_that_report_on_other_items_are_not_compared_item_by_item() -> None:
    one = risk_evidence()
    moved = tuple(dataclasses.replace(item, item_id=f"other-{item.item_id}") for item in one.reported)
    text = compare(side(one), side(dataclasses.replace(one, reported=moved)))
    assert "the two report on no item in common" in text
