"""Olive's ``OnnxStaticQuantization`` with its defaults, in a venv of its own that is made when it is first wanted.

Olive is never imported here: a child process leaves an ONNX file, and what runs is that file in our ONNX Runtime.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer_systems.ort_session import OrtRunning
from benchmarks.peer_systems.system import Job, Product, Running, product_of
from runtime.contracts.errors import Unsupported

_REQUIREMENTS = Path(__file__).parents[1] / "peer_venvs" / "olive.txt"
_PROGRAM = Path(__file__).with_name("olive_program.py")


def compile_network(job: Job) -> Product:
    """Run Olive.

    Raises:
        Unsupported: it does not install, or failed; the message is the child's last line.
    """
    python = _venv(job.venvs / "olive")
    _run([str(python), str(_PROGRAM), str(job.network), str(job.calibration), str(job.folder)])
    return product_of(job.folder / "model" / "model.onnx", "OnnxStaticQuantization, defaults")


def load(product: Product, job: Job) -> Running:
    """Load the file."""
    return OrtRunning(product.path, job)


def _venv(folder: Path) -> Path:
    """Return the venv's interpreter; make the venv where it is missing or its requirements changed."""
    python, stamp = folder / "bin" / "python", folder / "touchstone-installed"
    wanted = _REQUIREMENTS.read_text()
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(_REQUIREMENTS)])
        stamp.write_text(wanted)
    return python


def _run(command: Sequence[str]) -> None:
    environment = {**os.environ, "OLIVE_DISABLE_TELEMETRY": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        told = next(iter(done.stderr.strip().splitlines()[-1:]), "it said nothing")
        raise Unsupported(f"olive: {Path(command[0]).name} {command[1]} failed with {done.returncode}: {told}")
