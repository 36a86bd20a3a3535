"""``touchstone-data``: generate a dataset, split one, check one. Decides nothing itself; see the modules it calls."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calibration_data.dataset import LABELS, ROLES, Dataset, Role, load, write_items
from calibration_data.leather.generator import default_workers, generate
from calibration_data.split import SHARES, assign
from runtime.contracts.command import Progress, run_command
from runtime.contracts.errors import Unsupported


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see ``run_command`` for what it returns."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="touchstone-data", description="Generate, split and check datasets of photos (a folder with items.csv)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(commands.add_parser("generate", help="make a synthetic set of leather goods, three photos an item"))

    split = commands.add_parser(
        "split",
        help="give every item a role and write it into items.csv",
        description=f"Give every item a role ({', '.join(f'{role} {share:.0%}' for role, share in SHARES.items())}),"
        " stratified by label and group, and write it into items.csv. Roles that are there already stay.",
    )
    split.add_argument("folder", metavar="DIR", type=Path, help="the dataset's folder")
    split.add_argument("--seed", type=int, required=True, metavar="N", help="the same seed gives the same roles")
    split.add_argument(
        "--share",
        metavar="ROLE=X",
        type=_share,
        action="append",
        help="share of a role, for each role that gets items (default: those above)",
    )
    split.add_argument("--by-time", action="store_true", help="oldest items train, newest are the field")
    split.set_defaults(command=_split)

    check = commands.add_parser("check", help="load a dataset and count what is in it; opens no photo")
    check.add_argument("folder", metavar="DIR", type=Path, help="the dataset's folder")
    check.set_defaults(command=_check)
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Make a synthetic set of leather goods. The same options give the same bytes."
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to make; it must not be taken")
    parser.add_argument("--items", metavar="N", type=int, default=2400, help="how many items, three photos each")
    parser.add_argument("--seed", metavar="N", type=int, default=7, help="from 0")
    parser.add_argument("--difficulty", metavar="X", type=float, default=0.5, help="0 (plain) to 1 (hard to tell)")
    parser.add_argument(
        "--superfake-share", metavar="X", type=float, default=0.0, help="share of counterfeits from a better workshop"
    )
    parser.add_argument(
        "--counterfeit-share", metavar="X", type=float, default=0.45, help="share of items that are counterfeit"
    )
    parser.add_argument("--workers", metavar="N", type=int, default=default_workers(), help="processes")
    parser.add_argument(
        "--photo-px", metavar="PX", type=int, default=640, help="width and height of a photo, 64 to 640"
    )
    parser.set_defaults(command=_generate)


def _share(text: str) -> tuple[Role, float]:
    name, _, share = text.partition("=")
    for role in ROLES:
        if role == name and 0 <= float(share) <= 1:  # argparse turns float's ValueError into a message
            return role, float(share)
    raise argparse.ArgumentTypeError(f"expected ROLE=X with one of {', '.join(ROLES)} and 0 to 1, got {text!r}")


def _generate(options: argparse.Namespace) -> None:
    generate(
        options.out,
        items=options.items,
        seed=options.seed,
        difficulty=options.difficulty,
        superfake_share=options.superfake_share,
        counterfeit_share=options.counterfeit_share,
        workers=options.workers,
        progress=Progress("items"),
        photo_px=options.photo_px,
    )
    print(f"{options.items} items in {options.out}")


def _split(options: argparse.Namespace) -> None:
    dataset = load(options.folder)
    shares = dict(options.share) if options.share else SHARES
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise Unsupported(f"--share: the shares sum to {sum(shares.values()):g}, expected 1; correct them")
    roles = assign(dataset.items, seed=options.seed, shares=shares, by_time=options.by_time)
    items = [replace(item, split=roles[item.item_id]) for item in dataset.items]
    write_items(dataset.root, items)
    counts = Counter((roles[item.item_id], item.label) for item in items)
    print(f"{'role':<12}" + "".join(f"{label:>14}" for label in LABELS))
    for role in ROLES:
        print(f"{role:<12}" + "".join(f"{counts[role, label]:>14}" for label in LABELS))


def _check(options: argparse.Namespace) -> None:
    dataset = load(options.folder)
    print(f"{len(dataset.items)} items, {sum(len(item.photos) for item in dataset.items)} photos in {dataset.root}")
    for title, counts in _counts(dataset).items():
        print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    if dataset.listing_names:
        print(f"listing features: {', '.join(dataset.listing_names)}")


def _counts(dataset: Dataset) -> dict[str, Counter[str]]:
    return {
        "label": Counter(item.label for item in dataset.items),
        "view (photos)": Counter(photo.view for item in dataset.items for photo in item.photos),
        "split": Counter(item.split or "none" for item in dataset.items),
        "group": Counter(item.group or "none" for item in dataset.items),
    }


if __name__ == "__main__":
    raise SystemExit(main())
