from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from calibration_data.dataset import Dataset, Item, Photo, Role
from optimize.finetune import FinetuneOptions, fit_heads, listing_names, scan_views
from optimize.head import Embedded, Head
from optimize.scoring import photos_of

FOLDS = 3
OPTIONS = FinetuneOptions(cross_fit=FOLDS)
ITEMS = 36
FOLD_OF = {f"i{number}": number // 2 % FOLDS for number in range(ITEMS)}


def rows() -> Embedded:
    random = np.random.default_rng(1)
    counterfeit = np.arange(ITEMS) % 2 == 0
    return Embedded(
        embedding=(random.normal(size=(ITEMS, 8)) + counterfeit[:, None]).astype(np.float32),
        view=np.full(ITEMS, "logo"),
        counterfeit=counterfeit,
        item=np.array([f"i{number}" for number in range(ITEMS)]),
    )


def without_signal(data: Embedded, chosen: np.ndarray) -> Embedded:
    spoilt = np.where(chosen[:, None], np.random.default_rng(2).normal(size=data.embedding.shape), data.embedding)
    return dataclasses.replace(data, embedding=spoilt.astype(np.float32))


def same(one: Head, other: Head) -> bool:
    return one.weight.tobytes() == other.weight.tobytes() and one.bias.tobytes() == other.bias.tobytes()


@pytest.mark.parametrize("fold", range(FOLDS))
def test_the_head_that_judges_a_fold_never_saw_its_items(fold: int) -> None:
    data = rows()
    of_fold = np.array([FOLD_OF[item] == fold for item in data.item])
    before = fit_heads(data, ("logo",), FOLD_OF, OPTIONS)
    after = fit_heads(without_signal(data, of_fold), ("logo",), FOLD_OF, OPTIONS)
    assert len(before) == 1 + FOLDS
    assert [same(one, other) for one, other in zip(before, after, strict=True)] == [
        False,  # the one that ships saw everything
        *(judged == fold for judged in range(FOLDS)),
    ]


def test_experts_labels_teach_every_fold() -> None:
    data = rows()
    taught = {item: fold for item, fold in FOLD_OF.items() if item not in ("i0", "i1", "i2", "i3")}
    experts = np.array([item not in taught for item in data.item])
    before = fit_heads(data, ("logo",), taught, OPTIONS)
    after = fit_heads(without_signal(data, experts), ("logo",), taught, OPTIONS)
    assert not any(same(one, other) for one, other in zip(before, after, strict=True))


def test_without_folds_one_head_ships() -> None:
    assert len(fit_heads(rows(), ("logo",), None, FinetuneOptions())) == 1


def an_item(number: int, *views: str, fraud: bool | None = None) -> Item:
    photos = tuple(Photo(view=view, path=Path(f"/photos/{number}-{view}.jpg")) for view in views)
    listing = {"price": 1.0} if fraud is not None else None
    return Item(item_id=f"i{number}", label="genuine", photos=photos, fraud=fraud, listing=listing)


def a_dataset(*items: Item) -> Dataset:
    views = tuple(sorted({photo.view for item in items for photo in item.photos}))
    names = ("price",) if any(item.listing for item in items) else ()
    return Dataset(root=Path("/photos"), items=items, views=views, listing_names=names)


def test_views_that_every_item_has_are_required_and_others_are_exchangeable() -> None:
    assert scan_views(a_dataset(an_item(1, "logo", "serial"), an_item(2, "serial", "logo"))) == ("logo", "serial")
    assert scan_views(a_dataset(an_item(1, "logo", "serial"), an_item(2, "logo"))) == ("*",)


def test_a_listing_model_needs_features_and_both_outcomes() -> None:
    both = (an_item(1, "logo", fraud=True), an_item(2, "logo", fraud=False))
    assert listing_names(a_dataset(*both), both) == ("price",)
    assert listing_names(a_dataset(*both), both[:1]) is None
    unknown = (an_item(1, "logo"), an_item(2, "logo"))
    assert listing_names(a_dataset(*unknown), unknown) is None


def test_a_case_that_lacks_a_view_does_not_make_the_next_models_views_exchangeable(tmp_path: Path) -> None:
    def item(item_id: str, views: tuple[str, ...], split: Role) -> Item:
        photos = tuple(Photo(view=view, path=tmp_path / f"{item_id}-{view}.jpg") for view in views)
        return Item(item_id=item_id, label="genuine", photos=photos, split=split)

    items = (item("a", ("logo", "stitching"), "calibrate"), item("b", ("logo",), "train"))
    dataset = Dataset(root=tmp_path, items=items, views=("logo", "stitching"), listing_names=())
    assert scan_views(dataset) == ("logo", "stitching")
    assert [photo.view for _, photo in photos_of(items, ("stitching",))] == ["stitching"]
