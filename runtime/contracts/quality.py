"""What a quality gate says of one photo. Decides nothing about the item."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityProblem:
    """Why a photo should be taken again.

    Attributes:
        code: stable, for machines and translators.
        text: what is wrong and what to do, in English.
        value: what was measured.
        limit: what it should be at least or at most.
    """

    code: str
    text: str
    value: float
    limit: float
