from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.contracts.bundle import ANY_VIEW, Fusion, Thresholds
from runtime.contracts.records import Prediction, Verdict
from runtime.policy import decide, fuse, missing_views, sigmoid

BOTH = Fusion(bias=-0.5, weights={"logo": 1.0, "stitching": 2.0})
ANY = Fusion(bias=0.25, weights={ANY_VIEW: 0.5})
BUDGET = Thresholds(authentic_below=0.2, suspect_from=0.9)
NAN, INF = math.nan, math.inf

probability = st.floats(0.0, 1.0)
thresholds = st.tuples(probability, probability).map(
    lambda pair: Thresholds(authentic_below=min(pair), suspect_from=max(pair))
)
logit = st.floats(-50, 50)


def verdict_of(
    p_counterfeit: float | None,
    p_fraud: float | None = None,
    fraud_uncertain_from: float | None = None,
    missing: Sequence[str] = (),
    limits: Thresholds = BUDGET,
    listing_stale: bool = False,
) -> tuple[Verdict, list[str]]:
    prediction = Prediction(p_counterfeit=p_counterfeit, p_fraud=p_fraud)
    verdict, reasons = decide(prediction, limits, fraud_uncertain_from, missing, listing_stale)
    return verdict, [reason.code for reason in reasons]


def test_views_are_averaged_weighted_and_squashed() -> None:
    p = fuse({"logo": [1.0, 2.0], "stitching": [-0.5]}, BOTH)
    assert p == pytest.approx(1 / (1 + math.exp(-(-0.5 + 1.5 - 1.0))))


def test_exchangeable_views_share_one_mean_over_all_photos() -> None:
    assert fuse({"front": [1.0, 3.0], "back": [5.0]}, ANY) == pytest.approx(1 / (1 + math.exp(-(0.25 + 0.5 * 3.0))))


def test_a_view_without_weight_counts_for_nothing() -> None:
    logits = {"logo": [1.0], "stitching": [0.0]}
    assert fuse(logits | {"receipt": [99.0]}, BOTH) == fuse(logits, BOTH)


NO_SCORE: list[tuple[Mapping[str, Sequence[float]], Fusion]] = [
    ({}, BOTH),
    ({}, ANY),
    ({"logo": [1.0]}, BOTH),
    ({"logo": [1.0], "stitching": []}, BOTH),
    ({"front": []}, ANY),
    ({"logo": [NAN], "stitching": [1.0]}, BOTH),
    ({"logo": [1.0, NAN], "stitching": [1.0]}, BOTH),
    ({"logo": [INF], "stitching": [1.0]}, BOTH),
    ({"logo": [-INF], "stitching": [1.0]}, BOTH),
    ({"logo": [INF, -INF], "stitching": [1.0]}, BOTH),
    ({"logo": [INF], "stitching": [-INF]}, BOTH),
    ({"front": [1.0, NAN]}, ANY),
    ({"logo": [1e300], "stitching": [1e308]}, Fusion(bias=0.0, weights={"logo": 10.0, "stitching": 10.0})),
]


@pytest.mark.parametrize(("logits", "fusion"), NO_SCORE)
def test_a_missing_or_infinite_logit_gives_no_score_and_an_expert(
    logits: Mapping[str, Sequence[float]], fusion: Fusion
) -> None:
    p = fuse(logits, fusion)
    assert p is None
    assert verdict_of(p) == ("uncertain", ["no_score"])


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_the_sigmoid_neither_overflows_nor_leaves_its_range(x: float) -> None:
    assert 0.0 <= sigmoid(x) <= 1.0
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1.0)


@settings(deadline=None)
@given(st.lists(logit, min_size=1, max_size=3), st.lists(logit, min_size=1, max_size=3), st.floats(0.001, 20))
def test_a_more_suspicious_photo_never_lowers_p(logo: list[float], stitching: list[float], more: float) -> None:
    before = fuse({"logo": logo, "stitching": stitching}, BOTH)
    after = fuse({"logo": [logo[0] + more, *logo[1:]], "stitching": stitching}, BOTH)
    assert before is not None
    assert after is not None
    assert after >= before


def test_required_views_without_a_photo_are_named() -> None:
    assert missing_views({"logo": [b"x"]}, ("logo", "stitching", "serial")) == ("stitching", "serial")
    assert missing_views({"logo": [], "stitching": [b"x"]}, ("logo", "stitching")) == ("logo",)
    assert missing_views({"logo": [b"x"], "receipt": [b"x"]}, ("logo",)) == ()


def test_exchangeable_views_want_one_photo_of_any_name() -> None:
    assert missing_views({}, (ANY_VIEW,)) == ("any",)
    assert missing_views({"front": []}, (ANY_VIEW,)) == ("any",)
    assert missing_views({"front": [], "back": [b"x"]}, (ANY_VIEW,)) == ()


