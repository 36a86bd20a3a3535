"""Fixtures of the latency suite's tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.latency.children import Child
from benchmarks.latency.systems.protocol import Setup

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """``tiny("name", work_ms=5, ...)`` starts the tiny system as a real process; see ``tiny_system``."""
    children: list[Child] = []

    def start(name: str, **behaviour: object) -> Child:
        model, work = tmp_path / f"{name}-model", tmp_path / "systems" / name
        model.mkdir()
        work.mkdir(parents=True)
        (model / "behaviour.json").write_text(json.dumps(behaviour))
        command = [sys.executable, "-m", "tests.benchmarks.latency.tiny_system"]
        setup = Setup(model=str(model), work=str(work), threads=1)
        child = Child.start(name, command, REPOSITORY, setup, tmp_path / f"{name}.log", ready_s=30)
        children.append(child)
        return child

    yield start
    for child in children:
        child.close()
