"""Bundles with several variants, and a trial in which one of them takes its process down."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.bundle import FileEntry, Fusion, Thresholds
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex

FLOAT = "ort-cpu-float32"
DISAGREES: Mapping[str, Any] = {"fusion": Fusion(bias=3.0, weights={"logo": 0.5, "stitching": 0.5})}
CONFIRMS_NOTHING: Mapping[str, Any] = {"thresholds": Thresholds(authentic_below=0.0, suspect_from=1.0)}
ISA_ABSENT: Mapping[str, Any] = {"isa": ("no_such_flag|nor_this",)}
SLOW: Mapping[str, Any] = {"file": "slow.onnx"}
NAN: Mapping[str, Any] = {"file": "nan.onnx"}

CRASHING_TRIAL = (
    sys.executable,
    "-c",
    "import json, os, sys\n"
    "from edge_agent.trial import main\n"
    "json.loads(sys.argv[1])['variant'] == 'crashes' and os.kill(os.getpid(), 11)\n"
    "sys.exit(main(sys.argv[1:]))",
)
"""A trial that dies of the variant ``crashes``, and tries every other one for real."""


def give_variants(bundle: Bundle, variants: Mapping[str, Mapping[str, Any]], *, preferred: str) -> Bundle:
    """Rewrite a tiny bundle: its one variant under these names, each with its changes; its folder gets its new name.

    Args:
        bundle: tiny, in the folder that its id names.
        variants: name to what differs from the bundle's own variant.
        preferred: one of the names.
    """
    manifest, folder = bundle.manifest, bundle.folder
    (known,) = manifest.variants
    (golden,) = manifest.golden
    made = tuple(dataclasses.replace(known, name=name, **changes) for name, changes in variants.items())
    files = list(manifest.files)
    for name in {variant.file for variant in made} - {known.file}:
        _network(folder / known.file, folder / name, nan=name == NAN["file"])
        data = (folder / name).read_bytes()
        files.append(FileEntry(path=name, sha256=sha256_hex(data), size=len(data)))
    p = golden.p_counterfeit[known.name]
    (folder / "manifest.json").write_bytes(
        canonical_json(
            dataclasses.replace(
                manifest,
                variants=made,
                preferred=preferred,
                golden=(dataclasses.replace(golden, p_counterfeit=dict.fromkeys(variants, p)),),
                files=tuple(files),
            )
        )
    )
    return open_bundle(folder.rename(folder.with_name(open_bundle(folder).bundle_id)))


def _network(plain: Path, path: Path, *, nan: bool) -> None:
    """Save the tiny network with NaN added to its logits, or with zero after some 10 ms of idle multiplications."""
    model = onnx.load(plain)
    graph = model.graph
    graph.node[-1].output[0] = "before"
    if nan:
        graph.initializer.append(numpy_helper.from_array(np.array(np.nan, np.float32), "extra"))
    else:
        idle = np.full((768, 768), 1e-9, np.float32)
        graph.initializer.append(numpy_helper.from_array(idle, "idle"))
        graph.initializer.append(numpy_helper.from_array(idle[:3], "widen"))
        graph.initializer.append(numpy_helper.from_array(idle[:, :1] * 0, "narrow"))
        graph.node.append(helper.make_node("MatMul", ["m", "widen"], ["idle0"]))
        for step in range(60):
            graph.node.append(helper.make_node("MatMul", [f"idle{step}", "idle"], [f"idle{step + 1}"]))
        graph.node.append(helper.make_node("MatMul", ["idle60", "narrow"], ["extra"]))
    graph.node.append(helper.make_node("Add", ["before", "extra"], ["logits"]))
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(model, path)
