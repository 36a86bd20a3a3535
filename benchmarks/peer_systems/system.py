"""What a system under measurement is: it compiles a float network into a folder, and loads what it made.

Nothing here is tuned: defaults are the defaults, and what a system's documentation advises is done. A table names all.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

Photos = npt.NDArray[np.uint8]
"""``uint8 (1, 224, 224, 3)`` RGB."""
Logits = npt.NDArray[np.float32]
"""``float32 (1, 1000)``."""

SYSTEMS: Mapping[str, str] = {
    "ort-float": "benchmarks.peer_systems.ort_float",
    "optimum": "benchmarks.peer_systems.optimum_quantizer",
    "ort-quantize-static": "benchmarks.peer_systems.ort_static",
    "openvino": "benchmarks.peer_systems.openvino_default",
    "nncf": "benchmarks.peer_systems.nncf_openvino",
    "olive": "benchmarks.peer_systems.olive_pass",
    "touchstone": "benchmarks.peer_systems.touchstone_bundle",
}
"""System to the module that is its ``System``; imported only when chosen."""
BASELINE = "ort-float"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model for one system.

    Attributes:
        factory: ``package.module:function`` of the torch module, ``uint8`` photos to logits.
        network: float ONNX of one image, ``input`` ``float32 (1, 3, 224, 224)`` to ``logits``.
        calibration: ``.npy``, ``float32 (N, 3, 224, 224)``, normalised.
        photos: folder of the photos behind ``calibration``.
        mean: of R, G and B in 0 to 255.
        std: likewise.
        folder: empty; what is compiled goes there.
        venvs: folder for virtual environments of systems that need one.
        bundle: a bundle of this model that was built before; ``None``: build one.
        threads: to run with.
    """

    factory: str
    network: Path
    calibration: Path
    photos: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]
    folder: Path
    venvs: Path
    bundle: Path | None
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What a system made: the file or folder to load, its size, and what was chosen, in words."""

    path: Path
    size_bytes: int
    note: str


class Running(Protocol):
    """A loaded network."""

    def ready(self, photo: Photos) -> npt.NDArray[Any]:
        """Bring a photo to the network's own input: what this system's user has to do at every photo."""
        ...

    def run(self, ready: npt.NDArray[Any]) -> Logits:
        """Run the network."""
        ...


class System(Protocol):
    """A module of this package."""

    def compile_network(self, job: Job) -> Product:
        """Compile, in a process of its own; whatever it raises is its row in the table."""
        ...

    def load(self, product: Product, job: Job) -> Running:
        """Load what was compiled, in the process that measures."""
        ...


def load_system(name: str) -> System:
    """Import a system's module; ``KeyError`` for a name that is not in the table."""
    return cast(System, importlib.import_module(SYSTEMS[name]))


def normalised(photo: Photos, mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring ``uint8 (N, H, W, 3)`` to ``float32 (N, 3, H, W)``, ``(x - mean) / std``, as a user writes it in numpy."""
    x = photo.astype(np.float32)
    x -= mean
    x /= std
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def product_of(path: Path, note: str) -> Product:
    """Describe a file or a folder that was made."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Product(path=path, size_bytes=sum(file.stat().st_size for file in files), note=note)
