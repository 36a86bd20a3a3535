"""A real bundle that costs nothing to run, and photos that it is sure or unsure of: the red of a photo decides.

Only its accuracy is a toy: manifest, engine, golden samples and thresholds are what every bundle has.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle_store import Bundle
from runtime.contracts.bundle import (
    BundleManifest,
    FileEntry,
    Fusion,
    Golden,
    InputSpec,
    Thresholds,
    Variant,
    bundle_id_of,
)
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex
from runtime.inspector import Inspector

VIEWS = ("logo", "stitching")
VARIANT = "ort-cpu-float32"
Mood = Literal["case", "confident"]
_RED: dict[Mood, int] = {"case": 145, "confident": 20}
_GOLDEN = {view: f"golden/{view}.jpg" for view in VIEWS}


def photo_of(mood: Mood, seed: int) -> bytes:
    """Return a small JPEG of noise that the model is unsure of (a case), or confident."""
    pixels = np.random.default_rng(seed).integers(0, 60, (96, 128, 3), dtype=np.uint8)
    pixels[..., 2] = np.clip(pixels[..., 2].astype(int) - 30 + _RED[mood], 0, 255)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def make_bundle(folder: Path, *, bias: float, now: datetime) -> Path:
    """Make a bundle in ``folder``; another ``bias`` makes another one."""
    (folder / "golden").mkdir(parents=True)
    onnx.save(_network(), folder / "model.onnx")
    (folder / "evidence.json").write_bytes(b"{}")
    for number, path in enumerate(_GOLDEN.values()):
        (folder / path).write_bytes(photo_of("case", number))
    draft = _manifest(folder, bias, now)
    inspector = Inspector.open(Bundle(folder=folder, manifest=draft, bundle_id=bundle_id_of(b"")))
    photos = {view: [(folder / path).read_bytes()] for view, path in _GOLDEN.items()}
    p = inspector.inspect(photos, None).prediction.p_counterfeit
    assert p is not None
    golden = replace(draft.golden[0], p_counterfeit={VARIANT: p})
    (folder / "manifest.json").write_bytes(canonical_json(replace(draft, golden=(golden,))))
    return folder


def _manifest(folder: Path, bias: float, now: datetime) -> BundleManifest:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [(str(path.relative_to(folder)), path.read_bytes()) for path in paths]
    shown = {view: (path,) for view, path in _GOLDEN.items()}
    variant = Variant(
        name=VARIANT,
        engine="onnxruntime",
        precision="float32",
        file="model.onnx",
        isa=(),
        fusion=Fusion(bias=bias, weights={view: 1.0 / len(VIEWS) for view in VIEWS}),
        thresholds=Thresholds(authentic_below=0.2, suspect_from=0.9),
    )
    return BundleManifest(
        manifest=1,
        name="tiny",
        created_at=now.isoformat(timespec="seconds"),
        input=InputSpec(px=32),
        views=VIEWS,
        variants=(variant,),
        preferred=VARIANT,
        listing=None,
        golden=(Golden(photos=shown, listing=None, p_counterfeit={VARIANT: 0.5}, p_fraud=None),),
        golden_tolerance=0.02,
        evidence="evidence.json",
        files=tuple(FileEntry(path=path, sha256=sha256_hex(data), size=len(data)) for path, data in files),
        provenance={},
    )


def _network() -> onnx.ModelProto:
    """uint8 (N, 32, 32, 3) -> logits (N, views) = (mean red - 128) / 16."""
    weight = np.zeros((3, len(VIEWS)), np.float32)
    weight[0] = 1 / 16
    nodes = [
        helper.make_node("Cast", ["photo"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["s"]),
        helper.make_node("Add", ["s", "b"], ["logits"]),
    ]
    constants: dict[str, np.ndarray] = {
        "axes": np.array([1, 2], np.int64),
        "w": weight,
        "b": np.full(len(VIEWS), -8, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(VIEWS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
