"""The dataset format: a folder of photos and one ``items.csv``, one row a photo.

Loading looks whether every photo exists and opens none. The surprising thing: a merge lets an item of the ``field``
split come back in a later dataset, because that is how an expert's label reaches the next model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

from calibration_data import class_folders, items_csv
from calibration_data.item import LABELS, ROLES, Dataset, Item, Label, Photo, Role
from runtime.contracts.errors import Unsupported

__all__ = [
    "LABELS",
    "ROLES",
    "Dataset",
    "Item",
    "Label",
    "Photo",
    "Role",
    "load",
    "merge",
    "require_both_classes",
    "write_items",
]


def load(folder: Path, *, both_classes: bool = True) -> Dataset:
    """Load a dataset: ``items.csv``, or without one plain ``genuine/`` and ``counterfeit/`` folders.

    Args:
        folder: The dataset's folder.
        both_classes: Refuse a dataset of one class; leave that to the union where this is only a part.

    Returns:
        The dataset; no photo has been opened.

    Raises:
        Unsupported: The folder is not a dataset, a row is wrong, a photo is missing, or only one class is there. The
            message names the file, the row and what to do.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise Unsupported(f"dataset '{folder}' is not a folder; expected one with {items_csv.FILE_NAME}")
    if (root / items_csv.FILE_NAME).exists():
        items = items_csv.read(root)
    elif class_folders.present(root):
        items = class_folders.read(root)
    else:
        raise Unsupported(
            f"dataset '{folder}' has neither {items_csv.FILE_NAME}"
            " nor folders 'genuine' and 'counterfeit'; add one of them"
        )
    if both_classes:
        require_both_classes(items, where=f"dataset '{folder}'")
    return _gathered(root, items)


def merge(datasets: Sequence[Dataset]) -> Dataset:
    """Unite datasets, earliest first.

    An item whose split is ``field`` may reappear in a later dataset, which wins: it carries the expert's label.

    Args:
        datasets: At least one.

    Returns:
        One dataset; views and listing features are united. Features that an item's listing lacks are NaN; an item that
        brought no value at all has no listing.

    Raises:
        Unsupported: An item that is not of the ``field`` split reappears.
        ValueError: No dataset was given.
    """
    if not datasets:
        raise ValueError("merge needs at least one dataset")
    merged: dict[str, tuple[Item, Path]] = {}
    for dataset in datasets:
        for item in dataset.items:
            earlier = merged.get(item.item_id)
            if earlier is not None and earlier[0].split != "field":
                raise Unsupported(
                    f"item '{item.item_id}' is in '{earlier[1]}' and again in '{dataset.root}'; only items of the split"
                    f" 'field' may reappear, its split is {earlier[0].split or 'not given'}: remove one of the two"
                )
            merged[item.item_id] = (item, dataset.root)
    return _gathered(datasets[0].root, [item for item, _ in merged.values()])


def require_both_classes(items: Iterable[Item], *, where: str = "the dataset") -> None:
    """Check that genuine and counterfeit items are both there.

    Args:
        items: Any items.
        where: What the message calls them.

    Raises:
        Unsupported: A class has no item, or there is no item at all.
    """
    found = {item.label for item in items}
    missing = [label for label in LABELS if label not in found]
    if missing:
        raise Unsupported(
            f"{where} has no {' and no '.join(missing)} item;"
            " expected items of both classes: add photos of the missing one"
        )


def write_items(folder: Path, items: Iterable[Item]) -> None:
    """Write ``items.csv`` atomically; the old one stays until the new one is complete on disk.

    Args:
        folder: The dataset's folder; every photo must lie under it.
        items: What to write, in this order. Columns that no item fills are left out.

    Raises:
        Unsupported: A photo lies outside ``folder``.
        OSError: The file cannot be written.
    """
    items_csv.write(folder, list(items))


def _gathered(root: Path, items: Sequence[Item]) -> Dataset:
    known = [
        item.listing if any(not isnan(value) for value in (item.listing or {}).values()) else None for item in items
    ]
    names = tuple(sorted({name for listing in known for name in listing or ()}))
    blank = dict.fromkeys(names, nan)
    # a scan without a listing has None on the station as well
    items = [
        replace(item, listing=None if listing is None else blank | dict(listing))
        for item, listing in zip(items, known, strict=True)
    ]
    views = tuple(sorted({photo.view for item in items for photo in item.photos}))
    return Dataset(root=root, items=tuple(items), views=views, listing_names=names)
