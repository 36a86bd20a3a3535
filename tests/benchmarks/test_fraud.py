"""The handbook's protocol on real transactions, the conversion on some of them, and the figures on all of them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from benchmarks import fraud
from benchmarks.fraud_protocol import HANDBOOK, INNER, Transactions, Window, read_transactions, split

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("TOUCHSTONE_DATA", REPOSITORY.parent / "shared" / "data"))
CARDS = DATA / "tabular" / "card_fraud_simulated.csv.gz"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small fits on a busy machine wait for each other's threads far longer than they compute."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def cards() -> Transactions:
    if not CARDS.is_file():
        pytest.skip(f"{CARDS} is not here")
    return read_transactions(CARDS)


@pytest.fixture(scope="module")
def some(cards: Transactions) -> Transactions:
    """Every fraud, and a tenth of the others."""
    kept = cards.fraud | (np.arange(len(cards.day)) % 10 == 0)
    columns = ("rows", "fraud", "customer", "day")
    return dataclasses.replace(cards, **{name: getattr(cards, name)[kept] for name in columns})


def toy(rows: list[tuple[int, int, bool]]) -> Transactions:
    """A table of (day, customer, fraud)."""
    day, customer, bad = (np.array(column) for column in zip(*rows, strict=True))
    return Transactions(
        rows=np.zeros((len(rows), 1), np.float32), features=("a",), fraud=bad, customer=customer, day=day
    )


def test_customers_known_by_a_test_day_are_left_out_and_later_ones_are_not() -> None:
    window = Window(start=0, train=2, delay=3, test=2)
    table = toy(
        [
            (1, 10, True),  # known from the training days
            (2, 11, True),  # its label arrives for test day 1 only
            (3, 12, True),  # after what the second test day may know
            (5, 10, False),
            (5, 11, False),
            (5, 12, False),
            (6, 10, False),
            (6, 11, True),
            (6, 12, False),
            (6, 13, False),
        ]
    )
    train, test = split(table, window)
    assert np.flatnonzero(train).tolist() == [0]
    assert np.flatnonzero(test).tolist() == [4, 5, 8, 9]


def test_the_handbooks_split_of_the_file_has_the_handbooks_numbers(cards: Transactions) -> None:
    train, test = split(cards, HANDBOOK)
    assert (train.sum(), cards.fraud[train].sum()) == (67_240, 598)
    assert (test.sum(), cards.fraud[test].sum()) == (58_264, 385)
    assert cards.rows.shape[1] == len(cards.features) == 15


def test_the_choice_never_sees_a_day_after_the_training_week(cards: Transactions) -> None:
    for window in INNER:
        train, test = split(cards, window)
        assert cards.day[test].max() < HANDBOOK.train
        assert cards.day[train].max() < cards.day[test].min()
        assert cards.fraud[test].sum() > 20


def skills(*sums: float) -> list[fraud.Skill]:
    return [fraud.Skill(auc=0.5, average_precision=each - 0.5) for each in sums]


def test_the_smallest_of_those_that_the_windows_cannot_tell_apart_is_chosen() -> None:
    inner = {"best": skills(1.6, 1.7, 1.65), "as good": skills(1.62, 1.65, 1.66), "worse": skills(1.5, 1.6, 1.55)}
    assert fraud.choose(inner, {"best": 3.0, "as good": 1.0, "worse": 0.1}) == "as good"
    assert fraud.choose(inner, {"best": 0.5, "as good": 1.0, "worse": 0.1}) == "best"


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_a_family_is_trained_converted_and_judged(some: Transactions, name: str) -> None:
    test, error, size_mb, latencies = fraud.judge(name, some, HANDBOOK, {1: 3, 50: 2})
    assert test.auc > 0.8
    assert test.average_precision > 0.4
    assert error < 1e-5
    assert 0 < size_mb < 5
    assert [one.rows for one in latencies] == [1, 50]
    assert all(one.ratio_low <= one.ratio <= one.ratio_high for one in latencies)


def test_a_report_is_a_table_and_json_with_the_device_and_the_choice(
    some: Transactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fraud, "FAMILIES", {name: fraud.FAMILIES[name] for name in ("lightgbm", "xgboost")})
    monkeypatch.setattr(fraud, "INNER", INNER[:1])
    monkeypatch.setattr(fraud, "BATCHES", {1: 2, 1000: 2})
    monkeypatch.setattr(fraud, "read_transactions", lambda path: some)
    assert fraud.main(["--data", "cards.csv.gz", "--out", str(tmp_path / "fraud.json")]) == 0
    found = json.loads((tmp_path / "fraud.json").read_text())
    assert found["device"]["date"][:4] == str(datetime.now(UTC).year)
    assert {"onnxruntime", "lightgbm", "xgboost"} <= set(found["device"]["versions"])
    assert found["command"] == "python -m benchmarks.fraud --data cards.csv.gz"
    assert [one["chosen"] for one in found["families"]].count(True) == 1
    shown = capsys.readouterr().out
    assert "(chosen)" in shown
    assert f"{found['families'][0]['test']['auc']:.4f}" in shown


def test_a_file_that_is_no_such_table_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cards.csv.gz").write_bytes(b"TX_FRAUD\n")
    assert fraud.main(["--data", str(tmp_path / "cards.csv.gz")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "expected gzipped CSV" in shown.err


@pytest.mark.long
def test_the_chosen_trees_reach_the_published_figures_as_onnx(cards: Transactions) -> None:
    test, error, _, _ = fraud.judge(fraud.CHOSEN, cards, HANDBOOK, {1: 3})
    assert test.auc >= fraud.PUBLISHED_AUC
    assert test.average_precision >= fraud.PUBLISHED_AP
    assert error < 1e-5


@pytest.mark.long
def test_the_training_week_alone_chooses_those_trees(cards: Transactions) -> None:
    inner = {name: fraud.inner_skills(name, cards, INNER) for name in fraud.FAMILIES}
    sizes = {name: fraud.judge(name, cards, HANDBOOK, {})[2] for name in fraud.FAMILIES}
    assert fraud.choose(inner, sizes) == fraud.CHOSEN
