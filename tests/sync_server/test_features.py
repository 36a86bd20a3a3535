"""Listing features on their way to the stations: the newest of an item, in order, each station its own."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.contracts.errors import Unsupported
from runtime.contracts.records import ItemId, StationId
from runtime.contracts.sync import MAX_FEATURES_PAGE, MAX_LISTING_BYTES, ListingFeatures
from sync_server.features import FeatureRow, Loaded, features_after, in_parts, load_features, read_lines
from sync_server.store import Store
from tests.sync_server.test_store_contract import NOW, enrolled


def row(item: str, hours_ago: float = 1, price: float | None = 1.0, station: StationId | None = None) -> FeatureRow:
    as_of = (NOW - timedelta(hours=hours_ago)).isoformat()
    return FeatureRow(item_id=ItemId(item), as_of=as_of, values={"price": price}, station=station)


def load(store: Store, *rows: FeatureRow) -> Loaded:
    with store.write() as connection:
        return load_features(connection, rows, NOW)


def seen(store: Store, station: StationId, after: int = 0, limit: int = 100) -> list[ListingFeatures]:
    with store.read() as connection:
        return list(features_after(connection, station, after, limit).features)


def test_features_go_to_every_station_or_to_one_in_the_order_of_their_loading(store: Store) -> None:
    mine, other = enrolled(store, "aa" * 32), enrolled(store, "bb" * 32)
    assert load(store, row("a"), row("b", station=mine), row("c", station=other)) == Loaded(taken=3, kept=0)
    assert load(store, row("d"), row("b", station=other)) == Loaded(taken=2, kept=0)
    assert [one.item_id for one in seen(store, mine)] == ["a", "b", "d"]
    assert [one.item_id for one in seen(store, other)] == ["a", "c", "d", "b"]
    numbers = [one.seq for one in seen(store, other)]
    assert numbers == sorted(set(numbers))
    assert [one.item_id for one in seen(store, other, after=numbers[1], limit=1)] == ["d"]
    assert seen(store, mine)[0] == ListingFeatures(
        seq=1, item_id=ItemId("a"), as_of="2026-11-20T08:00:00.000000+00:00", listing={"price": 1.0}
    )


def test_of_an_item_the_newest_stay_and_come_again_and_loading_twice_changes_nothing(store: Store) -> None:
    station = enrolled(store)
    load(store, row("a", 3), row("b", 3))
    assert load(store, row("a", 3), row("a", 4, 9.0)) == Loaded(taken=0, kept=2)
    assert load(store, row("a", 2, None), row("a", 1, 5.0)) == Loaded(taken=2, kept=0)
    assert [(one.item_id, one.listing) for one in seen(store, station)] == [
        ("b", {"price": 1.0}),
        ("a", {"price": 5.0}),
    ]
    assert [one.item_id for one in seen(store, station, after=2)] == ["a"]


def test_moments_are_compared_as_moments_whatever_their_zone(store: Store) -> None:
    station = enrolled(store)
    rows = [
        FeatureRow(item_id=ItemId("a"), as_of=as_of, values={"n": float(number)})
        for number, as_of in enumerate(
            ("2026-11-20T08:00:00Z", "2026-11-20T10:30:00+02:00", "2026-11-20T00:00:00-09:00")
        )
    ]
    assert load(store, *rows).taken == 3
    assert seen(store, station)[0].as_of == "2026-11-20T09:00:00.000000+00:00"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"item_id": "a/b"}, "item_id"),
        ({"as_of": "2026-11-20T08:00:00"}, "with its zone"),
        ({"as_of": "soon"}, "with its zone"),
        ({"as_of": "0001-01-01T00:00:00+14:00"}, "with its zone"),
        ({"as_of": "2026-11-20T09:06:00Z"}, "has not come yet"),
        ({"values": {}}, "1 to"),
        ({"values": {"a/b": 1.0}}, "a name"),
        ({"values": {f"{'n' * 120}{number:04}": 1.0 for number in range(MAX_LISTING_BYTES // 120)}}, "1 to"),
        ({"station": "st-nobody"}, "no station"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_nothing_of_its_part_is_stored(
    store: Store, changes: dict[str, Any], says: str
) -> None:
    station = enrolled(store)
    given: dict[str, Any] = {"item_id": "a", "as_of": "2026-11-20T08:00:00Z", "values": {"n": 1.0}, "station": None}
    with pytest.raises(Unsupported, match=says):
        load(store, row("fine"), FeatureRow(**(given | changes)))
    assert seen(store, station) == []


def test_numbers_become_visible_in_their_order_when_many_load_at_once(store: Store) -> None:
    station = enrolled(store)
    load(store, row("first"))

    def load_some(loader: int) -> None:
        for number in range(5):
            load(store, *(row(f"{loader}-{number}-{n}") for n in range(4)))

    with ThreadPoolExecutor(5) as pool:
        loaders = [pool.submit(load_some, loader) for loader in range(4)]
        after, found = 0, []
        while not all(loader.done() for loader in loaders) or seen(store, station, after):
            page = seen(store, station, after, limit=7)
            found += page
            after = page[-1].seq if page else after
    for loader in loaders:
        loader.result()
    assert len(found) == len({one.item_id for one in found}) == 81


def test_lines_are_read_in_parts_and_a_bad_one_is_named_by_its_number() -> None:
    good = json.dumps({"item_id": "a", "as_of": "2026-11-20T08:00:00Z", "values": {"n": None}}).encode()
    assert [len(part) for part in in_parts(read_lines([good, b"\n", *[good] * 1500], "f"))] == [1000, 501]
    for bad, says in ((b"{", "JSON"), (b'{"item_id": "a"}', "is missing"), (good[:-1] + b', "x": 1}', "unknown field")):
        with pytest.raises(Unsupported, match=f"f, line 2: .*{says}"):
            list(read_lines([good, bad], "f"))


def test_a_file_is_loaded_and_loading_it_again_changes_nothing(home, command, tmp_path: Path) -> None:
    rows = [
        {"item_id": f"cli {n}", "as_of": "2026-11-20T08:00:00Z", "values": {"n": float(n)}, "station": None}
        for n in range(3)
    ]
    file = tmp_path / "features.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    assert command("features", "load", file, "--home", home.home).out.startswith("loaded: 3 rows; 0 ")
    assert command("features", "load", file, "--home", home.home).out.startswith("loaded: 0 rows; 3 ")
    file.write_text('{"item_id": "x"}\n')
    bad = command("features", "load", file, "--home", home.home, check=False)
    assert (bad.code, bad.out, bad.err.count("\n"), "line 1" in bad.err) == (2, "", 1, True)
    gone = command("features", "load", tmp_path / "none", "--home", home.home, check=False)
    assert (gone.code, gone.err.count("\n")) == (2, 1)
    assert "FILE" in command("features", "load", "--help").out


def test_over_http_a_releaser_loads_and_a_station_fetches_a_bounded_page(station, people) -> None:
    now = datetime.now(UTC).isoformat()
    rows = [{"item_id": f"http {n}", "as_of": now, "values": {"n": 1}} for n in range(MAX_FEATURES_PAGE + 1)]
    put = people["releaser"].send("PUT", "/v1/features", json={"rows": rows})
    assert (put.status_code, put.json()) == (200, {"taken": MAX_FEATURES_PAGE + 1, "kept": 0})
    page = station.send("GET", "/v1/station/features?after=0").json()["features"]
    assert len(page) == MAX_FEATURES_PAGE
    rest = station.send("GET", f"/v1/station/features?after={page[-1]['seq']}&limit=200").json()["features"]
    assert {one["item_id"] for one in page + rest} >= {one["item_id"] for one in rows}
    assert station.send("GET", "/v1/station/features?limit=201").status_code == 422
    for who in ("viewer", "ann"):
        assert people[who].send("PUT", "/v1/features", json={"rows": rows[:1]}).status_code == 403
    for bad in ({"rows": [{"item_id": "x"}]}, {"rows": [rows[0] | {"more": 1}]}, {"rows": [rows[0]] * 1001}):
        assert people["admin"].send("PUT", "/v1/features", json=bad).status_code == 422
    assert station.send("PUT", "/v1/features", b"{}").status_code == 401
