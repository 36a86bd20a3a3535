from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.bundle import BundleManifest, Fusion, ListingModel, Variant
from runtime.contracts.errors import Unsupported
from runtime.engine import (
    BACKENDS,
    LIBRARIES,
    cannot_run,
    choose_variant,
    cpu_flags,
    in_order,
    load_network,
    missing_isa,
)
from runtime.inspector import Inspector, disagreements

MakeBundle = Callable[..., Path]
MakePhoto = Callable[..., bytes]

VNNI = "avx512_vnni|avx_vnni"


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: MakeBundle) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path / "bundle"))


def with_variants(bundle: Bundle, needs: dict[str, tuple[str, ...]], preferred: str) -> BundleManifest:
    (known,) = bundle.manifest.variants
    variants = tuple(dataclasses.replace(known, name=name, isa=isa) for name, isa in needs.items())
    return dataclasses.replace(bundle.manifest, variants=variants, preferred=preferred)


def test_the_preferred_variant_runs_where_the_cpu_can(bundle: Bundle) -> None:
    manifest = with_variants(bundle, {"float": (), "int8": (VNNI,)}, "int8")
    assert choose_variant(manifest, None, frozenset({"avx_vnni"})).name == "int8"


def test_another_cpu_falls_back_to_what_it_can_run(bundle: Bundle) -> None:
    manifest = with_variants(bundle, {"float": (), "int8": (VNNI,)}, "int8")
    assert choose_variant(manifest, None, frozenset({"avx2"})).name == "float"


def test_a_variant_of_an_unknown_engine_is_passed_over(bundle: Bundle) -> None:
    manifest = with_variants(bundle, {"float": (), "npu": ()}, "npu")
    npu = dataclasses.replace(manifest.variants[1], engine="npu-of-2031")
    assert choose_variant(
        dataclasses.replace(manifest, variants=(manifest.variants[0], npu)), None, frozenset()
    ).name == ("float")


@pytest.mark.parametrize(
    ("changes", "why_not"),
    [
        ({}, None),
        ({"isa": ("avx2", VNNI)}, f"this CPU lacks {VNNI}"),
        ({"isa": (VNNI, "amx_int8")}, f"this CPU lacks {VNNI}, amx_int8"),
        ({"engine": "abacus"}, "engine abacus is not installed"),
        ({"engine": "npu-of-2031"}, "this program does not know the engine npu-of-2031"),
    ],
)
def test_a_device_says_why_it_cannot_run_a_variant(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], why_not: str | None
) -> None:
    for table in (BACKENDS, LIBRARIES):
        monkeypatch.setitem(table, "abacus", "abacus")  # type: ignore[arg-type]
    variant = dataclasses.replace(bundle.manifest.variants[0], **changes)
    assert cannot_run(variant, frozenset({"avx2"})) == why_not


def test_the_preferred_variant_is_tried_first_and_what_nobody_ran_last(bundle: Bundle) -> None:
    manifest = with_variants(bundle, {"a": (), "b": (), "c": (), "d": ()}, "c")
    unverified = dataclasses.replace(manifest.variants[0], execution="unverified")
    manifest = dataclasses.replace(manifest, variants=(unverified, *manifest.variants[1:]))
    assert [variant.name for variant in in_order(manifest)] == ["c", "b", "d", "a"]


def test_the_wanted_variant_is_taken_or_refused_by_name(bundle: Bundle) -> None:
    manifest = with_variants(bundle, {"float": (), "int8": (VNNI,)}, "int8")
    assert choose_variant(manifest, "float", frozenset({"avx_vnni"})).name == "float"
    with pytest.raises(Unsupported, match="variant 'bf16': the bundle has float, int8"):
        choose_variant(manifest, "bf16", frozenset())


def test_a_cpu_that_runs_nothing_of_a_bundle_is_told_so(bundle: Bundle) -> None:
    with pytest.raises(Unsupported, match="no variant of int8 runs on this device"):
        choose_variant(with_variants(bundle, {"int8": (VNNI,)}, "int8"), None, frozenset({"avx2"}))


@pytest.mark.parametrize(
    ("isa", "flags", "missing"),
    [
        ((), (), ()),
        (("avx2",), ("avx2",), ()),
        (("avx2",), ("avx",), ("avx2",)),
        ((VNNI,), ("avx_vnni",), ()),
        ((VNNI,), ("avx512_vnni",), ()),
        ((VNNI,), ("avx512",), (VNNI,)),
        (("avx2", VNNI, "amx_int8"), ("avx2", "avx_vnni"), ("amx_int8",)),
    ],
)
def test_a_bar_between_two_instruction_sets_asks_for_either(
    bundle: Bundle, isa: tuple[str, ...], flags: Sequence[str], missing: tuple[str, ...]
) -> None:
    variant: Variant = dataclasses.replace(bundle.manifest.variants[0], isa=isa)
    assert missing_isa(variant, frozenset(flags)) == missing


