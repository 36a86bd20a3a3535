"""How the quality gate judges photos that are good, and the same made worse: ``python -m benchmarks.quality FOLDER``.

Takes every photo below a folder for a good one. Views are compared where photos lie as ``ITEM/VIEW.jpg``: the first
items are the references. Prints shares; writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from runtime.preprocess import Pixels
from runtime.quality import QualityLimits, problems_of
from runtime.references import MARGIN, Descriptor, describe_pixels

_REFERENCES = 4
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
Change = Callable[[Pixels], Pixels]


def _defocused(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), min(pixels.shape[:2]) / 128), np.uint8)


def _shaken(pixels: Pixels) -> Pixels:
    length = max(3, min(pixels.shape[:2]) // 32)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    return np.asarray(cv2.filter2D(pixels, -1, kernel), np.uint8)


def _shining(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return np.asarray(
        cv2.circle(pixels.copy(), (width // 2, height // 2), min(height, width) // 7, (255,) * 3, -1), np.uint8
    )


CHANGES: Mapping[str, Change] = {
    "as they are": lambda pixels: pixels,
    "defocused: sigma 1/128 of the side": _defocused,
    "shaken: 1/32 of the side, along the rows": _shaken,
    "underexposed: 15 % of the light": lambda pixels: (pixels * 0.15).astype(np.uint8),
    "overexposed: 170 added": lambda pixels: np.clip(pixels.astype(int) + 170, 0, 255).astype(np.uint8),
    "a clipped spot, 2/7 of the side wide": _shining,
}
"""What is done to good photos."""


def refused(photos: Sequence[Pixels], change: Change) -> Counter[str]:
    """Count the photos that are refused after a change, by code and ``any``; sizes are not looked at."""
    found: Counter[str] = Counter()
    for pixels in photos:
        codes = {problem.code for problem in problems_of(change(pixels), QualityLimits().shorter_side_px)}
        found.update([*codes, *(["any"] if codes else [])])
    return found


def view_errors(described: Mapping[str, Mapping[str, Descriptor]]) -> tuple[float, float]:
    """Return the share of right views that are refused, and of wrong ones that are.

    Args:
        described: item to view to descriptor; the first items in order of name are the references.
    """
    items = sorted(described)
    views = sorted({view for item in items[:_REFERENCES] for view in described[item]})
    right: list[bool] = []
    wrong: list[bool] = []
    for item in items[_REFERENCES:]:
        for view, one in described[item].items():
            alike = {
                other: max(float(one @ described[r][other]) for r in items[:_REFERENCES] if other in described[r])
                for other in views
            }
            for claimed, own in alike.items():
                (right if claimed == view else wrong).append(max(alike.values()) > own + MARGIN)
    return float(np.mean(right)), float(np.mean(wrong))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES)


def main() -> int:
    """Judge the photos of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=300, help="photos to look at (default: %(default)s)")
    options = parser.parse_args()
    paths = list(_files(options.folder))[: options.most]
    photos = {path: pixels for path in paths if (pixels := cv2.imread(str(path))) is not None}
    if not photos:
        parser.error(f"{options.folder}: no photo in it or below it")
    for name, change in CHANGES.items():
        found = refused([np.asarray(one, np.uint8) for one in photos.values()], change)
        codes = ", ".join(f"{code} {count}" for code, count in sorted(found.items()) if code != "any")
        print(f"{name}: {found['any']} of {len(photos)} refused ({codes or 'none'})")
    described: dict[str, dict[str, Descriptor]] = defaultdict(dict)
    for path, pixels in photos.items():
        described[path.parent.name][path.stem] = describe_pixels(np.asarray(pixels, np.uint8))
    views = Counter(view for item in described.values() for view in item)
    if len(described) > _REFERENCES and len(views) > 1 and min(views.values()) == len(described):
        right, wrong = view_errors(described)
        print(
            f"views, {_REFERENCES} reference items: {right:.3f} of the right and {wrong:.3f} of the wrong are refused"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
