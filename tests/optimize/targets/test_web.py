"""What a page loads, run with the page's own engine under Node."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimize.agreement import open_session
from optimize.kernels import kernels
from optimize.onnx_bytes import save_onnx
from optimize.quantize import QdqStyle, quantize
from optimize.targets import web
from optimize.targets.target import Compiled, Inputs, Plan, Slot, load_target
from runtime.contracts.errors import Unsupported
from tests.optimize.targets.compiling import compiled, compiled_elsewhere, digests, embeddings, least_cosine

TARGET = load_target("web")
SLOTS: Mapping[str, Slot] = {slot.name: slot for slot in web.SLOTS}
PLANS = {web.HALF: Plan(slot=web.HALF), web.INT8: Plan(slot=web.INT8, calibration="minmax")}
CHECK = Path(web.__file__).parent / "web_check"


def _missing() -> str | None:
    try:
        web.require()
    except Unsupported as error:
        return str(error)
    return None


needs_node = pytest.mark.skipif(_missing() is not None, reason=str(_missing()))


@pytest.fixture(scope="module")
def made(backbone: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    folder = tmp_path_factory.mktemp("web")
    return {name: compiled(TARGET, plan, backbone, folder / name) for name, plan in PLANS.items()}


def scaled(path: Path, out: Path) -> Path:
    """Write the same network with the first convolution's weights half as large again."""
    model = onnx.load(path)
    name = next(t.name for t in model.graph.initializer if re.search(r"_conv_stem.weight(_scale)?$", t.name))
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((values * 1.5).astype(values.dtype), name))
    onnx.save(model, out)
    return out


def test_every_machine_can_judge_both_and_none_claims_to_have_timed_them() -> None:
    assert [TARGET.unavailable(slot) for slot in web.SLOTS] == [None, None]
    assert {slot.execution for slot in web.SLOTS} == {"untimed"}


@pytest.mark.parametrize(("name", "least"), [(web.HALF, 0.999), (web.INT8, 0.9)])
def test_the_file_keeps_the_embeddings(made: dict[str, Compiled], backbone: Inputs, name: str, least: float) -> None:
    assert made[name].judged_file == made[name].file
    assert least_cosine(embeddings(made[name].file, backbone), embeddings(backbone.network, backbone)) > least


def test_int8_is_unsigned_throughout_and_runs_in_integers(made: dict[str, Compiled]) -> None:
    kinds = {tensor.data_type for tensor in onnx.load(made[web.INT8].file).graph.initializer}
    assert TensorProto.UINT8 in kinds
    assert TensorProto.INT8 not in kinds
    found = kernels(made[web.INT8].file)
    assert (found.integer, found.floating) == (49, 0)


def test_fp16_halves_the_download_and_keeps_what_a_page_feeds_and_reads(
    made: dict[str, Compiled], backbone: Inputs
) -> None:
    assert made[web.HALF].file.stat().st_size < 0.6 * backbone.network.stat().st_size
    session = open_session(made[web.HALF].file)
    assert [(one.name, one.type) for one in session.get_inputs()] == [("photo", "tensor(uint8)")]
    assert [one.type for one in session.get_outputs()] == ["tensor(float)"]


@needs_node
@pytest.mark.parametrize("name", PLANS)
def test_a_good_file_passes_under_node(made: dict[str, Compiled], backbone: Inputs, name: str) -> None:
    assert TARGET.check(SLOTS[name], made[name], backbone) == []


@needs_node
def test_signed_activations_are_refused_because_a_page_runs_them_in_float(
    made: dict[str, Compiled], backbone: Inputs, tmp_path: Path
) -> None:
    assert backbone.ranges is not None
    style = QdqStyle(activation="int8")
    save_onnx(quantize(backbone.network, backbone.ranges, style, "minmax", ()), tmp_path / "signed.onnx")
    signed = dataclasses.replace(made[web.INT8], file=tmp_path / "signed.onnx")
    refusals = TARGET.check(SLOTS[web.INT8], signed, backbone)
    assert refusals == ["fusion: onnxruntime-web ran 35 integer kernels of 49; the others would run in float"]


