"""The ``stitching`` view: a panel's edge with one or two seams along it, every stitch computed, none drawn."""

from __future__ import annotations

import cv2
import numpy as np

from calibration_data.leather.brands import Brand, Look
from calibration_data.leather.surface import PLANE_PX, Surface, colour_bgr, dim, paint
from calibration_data.leather.textures import Plane

EDGE_Y = 452
SEAM_GAP_PX = 84


def add_stitching(surface: Surface, brand: Brand, look: Look, rng: np.random.Generator) -> None:
    """Fold the panel's edge and sew it, in place."""
    _fold(surface, rng)
    for seam in range(brand.seams):
        _sew(surface, brand, look, EDGE_Y - look.edge_px - seam * SEAM_GAP_PX, rng)


def _fold(surface: Surface, rng: np.random.Generator) -> None:
    """The upper panel lies on a lower one: a rolled, painted edge and its shadow."""
    rows = slice(EDGE_Y - 40, EDGE_Y + 130)
    x = np.arange(PLANE_PX, dtype=np.float32)
    wave = EDGE_Y + 1.5 * np.sin(x / 90 + float(rng.uniform(0, 6)))
    below = (np.arange(rows.start, rows.stop)[:, None] - wave[None, :]).astype(np.float32)
    step = np.where(below < 0, np.sqrt(np.maximum(1 - (1 + np.clip(below / 16, -1, 0)) ** 2, 0)), 0)
    surface.height[rows] += np.float32(9) * cv2.GaussianBlur(step.astype(np.float32), (0, 0), 1.2)
    surface.height[: rows.start] += np.float32(9)
    painted = 0.55 * np.exp(-(((below + 2) / 3.2) ** 2))
    shadow = np.where(below > 0, 1 - 0.62 * np.exp(-below / 20), 1)
    dim(surface.colour[rows], (1 - painted) * shadow * np.where(below > 0, 0.86, 1))
    surface.colour[rows.stop :] *= np.float32(0.86)


def _sew(surface: Surface, brand: Brand, look: Look, seam_y: float, rng: np.random.Generator) -> None:
    reach = 40
    top = round(seam_y) - reach
    rows = slice(top, top + 2 * reach)
    # Which stitch, and how it lies, depends on x alone: one number a column until the seam is crossed.
    x = np.arange(PLANE_PX, dtype=np.float32)
    y = np.arange(2 * reach, dtype=np.float32)[:, None] + np.float32(top - seam_y)
    cells = int(PLANE_PX / look.pitch_px) + 4
    jitter = rng.standard_normal((3, cells)).astype(np.float32) * np.float32(look.stitch_jitter_px)
    place = (x + float(rng.uniform(0, look.pitch_px))) / look.pitch_px
    cell = place.astype(np.int32)
    along_x = (place - np.floor(place) - 0.5) * look.pitch_px + jitter[0][cell]
    across_y = y + jitter[1][cell]
    slant = np.float32(np.deg2rad(look.slant_deg)) + jitter[2][cell] * np.float32(0.04)
    along = along_x * np.cos(slant) + across_y * np.sin(slant)
    across = across_y * np.cos(slant) - along_x * np.sin(slant)
    past_end = np.abs(along) - (look.pitch_px * 0.40 - look.thread_px * 0.30)
    distance = np.asarray(cv2.magnitude(np.maximum(past_end, 0), across))
    _holes(surface, rows, look, np.asarray(cv2.magnitude(past_end - 2.5, across)))
    _thread(surface, rows, brand, look, distance, along, across)


def _holes(surface: Surface, rows: slice, look: Look, distance: Plane) -> None:
    hole = np.exp(-((distance / np.float32(look.hole_px)) ** 2) / 2)
    pucker = cv2.GaussianBlur(np.exp(-((distance / np.float32(10)) ** 2) / 2), (0, 0), 3.0)
    surface.height[rows] -= np.asarray(1.2 * hole + 1.6 * pucker, np.float32)
    dim(surface.colour[rows], 1 - 0.75 * hole)


def _thread(
    surface: Surface, rows: slice, brand: Brand, look: Look, distance: Plane, along: Plane, across: Plane
) -> None:
    radius = look.thread_px / 2
    cover = np.asarray(np.clip(radius - distance + 0.5, 0, 1), np.float32)
    shade = np.asarray(np.exp(-(np.maximum(distance - radius, 0) ** 2) / 12) * (1 - cover) * 0.45, np.float32)
    dim(surface.colour[rows], 1 - shade)
    twist = np.sin((along + 0.9 * across) * (2 * np.pi / look.twist_px))
    dome = np.sqrt(np.maximum(1 - (distance / radius) ** 2, 0)) * cover
    height = surface.height[rows]
    height += np.asarray(dome * (3.4 + 0.5 * twist) - height * cover * 0.8, np.float32)
    thread = colour_bgr(look.thread_hue_deg, brand.thread_saturation, 0.9)
    paint(surface.colour[rows], cover, thread, 1 - 0.10 * (1 - twist) * cover)
    surface.gloss[rows] *= 1 - np.float32(0.4) * cover
