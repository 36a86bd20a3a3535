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
from runtime.contracts.bundle import ANY_VIEW
from runtime.preprocess import prepare

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
    networks: Sequence[Scorer],
    items: Sequence[Item],
    views: Sequence[str],
    px: int,
    progress: Progress | None = None,
) -> list[Row]:
    """Run the items' photos of these views through every network.

    Args:
        networks: loaded with one thread each; chunks run in parallel.
        items: in any order.
        views: of the model; photos of others are passed over, as at a station.
        px: side of the networks' input.
        progress: called with (photos done, photos in all).

    Raises:
        Unsupported: a photo does not decode; the message names its file.
    """
    photos = photos_of(items, views)
    rows: list[Row] = []

    def run(chunk: list[tuple[Item, Photo]]) -> list[Row]:
        batch = prepare([photo.path.read_bytes() for _, photo in chunk], px, [str(photo.path) for _, photo in chunk])
        outputs = [network.run(batch) for network in networks]
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
