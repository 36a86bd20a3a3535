"""Classifiers of photos, as ONNX from anyone: wrapped, batched, and equal to their source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from optimize.sources.imported import PHOTO, Imported, SourceOptions
from optimize.sources.loaded import IMAGENET
from optimize.sources.run_onnx import open_session
from optimize.sources.source import import_source
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported
from tests.optimize.sources.small_networks import FLOAT, PX, classifier, pixels_of, save


def answer(network: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    return open_session(network.SerializeToString(), "imported").run({PHOTO: pixels})[0]


def original_logits(
    path: Path, photos: list[Path], mean: object = IMAGENET.mean, std: object = IMAGENET.std
) -> np.ndarray:
    """Run the file itself up to its scores, one photo at a time, normalised outside of it."""
    x = ((pixels_of(photos) - np.array(mean, np.float32)) / np.array(std, np.float32)).transpose(0, 3, 1, 2)
    session = open_session(path, "original")
    (name,) = [spec.name for spec in session.inputs()]
    return np.concatenate([session.run({name: np.ascontiguousarray(row[None])})[0] for row in x])


def check_wrapped(imported: Imported, columns: int) -> None:
    onnx.checker.check_model(imported.network, full_check=True)
    (taken,), (given,) = imported.network.graph.input, imported.network.graph.output
    assert (taken.name, given.name) == ("photo", "logits")
    assert given.type.tensor_type.elem_type == FLOAT
    assert [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim] == ["N", columns]
    assert imported.tensors == (TensorSpec(name="photo", dtype="uint8", shape=(None, PX, PX, 3)),)
    assert imported.px == PX


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 17, 21])
def test_a_classifier_of_any_age_takes_raw_photos_and_gives_its_logits(
    opset: int, photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    path = save(classifier(opset=opset, ending="Softmax"), tmp_path / "m.onnx")
    imported = import_source(str(path), plain, photos, None)
    assert imported.kind == "photos"
    check_wrapped(imported, 5)
    logits = answer(imported.network, pixels_of(photos)).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(p, original_logits(path, photos), atol=1e-5)
    assert not np.allclose(logits.sum(axis=1), 1)  # no Softmax left
    assert imported.network.opset_import[0].version == (20 if opset < 17 else opset)
    assert any("converted from opset" in note for note in imported.notes) == (opset < 17)
    assert any("ImageNet" in note for note in imported.notes)
    assert imported.parity.inputs == 4
    assert imported.parity.max_abs_error < 1e-4
    assert imported.parity.cosine > 0.9999


def test_the_users_own_mean_and_std_reach_the_graph(photos: list[Path], tmp_path: Path) -> None:
    path = save(classifier(ending=None), tmp_path / "m.onnx")
    options = SourceOptions(mean=(127.0, 127.0, 127.0), std=(128.0, 64.0, 32.0))
    imported = import_source(str(path), options, photos, None)
    expected = original_logits(path, photos, options.mean, options.std)
    assert np.allclose(answer(imported.network, pixels_of(photos)), expected, atol=1e-4)
    assert not np.allclose(expected, original_logits(path, photos), atol=1e-2)
    assert not any("ImageNet" in note for note in imported.notes)


@pytest.mark.parametrize("mean", [(1.0,), (1.0, 2.0, float("nan"))])
def test_a_mean_that_is_no_triple_of_numbers_is_refused(
    mean: tuple[float, ...], photos: list[Path], tmp_path: Path
) -> None:
    path = save(classifier(), tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match="expected three numbers"):
        import_source(str(path), SourceOptions(mean=mean, std=(1.0, 1.0, 1.0)), photos, None)


@pytest.mark.parametrize("ending", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_each_ending_is_taken_off_and_named(
    ending: str, photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    path = save(classifier(ending=ending), tmp_path / "m.onnx")
    imported = import_source(str(path), plain, photos, None)
    bare = save(classifier(ending=None), tmp_path / "bare.onnx")
    assert np.allclose(answer(imported.network, pixels_of(photos)), original_logits(bare, photos), atol=1e-4)
    assert any(f"last {ending} was taken off" in note for note in imported.notes)
    assert ending in imported.parity.of


@pytest.mark.parametrize("uint8", [False, True])
def test_channels_last_and_bytes_are_understood(
    uint8: bool, photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    path = save(classifier(layout="nhwc", uint8=uint8, ending=None), tmp_path / "m.onnx")
    imported = import_source(str(path), plain, photos, None)
    check_wrapped(imported, 5)
    assert any("ImageNet" in note for note in imported.notes) != uint8
    pixels = pixels_of(photos)
    session = open_session(path, "original")
    eaten = pixels if uint8 else IMAGENET.apply(pixels)
    assert np.allclose(answer(imported.network, pixels), session.run({"image": eaten})[0], atol=1e-4)


@pytest.mark.parametrize("names", [("photo", "logits"), ("logits", "photo"), ("x", "photo_mean")])
def test_names_of_ours_inside_a_strangers_file_do_no_harm(
    names: tuple[str, str], photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    path = save(classifier(names=names, ending="Softmax"), tmp_path / "m.onnx")
    check_wrapped(import_source(str(path), plain, photos, None), 5)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_with_a_baked_reshape_is_freed(
    batch: int, photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    model = classifier(batch=batch, baked_reshape=True)
    model.graph.initializer[3].CopyFrom(onnx.numpy_helper.from_array(np.array([batch, 8]), "shape"))
    path = save(model, tmp_path / "m.onnx")
    imported = import_source(str(path), plain, photos, None)
    assert imported.kind == "photos"
    assert answer(imported.network, pixels_of(photos)[:3]).shape == (3, 5)
    assert any(f"batch was fixed to {batch}" in note for note in imported.notes)


def test_a_reshape_baked_into_a_free_batch_is_found_out_and_freed(
    photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    path = save(classifier(batch="N", baked_reshape=True), tmp_path / "m.onnx")
    assert answer(import_source(str(path), plain, photos, None).network, pixels_of(photos)[:3]).shape == (3, 5)


def mixes_its_batch() -> onnx.ModelProto:
    """A classifier that subtracts the batch's mean: right for one photo, wrong for two."""
    model = classifier(batch=1, ending=None)
    gemm = model.graph.node[-1]
    gemm.output[0] = "z"
    model.graph.node.extend(
        [
            onnx.helper.make_node("ReduceMean", ["f"], ["m"], axes=[0]),
            onnx.helper.make_node("ReduceSum", ["m", "last"], ["s"], keepdims=1),
            onnx.helper.make_node("Add", ["z", "s"], ["scores"]),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "last"))
    return model


