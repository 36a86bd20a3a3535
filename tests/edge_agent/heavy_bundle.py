"""Tiny bundles with real weight in their network, so that what travels can be counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from runtime.bundle_store import open_bundle
from runtime.contracts.bundle import Thresholds, read_manifest
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex

WEIGHTS_BYTES = 1 << 20
HEAD_BYTES = 1 << 12


def make_heavy(folder: Path, *, backbone: int = 0, head: int = 0, authentic_below: float | None = None) -> Path:
    """Give the tiny bundle in ``folder`` a backbone and a head of random weights, and other thresholds.

    Args:
        folder: the bundle.
        backbone: seed of its weights.
        head: seed of its weights.
        authentic_below: of every variant; ``None``: as it is.
    """
    model = onnx.load(folder / "model.onnx")
    graph = model.graph
    graph.node[-1].output[0] = "before"
    for name, size, seed in (("backbone", WEIGHTS_BYTES, backbone), ("head", HEAD_BYTES, 1000 + head)):
        values = np.random.default_rng(seed).standard_normal(size // 4, dtype=np.float32)
        graph.initializer.append(numpy_helper.from_array(values, name))
        graph.node.append(helper.make_node("ReduceSum", [name], [f"{name}_sum"], keepdims=0))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "none"))
    graph.node.append(helper.make_node("Add", ["backbone_sum", "head_sum"], ["sum"]))
    graph.node.append(helper.make_node("Mul", ["sum", "none"], ["nothing"]))
    graph.node.append(helper.make_node("Add", ["before", "nothing"], ["logits"]))
    onnx.save(model, folder / "model.onnx")
    manifest = read_manifest((folder / "manifest.json").read_bytes())
    data = (folder / "model.onnx").read_bytes()
    files = tuple(
        dataclasses.replace(entry, sha256=sha256_hex(data), size=len(data)) if entry.path == "model.onnx" else entry
        for entry in manifest.files
    )
    variants = manifest.variants
    if authentic_below is not None:
        thresholds = Thresholds(authentic_below=authentic_below, suspect_from=0.9)
        variants = tuple(dataclasses.replace(variant, thresholds=thresholds) for variant in variants)
    made = dataclasses.replace(manifest, files=files, variants=variants)
    (folder / "manifest.json").write_bytes(canonical_json(made))
    open_bundle(folder)
    return folder
