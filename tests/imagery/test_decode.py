"""The quick way to decode a JPEG gives the pixels that Pillow gives, and takes what it can only."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from streetgauge.imagery import ImageError, ImageSource, decode, decode_cuts, raw_images
from streetgauge.imagery import decoding as module


def by_pillow(raw: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(raw)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def is_quick(raw: bytes) -> bool:
    with Image.open(io.BytesIO(raw)) as image:
        return module._quick(raw, image, None) is not None


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC)).astype(int)
    noise = rng.normal(0, 12, smooth.shape).astype(int)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "size", [(640, 480), (333, 517), (17, 33), (16, 15), (8, 8), (3, 90), (1, 1)]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_kind_of_everyday_jpeg_is_equal_to_pillow_s(
    scene: Image.Image, size: tuple[int, int], mode: str
) -> None:
    image = scene.resize(size).convert(mode)
    for quality, subsampling, progressive in itertools.product((30, 75, 95), (0, 1, 2), (0, 1)):
        raw = jpeg(image, quality=quality, subsampling=subsampling, progressive=bool(progressive))
        assert is_quick(raw)
        np.testing.assert_array_equal(decode(raw), by_pillow(raw))


@pytest.mark.parametrize(
    "damaged",
    [
        lambda raw: raw[: len(raw) // 3] + b"\xff\xd9",
        lambda raw: raw[: len(raw) // 2] + raw[len(raw) // 2 + 2000 :],
        lambda raw: raw[: len(raw) // 2] + bytes(len(raw) // 2 - 2) + b"\xff\xd9",
    ],
    ids=["cut off and ended", "a part is missing", "a part is zeros"],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_damaged_in_the_middle_is_refused_though_pillow_paints_it_grey(
    scene: Image.Image, damaged: Callable[[bytes], bytes], progressive: bool
) -> None:
    raw = damaged(jpeg(scene, quality=90, progressive=progressive))
    if not progressive:
        assert by_pillow(raw).shape == (480, 640, 3)
    with pytest.raises(ImageError, match="the image is damaged: "):
        decode(raw)


def test_bytes_after_the_end_and_a_little_padding_before_it_are_no_damage(
    scene: Image.Image,
) -> None:
    raw = jpeg(scene, quality=90)
    for harmless in (raw + bytes(100), raw[:-2] + bytes(3) + raw[-2:]):
        np.testing.assert_array_equal(decode(harmless), decode(raw))


def test_the_real_photographs_are_equal_to_pillow_s(shared_data: Path) -> None:
    for path in sorted((shared_data / "images").rglob("*.jpg")):
        raw = path.read_bytes()
        assert is_quick(raw)
        np.testing.assert_array_equal(decode(raw), by_pillow(raw))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_equal_to_pillow_s(scene: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = jpeg(scene, exif=exif)
    assert is_quick(raw)
    np.testing.assert_array_equal(decode(raw), by_pillow(raw))
    tiff = io.BytesIO()
    scene.save(tiff, "TIFF", exif=exif)  # Pillow turns a TIFF itself, and it is turned once only
    np.testing.assert_array_equal(decode(tiff.getvalue()), by_pillow(tiff.getvalue()))


def test_what_is_no_everyday_jpeg_is_left_to_pillow(scene: Image.Image) -> None:
    cmyk = jpeg(scene.convert("CMYK"))
    stored_as_rgb = jpeg(scene, keep_rgb=True)
    png = io.BytesIO()
    scene.save(png, "PNG")
    for raw in (cmyk, stored_as_rgb, png.getvalue()):
        assert not is_quick(raw)
        np.testing.assert_array_equal(decode(raw), by_pillow(raw))


def test_a_cut_jpeg_is_an_error_and_never_half_grey(scene: Image.Image) -> None:
    raw = jpeg(scene)
    for length in (100, len(raw) // 2, len(raw) - 300):
        with pytest.raises(ImageError, match=r"damaged|not an image"):
            decode(raw[:length])


@pytest.mark.parametrize(
    ("at_least", "side"), [(None, 480), (400, 480), (240, 240), (200, 240), (60, 60)]
)
def test_scaled_decoding_never_goes_below_what_is_asked(
    scene: Image.Image, at_least: int | None, side: int
) -> None:
    raw = jpeg(scene, quality=95)
    scaled = decode(raw, None, at_least)
    assert min(scaled.shape[:2]) == side
    small = np.asarray(
        Image.fromarray(decode(raw)).resize(scaled.shape[1::-1], Image.Resampling.BOX)
    )
    assert np.abs(scaled.astype(int) - small).mean() < 3


def test_an_image_of_20000_pixels_a_side_is_refused_before_it_is_decoded() -> None:
    raw = bytearray(jpeg(Image.new("RGB", (16, 16))))
    frame = raw.index(b"\xff\xc0")
    raw[frame + 5 : frame + 9] = (20_000).to_bytes(2, "big") * 2
    with pytest.raises(ImageError, match=r"20000 x 20000 pixels are more than 100,000,000|more"):
        decode(bytes(raw))


def test_plain_files_are_read_in_order_with_a_reason_for_each_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    rows = [ImageSource(str(tmp_path / name)) for name in ("a", "no", "a", "")]
    got = list(raw_images(rows))
    assert got[0] == got[2] == b"1"
    assert [str(one) for one in got[1::2]] == [
        "there is no such file",
        "the file cannot be opened: Is a directory",
    ]


def test_an_empty_file_is_one_reason() -> None:
    for call in (lambda: decode(b""), lambda: decode_cuts(b"", [None])):
        with pytest.raises(ImageError, match="the file is empty"):
            call()
