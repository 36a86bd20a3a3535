"""Pages: INT8 and FP16 ONNX for onnxruntime-web, each run once under Node to prove that it loads and agrees.

Not timed in a browser. WebAssembly runs unsigned activations in integers, with signed or unsigned weights, and leaves
much of a network with signed activations in float. Of the two that run, U8U8 ships: with the weights' zero at 128 they
are the integers of signed ones, and no CPU saturates on them, so that what is judged here is what a page gives. FP16
halves the download; WebAssembly computes it in float, and WebGPU, which computes in halves, is not run here.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from optimize.agreement import Outputs, disagreements, first_rows, open_session, run_all
from optimize.half import to_half
from optimize.kernels import NEEDED_COVERAGE, optimised
from optimize.onnx_bytes import save_onnx
from optimize.quantize import QdqStyle, quantize_plan
from optimize.samples import Feed
from optimize.targets.target import Compiled, Inputs, Plan, Slot
from optimize.unsigned import to_unsigned
from runtime.contracts.errors import Unsupported

ENGINE = "onnxruntime-web"
JUDGED_ENGINE = "onnxruntime"
INT8, HALF = "web-int8", "web-fp16"

SLOTS = (
    Slot(name=HALF, engine=ENGINE, precision="fp16", baseline=None, execution="untimed"),
    Slot(
        name=INT8,
        engine=ENGINE,
        precision="int8",
        baseline=None,
        calibrations=("minmax", "percentile", "entropy"),
        excludable=True,
        execution="untimed",
    ),
)

OLDEST_NODE = 18
TIME_LIMIT_S = 120.0

_FOLDER = Path(__file__).parent / "web_check"
_INTEGER_KERNEL = re.compile(r"QLinear(Conv|MatMul)|QGemm|.*Integer.*")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRun:
    """One run under Node: outputs by name, kernels that ran by operator, and its milliseconds (of Node, not a page)."""

    outputs: Outputs
    kernels: Mapping[str, int]
    run_ms: float


def require() -> None:
    """Need Node and the pinned onnxruntime-web beside this file.

    Raises:
        Unsupported: one of them is missing; the message has the command.
    """
    node = shutil.which("node")
    if node is None:
        raise Unsupported(f"target web: expected Node {OLDEST_NODE} or newer, found none; install it from your system")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=TIME_LIMIT_S).stdout.strip()
    version = re.match(r"v(\d+)\.", said)
    if version is None or int(version[1]) < OLDEST_NODE:
        raise Unsupported(f"target web: expected Node {OLDEST_NODE} or newer, got {said or 'no version'}; update it")
    wanted = json.loads((_FOLDER / "package.json").read_text())["dependencies"][ENGINE]
    installed = _FOLDER / "node_modules" / ENGINE / "package.json"
    got = json.loads(installed.read_text())["version"] if installed.is_file() else "none"
    if got != wanted:
        raise Unsupported(f"target web: expected {ENGINE} {wanted}, got {got}; run: npm ci --prefix {_FOLDER}")


def unavailable(slot: Slot) -> str | None:
    """Tell that every machine can judge both: no CPU saturates on what ships."""
    return None


def compile(slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:  # noqa: A001 - the port's word
    """Quantise, or halve.

    Raises:
        Unsupported: the quantiser or the converter refuses the network.
    """
    file = folder / f"{slot.name}.onnx"
    if slot.name == HALF:
        save_onnx(to_half(onnx.load(inputs.network), keep_float=inputs.keep_float), file)
    else:
        save_onnx(to_unsigned(quantize_plan(inputs, plan, QdqStyle(activation="uint8"))), file)
    return Compiled(file=file, judged_engine=JUDGED_ENGINE, judged_file=file)


def check(slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
    """Run the file once under Node: it must load, agree with what was judged, and run in integers what was meant to."""
    try:
        judged = open_session(compiled.judged_file)
        rows = first_rows(inputs.samples, judged)
        expected = run_all(judged, rows)
        found = run_as_a_page(compiled.file, rows)
    except Unsupported as error:
        return [f"web: {error}"]
    _log.info("%s: %.0f ms for one run under Node, one thread; says nothing of a browser", slot.name, found.run_ms)
    refusals = disagreements(found.outputs, expected, f"{slot.name} in {ENGINE}")
    if slot.precision == "int8":
        meant = _integers(Counter(node.op_type for node in optimised(compiled.judged_file).graph.node))
        ran = _integers(found.kernels)
        if ran < NEEDED_COVERAGE * meant:
            refusals.append(f"fusion: {ENGINE} ran {ran} integer kernels of {meant}; the others would run in float")
    return refusals


def run_as_a_page(file: Path, feed: Feed) -> PageRun:
    """Run a network once under Node, in WebAssembly with one thread.

    Args:
        file: ONNX.
        feed: what it eats.

    Raises:
        Unsupported: it does not load, does not run, or hangs; the message says which.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = [_written(folder / f"{number}.bin", key, feed[key]) for number, key in enumerate(sorted(feed))]
        request = {"model": str(file.resolve()), "answer": str(folder / "answer.json"), "inputs": inputs}
        try:
            done = subprocess.run(
                ["node", "check.mjs"],
                cwd=_FOLDER,
                input=json.dumps(request),
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise Unsupported(f"{file.name}: {ENGINE} gave no answer within {TIME_LIMIT_S:g} s") from error
        if done.returncode or not (folder / "answer.json").is_file():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise Unsupported(f"{file.name}: {ENGINE} stopped under Node: {last[:300]}")
        answer = json.loads((folder / "answer.json").read_text())
    if "error" in answer:
        raise Unsupported(f"{file.name}: {ENGINE} refuses it: {' '.join(answer['error'].split())[:300]}")
    outputs = {
        one["name"]: np.frombuffer(base64.b64decode(one["base64"]), np.dtype(one["dtype"])).reshape(one["shape"])
        for one in answer["outputs"]
    }
    return PageRun(outputs=outputs, kernels=_ran(done.stdout), run_ms=answer["run_ms"])


def _written(path: Path, name: str, array: npt.NDArray[np.generic]) -> dict[str, object]:
    array.astype(array.dtype.newbyteorder("<")).tofile(path)
    return {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "file": str(path)}


def _ran(profile: str) -> Counter[str]:
    """Count the kernels of the engine's profile, each node once however often a loop ran it."""
    try:
        events = json.loads(profile)
    except ValueError as error:
        raise Unsupported(f"{ENGINE}: its profile cannot be read ({error}); no kernel is proved") from error
    ran = {event["name"]: event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time")}
    return Counter(ran.values())


def _integers(kinds: Mapping[str, int]) -> int:
    return sum(count for kind, count in kinds.items() if _INTEGER_KERNEL.fullmatch(kind))
