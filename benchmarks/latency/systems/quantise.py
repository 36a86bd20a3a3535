"""Runs in a child process: ``python -m benchmarks.latency.systems.quantise PEER MODEL FOLDER THREADS``.

Finds ``calibration.npy`` (``uint8 (N, px, px, 3)`` RGB) in FOLDER, and leaves there what the peer makes of the network,
and its path in the file ``product``. The quantisers are those of ``benchmarks.peer_systems``, with the defaults
that their documents advise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

from benchmarks.peer_systems.system import Job, load_system
from benchmarks.wheel_files import peers_cache

_INPUT = "input"
"""What ``benchmarks.peer_systems`` calls a network's input."""


def main(peer: str, model: str, folder: str, threads: str) -> int:
    """Quantise the model folder's float network."""
    out = Path(folder)
    network = onnx.load(Path(model) / "float.onnx")
    _name_input(network.graph)
    onnx.save(network, out / "float.onnx")
    job = Job(
        factory="",
        network=out / "float.onnx",
        calibration=out / "calibration.npy",
        photos=Path(model) / "calibration",
        mean=(0.0, 0.0, 0.0),  # the network normalises by itself
        std=(1.0, 1.0, 1.0),
        folder=out,
        venvs=peers_cache(),
        bundle=None,
        threads=int(threads),
    )
    (out / "product").write_text(str(load_system(peer).compile_network(job).path), encoding="utf-8")
    return 0


def _name_input(graph: onnx.GraphProto) -> None:
    old = graph.input[0].name
    graph.input[0].name = _INPUT
    for node in graph.node:
        node.input[:] = [_INPUT if name == old else name for name in node.input]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
