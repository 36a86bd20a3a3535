"""A peer's quantised network, made when its station starts, as the compiler benchmark makes it.

The quantiser is a child process (``quantise``), so that the station's memory is that of a station and not a compiler's.
Calibrated on every photo of ``calibration/``, decoded as this peer decodes them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.latency.systems.peer_station import px_of
from benchmarks.latency.systems.protocol import CannotTakePart, Setup

Row = npt.NDArray[np.uint8]


def quantised(peer: str, setup: Setup, decode: Callable[[bytes, int], Row]) -> Path:
    """Quantise the float network.

    Args:
        peer: of ``benchmarks.peer_systems.system.SYSTEMS``.
        setup: where the network and the calibration photos lie; the product lies in its work folder.
        decode: photo and px to ``uint8 (px, px, 3)`` RGB.

    Returns:
        What the peer made: a file or a folder.

    Raises:
        CannotTakePart: the quantiser failed.
    """
    folder = Path(setup.work) / "quantised"
    folder.mkdir()
    px = px_of(setup)
    photos = [path for path in sorted((Path(setup.model) / "calibration").rglob("*")) if path.is_file()]
    np.save(folder / "calibration.npy", np.stack([decode(path.read_bytes(), px) for path in photos]))
    command = [sys.executable, "-m", "benchmarks.latency.systems.quantise", peer, setup.model, str(folder)]
    done = subprocess.run([*command, str(setup.threads)], capture_output=True, text=True, check=False)
    if done.returncode:
        told = next(iter(done.stderr.strip().splitlines()[-1:]), "it said nothing")
        raise CannotTakePart(f"its quantiser failed with {done.returncode}: {told}")
    return Path((folder / "product").read_text(encoding="utf-8"))