BRANCHES = [
    ({"p_counterfeit": 0.1}, ("authentic", ["within_budget"])),
    ({"p_counterfeit": 0.2}, ("uncertain", ["photos_unclear"])),
    ({"p_counterfeit": 0.5}, ("uncertain", ["photos_unclear"])),
    ({"p_counterfeit": 0.9}, ("suspect", ["photos_differ"])),
    ({"p_counterfeit": 1.0}, ("suspect", ["photos_differ"])),
    ({"p_counterfeit": None}, ("uncertain", ["no_score"])),
    ({"p_counterfeit": None, "missing": ["logo", "serial"]}, ("uncertain", ["missing_view", "missing_view"])),
    ({"p_counterfeit": 0.1, "missing": ["serial"]}, ("uncertain", ["missing_view"])),
    ({"p_counterfeit": 0.95, "missing": ["serial"]}, ("suspect", ["photos_differ", "missing_view"])),
    ({"p_counterfeit": 0.1, "p_fraud": 0.3, "fraud_uncertain_from": 0.4}, ("authentic", ["within_budget"])),
    ({"p_counterfeit": 0.1, "p_fraud": 0.4, "fraud_uncertain_from": 0.4}, ("uncertain", ["listing_risky"])),
    ({"p_counterfeit": 0.1, "p_fraud": None, "fraud_uncertain_from": 0.4}, ("uncertain", ["listing_missing"])),
    ({"p_counterfeit": 0.1, "p_fraud": 0.99}, ("authentic", ["within_budget"])),
    (
        {"p_counterfeit": 0.5, "p_fraud": 0.9, "fraud_uncertain_from": 0.4},
        ("uncertain", ["photos_unclear", "listing_risky"]),
    ),
    ({"p_counterfeit": 0.95, "p_fraud": 0.9, "fraud_uncertain_from": 0.4}, ("suspect", ["photos_differ"])),
    (
        {"p_counterfeit": 0.1, "p_fraud": 0.1, "fraud_uncertain_from": 0.4, "listing_stale": True},
        ("uncertain", ["listing_stale"]),
    ),
    (
        {"p_counterfeit": 0.1, "p_fraud": 0.5, "fraud_uncertain_from": 0.4, "listing_stale": True},
        ("uncertain", ["listing_risky", "listing_stale"]),
    ),
    (
        {"p_counterfeit": 0.1, "p_fraud": None, "fraud_uncertain_from": 0.4, "listing_stale": True},
        ("uncertain", ["listing_missing"]),
    ),
    ({"p_counterfeit": 0.1, "p_fraud": 0.1, "listing_stale": True}, ("authentic", ["within_budget"])),
    ({"p_counterfeit": NAN}, ("uncertain", ["photos_unclear"])),
    ({"p_counterfeit": 0.1, "p_fraud": NAN, "fraud_uncertain_from": 0.4}, ("uncertain", ["listing_risky"])),
]


@pytest.mark.parametrize(("given_", "expected"), BRANCHES)
def test_every_branch_of_the_decision(given_: dict[str, object], expected: tuple[Verdict, list[str]]) -> None:
    assert verdict_of(**given_) == expected  # type: ignore[arg-type]


def test_a_reason_tells_a_person_which_view_is_missing() -> None:
    _, reasons = decide(Prediction(p_counterfeit=None, p_fraud=None), BUDGET, None, ["serial"])
    assert reasons[0].text == "the view 'serial' has no photo"


@settings(deadline=None)
@given(probability, probability)
def test_with_thresholds_of_zero_nothing_is_authentic(p: float, p_fraud: float) -> None:
    nothing = Thresholds(authentic_below=0.0, suspect_from=1.0)
    assert verdict_of(p, limits=nothing)[0] != "authentic"
    assert verdict_of(0.0, p_fraud, 0.0)[0] != "authentic"


ORDER: dict[Verdict, int] = {"authentic": 0, "uncertain": 1, "suspect": 2}


@settings(deadline=None)
@given(thresholds, probability, probability, probability | st.none(), probability | st.none())
def test_raising_p_never_moves_a_verdict_towards_authentic(
    limits: Thresholds, p: float, other: float, p_fraud: float | None, fraud_limit: float | None
) -> None:
    low, _ = verdict_of(min(p, other), p_fraud, fraud_limit, limits=limits)
    high, _ = verdict_of(max(p, other), p_fraud, fraud_limit, limits=limits)
    assert ORDER[low] <= ORDER[high]


@settings(deadline=None)
@given(thresholds, probability, probability, probability, probability)
def test_raising_p_of_fraud_never_moves_a_verdict_towards_authentic(
    limits: Thresholds, p: float, fraud: float, other: float, fraud_limit: float
) -> None:
    low, _ = verdict_of(p, min(fraud, other), fraud_limit, limits=limits)
    high, _ = verdict_of(p, max(fraud, other), fraud_limit, limits=limits)
    assert ORDER[low] <= ORDER[high]


@settings(deadline=None)
@given(thresholds, probability | st.none(), probability | st.none(), probability)
def test_stale_features_confirm_nothing_and_clear_nothing(
    limits: Thresholds, p: float | None, p_fraud: float | None, fraud_limit: float
) -> None:
    fresh, said_fresh = verdict_of(p, p_fraud, fraud_limit, limits=limits)
    stale, said_stale = verdict_of(p, p_fraud, fraud_limit, limits=limits, listing_stale=True)
    assert stale != "authentic"
    assert ORDER[fresh] <= ORDER[stale]
    assert {*said_fresh} - {"within_budget"} <= {*said_stale}


@settings(deadline=None)
@given(
    thresholds,
    probability | st.none() | st.just(NAN),
    probability | st.none() | st.just(NAN),
    probability | st.none(),
    st.lists(st.sampled_from(["logo", "serial"]), max_size=2),
)
def test_authentic_needs_everything_there_and_both_probabilities_below(
    limits: Thresholds, p: float | None, p_fraud: float | None, fraud_limit: float | None, missing: list[str]
) -> None:
    verdict, codes = verdict_of(p, p_fraud, fraud_limit, missing, limits)
    photos = p is not None and p < limits.authentic_below
    listing = fraud_limit is None or (p_fraud is not None and p_fraud < fraud_limit)
    suspect = p is not None and p >= limits.suspect_from
    assert (verdict == "authentic") == (photos and listing and not missing and not suspect)
    assert codes
