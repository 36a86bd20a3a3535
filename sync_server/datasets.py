"""Frozen datasets: what the experts agreed on, with an id that is the hash of the content.

Only settled cases; an item whose cases were settled differently is left out and counted. Every row says ``train``: such
items were looked at because the model was unsure, so they must never measure it.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select

from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.durable import check_hash, make_folder, sha256_hex, write_durably
from runtime.contracts.errors import StationFault
from runtime.contracts.records import ItemId, Label, Record
from sync_server.blobs import Blobs
from sync_server.cases import read_record
from sync_server.intake import EXTENSIONS
from sync_server.refusals import NotFound
from sync_server.schema import CASES, DATASETS, PHOTOS, RECORDS, stamp
from sync_server.store import insert_new

SPLIT = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPhoto:
    """One photo: its view, its SHA-256 in hex, and what kind of file it is."""

    view: str
    sha256: str
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetItem:
    """One item that the experts agree on: all photos of its settled cases, the listing features of its last scan."""

    item_id: ItemId
    label: Label
    listing: Mapping[str, float | None] | None
    photos: tuple[DatasetPhoto, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A frozen dataset, in order of item, view and photo; the ``contradicting`` items are not in it."""

    items: tuple[DatasetItem, ...]
    contradicting: tuple[ItemId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A dataset with its id, the SHA-256 of its canonical JSON."""

    dataset_id: str
    dataset: Dataset


def gather(outcomes: Iterable[tuple[Record, Label]], media_types: Mapping[str, str]) -> Dataset:
    """Gather settled cases to a dataset; pure.

    Args:
        outcomes: every settled case with its outcome, in any order.
        media_types: kind of each photo, by SHA-256.
    """
    cases: dict[ItemId, list[tuple[Record, Label]]] = defaultdict(list)
    for record, label in outcomes:
        cases[record.item_id].append((record, label))
    items = []
    contradicting = []
    for item_id in sorted(cases):
        labels = {label for _, label in cases[item_id]}
        if len(labels) > 1:
            contradicting.append(item_id)
            continue
        records = sorted((record for record, _ in cases[item_id]), key=lambda r: (r.scanned_at, r.record_id))
        photos = sorted({(view.view, view.photo) for record in records for view in record.views})
        items.append(
            DatasetItem(
                item_id=item_id,
                label=labels.pop(),
                listing=next((r.listing for r in reversed(records) if r.listing is not None), None),
                photos=tuple(DatasetPhoto(view=v, sha256=p, media_type=media_types[p]) for v, p in photos),
            )
        )
    return Dataset(items=tuple(items), contradicting=tuple(contradicting))


def freeze(connection: Connection, now: datetime) -> tuple[Frozen, bool]:
    """Freeze what is settled now; freezing the same content again is the same dataset. Tells whether it was new."""
    query = select(RECORDS.c.body, CASES.c.outcome).join(CASES, CASES.c.record_id == RECORDS.c.record_id)
    settled = connection.execute(query.where(CASES.c.state == "resolved"))
    outcomes = [(read_record(row.body), row.outcome) for row in settled]
    media_types = {row.sha256: row.media_type for row in connection.execute(select(PHOTOS))}
    dataset = gather(outcomes, media_types)
    body = canonical_json(dataset)
    dataset_id = sha256_hex(body)
    new = insert_new(connection, DATASETS, {"id": dataset_id, "body": body, "frozen_at": stamp(now)})
    return Frozen(dataset_id=dataset_id, dataset=dataset), new


def find_dataset(connection: Connection, dataset_id: str) -> Frozen:
    """Return a frozen dataset.

    Raises:
        NotFound: there is none of this id.
    """
    query = select(DATASETS.c.body).where(DATASETS.c.id == check_hash(dataset_id))
    body = connection.execute(query).scalar_one_or_none()
    if body is None:
        raise NotFound(f"dataset {dataset_id[:12]}: there is none of this id")
    return Frozen(dataset_id=dataset_id, dataset=decode(Dataset, parse_json(bytes(body), "dataset"), "dataset"))


def write_snapshot(frozen: Frozen, blobs: Blobs, out: Path) -> None:
    """Write a dataset folder: ``items.csv``, ``photos/``, and last ``snapshot.json`` with every file's hash.

    Raises:
        StationFault: ``out`` is not empty or cannot be written, or a photo is lost.
        Untrusted: a stored photo no longer has its hash.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise StationFault(f"{out}: expected an empty or a new folder; choose another for the snapshot")
        make_folder(out / "photos")
        hashes = {}
        for photo in (photo for item in frozen.dataset.items for photo in item.photos):
            path = _photo_path(photo)
            if path not in hashes:
                write_durably(out / path, blobs.read(photo.sha256))
                hashes[path] = photo.sha256
        table = _items_csv(frozen.dataset).encode()
        write_durably(out / "items.csv", table)
        account = {
            "dataset_id": frozen.dataset_id,
            "items": len(frozen.dataset.items),
            "contradicting": frozen.dataset.contradicting,
            "files": hashes | {"items.csv": sha256_hex(table)},
        }
        write_durably(out / "snapshot.json", canonical_json(account))
    except OSError as error:
        raise StationFault(f"{out}: the snapshot cannot be written ({error})") from error


def _items_csv(dataset: Dataset) -> str:
    features = sorted({name for item in dataset.items for name in item.listing or {}})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["item_id", "view", "path", "label", "split", *(f"listing.{name}" for name in features)])
    for item in dataset.items:
        listing = item.listing or {}
        values = ["" if listing.get(name) is None else repr(listing[name]) for name in features]
        for photo in item.photos:
            table.writerow([item.item_id, photo.view, _photo_path(photo), item.label, SPLIT, *values])
    return text.getvalue()


def _photo_path(photo: DatasetPhoto) -> str:
    return f"photos/{photo.sha256}.{EXTENSIONS[photo.media_type]}"
