"""The simplest dataset: photos in ``genuine/`` and ``counterfeit/``, one file an item, or one subfolder an item.

The class is part of the item's id, so the same file name may stand in both folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calibration_data.item import LABELS, Item, Label, Photo
from runtime.contracts.errors import Unsupported

PHOTO_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SINGLE_VIEW = "photo"
_LEFT_BY_DESKTOPS = ("desktop.ini", "thumbs.db")


def present(root: Path) -> bool:
    """Whether ``root`` holds at least one class folder."""
    return any((root / label).is_dir() for label in LABELS)


def read(root: Path) -> list[Item]:
    """Read the class folders below ``root``, by name; opens no photo.

    Raises:
        Unsupported: A file is not a photo, a folder is nested too deep or empty, or two files make the same item.
    """
    items: dict[str, Item] = {}
    for label in LABELS:
        for item in _items(root, label):
            if item.item_id in items:
                raise Unsupported(
                    f"'{item.photos[0].path.relative_to(root)}' makes item '{item.item_id}' a second time;"
                    " rename it, or put all photos of one item into one subfolder"
                )
            items[item.item_id] = item
    return list(items.values())


def _items(root: Path, label: Label) -> Iterator[Item]:
    folder = root / label
    for entry in _entries(folder) if folder.is_dir() else []:
        if entry.is_dir():
            photos = tuple(Photo(view=_photo(root, path).stem, path=path) for path in _entries(entry))
            if not photos:
                raise Unsupported(f"folder '{entry.relative_to(root)}' has no photo; add its photos or remove it")
            yield Item(item_id=f"{label}-{entry.name}", label=label, photos=photos)
        else:
            photo = Photo(view=SINGLE_VIEW, path=_photo(root, entry))
            yield Item(item_id=f"{label}-{entry.stem}", label=label, photos=(photo,))


def _entries(folder: Path) -> list[Path]:
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in visible if path.name.lower() not in _LEFT_BY_DESKTOPS)


def _photo(root: Path, path: Path) -> Path:
    if path.is_dir():
        raise Unsupported(
            f"folder '{path.relative_to(root)}' is nested too deep; expected photos, one subfolder an item"
        )
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        raise Unsupported(
            f"'{path.relative_to(root)}' is not a photo ({', '.join(PHOTO_SUFFIXES)}); remove or convert it"
        )
    return path
