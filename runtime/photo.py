"""An encoded photo, before anybody decodes it: what it is, how large it would get, what must not leave the station.

Reads headers only. ``sanitise`` keeps every pixel bit and the orientation, and drops the rest of the metadata
(position, device, time, thumbnails, whatever trails the image). A file's name and ending are never believed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from runtime.contracts.errors import Unsupported

Format = Literal["jpeg", "png", "webp"]

MAX_PIXELS = 64_000_000
MIN_SIDE_PX = 32
MAX_SCANS = 32
"""Passes in which a JPEG may store its pixels, each of which costs a decode; libjpeg makes up to 18."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"cICP"}
_WEBP_FRAME_KEPT = {b"VP8 ", b"VP8L", b"ALPH"}
_WEBP_KEPT = {*_WEBP_FRAME_KEPT, b"ICCP", b"ANIM"}
_WEBP_FRAME_HEADER = 16
_JPEG_HEADERS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # marker: how the body begins, its bytes
_JPEG_PICTURE = {*range(0xC0, 0xDE)} - {0xC8}
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # no length follows these; none belongs between segments (T.81, B.1.1.3)
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF = b"Exif\x00\x00"
_LOOKED_THROUGH = 1 << 18  # bytes at a time: they stay in the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A checked photo: ``data`` without metadata but orientation; stored ``width_px`` and ``height_px`` before it."""

    data: bytes
    format: Format
    width_px: int
    height_px: int


def sanitise(data: bytes, name: str) -> bytes:
    """Return ``data`` without its metadata; same pixels, same orientation. See ``read_photo`` for what is refused."""
    return read_photo(data, name).data


def read_photo(data: bytes, name: str) -> Photo:
    """Check an encoded photo without decoding it.

    Args:
        data: the file's bytes.
        name: what to call it in messages.

    Raises:
        Unsupported: empty, not JPEG / PNG / WebP, cut short, too small, or more than ``MAX_PIXELS`` once decoded.
    """
    if not data:
        raise Unsupported(f"photo {name}: the file is empty; take the photo again")
    try:
        photo = _read(data, name)
    except (struct.error, IndexError) as error:
        raise _cut_short(name) from error
    if photo.width_px * photo.height_px > MAX_PIXELS:
        raise Unsupported(
            f"photo {name}: {photo.width_px} x {photo.height_px} pixels is more than the {MAX_PIXELS // 1_000_000} "
            "megapixels that a station decodes; send a smaller photo"
        )
    if min(photo.width_px, photo.height_px) < MIN_SIDE_PX:
        raise Unsupported(
            f"photo {name}: {photo.width_px} x {photo.height_px} pixels; expected at least {MIN_SIDE_PX} on each side"
        )
    return photo


def _read(data: bytes, name: str) -> Photo:
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data, name)
    if data.startswith(_PNG_SIGNATURE):
        return _read_png(data, name)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data, name)
    raise Unsupported(f"photo {name}: expected a JPEG, PNG or WebP image, got bytes that start {data[:8].hex(' ')}")


def _cut_short(name: str) -> Unsupported:
    return Unsupported(f"photo {name}: the file is cut short or damaged; copy it again or retake the photo")


def _read_jpeg(data: bytes, name: str) -> Photo:
    kept, size, orientation, scans = [b"\xff\xd8"], None, 0, 0
    for marker, start, end in _jpeg_segments(data, name):
        if marker in _JPEG_FRAMES:
            if size is not None:
                raise _cut_short(name)  # a decoder might believe the second size
            size = struct.unpack(">HH", data[start + 5 : min(start + 9, end)])
        if marker == 0xE1 and data[start + 4 : start + 10] == _EXIF:
            orientation = orientation or _orientation(data[start + 10 : end])
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            raise Unsupported(
                f"photo {name}: it takes more than {MAX_SCANS} passes over its pixels; save it again as a plain JPEG"
            )
        if part := _jpeg_part_kept(data, marker, start, end):
            kept.append(part)
    if size is None:
        raise _cut_short(name)
    if orientation > 1:
        body = _EXIF + _orientation_tiff(orientation)
        at = 2 if kept[1][1] == 0xE0 else 1  # JFIF stays first
        kept.insert(at, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    whole = orientation <= 1 and sum(map(len, kept)) == len(data)  # nothing was dropped, so nothing need be copied
    return Photo(data=data if whole else b"".join(kept), format="jpeg", width_px=size[1], height_px=size[0])


def _jpeg_part_kept(data: bytes, marker: int, start: int, end: int) -> bytes:
    """Return what is kept of a segment: all of the picture's, the plain header of JFIF and Adobe, nothing else."""
    if marker in _JPEG_PICTURE or (marker == 0xE2 and data.startswith(b"ICC_PROFILE\0", start + 4)):
        return data[start:end]
    begins, size = _JPEG_HEADERS.get(marker, (b"", 0))
    length = end - start - 4
    if not size or length < size or not data.startswith(begins, start + 4):
        return b""
    if length == size:
        return data[start:end]
    body = data[start + 4 : start + 4 + size]
    if marker == 0xE0:
        body = body[:-2] + b"\0\0"  # JFIF 1.02: the size of the thumbnail that came next
    return data[start : start + 2] + struct.pack(">H", size + 2) + body


def _jpeg_segments(data: bytes, name: str) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) up to and including the end of the image; a scan's pixels belong to its header."""
    position = 2
    while True:
        while data[position : position + 2] == b"\xff\xff":  # fill bytes, T.81 B.1.1.2
            position += 1
        if data[position] != 0xFF:
            raise _cut_short(name)
        marker = data[position + 1]
        if marker == 0xD9:
            yield marker, position, position + 2
            return
        length = struct.unpack(">H", data[position + 2 : position + 4])[0]
        end = position + 2 + length
        if marker in _JPEG_BARE or length < 2:
            raise _cut_short(name)
        if marker == 0xDA:
            end = _next_marker(data, end, name)
        if end > len(data):
            raise _cut_short(name)
        yield marker, position, end
        position = end


