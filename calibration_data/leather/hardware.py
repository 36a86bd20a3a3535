"""The ``hardware`` view: an engraved metal plate held by two screws, above a zip."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from calibration_data.leather import glyphs, textures
from calibration_data.leather.brands import Brand, Look
from calibration_data.leather.surface import PLANE_PX, Surface, colour_bgr, dim, paint
from calibration_data.leather.textures import Plane

PLATE_CENTRE = (PLANE_PX // 2, 288)
PLATE_HALF = (238, 72)
WINDOW = (slice(PLATE_CENTRE[1] - 110, PLATE_CENTRE[1] + 120), slice(PLATE_CENTRE[0] - 290, PLATE_CENTRE[0] + 290))
ZIP_Y = 508


def add_hardware(surface: Surface, brand: Brand, look: Look, rng: np.random.Generator) -> None:
    """Fix the zip and the plate on ``surface``, in place."""
    metal = colour_bgr(look.metal_hue_deg, brand.metal_saturation, 0.78)
    _zip(surface, look, metal)
    _plate(surface, brand, look, metal, rng)


def _plate(
    surface: Surface, brand: Brand, look: Look, metal: npt.NDArray[np.float32], rng: np.random.Generator
) -> None:
    y, x = np.indices((WINDOW[0].stop - WINDOW[0].start, WINDOW[1].stop - WINDOW[1].start), dtype=np.float32)
    x -= PLATE_CENTRE[0] - WINDOW[1].start
    y -= PLATE_CENTRE[1] - WINDOW[0].start
    edge = _rounded_box(x, y, PLATE_HALF, look.corner_px)
    cover = np.asarray(np.clip(0.5 - edge, 0, 1), np.float32)
    colour, height, gloss = surface.colour[WINDOW], surface.height[WINDOW], surface.gloss[WINDOW]
    shadow = cv2.GaussianBlur(np.roll(cover, 9, axis=0), (0, 0), 7.0)
    dim(colour, 1 - 0.6 * shadow * (1 - cover))
    brushed = textures.cut(textures.brushing(), rng, PLANE_PX)[WINDOW]
    wave = 0.86 + 0.16 * np.sin(x / 105 + y / 60 + float(rng.uniform(0, 6)))
    tone = wave + look.brush_grain * brushed
    paint(colour, cover, metal, tone)
    bevel = np.clip(-edge / look.bevel_px, 0, 1)
    profile = np.asarray(6.0 * np.sin(bevel * np.pi / 2), np.float32)
    height += (profile + np.float32(0.05) * brushed - height) * cover
    gloss += (np.float32(0.55) - gloss) * cover
    _engrave(surface, brand, look)
    for side in (-1, 1):
        _screw(surface, look, metal, PLATE_CENTRE[0] + side * (PLATE_HALF[0] - 38), rng)


def _engrave(surface: Surface, brand: Brand, look: Look) -> None:
    rows = slice(PLATE_CENTRE[1] - 30, PLATE_CENTRE[1] + 30)
    cap_px = 36.0
    fit = min(1.0, 350 / glyphs.text_width_px(brand.name, cap_px, look.engraving_kerning_px))
    name = glyphs.place_text(
        brand.name, centre=(PLATE_CENTRE[0], 30), cap_px=cap_px * fit, kerning_px=look.engraving_kerning_px * fit
    )
    cut = glyphs.stroke_cover(name, 4.4, (60, PLANE_PX))
    surface.height[rows] -= cv2.GaussianBlur(cut, (0, 0), 0.9) * np.float32(look.engraving_depth_px)
    dim(surface.colour[rows], 1 - np.float32(0.17 * look.engraving_depth_px) * cut)


def _screw(
    surface: Surface, look: Look, metal: npt.NDArray[np.float32], centre_x: int, rng: np.random.Generator
) -> None:
    reach = 30
    window = (slice(PLATE_CENTRE[1] - reach, PLATE_CENTRE[1] + reach), slice(centre_x - reach, centre_x + reach))
    y, x = np.indices((2 * reach, 2 * reach), dtype=np.float32) - np.float32(reach)
    radius = np.hypot(x, y)
    cover = np.asarray(np.clip(look.screw_px - radius + 0.5, 0, 1), np.float32)
    rim = np.exp(-(((radius - look.screw_px) / 1.8) ** 2))
    turn = float(rng.uniform(0, np.pi))
    slot = np.clip(look.slot_px / 2 - np.abs(x * np.sin(turn) + y * np.cos(turn)) + 0.5, 0, 1) * cover
    colour, height = surface.colour[window], surface.height[window]
    paint(colour, cover, metal, 0.92 + 0.08 * x / reach)
    dome = 3.0 * np.sqrt(np.maximum(1 - (radius / (look.screw_px + 4)) ** 2, 0))
    height += np.asarray(dome * cover - 2.2 * slot, np.float32)
    dim(colour, 1 - np.maximum(0.5 * rim, 0.62 * slot))


def _zip(surface: Surface, look: Look, metal: npt.NDArray[np.float32]) -> None:
    reach = 60
    rows = slice(ZIP_Y - reach, ZIP_Y + reach)
    y, x = np.indices((2 * reach, PLANE_PX), dtype=np.float32)
    y -= reach
    colour, height, gloss = surface.colour[rows], surface.height[rows], surface.gloss[rows]
    tape = np.asarray(np.clip(44 - np.abs(y), 0, 1), np.float32)
    weave = 1 + 0.16 * np.sin(x * 1.1) * np.sin(y * 1.1)
    paint(colour, tape, np.asarray(colour[::8, ::8].mean(axis=(0, 1)) * 0.42, np.float32), weave)
    height -= (height + 3) * tape
    gloss *= 1 - np.float32(0.8) * tape
    pitch = look.zip_pitch_px
    for side in (-1, 1):
        offset = (x + (pitch / 2 if side > 0 else 0)) / pitch
        across = (offset - np.floor(offset) - 0.5) * pitch
        tooth = _rounded_box(across, y - side * 9, (pitch * 0.27, 15), 4.0)
        cover = np.asarray(np.clip(0.5 - tooth, 0, 1), np.float32)
        paint(colour, cover, metal * np.float32(0.95))
        height += np.asarray(4 * np.clip(-tooth / 4, 0, 1) * cover, np.float32)
        gloss += (np.float32(0.5) - gloss) * cover


def _rounded_box(x: Plane, y: Plane, half: tuple[float, float], corner_px: float) -> Plane:
    """Signed distance (negative inside) to a rounded box centred on the origin."""
    corner = min(corner_px, half[0], half[1])
    over_x, over_y = np.abs(x) - half[0] + corner, np.abs(y) - half[1] + corner
    outside = np.hypot(np.maximum(over_x, 0), np.maximum(over_y, 0))
    return np.asarray(outside + np.minimum(np.maximum(over_x, over_y), 0) - corner, np.float32)
