"""Which part of a view's photos a model looks at: read from flags, and found for a photo as the station finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.contracts.bundle import ANY_VIEW, Region
from runtime.contracts.errors import Unsupported

Regions = Mapping[str, Region]
"""View to the part that is looked at; all of a photo for a view that is not named."""


def read_regions(texts: Sequence[str]) -> dict[str, Region]:
    """Read regions given as ``VIEW=LEFT,TOP,WIDTH,HEIGHT``, in fractions of the upright photo.

    Raises:
        Unsupported: one does not read like that, does not lie inside the photo, or names a view again.
    """
    found: dict[str, Region] = {}
    for text in texts:
        view, _, numbers = text.rpartition("=")
        try:
            left, top, width, height = (float(number) for number in numbers.split(","))
        except ValueError as error:
            raise Unsupported(
                f"--region {text}: expected VIEW=LEFT,TOP,WIDTH,HEIGHT in fractions of the photo, such as "
                "logo=0.25,0.25,0.5,0.5"
            ) from error
        inside = left >= 0 and top >= 0 and left + width <= 1 and top + height <= 1  # NaN is not inside
        if not (inside and width > 0 and height > 0):
            raise Unsupported(f"--region {text}: expected a part that lies inside the photo, in fractions of its sides")
        if not view or view in found:
            raise Unsupported(f"--region {text}: expected each view once, got {view!r}")
        found[view] = Region(left=left, top=top, width=width, height=height)
    return found


def require_views(regions: Regions, views: Sequence[str]) -> None:
    """Check that a model of these views looks at every view that has a region.

    Raises:
        Unsupported: there is a region of another view.
    """
    strange = [view for view in regions if view not in views]
    if strange:
        known = (
            f"exchangeable views, which share the one region {ANY_VIEW!r}" if ANY_VIEW in views else ", ".join(views)
        )
        raise Unsupported(f"--region {strange[0]}: the model looks at no such view; the data has {known}")


def region_of(view: str, views: Sequence[str], regions: Regions) -> Region | None:
    """Return the part of a photo of this view that a model of these views looks at; ``None`` for all of it."""
    return regions.get(ANY_VIEW if ANY_VIEW in views else view)
