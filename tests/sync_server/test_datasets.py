"""Dataset snapshots: what goes in, what stays out, and that the folder is what its account says."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contracts.records import ViewScore


@pytest.fixture(scope="module")
def settled(station, people, png):
    def settle(item: str, photo: int, label: str) -> None:
        record = station.open_case(item, png(photo))
        for name in ("ann", "ben"):
            assert people[name].label(record, label).status_code == 200

    settle("bag 1", 1, "genuine")
    settle("bag 1", 2, "genuine")
    settle("bag 2", 3, "counterfeit")
    settle("torn", 4, "genuine")
    settle("torn", 5, "counterfeit")
    station.open_case("still open", png(6))


def test_a_snapshot_holds_consensus_outcomes_only_and_matches_its_account(
    settled, home, command, png, tmp_path: Path
) -> None:
    out = tmp_path / "snapshot"
    done = command("snapshot", "--home", home.home, "--out", out)
    assert "2 items, 3 photos; 1 items left out" in done.out
    rows = list(csv.DictReader((out / "items.csv").read_text().splitlines()))
    assert [(row["item_id"], row["label"], row["split"]) for row in rows] == [
        ("bag 1", "genuine", "train"),
        ("bag 1", "genuine", "train"),
        ("bag 2", "counterfeit", "train"),
    ]
    columns = ["item_id", "view", "path", "label", "split", "listing.price_ratio", "listing.seller_age_days"]
    assert list(rows[0]) == columns
    assert (rows[0]["listing.price_ratio"], rows[0]["listing.seller_age_days"]) == ("0.4", "")
    assert (out / rows[2]["path"]).read_bytes() == png(3)
    account = json.loads((out / "snapshot.json").read_bytes())
    assert account["contradicting"] == ["torn"]
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert files == {*account["files"], "snapshot.json"}
    for path, sha256 in account["files"].items():
        assert hashlib.sha256((out / path).read_bytes()).hexdigest() == sha256


def test_the_same_labels_make_the_same_snapshot_byte_for_byte(settled, home, command, people, tmp_path: Path) -> None:
    for name in ("one", "two"):
        command("snapshot", "--home", home.home, "--out", tmp_path / name)
    for file in ("items.csv", "snapshot.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    frozen = people["releaser"].send("POST", "/v1/datasets")
    dataset_id = json.loads((tmp_path / "one" / "snapshot.json").read_bytes())["dataset_id"]
    assert (frozen.status_code, frozen.json()["dataset_id"]) == (200, dataset_id)
    assert people["viewer"].send("GET", f"/v1/datasets/{dataset_id}").json() == frozen.json()
    assert people["viewer"].send("GET", f"/v1/datasets/{'0' * 64}").status_code == 404


def test_a_folder_with_something_in_it_is_refused(home, command, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear to somebody")
    done = command("snapshot", "--home", home.home, "--out", tmp_path, check=False)
    assert (done.code, "expected an empty" in done.err) == (2, True)


def test_a_record_of_a_photo_seen_in_two_views_keeps_both(station, people, home, command, png, tmp_path: Path) -> None:
    station.put_photo(png(9))
    record = station.record("twice", (png(9),))
    again = ViewScore(view="other", photo=record.views[0].photo, logit=None)
    record = replace(record, views=(*record.views, again))
    assert station.put_record(record).status_code == 201
    for name in ("ann", "ben"):
        people[name].label(record, "genuine")
    command("snapshot", "--home", home.home, "--out", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "items.csv").read_text().splitlines()))
    assert [row["view"] for row in rows if row["item_id"] == "twice"] == ["other", "view0"]
