"""Prepares a model and compiles it with one system, in a child process: a crash there is a row, not the end.

Torch and the quantisers are never loaded where the figures are taken.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.peer_systems.system import Job, Photos, Product, load_system, normalised
from runtime.contracts.errors import TouchstoneError
from runtime.preprocess import prepare

T = TypeVar("T")

PX = 224
FACTORIES = "benchmarks.compile_models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model for the peers: float ONNX, normalised calibration images, and what the float model says.

    Attributes:
        network: ONNX file.
        calibration: ``.npy``; see ``Job``.
        photos: folder of the calibration photos.
        mean: of R, G and B in 0 to 255.
        std: likewise.
        top1: the float torch model's classes of the evaluation photos.
    """

    network: Path
    calibration: Path
    photos: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]
    top1: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What compiling gave: a product, or the reason why there is none."""

    product: Product | None
    failure: str | None
    seconds: float


def in_child(call: Callable[..., T], *arguments: object) -> T:
    """Run a function of this module in a process of its own.

    Raises:
        BrokenProcessPool: the process died.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def read_photos(paths: Sequence[Path]) -> list[Photos]:
    """Decode photos, each ``uint8 (1, 224, 224, 3)``, as a station does."""
    return [prepare([path.read_bytes()], PX, [str(path)]) for path in paths]


def prepare_model(name: str, calibrate: Sequence[Path], evaluate: Sequence[Path], folder: Path) -> Prepared:
    """Export a model, link its calibration photos into a folder, and ask it about the evaluation photos."""
    # torch takes seconds, and must stay out of the process that measures
    from benchmarks.compile_models import MODELS, export_net, top1_of

    model = MODELS[name]()
    folder.mkdir(parents=True)
    photos = folder / "photos"
    photos.mkdir()
    for path in calibrate:
        (photos / path.name).symlink_to(path.resolve())
    mean, std = np.array(model.mean, np.float32), np.array(model.std, np.float32)
    images = np.concatenate([normalised(photo, mean, std) for photo in read_photos(calibrate)])
    np.save(folder / "calibration.npy", images)
    export_net(model, folder / "float.onnx")
    return Prepared(
        network=folder / "float.onnx",
        calibration=folder / "calibration.npy",
        photos=photos,
        mean=model.mean,
        std=model.std,
        top1=top1_of(model, read_photos(evaluate)),
    )


def compile_with(system: str, job: Job) -> Outcome:
    """Compile in a child process; its output goes to a ``.log`` beside the folder."""
    job.folder.mkdir(parents=True)
    started = time.monotonic()
    try:
        made: Product | str = in_child(_compile, system, job)
    except BrokenProcessPool:
        made = "its process died"
    seconds = time.monotonic() - started
    if isinstance(made, str):
        return Outcome(product=None, failure=made, seconds=seconds)
    return Outcome(product=made, failure=None, seconds=seconds)


def reason(error: Exception) -> str:
    """Say an error in one line."""
    told = " ".join(str(error).split())
    return told if isinstance(error, TouchstoneError) else f"{type(error).__name__}: {told}"


def _compile(system: str, job: Job) -> Product | str:
    log = os.open(job.folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        return load_system(system).compile_network(job)
    except Exception as error:  # noqa: BLE001 - a peer may fail in any way; its reason is its row
        return reason(error)
