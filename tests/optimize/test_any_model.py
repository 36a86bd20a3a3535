"""Models that are no authenticators, built end to end: a marked bundle, or a refusal in one line; never a crash."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from optimize.recipe import BudgetRecipe, InputRecipe, Recipe, SearchRecipe, check_recipe
from runtime.backends.onnxruntime import load
from runtime.contracts.errors import Unsupported
from runtime.inspector import Inspector
from tests.optimize.rigs import REPOSITORY, Built, built, touchstone_optimize
from tests.optimize.sources.small_networks import FLOAT, classifier, constant, network, save, value
from tests.optimize.sources.test_tensor_networks import MODELS, Arrays

RANDOM = np.random.default_rng(11)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(12):
        small = RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{index:02d}.jpg"), cv2.resize(small, (128, 96)))
    return folder


def build(source: object, samples: Path, out: Path, *options: object) -> Built:
    run = touchstone_optimize("build", source, "--samples", samples, "--out", out, "--workers", 1, *options)
    assert run.code == 0, run.err
    return built(out, run.out)


def refused(source: object, samples: Path, out: Path, *options: object) -> str:
    run = touchstone_optimize("build", source, "--samples", samples, "--out", out, "--workers", 1, *options)
    assert run.code == 2, run.out
    assert "Traceback" not in run.err
    assert not out.exists()
    return run.err.splitlines()[-1]


LENIENT = ("--min-cosine", 0.1, "--workers", 1)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_network_of_tensors_is_built_and_agrees_with_itself(
    make: Callable[[], tuple[onnx.ModelProto, Arrays]], tmp_path: Path
) -> None:
    model, arrays = make()
    path = save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "s.npz", **arrays)
    found = build(path, tmp_path / "s.npz", tmp_path / "b")
    assert found.bundle.manifest.judged_by == "fidelity"
    assert [tensor.name for tensor in found.bundle.manifest.tensors] == list(arrays)
    for variant in found.bundle.manifest.variants:
        assert variant.thresholds.authentic_below == 0.0
        load(found.bundle.path(variant.file), 1)


def test_a_classifier_of_photos_is_judged_on_photos_that_it_was_not_calibrated_on(photos: Path, tmp_path: Path) -> None:
    found = build(save(classifier(), tmp_path / "net.onnx"), photos, tmp_path / "b", "--min-cosine", 0.5)
    assert found.evidence.source.kind == "photos"
    assert (
        found.evidence.provenance["calibration_samples_sha256"] != found.evidence.provenance["judging_samples_sha256"]
    )
    accepted = [variant for variant in found.evidence.variants if variant.accepted]
    assert accepted
    for variant in accepted:
        assert variant.fidelity is not None
        assert variant.fidelity.inputs == 6
    assert "ImageNet" in " ".join(found.evidence.source.notes)  # the normalisation was assumed, and that is said
    with pytest.raises(Unsupported, match="only the fidelity of its outputs was judged, so it decides nothing"):
        Inspector.open(found.bundle)


def test_a_network_that_is_quantised_already_is_passed_through_to_the_gates(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    weights = [constant("scale", 0.1, np.float32), constant("zero", 3, np.uint8)]
    model = network(nodes, [value("x", FLOAT, "N", 4)], [value("y", FLOAT, "N", 4)], weights, 13)
    np.savez(tmp_path / "s.npz", x=RANDOM.normal(size=(8, 4)).astype(np.float32))
    text = refused(save(model, tmp_path / "m.onnx"), tmp_path / "s.npz", tmp_path / "b")
    assert "only 0 of 0 kernels run in integers after optimisation" in text


def test_int8_is_compared_with_its_float_also_where_that_is_too_large(photos: Path, tmp_path: Path) -> None:
    path = save(classifier(20_000), tmp_path / "net.onnx")
    sizes = {one.precision: one.size_bytes for one in build(path, photos, tmp_path / "a", *LENIENT).evidence.variants}
    limit_mb = (sizes["float32"] + sizes["int8"]) / 2 / 1e6
    run = touchstone_optimize(
        "build", path, "--samples", photos, "--out", tmp_path / "b", *LENIENT, "--max-size-mb", limit_mb
    )
    said = run.out + run.err
    assert "ort-cpu-float32: size: " in said or "ort-cpu-float32: REFUSED" in said, said
    assert "times as long as ort-cpu-float32" in said or "of ort-cpu-float32 (medians" in said


def test_a_file_that_is_too_large_is_refused(photos: Path, tmp_path: Path) -> None:
    text = refused(save(classifier(), tmp_path / "net.onnx"), photos, tmp_path / "b", "--max-size-mb", 0.0001)
    assert "at most 0.0 MB were allowed" in text


def test_a_photo_that_does_not_decode_is_named(photos: Path, tmp_path: Path) -> None:
    samples = tmp_path / "photos"
    samples.mkdir()
    for path in sorted(photos.iterdir())[:4]:
        (samples / path.name).write_bytes(path.read_bytes())
    (samples / "99.jpg").write_bytes(b"no photo")
    text = refused(save(classifier(), tmp_path / "net.onnx"), samples, tmp_path / "b")
    assert f"photo {samples / '99.jpg'}: " in text


def test_without_data_or_samples_it_says_what_to_give(tmp_path: Path) -> None:
    run = touchstone_optimize("build", save(classifier(), tmp_path / "net.onnx"), "--out", tmp_path / "b")
    assert (run.code, run.err) == (
        2,
        "touchstone-optimize: build: give labelled items with --data, or inputs with --samples\n",
    )


def test_samples_that_are_not_there_are_named(tmp_path: Path) -> None:
    text = refused(save(classifier(), tmp_path / "net.onnx"), tmp_path / "no.npz", tmp_path / "b")
    assert f"--samples {tmp_path / 'no.npz'}: there is no such file or folder" in text


def test_a_table_model_alone_says_where_it_belongs(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows = RANDOM.normal(size=(64, 3)).astype(np.float32)
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1}, lightgbm.Dataset(rows, rows[:, 0] > 0), num_boost_round=3
    )
    booster.save_model(str(tmp_path / "trees.txt"))
    np.savez(tmp_path / "rows.npz", listing=rows)
    text = refused(tmp_path / "trees.txt", tmp_path / "rows.npz", tmp_path / "b")
    assert "give it as --listing beside a model of photos" in text


@pytest.mark.parametrize(("target", "library"), [("openvino", "openvino"), ("tensorrt-rtx", "tensorrt_rtx")])
def test_an_engine_that_is_not_installed_says_what_to_install(
    target: str, library: str, photos: Path, tmp_path: Path
) -> None:
    """In a child process in which the library cannot be imported, as on a machine without it."""
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from optimize.cli import main\n"
        "if __name__ == '__main__': raise SystemExit(main(sys.argv[1:]))\n"
    )
    source = save(classifier(), tmp_path / "net.onnx")
    command = [sys.executable, "-c", program, "build", source, "--samples", photos, "--target", target]
    done = subprocess.run([*command, "--out", tmp_path / "b"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_recipe_in_the_documents_names_every_key_and_is_admitted() -> None:
    text = (REPOSITORY / "docs" / "recipe.toml").read_text()
    everything = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in text.splitlines()
    )
    recipe = check_recipe(tomllib.loads(everything), "docs/recipe.toml")
    given = tomllib.loads(everything)
    for section, cls in (("budget", BudgetRecipe), ("search", SearchRecipe), ("input", InputRecipe)):
        assert set(given[section]) == {field.name for field in dataclasses.fields(cls)}
    assert set(given) == {field.name for field in dataclasses.fields(Recipe)}
    assert recipe.targets == ("x86", "openvino")
    check_recipe(tomllib.loads(text), "docs/recipe.toml")
