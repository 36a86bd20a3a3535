"""Textures that every photo draws from, computed once a process. Fixed seeds: they are material, not randomness."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from calibration_data.leather.brands import Grain

TEXTURE_PX = 1400

Plane = npt.NDArray[np.float32]


@lru_cache(maxsize=8)
def grain(kind: Grain) -> Plane:
    """Height of leather, float32 (TEXTURE_PX, TEXTURE_PX), px, mean 0, standard deviation about 0.5."""
    if kind == "cross":
        height = _cross_hatch()
    else:
        height = _pebbles(cell_px=22 if kind == "pebble" else 11, seed=11 if kind == "pebble" else 12)
    height = _standardised(height, 1.0) + 0.25 * _band_noise(13, 2.5)
    return _standardised(height, 0.42)


@lru_cache(maxsize=1)
def mottle() -> Plane:
    """Slow unevenness of dye, float32 (TEXTURE_PX, TEXTURE_PX), mean 0, standard deviation 1."""
    return _standardised(_band_noise(21, 45.0) + 0.5 * _band_noise(22, 12.0), 1.0)


@lru_cache(maxsize=1)
def brushing() -> Plane:
    """Brush marks along x, float32 (TEXTURE_PX, TEXTURE_PX), mean 0, standard deviation 1."""
    rough = np.random.default_rng(31).standard_normal((TEXTURE_PX, TEXTURE_PX), np.float32)
    return _standardised(cv2.GaussianBlur(rough, (0, 0), sigmaX=24.0, sigmaY=0.8), 1.0)


@lru_cache(maxsize=1)
def sensor_noise() -> Plane:
    """Noise of a phone's sensor, float32 (TEXTURE_PX, TEXTURE_PX, 3), standard deviation 1, mostly luminance."""
    rng = np.random.default_rng(41)
    colour = rng.standard_normal((TEXTURE_PX, TEXTURE_PX, 3), np.float32)
    luminance = rng.standard_normal((TEXTURE_PX, TEXTURE_PX, 1), np.float32)
    return np.asarray(0.5 * colour + 0.85 * luminance, np.float32)


def cut(texture: Plane, rng: np.random.Generator, size_px: int, *, scale: float = 1.0, turn_deg: float = 0.0) -> Plane:
    """Cut a random square out of a texture, enlarged by ``scale`` and turned; returns float32 (size_px, size_px)."""
    reach = size_px / scale * (1.0 + abs(np.sin(np.deg2rad(turn_deg))))
    slack = max(TEXTURE_PX - reach, 0.0) / 2
    centre = TEXTURE_PX / 2 + rng.uniform(-slack, slack, 2)
    matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn_deg, scale), np.float64)
    matrix[:, 2] += size_px / 2 - centre
    flags = cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(texture, matrix, (size_px, size_px), flags=flags, borderMode=cv2.BORDER_REFLECT))


def _pebbles(*, cell_px: float, seed: int) -> Plane:
    rng = np.random.default_rng(seed)
    columns = int(TEXTURE_PX / cell_px)
    at = (np.indices((columns, columns)).reshape(2, -1) + rng.uniform(0.12, 0.88, (2, columns**2))) * cell_px
    points = np.full((TEXTURE_PX, TEXTURE_PX), 255, np.uint8)
    rows, cols = np.clip(at.astype(int), 0, TEXTURE_PX - 1)
    points[rows, cols] = 0
    _, cells = cv2.distanceTransformWithLabels(points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    cells = cells.astype(np.float32)
    border = (cv2.morphologyEx(cells, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0).astype(np.uint8)
    inside = cv2.distanceTransform(1 - border, cv2.DIST_L2, 3)
    domes = 1.0 - np.exp(-((inside / (0.24 * cell_px)) ** 2))
    return np.asarray(cv2.GaussianBlur(domes.astype(np.float32), (0, 0), 1.0))


def _cross_hatch() -> Plane:
    y, x = np.indices((TEXTURE_PX, TEXTURE_PX)).astype(np.float32)
    sway = 2.0 * _band_noise(14, 18.0)
    first = np.sin((x + 0.75 * y + sway) * (2 * np.pi / 13.0))
    second = np.sin((x - 0.75 * y - sway) * (2 * np.pi / 13.0))
    return np.asarray(np.maximum(first, second) ** 3, np.float32)


def _band_noise(seed: int, sigma_px: float) -> Plane:
    shrink = max(int(sigma_px / 2), 1)
    side = TEXTURE_PX // shrink + 1
    rough = np.random.default_rng(seed).standard_normal((side, side), np.float32)
    soft = cv2.GaussianBlur(rough, (0, 0), sigma_px / shrink)
    return _standardised(cv2.resize(soft, (TEXTURE_PX, TEXTURE_PX), interpolation=cv2.INTER_CUBIC), 1.0)


def _standardised(plane: npt.NDArray[np.generic], deviation: float) -> Plane:
    centred = np.asarray(plane, np.float32)
    return np.asarray((centred - centred.mean()) * (deviation / centred.std()), np.float32)
