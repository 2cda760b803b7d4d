"""Images that show nothing, or not this location, are distinguished from images of streets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from streetgauge.imagery import FINDINGS, QUALITY, Cut, decode, decode_cuts, findings, quality_of

SIDE = 224


def shrunk(pixels: np.ndarray) -> Image.Image:
    """As the network sees it: the square at the centre."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(pixels).crop((left, top, left + side, top + side))
    return square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def street(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.NEAREST))


def notice(words: str = "Sorry, we have no imagery here.") -> np.ndarray:
    image = Image.new("RGB", (640, 640), (228, 227, 223))
    ImageDraw.Draw(image).text((150, 300), words, fill=(110, 110, 110), font_size=24)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return np.asarray(shrunk(decode(buffer.getvalue())))


def noisy(level: float, spread: float) -> np.ndarray:
    noise = np.random.default_rng(5).normal(level, spread, (SIDE, SIDE, 1))
    return np.clip(noise, 0, 255).astype(np.uint8).repeat(3, axis=2)


def night() -> np.ndarray:
    image = noisy(6, 2)
    for x, y in ((40, 60), (120, 50), (200, 70)):
        image[y : y + 8, x : x + 8] = 250
    return image


def found(*images: np.ndarray, views: int = 1) -> list[str]:
    quality = np.array([quality_of(one) for one in images], dtype=QUALITY).reshape(-1, views)
    names = [f"L{i}" for i in range(len(quality))]
    return findings(quality, names, [str(v) for v in range(views)])["finding"].tolist()


def test_each_kind_of_poor_image_is_found_and_streets_are_not() -> None:
    blurred = np.asarray(Image.fromarray(street(1)).filter(ImageFilter.GaussianBlur(6)))
    got = found(street(0), noisy(5, 2), noisy(200, 1), notice(), blurred, night())
    assert got == ["", "black", "blank", "placeholder", "blurred", ""]


def test_real_streets_are_found_good_and_blurred_ones_blurred(shared_data: Path) -> None:
    raws = [path.read_bytes() for path in sorted((shared_data / "images").rglob("*.jpg"))]
    good = [shrunk(decode(raw)) for raw in raws]
    for raw in raws:
        if decode(raw).shape[1] == 2 * decode(raw).shape[0]:
            good += map(shrunk, decode_cuts(raw, [Cut(h) for h in (0, 90, 180, 270)]))
    assert len(good) == 54 + 36
    assert set(found(*map(np.asarray, good))) == {""}
    blurred = [one.filter(ImageFilter.GaussianBlur(3)) for one in good]  # 8 of 640 pixels
    assert set(found(*map(np.asarray, blurred))) == {"blurred"}
    dark = [(np.asarray(one) * 0.06).astype(np.uint8) for one in good]
    assert set(found(*dark)) == {"black"}


def test_the_same_pixels_elsewhere_are_duplicates_and_everywhere_a_placeholder() -> None:
    assert found(street(0), street(1), street(0)) == ["duplicate", "", "duplicate"]
    assert found(*[street(0)] * 4, views=2) == ["duplicate"] * 4
    assert found(*[street(0)] * 4, street(1)) == ["duplicate"] * 4 + [""]
    assert found(*[street(0)] * 5, street(1)) == ["placeholder"] * 5 + [""]
    quality = np.array([[quality_of(street(0))] * 2, [quality_of(street(1))] * 2], dtype=QUALITY)
    assert findings(quality, ["X", "Y"], ["a", "b"])["n_identical"].tolist() == [2, 2, 2, 2]


def test_an_image_is_all_that_holds_of_it_and_is_called_the_first() -> None:
    tile, dark = noisy(200, 1), noisy(5, 2)
    quality = np.array([quality_of(one) for one in [tile] * 5 + [dark] * 2 + [street(0)]])
    names = [f"L{i}" for i in range(8)]
    table = findings(quality.astype(QUALITY).reshape(-1, 1), names, ["a"])
    assert table["finding"].tolist() == ["blank"] * 5 + ["black"] * 2 + [""]
    assert table["placeholder"].tolist() == [True] * 5 + [False] * 3
    assert table["duplicate"].tolist() == [True] * 7 + [False]
    assert set(FINDINGS) < set(table.columns)


def test_what_was_not_measured_is_not_listed() -> None:
    quality = np.zeros((3, 2), dtype=QUALITY)
    quality[1, 0] = quality_of(street(0))
    table = findings(quality, ["X", "Y", "Z"], ["a", "b"])
    assert table[["location_id", "view"]].to_numpy().tolist() == [["Y", "a"]]
    assert set(table["finding"]) <= {"", *FINDINGS}
    assert findings(quality[:0], [], ["a", "b"]).empty


@given(st.integers(1, 600), st.integers(1, 600), st.integers(0, 255), st.booleans())
def test_an_image_of_any_size_is_measured(height: int, width: int, level: int, flat: bool) -> None:
    pixels = np.full((height, width, 3), level, dtype=np.uint8)
    if not flat:
        pixels[::2, ::3] = 255 - level
    one = quality_of(pixels)
    assert all(np.isfinite(one[name]) for name in ("brightness", "contrast", "sharpness"))
    assert 0 < one["uniform"] <= 1
    assert one["fingerprint"] > 0
    if flat:
        assert one["brightness"] == pytest.approx(level)
        assert one["contrast"] == 0


def test_the_fingerprint_tells_any_pixel_and_the_shape() -> None:
    one = street(0)
    assert quality_of(one)["fingerprint"] == quality_of(one.copy())["fingerprint"]
    for channel in range(3):
        other = one.copy()
        other[100, 100, channel] ^= 1
        assert quality_of(one)["fingerprint"] != quality_of(other)["fingerprint"]
    large = np.zeros((1100, 1100, 3), np.uint8)
    other = large.copy()
    other[1, 3, 0] = 1
    assert quality_of(large)["fingerprint"] != quality_of(other)["fingerprint"]
    flat = np.zeros((8, 18, 3), np.uint8)
    assert quality_of(flat)["fingerprint"] != quality_of(flat.reshape(18, 8, 3))["fingerprint"]


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_sharpness_is_the_laplacian_s_variance_over_the_image_s(
    height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    green = pixels[..., 1].astype(float)
    around = [
        green[i - 1, j] + green[i + 1, j] + green[i, j - 1] + green[i, j + 1] - 4 * green[i, j]
        for i in range(1, height - 1)
        for j in range(1, width - 1)
    ]
    variance = green[::2, ::2].var()
    expected = np.var(around) / variance if around and variance > 0 else 0.0
    assert quality_of(pixels)["sharpness"] == pytest.approx(expected, rel=1e-6, abs=1e-9)
