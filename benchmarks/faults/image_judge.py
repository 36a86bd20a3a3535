"""Feeds one photo to what the agent does with photos, and says what came of it and what must not have."""

from __future__ import annotations

import re
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmarks.faults.image_parts import Part, put_together, take_apart
from runtime.contracts.bundle import Region
from runtime.contracts.errors import Unsupported
from runtime.photo import MAX_PIXELS, MIN_SIDE_PX, Photo, read_photo
from runtime.preprocess import Pixels, decode, prepare
from runtime.quality import check_quality

MOST_CPU_S = 5.0
"""Of processor, for one check or one decode of one photo; a real one of 64 megapixels takes up to 4 s."""
MOST_MB = 1024
"""By which one photo may make the process grow; a real one of 64 megapixels takes up to 600 MB."""

REASONS = {
    "the file is empty": "empty",
    "expected a JPEG, PNG or WebP": "no_image",
    "cut short or damaged": "damaged",
    "megapixels": "too_large",
    "expected at least": "too_small",
    "passes over": "too_many_scans",
    "does not decode": "undecodable",
}
"""Words of a refusal to what it is counted as; a refusal without any of them is a finding."""

Run = Callable[[str, Callable[[], object]], object]
_INPUT_PX = (32, 64, 224)
_FULL_PX = 1 << 17
_UNTURNED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_REGION = Region(left=0.25, top=0.1, width=0.5, height=0.3)
_TIFF = re.compile(rb"II\x2a\0|MM\0\x2a")
_NO_TIFF = re.compile(rb"(?:Exif\0\0|eXIf|EXIF.{4}(?:Exif\0\0)?+)(?!II\x2a\0|MM\0\x2a)", re.DOTALL)
_ORIENTATION = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00%c\x00\x00\x00\x00\x00\x00"
_ORIENTATIONS = {_ORIENTATION % number for number in range(2, 9)}
_JPEG_PICTURE = {*range(0xC0, 0xD0), 0xD9, 0xDA, 0xDB, 0xDC, 0xDD} - {0xC8}
_PICTURE = {
    "png": b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD cICP".split(),
    "webp": [b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"ANIM", b"ANMF"],
}


