"""Plays a dataset to a station as a conveyor would: items due at a rate, whether or not the last one is done.

A latency counts from when its item was due, so that a station that is busy cannot hide the wait (Tene's "coordinated
omission"). Reads datasets with the standard library alone, and only as much of them as a scan needs.
"""

from __future__ import annotations

import csv
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.capture import PHOTO_SUFFIXES, open_item, read_photo_file
from edge_agent.desk.ask import Item
from edge_agent.photo_stamp import stamped, with_jfif
from edge_agent.station import Listing
from runtime.contracts.errors import TouchstoneError, Unsupported

JITTER_SHARE = 0.2
"""Arrivals come up to so great a share of their interval early or late, so that nothing beats in time with them."""
_ITEMS_FILE = "items.csv"
_LISTING_PREFIX = "listing."
_SENDERS = 32

Scan = Callable[[Item], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One item of a dataset; no photo has been opened."""

    item_id: str
    photos: tuple[tuple[str, Path], ...]
    listing: Listing | None

    def read(self, round_number: int) -> Item:
        """Read its photos; from the second round on it is another item, with another id and other bytes in each photo.

        Raises:
            Unsupported: a photo cannot be read, or is no JPEG and has to be another item's.
        """
        photos: dict[str, list[bytes]] = {}
        for view, path in self.photos:
            photo = read_photo_file(path)
            if round_number > 1:  # a station sends an item to an expert that has the photo of another
                photo = stamped(with_jfif(photo, path.name), round_number)
            photos.setdefault(view, []).append(photo)
        item_id = self.item_id if round_number == 1 else f"{self.item_id} ({round_number})"
        return Item(item_id=item_id, photos=photos, listing=self.listing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of one item: a verdict, or why there is none; how long after it was due, and how late it was sent."""

    verdict: str | None
    again: bool
    failed: str
    latency_ms: float
    late_ms: float


def read_dataset(folder: Path) -> tuple[Source, ...]:
    """Return a dataset's items: those of its ``items.csv``, or without one its folders with photos ``VIEW.jpg``.

    Raises:
        Unsupported: there are none, or they cannot be read.
    """
    if not folder.is_dir():
        raise Unsupported(f"dataset '{folder}' is not a folder; expected one with {_ITEMS_FILE}, or with item folders")
    listed = (folder / _ITEMS_FILE).is_file()
    found = tuple(_listed(folder) if listed else _folders(folder))
    if not found:
        raise Unsupported(f"dataset '{folder}' has no items; expected rows in {_ITEMS_FILE}, or folders with photos")
    return found


def schedule(count: int, rate_per_s: float, seed: int) -> list[float]:
    """Return when each item is due, seconds from the first; never out of order."""
    source = random.Random(seed)  # noqa: S311 - jitter, not a secret
    due_s = [(number + source.uniform(-JITTER_SHARE, JITTER_SHARE)) / rate_per_s for number in range(count)]
    return sorted(due - min(due_s) for due in due_s)


def play(
    sources: Sequence[Source], arrivals_s: Sequence[float], scan: Scan, progress: Callable[[int, int], None]
) -> list[Played]:
    """Have items scanned when they are due, over and over until all arrivals are served.

    Args:
        sources: in this order.
        arrivals_s: from ``schedule``.
        scan: has one item scanned; raises ``TouchstoneError`` where it cannot be.
        progress: told how many of all were sent.
    """
    sent: list[Future[Played]] = []
    pool = ThreadPoolExecutor(_SENDERS, "send")
    try:
        start_ns = time.monotonic_ns()
        for number, arrival_s in enumerate(arrivals_s):
            item = sources[number % len(sources)].read(1 + number // len(sources))
            due_ns = start_ns + round(arrival_s * 1e9)
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            sent.append(pool.submit(_play_one, scan, item, due_ns, (time.monotonic_ns() - due_ns) / 1e6))
            progress(number + 1, len(arrivals_s))
        return [one.result() for one in sent]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def summary(played: Sequence[Played]) -> str:
    """Say in some lines what came out: verdicts, failures, percentiles of the latency in milliseconds."""
    verdicts = Counter(one.verdict for one in played if one.verdict is not None)
    failures = Counter(one.failed for one in played if one.failed)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "no verdict"
    lines = [f"{len(played)} items: {counts}; {sum(one.again for one in played)} of them scanned before"]
    latencies = sorted(one.latency_ms for one in played if one.verdict is not None)
    if latencies:
        shares = ", ".join(f"p{round(100 * share)} {_percentile(latencies, share):.1f}" for share in (0.5, 0.9, 0.99))
        lines.append(f"ms from due to verdict: {shares}, longest {latencies[-1]:.1f} (of {len(latencies)})")
        lines.append(f"ms that items were sent late: longest {max(one.late_ms for one in played):.1f}")
    lines += [f"failed {count} times: {why}" for why, count in failures.most_common(3)]
    return "\n".join(lines) + "\n"


def _play_one(scan: Scan, item: Item, due_ns: int, late_ms: float) -> Played:
    verdict, again, failed = None, False, ""
    try:
        said = scan(item)
        verdict, again = str(said.get("verdict")), said.get("again") is True
    except TouchstoneError as error:
        failed = str(error)
    latency_ms = (time.monotonic_ns() - due_ns) / 1e6
    return Played(verdict=verdict, again=again, failed=failed, latency_ms=latency_ms, late_ms=late_ms)


def _percentile(sorted_ms: Sequence[float], share: float) -> float:
    """Return the nearest rank."""
    return sorted_ms[max(0, math.ceil(share * len(sorted_ms)) - 1)]


def _listed(root: Path) -> Iterator[Source]:
    photos: dict[str, list[tuple[str, Path]]] = {}
    listings: dict[str, Listing | None] = {}
    try:
        with (root / _ITEMS_FILE).open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                try:
                    item_id, path = row["item_id"].strip(), root / row["path"].strip()
                    photos.setdefault(item_id, []).append((row["view"].strip(), path))
                    listings.setdefault(item_id, _listing(row))
                except (KeyError, AttributeError, ValueError) as error:
                    raise Unsupported(
                        f"{_ITEMS_FILE} row {number}: expected item_id, view, path and numbers ({error}); correct it"
                    ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unsupported(f"{_ITEMS_FILE}: expected CSV in UTF-8 ({error}); correct the file") from error
    for item_id, found in photos.items():
        yield Source(item_id=item_id, photos=tuple(found), listing=listings[item_id])


def _listing(row: dict[str, str]) -> Listing | None:
    cells = {name.removeprefix(_LISTING_PREFIX): cell for name, cell in row.items() if name.startswith(_LISTING_PREFIX)}
    values = {name: float(cell) if cell.strip() else None for name, cell in cells.items()}
    return values if any(value is not None for value in values.values()) else None


def _folders(root: Path) -> Iterator[Source]:
    for folder in sorted({path.parent for path in root.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES} - {root}):
        found = open_item(folder)
        photos = tuple((view, path) for view, _, path in found.photos)
        yield Source(item_id=found.item_id, photos=photos, listing=found.listing)
