"""When two runs of the same rows count as one, and when not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from optimize.agreement import disagreements

ROWS = np.random.default_rng(7).normal(size=(4, 32)).astype(np.float32)


def refusals(got: npt.NDArray[np.generic], expected: npt.NDArray[np.generic]) -> list[str]:
    return disagreements({"y": got}, {"y": expected}, "v")


def test_the_same_and_nearly_the_same_agree() -> None:
    assert refusals(ROWS, ROWS) == []
    assert refusals(ROWS * np.float32(1.01), ROWS) == []
    assert refusals(np.zeros((4, 32)), np.zeros((4, 32))) == []


@pytest.mark.parametrize(
    ("got", "expected", "word"),
    [
        (ROWS * 2, ROWS, "error 100.0%"),  # a cosine alone is blind to a factor
        (np.vstack([ROWS[:3], -ROWS[3:]]), ROWS, "cosine -1.0000"),  # one row of four
        (ROWS[:3], ROWS, "has shape (3, 32), (4, 32) was judged"),
        (np.where(ROWS > 2, np.nan, ROWS), ROWS, "is not finite"),
        (np.array([["a"]]), np.array([["b"]]), "is not what was judged"),
    ],
)
def test_what_differs_is_refused_in_words(
    got: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], word: str
) -> None:
    (refusal,) = refusals(got, expected)
    assert refusal.startswith("agreement: output 'y' of v ")
    assert word in refusal


def test_single_logits_are_compared_together_because_one_has_no_direction() -> None:
    logits = np.array([[3.0], [-0.001], [2.0], [-4.0]], np.float32)
    assert refusals(logits + np.float32(0.002), logits) == []
    assert len(refusals(logits + np.float32(1), logits)) == 1


def test_an_output_that_is_missing_is_refused() -> None:
    assert disagreements({}, {"y": ROWS}, "v") == ["agreement: v has no output 'y', which was judged; build again"]
