"""Fixtures that every package's tests share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backends.telemetry import keep_home
from runtime.bundle_store import Bundle
from runtime.contracts.bundle import (
    ANY_VIEW,
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
from runtime.inspector import Inspector

keep_home()
SHARED_DATA = Path(os.environ.get("TOUCHSTONE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def make_photo(red: int, size: tuple[int, int] = (96, 128), seed: int = 0) -> bytes:
    """A JPEG of noise whose red channel has the given mean."""
    pixels = np.random.default_rng(seed).integers(0, 60, (*size, 3), dtype=np.uint8)
    pixels[..., 2] = np.clip(pixels[..., 2].astype(int) - 30 + red, 0, 255)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def _network(path: Path, columns: int) -> None:
    """uint8 (N, 32, 32, 3) -> logits (N, columns) = (mean red - 128) / 16."""
    weight = np.zeros((3, columns), np.float32)
    weight[0] = 1 / 16
    nodes = [
        helper.make_node("Cast", ["photo"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["s"]),
        helper.make_node("Add", ["s", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", columns])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.full(columns, -8, np.float32), "b"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def build_tiny_bundle(
    folder: Path, *, name: str = "tiny", views: Sequence[str] = ("logo", "stitching"), bias: float = 0.0
) -> Path:
    """A real, small bundle: red photos score counterfeit, dark ones genuine."""
    (folder / "golden").mkdir(parents=True)
    _network(folder / "model.onnx", len(views))
    (folder / "evidence.json").write_bytes(b"{}")
    shown = ["any"] if tuple(views) == (ANY_VIEW,) else list(views)
    for view in shown:
        (folder / "golden" / f"{view}.jpg").write_bytes(make_photo(120))
    photos = {view: (f"golden/{view}.jpg",) for view in shown}

    def manifest(p: float) -> BundleManifest:
        return BundleManifest(
            manifest=1,
            name=name,
            created_at="2026-11-23T00:00:00Z",
            input=InputSpec(px=32),
            views=tuple(views),
            variants=(
                Variant(
                    name="ort-cpu-float32",
                    engine="onnxruntime",
                    precision="float32",
                    file="model.onnx",
                    isa=(),
                    fusion=Fusion(bias=bias, weights={view: 1.0 / len(views) for view in views}),
                    thresholds=Thresholds(authentic_below=0.2, suspect_from=0.9),
                ),
            ),
            preferred="ort-cpu-float32",
            listing=None,
            golden=(Golden(photos=photos, listing=None, p_counterfeit={"ort-cpu-float32": p}, p_fraud=None),),
            golden_tolerance=0.02,
            evidence="evidence.json",
            files=tuple(
                FileEntry(
                    path=str(path.relative_to(folder)),
                    sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                    size=path.stat().st_size,
                )
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            ),
            provenance={},
        )

    draft = manifest(0.5)
    inspector = Inspector.open(Bundle(folder=folder, manifest=draft, bundle_id=bundle_id_of(b"")))
    data = {view: [(folder / path).read_bytes() for path in paths] for view, paths in photos.items()}
    p = inspector.inspect(data, None).prediction.p_counterfeit
    assert p is not None
    (folder / "manifest.json").write_bytes(canonical_json(manifest(p)))
    return folder


@pytest.fixture
def tiny_bundle() -> Callable[..., Path]:
    """``tiny_bundle(folder, name="tiny", views=("logo", "stitching"), bias=0.0)`` makes a real small bundle there."""
    return build_tiny_bundle


@pytest.fixture
def photo_of() -> Callable[..., bytes]:
    """``photo_of(red)`` makes a JPEG; red below about 100 scores genuine, above about 170 counterfeit."""
    return make_photo


@pytest.fixture(scope="session")
def banknotes() -> Path:
    """The real photos, or a skip that says where they are looked for."""
    folder = SHARED_DATA / "banknotes"
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}; set TOUCHSTONE_DATA")
    return folder
