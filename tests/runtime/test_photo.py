from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime import photo
from runtime.contracts.errors import Unsupported
from runtime.photo import read_photo, sanitise
from runtime.preprocess import prepare

GPS, ORIENTATION = 0x8825, 0x0112


def half_red(orientation: int | None = None, format_: str = "JPEG", *, gps: bool = True) -> bytes:
    """Left half red, right half black, as stored."""
    image = Image.new("RGB", (200, 100))
    image.paste((255, 0, 0), (0, 0, 100, 100))
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    if gps:
        exif.get_ifd(GPS)[2] = (51.0, 30.0, 0.0)
        exif[0x010F] = "SecretCameraMaker"
    out = io.BytesIO()
    image.save(out, format_, exif=exif, **({"lossless": True} if format_ == "WEBP" else {}))
    return out.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_position_and_device_leave_and_pixels_and_orientation_stay(format_: str, orientation: int | None) -> None:
    raw = half_red(orientation, format_)
    clean = sanitise(raw, "x")
    assert b"SecretCameraMaker" in raw
    assert b"SecretCameraMaker" not in clean
    opened = Image.open(io.BytesIO(clean))
    assert not opened.getexif().get_ifd(GPS)
    assert opened.getexif().get(ORIENTATION, 1) == (orientation or 1)
    assert np.array_equal(np.asarray(opened), np.asarray(Image.open(io.BytesIO(raw))))
    assert sanitise(clean, "x") == clean
    assert np.array_equal(prepare([raw], 64), prepare([clean], 64))


def test_what_trails_the_image_is_cut_off() -> None:
    raw = half_red()
    assert sanitise(raw + b"MotionPhoto_Data" * 10, "x") == sanitise(raw, "x")


def test_a_rotated_photo_is_turned_upright_before_it_is_resized() -> None:
    upright = prepare([half_red(6)], 32)[0]  # stored left is shown at the top
    assert upright[2, 16, 0] > 200
    assert upright[29, 16, 0] < 50


def encode_pillow(image: Image.Image, format_: str) -> bytes:
    out = io.BytesIO()
    image.save(out, format_)
    return out.getvalue()


def test_cmyk_grey_and_sixteen_bit_photos_become_rgb() -> None:
    red = Image.new("RGB", (64, 64), (250, 10, 10))
    cmyk = prepare([encode_pillow(red.convert("CMYK"), "JPEG")], 32)[0]
    assert cmyk[16, 16, 0] > 200
    assert cmyk[16, 16, 1] < 80
    grey = prepare([encode_pillow(Image.new("L", (64, 64), 128), "JPEG")], 32)[0]
    assert (abs(grey.astype(int) - 128) < 4).all()
    deep = cv2.imencode(".png", np.full((64, 64), 0x8000, np.uint16))[1].tobytes()
    assert (abs(prepare([deep], 32)[0].astype(int) - 128) < 4).all()


def test_progressive_jpegs_are_read_to_their_end() -> None:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "JPEG", progressive=True)
    assert np.array_equal(prepare([out.getvalue()], 224), prepare([sanitise(out.getvalue(), "x")], 224))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_truncated_file_is_refused_by_name(format_: str, share: float) -> None:
    raw = half_red(format_=format_)
    with pytest.raises(Unsupported, match=r"photo a\.jpg: .*cut short"):
        read_photo(raw[: int(len(raw) * share)], "a.jpg")


def test_empty_and_renamed_files_are_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="empty"):
        read_photo(b"", "a.jpg")
    with pytest.raises(Unsupported, match="expected a JPEG, PNG or WebP"):
        read_photo(b"%PDF-1.7 not a photo at all", "a.jpg")


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, idat, b"IEND")]
    with pytest.raises(Unsupported, match="60000 x 60000"):
        prepare([b"\x89PNG\r\n\x1a\n" + b"".join(chunks)], 32, ["bomb.png"])


def test_a_photo_of_a_few_pixels_is_refused() -> None:
    with pytest.raises(Unsupported, match="at least 32"):
        read_photo(encode_pillow(Image.new("RGB", (8, 8)), "PNG"), "dot.png")


def test_reduced_decoding_agrees_with_full_decoding(photo_of: Callable[..., bytes]) -> None:
    rng = np.random.default_rng(1)
    smooth = cv2.resize(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8), (1600, 1200), interpolation=cv2.INTER_CUBIC)
    raw = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    full = cv2.resize(cv2.cvtColor(cv2.imdecode(raw, 1), cv2.COLOR_BGR2RGB), (224, 224), interpolation=cv2.INTER_AREA)
    assert abs(prepare([raw.tobytes()], 224)[0].astype(int) - full).mean() < 2.0


