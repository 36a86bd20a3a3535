"""An engine on a machine that also runs a camera and a page: what it takes while nobody asks it anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backends import onnxruntime, openvino

REPOSITORY = Path(__file__).parents[2]
ENGINES = ("onnxruntime", "openvino")
SWITCHES_REPORTERS_OFF = ("ORT_DISABLE_TELEMETRY", "CI")  # it is ours to do that
WIDE = 512  # wide enough to be divided over threads

CHILD = """
import glob, json, sys, time
from pathlib import Path
import numpy as np
from runtime.engine import load_network

def busy_s(for_s):
    before = time.process_time()
    time.sleep(for_s)
    return time.process_time() - before

network = load_network(sys.argv[1], Path(sys.argv[2]), 2)
rows = np.ones((256, 512), np.float32)
for _ in range(20):
    network.run(rows)
after_a_run_s = busy_s(0.2)
idle_s = busy_s(2)
masks = [
    next(line.split()[1] for line in Path(task, "status").read_text().splitlines() if line.startswith("Cpus_allowed:"))
    for task in glob.glob("/proc/self/task/*")
]
seen = {"after_a_run_s": after_a_run_s, "idle_s": idle_s, "threads": len(masks), "masks": sorted(set(masks))}
print(json.dumps(seen))
"""

Seen = Mapping[str, Any]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``rows`` float32 (N, 512) through four square layers."""
    draw = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(draw.normal(0, 0.04, (WIDE, WIDE)).astype(np.float32), f"w{i}") for i in range(4)
    ]
    names = ["rows", "a", "b", "c", "logits"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(4)]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDE])] for name in ("rows", "logits")
    )
    graph = helper.make_graph(nodes, "wide", inputs, outputs, weights)
    path = tmp_path_factory.mktemp("wide") / "wide.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def seen(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Seen]:
    """What a process of its own saw of each engine, both at the same time; each in an empty folder."""
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES_REPORTERS_OFF}
    environment["PYTHONPATH"] = str(REPOSITORY)
    folders = {engine: tmp_path_factory.mktemp(engine) for engine in ENGINES}
    children = {
        engine: subprocess.Popen(
            [sys.executable, "-c", CHILD, engine, str(network)],
            cwd=folder,
            env={**environment, "HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for engine, folder in folders.items()
    }
    outputs = {engine: child.communicate(timeout=120)[0] for engine, child in children.items()}
    assert [child.returncode for child in children.values()] == [0, 0]
    return {
        engine: {**json.loads(output), "files": [str(one) for one in folders[engine].rglob("*")]}
        for engine, output in outputs.items()
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_an_idle_network_uses_under_one_percent_of_a_core(seen: Mapping[str, Seen], engine: str) -> None:
    assert seen[engine]["idle_s"] < 0.01 * 2


@pytest.mark.parametrize("engine", ENGINES)
def test_no_thread_goes_on_spinning_after_a_run(seen: Mapping[str, Seen], engine: str) -> None:
    assert seen[engine]["threads"] > 1  # there are threads that could
    assert seen[engine]["after_a_run_s"] < 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_no_thread_of_an_engine_is_bound_to_a_core(seen: Mapping[str, Seen], engine: str) -> None:
    assert len(seen[engine]["masks"]) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_leaves_nothing_on_disk_not_even_an_id_to_call_home_with(
    seen: Mapping[str, Seen], engine: str
) -> None:
    assert seen[engine]["files"] == []


def test_onnx_runtime_keeps_one_arena_and_plans_no_block_for_every_batch_size() -> None:
    options = onnxruntime.session_options(2)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


def test_openvino_compiles_one_stream_for_latency(network: Path) -> None:
    compiled = openvino.load(network, 2).compiled
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("PERFORMANCE_HINT") == "LATENCY"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
