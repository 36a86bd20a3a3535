"""What a photo, an item and a dataset are. No file is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

Label = Literal["genuine", "counterfeit"]
Role = Literal["train", "calibrate", "certify", "evaluate", "field"]

LABELS: tuple[Label, ...] = ("genuine", "counterfeit")
ROLES: tuple[Role, ...] = ("train", "calibrate", "certify", "evaluate", "field")


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One photo of an item. ``path`` is absolute."""

    view: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One physical object.

    Attributes:
        item_id: At most 128 characters, no slash and no control character.
        label: What the item is known to be.
        photos: At least one; a view may have several.
        group: For example the brand; None if unknown.
        family: Free text, for example which counterfeiter.
        split: Which side the data puts the item on; None if the data does not say.
        captured_at: When the photos were taken, UTC.
        fraud: Whether its sale was fraud.
        listing: Every listing feature of the dataset by name, NaN where missing; None if the item brought none at all.
    """

    item_id: str
    label: Label
    photos: tuple[Photo, ...]
    group: str | None = None
    family: str | None = None
    split: Role | None = None
    captured_at: datetime | None = None
    fraud: bool | None = None
    listing: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Items with photos of both classes.

    Attributes:
        root: Absolute folder that the items came from; the first one's after a merge.
        items: In the order of the data.
        views: Sorted distinct views of all photos.
        listing_names: Sorted names of the listing features; empty if there are none.
    """

    root: Path
    items: tuple[Item, ...]
    views: tuple[str, ...]
    listing_names: tuple[str, ...]
