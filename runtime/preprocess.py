"""Encoded photo to model input: the one preprocessing of training, calibration, evaluation, benchmark and station.

A JPEG is decoded at the smallest DCT scale that still has every pixel the model wants (1/8, 1/4, 1/2), turned upright
by its EXIF orientation, and area-resized to a square; the aspect is not kept, so nothing of the photo is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from runtime.contracts.errors import Unsupported
from runtime.photo import Photo, read_photo

_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


def prepare(photos: Sequence[bytes], px: int, names: Sequence[str] | None = None) -> npt.NDArray[np.uint8]:
    """Decode photos into one batch.

    Args:
        photos: encoded JPEG, PNG or WebP; grey, CMYK, 16-bit and rotated ones are brought to upright 8-bit RGB.
        px: side of the model's input.
        names: what to call each photo in messages; their number where absent.

    Returns:
        ``uint8 (len(photos), px, px, 3)``, RGB.

    Raises:
        Unsupported: a photo cannot be decoded; the message names it.
    """
    batch = np.empty((len(photos), px, px, 3), np.uint8)
    for index, data in enumerate(photos):
        name = names[index] if names else str(index + 1)
        upright = decode(read_photo(data, name), px, name)
        shrinks = upright.shape[0] >= px and upright.shape[1] >= px
        square = cv2.resize(upright, (px, px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        cv2.cvtColor(square, cv2.COLOR_BGR2RGB, dst=batch[index])
    return batch


def decode(photo: Photo, px: int, name: str) -> npt.NDArray[np.uint8]:
    """Decode a photo upright, no smaller than ``px`` on either side unless it is smaller itself.

    Returns:
        ``uint8 (H, W, 3)``, BGR.

    Raises:
        Unsupported: the decoder refused it.
    """
    flag = cv2.IMREAD_COLOR
    if photo.format == "jpeg":
        side = min(photo.width_px, photo.height_px)
        flag = next((_REDUCED[scale] for scale in (8, 4, 2) if side // scale >= px), flag)
    try:
        pixels = cv2.imdecode(np.frombuffer(photo.data, np.uint8), flag)
    except cv2.error as error:
        raise _undecodable(name) from error
    if pixels is None:
        raise _undecodable(name)
    return np.asarray(pixels, np.uint8)


def _undecodable(name: str) -> Unsupported:
    return Unsupported(f"photo {name}: it looks like an image, but does not decode; save it again as a plain JPEG")