def test_an_asked_for_variant_that_this_cpu_cannot_run_is_not_loaded(bundle: Bundle) -> None:
    manifest = with_variants(bundle, {"int8": ("no_such_flag|nor_this",)}, "int8")
    with pytest.raises(Unsupported, match=r"certified on no_such_flag\|nor_this, which this CPU lacks"):
        Inspector.open(dataclasses.replace(bundle, manifest=manifest), variant="int8")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\nbugs\t\t: spectre\n\nprocessor\t: 1\nflags\t\t: fpu\n", 3),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm\n", 3),
        ("processor\t: 0\nmodel name\t: a CPU\n", 0),
        ("", 0),
    ],
)
def test_cpu_flags_are_read_as_linux_writes_them(tmp_path: Path, text: str, flags: int) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found = cpu_flags(tmp_path / "cpuinfo")
    assert len(found) == flags
    assert found <= {"fpu", "avx2", "avx_vnni", "fp", "asimd", "i8mm"}


def test_a_system_that_does_not_say_has_no_flags(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "nothing") == frozenset()


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 40])
def test_a_file_that_is_not_onnx_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(Unsupported, match=r"network model\.onnx: ONNX Runtime refuses it"):
        load_network("onnxruntime", tmp_path / "model.onnx", 1)


def test_an_unknown_engine_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="engine 'abacus': this program knows onnxruntime"):
        load_network("abacus", tmp_path / "model.onnx", 1)


def test_a_network_runs_from_several_threads_at_once(bundle: Bundle) -> None:
    network = load_network("onnxruntime", bundle.path("model.onnx"), 1)
    batches = [np.full((2, 32, 32, 3), red, np.uint8) for red in range(0, 240, 8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(network.run, batches))
    for batch, logits in zip(batches, together, strict=True):
        assert logits.dtype == np.float32
        assert logits == pytest.approx(np.full((2, 2), (float(batch[0, 0, 0, 0]) - 128) / 16))


def save_network(path: Path, shape: list[str | int], weight: float, bias: float, columns: int = 2) -> None:
    """uint8 ``shape`` -> logits (N, columns), all ``weight * mean + bias``."""
    axes = list(range(1, len(shape)))
    nodes = [
        helper.make_node("Cast", ["photo"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "weight"], ["s"]),
        helper.make_node("Add", ["s", "bias"], ["t"]),
        helper.make_node("Unsqueeze", ["t", "last"], ["u"]),
        helper.make_node("Tile", ["u", "times"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes),
        helper.make_tensor("weight", TensorProto.FLOAT, [], [weight]),
        helper.make_tensor("bias", TensorProto.FLOAT, [], [bias]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        helper.make_tensor("times", TensorProto.INT64, [2], [1, columns]),
    ]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", columns])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.mark.parametrize(("weight", "bias"), [(0.0, np.nan), (np.inf, 0.0), (-np.inf, 0.0), (0.0, -np.inf)])
def test_a_model_that_gives_nan_or_infinity_sends_everything_to_an_expert(
    bundle: Bundle, photo_of: MakePhoto, weight: float, bias: float
) -> None:
    save_network(bundle.path("model.onnx"), ["N", 32, 32, 3], weight, bias)
    inspector = Inspector.open(bundle)
    photo = photo_of(60)
    inspection = inspector.inspect({"logo": [photo], "stitching": [photo]}, None)
    assert inspection.verdict == "uncertain"
    assert [reason.code for reason in inspection.reasons] == ["no_score"]
    assert inspection.prediction.p_counterfeit is None
    assert inspection.logits == {"logo": (None,), "stitching": (None,)}  # JSON has no NaN, and the case must be kept
    assert "P(counterfeit) is None" in disagreements(inspector)[0]


def test_a_network_that_does_not_eat_photos_is_refused_when_it_is_opened(bundle: Bundle) -> None:
    save_network(bundle.path("model.onnx"), ["N", 3, 32, 32], 1.0, 0.0)
    with pytest.raises(Unsupported, match=r"cannot run photo uint8 \(1, 32, 32, 3\)"):
        Inspector.open(bundle)


def test_a_network_with_other_columns_than_views_is_refused_when_it_is_opened(bundle: Bundle) -> None:
    save_network(bundle.path("model.onnx"), ["N", 32, 32, 3], 1.0, 0.0, columns=5)
    with pytest.raises(Unsupported, match=r"expected logits \(1, 2\), got \(1, 5\)"):
        Inspector.open(bundle)


def test_a_listing_network_that_does_not_eat_its_features_is_refused_when_it_is_opened(bundle: Bundle) -> None:
    listing = ListingModel(
        file="model.onnx",
        features=("price_ratio", "seller_items"),
        fusion=Fusion(bias=0.0, weights={"listing": 1.0}),
        uncertain_from=0.5,
    )
    with pytest.raises(Unsupported, match=r"cannot run photo float32 \(1, 2\)"):
        Inspector.open(dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, listing=listing)))
