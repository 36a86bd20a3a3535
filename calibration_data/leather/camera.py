"""A phone held by a person in a warehouse: pose, light, blur, noise, JPEG. It never sees the label, so whatever it does
to genuine items it does to counterfeits alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibration_data.leather import textures
from calibration_data.leather.surface import PLANE_PX, Surface, lit, tripled
from calibration_data.leather.textures import Plane

PHOTO_PX = 640
LIGHT_GRID = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What stays the same over the photos of one item: the lamp and the phone.

    Attributes:
        warmth: Colour temperature, -1 (cold) to 1 (warm).
        exposure: Factor on brightness.
        noise: Standard deviation of sensor noise, grey levels.
        quality: JPEG quality.
    """

    warmth: float
    exposure: float
    noise: float
    quality: int


def draw_session(rng: np.random.Generator) -> Session:
    """Draw the lamp and the phone of one item."""
    return Session(
        warmth=float(np.clip(rng.normal(0, 0.45), -1, 1)),
        exposure=float(rng.uniform(0.85, 1.07)),
        noise=float(rng.uniform(1.5, 5.0)),
        quality=int(rng.integers(78, 95)),
    )


def photograph(surface: Surface, session: Session, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Take one photo.

    Returns:
        uint8 (PHOTO_PX, PHOTO_PX, 3), BGR.
    """
    lamp = lit(surface, azimuth_deg=float(rng.uniform(35, 145)), elevation=float(rng.uniform(0.15, 0.85)))
    size = (PHOTO_PX, PHOTO_PX)
    seen = cv2.warpPerspective(lamp, _pose(rng), size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    seen = cv2.GaussianBlur(seen, (5, 5), float(rng.uniform(0.45, 1.2)))
    gain, glare = _light(session, rng)
    photo = cv2.multiply(seen, gain, dtype=cv2.CV_32F)
    if glare is not None:
        photo = cv2.add(photo, tripled(glare))
    spare = textures.TEXTURE_PX - PHOTO_PX
    row, column = (int(at) for at in rng.integers(0, spare, 2))
    noise = textures.sensor_noise()[row : row + PHOTO_PX, column : column + PHOTO_PX]
    photo = cv2.scaleAdd(noise, session.noise, photo)
    np.maximum(photo, 0, out=photo)
    return np.asarray(cv2.convertScaleAbs(photo), np.uint8)


def encoded(photo: npt.NDArray[np.uint8], session: Session, photo_px: int) -> bytes:
    """Encode a photo as JPEG, made smaller first where ``photo_px`` asks for it."""
    if photo_px != photo.shape[0]:
        photo = np.asarray(cv2.resize(photo, (photo_px, photo_px), interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, session.quality])
    if not done:
        raise ValueError(f"OpenCV could not encode a photo of shape {photo.shape}")
    return data.tobytes()


def _pose(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Homography (3, 3) from the object plane to the photo."""
    half = PHOTO_PX / 2 / float(rng.uniform(0.97, 1.05))
    turn = np.deg2rad(rng.uniform(-4, 4))
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    turned = square @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = PLANE_PX / 2 + turned + rng.uniform(-14, 14, 2) + rng.uniform(-16, 16, (4, 2))
    frame = np.array([[0, 0], [PHOTO_PX, 0], [PHOTO_PX, PHOTO_PX], [0, PHOTO_PX]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners.astype(np.float32), frame))


def _light(session: Session, rng: np.random.Generator) -> tuple[Plane, Plane | None]:
    """Gain (PHOTO_PX, PHOTO_PX, 3) and glare (PHOTO_PX, PHOTO_PX; None: no glare) in grey levels, float32."""
    y, x = (np.indices((LIGHT_GRID, LIGHT_GRID)) / (LIGHT_GRID - 1) - 0.5).astype(np.float32)
    toward = rng.uniform(0, 2 * np.pi)
    gradient = 1.0 + float(rng.uniform(0.05, 0.38)) * (np.cos(toward) * x + np.sin(toward) * y)
    vignette = 1.0 - float(rng.uniform(0.05, 0.3)) * (x * x + y * y)
    warmth = session.warmth + float(rng.normal(0, 0.12))
    tint = np.array([1 - 0.16 * warmth, 1 + 0.01 * warmth, 1 + 0.10 * warmth])
    exposure = session.exposure * float(rng.normal(1, 0.03))
    gain = (gradient * vignette)[..., None] * (tint * exposure)
    spot_x, spot_y = rng.uniform(-0.6, 0.6, 2)
    radius = float(rng.uniform(0.12, 0.35))
    power = float(rng.uniform(12, 50)) if rng.random() < 0.4 else 0.0
    glare = power * np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / (2 * radius**2))
    return _spread(gain), _spread(glare) if power > 0 else None


def _spread(grid: npt.NDArray[np.floating]) -> Plane:
    return np.asarray(cv2.resize(grid.astype(np.float32), (PHOTO_PX, PHOTO_PX), interpolation=cv2.INTER_LINEAR))
