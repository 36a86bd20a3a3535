"""A photo as a list of parts (JPEG segments, PNG chunks, WebP chunks) that can be changed and put together again.

Takes whole photos apart, those of ``image_seeds``; puts together anything. It is written apart from ``runtime.photo``
so that a mistake there is not repeated here.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SCAN_END = re.compile(rb"\xff(?![\x00\xd0-\xd7\xff])")
_BARE = {b"\xd9", b"\x01", *(bytes([marker]) for marker in range(0xD0, 0xD9))}


@dataclass(slots=True)
class Part:
    """One segment or chunk.

    Attributes:
        kind: marker without its FF (JPEG), or four letters.
        body: after kind and length; without checksum and padding.
        pixels: of a JPEG scan, what follows its header.
        length: to declare; None for the true one.
        right_sum: whether a PNG chunk's checksum is right.
    """

    kind: bytes
    body: bytes
    pixels: bytes = b""
    length: int | None = None
    right_sum: bool = True

    def copy(self) -> Part:
        """Return another that can be changed."""
        return Part(self.kind, self.body, self.pixels, self.length, self.right_sum)


def format_of(data: bytes) -> str:
    """Return ``jpeg``, ``png`` or ``webp``."""
    return "jpeg" if data.startswith(b"\xff\xd8") else "png" if data.startswith(PNG_SIGNATURE) else "webp"


def take_apart(data: bytes) -> list[Part]:
    """Return the parts of a whole photo."""
    return {"jpeg": _jpeg_parts, "png": _png_parts, "webp": _webp_parts}[format_of(data)](data)


def put_together(parts: list[Part], format_: str) -> bytes:
    """Return a file of a format; its parts may be of another."""
    if format_ == "jpeg":
        return b"\xff\xd8" + b"".join(map(_segment, parts))
    if format_ == "png":
        return PNG_SIGNATURE + b"".join(map(_png_chunk, parts))
    chunks = b"".join(map(_webp_chunk, parts))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _jpeg_parts(data: bytes) -> list[Part]:
    parts, at = [], 2
    while at < len(data) and data[at + 1 : at + 2] != b"\xd9":
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        part = Part(data[at + 1 : at + 2], data[at + 4 : end])
        if part.kind == b"\xda":
            found = _SCAN_END.search(data, end)
            start, end = end, found.start() if found else len(data)
            part.pixels = data[start:end]
        parts.append(part)
        at = end
    return [*parts, Part(b"\xd9", b"")]


def _png_parts(data: bytes) -> list[Part]:
    parts, at = [], len(PNG_SIGNATURE)
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        parts.append(Part(data[at + 4 : at + 8], data[at + 8 : end]))
        at = end + 4
    return parts


def _webp_parts(data: bytes) -> list[Part]:
    parts, at = [], 12
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append(Part(data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


def _segment(part: Part) -> bytes:
    marker = part.kind[-1:]
    if marker in _BARE and not part.body and part.length is None:
        return b"\xff" + marker
    length = len(part.body) + 2 if part.length is None else part.length
    return b"\xff" + marker + struct.pack(">H", length & 0xFFFF) + part.body + part.pixels


def _png_chunk(part: Part) -> bytes:
    kind = part.kind[:4].ljust(4, b"x")
    length = len(part.body) if part.length is None else part.length
    checksum = zlib.crc32(kind + part.body) ^ (0 if part.right_sum else 1)
    return struct.pack(">I", length & 0xFFFFFFFF) + kind + part.body + struct.pack(">I", checksum)


def _webp_chunk(part: Part) -> bytes:
    length = len(part.body) if part.length is None else part.length
    kind = part.kind[:4].ljust(4, b" ")
    return kind + struct.pack("<I", length & 0xFFFFFFFF) + part.body + b"\0" * (len(part.body) % 2)
