"""When the experts' labels settle a case. Pure; the one rule that turns labels into an outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from runtime.contracts.records import Label


def outcome_of(labels: Iterable[Label], labels_needed: int) -> Label | None:
    """Return the answer that leads the other by at least ``labels_needed``, or ``None`` while neither does.

    A lead rather than a count: where two experts disagree, a third alone does not outvote one of them.

    Args:
        labels: one label a person, in any order.
        labels_needed: the lead, at least 1.

    Raises:
        ValueError: ``labels_needed`` is below 1.
    """
    if labels_needed < 1:
        raise ValueError(f"labels_needed must be at least 1, got {labels_needed}")
    count = Counter(labels)
    lead = count["genuine"] - count["counterfeit"]
    if abs(lead) < labels_needed:
        return None
    return "genuine" if lead > 0 else "counterfeit"
