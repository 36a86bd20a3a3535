from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.latency.limits import floor_ms, infer_ms, measure, reference_ms
from benchmarks.latency.results import Limits
from runtime.bundle_store import open_bundle

LIMITS = Limits(
    entropy_decode_ms=40.0,
    full_decode_ms=120.0,
    copy_gb_per_s=10.0,
    int8_gops=100.0,
    float32_gflops=50.0,
    bf16_gflops=None,
    fsync_ms=0.5,
    write_mb_per_s=500.0,
    cores=2,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Limits:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
    photo = cv2.imencode(".jpg", noise)[1].tobytes()
    folder = tmp_path_factory.mktemp("disk")
    limits = measure(photo, folder, repeats=9)
    assert not list(folder.iterdir())
    return limits


def test_entropy_decoding_is_a_part_of_decoding(measured: Limits) -> None:
    assert 0.1 * measured.full_decode_ms < measured.entropy_decode_ms < measured.full_decode_ms


def test_every_limit_of_this_machine_is_a_number_that_a_computer_can_have(measured: Limits) -> None:
    assert 0.5 < measured.copy_gb_per_s < 1000
    assert 1 < measured.float32_gflops < 1e5
    assert 1 < measured.int8_gops < 1e6
    assert 0.001 < measured.fsync_ms < 1000
    assert 1 < measured.write_mb_per_s < 1e5
    assert measured.cores >= 1


def test_the_floor_of_six_views_is_three_rounds_of_decoding_on_two_cores() -> None:
    assert floor_ms(LIMITS, 6, 10.0) == pytest.approx(3 * 40 + 10 + 0.5)
    assert floor_ms(LIMITS, 1, 2.0) == pytest.approx(40 + 2 + 0.5)
    assert floor_ms(replace(LIMITS, cores=64), 6, 10.0) == pytest.approx(40 + 10 + 0.5)


def test_the_network_alone_is_timed_on_prepared_rows(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    bundle = open_bundle(tiny_bundle(tmp_path / "bundle"))
    assert 0 < infer_ms(bundle, 1, repeats=3) < 1000


def test_the_reference_work_takes_about_as_long_again() -> None:
    taken = sorted(reference_ms() for _ in range(4))
    assert taken[0] > 0.1
    assert taken[1] < 3 * taken[0]
