"""Who is on which side of the evidence. Items are split, never photos, so that no item can vouch for itself.

Every decision is a hash of the seed and the item's id, not a position: reordering the rows moves nobody.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import accumulate
from math import isclose
from types import MappingProxyType

from calibration_data.item import ROLES, Item, Role
from runtime.contracts.errors import Unsupported

SHARES: Mapping[Role, float] = MappingProxyType(
    {"train": 0.30, "calibrate": 0.15, "certify": 0.30, "evaluate": 0.10, "field": 0.15}
)
SMALLEST_STRATUM = 20  # items of one label and group; smaller ones are pooled within their label


def assign(
    items: Iterable[Item], *, seed: int, shares: Mapping[Role, float] = SHARES, by_time: bool = False
) -> dict[str, Role]:
    """Give every item one role.

    A split that the data gives wins; ``shares`` are of the others. Those are stratified on label, and on group where
    label and group have at least `SMALLEST_STRATUM` items. By time, the oldest go to ``train`` and the newest to
    ``field``, and nothing is stratified.

    Args:
        items: Distinct items, in any order.
        seed: Any integer; the same seed and items give the same roles.
        shares: Share of each role, summing to 1; a role left out gets nothing.
        by_time: Split by ``captured_at`` instead of at random.

    Returns:
        Role by item_id, in the order of ``items``.

    Raises:
        Unsupported: ``by_time``, and an item has no ``captured_at``.
        ValueError: ``shares`` are not shares, or an item_id appears twice.
    """
    given = _distinct(items)
    _require_shares(shares)
    free = [item for item in given if item.split is None]
    if by_time:
        roles = _cut(_oldest_first(given, free, seed), shares)
    else:
        roles = {}
        for label in sorted({item.label for item in free}):
            roles |= _cut(_interleaved([item for item in free if item.label == label], seed), shares)
    return {item.item_id: item.split if item.split is not None else roles[item.item_id] for item in given}


def folds(items: Iterable[Item], *, k: int, seed: int) -> dict[str, int]:
    """Deal items into ``k`` folds for cross-fitting, stratified by label.

    Args:
        items: Distinct items, in any order.
        k: Number of folds, at least 2.
        seed: Any integer; the same seed and items give the same folds.

    Returns:
        Fold, 0 to k - 1, by item_id in the order of ``items``. The folds' sizes differ by at most one, and so do each
        class's.

    Raises:
        Unsupported: A class has fewer than ``k`` items.
        ValueError: ``k`` is below 2, or an item_id appears twice.
    """
    if k < 2:
        raise ValueError(f"k is {k}, expected at least 2")
    given = _distinct(items)
    fold_of: dict[str, int] = {}
    for label, count in sorted(Counter(item.label for item in given).items()):
        if count < k:
            raise Unsupported(
                f"{count} {label} items cannot fill {k} folds; add items or ask for at most {count} folds"
            )
        members = sorted((item for item in given if item.label == label), key=lambda item: _draw(seed, item))
        start = len(fold_of)  # go on where the last class stopped, so that totals stay even
        fold_of |= {item.item_id: (start + place) % k for place, item in enumerate(members)}
    return {item.item_id: fold_of[item.item_id] for item in given}


def _distinct(items: Iterable[Item]) -> list[Item]:
    given = list(items)
    twice = [item_id for item_id, count in Counter(item.item_id for item in given).items() if count > 1]
    if twice:
        raise ValueError(f"item '{twice[0]}' appears more than once")
    return given


def _require_shares(shares: Mapping[Role, float]) -> None:
    if not set(shares) <= set(ROLES) or any(not 0 <= share <= 1 for share in shares.values()):
        raise ValueError(f"shares are {dict(shares)}, expected 0 to 1 for some of {', '.join(ROLES)}")
    if not isclose(sum(shares.values()), 1.0, abs_tol=1e-9):
        raise ValueError(f"shares sum to {sum(shares.values())}, expected 1")


def _draw(seed: int, item: Item) -> bytes:
    return blake2b(f"{seed}\n{item.item_id}".encode(), digest_size=16).digest()


def _interleaved(items: Sequence[Item], seed: int) -> list[Item]:
    """Order items of one label so that any stretch holds every large group in its proportion."""
    sizes = Counter(item.group for item in items)
    strata: dict[str | None, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: _draw(seed, item)):
        strata[item.group if sizes[item.group] >= SMALLEST_STRATUM else None].append(item)
    placed = [
        ((rank + 0.5) / len(members), _draw(seed, item), item)
        for members in strata.values()
        for rank, item in enumerate(members)
    ]
    return [item for _, _, item in sorted(placed, key=lambda place: place[:2])]


def _oldest_first(given: Sequence[Item], free: Sequence[Item], seed: int) -> list[Item]:
    for item in given:
        if item.captured_at is None:
            raise Unsupported(
                f"item '{item.item_id}' has no captured_at; a split by time needs it on all items:"
                " add it, or split at random"
            )
    start = datetime.min.replace(tzinfo=UTC)
    return sorted(free, key=lambda item: (item.captured_at or start, _draw(seed, item)))


def _cut(ordered: Sequence[Item], shares: Mapping[Role, float]) -> dict[str, Role]:
    """Cut a line of items at the cumulative shares; every role gets its share to within one item."""
    ends = [round(len(ordered) * end) for end in accumulate(shares.get(role, 0.0) for role in ROLES)]
    roles: dict[str, Role] = {}
    start = 0
    for role, end in zip(ROLES, ends, strict=True):
        roles |= {item.item_id: role for item in ordered[start:end]}
        start = end
    return roles
