"""What a person at a terminal reads of a bundle: states, reasons, claims, and no word more than was proved."""

from __future__ import annotations

import dataclasses

import pytest

from optimize.evidence import Evidence
from optimize.report import certificate_text, describe, headline
from optimize.risk import rate
from optimize.summary import what_is_needed, what_it_is, what_was_proved
from optimize.wording import budget_text, counterfeits_among_accepted, percent, rate_text
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.records import BundleId
from tests.optimize.evidence_rigs import CLAIMS, fidelity_evidence, manifest_of, risk_evidence, unproved_evidence

ID = BundleId("ab" * 32)


def described(evidence: Evidence) -> str:
    return describe(manifest_of(evidence), ID, evidence)


@pytest.mark.parametrize("evidence", [risk_evidence, unproved_evidence, fidelity_evidence])
def test_the_rigs_are_evidence_that_a_bundle_could_hold(evidence) -> None:
    made = evidence()
    assert decode(Evidence, parse_json(canonical_json(made), "evidence"), "evidence") == made


def test_every_variant_has_its_state_and_its_execution_mark() -> None:
    text = described(risk_evidence())
    assert "ort-cpu-int8: preferred;" in text
    assert "ort-cpu-float32: in the bundle;" in text
    assert "ort-cpu-int8-avx2: REFUSED;" in text
    assert "ort-arm-int8: in the bundle, not timed on target;" in text
    assert "tensorrt-rtx-fp16: in the bundle, built, execution unverified;" in text


def test_a_refusal_is_in_words() -> None:
    lines = described(risk_evidence()).splitlines()
    at = next(n for n, line in enumerate(lines) if "ort-cpu-int8-avx2: REFUSED" in line)
    assert lines[at + 1].strip() == (
        "because  latency: it takes 1.10 [1.08, 1.13] times as long as ort-cpu-float32: keep float"
    )


def test_a_proof_has_its_n_its_bound_and_its_error_level() -> None:
    evidence = risk_evidence()
    decision = evidence.variant(evidence.preferred).decision
    assert decision is not None
    found = decision.certificate
    text = described(evidence)
    assert "with 95% confidence over 32 claims (error level 0.16% each)" in text
    assert (
        f"proved   {found.misses} of 1720 counterfeits missed: at most {found.upper_bound:.2%} at error level" in text
    )
    assert f"Aurelia: {decision.groups[0].misses} of 900 missed: at most {decision.groups[0].upper_bound:.2%}" in text
    assert "on 1720 genuine items: within the budget" in text


def test_items_that_only_the_variant_misses_are_named_with_a_bound() -> None:
    evidence = risk_evidence()
    decision = evidence.variant(evidence.preferred).decision
    assert decision is not None
    assert decision.regressions is not None
    (item,) = decision.regressions.items
    assert (
        f"misses   1 of 1720 counterfeits that float does not, at most 0.28% with 95% confidence: {item}"
        in described(evidence)
    )


def test_without_a_proof_it_says_what_is_needed_and_claims_nothing() -> None:
    evidence = unproved_evidence()
    text = described(evidence)
    assert "NOT PROVED with 1720 counterfeits: 85,651 more without a further miss are needed for 0.01%" in text
    assert "everything goes to an expert" in text
    assert "proved   " not in text.replace("NOT PROVED", "").split("listing model")[0]
    assert "that float does not" not in text  # nothing is authentic, so nothing is missed: it would read as a proof


def test_a_fidelity_bundle_is_marked_and_has_no_rates() -> None:
    text = described(fidelity_evidence())
    assert "it is no authenticator, decides nothing, and stations refuse it" in text
    assert "x: float32 (?, 3, 64, 64)" in text
    assert "outputs  cosine 0.99810" in text
    assert "because  fidelity: cosine 0.9130 with float on 96 inputs; 0.95 is needed" in text
    assert "counterfeit" not in text
    assert "note     there is one sample only" in text


def test_the_headline_leaves_out_what_is_not_known() -> None:
    assert set(headline(fidelity_evidence())) == {"latency_p50_us", "cosine"}
    found = headline(risk_evidence())
    assert {"far", "frr", "genuine_review", "accuracy", "auc", "missed_upper_bound", "latency_p50_us"} <= set(found)
    assert found["latency_p50_us"] == 4900.0
    assert "far" not in headline(risk_evidence(CLAIMS, 0))


def test_the_three_sentences_say_what_was_proved_and_what_is_open() -> None:
    evidence = risk_evidence()
    assert "5 of the 8 variants" in what_it_is("goods", evidence)
    proved = what_was_proved(evidence)
    assert proved.startswith("It was proved on 1,720 counterfeits that chose nothing")
    assert "with 95% confidence over 32 claims" in proved
    open_ones = what_is_needed(evidence)
    assert "more counterfeits of Corvo & Söhne, which have no claim of their own" in open_ones
    assert "timing on a device of its kind for ort-arm-int8 and web-int8" in open_ones
    assert "a first run on a device of its kind for tensorrt-rtx-fp16" in open_ones


def test_the_three_sentences_claim_nothing_without_a_proof() -> None:
    assert what_was_proved(unproved_evidence()).startswith("Nothing was proved: 1,720 counterfeits")
    assert "85,651 or more further counterfeits" in what_is_needed(unproved_evidence())
    assert what_was_proved(fidelity_evidence()).startswith("Nothing was proved about decisions")


def test_a_cross_fitted_proof_is_called_an_approximation() -> None:
    evidence = dataclasses.replace(risk_evidence(), cross_fitted=True)
    assert "this proof is an approximation" in what_was_proved(evidence)
    assert "so the proof is an approximation" in described(evidence)


def test_the_share_among_accepted_items_needs_a_proof_and_a_prevalence() -> None:
    evidence = risk_evidence()
    share = counterfeits_among_accepted(evidence.variant(evidence.preferred), CLAIMS)
    # 9 % of items are counterfeit and 2 % of those pass; of the 91 % genuine ones nearly all do
    assert share == pytest.approx(0.09 * 0.02 / (0.09 * 0.02 + 0.91 * 0.977), rel=0.01)
    refused = evidence.variant("tensorrt-rtx-int8")
    assert refused.decision is not None
    assert refused.decision.review is not None
    assert counterfeits_among_accepted(refused, CLAIMS) is None
    unproved = unproved_evidence()
    assert unproved.claims is not None
    assert counterfeits_among_accepted(unproved.variant(unproved.preferred), unproved.claims) is None


def test_small_shares_and_budgets_do_not_read_as_none() -> None:
    assert [budget_text(share) for share in (0.02, 0.001, 0.0001, 0.3)] == ["2.0%", "0.1%", "0.01%", "30.0%"]
    assert [percent(share) for share in (0.0, 0.00012, 0.0123, 0.5, float("nan"))] == [
        *("0.0%", "0.0120%", "1.23%", "50.0%", "-"),
    ]
    assert rate_text(rate(0, 0)) == "- (no items)"


def test_a_certificate_that_holds_says_its_power() -> None:
    decision = risk_evidence().variant("ort-cpu-float32").decision
    assert decision is not None
    assert "(power 100% at 0.50%)" in certificate_text(decision.certificate, 0.02, 0.0016, "counterfeits")
