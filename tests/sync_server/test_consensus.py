"""When labels settle a case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_server.consensus import outcome_of

LABELS = st.lists(st.sampled_from(["genuine", "counterfeit"]), max_size=12)
NEEDED = st.integers(1, 5)


@pytest.mark.parametrize(
    ("labels", "needed", "outcome"),
    [
        ([], 1, None),
        (["genuine"], 1, "genuine"),
        (["genuine"], 2, None),
        (["genuine", "genuine"], 2, "genuine"),
        (["genuine", "counterfeit"], 1, None),
        (["genuine", "counterfeit", "counterfeit"], 2, None),
        (["genuine", "counterfeit", "counterfeit", "counterfeit"], 2, "counterfeit"),
    ],
)
def test_an_answer_wins_when_it_leads_by_the_labels_needed(labels, needed, outcome) -> None:
    assert outcome_of(labels, needed) == outcome


@given(LABELS, NEEDED, st.randoms(use_true_random=False))
def test_the_order_of_labels_does_not_matter(labels, needed, random) -> None:
    shuffled = list(labels)
    random.shuffle(shuffled)
    assert outcome_of(labels, needed) == outcome_of(shuffled, needed)


@given(LABELS, NEEDED)
def test_genuine_and_counterfeit_are_treated_alike(labels, needed) -> None:
    other = {"genuine": "counterfeit", "counterfeit": "genuine", None: None}
    assert outcome_of([other[label] for label in labels], needed) == other[outcome_of(labels, needed)]


@given(LABELS, NEEDED)
def test_agreeing_once_more_never_unsettles(labels, needed) -> None:
    outcome = outcome_of(labels, needed)
    if outcome is not None:
        assert outcome_of([*labels, outcome], needed) == outcome


def test_a_lead_of_zero_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        outcome_of([], 0)
