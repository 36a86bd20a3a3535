"""Judges frozen variants of an authenticator by their decisions: all score the same items, each photo once."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibration_data.dataset import Item
from optimize.colour import ColourStatistics
from optimize.compiling import tool_versions
from optimize.decisions import Decided, decide_cross_fitted, decide_split, evaluate_items
from optimize.evidence import Claims, Decision, GroupClaim, Regressions, ReportedItem, ReviewClaim
from optimize.freezing import Frozen
from optimize.listing import DecidedListing
from optimize.model import ModelSpec
from optimize.recipe import BudgetRecipe
from optimize.risk import Budget, admit_groups, genuine_needed, review_bound, upper_bound
from optimize.roles import Roles
from optimize.rule import Scored
from optimize.scoring import Row, photos_of, score_photos
from optimize.search import Workbench
from runtime.contracts.bundle import ANY_VIEW
from runtime.contracts.codec import encode
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported
from runtime.engine import load_network


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the items say: by variant its decision rule, and the evidence of it."""

    claims: Claims
    decided: Mapping[str, Decided]
    decisions: Mapping[str, Decision]
    rows: Sequence[Row]


def divide(variants: int, roles: Roles, budget: BudgetRecipe) -> Claims:
    """Divide the error level over all claims: variants x (all items, each group that is large enough, review)."""
    by_group: dict[str, int] = defaultdict(int)
    for item in roles.certify:
        if item.label == "counterfeit" and item.group:
            by_group[item.group] += 1
    review = budget.max_review is not None
    groups = admit_groups(by_group, variants, review, budget.confidence, budget.max_missed)
    claims = variants * (1 + len(groups) + review)
    return Claims(
        max_missed=budget.max_missed,
        max_missed_fraud=budget.max_missed_fraud,
        confidence=budget.confidence,
        variants=variants,
        groups=groups,
        max_review=budget.max_review,
        prevalence=budget.prevalence if review else None,
        claims=claims,
        alpha_per_claim=(1 - budget.confidence) / claims,
    )


def score(frozen: Sequence[Frozen], spec: ModelSpec, roles: Roles, bench: Workbench) -> list[Row]:
    """Decode every photo once and run it through what looks first in every variant.

    Returns:
        Rows with one output a variant: its own, or its first stage's if it is a cascade, whose second stage is a
        variant by itself. The last output is the photo's colour statistics.

    Raises:
        Unsupported: a photo does not decode.
    """

    def make(draft: Path) -> None:
        networks = [
            (load_network(compiled.judged_engine, compiled.judged_file, 1), px)
            for compiled, px in ((one.looks_first.scored, side) for one, side in zip(frozen, sides, strict=True))
        ]
        rows = score_photos(
            [*networks, (ColourStatistics(), spec.px)],
            roles.scored,
            spec.views,
            spec.regions,
            lambda done, total: bench.progress("score items", done, total),
        )
        outputs = {str(place): np.stack([row.outputs[place] for row in rows]) for place in range(len(networks) + 1)}
        np.savez(draft / "outputs.npz", allow_pickle=False, **outputs)
        (draft / "rows.json").write_text(json.dumps([(row.item_id, row.view) for row in rows]))

    sides = [one.first.px if one.first else spec.px for one in frozen]
    photos = [
        [item.item_id, photo.view, sha256_hex(photo.path.read_bytes())]
        for item, photo in photos_of(roles.scored, spec.views)
    ]
    key = {
        "variants": [
            [one.looks_first.digest, one.looks_first.scored.judged_engine, px]
            for one, px in zip(frozen, sides, strict=True)
        ],
        "photos": sha256_hex(json.dumps(photos).encode()),
        "input": encode(spec.input),
        "tools": dict(tool_versions()),
    }
    folder = bench.cache.step("score", key, make)
    names = json.loads((folder / "rows.json").read_text())
    with np.load(folder / "outputs.npz", allow_pickle=False) as stored:
        outputs = [stored[str(place)] for place in range(len(stored.files))]
    return [
        Row(item_id=item_id, view=view, outputs=tuple(output[number] for output in outputs))
        for number, (item_id, view) in enumerate(names)
    ]


def judge(
    frozen: Sequence[Frozen],
    rows: Sequence[Row],
    spec: ModelSpec,
    roles: Roles,
    budget: BudgetRecipe,
    listing: DecidedListing | None,
) -> Judged:
    """Set every variant's thresholds from its own scores, and test them on items that chose nothing.

    Args:
        frozen: in the order of the rows' outputs.
        rows: from ``score``.
        spec: of the model.
        roles: of the items.
        budget: of the business.
        listing: the listing model's decisions, if any.

    Raises:
        Unsupported: a score is not finite.
    """
    claims = divide(len(frozen), roles, budget)
    looked = {one.name: gather(rows, place, spec, roles) for place, one in enumerate(frozen)}
    decided = {
        one.name: _decide(
            _escalated(looked[one.name], looked[one.slot.name]) if one.first else looked[one.name], spec, roles, claims
        )
        for one in frozen
    }
    reference = next((decided[one.name] for one in frozen if one.precision == "float32" and one.first is None), None)
    decisions = {
        name: _evidence(found, reference if found is not reference else None, roles, claims, listing)
        for name, found in decided.items()
    }
    return Judged(claims=claims, decided=decided, decisions=decisions, rows=rows)


