"""ONNX files that can never be compiled: each is refused in one line that says what and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from optimize.sources.imported import SourceOptions
from optimize.sources.source import import_source
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import FLOAT, classifier, constant, network, save, value


def refusal(path: Path, options: SourceOptions, photos: list[Path]) -> str:
    with pytest.raises(Unsupported) as caught:
        import_source(str(path), options, photos, None)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"this is a photo, honestly", b"\x08\x09", bytes(range(256)) * 9])
def test_what_is_not_onnx_is_refused(content: bytes, plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert "not an ONNX file" in refusal(path, plain, photos)


def test_a_torn_file_is_not_onnx(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-400])
    assert "not an ONNX file" in refusal(path, plain, photos)


def test_a_file_or_folder_in_its_place_is_refused(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    assert "cannot be read (No such file" in refusal(tmp_path / "none.onnx", plain, photos)
    (tmp_path / "folder.onnx").mkdir()
    assert "cannot be read (Is a directory)" in refusal(tmp_path / "folder.onnx", plain, photos)


def external(folder: Path) -> Path:
    onnx.save(classifier(), folder / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return folder / "m.onnx"


def test_external_data_is_read_into_the_network(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    path = external(tmp_path)
    imported = import_source(str(path), plain, photos, None)
    assert not any(tensor.external_data for tensor in imported.network.graph.initializer)
    assert (tmp_path / "weights.bin").stat().st_size > 0
    first = imported.provenance["source_sha256"]
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[3] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert import_source(str(path), plain, photos, None).provenance["source_sha256"] != first


def test_missing_external_data_is_named(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    assert "external data 'weights.bin' is missing" in refusal(path, plain, photos)


def test_external_data_that_is_too_short_is_named(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes()[:100])
    assert "external data 'weights.bin' has 100 bytes, weight" in refusal(path, plain, photos)


def test_external_data_outside_the_folder_is_refused(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = external(tmp_path / "in")
    (tmp_path / "in" / "weights.bin").rename(tmp_path / "weights.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../weights.bin"
    path.write_bytes(model.SerializeToString())
    assert "lies outside its folder" in refusal(path, plain, photos)


def test_a_custom_domain_and_its_operators_are_named(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    node = helper.make_node("Sparkle", ["x"], ["y"], domain="com.acme")
    model = network([node], [value("x", FLOAT, "N", 4)], [value("y", FLOAT, "N", 4)], domains=["com.acme"])
    message = refusal(save(model, tmp_path / "m.onnx"), plain, photos)
    assert "custom domain com.acme, operators com.acme:Sparkle" in message


def test_unknown_operators_are_named_in_subgraphs_too(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    sides = [
        helper.make_graph([helper.make_node(one, ["x"], [one])], one, [], [value(one, FLOAT, None, 4)])
        for one in ("Relu", "Sparkle")
    ]
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=sides[0], else_branch=sides[1])]
    weights = [constant("yes", True, np.bool_)]
    model = network(nodes, [value("x", FLOAT, "N", 4)], [value("y", FLOAT, None, 4)], weights)
    assert "operators ai.onnx:Sparkle that ONNX Runtime" in refusal(save(model, tmp_path / "m.onnx"), plain, photos)


@pytest.mark.parametrize(("opset", "said"), [(6, "opset 6, expected 7 to 26"), (27, "opset 27 is newer than 26")])
def test_an_opset_that_is_too_old_or_too_new_is_refused(
    opset: int, said: str, plain: SourceOptions, photos: list[Path], tmp_path: Path
) -> None:
    assert said in refusal(save(classifier(opset=opset), tmp_path / "m.onnx"), plain, photos)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_weights_are_named(
    number: float, plain: SourceOptions, photos: list[Path], tmp_path: Path
) -> None:
    model = classifier()
    values = np.zeros((8, 5), np.float32)
    values[3, 2] = number
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    message = refusal(save(model, tmp_path / "m.onnx"), plain, photos)
    assert f"weight 'w2' holds {'NaN' if np.isnan(number) else 'infinity'}" in message


def test_nan_in_a_constant_of_a_subgraph_is_found(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    side = helper.make_graph(
        [helper.make_node("Constant", [], ["bad"], value=constant("", [np.nan], np.float32))],
        "side",
        [],
        [value("bad", FLOAT, 1)],
    )
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=side, else_branch=side)]
    model = network(nodes, [value("yes", onnx.TensorProto.BOOL)], [value("y", FLOAT, 1)])
    assert "weight 'bad' holds NaN" in refusal(save(model, tmp_path / "m.onnx"), plain, photos)


def test_infinity_in_an_attention_mask_is_honest(plain: SourceOptions, tmp_path: Path) -> None:
    mask = constant("mask", np.triu(np.full((4, 4), -np.inf), 1), np.float32)
    nodes = [helper.make_node("Add", ["x", "mask"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=-1)]
    model = network(nodes, [value("x", FLOAT, 4, 4)], [value("y", FLOAT, 4, 4)], [mask])
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    imported = import_source(str(save(model, tmp_path / "m.onnx")), plain, [], tmp_path / "s.npz")
    assert imported.kind == "tensors"


def test_a_network_without_inputs_is_refused(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    model = network(
        [helper.make_node("Relu", ["c"], ["y"])],
        [value("c", FLOAT, 2)],
        [value("y", FLOAT, 2)],
        [constant("c", [1, 2], np.float32)],
    )
    assert "it has no inputs" in refusal(save(model, tmp_path / "m.onnx"), plain, photos)


def test_a_graph_that_onnx_runtime_refuses_is_refused_in_its_words(
    plain: SourceOptions, photos: list[Path], tmp_path: Path
) -> None:
    model = classifier()
    model.graph.node[0].input[1] = "nowhere"
    assert "ONNX Runtime 1." in refusal(save(model, tmp_path / "m.onnx"), plain, photos)


def test_a_newer_ir_version_than_the_engines_read_is_lowered(
    plain: SourceOptions, photos: list[Path], tmp_path: Path
) -> None:
    model = classifier()
    model.ir_version = 13
    imported = import_source(str(save(model, tmp_path / "m.onnx")), plain, photos, None)
    assert imported.network.ir_version == 10
    assert any("IR version 13 set to 10" in note for note in imported.notes)


def test_text_as_an_input_is_refused(plain: SourceOptions, photos: list[Path], tmp_path: Path) -> None:
    model = network(
        [helper.make_node("StringNormalizer", ["x"], ["y"])],
        [value("x", onnx.TensorProto.STRING, "N")],
        [value("y", onnx.TensorProto.STRING, None)],
    )
    message = refusal(save(model, tmp_path / "m.onnx"), plain, photos)
    assert "'x' is tensor(string), expected a tensor of numbers" in message
