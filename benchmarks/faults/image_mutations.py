"""Harm to photos: to their parts, knowing the format, and to their bytes, knowing nothing. A number draws it all.

A case is a seed photo, up to four changes of its parts and up to three of its bytes, drawn from the case's number.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

from benchmarks.faults.image_parts import Part, format_of, put_together, take_apart
from benchmarks.faults.image_seeds import SECRET
from runtime.photo import MAX_PIXELS

Parts = list[Part]
_SIDES = (0, 1, 7, 31, 32, 33, 64, 100, 255, 256, 1000, 16383, 16384, 32768, 60_000, 65_535, 1 << 24, (1 << 31) - 1)
_LARGE = ((8000, 8000), (8001, 8000), (16_383, 3906), (65_500, 977), (32, 65_535), (65_535, 65_535))
_LARGE_SHARE = 0.01
_SLOW_PIXELS = 2_000_000
"""Above it a photo takes as long as hundreds of others; some such are drawn from ``_LARGE``."""
_LENGTHS = (0, 1, 2, 3, 7, 8, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_KINDS = {
    "jpeg": [bytes([marker]) for marker in range(0x01, 0xFF)],
    "png": b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD cICP eXIf tEXt zTXt iTXt acTL fcTL fdAT".split(),
    "webp": [b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"teSt"],
}
_HEADERS = (b"IHDR", b"VP8X", b"VP8L", b"VP8 ", *(bytes([marker]) for marker in range(0xC0, 0xC3)))


def mutated(number: int, seed: int, photos: Sequence[bytes]) -> bytes:
    """Return the photo of a case.

    Args:
        number: of the case.
        seed: of the whole run.
        photos: whole ones to begin with.
    """
    rng = random.Random(seed << 48 | number)  # noqa: S311 - draws faults, not secrets
    data = rng.choice(photos)
    structural = rng.choice((0, 0, 1, 1, 1, 1, 2, 2, 3, 4))
    blind = rng.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 3)) if structural else rng.choice((1, 1, 1, 2, 3))
    if structural:
        format_, parts = format_of(data), take_apart(data)
        for _ in range(structural):
            change = rng.choice(_STRUCTURAL)
            change(parts, format_, rng, photos)
            parts = parts or [Part(b"teSt", b"")]
        data = put_together(parts, format_)
    for _ in range(blind):
        data = rng.choice(_BLIND)(data, rng, photos)
    return data


def _any(parts: Parts, rng: random.Random) -> int:
    return rng.randrange(len(parts))


def _twice(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    parts.insert(rng.randint(0, len(parts)), parts[_any(parts, rng)].copy())


def _many_times(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    at = _any(parts, rng)
    times = min(rng.choice((5, 40, 300)), 200_000 // (len(parts[at].body) + len(parts[at].pixels) + 1))
    parts[at:at] = [parts[at].copy() for _ in range(times)]


def _removed(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    del parts[_any(parts, rng)]


def _moved(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    part = parts.pop(_any(parts, rng))
    parts.insert(rng.choice((0, rng.randint(0, len(parts)))), part)


def _renamed(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    parts[_any(parts, rng)].kind = rng.choice(_KINDS[format_])


def _wrong_length(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    part = parts[_any(parts, rng)]
    true = len(part.body) + (2 if format_ == "jpeg" else 0)
    part.length = rng.choice((true + rng.randint(-8, 8), rng.choice(_LENGTHS)))


def _body_bytes(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    part = parts[_any(parts, rng)]
    part.body = rng.choice(_BLIND)(part.body, rng, photos)
    part.right_sum = rng.random() > 0.1
    if part.pixels:
        part.pixels = rng.choice(_BLIND)(part.pixels, rng, photos)


def _small_field(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    """Change one of the first bytes of a part: kinds, depths, numbers of components, tables and frames are there."""
    part = parts[_any(parts, rng)]
    if part.body:
        at = rng.randrange(min(24, len(part.body)))
        part.body = part.body[:at] + bytes([rng.choice((0, 1, 2, 3, 4, 8, 16, 127, 255))]) + part.body[at + 1 :]


def _from_another(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    other = rng.choice(photos)
    while rng.random() < 0.8 and format_of(other) != format_:
        other = rng.choice(photos)
    theirs = take_apart(other)
    start = _any(theirs, rng)
    at = rng.randint(0, len(parts))
    parts[at : at + rng.choice((0, 1, len(parts)))] = theirs[start : start + rng.choice((1, 2, len(theirs)))]


def _other_size(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    heads = [part for part in parts if part.kind in _HEADERS]
    if not heads:
        return
    head = rng.choice(heads)
    width, height = rng.choice(_SIDES), rng.choice(_SIDES)
    if rng.random() < 0.4:
        width = height = rng.choice((32, 64, 128, 300))
    if _SLOW_PIXELS < width * height <= MAX_PIXELS:
        height = 33
    if rng.random() < _LARGE_SHARE:
        width, height = rng.choice(_LARGE)
    body = bytearray(head.body.ljust(10, b"\0"))
    if head.kind == b"IHDR":
        body[0:8] = struct.pack(">II", width, height)
    elif head.kind == b"VP8X":
        body[4:10] = (width - 1 & 0xFFFFFF).to_bytes(3, "little") + (height - 1 & 0xFFFFFF).to_bytes(3, "little")
    elif head.kind == b"VP8L":
        body[1:5] = ((width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14).to_bytes(4, "little")
    elif head.kind == b"VP8 ":
        body[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    else:
        body[1:5] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    head.body = bytes(body)


def _more_metadata(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    """Put the secret where a strip might overlook it: odd kinds, odd beginnings, more than once."""
    tiff = rng.choice((_tiff(rng), SECRET, b"\xff\xff" + SECRET, b""))
    exif = b"Exif\0\0" + tiff
    if format_ == "jpeg":
        apps = [bytes([marker]) for marker in (*range(0xE0, 0xF0), 0xFE, 0xF0, 0xFD, 0x02)]
        bodies = (exif, b"JFIF\0\1\1\0\0\1\0\1\0\0" + SECRET, b"JFXX\0" + SECRET, b"MPF\0" + SECRET, SECRET)
        extra = Part(rng.choice((b"\xe1", rng.choice(apps))), rng.choice((*bodies, b"\xff\xff" + SECRET)))
    elif format_ == "png":
        extra = Part(rng.choice((b"eXIf", rng.choice(_KINDS["png"]))), rng.choice((tiff, b"Comment\0" + SECRET)))
    else:
        extra = Part(rng.choice((b"EXIF", rng.choice(_KINDS["webp"]))), rng.choice((tiff, exif, SECRET)))
    at = rng.choice((0, rng.randint(0, len(parts)), len(parts)))
    parts[at:at] = [extra.copy() for _ in range(rng.choice((1, 1, 1, 2, 100)))]


def _tiff(rng: random.Random) -> bytes:
    """Return an EXIF block with an orientation and a position; sometimes its counts and offsets lie."""
    order, mark = rng.choice(((">", b"MM"), ("<", b"II"), (">", b"II")))
    count = rng.choice((2, 2, 2, 0, 1, 3, 65_535))
    first = rng.choice((8, 8, 8, 0, 7, 26, 0xFFFFFFFF, 1 << 31))
    orientation = rng.choice((*range(1, 9), 0, 9, 65_535))
    entries = struct.pack(order + "HHIHH", 0x0112, rng.choice((3, 3, 3, 4, 9)), rng.choice((1, 1, 5)), orientation, 0)
    entries += struct.pack(order + "HHII", 0x8825, 4, 1, rng.choice((38, 8, 0xFFFFFFF0)))
    return mark + struct.pack(order + "HIH", 42, first, count) + entries + struct.pack(order + "I", 8) + SECRET


def _other_pixels(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    """Change pixels behind the compression of a PNG: filters, too few of them, too many; elsewhere the packed ones."""
    packed = [part for part in parts if part.kind in (b"IDAT", b"fdAT", b"\xda", b"VP8 ", b"VP8L", b"ALPH", b"ANMF")]
    if not packed:
        return
    part = rng.choice(packed)
    if part.kind == b"IDAT":
        try:
            raw = zlib.decompressobj().decompress(part.body, 400_000)
        except zlib.error:
            return
        if rng.random() < 0.05:
            raw += bytes(2_000_000)  # packs a thousandfold
        part.body = zlib.compress(rng.choice(_BLIND)(raw, rng, photos), 1)
    elif part.kind == b"\xda":
        part.pixels = rng.choice(_BLIND)(part.pixels, rng, photos)
    else:
        part.body = rng.choice(_BLIND)(part.body, rng, photos)


def _between(parts: Parts, format_: str, rng: random.Random, photos: Sequence[bytes]) -> None:
    """Put what belongs nowhere between parts: bare markers, fill bytes, a second height, empty parts."""
    kind = rng.choice(_KINDS[format_])
    strange = Part(kind, b"")
    if format_ == "jpeg":
        dnl = Part(b"\xdc", struct.pack(">H", rng.choice(_SIDES) & 0xFFFF))
        strange = rng.choice((Part(b"\xd8", b""), Part(b"\xd3", b""), Part(b"\xff", b"", length=0xFFFF), dnl, strange))
    parts.insert(rng.randint(0, len(parts)), strange)


def _flipped(data: bytes, rng: random.Random, photos: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwritten(data: bytes, rng: random.Random, photos: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    new = rng.choice((b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", rng.randbytes(6)))
    return data[:at] + new + data[at + len(new) :]


def _cut(data: bytes, rng: random.Random, photos: Sequence[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))]


def _range_gone(data: bytes, rng: random.Random, photos: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.choice((1, 2, 16, 512)) :]


def _range_twice(data: bytes, rng: random.Random, photos: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[: at + rng.choice((1, 4, 64, 1024))] + data[at:]


def _put_in(data: bytes, rng: random.Random, photos: Sequence[bytes]) -> bytes:
    at = rng.choice((len(data), rng.randint(0, len(data))))
    return data[:at] + rng.choice((SECRET, b"\xff", b"\xff\xd9", rng.randbytes(rng.choice((1, 3, 40))))) + data[at:]


def _spliced(data: bytes, rng: random.Random, photos: Sequence[bytes]) -> bytes:
    other = rng.choice(photos)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


_STRUCTURAL: Sequence[Callable[[Parts, str, random.Random, Sequence[bytes]], None]] = (
    _twice, _many_times, _removed, _moved, _renamed, _wrong_length, _body_bytes, _body_bytes, _small_field,
    _small_field, _from_another, _other_size, _more_metadata, _more_metadata, _other_pixels, _other_pixels, _between,
)  # fmt: skip
_BLIND: Sequence[Callable[[bytes, random.Random, Sequence[bytes]], bytes]] = (
    _flipped, _flipped, _flipped, _overwritten, _cut, _range_gone, _range_twice, _put_in, _spliced,
)  # fmt: skip
