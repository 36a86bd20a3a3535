"""Write a dataset of synthetic leather goods. Everything goes to a hidden folder beside the target, renamed at the end:
the target either has all its photos or does not exist.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import cv2

from calibration_data.dataset import Item, Photo, require_both_classes, write_items
from calibration_data.leather.camera import PHOTO_PX
from calibration_data.leather.catalogue import VIEWS, Knobs, photos, plan
from runtime.contracts.errors import StationFault, Unsupported

GENERATOR_VERSION = 1  # rises whenever the same knobs would give other bytes
PHOTO_FOLDER = "photos"
PROVENANCE_FILE = "provenance.json"
CHUNK = 6  # items a task: small enough that an interrupt is quick

Progress = Callable[[int, int], None]


def generate(
    out: Path,
    *,
    items: int,
    seed: int,
    difficulty: float = 0.5,
    superfake_share: float = 0.0,
    counterfeit_share: float = 0.45,
    workers: int = 1,
    progress: Progress | None = None,
    photo_px: int = PHOTO_PX,
) -> Path:
    """Generate a dataset.

    The bytes of an item depend on the seed, its index and the knobs, on nothing else: not on ``workers``, and not on
    ``items``, so a longer run begins with the items of a shorter one.

    Args:
        out: Folder to make; it may exist if it is empty.
        items: How many items, three photos each.
        seed: From 0.
        difficulty: 0 (plain differences) to 1 (small ones).
        superfake_share: Share of the counterfeits that come from the better workshop, 0 to 1.
        counterfeit_share: Share of the items that are counterfeit, above 0 and below 1.
        workers: Processes; 1 works in this one.
        progress: Called with the items done and the items wanted, in this process.
        photo_px: Width and height of a photo, 64 to 640.

    Returns:
        ``out``.

    Raises:
        Unsupported: A knob is out of its range, ``out`` is taken, or so few items have only one class.
        StationFault: A worker process died.
        OSError: The folder cannot be written.
    """
    knobs = Knobs(
        seed=seed,
        difficulty=difficulty,
        superfake_share=superfake_share,
        counterfeit_share=counterfeit_share,
        photo_px=photo_px,
    )
    _require_ranges(knobs, items, workers)
    _require_free(out)
    with _moved_into_place(out) as partial:
        catalogue = [_item(partial, index, knobs) for index in range(items)]
        require_both_classes(catalogue, where=f"a set of {items} items with seed {seed}")
        for item in catalogue:
            (partial / PHOTO_FOLDER / item.item_id).mkdir(parents=True)
        for done in _rendered(partial, items, knobs, workers):
            if progress is not None:
                progress(done, items)
        write_items(partial, catalogue)
        provenance = {"generator": __name__, "version": GENERATOR_VERSION, "items": items, **asdict(knobs)}
        (partial / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return out


def _require_ranges(knobs: Knobs, items: int, workers: int) -> None:
    checks = (
        ("items", items, 2 <= items <= 999_999, "2 to 999999"),
        ("workers", workers, workers >= 1, "at least 1"),
        ("seed", knobs.seed, knobs.seed >= 0, "at least 0"),
        ("difficulty", knobs.difficulty, 0 <= knobs.difficulty <= 1, "0 to 1"),
        ("superfake share", knobs.superfake_share, 0 <= knobs.superfake_share <= 1, "0 to 1"),
        ("counterfeit share", knobs.counterfeit_share, 0 < knobs.counterfeit_share < 1, "above 0 and below 1"),
        ("photo size", knobs.photo_px, 64 <= knobs.photo_px <= PHOTO_PX, f"64 to {PHOTO_PX} px"),
    )
    for name, value, holds, expected in checks:
        if not holds:
            raise Unsupported(f"{name} is {value}; expected {expected}")


def _require_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Unsupported(f"'{out}' exists and is not an empty folder; nothing was written: name a new folder")


@contextmanager
def _moved_into_place(out: Path) -> Iterator[Path]:
    """A hidden folder beside ``out`` that becomes ``out`` at the end, or vanishes if anything goes wrong."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _item(root: Path, index: int, knobs: Knobs) -> Item:
    planned = plan(index, knobs)
    folder = root.resolve() / PHOTO_FOLDER / planned.item_id
    return Item(
        item_id=planned.item_id,
        label=planned.label,
        photos=tuple(Photo(view=view, path=folder / f"{view}.jpg") for view in VIEWS),
        group=planned.brand.name,
        family=planned.family,
        captured_at=planned.captured_at,
        fraud=planned.fraud,
        listing=planned.listing,
    )


def _rendered(root: Path, items: int, knobs: Knobs, workers: int) -> Iterator[int]:
    """Render all items; yields how many are done, again and again."""
    chunks = [range(start, min(start + CHUNK, items)) for start in range(0, items, CHUNK)]
    done = 0
    if workers == 1:
        for chunk in chunks:
            done += _render(root, chunk, knobs)
            yield done
        return
    context = multiprocessing.get_context("spawn")  # forking a process that runs threads may hang it
    pool = ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context, initializer=_leave_interrupts_to_parent)
    try:
        with _interrupts_held_back():  # workers inherit this, so that a Ctrl-C reaches only the parent
            futures = [pool.submit(_render, root, chunk, knobs) for chunk in chunks]
        for future in as_completed(futures):
            done += future.result()
            yield done
    except BrokenProcessPool as error:
        raise StationFault("a worker process died, perhaps for lack of memory; try again with fewer workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _render(root: Path, indices: range, knobs: Knobs) -> int:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # processes, not threads, share the work
    try:
        for index in indices:
            planned = plan(index, knobs)
            for view, data in photos(planned, index, knobs):
                (root / PHOTO_FOLDER / planned.item_id / f"{view}.jpg").write_bytes(data)
    finally:
        cv2.setNumThreads(threads)
    return len(indices)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def default_workers() -> int:
    """One worker for each core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
