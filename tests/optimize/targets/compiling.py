"""Compiling in the test's own process or in another, and what the results say on photos."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optimize.agreement import open_session, run_all
from optimize.targets.target import Compiled, Inputs, Plan, Target
from runtime.contracts.codec import canonical_json, encode

_ELSEWHERE = """
import json, sys
from pathlib import Path
from optimize.samples import Samples
from optimize.targets.target import Inputs, Plan, load_target
from runtime.contracts.codec import decode
request = json.load(sys.stdin)
target = load_target(request["target"])
slot = next(one for one in target.SLOTS if one.name == request["plan"]["slot"])
samples = Samples(**{**request["samples"], "folder": Path(request["samples"]["folder"])})
inputs = Inputs(network=Path(request["network"]), ranges=Path(request["ranges"]), samples=samples)
target.compile(slot, decode(Plan, request["plan"], "plan"), inputs, Path(request["folder"]))
"""


def compiled(target: Target, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:
    """Compile a plan into a new folder."""
    folder.mkdir(parents=True)
    return target.compile(next(slot for slot in target.SLOTS if slot.name == plan.slot), plan, inputs, folder)


def compiled_elsewhere(target: str, plan: Plan, inputs: Inputs, folder: Path, hash_seed: int) -> dict[str, str]:
    """Compile a plan in a process with another hash seed and return the SHA-256 of every file by its name."""
    folder.mkdir(parents=True)
    samples = {"folder": str(inputs.samples.folder), "feeds": inputs.samples.feeds, "rows": inputs.samples.rows}
    request = {
        "target": target,
        "plan": json.loads(canonical_json(encode(plan))),
        "network": str(inputs.network),
        "ranges": str(inputs.ranges),
        "samples": {**samples, "digest": inputs.samples.digest},
        "folder": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        input=json.dumps(request),
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
    )
    assert done.returncode == 0, done.stderr
    return digests(folder)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def embeddings(file: Path, inputs: Inputs, feeds: int = 1) -> npt.NDArray[np.float64]:
    """Run photos through a network, ``float64 (N, 1280)``."""
    session = open_session(file)
    found = [next(iter(run_all(session, feed).values())) for feed in inputs.samples.read(feeds)]
    return np.concatenate(found).astype(np.float64)


def least_cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Return the least cosine of two arrays' rows."""
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())
