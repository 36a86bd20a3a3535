"""``replay``: a dataset played to a real daemon, in an open loop."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from calibration_data.dataset import load
from edge_agent.desk.ask import Item
from edge_agent.home import Home
from edge_agent.replay import Source, play, read_dataset, schedule, summary
from runtime.contracts.errors import StationFault, Unsupported
from runtime.photo import sanitise
from tests.edge_agent.desk.rigs import running
from tests.edge_agent.rigs import REPOSITORY, agent

SAMPLE = REPOSITORY / "calibration_data" / "sample"
PhotoOf = Callable[..., bytes]


def fill(root: Path, photo_of: PhotoOf) -> Path:
    for number, red in enumerate((20, 140, 220)):
        folder = root / f"item-{number}"
        folder.mkdir(parents=True)
        for view in ("logo", "stitching"):
            (folder / f"{view}.jpg").write_bytes(photo_of(red + number, seed=len(view)))
    return root


def test_a_dataset_is_read_as_its_own_loader_reads_it() -> None:
    ours, theirs = read_dataset(SAMPLE), load(SAMPLE).items
    assert [one.item_id for one in ours] == [one.item_id for one in theirs]
    for mine, item in zip(ours, theirs, strict=True):
        assert [(view, path.resolve()) for view, path in mine.photos] == [(one.view, one.path) for one in item.photos]
        assert mine.listing is not None
        assert item.listing is not None
        assert {name: value for name, value in mine.listing.items() if value is not None} == {
            name: value for name, value in item.listing.items() if value == value
        }


def test_what_is_no_dataset_says_what_is_wrong(tmp_path: Path) -> None:
    for name, text, says in (
        ("empty", None, "has no items"),
        ("header", "item_id,view,path\n", "has no items"),
        ("lacking", "item_id,view\na,logo\n", "row 2"),
        ("number", "item_id,view,path,listing.x\na,logo,p,cheap\n", "row 2"),
        ("binary", b"\xff\xfe\x00", "UTF-8"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        if text is not None:
            (folder / "items.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(Unsupported, match=says):
            read_dataset(folder)
    with pytest.raises(Unsupported, match="not a folder"):
        read_dataset(tmp_path / "none")


def test_items_are_due_at_the_rate_with_jitter_and_in_order() -> None:
    due_s = schedule(1000, 4.0, seed=3)
    assert due_s[0] == 0
    assert due_s == sorted(due_s) == schedule(1000, 4.0, seed=3)
    assert due_s[-1] == pytest.approx(999 / 4, abs=0.2)
    gaps = [later - earlier for earlier, later in pairwise(due_s)]
    assert 0.14 < min(gaps) < 0.2
    assert 0.3 < max(gaps) < 0.36


def test_a_station_that_is_busy_cannot_hide_the_wait(tmp_path: Path, photo_of: PhotoOf) -> None:
    one_at_a_time = threading.Lock()

    def slow(item: Item) -> dict[str, Any]:
        with one_at_a_time:
            time.sleep(0.1)
        if item.item_id.startswith("item-2"):
            raise StationFault("disk: full")
        return {"verdict": "authentic", "again": False}

    sources = read_dataset(fill(tmp_path / "data", photo_of))
    played = play(sources, schedule(9, 100.0, seed=1), slow, lambda done, total: None)
    assert [bool(one.failed) for one in played] == [False, False, True] * 3
    assert max(one.latency_ms for one in played) > 700
    assert max(one.late_ms for one in played) < 100
    said = summary(played)
    assert "9 items: 6 authentic; 0 of them scanned before" in said
    assert "failed 3 times: disk: full" in said


def test_the_same_item_is_another_one_in_each_round_with_photos_of_its_own(tmp_path: Path, photo_of: PhotoOf) -> None:
    (source, *_) = read_dataset(fill(tmp_path / "data", photo_of))
    assert isinstance(source, Source)
    rounds = [source.read(number) for number in (1, 2, 3)]
    assert [item.item_id for item in rounds] == ["item-0", "item-0 (2)", "item-0 (3)"]
    assert [item.photos for item in rounds] == [source.read(number).photos for number in (1, 2, 3)]
    assert (
        len({sanitise(photo, view) for item in rounds for view, photos in item.photos.items() for photo in photos}) == 6
    )


def test_a_photo_that_cannot_become_another_items_ends_the_replay_in_the_second_round(tmp_path: Path) -> None:
    source = Source(item_id="bag", photos=(("logo", tmp_path / "logo.png"),), listing=None)
    (tmp_path / "logo.png").write_bytes(b"\x89PNG and so on")
    assert source.read(1).photos == {"logo": [b"\x89PNG and so on"]}
    with pytest.raises(Unsupported, match=r"logo\.png: expected a JPEG"):
        source.read(2)


def test_a_dataset_is_played_to_the_daemon(home_with_model: Home, tmp_path: Path, photo_of: PhotoOf) -> None:
    folder = fill(tmp_path / "data", photo_of)
    home = home_with_model.root
    refused = agent("replay", folder, "--home", home)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "start 'touchstone-agent run'" in refused.stderr
    with running(home_with_model) as (desk, _):
        done = agent("replay", folder, "--rate", "20", "--count", "6", "--home", home)
        assert done.returncode == 0, done.stderr
        assert "6 items: 2 authentic, 2 suspect, 2 uncertain; 0 of them scanned before" in done.stdout
        assert "p50 " in done.stdout
        url = f"http://127.0.0.1:{desk.port}"
        again = agent("replay", folder, "--rate", "20", "--url", url, "--home", tmp_path / "nowhere")
        assert "3 items: 1 authentic, 1 suspect, 1 uncertain; 3 of them scanned before" in again.stdout
        (folder / "item-1" / "logo.jpg").write_bytes(b"no photo")
        failed = agent("replay", folder, "--rate", "20", "--home", home)
        assert failed.returncode == 2
        assert "failed 1 times: photo logo" in failed.stdout
        assert desk.get("/v1/state")["queue"]["recorded"] == 6
    for wrong in (["--rate", "0"], ["--rate", "nan"], ["--count", "0"], ["--url", "ftp://x"], ["--url", "http://[x"]):
        done = agent("replay", folder, *wrong, "--home", home)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert json.loads(agent("status", "--json", "--home", home).stdout)["outbox"]["recorded"] == 6
