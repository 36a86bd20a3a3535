"""Which item may do what in a build: choose (calibrate), prove (certify), report (evaluate). Pure; refuses leaks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from calibration_data.dataset import Dataset, Item, Label
from calibration_data.split import assign
from optimize.model import ModelSpec
from runtime.contracts.errors import Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The items of each side. Where cross-fitted, every side is all items, and ``fold_of`` says who may judge whom."""

    calibrate: tuple[Item, ...]
    certify: tuple[Item, ...]
    evaluate: tuple[Item, ...]
    fold_of: Mapping[str, int]

    @property
    def cross_fitted(self) -> bool:
        """Whether each item is judged by a head that never saw it, instead of sitting on one side."""
        return bool(self.fold_of)

    @property
    def scored(self) -> tuple[Item, ...]:
        """All items that need scores, once each."""
        return self.calibrate if self.cross_fitted else (*self.calibrate, *self.certify, *self.evaluate)

    def counts(self) -> dict[str, dict[str, int]]:
        """Count items by side and label."""
        sides = {"calibrate": self.calibrate, "certify": self.certify, "evaluate": self.evaluate}
        labels: tuple[Label, ...] = ("genuine", "counterfeit")
        return {
            side: {label: sum(item.label == label for item in items) for label in labels}
            for side, items in sides.items()
        }


def choose_roles(dataset: Dataset, spec: ModelSpec, *, share: float, spent: frozenset[str]) -> Roles:
    """Assign the dataset's items for one build.

    Args:
        dataset: the labelled items.
        spec: of the model, whose seed gives the split.
        share: of the certify split to spend on this release.
        spent: items that earlier releases were certified on; they are left out.

    Raises:
        Unsupported: an item that the model was trained on would judge it, or a side lacks a class.
    """
    if spec.folds is not None:
        if share < 1.0:
            raise Unsupported(
                f"certify share {share}: a cross-fitted model certifies on all items; leave the share out"
            )
        return _cross_fitted(dataset, spec, spent)
    roles = assign(dataset.items, seed=spec.seed, by_time=spec.by_time)
    side = {
        role: [item for item in dataset.items if roles[item.item_id] == role]
        for role in ("calibrate", "certify", "evaluate")
    }
    side["certify"] = _fresh(side["certify"], share, spent, spec.seed)
    trained = set(spec.trained_on)
    for role, items in side.items():
        leaked = [item.item_id for item in items if item.item_id in trained]
        if leaked:
            raise Unsupported(
                f"split: item {leaked[0]!r} and {len(leaked) - 1} more of {role} were trained on; give build the same "
                "--data as finetune"
            )
        _require_both(items, role)
    return Roles(
        calibrate=tuple(side["calibrate"]),
        certify=tuple(side["certify"]),
        evaluate=tuple(side["evaluate"]),
        fold_of={},
    )


def _cross_fitted(dataset: Dataset, spec: ModelSpec, spent: frozenset[str]) -> Roles:
    folds = dict(spec.folds or {})
    items = tuple(item for item in dataset.items if item.split not in ("field", "train"))
    strangers = [item.item_id for item in items if item.item_id not in folds]
    if strangers:
        raise Unsupported(
            f"split: item {strangers[0]!r} and {len(strangers) - 1} more have no fold in the model; give build "
            "the same --data as finetune"
        )
    again = [item.item_id for item in items if item.item_id in spent]
    if again:
        raise Unsupported(
            f"split: item {again[0]!r} and {len(again) - 1} more were certified on by an earlier release, and a "
            "cross-fitted model certifies on all items; give those the split 'train', add new ones, and finetune again"
        )
    for fold in (None, *sorted(set(folds.values()))):
        _require_both([item for item in items if folds[item.item_id] != fold], "cross-fitting")
    return Roles(calibrate=items, certify=items, evaluate=items, fold_of=folds)


def _fresh(items: Sequence[Item], share: float, spent: frozenset[str], seed: int) -> list[Item]:
    """Take this share of each class of the whole certify split, from what is unspent, in an order nobody chose."""
    chosen: list[Item] = []
    for label in ("counterfeit", "genuine"):
        of_class = [item for item in items if item.label == label]
        unspent = sorted((i for i in of_class if i.item_id not in spent), key=lambda i: _draw(seed, i.item_id))
        chosen += unspent[: math.ceil(share * len(of_class))]
    return chosen


def _draw(seed: int, item_id: str) -> bytes:
    return blake2b(f"certify\n{seed}\n{item_id}".encode(), digest_size=16).digest()


def _require_both(items: Sequence[Item], role: str) -> None:
    missing = {"genuine", "counterfeit"} - {item.label for item in items}
    if missing:
        raise Unsupported(
            f"split: {role} has no {' and no '.join(sorted(missing))} item left; add labelled items, or train a small "
            "set with --cross-fit 5"
        )
