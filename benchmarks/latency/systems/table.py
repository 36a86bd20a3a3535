"""The systems that the suite can measure, one line each, and how their processes are started. Imports none of them.

A system in a venv of its own needs ``scripts/bench-peers`` once; nothing is installed here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
"""The folder to start a system in, so that a foreign interpreter finds this package."""

OURS = "touchstone"
BASELINE = "naive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One system.

    Attributes:
        module: what ``python -m`` runs.
        runs_in: the venv whose interpreter runs it; ``None``: this program's own.
        needs: distributions that it needs in this program's own environment.
        calls: a venv that it starts programs of.
    """

    module: str
    runs_in: str | None = None
    needs: tuple[str, ...] = ()
    calls: str | None = None


SYSTEMS: Mapping[str, Listed] = {
    OURS: Listed(module="benchmarks.latency.systems.touchstone_station"),
    BASELINE: Listed(module="benchmarks.latency.systems.naive_station", needs=("onnxruntime", "pillow")),
    "openvino-nncf": Listed(module="benchmarks.latency.systems.openvino_nncf", needs=("openvino", "nncf")),
    "optimum": Listed(module="benchmarks.latency.systems.optimum_station", needs=("optimum-onnx", "pillow")),
    "olive": Listed(module="benchmarks.latency.systems.olive_station", needs=("pillow",), calls="olive"),
    "roboflow": Listed(module="benchmarks.latency.systems.roboflow_station", runs_in="roboflow"),
}


def command_of(name: str, peers: Path) -> list[str]:
    """Return the command that runs a system, but for its one argument, the ``Setup`` as JSON; run it in ``REPOSITORY``.

    Args:
        name: of ``SYSTEMS``.
        peers: the folder of the venvs.
    """
    listed = SYSTEMS[name]
    python = str(interpreter_of(listed.runs_in, peers)) if listed.runs_in else sys.executable
    return [python, "-m", listed.module]


def absence_of(name: str, peers: Path) -> str | None:
    """Say in one sentence why a system cannot be started here; ``None`` where it can."""
    listed = SYSTEMS[name]
    for needed in listed.needs:
        try:
            version(needed)
        except PackageNotFoundError:
            return f"{needed} is not installed; install the project with its extra 'dev'"
    for venv in (listed.runs_in, listed.calls):
        if venv and not (peers / venv / INSTALLED).is_file():
            return f"its venv {venv!r} was not made, or does not install here; run scripts/bench-peers"
    return None


INSTALLED = "touchstone-installed"
"""Lies in a venv when everything was installed into it, and holds the requirements that it was made from."""


def interpreter_of(venv: str, peers: Path) -> Path:
    """Return the interpreter of a peer's venv."""
    return peers / venv / "bin" / "python"