def test_a_batch_that_cannot_be_freed_makes_a_network_of_tensors_that_says_so(
    photos: list[Path], plain: SourceOptions, tmp_path: Path
) -> None:
    path = save(mixes_its_batch(), tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match=r"batch is fixed to 1, and freeing it breaks it.*--samples"):
        import_source(str(path), plain, photos, None)
    np.savez(tmp_path / "s.npz", image=np.random.default_rng(0).normal(size=(3, 3, PX, PX)).astype(np.float32))
    imported = import_source(str(path), plain, photos, tmp_path / "s.npz")
    assert imported.kind == "tensors"
    assert imported.tensors == (TensorSpec(name="image", dtype="float32", shape=(1, 3, PX, PX)),)
    assert any("batch is fixed to 1" in note for note in imported.notes)
    assert imported.parity.inputs == 3


def test_an_open_side_needs_px(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    path = save(classifier(side="S"), tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match="leaves the photo's side open; give --px"):
        import_source(str(path), plain, photos, None)
    assert import_source(str(path), SourceOptions(px=PX), photos, None).px == PX


def test_a_px_that_contradicts_the_file_is_refused(photos: list[Path], tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match=r"--px 64: its input 'image' is 32 px"):
        import_source(str(path), SourceOptions(px=64), photos, None)


def test_oblong_photos_make_a_network_of_tensors(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    path = save(classifier(width=48), tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match=r"no classifier of photos.*image float32 \(any, 3, 32, 48\)"):
        import_source(str(path), plain, photos, None)


def test_a_classifier_without_a_photo_says_what_it_needs(plain: SourceOptions, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match=r"it takes photos.*give a folder of photos, or --samples"):
        import_source(str(path), plain, [], None)


def test_a_folder_of_photos_will_do_as_samples(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "m.onnx")
    imported = import_source(str(path), plain, [], photos[0].parent)
    assert (imported.kind, imported.parity.inputs) == ("photos", 4)


def test_a_photo_that_does_not_decode_is_named(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "m.onnx")
    (tmp_path / "broken.jpg").write_bytes(photos[0].read_bytes()[:300])
    with pytest.raises(Unsupported, match=r"broken\.jpg"):
        import_source(str(path), plain, [*photos, tmp_path / "broken.jpg"], None)


def test_a_classifier_that_gives_nan_is_refused(photos: list[Path], plain: SourceOptions, tmp_path: Path) -> None:
    model = classifier(ending=None)
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(onnx.helper.make_node("Log", ["z"], ["scores"]))
    path = save(model, tmp_path / "m.onnx")
    with pytest.raises(Unsupported, match=r"NaN or infinity on 0\.jpg"):
        import_source(str(path), plain, photos, None)
