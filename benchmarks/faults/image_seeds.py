"""Small whole photos of every kind that a station may meet, made as the fuzzing of images starts; nothing is committed.

Those with metadata hold ``SECRET`` in each place that a writer of such files uses.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from benchmarks.faults.image_parts import Part, put_together

SECRET = b"HOME-51.50N-0.12W"
_GPS, _ORIENTATION, _MAKER = 0x8825, 0x0112, 0x010F
_XMP = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
_SIZES = ((96, 64), (64, 80), (128, 96), (72, 112), (160, 64), (320, 80))
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_REAL = 24
_REAL_LONGEST_PX = 320


def seeds(photos: Path | None = None) -> list[bytes]:
    """Return the photos, the same ones for the same versions of the encoders.

    Args:
        photos: folder with real JPEGs, of which some are taken, made smaller; JPEG quality and tables are their own.
    """
    rng = np.random.default_rng(5)
    found: list[bytes] = []
    for number, size in enumerate(_SIZES):
        image = _picture(rng, size, textured=number % 3 == 1)
        found += _jpegs(image, number)
        found += _pngs(image, number)
        found += _webps(image, number)
    return found + (list(_real(photos)) if photos else [])


def _picture(rng: np.random.Generator, size: tuple[int, int], *, textured: bool) -> Image.Image:
    width, height = size
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    if textured:
        pixels = np.asarray(cv2.add(pixels, rng.integers(0, 40, pixels.shape, dtype=np.uint8)), np.uint8)
    return Image.fromarray(pixels)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    exif[_MAKER] = SECRET.decode()
    exif.get_ifd(_GPS).update({1: "N", 2: (51.0, 30.0, 0.0), 29: SECRET.decode()})
    return exif


def _saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def _jpegs(image: Image.Image, number: int) -> Iterator[bytes]:
    icc = b"\0" * 36 + b"acsp" + b"\0" * 200
    yield _saved(image, "JPEG", quality=85)
    yield _saved(image, "JPEG", progressive=True, subsampling=number % 3, exif=_exif(1 + number % 8))
    yield _saved(image, "JPEG", exif=_exif(8 - number), xmp=_XMP, comment=SECRET, icc_profile=icc)
    yield _saved(image, "JPEG", restart_marker_blocks=3, optimize=True)
    yield _saved(image.convert("L"), "JPEG", progressive=number % 2 == 0)
    yield _saved(image.convert("CMYK"), "JPEG", exif=_exif(6))
    pixels = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
    how = [cv2.IMWRITE_JPEG_PROGRESSIVE, number % 2, cv2.IMWRITE_JPEG_RST_INTERVAL, number]
    yield cv2.imencode(".jpg", pixels, how)[1].tobytes()


def _pngs(image: Image.Image, number: int) -> Iterator[bytes]:
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", SECRET.decode())
    told.add_itxt("XML:com.adobe.xmp", _XMP.decode(), zip=False)
    yield _saved(image, "PNG", exif=_exif(1 + number), pnginfo=told)
    yield _saved(image.quantize(8 << number % 3), "PNG", transparency=1)
    yield _saved(image.convert("RGBA"), "PNG")
    yield _saved(image.convert("LA" if number % 2 else "1"), "PNG")
    rng = np.random.default_rng(number)
    deep = rng.integers(0, 1 << 16, (40, 48, (1, 3, 4)[number % 3]), dtype=np.uint16)
    yield cv2.imencode(".png", deep)[1].tobytes()
    yield _interlaced(np.asarray(image))
    yield _saved(image, "PNG", save_all=True, append_images=[image.rotate(90), image.rotate(180)], duration=50)


def _interlaced(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return RGB as an interlaced PNG, which neither Pillow nor OpenCV writes: PNG specification, 8.2 (Adam7)."""
    height, width = pixels.shape[:2]
    rows = b""
    for top, left, down, right in _ADAM7:
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    parts = [Part(b"IHDR", header), Part(b"IDAT", zlib.compress(rows)), Part(b"IEND", b"")]
    return put_together(parts, "png")


def _webps(image: Image.Image, number: int) -> Iterator[bytes]:
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    yield _saved(image, "WEBP", quality=70)
    yield _saved(image, "WEBP", quality=40, exif=_exif(1 + number), xmp=_XMP)
    yield _saved(image, "WEBP", lossless=True, exif=_exif(8 - number))
    yield _saved(clear, "WEBP", quality=60)
    yield _saved(clear, "WEBP", lossless=True)
    frames = [image.rotate(90), clear]
    yield _saved(image, "WEBP", save_all=True, append_images=frames, duration=50, exif=_exif(6))


def _real(photos: Path) -> Iterator[bytes]:
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    for number, path in enumerate(paths[:: max(1, len(paths) // _REAL)][:_REAL]):
        with Image.open(path) as image:
            tables = image.quantization if number % 2 else None  # type: ignore[attr-defined]
            image.thumbnail((_REAL_LONGEST_PX, _REAL_LONGEST_PX))
            yield _saved(image.convert("RGB"), "JPEG", exif=_exif(1 + number % 8), qtables=tables)
