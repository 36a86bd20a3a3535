"""The object plane: what an item looks like before a camera sees it. Three maps (height, colour, gloss) are enough to
light a close-up believably; views only ever add to these maps.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibration_data.leather import textures
from calibration_data.leather.brands import Brand, Look
from calibration_data.leather.textures import Plane

PLANE_PX = 704  # wider than a photo, so that a tilted camera never sees the border

# (hue in degrees, saturation, value) of the hides; no brand and no label prefers one.
HIDES = (
    (20, 0.25, 0.16), (24, 0.68, 0.60), (352, 0.68, 0.38), (216, 0.52, 0.32), (28, 0.26, 0.56),
    (145, 0.38, 0.30), (36, 0.22, 0.70), (5, 0.74, 0.58), (28, 0.52, 0.36),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """The maps of one view; the arrays are changed in place while a view is built.

    Attributes:
        height: float32 (PLANE_PX, PLANE_PX), px towards the viewer.
        colour: float32 (PLANE_PX, PLANE_PX, 3), BGR, 0 to 255.
        gloss: float32 (PLANE_PX, PLANE_PX), 0 (dull) to 1 (mirror).
    """

    height: Plane
    colour: Plane
    gloss: Plane


def colour_bgr(hue_deg: float, saturation: float, value: float) -> npt.NDArray[np.float32]:
    """BGR, float32 (3,), 0 to 255, of a hue in degrees and a saturation and value of 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue_deg % 360 / 360, saturation, value)
    return np.array([blue, green, red], np.float32) * 255


def draw_hide(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the hide of one item: hue in degrees, saturation, value."""
    hue, saturation, value = HIDES[int(rng.integers(len(HIDES)))]
    return (
        hue + float(rng.normal(0, 4)),
        float(np.clip(saturation * rng.normal(1, 0.08), 0, 1)),
        float(np.clip(value * rng.normal(1, 0.08), 0, 1)),
    )


def bare_leather(brand: Brand, look: Look, hide: tuple[float, float, float], rng: np.random.Generator) -> Surface:
    """Leather with its grain and dye, and nothing on it yet."""
    turn_deg = float(rng.uniform(-4, 4))
    cut = textures.cut(textures.grain(brand.grain), rng, PLANE_PX, scale=look.grain_scale, turn_deg=turn_deg)
    height = cut * np.float32(look.grain_depth_px)
    dye = cv2.resize(textures.cut(textures.mottle(), rng, 176, scale=0.25), (PLANE_PX, PLANE_PX))
    tone = 1.0 + np.float32(0.05) * dye + np.float32(0.10) * cut  # valleys hold less light
    colour = cv2.merge([tone * channel for channel in colour_bgr(*hide)])
    gloss = np.full((PLANE_PX, PLANE_PX), 0.16, np.float32)
    return Surface(height=height, colour=np.asarray(colour, np.float32), gloss=gloss)


def tripled(plane: npt.NDArray[np.floating]) -> Plane:
    """(H, W) to float32 (H, W, 3); several times faster to compute with than a broadcast last axis."""
    single = np.asarray(plane, np.float32)
    return np.asarray(cv2.merge((single, single, single)))


def paint(
    colour: Plane, cover: Plane, bgr: npt.NDArray[np.float32], tone: npt.NDArray[np.floating] | None = None
) -> None:
    """Blend a colour over ``colour`` (H, W, 3), in place.

    Args:
        colour: float32 (H, W, 3), BGR, 0 to 255.
        cover: float32 (H, W), 0 to 1.
        bgr: float32 (3,).
        tone: Factor on ``bgr`` at each pixel, (H, W); 1 by default.
    """
    bright = tone if tone is not None else np.ones_like(cover)
    coat = np.asarray(cv2.merge([np.asarray(bright * channel, np.float32) for channel in bgr]))
    colour += (coat - colour) * tripled(cover)


def dim(colour: Plane, factor: npt.NDArray[np.floating]) -> None:
    """Multiply ``colour`` (H, W, 3) by ``factor`` (H, W), in place."""
    colour *= tripled(factor)


def lit(surface: Surface, azimuth_deg: float, elevation: float) -> npt.NDArray[np.uint8]:
    """Light a surface with one lamp.

    Args:
        surface: The maps.
        azimuth_deg: Where the lamp stands, 0 right, 90 top.
        elevation: 0 (grazing) to 1 (overhead); grazing light shows more relief.

    Returns:
        uint8 (PLANE_PX, PLANE_PX, 3), BGR.
    """
    toward = np.deg2rad(azimuth_deg)
    lamp_x, lamp_y = float(np.cos(toward)), float(-np.sin(toward))
    slope_x = cv2.Sobel(surface.height, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    slope_y = cv2.Sobel(surface.height, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    relief = 1.15 - 0.7 * elevation
    toward_lamp = cv2.addWeighted(slope_x, -lamp_x, slope_y, -lamp_y, 0)
    diffuse = np.clip(1.0 + np.float32(relief) * toward_lamp, 0.15, 2.2)
    # Blinn-like highlight: brightest where the slope is half-way to the lamp.
    off = (toward_lamp - np.float32(0.45 * (1.2 - elevation))) / np.float32(0.22)
    across = cv2.addWeighted(slope_x, -lamp_y / 0.35, slope_y, lamp_x / 0.35, 0)
    shine = cv2.exp(np.float32(-0.5) * (off * off + across * across)) * surface.gloss * np.float32(150)
    photo = cv2.add(cv2.multiply(surface.colour, tripled(diffuse)), tripled(shine))
    return np.asarray(cv2.convertScaleAbs(photo), np.uint8)