def test_real_photos_keep_their_pixels(banknotes: Path) -> None:
    for path in sorted(banknotes.glob("*/*.jpg"))[:12]:
        raw = path.read_bytes()
        assert np.array_equal(prepare([raw], 224), prepare([sanitise(raw, path.name)], 224))


@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8X"]))
def test_any_bytes_are_refused_in_words_or_read(tail: bytes, head: bytes) -> None:
    try:
        read_photo(head + tail, "x")
    except Unsupported as error:
        assert str(error).startswith("photo x")


@given(
    pieces=st.lists(
        st.sampled_from([b"\x00", b"\xff\x00", b"\xff\xd0", b"\xff\xff", b"\xff\xd7", b"\x12\x34"]), max_size=40
    ),
    padding=st.integers(-3, 3),
    marker=st.sampled_from([0x01, 0xC4, 0xCF, 0xD8, 0xD9, 0xDA, 0xFE]),
)
def test_the_end_of_the_pixels_is_found_wherever_it_lies(pieces: list[bytes], padding: int, marker: int) -> None:
    data = bytes(photo._LOOKED_THROUGH + padding - 1) + b"".join(pieces) + bytes([0xFF, marker, 0, 0])
    plain = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]").search(data)
    assert plain is not None
    assert photo._next_marker(data, 0, "p") == plain.start()
    with pytest.raises(Unsupported, match="cut short"):
        photo._next_marker(data[: plain.start()], 0, "p")


def test_metadata_that_is_replaced_by_as_many_bytes_still_goes() -> None:
    plain = cv2.imencode(".jpg", np.zeros((40, 40, 3), np.uint8))[1].tobytes()
    exif = b"Exif\x00\x00" + photo._orientation_tiff(6)[:-4] + b"HOME"
    tagged = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    kept = sanitise(tagged, "p")
    assert len(kept) == len(tagged)
    assert b"HOME" not in kept


def test_a_second_size_hidden_behind_a_bare_marker_is_refused() -> None:
    raw = half_red()
    frame = raw.index(b"\xff\xc0")
    length = int.from_bytes(raw[frame + 2 : frame + 4], "big")
    large = bytearray(raw[frame : frame + 2 + length])
    large[5:9] = struct.pack(">HH", 9000, 9000)
    with pytest.raises(Unsupported, match="damaged"):
        read_photo(raw[:frame] + b"\xff\x01" + bytes(large) + raw[frame:], "bomb.jpg")
    with pytest.raises(Unsupported, match="damaged"):
        read_photo(raw[:frame] + bytes(large) + raw[frame:], "bomb.jpg")


def test_a_jpeg_header_too_short_for_its_size_is_refused() -> None:
    raw = half_red()
    frame = raw.index(b"\xff\xc0")
    with pytest.raises(Unsupported, match="damaged"):  # the next segment's bytes would be taken for the size
        read_photo(raw[:frame] + b"\xff\xc0\0\5\x08\0\x40" + raw[frame:].replace(b"\xff\xc0", b"\xff\xfe", 1), "x")


def test_a_lossy_webp_with_a_stray_orientation_still_decodes() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(out, "WEBP")
    raw = out.getvalue()
    assert raw[12:16] == b"VP8 "
    tiff = b"MM\x00\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"EXIF" + struct.pack("<I", len(tiff)) + tiff
    stray = b"RIFF" + struct.pack("<I", len(raw) - 8 + len(exif)) + raw[8:] + exif
    assert abs(prepare([sanitise(stray, "x")], 32).astype(int) - prepare([raw], 32)).max() < 3


def test_metadata_that_nobody_listed_leaves_too() -> None:
    jpeg = half_red(gps=False)
    segment = b"MPF\0somewhere in Paris"
    marked = jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert b"Paris" not in sanitise(marked, "x")
    png = half_red(format_="PNG", gps=False)
    chunk = b"poSn" + b"somewhere in Paris"
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert b"Paris" not in sanitise(png[:33] + chunk + png[33:], "x")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_whose_first_chunk_is_not_its_header_is_refused() -> None:
    png = encode_pillow(Image.new("RGB", (9000, 64)), "PNG")
    false_size = png_chunk(b"tEXt", struct.pack(">II", 64, 64) + b"a note")
    with pytest.raises(Unsupported, match="damaged"):
        read_photo(png[:8] + false_size + png[8:], "bomb.png")


