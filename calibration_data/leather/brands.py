"""The fictional brands, and how each of them makes a genuine item.

A ``Look`` is everything measurable about one item. A brand is a look plus the tolerance of its workshop; counterfeits
start from the same draw and are pushed off it by `calibration_data.leather.flaws`. Nothing here knows pixels of a
photo: lengths are pixels of the object plane, before any camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

Grain = Literal["pebble", "fine", "cross"]
Emblem = Literal["diamond", "ring", "chevron", "arch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What can be measured on one item.

    Lengths and depths are object-plane pixels, angles and hues degrees, ``grain_scale`` and ``foil_wear`` plain ratios.
    """

    grain_scale: float = 1.0
    grain_depth_px: float = 1.0
    # logo
    cap_px: float = 70.0
    kerning_px: float = 22.0
    kerning_jitter_px: float = 0.5
    baseline_jitter_px: float = 0.4
    stroke_px: float = 7.0
    stamp_depth_px: float = 2.6
    foil_hue_deg: float = 42.0
    foil_wear: float = 0.06
    # stitching
    pitch_px: float = 44.0
    slant_deg: float = 14.0
    thread_px: float = 12.0
    thread_hue_deg: float = 38.0
    stitch_jitter_px: float = 0.5
    edge_px: float = 58.0
    hole_px: float = 4.4
    twist_px: float = 8.5
    # hardware
    engraving_depth_px: float = 2.0
    engraving_kerning_px: float = 10.0
    bevel_px: float = 10.0
    corner_px: float = 26.0
    metal_hue_deg: float = 44.0
    brush_grain: float = 0.05
    screw_px: float = 17.0
    slot_px: float = 5.0
    zip_pitch_px: float = 26.0


# One standard deviation of honest manufacturing, the same in every workshop.
TOLERANCE = Look(
    grain_scale=0.035,
    grain_depth_px=0.10,
    cap_px=0.8,
    kerning_px=0.7,
    kerning_jitter_px=0.12,
    baseline_jitter_px=0.10,
    stroke_px=0.30,
    stamp_depth_px=0.25,
    foil_hue_deg=2.5,
    foil_wear=0.02,
    pitch_px=0.9,
    slant_deg=1.4,
    thread_px=0.45,
    thread_hue_deg=3.0,
    stitch_jitter_px=0.12,
    edge_px=1.5,
    hole_px=0.25,
    twist_px=0.3,
    engraving_depth_px=0.2,
    engraving_kerning_px=0.4,
    bevel_px=0.6,
    corner_px=1.2,
    metal_hue_deg=2.0,
    brush_grain=0.008,
    screw_px=0.35,
    slot_px=0.3,
    zip_pitch_px=0.4,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """A fictional maker.

    Saturations are 0 to 1: how coloured foil, thread and metal are.
    """

    name: str
    grain: Grain
    emblem: Emblem
    foil_saturation: float
    thread_saturation: float
    metal_saturation: float
    seams: int
    look: Look


BRANDS: tuple[Brand, ...] = (
    Brand(
        name="VALMORIS",
        grain="pebble",
        emblem="diamond",
        foil_saturation=0.55,
        thread_saturation=0.30,
        metal_saturation=0.45,
        seams=1,
        look=Look(),
    ),
    Brand(
        name="TESSARIN",
        grain="fine",
        emblem="ring",
        foil_saturation=0.08,
        thread_saturation=0.55,
        metal_saturation=0.07,
        seams=2,
        look=Look(
            cap_px=66, kerning_px=26, stroke_px=6.2, foil_hue_deg=215, pitch_px=40, slant_deg=18, thread_px=10.8,
            thread_hue_deg=24, edge_px=50, corner_px=40, metal_hue_deg=215, bevel_px=9, zip_pitch_px=24,
        ),
    ),
    Brand(
        name="ORLANVEL",
        grain="cross",
        emblem="chevron",
        foil_saturation=0.45,
        thread_saturation=0.12,
        metal_saturation=0.38,
        seams=1,
        look=Look(
            cap_px=74, kerning_px=19, stroke_px=7.8, foil_hue_deg=24, pitch_px=48, slant_deg=11, thread_px=13.2,
            thread_hue_deg=45, edge_px=64, corner_px=16, metal_hue_deg=26, bevel_px=11.5, zip_pitch_px=28,
        ),
    ),
    Brand(
        name="MIRELUNE",
        grain="pebble",
        emblem="arch",
        foil_saturation=0.50,
        thread_saturation=0.40,
        metal_saturation=0.10,
        seams=2,
        look=Look(
            grain_scale=0.9, cap_px=68, kerning_px=24, stroke_px=6.6, foil_hue_deg=46, pitch_px=42, slant_deg=16,
            thread_hue_deg=34, edge_px=54, corner_px=55, metal_hue_deg=225, bevel_px=9.5, zip_pitch_px=25,
        ),
    ),
)  # fmt: skip


def genuine_look(brand: Brand, rng: np.random.Generator) -> Look:
    """Draw one honest item of a brand: its look plus the tolerance of the workshop."""
    return shifted(
        brand.look,
        {field.name: float(rng.normal(0.0, getattr(TOLERANCE, field.name))) for field in fields(Look)},
    )


def shifted(look: Look, shifts: Mapping[str, float]) -> Look:
    """Add ``shifts`` to the named fields of ``look``; hues wrap, the rest stays above a tenth of its tolerance."""
    moved: dict[str, float] = {}
    for name, shift in shifts.items():
        value = getattr(look, name) + shift
        moved[name] = value % 360.0 if name.endswith("hue_deg") else max(value, 0.1 * getattr(TOLERANCE, name))
    return replace(look, **moved)