@dataclass(slots=True)
class Judged:
    """What came of photos; several add up.

    Attributes:
        counted: photos by what came of them, and by format where one was accepted.
        decodes: photos that were handed to the decoder.
        findings: what must not be, with the number of its case.
        most_cpu_s: that one check or decode took.
        most_mb: by which one made the process grow.
    """

    counted: Counter[str] = field(default_factory=Counter)
    decodes: int = 0
    findings: list[tuple[int, str]] = field(default_factory=list)
    most_cpu_s: float = 0.0
    most_mb: float = 0.0

    def add(self, other: Judged) -> None:
        """Add what came of others."""
        self.counted += other.counted
        self.decodes += other.decodes
        self.findings += other.findings
        self.most_cpu_s = max(self.most_cpu_s, other.most_cpu_s)
        self.most_mb = max(self.most_mb, other.most_mb)

    def judge(self, number: int, data: bytes) -> None:
        """Feed one photo, and add what came of it."""
        found: list[str] = []
        word = self._fed(number, data, found)
        self.counted.update(["images", word])
        self.findings += [(number, why) for why in found]

    def _fed(self, number: int, data: bytes, found: list[str]) -> str:
        def run(what: str, call: Callable[[], object]) -> object:
            return self._watched(what, call, found)

        photo = run("check", lambda: read_photo(data, "p"))
        if not isinstance(photo, Photo):
            return str(photo)
        self.counted.update(["accepted", photo.format])
        found += wrong_with(photo)
        self.decodes += 1
        if number % 16 == 0:
            run("quality", lambda: check_quality(photo, "p"))
        if number % 2:
            return self._decoded(photo, data if number % 4 == 1 else b"", run, found)
        px = _INPUT_PX[number % 3]
        region = _REGION if number % 5 == 0 else None
        batch = run("prepare", lambda: prepare([photo], px, ["p"], [region]))
        if not isinstance(batch, np.ndarray):
            return str(batch)
        if batch.shape != (1, px, px, 3):
            found.append(f"the model would get {batch.shape}")
        return "decoded"

    def _decoded(self, photo: Photo, raw: bytes, run: Run, found: list[str]) -> str:
        """Decode at full size, and compare with ``raw`` where that is given."""
        pixels = run("decode", lambda: decode(photo, _FULL_PX, "p"))
        if not isinstance(pixels, np.ndarray):
            return str(pixels)
        if sorted(pixels.shape[:2]) != sorted((photo.width_px, photo.height_px)):
            found.append(
                f"declared {photo.width_px} x {photo.height_px}, decoded {pixels.shape[1]} x {pixels.shape[0]}"
            )
        elif raw:
            found += changed_by_the_strip(raw, photo, pixels)
        return "decoded"

    def _watched(self, what: str, call: Callable[[], object], found: list[str]) -> object:
        """Return what ``call`` gives, or the word for its refusal; find what it must not do."""
        before_mb, before_s = _peak_mb(), time.process_time()
        try:
            result = call()
        except Unsupported as error:
            result = next((word for words, word in REASONS.items() if words in str(error)), "unknown_refusal")
            if result == "unknown_refusal" or not str(error).startswith("photo p"):
                found.append(f"{what}: refused with {error}")
            if isinstance(error.__cause__, cv2.error) and error.__cause__.code == cv2.Error.StsNoMem:
                found.append(f"{what}: no memory: {error.__cause__}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            result = "raised"
            found.append(f"{what}: {type(error).__name__}: {error}")
        took_s, grown_mb = time.process_time() - before_s, _peak_mb() - before_mb
        self.most_cpu_s, self.most_mb = max(self.most_cpu_s, took_s), max(self.most_mb, grown_mb)
        if took_s > MOST_CPU_S:
            found.append(f"{what}: {took_s:.1f} s of processor, at most {MOST_CPU_S}")
        if grown_mb > MOST_MB:
            found.append(f"{what}: {grown_mb:.0f} MB, at most {MOST_MB}")
        return result


def wrong_with(photo: Photo) -> list[str]:
    """Return what an accepted photo must not be, looking at its bytes alone."""
    found = []
    if photo.width_px * photo.height_px > MAX_PIXELS or min(photo.width_px, photo.height_px) < MIN_SIDE_PX:
        found.append(f"accepted with {photo.width_px} x {photo.height_px} pixels")
    left = metadata_left(photo)
    if left:
        found.append(f"metadata left: {left}")
    try:
        again = read_photo(photo.data, "p")
    except Unsupported as error:
        return [*found, f"refused once stripped: {error}"]
    if again != photo:
        found.append("stripped twice, it is another photo")
    return found


def metadata_left(photo: Photo) -> list[str]:
    """Return the parts of a stripped photo that are neither its picture nor its one orientation."""
    parts = take_apart(photo.data)
    if photo.format == "jpeg":
        strange = [part for part in parts if not _belongs_in_a_jpeg(part)]
        orientations = sum(part.kind == b"\xe1" for part in parts)
    else:
        exif = b"eXIf" if photo.format == "png" else b"EXIF"
        inside = [one for part in parts if part.kind == b"ANMF" for one in take_apart(b"\0" * 12 + part.body[16:])]
        strange = [
            part
            for part in (*parts, *inside)
            if part.kind not in _PICTURE[photo.format] and not (part.kind == exif and part.body in _ORIENTATIONS)
        ]
        orientations = sum(part.kind == exif for part in parts)
    left = [f"{part.kind!r} {part.body[:24]!r}" for part in strange]
    return left + ([f"{orientations} orientations"] if orientations > 1 else [])


def _belongs_in_a_jpeg(part: Part) -> bool:
    marker, body = part.kind[0], part.body
    return (
        marker in _JPEG_PICTURE
        or (marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) == 14)
        or (marker == 0xE1 and body.startswith(b"Exif\0\0") and body[6:] in _ORIENTATIONS)
        or (marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"))
        or (marker == 0xEE and body.startswith(b"Adobe") and len(body) == 12)
    )


def changed_by_the_strip(data: bytes, photo: Photo, upright: Pixels) -> list[str]:
    """Compare the picture with what the decoder makes of the photo as it came, where it makes anything.

    The strip and the decoder may each understand broken EXIF blocks that the other does not: a single whole one counts.
    Nor are animated PNGs: the strip leaves the picture beside the animation, and OpenCV 5.0.0 crashes on some of them.
    """
    if b"acTL" in data:
        return []
    raw, raw_upright = (_plain(data, flag) for flag in (_UNTURNED, cv2.IMREAD_COLOR))
    stripped = _plain(photo.data, _UNTURNED)
    if raw is None or raw_upright is None or stripped is None:
        return []
    if not np.array_equal(raw, stripped):
        return [] if _runs_out(photo) else ["the strip changed the picture"]
    one_block = len(_TIFF.findall(data)) == 1 and not _NO_TIFF.search(data)
    turned = one_block and not np.array_equal(raw, raw_upright)
    if turned and not np.array_equal(raw_upright, upright):
        return ["the strip lost the orientation"]
    return []


def _plain(data: bytes, flag: int) -> Pixels | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _runs_out(photo: Photo) -> bool:
    """Return whether the pixels of a WebP are cut short, so that its decoder reads on into what follows them."""
    if photo.format != "webp":
        return False
    parts = take_apart(photo.data)
    pictures = [number for number, part in enumerate(parts) if part.kind in (b"VP8 ", b"VP8L", b"ANMF") and part.body]
    return any(_reads_on(parts[: number + 1]) for number in pictures)


def _reads_on(parts: list[Part]) -> bool:
    """Return whether what follows the last of the parts changes the picture."""
    *before, picture = parts
    shown = set()
    for what in (0, 0x55, 0xAA, 0xFF):
        padded = Part(picture.kind, picture.body + bytes([what]) * (len(picture.body) % 2), length=len(picture.body))
        filled = Part(bytes([what]) * 4, bytes([what]) * 50_000)
        pixels = _plain(put_together([*before, padded, filled], "webp"), _UNTURNED)
        shown.add(None if pixels is None else pixels.tobytes())
    return len(shown) > 1


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
