"""Photos through networks, each photo decoded once: the rows that training, calibration and evaluation work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import cpu_count
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from calibration_data.dataset import Item, Photo
from optimize.regions import Regions, region_of
from runtime.contracts.bundle import ANY_VIEW
from runtime.preprocess import Pixels, prepare_into

CHUNK = 8
"""Photos a batch: enough to keep an engine busy, few enough to keep memory flat."""

T = TypeVar("T")
Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """Anything that makes numbers of a batch of photos: a network, or statistics beside it."""

    def run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Take ``uint8 (N, px, px, 3)``, return ``float32 (N, columns)``; safe to call from several threads."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One photo's outputs: one ``float32 (columns,)`` a network."""

    item_id: str
    view: str
    outputs: tuple[npt.NDArray[np.float32], ...]


def photos_of(items: Sequence[Item], views: Sequence[str]) -> list[tuple[Item, Photo]]:
    """Return every photo that a model of these views looks at, beside its item; ``("*",)`` looks at all."""
    return [(item, photo) for item in items for photo in item.photos if ANY_VIEW in views or photo.view in views]


def score_photos(
    networks: Sequence[tuple[Scorer, int]],
    items: Sequence[Item],
    views: Sequence[str],
    regions: Regions,
    progress: Progress | None = None,
) -> list[Row]:
    """Run the items' photos of these views through every network, as a station does.

    A photo is decoded once, at the scale that the largest network wants, and gives one row for each size of input.

    Args:
        networks: each with the side of its input in pixels; loaded with one thread each, as chunks run in parallel.
        items: in any order.
        views: of the model; photos of others are passed over, as at a station.
        regions: the part of each view's photos that the networks look at.
        progress: called with (photos done, photos in all).

    Raises:
        Unsupported: a photo does not decode; the message names its file.
    """
    photos = photos_of(items, views)
    rows: list[Row] = []

    def run(chunk: list[tuple[Item, Photo]]) -> list[Row]:
        batches = {px: np.empty((len(chunk), px, px, 3), np.uint8) for _, px in networks}
        for i, (_, photo) in enumerate(chunk):
            rows_of_it: list[Pixels] = [batch[i] for batch in batches.values()]
            region = region_of(photo.view, views, regions)
            prepare_into(rows_of_it, photo.path.read_bytes(), str(photo.path), region)
        outputs = [network.run(batches[px]) for network, px in networks]
        return [
            Row(item_id=item.item_id, view=photo.view, outputs=tuple(output[i] for output in outputs))
            for i, (item, photo) in enumerate(chunk)
        ]

    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        for part in pool.map(run, chunks(photos)):
            rows.extend(part)
            if progress:
                progress(len(rows), len(photos))
    return rows


def chunks(photos: Sequence[T]) -> Iterator[list[T]]:
    """Cut a sequence into lists of ``CHUNK``; the last one may be shorter."""
    source = iter(photos)
    while chunk := list(islice(source, CHUNK)):
        yield chunk
