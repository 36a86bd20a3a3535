"""The yardstick of a cold start: imports numpy, OpenCV and ONNX Runtime, decodes one photo, runs the network once.

``python -m benchmarks.latency.systems.bare_script NETWORK.onnx PHOTO`` prints ``{"ms": ..., "rss_mb": ...}``: the time
since its process was started (the kernel counts that in steps of 10 ms), and its resident memory. Nothing is checked,
nothing kept.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


def main(network: str, photo: str) -> int:
    """Score one photo, decoded at an eighth of its size."""
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    pixels = cv2.imdecode(np.fromfile(photo, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    assert pixels is not None, photo
    row = cv2.cvtColor(cv2.resize(pixels, tuple(given.shape[1:3]), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    session.run(None, {given.name: row[None]})
    print(json.dumps({"ms": _since_start_ms(), "rss_mb": _resident_mb()}))
    return 0


def _since_start_ms() -> float:
    # proc(5), stat: field 22, counted after the command, which may hold spaces
    ticks = int(Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()[19])
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")) * 1000


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
