"""What a person at a terminal sees when something is wrong: one line, exit code 2, nothing half made."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from calibration_data.dataset import Dataset, load, write_items
from tests.optimize.rigs import Built, touchstone_optimize


def refused(folder: Path, *arguments: object) -> str:
    """Run a command that must fail; return its one line, having seen that ``folder`` is as it was."""
    before = sorted(folder.rglob("*"))
    run = touchstone_optimize(*arguments)
    assert run.code == 2, run.err
    assert run.out == ""
    assert run.err.count("\n") == 1, run.err
    assert run.err.startswith("touchstone-optimize: ")
    assert sorted(folder.rglob("*")) == before
    return run.err


@pytest.mark.parametrize("arguments", [["--help"], ["finetune", "--help"], ["build", "--help"], ["inspect", "--help"]])
def test_every_command_has_help(arguments: list[str]) -> None:
    run = touchstone_optimize(*arguments)
    assert run.code == 0
    assert run.out.startswith("usage: touchstone-optimize")


def test_a_model_that_is_not_there_is_named(tmp_path: Path, goods_folder: Path) -> None:
    text = refused(tmp_path, "build", tmp_path / "no", "--data", goods_folder, "--out", tmp_path / "b")
    assert f"source '{tmp_path / 'no'}': expected an .onnx file; " in text


@pytest.fixture
def own_model(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"this is no network", b"\x00" * 5000])
def test_a_network_that_is_not_onnx_is_named(
    own_model: Path, goods_folder: Path, tmp_path: Path, content: bytes
) -> None:
    (own_model / "model.onnx").write_bytes(content)
    text = refused(tmp_path, "build", own_model, "--data", goods_folder, "--out", tmp_path / "b")
    assert f"model {own_model / 'model.onnx'}: expected an ONNX file" in text


def test_somebody_elses_network_is_refused_before_it_is_compiled(
    own_model: Path, goods_folder: Path, tmp_path: Path
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 224, 224])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), own_model / "model.onnx")
    text = refused(tmp_path, "build", own_model, "--data", goods_folder, "--out", tmp_path / "b")
    assert "expected a network with a head of 3 columns, got 0" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"format":1', b'"format":2', "model.json.format: expected one of 1, got 2"),
        (b'"px":224', b'"px":"224"', "model.json.px: expected a int"),
        (b'"px":224', b'"px":224,"py":1', "unknown field 'py'"),
        (b'"px":224,', b"", "field 'px' is missing"),
        (b"}", b"", "expected JSON"),
    ],
)
def test_a_model_json_that_is_wrong_says_where(
    own_model: Path, goods_folder: Path, tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    path = own_model / "model.json"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    text = refused(tmp_path, "build", own_model, "--data", goods_folder, "--out", tmp_path / "b")
    assert message in text
    assert "make it again with 'touchstone-optimize finetune'" in text


@pytest.mark.parametrize("command", ["finetune", "build"])
def test_an_output_folder_with_something_in_it_is_left_alone(
    command: str, model: Path, goods_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    given = [command, *([model] if command == "build" else []), "--data", goods_folder, "--out", tmp_path / "taken"]
    assert "it exists and is not empty; name another folder or remove it" in refused(tmp_path, *given)
    (tmp_path / "file").write_text("a file, not a folder")
    given[-1] = tmp_path / "file"
    assert "it exists and is not empty" in refused(tmp_path, *given)


def test_an_output_without_a_name_is_refused(goods_folder: Path, tmp_path: Path) -> None:
    assert "output .: expected the name" in refused(tmp_path, "finetune", "--data", goods_folder, "--out", ".")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unfreeze", "1", "--cross-fit", "5"], "one trained backbone would see every fold; choose one of the two"),
        (["--unfreeze", "17"], "--unfreeze 17: expected 0 to 16"),
        (["--unfreeze", "-1"], "--unfreeze -1: expected 0 to 16"),
        (["--cross-fit", "1"], "--cross-fit 1: expected 2 to 1000"),
        (["--cross-fit", "60"], "cannot fill 60 folds"),
        (["--epochs", "0"], "--epochs 0: expected 1 to 1000"),
        (["--seed", "-1"], "--seed -1: expected 0 to 4294967295"),
        (["--seed", "4294967296"], "--seed 4294967296: expected 0 to 4294967295"),
        (["--name", "a/b"], "name of the model 'a/b'"),
        (["--name", ""], "name of the model ''"),
    ],
)
def test_options_that_cannot_be_are_refused_before_training(
    options: list[str], message: str, goods_folder: Path, tmp_path: Path
) -> None:
    started = time.monotonic()
    assert message in refused(tmp_path, "finetune", "--data", goods_folder, "--out", tmp_path / "m", *options)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "options",
    [
        ["--confidence", "1"],
        ["--confidence", "0"],
        ["--max-missed", "nan"],
        ["--max-missed", "2%"],
        ["--certify-share", "-1"],
    ],
)
def test_a_share_that_is_none_is_a_usage_mistake(
    options: list[str], model: Path, goods_folder: Path, tmp_path: Path
) -> None:
    run = touchstone_optimize("build", model, "--data", goods_folder, "--out", tmp_path / "b", *options)
    assert run.code == 2
    assert f"error: argument {options[0]}" in run.err
    assert "Traceback" not in run.err


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = refused(tmp_path, "finetune", "--data", tmp_path / "no", "--out", tmp_path / "m")
    assert f"dataset '{tmp_path / 'no'}' is not a folder" in text


def test_a_dataset_of_one_class_is_refused(goods: Dataset, goods_folder: Path, tmp_path: Path) -> None:
    data = shutil.copytree(goods_folder, tmp_path / "data")
    write_items(data, [item for item in load(data).items if item.label == "genuine"])
    text = refused(tmp_path, "finetune", "--data", data, "--out", tmp_path / "m")
    assert "has no counterfeit item; expected items of both classes" in text


def test_a_train_split_of_one_class_says_what_to_do(goods_folder: Path, tmp_path: Path) -> None:
    data = shutil.copytree(goods_folder, tmp_path / "data")
    moved = [
        dataclasses.replace(item, split="certify") if (item.split, item.label) == ("train", "counterfeit") else item
        for item in load(data).items
    ]
    write_items(data, moved)
    text = refused(tmp_path, "finetune", "--data", data, "--out", tmp_path / "m")
    assert (
        "its train split of 9 items lacks a class; add items, or train on all of a small set with --cross-fit 5" in text
    )


@pytest.mark.parametrize("content", [b"", b"not a photo", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_a_photo_that_cannot_be_read_is_named_by_its_file(
    goods_folder: Path, model: Path, tmp_path: Path, content: bytes
) -> None:
    data = shutil.copytree(goods_folder, tmp_path / "data")
    item = next(item for item in load(data).items if item.split == "calibrate")
    item.photos[0].path.write_bytes(content)
    run = touchstone_optimize("build", model, "--data", data, "--out", tmp_path / "out" / "b")
    assert run.code == 2
    assert f"photo {item.photos[0].path}: " in run.err.splitlines()[-1]
    assert "Traceback" not in run.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_photo_that_training_cannot_read_is_named_by_its_file(goods_folder: Path, tmp_path: Path) -> None:
    data = shutil.copytree(goods_folder, tmp_path / "data")
    item = next(item for item in load(data).items if item.split == "train")
    item.photos[0].path.write_bytes(b"not a photo")
    text = refused(tmp_path, "finetune", "--data", data, "--out", tmp_path / "m", "--unfreeze", 1)
    assert f"photo {item.photos[0].path}: expected a JPEG, PNG or WebP image" in text


def test_what_is_no_bundle_is_named(tmp_path: Path, model: Path, goods_folder: Path) -> None:
    assert f"bundle {tmp_path}: there is no manifest.json" in refused(tmp_path, "inspect", tmp_path)
    given = ["build", model, "--data", goods_folder, "--out", tmp_path / "b", "--after", tmp_path / "no"]
    assert f"bundle {tmp_path / 'no'}: there is no manifest.json" in refused(tmp_path, *given)


def test_a_bundle_whose_evidence_was_changed_is_refused(proved: Built, tmp_path: Path) -> None:
    folder = shutil.copytree(proved.bundle.folder, tmp_path / "b")
    path = folder / "evidence.json"
    path.write_bytes(path.read_bytes().replace(b'"certified":true', b'"certified":TRUE'))
    assert "file evidence.json was changed after the bundle was built" in refused(tmp_path, "inspect", folder)
