"""From an image to the network's input."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from streetgauge.features import get_backbone, prepare, preprocess
from streetgauge.features.preprocess import transform_json
from streetgauge.imagery import Cut, ImageSource, read_image

LITE0 = get_backbone("efficientnet-lite0")


def test_an_image_of_the_input_s_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    np.testing.assert_array_equal(prepare(image, LITE0), image)


@pytest.mark.parametrize("tall", [False, True])
def test_the_square_is_cut_from_the_centre(tall: bool) -> None:
    image = np.zeros((448, 1344, 3), dtype=np.uint8)
    image[:, 448:896] = (10, 200, 90)
    if tall:
        image = image.transpose(1, 0, 2).copy()
    assert (prepare(image, LITE0)[4:-4, 4:-4] == (10, 200, 90)).all()


def test_pixels_lie_as_the_network_reads_them() -> None:
    # Planes would have to be turned: the slowest step after decoding.
    image = np.random.default_rng(0).integers(0, 256, (640, 640, 3), dtype=np.uint8)
    assert prepare(image, get_backbone("efficientnet-lite0")).flags.c_contiguous


def test_a_larger_resize_uses_the_middle_only() -> None:
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    image[16:240, 16:240] = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
    inner = prepare(image, replace(LITE0, resize=256))
    np.testing.assert_array_equal(inner, image[16:240, 16:240])


def test_a_squashed_image_is_seen_from_edge_to_edge() -> None:
    squashed = replace(LITE0, squash=True)
    image = np.zeros((448, 1344, 3), dtype=np.uint8)
    image[:, :448], image[:, 896:] = (200, 10, 90), (10, 90, 200)
    seen = prepare(image, squashed)
    assert seen.shape == (224, 224, 3)
    assert (seen[:, :70] == (200, 10, 90)).all()
    assert (seen[:, -70:] == (10, 90, 200)).all()
    assert not (seen[:, 79:-79] > 0).any()
    assert transform_json(squashed) != transform_json(LITE0)
    assert "centre" not in transform_json(squashed)
    assert get_backbone("places365-resnet18").squash


def test_real_panoramas_agree_with_resizing_first_and_cropping_then(shared_data: Path) -> None:
    compared = 0
    for path in sorted((shared_data / "images/streetscapes").glob("*.jpg")):
        image = read_image(path)
        if image.shape[:2] != (512, 1024):  # 448 x 224: the crop has no fractions of pixels
            continue
        whole = Image.fromarray(image).resize((448, 224), Image.Resampling.BICUBIC)
        other = np.asarray(whole)[:, 112:336].astype(int)
        assert np.abs(prepare(image, LITE0) - other).max() <= 1
        compared += 1
    assert compared == 9


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 400), width=st.integers(1, 400))
def test_any_size_gives_the_input_s_size(height: int, width: int) -> None:
    image = np.full((height, width, 3), 77, dtype=np.uint8)
    prepared = prepare(image, LITE0)
    assert prepared.shape == (224, 224, 3)
    assert (prepared == 77).all()


def test_the_rule_is_written_as_json_and_differs_with_every_part_of_the_record() -> None:
    rule = json.loads(transform_json(LITE0))
    assert rule["mean"] == [127.0, 127.0, 127.0]
    for change in (
        {"resize": 256}, {"crop": 240}, {"mean": (0.0, 0.0, 0.0)}, {"std": (1.0, 1.0, 1.0)},
        {"scale": 1 / 255}, {"channels": "BGR"}, {"interpolation": "bilinear"}, {"layer": "fc"},
    ):  # fmt: skip
        assert transform_json(replace(LITE0, **change)) != transform_json(LITE0), change


def real_images(shared_data: Path) -> list[np.ndarray]:
    files = sorted((shared_data / "images").glob("*/*.jpg"))[::4]
    assert len(files) >= 10
    return [read_image(path) for path in files]


@pytest.mark.parametrize(
    "rule", [(224, 224, "bicubic"), (256, 224, "bicubic"), (224, 224, "bilinear")]
)
@pytest.mark.parametrize("size", [None, (640, 640), (640, 480), (480, 640), (2048, 1024)])
def test_the_fast_resampler_stays_within_two_grey_levels_of_pillow_s(
    shared_data: Path, size: tuple[int, int] | None, rule: tuple[int, int, str]
) -> None:
    resize, crop, interpolation = rule
    record = replace(LITE0, resize=resize, crop=crop, interpolation=interpolation)  # type: ignore[arg-type]
    for image in real_images(shared_data):
        if size is not None:
            scaled = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
            image = np.asarray(scaled)
        assert preprocess._grid(*image.shape[:2], resize, crop) is not None, image.shape
        away = np.abs(prepare(image, record) - preprocess._by_pillow(image, record).astype(int))
        assert away.max() <= 2
        assert (away > 0).mean() < 0.025
        assert (away > 1).mean() < 0.0001


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (480, 641),  # the crop begins at half a pixel
        (480, 488),  # too little next to the crop
        (481, 900),  # no small margin is whole on both sides
        (100, 100),  # enlarged
    ],
)
def test_where_the_grid_does_not_allow_pillow_itself_is_used(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert preprocess._grid(height, width, 224, 224) is None
    np.testing.assert_array_equal(prepare(image, LITE0), preprocess._by_pillow(image, LITE0))


def test_the_crop_s_borders_see_beyond_the_crop_as_with_pillow() -> None:
    image = np.zeros((448, 1344, 3), dtype=np.uint8)
    image[:, 448:896] = 200  # black begins where the crop ends
    prepared, expected = prepare(image, LITE0), preprocess._by_pillow(image, LITE0)
    assert expected[:, 0].max() < 200
    assert np.abs(prepared.astype(int) - expected).max() <= 1


def test_of_a_part_of_a_sphere_the_views_that_it_lacks_have_their_reason() -> None:
    sizes = {"FullPanoWidth": 512, "FullPanoHeight": 256}
    sizes |= {"CroppedAreaImageWidth": 256, "CroppedAreaImageHeight": 128}
    sizes |= {"CroppedAreaLeft": 128, "CroppedAreaTop": 64}
    xmp = " ".join(f'GPano:{name}Pixels="{size}"' for name, size in sizes.items())
    buffer = io.BytesIO()
    Image.new("RGB", (256, 128), "green").save(buffer, "JPEG", xmp=f"<x {xmp}/>".encode())
    raw = buffer.getvalue()
    rows = [ImageSource("a.jpg", "", Cut(heading, size=64)) for heading in (0.0, 90.0, 180.0)]
    batch = preprocess.preprocess_batch(rows, [raw] * 3, get_backbone("efficientnet-lite0"))
    lacking = "the panorama does not show the whole of this view"
    assert batch.reasons == [None, lacking, lacking]
    assert (batch.pixels[0][..., 1] > 100).all()
    assert not batch.pixels[1:].any()
