"""The naive station: Pillow decodes every pixel, the float network runs in ONNX Runtime, one view after the other.

What a team writes in an afternoon from the two libraries' first pages, and no worse: Pillow's tutorial ("Image.open,
convert, resize") and ONNX Runtime's "Get started with ONNX Runtime in Python".
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.latency.systems.peer_station import PeerStation, px_of
from benchmarks.latency.systems.pillow_ort import VERSIONS, PillowOrt
from benchmarks.latency.systems.protocol import Setup, System, serve


def start(setup: Setup) -> System:
    """Load the float network."""
    score = PillowOrt(Path(setup.model) / "float.onnx", setup.threads, px_of(setup))
    return PeerStation(setup, score, f"full decode, float network, one view after the other; {VERSIONS}")


if __name__ == "__main__":
    sys.exit(serve(start, sys.argv[1:]))