@needs_node
def test_a_corrupt_file_is_refused_in_words(made: dict[str, Compiled], backbone: Inputs, tmp_path: Path) -> None:
    (tmp_path / "torn.onnx").write_bytes(made[web.INT8].file.read_bytes()[:5000])
    torn = dataclasses.replace(made[web.INT8], file=tmp_path / "torn.onnx")
    (refusal,) = TARGET.check(SLOTS[web.INT8], torn, backbone)
    assert refusal.startswith("web: torn.onnx: onnxruntime-web refuses it: ")
    assert "protobuf parsing failed" in refusal


@needs_node
def test_a_file_that_differs_from_what_was_judged_is_refused_in_words(
    made: dict[str, Compiled], backbone: Inputs, tmp_path: Path
) -> None:
    changed = dataclasses.replace(made[web.INT8], judged_file=scaled(made[web.INT8].file, tmp_path / "changed.onnx"))
    (refusal,) = TARGET.check(SLOTS[web.INT8], changed, backbone)
    assert refusal.startswith("agreement: output 'embedding' of web-int8 in onnxruntime-web is not what was judged: ")
    assert re.search(r"cosine [\d.]+ \(needs 0\.999\), error [\d.]+% of its length", refusal)


@needs_node
def test_a_page_that_hangs_is_stopped_and_refused(
    made: dict[str, Compiled], backbone: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIME_LIMIT_S", 0.05)
    (refusal,) = TARGET.check(SLOTS[web.INT8], made[web.INT8], backbone)
    assert refusal == "web: web-int8.onnx: onnxruntime-web gave no answer within 0.05 s"


@needs_node
def test_every_kind_of_tensor_goes_to_node_and_back(tmp_path: Path) -> None:
    kinds = ["float32", "float64", "float16", "int64", "int32", "uint8", "int8", "bool"]
    feed = {f"x_{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    ends = [
        [
            helper.make_tensor_value_info(f"{side}_{kind}", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), ["N", 3])
            for kind in kinds
        ]
        for side in ("x", "y")
    ]
    nodes = [helper.make_node("Identity", [f"x_{kind}"], [f"y_{kind}"]) for kind in kinds]
    graph = helper.make_graph(nodes, "same", *ends)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "same.onnx")
    found = web.run_as_a_page(tmp_path / "same.onnx", feed).outputs
    for kind in kinds:
        assert found[f"y_{kind}"].dtype == np.dtype(kind)
        np.testing.assert_array_equal(found[f"y_{kind}"], feed[f"x_{kind}"])


def test_another_process_gives_the_same_bytes(made: dict[str, Compiled], backbone: Inputs, tmp_path: Path) -> None:
    for name, plan in PLANS.items():
        again = compiled_elsewhere("web", plan, backbone, tmp_path / name, hash_seed=7)
        assert again == digests(made[name].file.parent)


def test_without_node_or_its_engine_the_target_says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "web_check"
    bare.mkdir()
    shutil.copyfile(CHECK / "package.json", bare / "package.json")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        with pytest.raises(Unsupported, match="expected Node 18 or newer, found none"):
            TARGET.require()
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v16.20.0\n")
    old.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        with pytest.raises(Unsupported, match=r"expected Node 18 or newer, got v16\.20\.0"):
            TARGET.require()
        old.write_text("#!/bin/sh\necho v22.1.0\n")
        patched.setattr(web, "_FOLDER", bare)
        with pytest.raises(Unsupported, match=f"got none; run: npm ci --prefix {bare}"):
            TARGET.require()


def test_the_lock_file_pins_the_engine_and_names_no_host() -> None:
    wanted = json.loads((CHECK / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    lock = (CHECK / "package-lock.json").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", wanted)
    assert json.loads(lock)["packages"]["node_modules/onnxruntime-web"]["version"] == wanted
    assert "://" not in lock
    assert "resolved" not in lock