def _next_marker(data: bytes, start: int, name: str) -> int:
    """Return where the entropy-coded pixels that begin at ``start`` end: neither stuffing nor a restart is a marker."""
    pixels = np.frombuffer(data, np.uint8)
    for at in range(start, len(data) - 1, _LOOKED_THROUGH):
        these, following = pixels[at : at + _LOOKED_THROUGH], pixels[at + 1 : at + 1 + _LOOKED_THROUGH]
        found = these[: following.size] == 0xFF
        found &= following != 0
        for place in np.flatnonzero(found):
            if not (0xD0 <= following[place] <= 0xD7 or following[place] == 0xFF):
                return at + int(place)
    raise _cut_short(name)


def _read_png(data: bytes, name: str) -> Photo:
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise _cut_short(name)  # without what stands before it, another header would be the first
    width, height = struct.unpack(">II", data[16:24])
    kept, orientation, position, kind = [_PNG_SIGNATURE], 0, len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind, end = data[position + 4 : position + 8], position + 12 + length
        if end > len(data):
            raise _cut_short(name)
        if kind == b"eXIf":
            orientation = orientation or _orientation(data[position + 8 : end - 4])
        if kind in _PNG_KEPT:
            kept.append(data[position:end])
        position = end
    if orientation > 1:
        body = b"eXIf" + _orientation_tiff(orientation)
        kept.insert(2, struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    return Photo(data=b"".join(kept), format="png", width_px=width, height_px=height)


def _read_webp(data: bytes, name: str) -> Photo:
    total = 8 + struct.unpack("<I", data[4:8])[0]
    if total > len(data):
        raise _cut_short(name)
    kept, orientation, size = [], 0, None
    for kind, body in _webp_chunks(data[12:total], name):
        size = size or _webp_size(kind, body)
        if kind == b"EXIF":
            orientation = orientation or _orientation(body.removeprefix(_EXIF))
        elif kind == b"VP8X":
            kept.append((kind, bytes([body[0] & ~0x0C]) + body[1:]))  # no EXIF, no XMP
        elif kind == b"ANMF":
            frame = [one for one in _webp_chunks(body[_WEBP_FRAME_HEADER:], name) if one[0] in _WEBP_FRAME_KEPT]
            kept.append((kind, body[:_WEBP_FRAME_HEADER] + _webp_joined(frame)))
        elif kind in _WEBP_KEPT:
            kept.append((kind, body))
    if size is None:
        raise _cut_short(name)
    if orientation > 1 and kept[0][0] == b"VP8X":  # RFC 9649, 2.7: without it there is no place for EXIF
        kept[0] = (kept[0][0], bytes([kept[0][1][0] | 0x08]) + kept[0][1][1:])
        kept.append((b"EXIF", _orientation_tiff(orientation)))
    chunks = _webp_joined(kept)
    return Photo(
        data=b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks,
        format="webp",
        width_px=size[0],
        height_px=size[1],
    )


def _webp_chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], struct.unpack("<I", data[position + 4 : position + 8])[0]
        body = data[position + 8 : position + 8 + length]
        if len(body) < length:
            raise _cut_short(name)
        yield kind, body
        position += 8 + length + length % 2


def _webp_joined(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join(kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in chunks)


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    # RFC 9649, 2.5 to 2.7
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _orientation(tiff: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 0 where there is none or it makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (ifd,) = struct.unpack(order + "I", tiff[4:8])
        (count,) = struct.unpack(order + "H", tiff[ifd : ifd + 2])
        for entry in range(ifd + 2, ifd + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack(order + "HHIH", tiff[entry : entry + 10])
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 0
    except struct.error:
        return 0
    return 0


def _orientation_tiff(orientation: int) -> bytes:
    return b"MM\x00\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
