from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from calibration_data.dataset import Dataset, Item, Photo, Role
from calibration_data.split import assign, folds
from optimize.finetune import FinetuneOptions, training_items
from optimize.model import ModelSpec
from optimize.roles import Roles, choose_roles
from runtime.contracts.errors import Unsupported


def an_item(number: int, split: Role | None = None) -> Item:
    return Item(
        item_id=f"bag-{number}",
        label="counterfeit" if number % 2 else "genuine",
        photos=(Photo(view="logo", path=Path(f"/photos/{number}.jpg")),),
        split=split,
    )


def a_dataset(items: list[Item]) -> Dataset:
    return Dataset(root=Path("/photos"), items=tuple(items), views=("logo",), listing_names=())


DATASET = a_dataset([an_item(number) for number in range(200)])


def a_spec(dataset: Dataset = DATASET, cross_fit: int = 0) -> ModelSpec:
    """What finetune would say of a model trained on ``dataset``."""
    items, fold_of = training_items(dataset, FinetuneOptions(cross_fit=cross_fit))
    return ModelSpec(
        name="m",
        px=224,
        views=("logo",),
        trained_on=tuple(sorted(item.item_id for item in items)),
        folds=fold_of,
        listing=None,
        seed=7,
        by_time=False,
        provenance={},
    )


def ids(items: tuple[Item, ...]) -> set[str]:
    return {item.item_id for item in items}


def choose(
    dataset: Dataset = DATASET, spec: ModelSpec | None = None, share: float = 1.0, spent: frozenset[str] = frozenset()
) -> Roles:
    return choose_roles(dataset, spec or a_spec(dataset), share=share, spent=spent)


def test_the_sides_are_those_of_the_split_and_share_no_item() -> None:
    roles = choose()
    assigned = assign(DATASET.items, seed=7)
    for side, items in (("calibrate", roles.calibrate), ("certify", roles.certify), ("evaluate", roles.evaluate)):
        assert ids(items) == {item_id for item_id, role in assigned.items() if role == side}
    sides = Counter(item.item_id for item in roles.scored)
    assert set(sides.values()) == {1}
    assert not set(sides) & set(a_spec().trained_on)
    assert not roles.cross_fitted


def test_counts_are_by_side_and_label() -> None:
    roles = choose()
    assert roles.counts()["certify"] == Counter(item.label for item in roles.certify)
    assert set(roles.counts()) == {"calibrate", "certify", "evaluate"}


@pytest.mark.parametrize("side", ["calibrate", "certify", "evaluate"])
def test_an_item_that_the_model_was_trained_on_may_not_judge_it(side: str) -> None:
    spec = a_spec()
    leaked = getattr(choose(), side)[0].item_id
    with pytest.raises(
        Unsupported, match=rf"item '{leaked}' and 0 more of {side} were trained on; give build the same"
    ):
        choose(spec=dataclasses.replace(spec, trained_on=(*spec.trained_on, leaked)))


def test_another_seed_is_a_leak_and_not_a_new_split() -> None:
    with pytest.raises(Unsupported, match="were trained on"):
        choose(spec=dataclasses.replace(a_spec(), seed=8))


def test_more_data_than_finetune_saw_is_taken_or_refused_but_never_leaks() -> None:
    refused = 0
    for more in range(10, 110, 10):
        larger = a_dataset([*DATASET.items, *(an_item(number) for number in range(200, 200 + more))])
        try:
            assert not ids(choose(larger, a_spec()).scored) & set(a_spec().trained_on)
        except Unsupported:
            refused += 1
    assert refused
    pinned = [dataclasses.replace(item, split=assign(DATASET.items, seed=7)[item.item_id]) for item in DATASET.items]
    roles = choose(a_dataset([*pinned, *larger.items[200:]]), a_spec())
    assert not ids(roles.scored) & set(a_spec().trained_on)


def test_experts_labels_in_the_train_split_certify_nothing() -> None:
    labelled = a_dataset([*DATASET.items, *(an_item(number, "train") for number in range(500, 540))])
    spec = a_spec(labelled)
    assert {f"bag-{number}" for number in range(500, 540)} <= set(spec.trained_on)
    assert not ids(choose(labelled, spec).scored) & {f"bag-{number}" for number in range(500, 540)}


