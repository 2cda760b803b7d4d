"""Images of every make, and files that only look like images."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from streetgauge.imagery import (
    ImageError,
    ImageSource,
    decode,
    decoding,
    image_file,
    raw_images,
    read_image,
)
from streetgauge.imagery.decoding import _is_padding
from streetgauge.imagery.image_file import read_exif

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_lossless_pixels_come_back_as_they_were(tmp_path: Path, noise: np.ndarray) -> None:
    image = read_image(saved(tmp_path / "a.png", Image.fromarray(noise)))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, noise)


def test_a_png_with_a_changed_byte_is_refused_and_not_shown_otherwise(
    tmp_path: Path, noise: np.ndarray
) -> None:
    file = saved(tmp_path / "a.png", Image.fromarray(noise), compress_level=0)
    whole = file.read_bytes()
    start = whole.index(b"IDAT") + 4
    for at in range(start + 20, len(whole) - 20, 500):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ImageError, match="the image is damaged"):
            read_image(file)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_s_orientation_is_obeyed(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), "white")
    upright.paste(RED, (0, 0, 16, 16))  # red at the top left, blue at the top right
    upright.paste(BLUE, (32, 0, 48, 16))
    # How the sensor saw it: the inverse of what the EXIF note tells a viewer to do.
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", stored, quality=95, subsampling=0, exif=exif)
    image = read_image(path).astype(int)
    assert image.shape == (32, 48, 3)
    assert np.abs(image[4, 4] - RED).max() < 12
    assert np.abs(image[4, 44] - BLUE).max() < 12


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow ink: red
    image = read_image(saved(tmp_path / "a.jpg", cmyk, quality=95))
    assert np.abs(image.astype(int) - RED).max() < 12


def test_greyscale_has_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = read_image(saved(tmp_path / "a.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(image, np.dstack([grey] * 3))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path: Path, suffix: str) -> None:
    grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(grey)))
    np.testing.assert_array_equal(image[..., 0], grey >> 8)


def test_sixteen_bit_colour_keeps_its_high_byte(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values >> 8)


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (8, 8), (*RED, 0))
    layer.paste((*RED, 255), (0, 0, 4, 8))
    image = read_image(saved(tmp_path / "a.png", layer))
    assert (image[:, :4] == RED).all()
    assert (image[:, 4:] == 255).all()


def test_a_palette_with_a_transparent_colour_shows_white_there(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*BLUE, *RED])
    image.paste(1, (0, 0, 4, 8))
    pixels = read_image(saved(tmp_path / "a.png", image, transparency=0))
    assert (pixels[:, :4] == RED).all()
    assert (pixels[:, 4:] == 255).all()


def png(colour: int, bits: int, samples: np.ndarray, clear: bytes) -> bytes:
    """Write a PNG with one transparent colour (tRNS)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"tRNS", clear), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", [0, 2])
def test_a_png_with_a_transparent_colour_shows_white_there(colour: int, bits: int) -> None:
    red, blue = ((200, 10, 10), (10, 10, 200)) if colour else ((30,), (120,))
    samples = np.array([[red, blue], [blue, red]]) * (257 if bits == 16 else 1)
    clear = struct.pack(f">{len(red)}H", *samples[0, 0])
    pixels = decode(png(colour, bits, samples, clear))
    assert (pixels[[0, 1], [0, 1]] == 255).all()
    assert (pixels[[0, 1], [1, 0]] == blue).all()


def test_what_libtiff_prints_is_not_on_the_screen(
    noise: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    raw = bytearray(buffer.getvalue())
    with Image.open(io.BytesIO(bytes(raw))) as image:
        at = image.tag_v2[273][0]  # type: ignore[attr-defined]
    raw[at : at + 64] = bytes(64)
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(raw))
    assert capfd.readouterr() == ("", "")


def test_a_heic_image_is_read(noise: np.ndarray) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x8825] = {1: "S", 2: (36.0, 48.0, 0.0), 3: "E", 4: (174.0, 0.0, 0.0)}
    smooth = Image.fromarray(noise[:2, :2]).resize((64, 48), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    smooth.save(buffer, "HEIF", quality=95, exif=exif)
    raw = buffer.getvalue()
    assert np.abs(decode(raw).astype(int) - np.asarray(smooth)).mean() < 4
    assert read_exif(io.BytesIO(raw))[:2] == (pytest.approx(-36.8), pytest.approx(174.0))


def test_without_the_extra_a_heic_image_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tuple(name for name in image_file.FORMATS if name != "HEIF")
    monkeypatch.setattr(image_file, "_formats", lambda: known)
    with pytest.raises(ImageError) as caught:
        decode(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(200))
    assert str(caught.value) == "this is a HEIC image; to read it, pip install 'streetgauge[heic]'"


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.webp", {"lossless": True}), ("a.bmp", {}), ("a.tif", {}), ("a.ppm", {}), ("a.jp2", {})],
)
def test_other_formats_are_read(
    tmp_path: Path, noise: np.ndarray, name: str, options: dict[str, object]
) -> None:
    image = read_image(saved(tmp_path / name, Image.fromarray(noise), **options))
    np.testing.assert_array_equal(image, noise)


def test_progressive_and_baseline_jpeg_have_the_same_pixels(tmp_path: Path) -> None:
    smooth = Image.radial_gradient("L").convert("RGB")
    plain = read_image(saved(tmp_path / "a.jpg", smooth))
    progressive = read_image(saved(tmp_path / "b.jpg", smooth, progressive=True))
    np.testing.assert_array_equal(plain, progressive)


