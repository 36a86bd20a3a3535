"""The flags of ``build``, each of which is a key of a recipe; a flag that is given wins over the recipe's file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimize.recipe import Recipe, check_recipe, read_recipe
from optimize.targets.target import TARGETS
from runtime.contracts.errors import Unsupported

_FLAG_OF: Mapping[str, Mapping[str, str]] = {
    "": {
        "source": "source",
        "out": "out",
        "escalate": "escalate",
        "data": "data",
        "samples": "samples",
        "targets": "target",
        "name": "name",
        "listing": "listing",
        "seed": "seed",
    },
    "budget": {
        "max_missed": "max_missed",
        "max_missed_fraud": "max_missed_fraud",
        "confidence": "confidence",
        "max_review": "max_review",
        "prevalence": "prevalence",
        "certify_share": "certify_share",
        "after": "after",
    },
    "search": {
        "time_budget_s": "time_budget",
        "calibration_photos": "calibration_photos",
        "min_cosine": "min_cosine",
        "max_size_mb": "max_size_mb",
        "cache": "cache",
        "workers": "workers",
    },
    "input": {
        "mean": "mean",
        "std": "std",
        "counterfeit_class": "counterfeit_class",
        "px": "px",
        "features": "feature",
    },
}
"""Section and key of a recipe to the flag that overrides it."""


def _positive(text: str) -> float:
    value = _number(text)
    if not 0.0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from error


def _share(text: str) -> float:
    value = _number(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most 1, got {text}")
    return value


def _confidence(text: str) -> float:
    value = _share(text)
    if value == 1.0:
        raise argparse.ArgumentTypeError("expected less than 1: no number of items proves anything for certain")
    return value


_BUILD_FLAGS = (
    ("--max-missed", _share, "X", "share of counterfeits that may pass as authentic (default: 0.02)"),
    (
        "--max-missed-fraud",
        _share,
        "X",
        "share of frauds that the listing score may miss; 1 for no such budget (default: 0.5)",
    ),
    ("--confidence", _confidence, "X", "of all the bundle's claims together (default: 0.95)"),
    ("--max-review", _share, "X", "share of items that may go to an expert (default: no such budget)"),
    ("--prevalence", _share, "X", "share of counterfeits that --max-review assumes (default: 0.09)"),
    ("--certify-share", _share, "X", "share of the certify split to spend on this release (default: 1)"),
    ("--time-budget", _positive, "S", "seconds after which no new round of candidates begins"),
    ("--calibration-photos", int, "N", "the most photos to calibrate on (default: 1000)"),
    ("--min-cosine", _share, "X", "what the outputs of a model that is no authenticator need (default: 0.95)"),
    ("--max-size-mb", _positive, "X", "the most megabytes of a variant"),
    ("--cache", str, "DIR", "finished steps, to resume from (default: the user's cache folder)"),
    ("--workers", int, "N", "processes (default: one a core)"),
    ("--counterfeit-class", str, "C", "number or name of the class that means counterfeit"),
    ("--px", int, "N", "side of the photos where the source leaves it open"),
)


def add_build_flags(parser: argparse.ArgumentParser) -> None:
    """Add every flag of a build to a parser."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="folder that finetune made, .onnx or .pt2 file, package.module:factory, Hugging Face folder, MLflow URI",
    )
    parser.add_argument(
        "--escalate",
        metavar="LARGE",
        help="a cascade: SOURCE decides what it is sure of, and only the rest goes to this model; a source as above",
    )
    parser.add_argument("--recipe", metavar="FILE", type=Path, help="TOML file; flags given beside it win")
    parser.add_argument("--data", metavar="DIR", action="append", help="labelled items; give several to unite them")
    parser.add_argument("--samples", metavar="PATH", help="inputs for a model that is no authenticator: .npz or folder")
    parser.add_argument("--target", metavar="T", action="append", help=f"of {', '.join(TARGETS)} (default: x86)")
    parser.add_argument("--out", metavar="BUNDLE", help="folder to make")
    parser.add_argument("--name", help="of the bundle (default: the source's)")
    parser.add_argument("--listing", metavar="SOURCE", help="table model that scores listings, instead of the MODEL's")
    parser.add_argument("--seed", type=int, help="of the split, where the source has none (default: 7)")
    for flag, kind, metavar, text in _BUILD_FLAGS:
        parser.add_argument(flag, type=kind, metavar=metavar, help=text)
    parser.add_argument(
        "--after", metavar="BUNDLE", action="append", help="certify on nothing that this bundle spent; repeatable"
    )
    parser.add_argument("--feature", metavar="F", action="append", help="a column of --listing, in order; repeatable")
    parser.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="subtracted from 0 to 255")
    parser.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="then divided by")


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the recipe file's data with the flags that were given laid over it.

    Raises:
        Unsupported: a key is unknown, a value is out of its range, or something is missing.
    """
    data: dict[str, Any] = read_recipe(options.recipe) if options.recipe else {}
    what = f"recipe {options.recipe}" if options.recipe else "build"
    for section, names in _FLAG_OF.items():
        for name, flag in names.items():
            value = getattr(options, flag)
            if value is None:
                continue
            place = data.setdefault(section, {}) if section else data
            if not isinstance(place, dict):
                raise Unsupported(f"{what}: {section}: expected a table, got {place!r}")
            place[name] = list(value) if isinstance(value, tuple) else value
    for needed, flag in (("source", "SOURCE"), ("out", "--out BUNDLE")):
        if needed not in data:
            raise Unsupported(f"{what}: {flag} is missing; give it, or '{needed}' in a recipe")
    if "data" not in data and "samples" not in data:
        raise Unsupported(f"{what}: give labelled items with --data, or inputs with --samples")
    return check_recipe(data, what)
