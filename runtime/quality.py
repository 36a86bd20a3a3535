"""Is a photo good enough to be judged? Looks at pixels that are decoded already, and decides nothing about the item.

Every measure is taken on the photo at one size, so that a limit means the same for every camera. An operator is told at
once, while the item still lies before the camera; whether a photo is used all the same is the operator's choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runtime.contracts.quality import QualityProblem
from runtime.photo import Photo
from runtime.preprocess import Frame, Pixels, decode

MEASURED_PX = 384
"""Shorter side at which a photo is measured."""
_TILES = 6
_SHARPEST = 0.9
_WHITE = 250
_RIM = 3
_SPOT_SHARE = 0.0008


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What a good photo has; measured on photos made worse on purpose (ADR 18).

    Attributes:
        shorter_side_px: least size, pixels.
        sharpness: least of ``sharpness``.
        dark: least brightness (0 to 255) that the brightest twentieth of the photo reaches.
        bright: most brightness of the darkest twentieth.
        glare: greatest share of the photo in clipped spots that lie inside it.
    """

    shorter_side_px: int = 224
    sharpness: float = 25.0
    dark: float = 45.0
    bright: float = 160.0
    glare: float = 0.03


def check_quality(photo: Photo | Frame, name: str, limits: QualityLimits | None = None) -> tuple[QualityProblem, ...]:
    """Look at a photo or frame, decoded at the smallest scale that shows what is looked for; see ``problems_of``.

    Raises:
        Unsupported: it does not decode; the message has ``name``.
    """
    if isinstance(photo, Frame):
        pixels = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2BGR)
        return problems_of(np.asarray(pixels, np.uint8), min(pixels.shape[:2]), limits)
    return problems_of(decode(photo, MEASURED_PX, name), min(photo.width_px, photo.height_px), limits)


def problems_of(
    pixels: Pixels, shorter_side_px: int, limits: QualityLimits | None = None
) -> tuple[QualityProblem, ...]:
    """Return what is wrong with a photo; nothing: it is good.

    Args:
        pixels: ``uint8 (H, W, 3)``, BGR, at any scale.
        shorter_side_px: of the photo before it was decoded at that scale.
        limits: to hold it to.
    """
    wanted = limits or QualityLimits()
    grey = _measured(pixels)
    found = []
    if shorter_side_px < wanted.shorter_side_px:
        found.append(
            QualityProblem(
                code="too_small",
                text=f"the photo is too small ({shorter_side_px} pixels, at least {wanted.shorter_side_px}): "
                "go closer, or set the camera to a larger size",
                value=float(shorter_side_px),
                limit=float(wanted.shorter_side_px),
            )
        )
    light, shade = (float(value) for value in np.percentile(grey, (95, 5)))
    if light < wanted.dark:
        text = f"the photo is too dark (brightness {light:.0f}, at least {wanted.dark:.0f}): turn the light on"
        return (*found, QualityProblem(code="too_dark", text=text, value=light, limit=wanted.dark))
    if shade > wanted.bright:
        text = f"the photo is too bright (brightness {shade:.0f}, at most {wanted.bright:.0f}): less light"
        return (*found, QualityProblem(code="too_bright", text=text, value=shade, limit=wanted.bright))
    sharp = sharpness(grey)
    if sharp < wanted.sharpness:
        text = (
            f"the photo is blurred (sharpness {sharp:.0f}, at least {wanted.sharpness:.0f}): "
            "hold the camera still, let it focus, and shoot again"
        )
        found.append(QualityProblem(code="blurred", text=text, value=sharp, limit=wanted.sharpness))
    shine = glare(grey)
    if shine > wanted.glare:
        text = (
            f"light is reflected in the photo ({100 * shine:.1f} %, at most {100 * wanted.glare:.1f} %): "
            "tilt the item or move the light"
        )
        found.append(QualityProblem(code="glare", text=text, value=shine, limit=wanted.glare))
    return tuple(found)


def sharpness(grey: Pixels) -> float:
    """Return how sharp the sharpest tiles are in their least sharp direction; moving the camera blurs one alone.

    The measure is the variance of a second derivative, as of the Laplacian in Pech-Pacheco et al. 2000, but taken along
    the rows and along the columns, of which the lesser counts. Of all tiles the 0.9 quantile counts, so that a plain
    background is not called blurred.

    Args:
        grey: ``uint8 (H, W)`` at the measured size.
    """
    second = [cv2.Sobel(grey, cv2.CV_32F, 2, 0, ksize=1), cv2.Sobel(grey, cv2.CV_32F, 0, 2, ksize=1)]
    return float(
        min(np.quantile([tile.var() for tile in _tiles(np.asarray(along, np.float32))], _SHARPEST) for along in second)
    )


def glare(grey: Pixels) -> float:
    """Return the share of the photo in clipped spots that do not reach its rim: a white background does.

    Args:
        grey: ``uint8 (H, W)`` at the measured size.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((grey >= _WHITE).astype(np.uint8), connectivity=8)
    height, width = grey.shape
    rim = np.unique(
        np.concatenate(
            [labels[:_RIM].ravel(), labels[-_RIM:].ravel(), labels[:, :_RIM].ravel(), labels[:, -_RIM:].ravel()]
        )
    )
    inside = np.setdiff1d(np.arange(1, count), rim)
    areas = stats[inside, cv2.CC_STAT_AREA]
    return float(areas[areas >= _SPOT_SHARE * height * width].sum() / (height * width))


def _tiles(values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return [tile for row in np.array_split(values, _TILES) for tile in np.array_split(row, _TILES, axis=1) if tile.size]


def _measured(pixels: Pixels) -> Pixels:
    scale = MEASURED_PX / min(pixels.shape[:2])
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)
