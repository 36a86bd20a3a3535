"""What is wrong with a photo before anybody decides by it, and the genuine photo to hold beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.photo import Photo

if TYPE_CHECKING:
    from runtime.inspector import Inspector
    from runtime.preprocess import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityProblem:
    """One thing that is wrong with a photo: a stable ``code``, words for a person, what was measured, and the limit."""

    code: str
    text: str
    value: float
    limit: float


def problems_of(inspector: Inspector, view: str, photo: Photo | Frame) -> tuple[QualityProblem, ...]:
    """Return what is wrong with a photo, the weightiest first; none is the rule.

    Args:
        inspector: the running model, whose input says how small is too small.
        view: of the photo.
        photo: checked, or a frame of the camera.
    """
    spec = inspector.bundle.manifest.input
    limit = max(64, 0 if spec is None else spec.px)
    sides = (photo.width_px, photo.height_px) if isinstance(photo, Photo) else photo.pixels.shape[:2]
    short_px = min(sides)
    if short_px >= limit:
        return ()
    text = f"the photo is too small: {short_px} pixels on its short side, {limit} are needed; move closer"
    return (QualityProblem(code="too_small", text=text, value=float(short_px), limit=float(limit)),)


def references(inspector: Inspector, view: str) -> tuple[str, ...]:
    """Return the bundle's genuine photos of a view: files inside it."""
    return tuple(path for golden in inspector.bundle.manifest.golden for path in golden.photos.get(view, ()))


def reference_of(inspector: Inspector, view: str, photo: bytes) -> tuple[int, float | None] | None:
    """Return which reference of a view is closest to a photo, counted from 1, and how close; ``None`` without any."""
    return (1, None) if references(inspector, view) else None
