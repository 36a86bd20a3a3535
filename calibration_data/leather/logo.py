"""The ``logo`` view: an emblem, the brand and a second line, hot-stamped in foil."""

from __future__ import annotations

import cv2
import numpy as np

from calibration_data.leather import glyphs, textures
from calibration_data.leather.brands import Brand, Look
from calibration_data.leather.surface import PLANE_PX, Surface, colour_bgr, paint

ROWS = slice(PLANE_PX // 2 - 160, PLANE_PX // 2 + 150)
SECOND_LINE = "ATELIER"


def add_logo(surface: Surface, brand: Brand, look: Look, rng: np.random.Generator) -> None:
    """Stamp the logo into ``surface``, in place."""
    shape = (ROWS.stop - ROWS.start, PLANE_PX)
    middle = PLANE_PX / 2
    jitter = rng.standard_normal((len(brand.name), 2)) * (look.kerning_jitter_px, look.baseline_jitter_px)
    fit = min(1.0, 600 / glyphs.text_width_px(brand.name, look.cap_px, look.kerning_px))
    name = glyphs.place_text(
        brand.name,
        centre=(middle, 175),
        cap_px=look.cap_px * fit,
        kerning_px=look.kerning_px * fit,
        offsets=jitter,
    )
    small = glyphs.place_text(SECOND_LINE, centre=(middle, 258), cap_px=27, kerning_px=look.kerning_px * 0.8)
    emblem = glyphs.place_emblem(brand.emblem, centre=(middle, 76), size_px=72)
    bold = glyphs.stroke_cover(name + emblem, look.stroke_px, shape)
    stamped = np.maximum(bold, glyphs.stroke_cover(small, look.stroke_px * 0.5, shape))
    _press(surface, look, stamped)
    _foil(surface, brand, look, stamped, rng)


def _press(surface: Surface, look: Look, stamped: textures.Plane) -> None:
    height = surface.height[ROWS]
    die = cv2.GaussianBlur(stamped, (0, 0), 1.6)
    swell = cv2.GaussianBlur(stamped, (0, 0), 6.0)
    height *= 1.0 - 0.7 * die  # the hot die flattens the grain
    height -= np.float32(look.stamp_depth_px) * (die * 1.2 - swell * 0.4)


def _foil(surface: Surface, brand: Brand, look: Look, stamped: textures.Plane, rng: np.random.Generator) -> None:
    speckle = textures.cut(textures.mottle(), rng, PLANE_PX)[ROWS]
    grain = surface.height[ROWS] - cv2.GaussianBlur(surface.height[ROWS], (0, 0), 3.0)
    worn = np.clip((speckle * 0.5 - grain * 2.0 + look.foil_wear * 14 - 2.2) * 1.5, 0, 0.85)
    sheen = np.asarray(1.0 + 0.10 * speckle[:, ::-1], np.float32)
    cover = np.asarray(stamped * (0.94 - worn), np.float32)
    paint(surface.colour[ROWS], cover, colour_bgr(look.foil_hue_deg, brand.foil_saturation, 0.80), sheen)
    surface.gloss[ROWS] += cover * np.float32(0.6)
