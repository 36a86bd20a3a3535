"""The card transactions of the Fraud Detection Handbook, and its protocol: train on a week, wait, test on a later week.

The wait is the time that frauds take to be found out. Customers known to be compromised by a test day are taken off
that day, as the handbook's ``get_train_test_set`` does: whoever is blocked already is no catch. Nothing here trains.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.contracts.errors import Unsupported

LABEL, CUSTOMER, DAY = "TX_FRAUD", "CUSTOMER_ID", "TX_TIME_DAYS"
FIRST_FEATURE = "TX_AMOUNT"
ENGINEERED_FROM = "TX_DURING_WEEKEND"
"""From this column on, the rest of the file are the features that the handbook derives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """A table in order of time.

    Attributes:
        rows: ``float32 (n, F)``.
        features: names of its columns.
        fraud: ``bool (n,)``.
        customer: ``int64 (n,)``.
        day: ``int64 (n,)``, the first day is 0.
    """

    rows: npt.NDArray[np.float32]
    features: tuple[str, ...]
    fraud: npt.NDArray[np.bool_]
    customer: npt.NDArray[np.int64]
    day: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """In days: training begins on ``start`` and lasts ``train``; after ``delay``, the test lasts ``test``."""

    start: int
    train: int
    delay: int
    test: int


HANDBOOK = Window(start=0, train=7, delay=7, test=7)
INNER = tuple(
    Window(start=start, train=train, delay=1, test=6 - start - train)
    for start, train in ((0, 2), (0, 3), (0, 4), (0, 5), (1, 3), (1, 4), (2, 3))
)
"""Windows inside the training week, to choose a model by: later days than it was trained on, never a test day."""


def read_transactions(path: Path) -> Transactions:
    """Read the gzipped CSV.

    Raises:
        Unsupported: it is not that table.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            lines = list(reader)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise Unsupported(f"{path}: expected gzipped CSV, got something else ({error})") from error
    missing = {LABEL, CUSTOMER, DAY, FIRST_FEATURE, ENGINEERED_FROM} - set(header)
    if missing or not lines:
        raise Unsupported(f"{path}: expected card transactions with columns {', '.join(sorted(missing))}; got none")
    features = (FIRST_FEATURE, *header[header.index(ENGINEERED_FROM) :])
    places = [header.index(name) for name in (*features, LABEL, CUSTOMER, DAY)]
    table = np.array([[line[place] for place in places] for line in lines], np.float64)
    count = len(features)
    day = table[:, count + 2].astype(np.int64)
    return Transactions(
        rows=table[:, :count].astype(np.float32),
        features=features,
        fraud=table[:, count] == 1,
        customer=table[:, count + 1].astype(np.int64),
        day=day - day.min(),
    )


def split(table: Transactions, window: Window) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which rows to train on and which to test on, each ``bool (n,)``.

    On each test day, customers are left out who had a fraud in the training days, or since then up to the day whose
    labels have arrived by that test day (``test day - delay - 1``; the handbook's own arithmetic).
    """
    end = window.start + window.train
    train = (table.day >= window.start) & (table.day < end)
    test = np.zeros(len(table.day), np.bool_)
    for number in range(window.test):
        known = table.fraud & (table.day >= window.start) & (table.day < end + number)
        fresh = ~np.isin(table.customer, np.unique(table.customer[known]))
        test |= (table.day == end + window.delay + number) & fresh
    return train, test
