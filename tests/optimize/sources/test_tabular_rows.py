"""The real rows that the tests of tables share, and that they are what those tests take them for."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

REPOSITORY = Path(__file__).parents[3]
TABLES = Path(os.environ.get("TOUCHSTONE_DATA", REPOSITORY.parent / "shared" / "data")) / "tabular"

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows ``float32 (n, F)``, what they are ``bool (n,)``, and their columns' names."""

    rows: Rows
    fraud: npt.NDArray[np.bool_]
    names: tuple[str, ...]

    def with_missing(self, share: float = 0.1) -> Sample:
        rows = self.rows.copy()
        rows[np.random.default_rng(1).random(rows.shape) < share] = np.nan
        return Sample(rows=rows, fraud=self.fraud, names=self.names)


def card_fraud() -> Sample:
    """Return every fraud among the first 20,000 transactions, and seven times as many others."""
    path = TABLES / "card_fraud_simulated.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return _card_fraud(path)


@cache
def _card_fraud(path: Path) -> Sample:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        lines = list(itertools.islice(reader, 20_000))
    names = ["TX_AMOUNT", *header[header.index("TX_DURING_WEEKEND") :]]
    rows = np.array([[line[header.index(name)] for name in names] for line in lines], np.float64)
    fraud = np.array([line[header.index("TX_FRAUD")] == "1" for line in lines])
    order = np.random.default_rng(0).permutation(len(lines))
    kept = np.sort(np.concatenate([np.flatnonzero(fraud), order[~fraud[order]][: 7 * fraud.sum()]]))
    return Sample(rows=rows[kept].astype(np.float32), fraud=fraud[kept], names=tuple(names))


def banknotes() -> Sample:
    """Return 200 Swiss notes with six measurements; a counterfeit counts as fraud."""
    path = TABLES / "swiss_banknotes.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    header, *values = (line.split(",") for line in lines)
    assert header[0] == "Status"
    rows = np.array([line[1:] for line in values], np.float32)
    return Sample(rows=rows, fraud=np.array([line[0] == "counterfeit" for line in values]), names=tuple(header[1:]))


def test_the_card_sample_holds_frauds_and_others_in_fifteen_columns() -> None:
    sample = card_fraud()
    assert sample.rows.shape == (len(sample.fraud), 15)
    assert 100 < sample.fraud.sum() < len(sample.fraud) / 7
    assert not np.isnan(sample.rows).any()
    assert 0.05 < np.isnan(sample.with_missing().rows).mean() < 0.15


def test_the_banknotes_are_a_hundred_of_each_kind() -> None:
    sample = banknotes()
    assert sample.rows.shape == (200, 6)
    assert sample.fraud.sum() == 100
    assert len(sample.names) == 6
