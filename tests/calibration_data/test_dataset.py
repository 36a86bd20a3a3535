"""The dataset format: what loads, what is refused and with which words."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

import pytest

from calibration_data.dataset import Dataset, Item, Photo, load, merge, require_both_classes, write_items
from runtime.contracts.errors import Unsupported

HEADER = "item_id,view,path,label"
TWO = ("a,logo,a.jpg,genuine", "b,logo,b.jpg,counterfeit")


def dataset_folder(folder: Path, rows: Sequence[str] = TWO, header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg", "a2.jpg"):
        (folder / name).write_bytes(b"not opened")
    (folder / "items.csv").write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(Unsupported) as caught:
        load(folder)
    return str(caught.value)


def test_a_photo_is_never_opened_and_its_path_is_absolute(tmp_path: Path) -> None:
    dataset = load(dataset_folder(tmp_path))
    assert [item.item_id for item in dataset.items] == ["a", "b"]
    assert dataset.items[0].photos == (Photo(view="logo", path=tmp_path.resolve() / "a.jpg"),)
    assert dataset.views == ("logo",)
    assert dataset.listing_names == ()
    assert dataset.items[0].listing is None


def test_every_optional_column_is_read(tmp_path: Path) -> None:
    header = HEADER + ",group,family,split,captured_at,fraud,listing.price,listing.age"
    rows = (
        "a,logo,a.jpg,genuine,Brand,,train,2026-03-02T10:00:00+02:00,0,0.5,",
        "a,grain,a2.jpg,genuine,Brand,,train,2026-03-02T10:00:00+02:00,0,0.5,",
        "b,logo,b.jpg,counterfeit,,shop,,,1,,3",
    )
    dataset = load(dataset_folder(tmp_path, rows, header))
    first, second = dataset.items
    assert (first.group, first.family, first.split, first.fraud) == ("Brand", None, "train", False)
    assert first.captured_at == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert first.listing is not None and first.listing["price"] == 0.5 and isnan(first.listing["age"])
    assert (second.group, second.family, second.split, second.captured_at, second.fraud) == (
        None,
        "shop",
        None,
        None,
        True,
    )
    assert dataset.views == ("grain", "logo")
    assert dataset.listing_names == ("age", "price")


def test_a_byte_order_mark_and_blank_lines_are_harmless(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path)
    (folder / "items.csv").write_text("\ufeff" + "\n".join((HEADER, TWO[0], "", TWO[1])), encoding="utf-8")
    assert len(load(folder).items) == 2


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("item_id,view,label", TWO, ("lacks the column 'path'", "add it")),
        (HEADER + ",colour", TWO, ("unknown column 'colour'", "captured_at", "listing.<name>")),
        (HEADER + ",listing.", TWO, ("unknown column 'listing.'",)),
        (HEADER + ",label", TWO, ("column 'label' twice",)),
        (HEADER, (), ("has no rows",)),
        (HEADER, (TWO[0], "b,logo,b.jpg"), ("row 3", "expected 4 cells", "got 3")),
        (
            HEADER,
            (TWO[0], "b,logo,c/b.jpg,counterfeit"),
            ("items.csv row 3: photo 'c/b.jpg' does not exist", "restore"),
        ),
        (HEADER, (TWO[0], "b,logo,../b.jpg,counterfeit"), ("row 3", "'../b.jpg' lies outside", "move it inside")),
        (HEADER, (TWO[0], "b,logo,/b.jpg,counterfeit"), ("row 3", "'/b.jpg' lies outside")),
        (HEADER, (TWO[0], "b,,b.jpg,counterfeit"), ("row 3", "view ''", "1 to 128")),
        (HEADER, (TWO[0], "b,logo,,counterfeit"), ("row 3", "path ''")),
        (HEADER, (TWO[0], "b,logo,b.jpg,fake"), ("row 3", "label is 'fake'", "genuine or counterfeit")),
        (HEADER, (*TWO, "a,grain,a2.jpg,counterfeit"), ("rows 2 and 4", "'a' has label 'genuine' and 'counterfeit'")),
        (HEADER, (*TWO, TWO[0]), ("row 4", "same item, view and path as row 2")),
        (HEADER, (TWO[0],), ("no counterfeit item", "both classes")),
        (HEADER, (TWO[0], ",logo,b.jpg,counterfeit"), ("row 3", "item_id ''", "1 to 128")),
        (HEADER, (TWO[0], "b" * 129 + ",logo,b.jpg,counterfeit"), ("row 3", "item_id 'bbb", "1 to 128")),
        (HEADER, (TWO[0], "b/c,logo,b.jpg,counterfeit"), ("row 3", "slash")),
        (HEADER, (TWO[0], "b\\c,logo,b.jpg,counterfeit"), ("row 3", "slash")),
        (HEADER, (TWO[0], "b\x07c,logo,b.jpg,counterfeit"), ("row 3", "control character")),
        (HEADER, (TWO[0], ".b,logo,b.jpg,counterfeit"), ("row 3", "item_id '.b'", "dot")),
        (HEADER, (TWO[0], "b,lo/go,b.jpg,counterfeit"), ("row 3", "view 'lo/go'", "slash")),
        (HEADER, (TWO[0], "b,.logo,b.jpg,counterfeit"), ("row 3", "view '.logo'", "dot")),
        (HEADER, (TWO[0], f"b,{'v' * 129},b.jpg,counterfeit"), ("row 3", "view 'vvv", "1 to 128")),
        (HEADER + ",listing.x", (TWO[0] + ",1", TWO[1] + ",cheap"), ("row 3", "listing.x is 'cheap'", "empty cell")),
        (HEADER + ",listing.x", (TWO[0] + ",1", TWO[1] + ",inf"), ("row 3", "listing.x is 'inf'")),
        (HEADER + ",fraud", (TWO[0] + ",0", TWO[1] + ",no"), ("row 3", "fraud is 'no'", "0 or 1")),
        (HEADER + ",split", (TWO[0] + ",train", TWO[1] + ",test"), ("row 3", "split is 'test'", "certify")),
        (HEADER + ",captured_at", (TWO[0] + ",", TWO[1] + ",2026-03-02T08:00:00"), ("row 3", "offset")),
        (HEADER + ",captured_at", (TWO[0] + ",", TWO[1] + ",yesterday"), ("row 3", "ISO 8601")),
        (
            HEADER + ",group",
            (TWO[0] + ",X", TWO[1] + ",", "a,grain,a2.jpg,genuine,Y"),
            ("rows 2 and 4", "group 'X' and 'Y'"),
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_row_and_what_to_do(
    tmp_path: Path, header: str, rows: Sequence[str], words: Sequence[str]
) -> None:
    message = refusal(dataset_folder(tmp_path, rows, header))
    assert all(word in message for word in words), message


def test_an_empty_items_csv_is_refused(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path)
    (folder / "items.csv").write_bytes(b"")
    assert "is empty" in refusal(folder)


def test_an_items_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path)
    (folder / "items.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe,logo,a.jpg,genuine\n")
    assert "save it as CSV UTF-8" in refusal(folder)


def test_a_link_out_of_the_folder_is_an_escape(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "data")
    (tmp_path / "elsewhere.jpg").write_bytes(b"")
    (folder / "b.jpg").unlink()
    (folder / "b.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    assert "lies outside" in refusal(folder)


def test_a_folder_that_is_no_dataset_says_what_it_should_hold(tmp_path: Path) -> None:
    assert "neither items.csv nor folders 'genuine' and 'counterfeit'" in refusal(tmp_path)
    assert "is not a folder" in refusal(tmp_path / "nowhere")


def class_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_plain_class_folders_are_a_dataset(tmp_path: Path) -> None:
    names = ("genuine/x.jpg", "genuine/.hidden", "genuine/Thumbs.db", "counterfeit/x.png")
    dataset = load(class_folder(tmp_path, *names, "counterfeit/bag/logo.jpg", "counterfeit/bag/zip.jpg"))
    assert [(item.item_id, item.label) for item in dataset.items] == [
        ("genuine-x", "genuine"),
        ("counterfeit-bag", "counterfeit"),
        ("counterfeit-x", "counterfeit"),
    ]
    assert [photo.view for photo in dataset.items[1].photos] == ["logo", "zip"]
    assert dataset.views == ("logo", "photo", "zip")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("genuine/x.jpg",), "no counterfeit item"),
        (("genuine/x.jpg", "genuine/x.png", "counterfeit/y.jpg"), "makes item 'genuine-x' a second time"),
        (("genuine/x.txt", "counterfeit/y.jpg"), "'genuine/x.txt' is not a photo"),
        (("genuine/x.bmp", "counterfeit/y.jpg"), "'genuine/x.bmp' is not a photo"),
        (("genuine/x.tiff", "counterfeit/y.jpg"), "'genuine/x.tiff' is not a photo"),
        ((f"genuine/{'x' * 121}.jpg", "counterfeit/y.jpg"), "xxx.jpg': item_id 'genuine-xxx"),
        (("genuine/a\\b/x.jpg", "counterfeit/y.jpg"), "'genuine/a\\b': item_id "),
        (("genuine/a/lo\\go.jpg", "counterfeit/y.jpg"), "'genuine/a/lo\\go.jpg': view "),
        (("genuine/a/b/x.jpg", "counterfeit/y.jpg"), "nested too deep"),
        (("genuine/a/.hidden", "counterfeit/y.jpg"), "'genuine/a' has no photo"),
    ],
)
def test_wrong_class_folders_are_refused(tmp_path: Path, names: Sequence[str], words: str) -> None:
    assert words in refusal(class_folder(tmp_path, *names))


def item(item_id: str, folder: Path, **fields: object) -> Item:
    photo = Photo(view="logo", path=folder / f"{item_id}.jpg")
    return replace(Item(item_id=item_id, label="genuine", photos=(photo,)), **fields)  # type: ignore[arg-type]


def made(folder: Path, *items: Item) -> Dataset:
    names = tuple(sorted({name for entry in items for name in entry.listing or ()}))
    return Dataset(root=folder, items=items, views=("logo",), listing_names=names)


def test_a_field_item_may_come_back_with_the_experts_label(tmp_path: Path) -> None:
    earlier = made(tmp_path, item("x", tmp_path, split="field"), item("y", tmp_path))
    later = made(tmp_path / "later", item("x", tmp_path, label="counterfeit", split="train"))
    merged = merge([earlier, later])
    assert [(entry.item_id, entry.label) for entry in merged.items] == [("x", "counterfeit"), ("y", "genuine")]
    assert merged.root == tmp_path


@pytest.mark.parametrize("split", ["train", None])
def test_any_other_item_that_comes_back_is_refused(tmp_path: Path, split: str | None) -> None:
    earlier = made(tmp_path / "one", item("x", tmp_path, split=split))
    with pytest.raises(Unsupported, match=r"item 'x' is in '.*one' and again in '.*two'"):
        merge([earlier, made(tmp_path / "two", item("x", tmp_path))])


def test_a_merge_unites_listing_features_and_leaves_the_missing_ones_unknown(tmp_path: Path) -> None:
    merged = merge(
        [
            made(tmp_path, item("x", tmp_path, listing={"age": 1.0})),
            made(tmp_path, item("y", tmp_path, listing={"price": 2.0})),
        ]
    )
    assert merged.listing_names == ("age", "price")
    assert merged.items[1].listing is not None
    assert isnan(merged.items[1].listing["age"]) and merged.items[1].listing["price"] == 2.0


def test_an_item_without_any_listing_value_has_no_listing(tmp_path: Path) -> None:
    header = HEADER + ",listing.price,listing.age"
    dataset = load(dataset_folder(tmp_path, (TWO[0] + ",,", TWO[1] + ",2,"), header))
    assert [item.listing is None for item in dataset.items] == [True, False]
    assert dataset.listing_names == ("age", "price")
    other = made(tmp_path, item("x", tmp_path))
    assert [entry.listing is None for entry in merge([dataset, other]).items] == [True, False, True]
    (tmp_path / "items.csv").unlink()
    write_items(tmp_path, dataset.items)
    assert [item.listing is None for item in load(tmp_path).items] == [True, False]


def test_listing_columns_that_nobody_fills_are_no_listing_features(tmp_path: Path) -> None:
    dataset = load(dataset_folder(tmp_path, (TWO[0] + ",", TWO[1] + ","), HEADER + ",listing.price"))
    assert (dataset.listing_names, [item.listing for item in dataset.items]) == ((), [None, None])


def test_merging_nothing_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merge([])


def test_require_both_classes_accepts_both_and_names_the_missing_one(tmp_path: Path) -> None:
    genuine = item("x", tmp_path)
    require_both_classes([genuine, replace(genuine, label="counterfeit")])
    with pytest.raises(Unsupported, match="no counterfeit item"):
        require_both_classes([genuine])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    header = HEADER + ",group,family,split,captured_at,fraud,listing.price"
    rows = (
        'a,logo,a.jpg,genuine,"Brand, Ltd",,train,2026-03-02T08:00:00Z,0,0.1',
        "b,logo,b.jpg,counterfeit,,shop,,,1,0.25",
    )
    before = load(dataset_folder(tmp_path, rows, header))
    (tmp_path / "items.csv").unlink()
    write_items(tmp_path, before.items)
    assert load(tmp_path) == before


def test_class_folders_can_be_written_down(tmp_path: Path) -> None:
    before = load(class_folder(tmp_path, "genuine/x.jpg", "counterfeit/y.jpg"))
    write_items(tmp_path, before.items)
    assert load(tmp_path) == before


def test_the_name_of_what_is_written_is_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load(dataset_folder(tmp_path))
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    write_items(tmp_path, dataset.items)
    assert synced == [False, True]


def test_a_photo_outside_the_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="lies outside"):
        write_items(tmp_path, [item("x", tmp_path.parent)])
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load(dataset_folder(tmp_path))
    before = (tmp_path / "items.csv").read_bytes()
    names = sorted(tmp_path.iterdir())

    def disk_full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="no space"):
        write_items(tmp_path, dataset.items[:1])
    assert (tmp_path / "items.csv").read_bytes() == before
    assert sorted(tmp_path.iterdir()) == names
