"""Every gate passes and refuses, each with its figures; what could not be evaluated has failed."""

from __future__ import annotations

import dataclasses

import pytest

from optimize.evidence import (
    Decision,
    Fidelity,
    Gate,
    GateName,
    GroupClaim,
    Latency,
    ReviewClaim,
    VariantEvidence,
)
from optimize.gate import (
    MAX_MORE_REVIEW,
    NEEDED_COSINE,
    SizeLimit,
    accepted,
    fidelity,
    fusion,
    latency,
    parity,
    prefer,
    review,
    risk,
    size,
)
from optimize.kernels import Coverage
from optimize.risk import Budget, Evaluation, certify, rate

BUDGET = Budget(max_missed=0.02, alpha=0.05)


def found(cosine: float = 0.99, agreement: float | None = 0.975) -> Fidelity:
    return Fidelity(inputs=256, cosine=cosine, relative_error=0.034, top1_agreement=agreement)


def timed(ratio: float = 0.5, low: float = 0.45, p50_us: float = 2500.0) -> Latency:
    return Latency(
        p50_us=p50_us, p90_us=1.2 * p50_us, baseline="float", ratio=ratio, ratio_low=low, ratio_high=ratio + 0.05
    )


def decision(misses: int = 1, n: int = 313, genuine_review: float = 0.1, claim: ReviewClaim | None = None) -> Decision:
    nothing = rate(0, 10)
    return Decision(
        certificate=certify([(0.1, misses)], n, BUDGET),
        groups=(),
        review=claim,
        genuine_review=genuine_review,
        regressions=None,
        evaluation=Evaluation(
            far=nothing, frr=nothing, genuine_review=nothing, review=nothing, accuracy=nothing, auc=None
        ),
        authentic_below=0.1,
        suspect_from=0.9,
        p=(),
    )


def variant(
    name: str,
    *failed: GateName,
    latency: Latency | None = None,
    execution: str = "timed",
    decides: Decision | None = None,
) -> VariantEvidence:
    names: tuple[GateName, ...] = ("compile", "parity", "fusion", "size", "latency", "risk", "review")
    return VariantEvidence(
        name=name,
        target="x86",
        engine="onnxruntime",
        precision="int8",
        isa=(),
        execution=execution,
        accepted=False,
        gates=tuple(Gate(gate=gate, passed=gate not in failed, reason="because") for gate in names),
        calibration=None,
        excluded=(),
        size_bytes=1,
        integer_kernels=None,
        float_kernels=None,
        latency=latency,
        fidelity=None,
        decision=decides,
    )


@pytest.mark.parametrize("precision", NEEDED_COSINE)
def test_parity_needs_the_cosine_of_the_precision(precision: str) -> None:
    needed = NEEDED_COSINE[precision]
    assert parity(found(needed), precision, None).passed
    refused = parity(found(needed - 1e-6), precision, None)
    assert not refused.passed
    assert refused.reason.endswith(f"{precision} needs a cosine of {needed}")


def test_parity_gives_its_figures() -> None:
    reason = parity(found(0.98765), "int8", None).reason
    assert reason == "cosine 0.98765 with float on 256 inputs, relative error 3.40%"


def test_what_could_not_be_run_has_no_parity() -> None:
    assert parity(None, "int8", "the engine's own words") == Gate(
        gate="parity", passed=False, reason="the engine's own words"
    )
    assert parity(None, "int8", None).reason == "the variant could not be run on this machine"


def test_a_cosine_that_is_no_number_is_no_parity() -> None:
    assert not parity(found(float("nan")), "int8", None).passed
    assert not fidelity(found(float("nan")), 0.95).passed


def test_fusion_counts_kernels_in_words() -> None:
    assert fusion(Coverage(integer=49, floating=0), "int8") == Gate(
        gate="fusion", passed=True, reason="49 of 49 kernels run in integers after optimisation"
    )
    refused = fusion(Coverage(integer=35, floating=14), "int8")
    assert refused == Gate(
        gate="fusion",
        passed=False,
        reason="only 35 of 49 kernels run in integers after optimisation; 95% are needed",
    )