def test_the_content_tells_the_format_not_the_name(tmp_path: Path, noise: np.ndarray) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path), noise)


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (read_image(path) == RED).all()


def jpeg(size: tuple[int, int] = (200, 200)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("text.png", b"this is no image\n" * 50, "not an image of a known format"),
        ("half.jpg", jpeg()[:10_000], "image file is truncated$"),
        ("head.jpg", jpeg()[:40], "damaged|not an image"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_broken_files_give_one_short_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / name)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_reading_makes_no_larger_buffer_than_the_file_takes(
    tmp_path: Path, noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(noise))
    (content,) = raw_images([ImageSource(str(path))])
    assert content == path.read_bytes()
    tracemalloc.start()
    try:
        list(raw_images([ImageSource(str(path))]))
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size + 2**20
    finally:
        tracemalloc.stop()
    for most in (path.stat().st_size, path.stat().st_size - 1):
        monkeypatch.setattr(decoding, "MAX_BYTES", most)
        (found,) = raw_images([ImageSource(str(path))])
        assert isinstance(found, ImageError) == (most < path.stat().st_size)


def test_a_missing_file_and_a_folder_give_their_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (16_000, 16_000)).save(path)  # 256 megapixels in a few kilobytes
    assert path.stat().st_size < 100_000
    with pytest.raises(ImageError, match="more"):
        read_image(path)


def test_the_limit_of_pixels_can_be_set(tmp_path: Path, noise: np.ndarray) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(noise))
    assert read_image(path, max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(ImageError, match="60 x 40 pixels are more than 2,399"):
        read_image(path, max_pixels=2399)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_what_the_reader_of_avif_reports_of_damage_is_a_reason(noise: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "AVIF")
    whole, reported = buffer.getvalue(), set()
    start = whole.index(b"mdat")  # behind it are the pixels; the header stays as it is
    for fill in range(0, 256, 51):
        raw = whole[: start + 4] + bytes([fill]) * (len(whole) - start - 4)
        with pytest.raises(ImageError, match="damaged") as caught:
            decode(raw)
        reported.add(caught.value.reason)
    assert any(reason.startswith("the image is damaged: Failed to decode") for reason in reported)
    assert not any("Error" in reason for reason in reported)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "gif", "tif", "jp2"])
def test_any_cut_or_damage_gives_an_image_or_a_reason_and_nothing_else(
    tmp_path: Path, noise: np.ndarray, kind: str
) -> None:
    whole = saved(tmp_path / f"a.{kind}", Image.fromarray(noise)).read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(60):
        content = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for position in rng.integers(0, len(content), rng.integers(0, 6)):
            content[position] = rng.integers(0, 256)
        path = tmp_path / f"b.{kind}"
        path.write_bytes(content)
        try:
            image = read_image(path, max_pixels=10_000_000)
        except ImageError:
            continue
        assert image.ndim == 3


def test_the_real_photographs_are_read(shared_data: Path) -> None:
    streets = sorted((shared_data / "images/streetscapes").glob("*.jpg"))
    lund = sorted((shared_data / "images/lund").glob("*.jpg"))
    assert (len(streets), len(lund)) == (25, 29)
    shapes = {read_image(path).shape for path in streets + lund}
    assert all(channels == 3 and min(h, w) > 100 for h, w, channels in shapes)


def test_of_large_images_one_is_decoded_at_a_time_and_small_ones_alongside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_file, "LARGE", 100 * 100 - 1)
    now: Counter[int] = Counter()
    most: Counter[int] = Counter()
    own = decoding._as_rgb

    def slow(image: Image.Image) -> Image.Image:
        now[image.width] += 1
        most[image.width] = max(most[image.width], now[image.width])
        time.sleep(0.05)
        now[image.width] -= 1
        return own(image)

    monkeypatch.setattr(decoding, "_as_rgb", slow)
    raws = []
    for side in (100, 50):
        buffer = io.BytesIO()
        Image.new("RGB", (side, side)).save(buffer, "PNG")
        raws += [buffer.getvalue()] * 4
    with ThreadPoolExecutor(8) as pool:
        sides = [pixels.shape[0] for pixels in pool.map(decode, raws)]
    assert sides == [100] * 4 + [50] * 4
    assert most[100] == 1
    assert most[50] > 1


def test_a_reason_is_in_words_and_never_in_python_s(monkeypatch: pytest.MonkeyPatch) -> None:
    note = PngImagePlugin.PngInfo()
    note.add_text("note", "x" * (2 << 20), zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=note)
    with pytest.raises(ImageError) as caught:
        decode(buffer.getvalue())
    message = "the image is damaged: its text comments are larger than an image's may be"
    assert str(caught.value) == message
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    for error in (KeyError("n"), AttributeError("'NoneType' object has no attribute 'x'")):
        monkeypatch.setattr(decoding, "_quick", lambda *_, error=error: _raise(error))
        with pytest.raises(ImageError, match=r"damaged: its parts do not fit together$"):
            decode(buffer.getvalue())


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("message", "padding"),
    [
        ("Corrupt JPEG data: 16 extraneous bytes before marker 0xd9", True),
        ("Corrupt JPEG data: 17 extraneous bytes before marker 0xd9", False),
        ("Corrupt JPEG data: 2 extraneous bytes before marker 0xd4", False),
        ("Corrupt JPEG data: premature end of data segment", False),
    ],
)
def test_a_few_bytes_before_the_end_are_no_damage(message: str, padding: bool) -> None:
    assert _is_padding(message) is padding
