"""What gives a counterfeit away. Each item carries only some of its family's flaws, so no single view ever decides.

The two families share no flaw: what a model learns on ``replica`` says little about ``superfake``, as in the field when
a better workshop appears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calibration_data.leather.brands import Look, shifted

Family = Literal["replica", "superfake"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A shift of one field of a look, at difficulty 0.5, in that field's unit."""

    field: str
    shift: float


FLAWS: Mapping[Family, tuple[Flaw, ...]] = {
    "replica": (
        Flaw(field="kerning_px", shift=8.0),
        Flaw(field="kerning_jitter_px", shift=4.2),
        Flaw(field="stroke_px", shift=1.0),
        Flaw(field="stamp_depth_px", shift=-1.0),
        Flaw(field="foil_hue_deg", shift=-6.0),
        Flaw(field="pitch_px", shift=7.5),
        Flaw(field="slant_deg", shift=-13.5),
        Flaw(field="thread_px", shift=2.5),
        Flaw(field="thread_hue_deg", shift=8.0),
        Flaw(field="edge_px", shift=-12.0),
        Flaw(field="bevel_px", shift=-6.5),
        Flaw(field="engraving_depth_px", shift=-1.1),
        Flaw(field="engraving_kerning_px", shift=5.2),
        Flaw(field="slot_px", shift=4.2),
        Flaw(field="metal_hue_deg", shift=7.0),
        Flaw(field="grain_scale", shift=0.25),
    ),
    "superfake": (
        Flaw(field="baseline_jitter_px", shift=1.2),
        Flaw(field="foil_wear", shift=0.10),
        Flaw(field="stitch_jitter_px", shift=0.9),
        Flaw(field="hole_px", shift=1.4),
        Flaw(field="twist_px", shift=2.2),
        Flaw(field="corner_px", shift=4.0),
        Flaw(field="brush_grain", shift=0.03),
        Flaw(field="screw_px", shift=-1.6),
        Flaw(field="zip_pitch_px", shift=1.4),
    ),
}
PRESENT = 0.55  # chance of each flaw
FEWEST = 6  # flaws that every counterfeit has


def strength(difficulty: float) -> float:
    """Factor on every shift: 2 at difficulty 0, 1 at 0.5, a half at 1."""
    return float(2.0 ** (1.0 - 2.0 * difficulty))


def counterfeit_look(look: Look, family: Family, difficulty: float, rng: np.random.Generator) -> Look:
    """Push a genuine look off its brand by some of the flaws of ``family``.

    Args:
        look: The draw that a genuine item would have had.
        family: Whose flaws.
        difficulty: 0 to 1; higher is harder to tell.
        rng: Decides which flaws and how strong each is; draws the same numbers whatever the difficulty.
    """
    flaws = FLAWS[family]
    priority = rng.permutation(len(flaws))
    present = rng.random(len(flaws)) < PRESENT
    present[priority[:FEWEST]] = True
    sizes = rng.uniform(0.6, 1.4, len(flaws)) * strength(difficulty)
    chosen = zip(flaws, present, sizes, strict=True)
    return shifted(look, {flaw.field: flaw.shift * float(size) for flaw, there, size in chosen if there})