def test_a_jpeg_that_takes_a_thousand_passes_is_refused_and_what_encoders_write_is_not() -> None:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("CMYK").save(out, "JPEG", progressive=True)
    raw = out.getvalue()
    assert raw.count(b"\xff\xda") == 18
    assert prepare([raw], 32).any()
    last = raw[raw.rindex(b"\xff\xda") : -2]
    with pytest.raises(Unsupported, match=r"photo slow\.jpg: .* more than 32 passes"):
        read_photo(raw[:-2] + 1000 * last + raw[-2:], "slow.jpg")


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE5, 0xEE, 0xFE, 0xF0, 0x02])
@pytest.mark.parametrize(
    "begins", [b"\xff\xff", b"", b"JFIF\0\1\1\0\0\1\0\1\2\3", b"Adobe\0d\0\0\0\0\0", b"JFIF\0", b"Adobe"]
)
def test_no_segment_hides_a_place_behind_what_it_begins_with(marker: int, begins: bytes) -> None:
    raw = half_red(gps=False)
    body = begins + b"Paris"
    marked = raw[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + raw[2:]
    kept = sanitise(marked, "x")
    assert b"Paris" not in kept
    assert sanitise(kept, "x") == kept
    assert prepare([kept], 32).any()


def test_the_thumbnail_of_a_jfif_header_leaves_and_its_size_with_it() -> None:
    raw = sanitise(half_red(gps=False), "x")
    assert raw[6:11] == b"JFIF\0"
    small = bytes(range(12))
    tagged = raw[:4] + struct.pack(">H", 16 + len(small)) + raw[6:18] + b"\2\2" + small + raw[20:]
    assert sanitise(tagged, "x") == raw


def test_an_animated_png_that_would_crash_the_decoder_is_its_first_picture() -> None:
    out = io.BytesIO()
    frames = [Image.effect_noise((64, 64), 90), Image.new("L", (64, 64)), Image.new("L", (64, 64), 200)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    raw = out.getvalue()
    start = raw.index(b"fcTL") - 4
    torn = raw[:start] + raw[start + 12 + 26 :]  # OpenCV 5.0.0 was seen to die of SIGSEGV when told of the animation
    assert np.array_equal(prepare([torn], 64)[0, ..., 0], np.asarray(frames[0]))


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def animated_webp() -> tuple[bytes, int, int]:
    """Two frames; and where the second begins and ends."""
    out = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=50)
    raw = out.getvalue()
    start = raw.rindex(b"ANMF")
    return raw, start, start + 8 + int.from_bytes(raw[start + 4 : start + 8], "little")


def test_metadata_inside_a_frame_of_an_animation_leaves() -> None:
    raw, start, end = animated_webp()
    frame = webp_chunk(b"ANMF", raw[start + 8 : end] + webp_chunk(b"EXIF", b"Paris "))
    body = raw[8:start] + frame + raw[end:]
    marked = b"RIFF" + struct.pack("<I", len(body)) + body
    assert sanitise(marked, "x") == raw
    assert np.array_equal(prepare([marked], 32), prepare([raw], 32))


def test_a_webp_chunk_that_ends_behind_the_file_is_refused() -> None:
    raw, start, _ = animated_webp()
    with pytest.raises(Unsupported, match="cut short"):
        read_photo(raw[: start + 4] + struct.pack("<I", 0x7FFFFFFF) + raw[start + 8 :], "x")
    inner = start + 8 + 16
    with pytest.raises(Unsupported, match="cut short"):
        read_photo(raw[: inner + 4] + struct.pack("<I", 0x7FFFFFFF) + raw[inner + 8 :], "x")


@pytest.mark.parametrize("second", [b"", b"no TIFF at all", photo._orientation_tiff(3)])
def test_the_first_orientation_counts_as_it_does_for_the_decoder(second: bytes) -> None:
    png = half_red(6, "PNG")
    end = png.index(b"IDAT") - 4
    twice = png[:end] + png_chunk(b"eXIf", second) + png[end:]
    assert sanitise(twice, "x") == sanitise(png, "x")
    jpeg = half_red(6)
    body = b"Exif\0\0" + second
    table = jpeg.index(b"\xff\xdb")
    twice = jpeg[:table] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[table:]
    assert sanitise(twice, "x") == sanitise(jpeg, "x")
