"""A listing model for tiny bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.contracts.bundle import FileEntry, Fusion, ListingModel, read_manifest
from runtime.contracts.codec import canonical_json


def give_trees(bundle: Path) -> Path:
    """Add a listing model to a bundle, and a listing to its golden sample: P(fraud) = sigmoid(price + age)."""
    nodes = [helper.make_node("MatMul", ["rows", "ones"], ["logit"])]
    graph = helper.make_graph(
        nodes,
        "listing",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.ones((2, 1), np.float32), "ones")],
    )
    file = bundle / "listing.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    manifest = read_manifest((bundle / "manifest.json").read_bytes())
    entry = FileEntry(path=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest(), size=file.stat().st_size)
    trees = ListingModel(
        file=file.name, features=("price", "age"), fusion=Fusion(bias=0, weights={"listing": 1}), uncertain_from=0.5
    )
    golden: Sequence[Any] = [replace(one, listing={"price": 1.0, "age": None}) for one in manifest.golden]
    changed = replace(manifest, listing=trees, golden=tuple(golden), files=(*manifest.files, entry))
    (bundle / "manifest.json").write_bytes(canonical_json(changed))
    return bundle