def test_fusion_does_not_count_what_stays_in_float_on_purpose() -> None:
    mixed = fusion(Coverage(integer=43, floating=6, excluded=6), "mixed")
    assert mixed is not None
    assert mixed.passed
    assert mixed.reason.endswith("43 of 43 kernels run in integers after optimisation, 6 more stay in float on purpose")
    more = fusion(Coverage(integer=37, floating=12, excluded=6), "mixed")
    assert more is not None
    assert not more.passed


def test_fusion_needs_something_to_run_in_integers() -> None:
    for nothing in (Coverage(integer=0, floating=0), Coverage(integer=0, floating=2, excluded=2)):
        gate = fusion(nothing, "int8")
        assert gate is not None
        assert not gate.passed


def test_fusion_that_the_engine_does_not_tell_has_failed_and_float_needs_none() -> None:
    assert fusion(None, "int8") == Gate(
        gate="fusion", passed=False, reason="the engine does not tell which kernels it runs"
    )
    assert [fusion(None, precision) for precision in ("float32", "fp16", "bf16")] == [None] * 3


def test_size_holds_the_users_limit_and_the_float_variants() -> None:
    limit = SizeLimit(max_bytes=5_000_000, baseline_bytes=19_000_000)
    assert size(5_000_000, limit) == Gate(gate="size", passed=True, reason="5.0 MB")
    assert size(5_100_000, limit).reason == "5.1 MB, at most 5.0 MB were allowed"
    assert not size(5_100_000, limit).passed
    larger = size(20_000_000, SizeLimit(max_bytes=None, baseline_bytes=19_000_000))
    assert (larger.passed, larger.reason) == (False, "20.0 MB is more than the float variant's 19.0 MB")
    assert size(10**12, SizeLimit(max_bytes=None, baseline_bytes=None)).passed


def test_latency_is_judged_by_the_lower_end_of_the_interval() -> None:
    assert latency(timed(1.02, 0.99), "timed", "float").passed
    refused = latency(timed(1.12, 1.01), "timed", "float")
    assert (refused.passed, refused.reason) == (
        False,
        "it takes 1.12 [1.01, 1.17] times as long as float: keep float",
    )
    itself = dataclasses.replace(timed(1.0, 1.0), ratio_high=1.0)
    assert latency(itself, "timed", None) == Gate(
        gate="latency", passed=True, reason="it is the baseline of its engine"
    )


def test_a_variant_whose_float_was_not_timed_is_refused_for_want_of_a_comparison() -> None:
    itself = dataclasses.replace(timed(1.0, 1.0), ratio_high=1.0, baseline="int8")
    gate = latency(itself, "timed", "float")
    assert (gate.passed, gate.reason) == (False, "float could not be timed, so nobody knows whether this is slower")


def test_latency_that_nobody_took_has_failed_unless_nobody_claims_it() -> None:
    assert latency(None, "timed", "float") == Gate(
        gate="latency", passed=False, reason="it could not be timed on this machine"
    )
    for execution, words in (("untimed", "not timed on target"), ("unverified", "built, execution unverified")):
        gate = latency(None, execution, "float")
        assert gate.passed
        assert gate.reason == f"{words}; it claims no speed and is never preferred"


def test_risk_gives_the_bound_overall_and_of_every_group() -> None:
    proved = dataclasses.replace(decision(), groups=(GroupClaim(group="Acme", n=160, misses=0, upper_bound=0.0185),))
    gate = risk(proved, 0.02)
    assert gate.passed
    assert gate.reason == "1 of 313 counterfeits missed: at most 1.51%; Acme: 0 of 160, at most 1.85%"


def test_risk_that_is_not_proved_says_what_it_would_need() -> None:
    gate = risk(decision(misses=0, n=16), 0.02)
    assert not gate.passed
    assert gate.reason == (
        "not proved with 16 counterfeits; needed for 0.02: 133 more counterfeit items without a further miss"
    )
    assert (
        "2,979 more counterfeit items"
        in risk(
            dataclasses.replace(decision(), certificate=certify([(0.1, 0)], 16, Budget(max_missed=0.001, alpha=0.05))),
            0.001,
        ).reason
    )


