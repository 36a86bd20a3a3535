"""Gives a JPEG bytes of its own, and leaves its pixels: a replayed photo then stands for another item's.

Only for what plays photos to a station. A number goes into 4 bytes of the JFIF header (the pixel density, which no
decoder looks at and no station strips).
"""

from __future__ import annotations

from runtime.contracts.errors import Unsupported

STAMP_BYTES = 4
_JFIF = b"JFIF\0"
_JFIF_HEADER = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def with_jfif(photo: bytes, name: str) -> bytes:
    """Return a JPEG with a JFIF header, which phones leave out.

    Raises:
        Unsupported: it is no JPEG; the message calls it ``name``.
    """
    if photo[:2] != b"\xff\xd8":
        raise Unsupported(f"photo {name}: expected a JPEG, got bytes that start {photo[:4].hex(' ')}; convert it")
    return photo if _JFIF in photo[:64] else photo[:2] + _JFIF_HEADER + photo[2:]


def stamped(photo: bytes, number: int) -> bytes:
    """Return ``photo``, from ``with_jfif``, with bytes that are its number's own; 0 to 65534 * 65535 - 1."""
    at = stamp_at(photo)
    return photo[:at] + stamp(number) + photo[at + STAMP_BYTES :]


def stamp(number: int) -> bytes:
    """Return the bytes that say a number."""
    high, low = divmod(number, 65535)
    return (high + 1).to_bytes(2, "big") + (low + 1).to_bytes(2, "big")  # JFIF: a density is never 0


def stamp_at(photo: bytes) -> int:
    """Return where they go."""
    return photo.index(_JFIF) + 8
