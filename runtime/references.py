"""The golden photos of a bundle as references: which of them looks most like a photo, and is it of the claimed view?

Likeness is that of shapes and coarse colours, not of genuineness: it shows a person what to compare with, and tells a
logo from a zip. It never enters a verdict.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runtime.bundle_store import Bundle
from runtime.contracts.bundle import ANY_VIEW
from runtime.contracts.errors import TouchstoneError
from runtime.contracts.quality import QualityProblem
from runtime.photo import Photo, read_photo
from runtime.preprocess import Frame, Pixels, decode

Descriptor = npt.NDArray[np.float32]
MARGIN = 0.1
"""By how much another view's nearest reference must be nearer before a photo is called one of the wrong view."""
_PX = 64
_CELLS, _ORIENTATIONS = 8, 8
_COLOUR_PX = 4
_COLOUR_WEIGHT = 0.5
_DECODED_PX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One golden photo: its file in the bundle, its number among those of its view, and how alike (-1 to 1) it is."""

    file: str
    number: int
    similarity: float


def describe(photo: Photo | Frame, name: str) -> Descriptor:
    """Describe a photo by histograms of gradients (Dalal and Triggs 2005) and coarse colours.

    Returns:
        ``float32 (n,)`` of length 1.

    Raises:
        Unsupported: it does not decode.
    """
    if isinstance(photo, Frame):
        return describe_pixels(np.asarray(cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2BGR), np.uint8))
    return describe_pixels(decode(photo, _DECODED_PX, name))


def describe_pixels(pixels: Pixels) -> Descriptor:
    """Describe ``uint8 (H, W, 3)``, BGR; see ``describe``."""
    small = cv2.resize(pixels, (_PX, _PX), interpolation=cv2.INTER_AREA)
    shape = _gradients(np.asarray(small, np.uint8))
    colour = cv2.resize(small, (_COLOUR_PX, _COLOUR_PX), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1)
    whole = np.concatenate([_unit(shape), _COLOUR_WEIGHT * _unit(colour - colour.mean())])
    return np.asarray(_unit(whole - whole.mean()), np.float32)


class References:
    """The golden photos of one bundle, described when they are first asked for. Thread-safe."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def files(self, view: str) -> tuple[str, ...]:
        """Return the files of a view's golden photos, in the bundle's order."""
        groups = [golden.photos for golden in self._bundle.manifest.golden]
        if self._shared:
            return tuple(file for group in groups for files in group.values() for file in files)
        return tuple(file for group in groups for file in group.get(view, ()))

    def nearest(self, view: str, descriptor: Descriptor) -> Reference | None:
        """Return the golden photo of a view that is most like the described one; ``None`` where it has none."""
        described = self._described.get(ANY_VIEW if self._shared else view, ())
        if not described:
            return None
        alike = [float(descriptor @ one) for _, one in described]
        number = int(np.argmax(alike))
        return Reference(file=described[number][0], number=number, similarity=alike[number])

    def wrong_view(self, view: str, descriptor: Descriptor) -> QualityProblem | None:
        """Tell where a photo looks like another view than the claimed one; says nothing where a view has no reference.

        Views of an exchangeable model are never wrong.
        """
        if self._shared or any(not self.files(one) for one in self._bundle.manifest.views):
            return None
        alike = {one: self.nearest(one, descriptor) for one in self._bundle.manifest.views}
        mine, best = alike.get(view), max(alike.items(), key=lambda pair: pair[1].similarity if pair[1] else -1.0)
        if mine is None or best[1] is None or best[1].similarity <= mine.similarity + MARGIN:
            return None
        return QualityProblem(
            code="wrong_view",
            text=f"this looks like the view {best[0]!r}, not {view!r}: show the right part, and shoot again",
            value=mine.similarity - best[1].similarity,
            limit=-MARGIN,
        )

    @property
    def _shared(self) -> bool:
        return self._bundle.manifest.views == (ANY_VIEW,)

    @functools.cached_property
    def _described(self) -> Mapping[str, Sequence[tuple[str, Descriptor]]]:
        views = (ANY_VIEW,) if self._shared else self._bundle.manifest.views
        return {
            view: [(file, found) for file in self.files(view) if (found := self._describe(file)) is not None]
            for view in views
        }

    def _describe(self, file: str) -> Descriptor | None:
        try:
            return describe(read_photo(self._bundle.path(file).read_bytes(), file), file)
        except (OSError, TouchstoneError):  # a reference that cannot be shown is none
            return None


def _gradients(small: Pixels) -> Descriptor:
    """Return the square roots of gradient magnitude by cell and orientation."""
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    turned = np.arctan2(down, across) % np.pi
    orientation = np.minimum((turned * (_ORIENTATIONS / np.pi)).astype(int), _ORIENTATIONS - 1)
    rows, columns = np.indices(grey.shape) // (_PX // _CELLS)
    cell = (rows * _CELLS + columns) * _ORIENTATIONS + orientation
    sums = np.bincount(cell.ravel(), np.hypot(across, down).ravel(), _CELLS * _CELLS * _ORIENTATIONS)
    return np.sqrt(sums).astype(np.float32)


def _unit(values: Descriptor) -> Descriptor:
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-9), np.float32)
