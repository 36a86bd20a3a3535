"""Capital letters as strokes, so that kerning, weight and baseline are numbers and no font file is needed.

A letter lives in a box of height 1 (y down); a stroke is a polyline. Only the letters that the brands use exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, pi, sin

import cv2
import numpy as np
import numpy.typing as npt

from calibration_data.leather.brands import Emblem

Stroke = Sequence[tuple[float, float]]
OVERSAMPLE = 3


def _arc(x: float, y: float, radii: tuple[float, float], start_deg: float, end_deg: float) -> Stroke:
    angles = [(start_deg + (end_deg - start_deg) * step / 24) * pi / 180 for step in range(25)]
    return [(x + radii[0] * cos(angle), y + radii[1] * sin(angle)) for angle in angles]


# letter: (advance width, strokes)
LETTERS: Mapping[str, tuple[float, Sequence[Stroke]]] = {
    "A": (0.84, ([(0, 1), (0.42, 0), (0.84, 1)], [(0.15, 0.66), (0.69, 0.66)])),
    "E": (0.54, ([(0.54, 0), (0, 0), (0, 1), (0.54, 1)], [(0, 0.48), (0.44, 0.48)])),
    "I": (0.04, ([(0.02, 0), (0.02, 1)],)),
    "L": (0.50, ([(0, 0), (0, 1), (0.50, 1)],)),
    "M": (0.92, ([(0, 1), (0.10, 0), (0.46, 0.86), (0.82, 0), (0.92, 1)],)),
    "N": (0.72, ([(0, 1), (0, 0), (0.72, 1), (0.72, 0)],)),
    "O": (1.00, (_arc(0.5, 0.5, (0.5, 0.5), 0, 360),)),
    "R": (0.58, ([(0, 1), (0, 0), (0.30, 0)], _arc(0.30, 0.26, (0.26, 0.26), -90, 90), [(0.30, 0.52), (0, 0.52)],
                 [(0.28, 0.52), (0.58, 1)])),
    "S": (0.56, (_arc(0.29, 0.25, (0.25, 0.25), -35, -270), _arc(0.27, 0.75, (0.27, 0.25), -90, 145))),
    "T": (0.66, ([(0, 0), (0.66, 0)], [(0.33, 0), (0.33, 1)])),
    "U": (0.68, ([(0, 0), (0, 0.66)], _arc(0.34, 0.66, (0.34, 0.34), 180, 0), [(0.68, 0.66), (0.68, 0)])),
    "V": (0.80, ([(0, 0), (0.40, 1), (0.80, 0)],)),
}  # fmt: skip

EMBLEMS: Mapping[Emblem, Sequence[Stroke]] = {
    "diamond": ([(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5), (0.5, 0)], [(0.5, 0.26), (0.5, 0.74)]),
    "ring": (_arc(0.5, 0.5, (0.5, 0.5), 0, 360), _arc(0.5, 0.5, (0.24, 0.24), 0, 360)),
    "chevron": ([(0, 0.55), (0.5, 0), (1, 0.55)], [(0, 1), (0.5, 0.45), (1, 1)]),
    "arch": ([(0, 1), (0, 0.5)], _arc(0.5, 0.5, (0.5, 0.5), 180, 360), [(1, 0.5), (1, 1)], [(0.5, 0.45), (0.5, 1)]),
}


def text_width_px(text: str, cap_px: float, kerning_px: float) -> float:
    """Width of ``text`` set at ``cap_px`` with ``kerning_px`` between letters."""
    return sum(LETTERS[letter][0] for letter in text) * cap_px + kerning_px * (len(text) - 1)


def place_text(
    text: str,
    *,
    centre: tuple[float, float],
    cap_px: float,
    kerning_px: float,
    offsets: npt.NDArray[np.float64] | None = None,
) -> list[npt.NDArray[np.float64]]:
    """Set a line of text.

    Args:
        text: Letters of `LETTERS`.
        centre: x and y of the middle of the line, px.
        cap_px: Height of a capital.
        kerning_px: Gap between letters.
        offsets: Shift of each letter, (letters, 2), x then y, px; none by default.

    Returns:
        Polylines of shape (points, 2), px.
    """
    x = centre[0] - text_width_px(text, cap_px, kerning_px) / 2
    strokes: list[npt.NDArray[np.float64]] = []
    for index, letter in enumerate(text):
        advance, polylines = LETTERS[letter]
        shift = offsets[index] if offsets is not None else np.zeros(2)
        origin = np.array([x, centre[1] - cap_px / 2]) + shift
        strokes.extend(np.asarray(polyline) * cap_px + origin for polyline in polylines)
        x += advance * cap_px + kerning_px
    return strokes


def place_emblem(emblem: Emblem, *, centre: tuple[float, float], size_px: float) -> list[npt.NDArray[np.float64]]:
    """Set an emblem of ``size_px``; returns polylines of shape (points, 2), px."""
    origin = np.asarray(centre) - size_px / 2
    return [np.asarray(polyline) * size_px + origin for polyline in EMBLEMS[emblem]]


def stroke_cover(
    strokes: Sequence[npt.NDArray[np.float64]], weight_px: float, shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """How much of every pixel the strokes cover, drawn ``weight_px`` wide with round ends.

    Returns:
        float32 of ``shape`` (rows, columns), 0 to 1.
    """
    fine = np.zeros((shape[0] * OVERSAMPLE, shape[1] * OVERSAMPLE), np.uint8)
    bits = 4
    points = [np.round(stroke * (OVERSAMPLE << bits)).astype(np.int32).reshape(-1, 1, 2) for stroke in strokes]
    cv2.polylines(fine, points, False, (255,), max(round(weight_px * OVERSAMPLE), 1), cv2.LINE_8, bits)
    cover = cv2.resize(fine, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(cover, np.float32) / np.float32(255)
