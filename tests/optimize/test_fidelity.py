"""Cosine, relative error and agreement of outputs, on any outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from optimize.compiling import compared, harm_of
from optimize.fidelity import Outputs, compare, read_outputs, write_outputs

Floats = npt.NDArray[np.float32]

values = st.floats(-1000, 1000, width=32).map(lambda x: np.float32(0) if abs(x) < 1e-3 else np.float32(x))
few_rows = arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(2, 4)), elements=values).filter(
    lambda table: bool(table.any())
)
tables = arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 4)), elements=values)


def one(*feeds: Any) -> list[Outputs]:
    return [{"y": np.asarray(feed, np.float32)} for feed in feeds]


@given(st.lists(tables, min_size=1, max_size=3))
def test_a_network_is_itself(feeds: list[Floats]) -> None:
    found = compare(one(*feeds), one(*feeds))
    assert found.cosine == pytest.approx(1.0, abs=1e-9)
    assert (found.relative_error, found.top1_agreement) == (0.0, 1.0)
    assert found.inputs == sum(len(feed) for feed in feeds)


@given(few_rows, st.floats(0.01, 100))
def test_a_scaled_output_points_the_same_way_and_is_off_by_the_scale(table: Floats, scale: float) -> None:
    found = compare([{"y": table.astype(np.float64) * scale}], [{"y": table}])
    assert found.cosine == pytest.approx(1.0, abs=1e-9)
    assert found.relative_error == pytest.approx(abs(scale - 1), abs=1e-6)
    assert found.top1_agreement == 1.0


@given(few_rows)
def test_the_opposite_is_as_wrong_as_a_direction_can_be(table: Floats) -> None:
    assert compare(one(-table), one(table)).cosine == pytest.approx(-1.0, abs=1e-9)


@given(st.data())
def test_figures_do_not_depend_on_how_rows_are_cut_into_feeds(data: st.DataObject) -> None:
    shape = (6, 3)
    a, b = (data.draw(arrays.arrays(np.float32, shape, elements=values)) for _ in range(2))
    cut = data.draw(st.integers(1, 5))
    whole, parts = compare(one(a), one(b)), compare(one(a[:cut], a[cut:]), one(b[:cut], b[cut:]))
    assert (whole.cosine, whole.relative_error) == pytest.approx((parts.cosine, parts.relative_error), abs=1e-9)
    assert (whole.top1_agreement, whole.inputs) == (parts.top1_agreement, parts.inputs)


@given(arrays.arrays(np.float64, (6, 3), elements=values), st.floats(-100, 100))
def test_a_part_that_never_changes_makes_no_two_networks_alike(table: npt.NDArray[np.float64], constant: float) -> None:
    """From four rows on, what counts is how outputs differ from the float model's mean row."""
    other = table[::-1] * 1.5
    plain, lifted = (compare([{"y": other + by}], [{"y": table + by}]) for by in (0.0, constant))
    assert lifted.cosine == pytest.approx(plain.cosine, abs=1e-6)
    spread = np.array([[1.0, -1], [-1, 1], [1, -1], [-1, 1]])
    assert compare([{"y": 1000 - spread}], [{"y": 1000 + spread}]).cosine == pytest.approx(-1.0)
    assert compare([{"y": 1000 - spread[:3]}], [{"y": 1000 + spread[:3]}]).cosine > 0.99
    cut = compare(
        [{"y": 1000 - spread[:1]}, {"y": 1000 - spread[1:]}], [{"y": 1000 + spread[:1]}, {"y": 1000 + spread[1:]}]
    )
    assert cut.cosine == pytest.approx(-1.0)


def test_a_network_that_always_says_the_same_agrees_with_one_that_says_it_too() -> None:
    same = np.full((8, 3), 0.25)
    assert compare(one(same), one(same)).cosine == 1.0
    assert compare(one(same + 1), one(same)).cosine == 0.0


def test_figures_are_those_of_the_formulas() -> None:
    found = compare(one([[3, 0], [0, 1]]), one([[3, 4], [0, 1]]))
    assert found.cosine == pytest.approx(10 / np.sqrt(10 * 26))
    assert found.relative_error == pytest.approx(4 / np.sqrt(26))
    assert found.top1_agreement == 0.5


def test_of_several_outputs_the_worst_counts() -> None:
    good, bad, off = np.ones((2, 3)), np.array([[1.0, 0, 0]] * 2), np.ones((2, 3)) * 3
    found = compare([{"a": good, "b": bad, "c": off}], [{"a": good, "b": good, "c": good}])
    assert found.cosine == pytest.approx(1 / np.sqrt(3))
    assert found.relative_error == pytest.approx(2.0)
    assert found.top1_agreement is None


