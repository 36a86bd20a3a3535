"""Labelled items from several folders, as one dataset with both classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calibration_data.dataset import Dataset, load, merge, require_both_classes


def open_data(folders: Sequence[str]) -> Dataset:
    """Load datasets and unite them.

    Raises:
        Unsupported: one is not a dataset, or a class is missing from all of them.
    """
    dataset = merge([load(Path(folder), both_classes=False) for folder in folders])
    require_both_classes(dataset.items, where=" with ".join(f"dataset '{folder}'" for folder in folders))
    return dataset
