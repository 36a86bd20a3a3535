"""Inputs that a user brings: read feed by feed, cast only without loss, refused with the array's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optimize.sources.user_samples import feeds_of, photos_in, rows_in
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported

X = TensorSpec(name="x", dtype="float32", shape=(None, 3))
ONE = TensorSpec(name="x", dtype="float32", shape=(1, 3))
FOUR = TensorSpec(name="x", dtype="float32", shape=(4, 3))
IDS = TensorSpec(name="ids", dtype="int64", shape=(None, 2))
SCALE = TensorSpec(name="scale", dtype="float32", shape=())
RANDOM = np.random.default_rng(0)


def rows(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def saved(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "s.npz", **arrays)
    return folder / "s.npz"


@pytest.mark.parametrize("spec", [X, ONE])
def test_rows_become_feeds_where_the_leading_dimension_is_free_or_1(spec: TensorSpec, tmp_path: Path) -> None:
    data = rows(5, 3)
    feeds = list(feeds_of(saved(tmp_path, x=data), [spec]))
    assert [feed["x"].shape for feed in feeds] == [(1, 3)] * 5
    assert np.array_equal(np.concatenate([feed["x"] for feed in feeds]), data)


def test_a_fixed_leading_dimension_makes_one_feed(tmp_path: Path) -> None:
    assert [feed["x"].shape for feed in feeds_of(saved(tmp_path, x=rows(4, 3)), [FOUR])] == [(4, 3)]
    with pytest.raises(Unsupported, match=r"'x' has shape \(5, 3\); expected .*x float32 \(4, 3\)"):
        list(feeds_of(saved(tmp_path, x=rows(5, 3)), [FOUR]))


def test_an_extra_leading_axis_counts_feeds(tmp_path: Path) -> None:
    data = rows(6, 4, 3)
    feeds = list(feeds_of(saved(tmp_path, x=data), [FOUR]))
    assert len(feeds) == 6
    assert np.array_equal(feeds[5]["x"], data[5])
    with pytest.raises(Unsupported, match=r"\[6, 7\] feeds"):
        list(feeds_of(saved(tmp_path, x=data, scale=rows(7)), [FOUR, SCALE]))


def test_scalars_go_with_every_row_and_inputs_of_other_lengths_make_one_feed(tmp_path: Path) -> None:
    feeds = list(feeds_of(saved(tmp_path, x=rows(3, 3), scale=np.float32(2)), [X, SCALE]))
    assert [(feed["x"].shape, feed["scale"].shape) for feed in feeds] == [((1, 3), ())] * 3
    (feed,) = feeds_of(saved(tmp_path, x=rows(3, 3), ids=np.ones((2, 2), np.int64)), [X, IDS])
    assert feed["x"].shape == (3, 3)


def test_a_folder_holds_a_feed_a_file_in_order(tmp_path: Path) -> None:
    first, second = rows(2, 3), rows(7, 3)
    np.savez(tmp_path / "b.npz", x=second)
    np.savez(tmp_path / "a.npz", x=first, unread=first)
    feeds = list(feeds_of(tmp_path, [X]))
    assert [feed["x"].shape for feed in feeds] == [(2, 3), (7, 3)]
    assert set(feeds[0]) == {"x"}


def test_a_network_of_one_input_takes_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rows(2, 3))
    assert len(list(feeds_of(tmp_path / "a.npy", [X]))) == 2
    assert len(list(feeds_of(tmp_path, [X]))) == 1
    with pytest.raises(Unsupported, match="no array named 'x', it has one without a name"):
        list(feeds_of(tmp_path / "a.npy", [X, SCALE]))


def test_a_cast_without_loss_is_made_and_any_other_refused(tmp_path: Path) -> None:
    whole = np.array([[1, 2], [3, 4]], np.float64)
    (first, _) = feeds_of(saved(tmp_path, ids=whole), [IDS])
    assert first["ids"].dtype == np.int64
    assert first["ids"].tolist() == [[1, 2]]
    for wrong in (whole + 0.5, np.full((2, 2), 1e30), np.full((2, 2), np.inf)):
        with pytest.raises(Unsupported, match=r"'ids' is float64 and would lose digits.*astype\('int64'\)"):
            list(feeds_of(saved(tmp_path, ids=wrong), [IDS]))
    with pytest.raises(Unsupported, match="would lose digits as float32"):
        list(feeds_of(saved(tmp_path, x=np.full((1, 3), 0.1)), [X]))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": np.ones((1, 3), np.float32)}, "no array named 'x', it has y; expected .*x float32"),
        ({"x": np.full((2, 3), np.nan, np.float32)}, "'x' holds NaN"),
        ({"x": np.ones(3, np.float32)}, r"'x' has shape \(3,\)"),
        ({"x": np.ones((2, 4), np.float32)}, r"'x' has shape \(1, 4\)"),
        ({"x": np.ones((0, 3), np.float32)}, "no rows"),
        ({"x": np.array([["a", "b", "c"]])}, "'x' is <U1"),
        ({}, "it holds no array"),
        ({"x": np.array([[object()] * 3])}, "cannot be read"),
    ],
)
def test_samples_that_do_not_fit_are_refused_by_name(arrays: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=said):
        list(feeds_of(saved(tmp_path, **arrays), [X]))


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(saved(tmp_path, x=rows(9, 3)).read_bytes()[:60])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("torn.npz", "cannot be read"),
        ("none.npz", "cannot be read"),
        ("notes.txt", "expected an .npz"),
    ):
        with pytest.raises(Unsupported, match=said):
            list(feeds_of(tmp_path / name, [X]))
    with pytest.raises(Unsupported, match=r"no \.npz in this folder"):
        list(feeds_of(tmp_path / "empty", [X]))


def test_photos_are_found_below_a_folder_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("b.JPG", "a/c.png", "a/notes.txt", "d.webp", "e.jpeg"):
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in photos_in(tmp_path)] == [
        "a/c.png",
        "b.JPG",
        "d.webp",
        "e.jpeg",
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(Unsupported, match="no photo in this folder"):
        photos_in(tmp_path / "none")
    with pytest.raises(Unsupported, match="expected a folder"):
        photos_in(tmp_path / "b.JPG")


def test_a_tables_rows_keep_their_missing_values(tmp_path: Path) -> None:
    table = np.array([[1, np.nan], [3, 4]])
    assert np.array_equal(rows_in(saved(tmp_path, rows=table)), table.astype(np.float32), equal_nan=True)
    with pytest.raises(Unsupported, match="expected one array of numbers"):
        rows_in(saved(tmp_path, a=table, b=table))