def test_outputs_that_an_engine_renamed_are_matched_by_place() -> None:
    a, b = np.ones((2, 3)), np.full((2, 4), 2.0)
    found = compare([{"out/0": a, "out/1": b}], [{"a": a, "b": b}])
    assert (found.cosine, found.relative_error) == (pytest.approx(1.0), 0.0)
    swapped = compare([{"b": b, "a": a}], [{"a": a, "b": b}])
    assert swapped.relative_error == 0.0


@pytest.mark.parametrize(
    "found",
    [[{"y": np.ones((2, 4))}], [{"x": np.ones((2, 3))}, {}], [{"y": np.ones(7)}]],
    ids=["a column more", "an output less", "another shape"],
)
def test_outputs_of_another_shape_are_as_wrong_as_can_be(found: list[Outputs]) -> None:
    reference: list[Outputs] = [{"y": np.ones((2, 3))}] * len(found)
    result = compare(found, reference)
    assert (result.cosine, result.top1_agreement) == (-1.0, None)
    assert result.relative_error > 1e6


def test_outputs_that_are_all_zero_agree_with_zero_only() -> None:
    assert compare(one(np.zeros((2, 3))), one(np.zeros((2, 3)))).cosine == 1.0
    assert compare(one(np.ones((2, 3))), one(np.zeros((2, 3)))).cosine == 0.0
    assert compare(one(np.zeros((2, 3))), one(np.ones((2, 3)))).cosine == 0.0


def test_a_single_column_has_no_classes() -> None:
    assert compare(one([[1], [2]]), one([[1], [2]])).top1_agreement is None
    assert compare(one([1, 2]), one([1, 2])).top1_agreement is None


def test_scalars_and_integers_are_compared_too() -> None:
    assert compare([{"n": np.int64(3)}], [{"n": np.int64(3)}]).relative_error == 0.0
    assert compare([{"n": np.int64(4)}], [{"n": np.int64(2)}]).relative_error == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_a_refusal_in_words(bad: float) -> None:
    found = compared(one([[1, 2]], [[bad, 2]]), one([[1, 2]], [[1, 2]]))
    assert (found.fidelity, found.correlation) == (None, None)
    assert found.refusal == "output 'y' has values that are not finite"
    assert harm_of(found, by_correlation=True) == harm_of(found, by_correlation=False) == np.inf


def test_harm_is_what_lacks_to_one_by_cosine_or_by_correlation() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(5.0, 1.0, (200, 1))
    found = compared(one(logits + 3 + random.normal(0, 1.0, (200, 1))), one(logits))
    assert found.fidelity is not None
    assert found.correlation == pytest.approx(np.sqrt(0.5), abs=0.1)  # as much noise as signal
    assert harm_of(found, by_correlation=True) == pytest.approx(1 - found.correlation)
    assert harm_of(found, by_correlation=False) == pytest.approx(1 - found.fidelity.cosine)
    assert harm_of(found, by_correlation=False) > harm_of(
        found, by_correlation=True
    )  # an offset is harmless to decisions


@given(tables.filter(lambda table: len(table) > 1), st.floats(0.5, 2), st.floats(-10, 10))
def test_a_straight_line_over_the_logits_harms_no_decision(table: Floats, slope: float, offset: float) -> None:
    a = table.astype(np.float64)
    found = compared([{"y": a * slope + offset}], [{"y": a}])
    assert harm_of(found, by_correlation=True) == pytest.approx(0.0, abs=1e-6)


def test_where_outputs_are_no_table_of_columns_correlation_is_unknown_and_the_cosine_counts() -> None:
    found = compared([{"y": np.ones((2, 3, 4))}], [{"y": np.ones((2, 3, 4))}])
    assert found.correlation is None
    assert harm_of(found, by_correlation=True) == pytest.approx(0.0)


def test_outputs_on_disk_come_back_in_order_as_many_as_asked_for(tmp_path: Path) -> None:
    feeds: list[Outputs] = [
        {"b:0": np.full((2, 2), number, np.float32), "a/x": np.array(number)} for number in range(12)
    ]
    write_outputs(tmp_path / "o.npz", feeds)
    for most, expected in ((None, 12), (5, 5), (40, 12)):
        found = read_outputs(tmp_path / "o.npz", most)
        assert len(found) == expected
        for number, feed in enumerate(found):
            assert list(feed) == ["b:0", "a/x"]
            assert feed["b:0"].tolist() == [[number] * 2] * 2
            assert feed["a/x"] == number
