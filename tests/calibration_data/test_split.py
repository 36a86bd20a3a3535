"""The split: by item, stratified, deterministic, and never against the data's own word."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration_data.dataset import LABELS, ROLES, Item
from calibration_data.split import SHARES, SMALLEST_STRATUM, assign, folds
from runtime.contracts.errors import Unsupported

START = datetime(2026, 3, 2, tzinfo=UTC)


@st.composite
def some_items(draw: st.DrawFn, given_splits: bool = True) -> list[Item]:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(LABELS),
                st.sampled_from(["A", "B", None]),
                st.sampled_from([None, None, *ROLES]) if given_splits else st.none(),
                st.integers(0, 50),
            ),
            max_size=150,
        )
    )
    return [
        Item(
            item_id=f"item-{n}",
            label=label,
            photos=(),
            group=group,
            split=split,
            captured_at=START + timedelta(days=day),
        )
        for n, (label, group, split, day) in enumerate(rows)
    ]


def plain(genuine: int, counterfeit: int = 0, group: str | None = None) -> list[Item]:
    labels = ["genuine"] * genuine + ["counterfeit"] * counterfeit
    return [
        Item(item_id=f"{group}-{n}", label="genuine" if label == "genuine" else "counterfeit", photos=(), group=group)
        for n, label in enumerate(labels)
    ]


@given(some_items(), st.integers(0, 2**40), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_items_changes_nothing(
    items: list[Item], seed: int, by_time: bool, shuffler: random.Random
) -> None:
    roles = assign(items, seed=seed, by_time=by_time)
    shuffled = list(items)
    shuffler.shuffle(shuffled)
    assert assign(shuffled, seed=seed, by_time=by_time) == roles
    assert list(roles) == [item.item_id for item in items]


@given(some_items(), st.integers(0, 2**40), st.booleans())
def test_a_split_in_the_data_wins(items: list[Item], seed: int, by_time: bool) -> None:
    roles = assign(items, seed=seed, by_time=by_time)
    assert all(roles[item.item_id] == item.split for item in items if item.split is not None)


@given(some_items(given_splits=False), st.integers(0, 2**40))
def test_every_label_is_cut_at_the_shares_to_within_one_item(items: list[Item], seed: int) -> None:
    roles = assign(items, seed=seed)
    for label in LABELS:
        members = [item.item_id for item in items if item.label == label]
        counts = Counter(roles[item_id] for item_id in members)
        assert all(abs(counts[role] - SHARES[role] * len(members)) <= 1 for role in ROLES)


@given(st.integers(SMALLEST_STRATUM, 300), st.integers(SMALLEST_STRATUM, 60), st.integers(0, 2**40))
def test_a_large_group_is_on_every_side_in_its_proportion(large: int, small: int, seed: int) -> None:
    items = plain(large, group="A") + plain(small, group="B")
    roles = assign(items, seed=seed)
    for group, size in (("A", large), ("B", small)):
        counts = Counter(role for item_id, role in roles.items() if item_id.startswith(group))
        assert all(abs(counts[role] - SHARES[role] * size) <= 2.5 for role in ROLES)


@given(some_items(given_splits=False), st.integers(0, 2**40))
def test_by_time_no_item_is_older_than_one_of_an_earlier_role(items: list[Item], seed: int) -> None:
    roles = assign(items, seed=seed, by_time=True)
    in_role_order = sorted(items, key=lambda item: (ROLES.index(roles[item.item_id]), item.captured_at))
    times = [item.captured_at for item in in_role_order]
    assert times == sorted(times, key=lambda time: time or START)


def test_another_seed_gives_another_split() -> None:
    items = plain(100, 100)
    assert assign(items, seed=1) == assign(items, seed=1)
    assert assign(items, seed=1) != assign(items, seed=2)


def test_tiny_groups_beside_a_large_one_do_not_all_land_on_the_same_side() -> None:
    tiny = [Item(item_id=f"i{n}", label="genuine", photos=(), group=f"brand {n}") for n in range(15)]
    roles = assign(plain(100, group="large") + tiny, seed=3)
    assert len({roles[item.item_id] for item in tiny}) >= 4


def test_by_time_names_the_first_item_without_a_time() -> None:
    dated = Item(item_id="dated", label="genuine", photos=(), captured_at=START)
    undated = Item(item_id="undated", label="genuine", photos=(), split="train")
    with pytest.raises(Unsupported, match="item 'undated' has no captured_at"):
        assign([dated, undated], seed=1, by_time=True)


def test_roles_without_a_share_get_nothing() -> None:
    assert set(assign(plain(10), seed=1, shares={"train": 0.5, "certify": 0.5}).values()) == {"train", "certify"}


@pytest.mark.parametrize("shares", [{"train": 0.5}, {"train": 1.5, "field": -0.5}, {"train": 0.5, "test": 0.5}])
def test_shares_that_are_no_shares_are_a_programming_mistake(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        assign(plain(3), seed=1, shares=shares)  # type: ignore[arg-type]


def test_the_same_item_twice_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="more than once"):
        assign(plain(1) * 2, seed=1)
    with pytest.raises(ValueError, match="more than once"):
        folds(plain(3) * 2, k=2, seed=1)


@given(st.integers(2, 8), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**40))
def test_folds_are_even_for_each_class_and_in_total(k: int, genuine: int, counterfeit: int, seed: int) -> None:
    items = plain(genuine + k, counterfeit + k)
    dealt = folds(items, k=k, seed=seed)
    assert folds(items[::-1], k=k, seed=seed) == dealt
    for members in (items, items[: genuine + k], items[genuine + k :]):
        counts = Counter(dealt[item.item_id] for item in members)
        assert set(counts) == set(range(k))
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_class_smaller_than_the_number_of_folds_is_refused() -> None:
    with pytest.raises(Unsupported, match="2 counterfeit items cannot fill 3 folds"):
        folds(plain(9, 2), k=3, seed=1)


def test_one_fold_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        folds(plain(9, 9), k=1, seed=1)
