"""What is wrong with a photo before anybody decides by it, and the genuine photo to hold beside it.

OpenCV comes with the running model, so nothing here is imported before there is one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from runtime.contracts.quality import QualityProblem
from runtime.photo import Photo

if TYPE_CHECKING:
    from runtime.inspector import Inspector
    from runtime.preprocess import Frame
    from runtime.references import References

_LEAST_PX = 64
"""An expert sees nothing in less, whatever the model needs."""
_described: WeakKeyDictionary[Inspector, References] = WeakKeyDictionary()
_lock = threading.Lock()


def problems_of(inspector: Inspector, view: str, photo: Photo | Frame) -> tuple[QualityProblem, ...]:
    """Return what is wrong with a photo, the weightiest first; none is the rule.

    Args:
        inspector: the running model, whose input says how small is too small.
        view: of the photo.
        photo: checked, or a frame of the camera.

    Raises:
        Unsupported: it does not decode.
    """
    from runtime.quality import QualityLimits, check_quality
    from runtime.references import describe

    spec = inspector.bundle.manifest.input
    limits = QualityLimits(shorter_side_px=max(_LEAST_PX, spec.px)) if spec else QualityLimits()
    name = f"of view {view!r}"
    found = check_quality(photo, name, limits)
    if found:  # what else it shows cannot be told from a bad photo
        return found
    wrong = references_of(inspector).wrong_view(view, describe(photo, name))
    return () if wrong is None else (wrong,)


def references_of(inspector: Inspector) -> References:
    """Return the running bundle's genuine photos, described once."""
    from runtime.references import References

    with _lock:
        if inspector not in _described:
            _described[inspector] = References(inspector.bundle)
        return _described[inspector]


def reference_of(inspector: Inspector, view: str, photo: bytes) -> tuple[int, float] | None:
    """Return which reference of a view is closest to a stored photo, counted from 1, and how close (-1 to 1).

    Raises:
        Unsupported: the photo does not decode.
    """
    from runtime.photo import read_photo
    from runtime.references import describe

    name = f"of view {view!r}"
    nearest = references_of(inspector).nearest(view, describe(read_photo(photo, name), name))
    return None if nearest is None else (nearest.number + 1, nearest.similarity)
