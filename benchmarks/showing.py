"""Puts a dataset's items before a station as a scanner would: a folder filled aside, then renamed into its inbox."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from calibration_data.dataset import Item
from edge_agent.photo_stamp import stamped, with_jfif

_QUALITY = 95


def show(item: Item, inbox: Path) -> None:
    """Show an item as it is."""
    draft = _draft(item, inbox, item.item_id)
    for name, path in _photos(item):
        link_or_copy(path, draft / name)
    draft.rename(inbox / item.item_id)


def show_as_another(item: Item, inbox: Path, number: int) -> None:
    """Show an item's photos again as those of an item nobody has seen: another id, other bytes, the same pixels.

    With the same bytes each would go to an expert, as a photo that was used before. What is no JPEG is made one.
    """
    item_id = f"again-{number}"
    draft = _draft(item, inbox, item_id)
    for name, path in _photos(item):
        photo = stamped(with_jfif(_as_jpeg(path.read_bytes()), path.name), number + 1)
        (draft / name).with_suffix(".jpg").write_bytes(photo)
    draft.rename(inbox / item_id)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Link a file, or copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _draft(item: Item, inbox: Path, item_id: str) -> Path:
    draft = inbox / f".{item_id}"
    draft.mkdir()
    listing = {name: None if math.isnan(value) else value for name, value in (item.listing or {}).items()}
    (draft / "item.json").write_text(json.dumps({"item_id": item_id, "listing": listing or None}))
    return draft


def _photos(item: Item) -> list[tuple[str, Path]]:
    """Return (file name at the station, path) of an item's photos."""
    seen: dict[str, int] = {}
    found = []
    for photo in item.photos:
        seen[photo.view] = seen.get(photo.view, 0) + 1
        number = f"~{seen[photo.view]}" if seen[photo.view] > 1 else ""
        found.append((f"{photo.view}{number}{photo.path.suffix}", photo.path))
    return found


def _as_jpeg(photo: bytes) -> bytes:
    if photo[:2] == b"\xff\xd8":
        return photo
    pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None  # the build has read it
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