def test_items_that_an_earlier_release_spent_never_certify_again() -> None:
    first = choose(share=0.5)
    second = choose(spent=frozenset(ids(first.certify)))
    assert ids(first.certify)
    assert ids(second.certify)
    assert not ids(first.certify) & ids(second.certify)
    assert ids(first.certify) | ids(second.certify) == ids(choose().certify)
    assert second.calibrate == first.calibrate


def test_when_all_are_spent_there_is_no_build() -> None:
    with pytest.raises(Unsupported, match="certify has no counterfeit and no genuine item left"):
        choose(spent=frozenset(ids(choose().certify)))


@pytest.mark.parametrize(("share", "of_each"), [(1.0, 30), (0.5, 15), (0.34, 11), (0.001, 1)])
def test_the_certify_share_is_of_the_whole_split_and_of_each_class(share: float, of_each: int) -> None:
    assert Counter(item.label for item in choose(share=share).certify) == {"genuine": of_each, "counterfeit": of_each}


def test_a_share_is_of_the_whole_split_not_of_what_is_left() -> None:
    first = choose(share=0.5)
    second = choose(share=0.5, spent=frozenset(ids(first.certify)))
    assert len(second.certify) == len(first.certify) == 30


def test_whose_turn_it_is_to_be_spent_does_not_depend_on_the_order_of_rows() -> None:
    shuffled = a_dataset(list(reversed(DATASET.items)))
    assert ids(choose(shuffled, a_spec(), share=0.3).certify) == ids(choose(share=0.3).certify)


def test_a_side_that_lacks_a_class_is_refused_by_its_name() -> None:
    only = [item for item in DATASET.items if not (item.label == "counterfeit" and item in choose().evaluate)]
    pinned = [dataclasses.replace(item, split=assign(DATASET.items, seed=7)[item.item_id]) for item in only]
    with pytest.raises(
        Unsupported, match="evaluate has no counterfeit item left; add labelled items, or train a small"
    ):
        choose(a_dataset(pinned), a_spec())


def test_cross_fitting_puts_every_item_on_every_side_and_knows_who_may_judge_it() -> None:
    roles = choose(spec=a_spec(cross_fit=5))
    assert roles.cross_fitted
    assert roles.calibrate == roles.certify == roles.evaluate == roles.scored == DATASET.items
    assert roles.fold_of == folds(DATASET.items, k=5, seed=7)


def test_cross_fitting_leaves_out_field_items_and_experts_labels() -> None:
    data = a_dataset([*DATASET.items, an_item(900, "field"), an_item(901, "train")])
    spec = a_spec(data, cross_fit=5)
    assert "bag-900" not in spec.trained_on
    assert "bag-901" in spec.trained_on
    assert ids(choose(data, spec).scored) == ids(DATASET.items)


def test_a_stranger_to_the_folds_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="item 'bag-900' and 1 more have no fold in the model"):
        choose(a_dataset([*DATASET.items, an_item(900), an_item(901)]), a_spec(cross_fit=5))


def test_a_cross_fitted_model_is_not_certified_twice_on_the_same_items() -> None:
    with pytest.raises(Unsupported, match="item 'bag-3' and 0 more were certified on by an earlier release"):
        choose(spec=a_spec(cross_fit=5), spent=frozenset({"bag-3"}))


def test_a_cross_fitted_model_has_no_share_to_spend() -> None:
    with pytest.raises(Unsupported, match="leave the share out"):
        choose(spec=a_spec(cross_fit=5), share=0.5)


def test_cross_fitting_wants_both_classes_outside_every_fold() -> None:
    few = a_dataset([item for item in DATASET.items if item.label == "genuine" or item.item_id == "bag-1"])
    with pytest.raises(Unsupported, match="cross-fitting has no counterfeit item left"):
        choose(few, a_spec(cross_fit=5))


def test_cross_fitting_without_judges_of_both_classes_is_refused_before_training() -> None:
    taught = a_dataset([dataclasses.replace(item, split="train") for item in DATASET.items])
    with pytest.raises(Unsupported, match="without its train and field items has no genuine and no counterfeit item"):
        a_spec(taught, cross_fit=5)
