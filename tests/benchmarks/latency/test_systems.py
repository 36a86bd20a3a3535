"""The latency suite's systems, each a real process: they decide alike, outlive bad photos, and keep their verdicts."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.latency.systems.table import INSTALLED, REPOSITORY, SYSTEMS, absence_of, command_of
from benchmarks.wheel_files import peers_cache
from edge_agent.photo_stamp import stamped
from tests.listing_trees import give_trees

VIEWS = ("logo", "stitching")
PHOTOS = {"red": 220, "dark": 40}
"""Name to the mean of red: what scores counterfeit, and what scores genuine."""

STAMPS = itertools.count()
Order = Mapping[str, Any]


@pytest.fixture
def model(tmp_path: Path, tiny_bundle: Callable[..., Path], photo_of: Callable[..., bytes]) -> Path:
    """A model folder as the suite makes it, with two bundles of one network, and photos beside them."""
    folder = tmp_path / "model"
    shutil.copy(tiny_bundle(folder / "bundle") / "model.onnx", folder / "float.onnx")
    tiny_bundle(folder / "bundle-2", name="second", bias=0.5)
    described = {
        "px": 32,
        "views": VIEWS,
        "fusion": {"bias": 0.0, "weights": dict.fromkeys(VIEWS, 0.5)},
        "thresholds": {"authentic_below": 0.2, "suspect_from": 0.9},
    }
    (folder / "model.json").write_text(json.dumps(described))
    (folder / "calibration").mkdir()
    for seed, name in enumerate(
        ["dark", *["red"] * 8]
    ):  # NNCF averages the photos' maxima: few dark ones, or red is cut
        (folder / "calibration" / f"{seed}.jpg").write_bytes(photo_of(PHOTOS[name], seed=seed))
    for name, red in PHOTOS.items():
        (folder / f"{name}.jpg").write_bytes(photo_of(red))
    (folder / "broken.jpg").write_bytes(photo_of(100)[:60])
    return folder


class Talk:
    """A conversation with a system's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.first = self._line()

    def order(self, **order: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line


@contextmanager
def talking(name: str, model: Path, work: Path) -> Iterator[Talk]:
    work.mkdir()
    setup = json.dumps({"model": str(model), "work": str(work), "threads": 1})
    command = [*command_of(name, peers_cache()), setup]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Talk(process)
        finally:
            process.kill()


def scan(model: Path, item: str, photo: str, **how: object) -> dict[str, Any]:
    """An order whose photos are new in their bytes: one that was used before would go to an expert."""
    whole, photos = (model / f"{photo}.jpg").read_bytes(), {}
    for view in VIEWS:
        path = model / f"{item}-{view}.jpg"
        path.write_bytes(stamped(whole, next(STAMPS)))
        photos[view] = str(path)
    return {"do": "scan", "item": item, "photos": photos, "listing": None, **how}


COSTS = {
    "openvino-nncf": [pytest.mark.slow],
    "optimum": [pytest.mark.slow],
    "olive": [pytest.mark.long],
    "roboflow": [pytest.mark.long],
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=COSTS.get(name, [])) for name in SYSTEMS])
def test_a_system_decides_clear_photos_as_all_do_and_outlives_a_broken_one(
    name: str, model: Path, tmp_path: Path
) -> None:
    if why := absence_of(name, peers_cache()):
        pytest.skip(f"{name}: {why}")
    with talking(name, model, tmp_path / "work") as talk:
        assert talk.first["ready"] and any(letter.isdigit() for letter in talk.first["does"])
        together = talk.order(**scan(model, "one", "red"))
        broken = [talk.order(**scan(model, "two", "broken", one_by_one=way)) for way in (False, True)]
        one_by_one = talk.order(**scan(model, "three", "dark", one_by_one=True))
        cold = talk.order(**scan(model, "four", "red", cold=True))
    assert [set(line) for line in broken] == [{"failed"}] * 2
    assert [line["verdict"] for line in (together, one_by_one, cold)] == ["suspect", "authentic", "suspect"]
    assert 0 <= one_by_one["p"] < 0.05 and together["p"] > 0.95
    for line in (together, one_by_one, cold):
        assert line["done_ns"] > line["started_ns"] and line["cpu_ns"] > 0 and line["written_bytes"] > 0


def test_a_verdict_of_the_naive_station_is_on_the_disk_when_it_is_answered(model: Path, tmp_path: Path) -> None:
    order = scan(model, "one", "red")
    with talking("naive", model, tmp_path / "work") as talk:
        answer = talk.order(**order)
        talk.process.kill()
        talk.process.wait()
    db = sqlite3.connect(tmp_path / "work" / "verdicts.db")
    assert db.execute("SELECT item, verdict, p FROM verdict").fetchall() == [("one", "suspect", answer["p"])]
    db.close()
    kept = {path.read_bytes() for path in (tmp_path / "work" / "photos").iterdir()}
    assert kept == {Path(photo).read_bytes() for photo in order["photos"].values()}


