"""The simplest dataset: photos in ``genuine/`` and ``counterfeit/``, one file an item, or one subfolder an item.

The class is part of the item's id, so the same file name may stand in both folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calibration_data.item import LABELS, Item, Label, Photo
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import check_name

PHOTO_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
"""What ``runtime.photo`` reads."""
SINGLE_VIEW = "photo"
_LEFT_BY_DESKTOPS = ("desktop.ini", "thumbs.db")


def present(root: Path) -> bool:
    """Whether ``root`` holds at least one class folder."""
    return any((root / label).is_dir() for label in LABELS)


def read(root: Path) -> list[Item]:
    """Read the class folders below ``root``, by name; opens no photo.

    Raises:
        Unsupported: A file is not a photo, a folder is nested too deep or empty, a name cannot be that of an item or
            a view, or two files make the same item.
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
            photos = tuple(Photo(view=_view(root, path), path=path) for path in _entries(entry))
            if not photos:
                raise Unsupported(f"folder '{entry.relative_to(root)}' has no photo; add its photos or remove it")
            yield Item(item_id=_named(root, entry, f"{label}-{entry.name}", "item_id"), label=label, photos=photos)
        else:
            photo = Photo(view=SINGLE_VIEW, path=_photo(root, entry))
            yield Item(item_id=_named(root, entry, f"{label}-{entry.stem}", "item_id"), label=label, photos=(photo,))


def _view(root: Path, path: Path) -> str:
    return _named(root, path, _photo(root, path).stem, "view")


def _named(root: Path, path: Path, name: str, what: str) -> str:
    try:
        return check_name(name, what)
    except Unsupported as error:
        raise Unsupported(f"'{path.relative_to(root)}': {error}") from error


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
