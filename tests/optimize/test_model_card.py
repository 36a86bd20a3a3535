"""The model card: an auditor finds every section of the standard, and no bound without its n and confidence."""

from __future__ import annotations

import dataclasses
import re

import pytest

from optimize.evidence import Evidence
from optimize.model_card import model_card
from tests.optimize.evidence_rigs import CLAIMS, CREATED_AT, fidelity_evidence, risk_evidence, unproved_evidence

SECTIONS = (
    *("Model details", "Intended use", "Out of scope", "Data", "Metrics", "What is claimed", "What is not claimed"),
    *("Variants and devices", "Risks and limits", "How to verify", "Provenance"),
)


def card(evidence: Evidence) -> dict[str, str]:
    """Return the card's sections by title."""
    parts = re.split(r"(?m)^## (.*)$", model_card("goods", CREATED_AT, evidence))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("evidence", [risk_evidence, unproved_evidence, fidelity_evidence])
def test_a_card_has_every_section_and_none_is_empty(evidence) -> None:
    found = card(evidence())
    assert tuple(found) == SECTIONS
    assert all(text.strip() for text in found.values())


def test_every_bound_that_is_claimed_has_its_n_and_its_confidence() -> None:
    claimed = card(risk_evidence())["What is claimed"]
    bounds = [line for line in claimed.splitlines() if line.startswith("- ") and "prevalence is assumed" not in line]
    assert len(bounds) == 4  # all items, two groups, review
    assert all(re.search(r"n = [\d,]+", line) and "at an error level of 0.16%" in line for line in bounds)
    assert "hold with 95% confidence over 32 claims" in claimed


def test_a_share_among_accepted_items_stands_only_beside_its_prevalence() -> None:
    found = card(risk_evidence())
    (line,) = [line for line in found["What is claimed"].splitlines() if "called authentic at most" in line]
    assert "if 9.0% of all items are: that prevalence is assumed" in line
    plain = dataclasses.replace(CLAIMS, max_review=None, prevalence=None)
    without = card(risk_evidence(claims=plain))
    assert "are counterfeit, if" not in without["What is claimed"]
    assert "The share of counterfeits among accepted items" in without["What is not claimed"]
    assert "no review budget was given" in without["What is not claimed"]


def test_without_a_proof_nothing_is_claimed() -> None:
    claimed = card(unproved_evidence())["What is claimed"].strip()
    assert claimed.startswith("Nothing. 1,720 counterfeits do not prove a missed share of 0.01%")
    assert "85,651 more without a further miss would" in claimed
    assert "at most" not in claimed


def test_a_fidelity_card_claims_nothing_about_decisions() -> None:
    found = card(fidelity_evidence())
    assert found["What is claimed"].strip() == "Nothing about decisions."
    assert "decisions were not" in found["What is not claimed"]
    assert "no bound" in found["Metrics"]


def test_what_was_refused_and_what_was_not_timed_is_said() -> None:
    found = card(risk_evidence())
    assert "- ort-cpu-int8-avx2: latency: it takes 1.10" in found["Variants and devices"]
    assert "in the bundle, built, execution unverified" in found["Variants and devices"]
    assert "The speed of ort-arm-int8, web-int8, tensorrt-rtx-fp16" in found["What is not claimed"]
    assert "A bound of its own for each of: Corvo &amp; Söhne." in found["What is not claimed"]


def test_data_are_counted_by_side_and_class_and_group() -> None:
    data = card(risk_evidence())["Data"]
    assert "| certify | 1,720 | 1,720 |" in data
    assert "| Aurelia | 60 | 60 |" in data
    cross_fitted = dataclasses.replace(risk_evidence(), cross_fitted=True)
    assert "judged by a head that never saw it" in card(cross_fitted)["Data"]
    assert "this proof is an approximation" in card(cross_fitted)["What is claimed"]


def test_names_from_outside_become_no_markup_and_break_no_table() -> None:
    bad = "<b>|x|</b>\n# [h](http://x)"
    changed = dataclasses.replace(risk_evidence(), provenance={bad: bad}, notes=(bad,))
    text = model_card(bad, CREATED_AT, changed)
    assert "<b>" not in text
    assert "](http" not in text
    assert text.count("\n# ") == 0
    row = next(line for line in text.splitlines() if line.startswith("| &lt;b&gt;"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_a_listing_model_is_said_to_send_more_to_experts() -> None:
    claimed = card(risk_evidence())["What is claimed"]
    assert "by photos alone: the listing model sends more" in claimed
    assert "listing" not in card(dataclasses.replace(risk_evidence(), listing=None))["What is claimed"]
