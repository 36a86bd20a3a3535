"""Optimum: ``ORTQuantizer``, static INT8 by its own configuration for this CPU, run by ONNX Runtime.

As in the guide "Quantization" of Optimum ONNX (``AutoQuantizationConfig``, calibration by MinMax); see
``benchmarks.peer_systems.optimum_quantizer``. Pillow decodes the photos.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

from benchmarks.latency.systems.peer_station import PeerStation, px_of
from benchmarks.latency.systems.pillow_ort import VERSIONS, PillowOrt, decode
from benchmarks.latency.systems.protocol import Setup, System, serve
from benchmarks.latency.systems.quantised import quantised


def start(setup: Setup) -> System:
    """Quantise, and load what was made."""
    score = PillowOrt(quantised("optimum", setup, decode), setup.threads, px_of(setup))
    return PeerStation(setup, score, f"full decode, INT8 by optimum-onnx {version('optimum-onnx')}; {VERSIONS}")


if __name__ == "__main__":
    sys.exit(serve(start, sys.argv[1:]))
