"""Fixtures of the contract tests: the golden files, and values of any contract type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Path:
    """The folder of wire files that must decode for ever."""
    return GOLDEN


@pytest.fixture
def manifest_data() -> dict[str, Any]:
    """A valid manifest as plain JSON data, fresh for each test."""
    data: dict[str, Any] = json.loads((GOLDEN / "bundle_manifest.v1.json").read_bytes())
    return data
