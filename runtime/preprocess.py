"""Photo to model input: the one preprocessing of training, calibration, evaluation, benchmark and station.

A JPEG is decoded once, at the smallest DCT scale that still has every pixel the model wants (1/8, 1/4, 1/2), turned
upright by its EXIF orientation, cut to the region that the model looks at, and area-resized to a square; the aspect is
not kept, so nothing of the region is lost. A camera's own frame skips all but the last two. OpenCV decodes no part of a
JPEG: a region costs the whole photo, at the scale that the region wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runtime.contracts.bundle import Region
from runtime.contracts.errors import Unsupported
from runtime.photo import MAX_PIXELS, MIN_SIDE_PX, Photo, read_photo

Pixels = npt.NDArray[np.uint8]
FRAME_QUALITY = 95
PREVIEW_QUALITY = 80

_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A raw, upright camera frame: ``uint8 (H, W, 3)``, RGB."""

    pixels: Pixels

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3:
            raise Unsupported(f"frame: expected uint8 (H, W, 3) in RGB, got {kind} {shape}; convert it first")
        if min(shape[:2]) < MIN_SIDE_PX or shape[0] * shape[1] > MAX_PIXELS:
            raise Unsupported(
                f"frame: {shape[1]} x {shape[0]} pixels; expected at least {MIN_SIDE_PX} on each side and at most "
                f"{MAX_PIXELS // 1_000_000} megapixels"
            )


Shown = bytes | Photo | Frame
"""What a model can look at: an encoded photo, one that was checked already, or a frame."""


def prepare(
    photos: Sequence[Shown],
    px: int,
    names: Sequence[str] | None = None,
    regions: Sequence[Region | None] | None = None,
) -> Pixels:
    """Decode photos into one batch.

    Args:
        photos: encoded JPEG, PNG or WebP (grey, CMYK, 16-bit and rotated ones are brought to upright 8-bit RGB), or
            frames.
        px: side of the model's input.
        names: what to call each photo in messages; their number where absent.
        regions: the part of each photo that the model looks at; ``None`` for all of it.

    Returns:
        ``uint8 (len(photos), px, px, 3)``, RGB.

    Raises:
        Unsupported: a photo cannot be decoded; the message names it.
    """
    batch = np.empty((len(photos), px, px, 3), np.uint8)
    for index, photo in enumerate(photos):
        name = names[index] if names else str(index + 1)
        prepare_into([batch[index]], photo, name, regions[index] if regions else None)
    return batch


def prepare_into(rows: Sequence[Pixels], photo: Shown, name: str, region: Region | None = None) -> None:
    """Decode one photo once, and fill one row for every network that looks at it; see ``prepare``.

    Args:
        rows: ``uint8 (px, px, 3)``, RGB, each of its own ``px``; written to.
        photo: to look at.
        name: what to call it in messages.
        region: the part that the networks look at; ``None`` for all of it.

    Raises:
        Unsupported: the photo cannot be decoded.
    """
    if isinstance(photo, Frame):
        part = cut(photo.pixels, region)
        for row in rows:
            _resize(part, row.shape[0], into=row)
        return
    checked = read_photo(photo, name) if isinstance(photo, bytes) else photo
    part = cut(decode(checked, max(row.shape[0] for row in rows), name, region), region)
    for row in rows:
        cv2.cvtColor(_resize(part, row.shape[0]), cv2.COLOR_BGR2RGB, dst=row)


def encode_frame(frame: Frame) -> bytes:
    """Return a frame as a JPEG, the form in which it is kept and shown to experts."""
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, FRAME_QUALITY]
    )
    return encoded.tobytes()


def encode_preview(frame: Frame, px: int) -> bytes:
    """Return a frame as a small JPEG to aim by: its longer side has at most ``px`` pixels."""
    height, width = frame.pixels.shape[:2]
    scale = min(1.0, px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, PREVIEW_QUALITY]
    )
    return encoded.tobytes()


def decode(photo: Photo, px: int, name: str, region: Region | None = None) -> Pixels:
    """Decode a photo upright, the region no smaller than ``px`` on either side unless it is smaller itself.

    Returns:
        ``uint8 (H, W, 3)``, BGR: the whole photo.

    Raises:
        Unsupported: the decoder refused it.
    """
    flag = cv2.IMREAD_COLOR
    if photo.format == "jpeg":
        share = min(region.width, region.height) if region else 1.0
        side = int(min(photo.width_px, photo.height_px) * share)
        flag = next((_REDUCED[scale] for scale in (8, 4, 2) if side // scale >= px), flag)
    try:
        pixels = cv2.imdecode(np.frombuffer(photo.data, np.uint8), flag)
    except cv2.error as error:
        raise _undecodable(name) from error
    if pixels is None:
        raise _undecodable(name)
    return np.asarray(pixels, np.uint8)


def cut(pixels: Pixels, region: Region | None) -> Pixels:
    """Return the region of an upright picture, ``uint8 (h, w, 3)``, at least one pixel on each side; no copy."""
    if region is None:
        return pixels
    height, width = pixels.shape[:2]
    top, left = min(int(region.top * height), height - 1), min(int(region.left * width), width - 1)
    bottom = max(round((region.top + region.height) * height), top + 1)
    right = max(round((region.left + region.width) * width), left + 1)
    return pixels[top:bottom, left:right]


def _resize(part: Pixels, px: int, into: Pixels | None = None) -> Pixels:
    shrinks = part.shape[0] >= px and part.shape[1] >= px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (px, px), dst=into, interpolation=how), np.uint8)


def _undecodable(name: str) -> Unsupported:
    return Unsupported(f"photo {name}: it looks like an image, but does not decode; save it again as a plain JPEG")
