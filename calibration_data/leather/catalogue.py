"""What item number n is: its label, brand, look, photos.

A pure function of (seed, index, knobs), so that any worker can make any item, and a longer run begins with the items
of a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from calibration_data.item import Label
from calibration_data.leather import camera
from calibration_data.leather.brands import BRANDS, Brand, Look, genuine_look
from calibration_data.leather.flaws import Family, counterfeit_look
from calibration_data.leather.hardware import add_hardware
from calibration_data.leather.listing import draw_listing
from calibration_data.leather.logo import add_logo
from calibration_data.leather.stitching import add_stitching
from calibration_data.leather.surface import bare_leather, draw_hide

VIEWS = {"hardware": add_hardware, "logo": add_logo, "stitching": add_stitching}
FIRST_CAPTURE = datetime(2026, 3, 2, 8, tzinfo=UTC)
CAPTURE_EVERY = timedelta(minutes=24)
BLOCK = 20  # labels are exact in each run of this many items

# One stream of random numbers a purpose: a change in one never moves another.
_LABELS, _IDENTITY, _LOOK, _FLAWS, _LISTING, _PHOTOS = range(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What decides the bytes of every item, beside its index.

    Attributes:
        seed: Any integer from 0.
        difficulty: 0 (plain) to 1 (hard).
        superfake_share: Share of the counterfeits that come from the better workshop.
        counterfeit_share: Share of the items that are counterfeit.
        photo_px: Width and height of a photo.
    """

    seed: int
    difficulty: float
    superfake_share: float
    counterfeit_share: float
    photo_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One item before its photos are taken. ``family`` is None for a genuine item."""

    item_id: str
    label: Label
    family: Family | None
    brand: Brand
    look: Look
    hide: tuple[float, float, float]
    session: camera.Session
    captured_at: datetime
    listing: Mapping[str, float]
    fraud: bool


def plan(index: int, knobs: Knobs) -> Plan:
    """Decide everything about item ``index`` but its photos."""
    label = _label(index, knobs)
    identity = _stream(knobs, index, _IDENTITY)
    brand = BRANDS[int(identity.integers(len(BRANDS)))]
    hide, session = draw_hide(identity), camera.draw_session(identity)
    captured_at = FIRST_CAPTURE + index * CAPTURE_EVERY + timedelta(seconds=int(identity.integers(0, 1200)))
    look = genuine_look(brand, _stream(knobs, index, _LOOK))
    family: Family | None = None
    if label == "counterfeit":
        flaws = _stream(knobs, index, _FLAWS)
        family = "superfake" if flaws.random() < knobs.superfake_share else "replica"
        look = counterfeit_look(look, family, knobs.difficulty, flaws)
    listing, fraud = draw_listing(label == "counterfeit", _stream(knobs, index, _LISTING))
    return Plan(
        item_id=f"LG-{index + 1:06d}",
        label=label,
        family=family,
        brand=brand,
        look=look,
        hide=hide,
        session=session,
        captured_at=captured_at,
        listing=listing,
        fraud=fraud,
    )


def photos(item: Plan, index: int, knobs: Knobs) -> Iterator[tuple[str, bytes]]:
    """Take the photos of one item; yields each view's name and its JPEG."""
    for number, (view, add) in enumerate(VIEWS.items()):
        rng = _stream(knobs, index, _PHOTOS + number)
        surface = bare_leather(item.brand, item.look, item.hide, rng)
        add(surface, item.brand, item.look, rng)
        photo = camera.photograph(surface, item.session, rng)
        yield view, camera.encoded(photo, item.session, knobs.photo_px)


def _stream(knobs: Knobs, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((knobs.seed, index, purpose))


def _label(index: int, knobs: Knobs) -> Label:
    block, place = divmod(index, BLOCK)
    before, after = (int(edge * BLOCK * knobs.counterfeit_share + 0.5) for edge in (block, block + 1))
    rank = _stream(knobs, block, _LABELS).permutation(BLOCK)[place]
    return "counterfeit" if rank < after - before else "genuine"
