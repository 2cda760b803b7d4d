"""JPEG files with junk in their headers: the pixels are whole, so they are used."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from streetgauge.imagery import ImageError, decode
from streetgauge.imagery.image_file import read_exif
from streetgauge.imagery.jpeg import without_junk


def segment(marker: int, content: bytes, length: int | None = None) -> bytes:
    size = len(content) + 2 if length is None else length
    return struct.pack(">BBH", 0xFF, marker, size) + content


def plain(**options: object) -> bytes:
    noise = np.random.default_rng(4).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(noise).resize((96, 72), Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=88, **options)
    return buffer.getvalue()


def before(marker: int, junk: bytes) -> Callable[[bytes], bytes]:
    """Put something before the first segment of a kind."""

    def put(raw: bytes) -> bytes:
        at = raw.index(bytes((0xFF, marker)))
        return raw[:at] + junk + raw[at:]

    return put


ICC = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(40))
PHOTOSHOP = b"Photoshop 3.0\x008BIM\x04\x04\0\0"
JUNK = {
    "a stuffed zero": before(0xDB, b"\xff\x00"),
    "text": before(0xDB, b"written by a scanner"),
    "text before the frame": before(0xC0, b"written by a scanner"),
    "a short APP14": before(0xDB, segment(0xEE, b"Adobe")),
    "an APP14 that claims more than it has": before(0xDB, segment(0xEE, b"Adobe\0", 14)),
    "a profile behind the frame": before(0xC4, ICC),
    "half a profile behind the frame": before(0xC4, segment(0xE2, b"ICC_PROFILE\0\1", 60)),
    "a Photoshop block of a false size": before(
        0xDB, segment(0xED, PHOTOSHOP + b"\x7f\xff\xff\xff")
    ),
    "a Photoshop block that is cut off": before(0xDB, segment(0xED, PHOTOSHOP + b"\0", 99)),
    "two kinds at once": lambda raw: before(0xDB, b"junk" + segment(0xEE, b"Adobe\0", 14))(
        before(0xC4, b"more junk")(raw)
    ),
}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", JUNK)
def test_junk_in_the_header_leaves_the_pixels_as_they_were(kind: str, progressive: bool) -> None:
    raw = plain(progressive=progressive)
    marker = b"\xff\xc2" if progressive else b"\xff\xc0"
    odd = JUNK[kind](raw.replace(marker, b"\xff\xc0", 1)).replace(b"\xff\xc0", marker, 1)
    assert odd != raw
    np.testing.assert_array_equal(decode(odd), decode(raw))
    assert not read_exif(io.BytesIO(odd)).panorama


@pytest.mark.parametrize("kind", JUNK)
def test_pixels_that_are_damaged_are_refused_behind_junk_too(kind: str) -> None:
    raw = plain()
    damaged = raw[: len(raw) // 2] + bytes(len(raw) // 4) + raw[len(raw) * 3 // 4 :]
    with pytest.raises(ImageError, match="the image is damaged"):
        decode(JUNK[kind](damaged))


def test_the_camera_s_orientation_survives_junk() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = plain(exif=exif)
    assert decode(raw).shape == (96, 72, 3)
    for kind, put in JUNK.items():
        np.testing.assert_array_equal(decode(put(raw)), decode(raw), err_msg=kind)


def test_a_thumbnail_is_never_taken_for_the_image() -> None:
    thumbnail = io.BytesIO()
    Image.new("RGB", (96, 72), "red").save(thumbnail, "JPEG")
    block = segment(0xED, PHOTOSHOP + struct.pack(">I", 10**6) + thumbnail.getvalue())
    raw = plain()
    odd = before(0xDB, block + b"junk")(raw)
    np.testing.assert_array_equal(decode(odd), decode(raw))
    with pytest.raises(ImageError):
        decode(odd.replace(raw[raw.index(b"\xff\xda") + 14 :], b""))


def test_tables_that_are_damaged_are_not_guessed() -> None:
    raw = plain()
    at = raw.index(b"\xff\xdb") + 3
    assert list(without_junk(raw[:at] + b"\x40" + raw[at + 1 :])) == []
    assert list(without_junk(b"\xff\xd8" + bytes(40))) == []
    assert list(without_junk(b"GIF89a")) == []
