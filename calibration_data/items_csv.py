"""Reading and writing ``items.csv``. Every complaint names the row as a spreadsheet shows it: the header is row 1.

`calibration_data.dataset` is the public door to this file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite, isnan, nan
from pathlib import Path

from calibration_data.item import LABELS, ROLES, Item, Label, Photo, Role
from runtime.contracts.durable import write_durably
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import check_name

FILE_NAME = "items.csv"
REQUIRED = ("item_id", "view", "path", "label")
OPTIONAL = ("group", "family", "split", "captured_at", "fraud")
LISTING_PREFIX = "listing."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    number: int
    cells: Mapping[str, str]

    def wrong(self, complaint: str) -> Unsupported:
        return Unsupported(f"{FILE_NAME} row {self.number}: {complaint}")


def read(root: Path) -> list[Item]:
    """Read the items of ``root``/items.csv in the order of their first rows; photos are looked for, not opened.

    Raises:
        Unsupported: Anything is wrong with the file, a row or a photo's place.
    """
    first_rows: dict[str, _Row] = {}
    items: dict[str, Item] = {}
    photos: dict[str, list[Photo]] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for row in _rows(root / FILE_NAME):
        item = _item(row)
        key = (item.item_id, row.cells["view"], row.cells["path"])
        if key in seen:
            raise row.wrong(f"the same item, view and path as row {seen[key]}: {key[2]!r}; remove one of the two")
        seen[key] = row.number
        first = first_rows.setdefault(item.item_id, row)
        _require_agreement(first, row)
        items.setdefault(item.item_id, item)
        photos.setdefault(item.item_id, []).append(_photo(root, row))
    if not items:
        raise Unsupported(f"{FILE_NAME} in '{root}' has no rows; expected one row a photo under the header")
    return [replace(item, photos=tuple(photos[item_id])) for item_id, item in items.items()]


def write(folder: Path, items: Sequence[Item]) -> None:
    """Write ``items`` to ``folder``/items.csv, durably: the old file stays until the new one is complete on disk."""
    root = folder.resolve()
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(items), restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for item in items for row in _cells(root, item))
    write_durably(root / FILE_NAME, text.getvalue().encode())


def _rows(path: Path) -> list[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unsupported(f"'{path}' is not CSV in UTF-8 ({error}); save it as CSV UTF-8") from error
    if not lines:
        raise Unsupported(f"'{path}' is empty; expected a header with {', '.join(REQUIRED)}")
    header = [name.strip() for name in lines[0]]
    _require_columns(path, header)
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise Unsupported(
                f"{FILE_NAME} row {number}: expected {len(header)} cells as in the header, got {len(cells)}"
            )
        rows.append(_Row(number=number, cells=dict(zip(header, (cell.strip() for cell in cells), strict=True))))
    return rows


def _require_columns(path: Path, header: Sequence[str]) -> None:
    known = f"{', '.join(REQUIRED + OPTIONAL)} and {LISTING_PREFIX}<name>"
    for name in header:
        is_listing = name.startswith(LISTING_PREFIX) and name != LISTING_PREFIX
        if name not in REQUIRED + OPTIONAL and not is_listing:
            raise Unsupported(f"'{path}' has an unknown column '{name}'; known are {known}: rename or remove it")
        if header.count(name) > 1:
            raise Unsupported(f"'{path}' has the column '{name}' twice; remove one of the two")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise Unsupported(f"'{path}' lacks the column '{missing[0]}'; required are {', '.join(REQUIRED)}: add it")


def _require_agreement(first: _Row, row: _Row) -> None:
    for name, value in row.cells.items():
        if name in ("view", "path") or value == first.cells[name]:
            continue
        raise Unsupported(
            f"{FILE_NAME} rows {first.number} and {row.number}: item '{row.cells['item_id']}' has {name}"
            f" '{first.cells[name]}' and '{value}'; expected one {name} for all rows of an item: correct one of the two"
        )


def _item(row: _Row) -> Item:
    cells = row.cells
    listing = {name[len(LISTING_PREFIX) :]: _number(row, name) for name in cells if name.startswith(LISTING_PREFIX)}
    return Item(
        item_id=_name(row, "item_id"),
        label=_label(row),
        photos=(),
        group=cells.get("group") or None,
        family=cells.get("family") or None,
        split=_split(row),
        captured_at=_time(row),
        fraud=_boolean(row),
        listing=listing or None,
    )


def _name(row: _Row, column: str) -> str:
    try:
        return check_name(row.cells[column], column)
    except Unsupported as error:
        raise row.wrong(str(error)) from error


def _label(row: _Row) -> Label:
    for label in LABELS:
        if row.cells["label"] == label:
            return label
    raise row.wrong(f"label is '{row.cells['label']}'; expected {' or '.join(LABELS)}: correct it")


def _split(row: _Row) -> Role | None:
    text = row.cells.get("split", "")
    for role in ROLES:
        if text == role:
            return role
    if not text:
        return None
    raise row.wrong(f"split is '{text}'; expected one of {', '.join(ROLES)}, or empty: correct it")


def _time(row: _Row) -> datetime | None:
    text = row.cells.get("captured_at", "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise row.wrong(f"captured_at is '{text}'; expected ISO 8601 with its offset, such as 2026-03-02T08:00:00Z")
    return moment.astimezone(UTC)


def _boolean(row: _Row) -> bool | None:
    text = row.cells.get("fraud", "")
    if text not in ("", "0", "1"):
        raise row.wrong(f"fraud is '{text}'; expected 0 or 1, or empty if unknown: correct it")
    return text == "1" if text else None


def _number(row: _Row, name: str) -> float:
    text = row.cells[name]
    if not text:
        return nan
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise row.wrong(f"{name} is '{text}'; expected a finite number, or an empty cell if it is missing")
    return value


def _photo(root: Path, row: _Row) -> Photo:
    view, text = _name(row, "view"), row.cells["path"]
    if not text or not text.isprintable():
        raise row.wrong(f"path {text!r}: expected a photo's relative path without control characters; correct it")
    path = root / text
    if not path.resolve().is_relative_to(root):
        raise row.wrong(f"photo '{text}' lies outside the dataset's folder; move it inside and give a relative path")
    if not path.is_file():
        raise row.wrong(f"photo '{text}' does not exist in '{root}'; restore the file or remove the row")
    return Photo(view=view, path=Path(os.path.normpath(path)))


def _columns(items: Sequence[Item]) -> list[str]:
    filled = [name for name in OPTIONAL if any(getattr(item, name) is not None for item in items)]
    listing = sorted({name for item in items for name in item.listing or ()})
    return [*REQUIRED, *filled, *(LISTING_PREFIX + name for name in listing)]


def _cells(root: Path, item: Item) -> list[dict[str, str]]:
    common = {
        "item_id": item.item_id,
        "label": item.label,
        "group": item.group or "",
        "family": item.family or "",
        "split": item.split or "",
        "captured_at": item.captured_at.isoformat() if item.captured_at else "",
        "fraud": "" if item.fraud is None else str(int(item.fraud)),
    }
    for name, value in (item.listing or {}).items():
        common[LISTING_PREFIX + name] = "" if isnan(value) else repr(float(value))
    rows = []
    for photo in item.photos:
        if not photo.path.is_relative_to(root):
            raise Unsupported(
                f"photo '{photo.path}' of item '{item.item_id}' lies outside '{root}'; copy it inside, then write again"
            )
        rows.append(common | {"view": photo.view, "path": photo.path.relative_to(root).as_posix()})
    return rows