def gather(rows: Sequence[Row], index: int, spec: ModelSpec, roles: Roles) -> dict[str, Scored]:
    """Gather one output's logits by item, from the block of columns that may judge the item.

    Raises:
        Unsupported: a logit is not finite.
    """
    logits: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        block = row.outputs[index][spec.block(roles.fold_of.get(row.item_id))]
        column = 0 if spec.views == (ANY_VIEW,) else spec.views.index(row.view)
        logit = float(block[column])
        if not math.isfinite(logit):
            raise Unsupported(
                f"model {spec.name}: photo {row.view!r} of item {row.item_id!r} scores {logit}; train again"
            )
        logits[row.item_id][row.view].append(logit)
    return {
        item.item_id: Scored(
            item_id=item.item_id,
            positive=item.label == "counterfeit",
            logits=logits[item.item_id],
            group=item.group,
            fold=roles.fold_of.get(item.item_id, 0),
        )
        for item in roles.scored
    }


def _escalated(first: Mapping[str, Scored], second: Mapping[str, Scored]) -> dict[str, Scored]:
    """Put a cascade's stages together: what its second one saw, and beside it what the first one did."""
    return {item_id: replace(item, first=first[item_id].logits) for item_id, item in second.items()}


def reported(roles: Roles) -> tuple[ReportedItem, ...]:
    """Return the items that chose nothing, in the order of ``Decision.p``."""
    return tuple(
        ReportedItem(item_id=item.item_id, counterfeit=item.label == "counterfeit", group=item.group)
        for item in roles.evaluate
    )


def _decide(scored: Mapping[str, Scored], spec: ModelSpec, roles: Roles, claims: Claims) -> Decided:
    budget = Budget(max_missed=claims.max_missed, alpha=claims.alpha_per_claim)
    calibrate, certify, evaluate = (
        [scored[item.item_id] for item in side] for side in (roles.calibrate, roles.certify, roles.evaluate)
    )
    if roles.cross_fitted:
        return decide_cross_fitted(calibrate, spec.views, budget, claims.groups)
    return decide_split(calibrate, certify, evaluate, spec.views, budget, claims.groups)


def _evidence(
    found: Decided, reference: Decided | None, roles: Roles, claims: Claims, listing: DecidedListing | None
) -> Decision:
    return Decision(
        certificate=found.certificate,
        groups=tuple(
            GroupClaim(group=group, n=n, misses=misses, upper_bound=upper_bound(misses, n, claims.alpha_per_claim))
            for group, (n, misses) in sorted(found.groups.items())
            if found.certificate.certified
        ),
        review=_review(found, claims),
        genuine_review=found.review,
        regressions=(
            _regressions(found, reference, roles, claims) if reference and found.certificate.certified else None
        ),
        evaluation=evaluate_items(
            _labelled(roles.evaluate),
            found.probabilities,
            found.thresholds,
            listing.p_fraud if listing else {},
            listing.model.uncertain_from if listing else None,
        ),
        authentic_below=found.thresholds.authentic_below,
        suspect_from=found.thresholds.suspect_from,
        p=tuple(found.probabilities[item.item_id] for item in roles.evaluate),
    )


def _review(found: Decided, claims: Claims) -> ReviewClaim | None:
    if claims.max_review is None or claims.prevalence is None:
        return None
    bound = review_bound(found.reviewed, found.genuine, claims.prevalence, claims.alpha_per_claim)
    return ReviewClaim(
        genuine=found.genuine,
        reviewed=found.reviewed,
        share=claims.prevalence + (1 - claims.prevalence) * found.review,
        upper_bound=bound,
        holds=bound <= claims.max_review,
        more_genuine=genuine_needed(
            found.reviewed, found.genuine, claims.prevalence, claims.max_review, claims.alpha_per_claim
        ),
    )


def _regressions(found: Decided, reference: Decided, roles: Roles, claims: Claims) -> Regressions:
    items = tuple(sorted(found.missed - reference.missed))
    n = sum(item.label == "counterfeit" for item in roles.certify)
    bound = upper_bound(len(items), n, 1 - claims.confidence) if n else 1.0
    return Regressions(items=items, n=n, upper_bound=bound, confidence=claims.confidence)


def _labelled(items: Sequence[Item]) -> list[tuple[str, bool]]:
    return [(item.item_id, item.label == "counterfeit") for item in items]
