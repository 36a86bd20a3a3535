"""Olive: its ``OnnxStaticQuantization`` pass with the defaults, in a venv of its own; run by ONNX Runtime here.

As in Olive's documentation of that pass; see ``benchmarks.peer_systems.olive_program``. Photos are decoded by Pillow.
"""

from __future__ import annotations

import sys

from benchmarks.latency.systems.peer_station import PeerStation, px_of
from benchmarks.latency.systems.pillow_ort import VERSIONS, PillowOrt, decode
from benchmarks.latency.systems.protocol import Setup, System, serve
from benchmarks.latency.systems.quantised import quantised


def start(setup: Setup) -> System:
    """Quantise, and load what was made."""
    score = PillowOrt(quantised("olive", setup, decode), setup.threads, px_of(setup))
    return PeerStation(setup, score, f"full decode, INT8 by olive-ai of peer_venvs/olive.txt; {VERSIONS}")


if __name__ == "__main__":
    sys.exit(serve(start, sys.argv[1:]))
