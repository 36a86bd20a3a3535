"""How close two networks' outputs are: cosine, relative error, top-1 agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optimize.evidence import Fidelity

Outputs = Mapping[str, npt.NDArray[np.generic]]
"""Output name to array, of one feed."""

_NOTHING_ALIKE = 1e9
_ROWS_TO_CENTRE = 4
_NOISE = 1e-4


def compare(found: Sequence[Outputs], reference: Sequence[Outputs]) -> Fidelity:
    """Compare all outputs of all feeds.

    Args:
        found: of the variant; outputs are matched by name, or by place where an engine renamed them.
        reference: of the float model, the same feeds.

    Returns:
        The worst output's figures; shapes that differ are as wrong as can be. With four rows or more the cosine is
        that of the deviations from the float model's mean row: a constant part would make any two outputs look alike.
    """
    names = list(reference[0])
    cosine, error, agreement = 1.0, 0.0, None
    for place, name in enumerate(names):
        pairs = _paired(found, reference, name, place)
        if pairs is None:
            return Fidelity(inputs=_rows(reference), cosine=-1.0, relative_error=_NOTHING_ALIKE, top1_agreement=None)
        a, b = pairs
        error = max(error, float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12)))
        a, b = _centred(found, reference, name, place) or (a, b)
        norm = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosine = min(cosine, float((a * b).sum() / norm) if norm else float(np.allclose(a, b)))
    if len(names) == 1:
        agreement = _top1([feed[names[0]] for feed in reference], [_first(feed, names[0], 0) for feed in found])
    return Fidelity(inputs=_rows(reference), cosine=cosine, relative_error=error, top1_agreement=agreement)


def write_outputs(path: Path, outputs: Sequence[Outputs]) -> None:
    """Write outputs, feed by feed, to one ``.npz``."""
    arrays = {f"{number:06d}:{name}": value for number, feed in enumerate(outputs) for name, value in feed.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read_outputs(path: Path, most: int | None = None) -> list[Outputs]:
    """Read what ``write_outputs`` wrote, at most so many feeds."""
    feeds: dict[int, dict[str, npt.NDArray[np.generic]]] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            number, _, name = key.partition(":")
            if most is None or int(number) < most:
                feeds.setdefault(int(number), {})[name] = stored[key]
    return [feeds[number] for number in sorted(feeds)]


def _first(feed: Outputs, name: str, place: int) -> npt.NDArray[np.generic]:
    return feed[name] if name in feed else list(feed.values())[place]


def _paired(
    found: Sequence[Outputs], reference: Sequence[Outputs], name: str, place: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Return both sides of one output, flattened over all feeds; ``None`` where a shape differs."""
    sides = []
    for one, other in zip(found, reference, strict=True):
        if name not in one and place >= len(one):
            return None
        a, b = np.asarray(_first(one, name, place), np.float64), np.asarray(other[name], np.float64)
        if a.shape != b.shape:
            return None
        sides.append((a.ravel(), b.ravel()))
    return np.concatenate([a for a, _ in sides]), np.concatenate([b for _, b in sides])


def _centred(
    found: Sequence[Outputs], reference: Sequence[Outputs], name: str, place: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Return both sides less the float model's mean of each value over the rows; ``None`` for few or uneven rows."""
    if any(feed[name].ndim < 2 for feed in reference) or len({feed[name].shape[1:] for feed in reference}) != 1:
        return None
    a = np.concatenate([np.asarray(_first(feed, name, place), np.float64) for feed in found])
    b = np.concatenate([np.asarray(feed[name], np.float64) for feed in reference])
    if len(b) < _ROWS_TO_CENTRE:
        return None
    mean = b.mean(axis=0)
    if max(np.linalg.norm(b - mean), np.linalg.norm(a - b)) < _NOISE * np.linalg.norm(b):
        return None  # both say the same but for rounding noise, which is alike to nothing
    return a - mean, b - mean


def _rows(feeds: Sequence[Outputs]) -> int:
    return sum(max((value.shape[0] for value in feed.values() if value.ndim), default=1) for feed in feeds)


def _top1(reference: Sequence[npt.NDArray[np.generic]], found: Sequence[npt.NDArray[np.generic]]) -> float | None:
    if any(value.ndim != 2 or value.shape[1] < 2 for value in reference):
        return None
    pairs = [(a.argmax(1), b.argmax(1)) for a, b in zip(found, reference, strict=True)]
    return float(np.mean(np.concatenate([a == b for a, b in pairs])))
