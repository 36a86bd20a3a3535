"""Inputs on disk, as a network eats them: a folder of numbered ``.npz`` files, one feed each.

Calibration, search and fidelity read one feed at a time, in any process: memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optimize.scoring import chunks
from optimize.sources.imported import PHOTO
from runtime.contracts.bundle import Region
from runtime.preprocess import prepare

Feed = Mapping[str, npt.NDArray[np.generic]]
"""Input name to array."""

_NAMED = "input:{}:"  # so that no input's name is one of numpy's own keywords, or ends like its files


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Feeds on disk; ``digest`` is the SHA-256 over their bytes in order, ``rows`` counts photos or rows."""

    folder: Path
    feeds: int
    rows: int
    digest: str

    def read(self, most: int | None = None) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
        """Yield the feeds in order, at most so many."""
        for number in range(self.feeds if most is None else min(most, self.feeds)):
            yield self.feed(number)

    def feed(self, number: int) -> dict[str, npt.NDArray[np.generic]]:
        """Read one feed."""
        with np.load(self.folder / f"{number:06d}.npz", allow_pickle=False) as stored:
            return {key.removeprefix("input:").removesuffix(":"): stored[key] for key in stored.files}


def write_samples(folder: Path, feeds: Iterable[Feed]) -> Samples:
    """Write feeds into a new folder.

    Args:
        folder: to make.
        feeds: at least one; the first axis of the first array counts the rows.
    """
    folder.mkdir(parents=True)
    digest, count, rows = hashlib.sha256(), 0, 0
    for count, feed in enumerate(feeds, 1):
        for name in sorted(feed):
            array = np.ascontiguousarray(feed[name])
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
        first = next(iter(feed.values()))
        rows += first.shape[0] if first.ndim else 1
        # numpy's own zip entries carry no clock, so the files are the same from run to run
        arrays: dict[str, Any] = {_NAMED.format(name): array for name, array in feed.items()}
        np.savez(folder / f"{count - 1:06d}.npz", **arrays)
    return Samples(folder=folder, feeds=count, rows=rows, digest=digest.hexdigest())


def photo_feeds(paths: Sequence[Path], px: int, regions: Sequence[Region | None] | None = None) -> Iterator[Feed]:
    """Decode photos, ``CHUNK`` a feed, each cut to its region where it has one.

    Raises:
        Unsupported: a photo does not decode; the message names its file.
    """
    for chunk in chunks(list(zip(paths, regions or [None] * len(paths), strict=True))):
        data, names = [path.read_bytes() for path, _ in chunk], [str(path) for path, _ in chunk]
        yield {PHOTO: prepare(data, px, names, [region for _, region in chunk])}
