"""Listing features that were sent ahead: they let a station judge without a network, and only ever towards review."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_agent.feature_feed import FeatureFeed
from edge_agent.features import KEPT_FOR_AGES, SentAhead, add_features, features_of, held, last_features
from edge_agent.outbox import CLOCK_FACT, CONTACT_FACT, Outbox
from edge_agent.server_link import ServerLink
from edge_agent.station import ScanRequest
from runtime.contracts.errors import TryLater
from runtime.contracts.records import ItemId, Record, content_id, record_id_of
from runtime.contracts.sync import MAX_FEATURES_PAGE, FeaturesAhead, ListingFeatures
from tests.edge_agent.conftest import give_model
from tests.edge_agent.rigs import Asked, Say, make_home, say_json, say_problem, scripted_server
from tests.edge_agent.test_station import Rig
from tests.listing_trees import give_trees

DAY_S = 86_400.0
NOW_S = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
FINE, RISKY = {"price": -3.0, "age": 0.0}, {"price": 3.0, "age": 0.0}


def moment(days_ago: float) -> str:
    return datetime.fromtimestamp(NOW_S - days_ago * DAY_S, UTC).isoformat(timespec="microseconds")


def row(seq: int, item: str, days_ago: float = 1.0, listing: dict[str, float | None] | None = None) -> ListingFeatures:
    return ListingFeatures(seq=seq, item_id=ItemId(item), as_of=moment(days_ago), listing=listing or FINE)


def add(outbox: Outbox, *rows: ListingFeatures, most: int = 100) -> None:
    after = last_features(outbox)
    add_features(outbox, FeaturesAhead(features=rows), after=after, server_now_s=NOW_S, max_age_s=7 * DAY_S, most=most)


def found(outbox: Outbox, item: str, now_s: float = NOW_S) -> SentAhead | None:
    return features_of(outbox, ItemId(item), now_s=now_s, max_age_s=7 * DAY_S)


def test_of_an_item_the_newest_features_stay(outbox: Outbox) -> None:
    add(outbox, row(1, "bag", 2, {"price": 1.0}), row(2, "bag", 1, {"price": 2.0, "age": None}))
    add(outbox, row(5, "bag", 3, {"price": 3.0}))
    assert found(outbox, "bag") == SentAhead(listing={"price": 2.0, "age": None}, as_of=moment(1), stale=False)
    assert found(outbox, "other") is None
    assert last_features(outbox) == 5
    assert (held(outbox).items, held(outbox).newest) == (1, moment(1))


@pytest.mark.parametrize(
    ("days_ago", "facts", "stale"),
    [
        (6.9, {}, False),
        (7.1, {}, True),
        (-0.1, {}, True),  # the clock says a time before they were made
        (0.5, {CLOCK_FACT: f"{7 * DAY_S}"}, True),  # the server's clock is ahead of ours
        (-0.5, {CLOCK_FACT: f"{DAY_S}"}, False),
        (1.0, {CONTACT_FACT: f"{NOW_S + 30}"}, False),  # whole seconds, and a little slack
        (1.0, {CONTACT_FACT: f"{NOW_S + DAY_S}"}, True),  # the clock went back since the last contact
    ],
)
def test_features_are_fresh_only_by_a_clock_that_can_be_right(
    outbox: Outbox, days_ago: float, facts: dict[str, str], stale: bool
) -> None:
    add(outbox, row(1, "bag", days_ago))
    outbox.set_facts(facts)
    features = found(outbox, "bag")
    assert features is not None
    assert features.stale == stale


def test_a_clock_that_died_makes_nothing_fresh(outbox: Outbox) -> None:
    add(outbox, row(1, "bag", 1))
    outbox.set_facts({CONTACT_FACT: f"{NOW_S:.0f}"})
    for now_s in (0.0, NOW_S - 20 * 365 * DAY_S, NOW_S - 0.9 * DAY_S):
        features = found(outbox, "bag", now_s)
        assert features is not None
        assert features.stale


def test_the_oldest_features_go_when_there_are_too_many_and_the_very_old_at_once(outbox: Outbox) -> None:
    add(outbox, row(1, "a", 3), row(2, "b", 1), row(3, "c", 2), most=2)
    assert [found(outbox, item) is not None for item in "abc"] == [False, True, True]
    add(outbox, row(4, "stale", 7 * KEPT_FOR_AGES - 1), row(5, "gone", 7 * KEPT_FOR_AGES + 1))
    assert [found(outbox, item) is not None for item in ("stale", "gone")] == [True, False]
    assert last_features(outbox) == 5


@pytest.mark.parametrize(
    "rows",
    [
        (row(0, "a"),),
        (row(2, "a"), row(2, "b")),
        (row(2**60, "a"),),
        (ListingFeatures(seq=1, item_id=ItemId("a"), as_of="2026-11-23T00:00:00", listing=FINE),),
        (ListingFeatures(seq=1, item_id=ItemId("a"), as_of="yesterday", listing=FINE),),
    ],
)
def test_a_page_that_makes_no_sense_leaves_nothing(outbox: Outbox, rows: tuple[ListingFeatures, ...]) -> None:
    with pytest.raises(TryLater):
        add(outbox, *rows)
    assert (held(outbox).items, last_features(outbox)) == (0, 0)


# A scan that brings no listing.


class Bench(Rig):
    """A station whose model judges listings, at a moment of our choice."""

    def __init__(self, folder: Path, tiny_bundle: Callable[..., Path]) -> None:
        super().__init__(give_model(make_home(folder), lambda place: give_trees(tiny_bundle(place))))
        self.now_s = NOW_S
        self.station._now = lambda: datetime.fromtimestamp(self.now_s, UTC)

    def look(self, item: str, *photos: bytes, listing: dict[str, float | None] | None = None) -> Record:
        given = dict(zip(("logo", "stitching"), ((photo,) for photo in photos), strict=True))
        request = ScanRequest(item_id=item, photos=given, listing=listing)
        return self.station.scan(request, lambda: self.model).record


@pytest.fixture
def bench(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Bench:
    return Bench(tmp_path / "station", tiny_bundle)


def codes_of(record: Record) -> list[str]:
    return [reason.code for reason in record.reasons]


@pytest.mark.parametrize(
    ("days_ago", "listing", "verdict", "codes"),
    [
        (1, FINE, "authentic", ["within_budget"]),
        (1, RISKY, "uncertain", ["listing_risky"]),
        (8, FINE, "uncertain", ["listing_stale"]),
        (8, RISKY, "uncertain", ["listing_risky", "listing_stale"]),
        (1, {"price": -3.0}, "uncertain", ["listing_missing"]),
        (1, {"price": None, "age": None}, "uncertain", ["listing_missing"]),
    ],
)
def test_features_sent_ahead_are_judged_as_a_listing_and_stale_ones_confirm_nothing(
    bench: Bench,
    photo_of: Callable[..., bytes],
    days_ago: float,
    listing: dict[str, float | None],
    verdict: str,
    codes: list[str],
) -> None:
    add(bench.outbox, row(1, "bag", days_ago, listing))
    record = bench.look("bag", photo_of(20), photo_of(21))
    assert (record.verdict, codes_of(record)) == (verdict, codes)
    assert (record.listing, record.features_as_of) == (listing, moment(days_ago))
    photos = tuple((score.view, score.photo) for score in record.views)
    assert record.record_id == record_id_of(record.station_id, record.item_id, photos, None) == content_id(record)


def test_without_features_a_listing_is_missing_and_never_a_silent_zero(
    bench: Bench, photo_of: Callable[..., bytes]
) -> None:
    record = bench.look("bag", photo_of(20), photo_of(21))
    assert (record.verdict, codes_of(record)) == ("uncertain", ["listing_missing"])
    assert (record.listing, record.features_as_of, record.prediction.p_fraud) == (None, None, None)


def test_features_that_came_too_late_may_confirm_a_new_scan_and_not_the_old_one(
    bench: Bench, photo_of: Callable[..., bytes]
) -> None:
    first = bench.look("bag", photo_of(20), photo_of(21))
    add(bench.outbox, row(1, "bag"))
    assert bench.look("bag", photo_of(20), photo_of(21)) == first, "the same scan is the same record"
    again = bench.look("bag", photo_of(22), photo_of(23))
    assert (again.verdict, again.rescan_of) == ("authentic", first.record_id)


def test_a_refresh_after_a_crash_makes_no_second_record(bench: Bench, photo_of: Callable[..., bytes]) -> None:
    add(bench.outbox, row(1, "bag", 2))
    first = bench.look("bag", photo_of(20), photo_of(21))
    add(bench.outbox, row(2, "bag", 1, RISKY))
    assert bench.look("bag", photo_of(20), photo_of(21)) == first
    assert bench.outbox.tally().recorded == 1


def test_a_listing_that_comes_with_the_scan_counts_alone(bench: Bench, photo_of: Callable[..., bytes]) -> None:
    add(bench.outbox, row(1, "bag", 1, RISKY))
    given = bench.look("bag", photo_of(20), photo_of(21), listing=FINE)
    assert (given.verdict, given.listing, given.features_as_of) == ("authentic", FINE, None)
    assert given.record_id == content_id(given)


def test_no_features_speak_for_photos(bench: Bench, photo_of: Callable[..., bytes]) -> None:
    add(bench.outbox, row(1, "bag"), row(2, "other"))
    alone = bench.look("nobody's", photo_of(220), photo_of(221))
    with_features = bench.look("bag", photo_of(222), photo_of(223))
    assert (alone.verdict, with_features.verdict) == ("suspect", "suspect")
    unclear = bench.look("other", photo_of(140), photo_of(141))
    assert codes_of(unclear) == ["photos_unclear"]


def test_a_model_without_trees_asks_for_no_features(home_with_model: Any, photo_of: Callable[..., bytes]) -> None:
    rig = Rig(home_with_model)
    add(rig.outbox, row(1, "bag", 1, RISKY))
    photos = {"logo": (photo_of(20),), "stitching": (photo_of(21),)}
    record = rig.station.scan(ScanRequest(item_id="bag", photos=photos, listing=None), lambda: rig.model).record
    assert (record.verdict, record.listing, record.features_as_of) == ("authentic", None, None)


# The feed.

NewFeed = Callable[[str], FeatureFeed]


@pytest.fixture
def feed_of(outbox: Outbox, link_to: Callable[..., ServerLink]) -> NewFeed:
    return lambda url: FeatureFeed(outbox=outbox, link=link_to(url), max_age_s=7 * DAY_S, most=10_000)


def page(after: int, count: int) -> Say:
    as_of = datetime.now(UTC).isoformat()
    rows = [
        {"seq": after + n, "item_id": f"item {after + n}", "as_of": as_of, "listing": FINE} for n in range(1, count + 1)
    ]
    return say_json({"features": rows})


def test_pages_are_fetched_one_a_step_from_the_last_row_on_and_then_the_feed_rests(
    outbox: Outbox, feed_of: NewFeed
) -> None:
    def answer(asked: Asked) -> Say:
        after = int(asked.path.partition("after=")[2].partition("&")[0])
        return page(after, MAX_FEATURES_PAGE if after < 2 * MAX_FEATURES_PAGE else 3)

    with scripted_server(answer) as (url, asked):
        feed = feed_of(url)
        assert [feed.step() for _ in range(5)] == [True, True, False, False, False]
        assert [one.path.partition("after=")[2] for one in asked] == ["0&limit=200", "200&limit=200", "400&limit=200"]
    assert held(outbox).items == last_features(outbox) == 403


def test_an_idle_feed_leaves_the_disk_alone(outbox: Outbox, feed_of: NewFeed) -> None:
    with scripted_server(lambda _: page(0, 0)) as (url, asked):
        changes = outbox._db.total_changes
        assert not feed_of(url).step()
        assert (outbox._db.total_changes, len(asked)) == (changes, 1)


def test_a_server_from_before_features_is_no_trouble(outbox: Outbox, feed_of: NewFeed) -> None:
    with scripted_server(lambda _: say_problem(404, "not-found")) as (url, _):
        assert not feed_of(url).step()


@pytest.mark.parametrize(
    "say",
    [Say(status=404, body=b"<html>", kind="text/html"), say_problem(500), say_json([]), say_json({"features": [{}]})],
)
def test_trouble_with_features_is_told_once_and_waits_its_turn(outbox: Outbox, feed_of: NewFeed, say: Say) -> None:
    with scripted_server(lambda _: say) as (url, asked):
        feed = feed_of(url)
        with pytest.raises(TryLater):
            feed.step()
        assert not feed.step(), "records must not wait for it"
        assert len(asked) == 1
    assert held(outbox).items == 0
