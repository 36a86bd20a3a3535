"""Engines that this machine built, found again only where everything that they depend on is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.backends.cuda import Gpu
from runtime.backends.tensorrt import engine_key
from runtime.contracts.durable import sha256_hex
from runtime.engine_cache import EngineKey, cache_folder, find_engine, keep_engine

KEY = EngineKey(
    onnx_sha256=sha256_hex(b"onnx"), library="tensorrt", version="11.0", compute_capability="8.9", driver="13000"
)


def test_an_engine_is_found_again_byte_for_byte(tmp_path: Path) -> None:
    keep_engine(tmp_path / "new" / "folder", KEY, b"engine")
    assert find_engine(tmp_path / "new" / "folder", KEY) == b"engine"


@pytest.mark.parametrize("changed", ["onnx_sha256", "library", "version", "compute_capability", "driver"])
def test_another_network_library_gpu_or_driver_finds_nothing(tmp_path: Path, changed: str) -> None:
    keep_engine(tmp_path, KEY, b"engine")
    other = sha256_hex(b"other") if changed == "onnx_sha256" else "other"
    assert find_engine(tmp_path, replace(KEY, **{changed: other})) is None


def test_an_engine_built_again_takes_the_old_ones_place_and_no_other_networks(tmp_path: Path) -> None:
    neighbour = replace(KEY, onnx_sha256=sha256_hex(b"neighbour"))
    keep_engine(tmp_path, neighbour, b"its engine")
    keep_engine(tmp_path, KEY, b"old")
    newer = replace(KEY, driver="13010")
    keep_engine(tmp_path, newer, b"new")
    assert find_engine(tmp_path, newer) == b"new"
    assert find_engine(tmp_path, neighbour) == b"its engine"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("spoil", [lambda stored: stored[:-1], lambda stored: stored + b"x", lambda stored: b""])
def test_an_engine_whose_bytes_changed_is_not_found(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    keep_engine(tmp_path, KEY, b"engine")
    (tmp_path / KEY.file).write_bytes(spoil((tmp_path / KEY.file).read_bytes()))
    assert find_engine(tmp_path, KEY) is None


def test_a_folder_that_cannot_be_written_costs_nothing_now(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    keep_engine(tmp_path / "file", KEY, b"engine")
    assert find_engine(tmp_path / "file", KEY) is None


def test_the_folder_is_the_one_named_or_the_users_cache_and_never_in_a_bundle() -> None:
    assert cache_folder({"TOUCHSTONE_ENGINE_CACHE": "/x", "XDG_CACHE_HOME": "/y"}) == Path("/x")
    assert cache_folder({"XDG_CACHE_HOME": "/y", "HOME": "/z"}) == Path("/y/touchstone/engines")
    assert cache_folder({"HOME": "/z"}) == Path("/z/.cache/touchstone/engines")


def test_the_key_of_an_engine_holds_the_library_that_builds_it() -> None:
    library = pytest.importorskip("tensorrt_rtx")
    key = engine_key(library, b"onnx", Gpu(compute_capability="12.0", driver="13000"))
    assert (key.onnx_sha256, key.library, key.version) == (KEY.onnx_sha256, "tensorrt_rtx", library.__version__)