def claim(holds: bool, more_genuine: int | None) -> ReviewClaim:
    return ReviewClaim(genuine=200, reviewed=20, share=0.181, upper_bound=0.221, holds=holds, more_genuine=more_genuine)


def test_review_gives_its_bound_and_what_would_prove_it() -> None:
    figures = "18.1% of items go to review for their photos at a prevalence of 9.0%, at most 22.1%"
    assert review(decision(claim=claim(True, 0)), 0.25, 0.09) == Gate(gate="review", passed=True, reason=figures)
    more = review(decision(claim=claim(False, 1204)), 0.2, 0.09)
    assert (more.passed, more.reason) == (
        False,
        f"{figures}; 1,204 more genuine items would prove 20.0% at this rate",
    )
    never = review(decision(claim=claim(False, None)), 0.1, 0.09)
    assert (never.passed, never.reason) == (False, f"{figures}; no number of items proves 10.0% at this rate")


def test_review_that_could_not_be_evaluated_has_failed() -> None:
    gate = review(decision(), 0.2, 0.09)
    assert (gate.passed, gate.reason) == (False, "it could not be evaluated at a prevalence of 9.0%")


def test_fidelity_needs_the_cosine_that_the_user_asked_for() -> None:
    passed = fidelity(found(0.97), 0.95)
    assert (passed.passed, passed.reason) == (True, "cosine 0.9700 with float on 256 inputs, same class for 97.5%")
    refused = fidelity(found(0.90, None), 0.95)
    assert (refused.passed, refused.reason) == (False, "cosine 0.9000 with float on 256 inputs; 0.95 is needed")
    assert fidelity(None, 0.95) == Gate(
        gate="fidelity", passed=False, reason="its outputs could not be compared on this machine"
    )


def test_those_are_accepted_whose_every_gate_passed() -> None:
    variants = [variant("a"), variant("b", "risk", decides=decision()), variant("c", "size")]
    assert accepted(variants) == {"a": True, "b": False, "c": False}


def test_where_the_budget_is_proved_for_nobody_those_that_lack_only_the_proof_are_accepted() -> None:
    undecided = decision(misses=0, n=16)
    variants = [
        variant("a", "risk", decides=undecided),
        variant("b", "risk", "size", decides=undecided),
        variant("c", "risk"),
        variant("d", "review", decides=undecided),
    ]
    assert accepted(variants) == {"a": True, "b": False, "c": False, "d": False}


def test_of_nobody_nobody_is_accepted() -> None:
    assert accepted([]) == {}


def test_the_fastest_variant_that_was_timed_here_is_preferred() -> None:
    variants = [
        variant("float", latency=timed(1.0, 1.0, 4000.0)),
        variant("int8", latency=timed(0.6, 0.58, 2400.0)),
        variant("phone", execution="untimed", latency=timed(0.1, 0.1, 100.0)),
        variant("elsewhere", latency=timed(0.2, 0.2, 800.0)),
    ]
    name, reason = prefer(variants, ["float", "int8", "phone"])
    assert name == "int8"
    assert reason == "fastest of 2: 2.40 ms a photo, 0.60 of float"


def test_a_faster_variant_that_floods_the_experts_is_passed_over_in_words() -> None:
    few = variant("float", latency=timed(1.0, 1.0, 4000.0), decides=decision(genuine_review=0.10))
    many = variant("int8", latency=timed(0.6, 0.58, 2400.0), decides=decision(genuine_review=0.101 + MAX_MORE_REVIEW))
    name, reason = prefer([few, many], ["float", "int8"])
    assert name == "float"
    assert reason.endswith("; int8 sends 15.1% of genuine items to review, float 10.0%")
    hardly = dataclasses.replace(many, decision=decision(genuine_review=0.099 + MAX_MORE_REVIEW))
    assert prefer([few, hardly], ["float", "int8"])[0] == "int8"


def test_where_nothing_could_be_timed_stations_choose() -> None:
    variants = [variant("phone", execution="untimed"), variant("web", execution="untimed")]
    assert prefer(variants, ["phone"]) == (
        "phone",
        "nothing in the bundle could be timed on this machine; stations choose for themselves",
    )
    assert prefer([variant("float", latency=timed())], [])[0] == "float"
