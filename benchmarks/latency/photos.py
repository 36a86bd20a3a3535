"""Photos as a station gets them: 12-megapixel JPEGs, every one new to the disk. Made from a bundle's golden photos.

A photo is made new by its stamp (``edge_agent.photo_stamp``), so one file can be shown many times without being written
again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_agent.photo_stamp import stamp, stamp_at, with_jfif
from runtime.bundle_store import Bundle
from runtime.contracts.bundle import ANY_VIEW
from runtime.contracts.errors import Unsupported

WIDTH_PX, HEIGHT_PX = 4000, 3000
SHARED_VIEWS = 6
"""How many photos an item has where a bundle's views are exchangeable."""

_STAMPS = itertools.count()

Item = Mapping[str, bytes]
"""One photo a view, encoded."""


def golden_items(bundle: Bundle, count: int) -> list[Item]:
    """Return at most so many of the bundle's golden items at their own size, one photo a view.

    Raises:
        Unsupported: it has none.
    """
    golden = bundle.manifest.golden
    if not golden or bundle.manifest.input is None:
        raise Unsupported(
            f"bundle {bundle.manifest.name}: it has no golden photos; build one with 'touchstone-optimize build --data'"
        )
    found: list[Item] = []
    for number in range(min(count, len(golden))):
        photos = golden[number].photos
        paths = {view: group[0] for view, group in photos.items() if group}
        if bundle.manifest.views == (ANY_VIEW,):
            several = [path for group in photos.values() for path in group]
            paths = {f"view-{index + 1}": several[index % len(several)] for index in range(SHARED_VIEWS)}
        found.append({view: with_jfif(bundle.path(path).read_bytes(), view) for view, path in paths.items()})
    return found


def given_item(folder: Path, views: Sequence[str]) -> Item:
    """Return a user's own photos, ``VIEW.jpg`` each, as they are.

    Raises:
        Unsupported: one is missing, or no JPEG.
    """
    wanted = [f"view-{number + 1}" for number in range(SHARED_VIEWS)] if tuple(views) == (ANY_VIEW,) else views
    missing = [view for view in wanted if not (folder / f"{view}.jpg").is_file()]
    if missing:
        raise Unsupported(f"photos {folder}: expected {missing[0]}.jpg, one for each of {', '.join(wanted)}; add it")
    return {view: with_jfif((folder / f"{view}.jpg").read_bytes(), view) for view in wanted}


def enlarged(item: Item) -> Item:
    """Enlarge photos to 12 megapixels with a sensor's noise, so that they weigh what a phone's photos do."""
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT_PX, WIDTH_PX, 3)).astype(np.float32)
    large = {}
    for view, photo in item.items():
        small = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
        assert small is not None  # a verified bundle's golden photos decode
        pixels = cv2.resize(small, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC).astype(np.float32) + noise
        _, encoded = cv2.imencode(".jpg", pixels.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
        large[view] = encoded.tobytes()
    return large


class Ring:
    """Files of items, shown in turn. A slot is free again when its item was read.

    Every photo has bytes of its own each time, in whatever ring: a station sends an item to an expert whose photo it
    has seen of another item or view.
    """

    def __init__(self, folder: Path, items: Sequence[Item]) -> None:
        folder.mkdir(parents=True)
        self._files: list[dict[str, tuple[Path, int]]] = []
        for slot, item in enumerate(items):
            places = {}
            for view, photo in item.items():
                path = folder / f"{slot}-{view}.jpg"
                path.write_bytes(photo)
                places[view] = (path, stamp_at(photo))
            self._files.append(places)
        self.photo_bytes = sum(len(photo) for item in items for photo in item.values()) / max(1, len(items))

    def __len__(self) -> int:
        return len(self._files)

    def slot(self, number: int) -> int:
        """Return which item a showing shows."""
        return number % max(1, len(self._files))

    def show(self, number: int) -> dict[str, str]:
        """Make the files of a showing new, and return them by view."""
        places = self._files[self.slot(number)]
        for path, at in places.values():
            handle = os.open(path, os.O_WRONLY)
            try:
                os.pwrite(handle, stamp(next(_STAMPS)), at)
            finally:
                os.close(handle)
        return {view: str(path) for view, (path, _) in places.items()}
