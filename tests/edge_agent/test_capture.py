"""The watch folder: whole items in, nothing deleted but what is recorded, and what cannot be scanned put aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.capture import read_item, reject, remove, sweep, waiting_items
from edge_agent.home import Home
from runtime.contracts.errors import Unsupported
from tests.edge_agent.rigs import make_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "station")


def fill(home: Home, name: str, **files: bytes) -> Path:
    folder = home.inbox / name
    folder.mkdir()
    for file, data in files.items():
        (folder / file.replace("__", ".")).write_bytes(data)
    return folder


def test_photos_are_named_by_their_view_and_numbered(home: Home) -> None:
    folder = fill(home, "bag 7", logo__jpg=b"1", stitching__PNG=b"2")
    (folder / "logo~2.jpg").write_bytes(b"3")
    (folder / "logo~10.webp").write_bytes(b"4")
    (folder / ".DS_Store").write_bytes(b"x")
    request = read_item(folder)
    assert request.item_id == "bag 7"
    assert request.photos == {"logo": (b"1", b"3", b"4"), "stitching": (b"2",)}
    assert request.listing is None


def test_item_json_gives_the_id_and_the_listing(home: Home) -> None:
    item = {"item_id": "4006381333931", "listing": {"price": 12.5, "age": None}}
    request = read_item(fill(home, "x", logo__jpg=b"1", item__json=json.dumps(item).encode()))
    assert request.item_id == "4006381333931"
    assert request.listing == {"price": 12.5, "age": None}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "1 to 64 photos"),
        ({"item__json": b"{}"}, "1 to 64 photos"),
        ({"logo__jpg": b"1", "notes__txt": b"x"}, "take it out"),
        ({"logo__jpg": b"1", "item__json": b"{cut"}, "expected JSON"),
        ({"logo__jpg": b"1", "item__json": b'{"item": "x"}'}, "unknown field 'item'"),
        ({"logo__jpg": b"1", "item__json": b'{"listing": {"price": "cheap"}}'}, "expected a float"),
        ({f"v{number}__jpg": b"1" for number in range(65)}, "1 to 64 photos"),
    ],
)
def test_a_folder_that_is_no_item_says_why(home: Home, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        read_item(fill(home, "x", **files))


def test_links_and_folders_inside_an_item_are_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    folder = fill(home, "x")
    (folder / "logo.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(Unsupported, match="plain file"):
        read_item(folder)
    (home.inbox / "y").symlink_to(tmp_path)
    with pytest.raises(Unsupported, match="expected a folder"):
        read_item(home.inbox / "y")


def test_unfinished_entries_are_not_looked_at(home: Home) -> None:
    fill(home, ".filling")
    fill(home, "copying.part")
    fill(home, "done")
    assert [path.name for path in waiting_items(home)] == ["done"]


def test_a_rejected_item_keeps_its_photos_and_gets_a_reason(home: Home) -> None:
    for _ in range(2):
        reject(home, fill(home, "x", logo__jpg=b"1"), "the photo is torn")
    assert {path.name for path in home.rejected.iterdir()} == {"x", "x-2"}
    assert (home.rejected / "x-2" / "logo.jpg").read_bytes() == b"1"
    assert (home.rejected / "x-2" / "reason.txt").read_text() == "the photo is torn\n"
    assert not list(home.inbox.iterdir())


def test_a_lone_file_is_rejected_with_its_reason_beside_it(home: Home) -> None:
    (home.inbox / "photo.jpg").write_bytes(b"1")
    with pytest.raises(Unsupported, match="make a folder"):
        read_item(home.inbox / "photo.jpg")
    reject(home, home.inbox / "photo.jpg", "make a folder")
    assert (home.rejected / "photo.jpg").read_bytes() == b"1"
    assert (home.rejected / "photo.jpg.reason.txt").exists()


def test_a_removal_that_a_crash_cut_short_is_finished_at_the_next_start(home: Home) -> None:
    folder = fill(home, "x", logo__jpg=b"1", stitching__jpg=b"2")
    folder.rename(home.inbox / ".done-0123")
    (home.inbox / ".done-0123" / "logo.jpg").unlink()
    assert waiting_items(home) == []
    sweep(home)
    assert not list(home.inbox.iterdir())


def test_an_item_is_renamed_away_before_its_photos_go(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(home, "x", logo__jpg=b"1")
    seen: list[Callable[[], object] | str] = []
    monkeypatch.setattr("shutil.rmtree", lambda path: seen.append(Path(path).name))
    remove(folder)
    assert not folder.exists()
    assert str(seen[0]).startswith(".done-")


def test_an_item_that_somebody_took_away_is_not_rejected(home: Home) -> None:
    with pytest.raises(FileNotFoundError):
        read_item(home.inbox / "gone")