@pytest.mark.parametrize("order", [{"do": "swap", "bundle": "elsewhere"}, {"do": "listing", "rows": 3}])
def test_what_a_system_cannot_do_it_says(order: Order, model: Path, tmp_path: Path) -> None:
    with talking("naive", model, tmp_path / "work") as talk:
        assert talk.order(**order) == {"cannot": order["do"]}
        assert talk.order(do="memory")["rss_mb"] > 1


def test_our_station_goes_on_scanning_while_it_swaps(model: Path, tmp_path: Path) -> None:
    with talking("touchstone", model, tmp_path / "work") as talk:
        before = talk.order(**scan(model, "first", "dark"))["p"]
        talk.order(do="swap", bundle=str(model / "bundle-2"))
        seen = [before]
        ends_at = time.monotonic() + 30
        while seen[-1] == before and time.monotonic() < ends_at:
            seen.append(talk.order(**scan(model, f"item-{len(seen)}", "dark"))["p"])
    assert len(seen) > 2 and before < seen[-1] < 0.05


def test_a_swap_that_failed_is_a_failure_and_the_old_model_goes_on(model: Path, tmp_path: Path) -> None:
    with talking("touchstone", model, tmp_path / "work") as talk:
        before = talk.order(**scan(model, "first", "dark"))["p"]
        talk.order(do="swap", bundle=str(model / "nowhere"))
        ends_at = time.monotonic() + 30
        line: Mapping[str, Any] = {}
        while "failed" not in line and time.monotonic() < ends_at:
            line = talk.order(**scan(model, f"item-{time.monotonic_ns()}", "dark"))
        assert "nowhere: there is no manifest.json" in line["failed"]
        assert talk.order(**scan(model, "last", "dark"))["p"] == before


def test_a_swap_that_failed_is_told_though_another_was_ordered_before_it_ended(model: Path, tmp_path: Path) -> None:
    with talking("touchstone", model, tmp_path / "work") as talk:
        for name in ("bundle-2", "nowhere", "bundle"):
            talk.order(do="swap", bundle=str(model / name))
        assert "nowhere: there is no manifest.json" in talk.order(do="settle")["failed"]


def test_our_station_scores_listings_where_the_bundle_has_trees(model: Path, tmp_path: Path) -> None:
    with talking("touchstone", model, tmp_path / "without") as talk:
        assert talk.order(do="listing", rows=5) == {"cannot": "listing"}
    give_trees(model / "bundle")
    with talking("touchstone", model, tmp_path / "with") as talk:
        assert talk.order(do="listing", rows=5)["done_ns"] > 0


def test_a_system_that_cannot_take_part_says_why_in_one_line(model: Path, tmp_path: Path) -> None:
    (model / "float.onnx").write_bytes(b"no network")
    with talking("optimum", model, tmp_path / "work") as talk:
        assert talk.first["absent"].startswith("its quantiser failed with 1: ")
        assert talk.process.wait() == 0


def test_what_a_library_prints_never_mixes_with_the_answers() -> None:
    program = (
        "import os, sys\n"
        "from benchmarks.latency.systems.protocol import serve\n"
        "class Loud:\n"
        "    def does(self):\n"
        "        print('progress'); os.write(1, b'more progress'); return 'nothing'\n"
        'serve(lambda setup: Loud(), [\'{"model": "", "work": "", "threads": 1}\'])\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, input="", capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["does"] == "nothing" and "progress" in done.stderr


def test_a_peer_without_its_venv_is_absent_and_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    assert [name for name in SYSTEMS if absence_of(name, tmp_path)] == ["olive", "roboflow"]
    assert "run scripts/bench-peers" in str(absence_of("roboflow", tmp_path))
    (tmp_path / "roboflow").mkdir()
    (tmp_path / "roboflow" / INSTALLED).write_text("all of it")
    assert absence_of("roboflow", tmp_path) is None
    assert command_of("roboflow", tmp_path)[0] == str(tmp_path / "roboflow" / "bin" / "python")


def test_every_system_of_the_table_is_a_module_and_every_venv_has_its_list() -> None:
    assert [one.module for one in SYSTEMS.values() if importlib.util.find_spec(one.module) is None] == []
    venvs = {venv for one in SYSTEMS.values() for venv in (one.runs_in, one.calls) if venv}
    assert venvs == {path.stem for path in (REPOSITORY / "benchmarks" / "peer_venvs").iterdir()}


def test_the_bare_script_says_how_long_and_how_much_memory_it_took(model: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.latency.systems.bare_script"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, str(model / "float.onnx"), str(model / "red.jpg")], cwd=REPOSITORY, capture_output=True, check=True
    )
    told = json.loads(done.stdout)
    assert 20 < told["ms"] < (time.monotonic() - started) * 1000 + 20 and 20 < told["rss_mb"] < 1000
