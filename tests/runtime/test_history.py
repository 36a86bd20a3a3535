from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.contracts.records import ItemId, Reason, Record, RecordId, Verdict, ViewScore
from runtime.history import EarlierScan, ItemHistory, PhotoUse, binds, is_complete, restrained
from tests.edge_agent.rigs import make_record

FIRST = EarlierScan(record_id=RecordId("f" * 64), scanned_at="2026-11-20T08:00:00.000+00:00")
OTHER = PhotoUse(view="logo", used_for=ItemId("bag 7"), used_as="stitching")
ORDER: dict[Verdict, int] = {"authentic": 0, "uncertain": 1, "suspect": 2}
CODES: dict[Verdict, list[str]] = {
    "authentic": ["within_budget"],
    "uncertain": ["photos_unclear", "missing_view", "no_score", "listing_missing", "listing_risky", "listing_stale"],
    "suspect": ["photos_differ"],
}


def record(verdict: Verdict, *codes: str, scored: bool = True, photos: Sequence[tuple[str, str]] = ()) -> Record:
    plain = make_record(1, verdict=verdict)
    return dataclasses.replace(
        plain,
        reasons=tuple(Reason(code=code, text=code) for code in codes),
        prediction=dataclasses.replace(plain.prediction, p_counterfeit=0.5 if scored else None),
        views=tuple(ViewScore(view=view, photo=photo * 64, logit=0.0) for view, photo in photos),
    )


def codes_of(one: Record) -> list[str]:
    return [reason.code for reason in one.reasons]


@pytest.mark.parametrize(
    ("verdict", "codes", "scored", "expected"),
    [
        ("authentic", ["within_budget"], True, False),
        ("suspect", ["photos_differ"], True, True),
        ("uncertain", ["photos_unclear"], True, True),
        ("uncertain", ["listing_risky"], True, True),
        ("uncertain", ["same_photo"], True, True),
        ("uncertain", ["missing_view"], False, False),
        ("uncertain", ["no_score"], False, False),
        ("uncertain", ["missing_view", "listing_risky"], True, False),
        ("uncertain", ["listing_missing"], True, False),
        ("uncertain", ["listing_stale"], True, False),
        ("uncertain", ["rescan"], True, False),
        ("uncertain", ["rescan", "photos_unclear"], True, True),
        ("uncertain", ["photos_unclear", "listing_missing"], True, True),
    ],
)
def test_a_complete_scan_binds_that_says_something_against_the_item(
    verdict: Verdict, codes: list[str], scored: bool, expected: bool
) -> None:
    assert binds(record(verdict, *codes, scored=scored)) == expected


def test_a_scan_is_complete_with_all_views_and_a_score() -> None:
    assert is_complete(record("authentic", "within_budget"))
    assert is_complete(record("uncertain", "listing_missing"))
    assert not is_complete(record("uncertain", "missing_view"))
    assert not is_complete(record("uncertain", "no_score", scored=False))


def test_a_first_scan_stays_as_the_model_decided_it() -> None:
    for verdict in ORDER:
        first = record(verdict, CODES[verdict][0], photos=[("logo", "a"), ("stitching", "b")])
        assert restrained(first, ItemHistory(), ()) == first


def test_a_rescan_of_a_confirmed_item_says_so_and_nothing_else() -> None:
    again = restrained(record("authentic", "within_budget"), ItemHistory(first=FIRST), ())
    assert (again.verdict, codes_of(again), again.rescan_of) == ("authentic", ["within_budget"], FIRST.record_id)


def test_a_rescan_of_an_unconfirmed_item_goes_to_an_expert_and_says_since_when() -> None:
    again = restrained(record("authentic", "within_budget"), ItemHistory(first=FIRST, open=FIRST), ())
    assert (again.verdict, again.rescan_of) == ("uncertain", FIRST.record_id)
    (reason,) = again.reasons
    assert reason.code == "rescan"
    assert reason.text == (
        "scanned before, on 2026-11-20, and not confirmed: a later scan cannot undo that, an expert decides"
    )


def test_what_an_expert_called_a_counterfeit_is_never_confirmed() -> None:
    item = ItemHistory(first=FIRST, counterfeit_at="2026-11-21T08:00:00+00:00")
    again = restrained(record("authentic", "within_budget"), item, ())
    assert (again.verdict, codes_of(again)) == ("uncertain", ["expert_said_counterfeit"])
    assert "2026-11-21" in again.reasons[0].text


def test_a_photo_of_another_item_or_view_names_where_it_was_used() -> None:
    plain = record("authentic", "within_budget", photos=[("logo", "a")])
    other = restrained(plain, ItemHistory(), [OTHER])
    assert (other.verdict, codes_of(other)) == ("uncertain", ["same_photo"])
    assert other.reasons[0].text == "the photo of the view 'logo' was used before, for 'stitching' of the item 'bag 7'"
    mine = dataclasses.replace(OTHER, used_for=plain.item_id)
    assert restrained(plain, ItemHistory(), [mine]).reasons[0].text.endswith("for 'stitching' of this item")


def test_one_photo_for_two_views_of_a_scan_goes_to_an_expert_and_twice_for_one_view_does_not() -> None:
    two_views = record("authentic", "within_budget", photos=[("logo", "a"), ("stitching", "a"), ("serial", "b")])
    found = restrained(two_views, ItemHistory(), ())
    assert (found.verdict, codes_of(found)) == ("uncertain", ["same_photo"])
    assert "'logo' and 'stitching'" in found.reasons[0].text
    one_view = record("authentic", "within_budget", photos=[("logo", "a"), ("logo", "a")])
    assert restrained(one_view, ItemHistory(), ()) == one_view


@st.composite
def records(draw: st.DrawFn) -> Record:
    verdict = draw(st.sampled_from(sorted(ORDER)))
    codes = draw(st.lists(st.sampled_from(CODES[verdict]), min_size=1, max_size=3, unique=True))
    photos = draw(st.lists(st.tuples(st.sampled_from(["logo", "serial"]), st.sampled_from("ab")), max_size=4))
    return record(verdict, *codes, photos=photos)


histories = st.builds(
    ItemHistory,
    first=st.none() | st.just(FIRST),
    open=st.none() | st.just(FIRST),
    counterfeit_at=st.none() | st.just("2026-11-21T08:00:00+00:00"),
)


@settings(deadline=None)
@given(records(), histories, st.lists(st.just(OTHER), max_size=2))
def test_the_past_only_moves_a_verdict_towards_review(plain: Record, item: ItemHistory, uses: list[PhotoUse]) -> None:
    found = restrained(plain, item, uses)
    assert ORDER[found.verdict] >= ORDER[plain.verdict]
    assert (found.verdict == "suspect") == (plain.verdict == "suspect")
    assert found.reasons
    assert set(codes_of(found)) >= set(codes_of(plain)) - {"within_budget"}
    if item.open or item.counterfeit_at or uses:
        assert found.verdict != "authentic"
        assert "within_budget" not in codes_of(found)
    unchanged = {"verdict": plain.verdict, "reasons": plain.reasons, "rescan_of": None}
    assert dataclasses.replace(found, **unchanged) == plain
