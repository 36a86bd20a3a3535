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


def compare(found: Sequence[Outputs], reference: Sequence[Outputs]) -> Fidelity:
    """Compare all outputs of all feeds.

    Args:
        found: of the variant; outputs are matched by name, or by place where an engine renamed them.
        reference: of the float model, the same feeds.

    Returns:
        The worst output's figures; shapes that differ are as wrong as can be.
    """
    names = list(reference[0])
    cosine, error, agreement = 1.0, 0.0, None
    for place, name in enumerate(names):
        a, b = (_column(side, name, place) for side in (found, reference))
        if a is None or b is None or a.shape != b.shape:
            return Fidelity(inputs=_rows(reference), cosine=-1.0, relative_error=_NOTHING_ALIKE, top1_agreement=None)
        norm = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosine = min(cosine, float(a @ b / norm) if norm else float(np.array_equal(a, b)))
        error = max(error, float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12)))
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


def _column(feeds: Sequence[Outputs], name: str, place: int) -> npt.NDArray[np.float64] | None:
    if any(name not in feed and place >= len(feed) for feed in feeds):
        return None
    return np.concatenate([np.asarray(_first(feed, name, place), np.float64).ravel() for feed in feeds])


def _rows(feeds: Sequence[Outputs]) -> int:
    return sum(max((value.shape[0] for value in feed.values() if value.ndim), default=1) for feed in feeds)


def _top1(reference: Sequence[npt.NDArray[np.generic]], found: Sequence[npt.NDArray[np.generic]]) -> float | None:
    if any(value.ndim != 2 or value.shape[1] < 2 for value in reference):
        return None
    pairs = [(a.argmax(1), b.argmax(1)) for a, b in zip(found, reference, strict=True)]
    return float(np.mean(np.concatenate([a == b for a, b in pairs])))
