"""What VGG16 is given, and that its features are fc6 before the ReLU.

That the converted weights give the same fc6 as in the layout of TensorFlow, at the real size, is in
tests/features/test_architectures.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from streetgauge.features import get_backbone, prepare
from streetgauge.features.engines import TorchEngine
from streetgauge.imagery import read_image

FC6 = get_backbone("vgg16-caffe-fc6")


def noise(path: Path, width: int, height: int) -> Path:
    coarse = np.random.default_rng(width).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize(("width", "height"), [(600, 400), (400, 600), (512, 512), (640, 320)])
def test_the_shorter_side_becomes_224_and_the_centre_is_cut_out(
    tmp_path: Path, width: int, height: int
) -> None:
    file = noise(tmp_path / "a.png", width, height)
    size = width * 224 // min(width, height), height * 224 // min(width, height)
    with Image.open(file) as image:
        small = np.asarray(image.resize(size, Image.Resampling.BILINEAR)).astype(int)
    left, top = ((side - 224) // 2 for side in size)
    found = prepare(read_image(file), FC6)
    assert found.shape == (224, 224, 3)
    apart = np.abs(found - small[top : top + 224, left : left + 224])[1:-1, 1:-1]
    assert apart.max() <= 1
    assert apart.mean() < 0.01


def test_the_network_is_given_blue_green_red_less_the_means_of_caffe(tmp_path: Path) -> None:
    pixels = prepare(read_image(noise(tmp_path / "a.png", 320, 240)), FC6)
    given = TorchEngine(FC6, nn.Flatten(), torch.device("cpu"))(pixels[None])
    rgb = pixels / 255  # the published code starts from 0..1, and multiplies by 255
    expected = rgb[..., ::-1] * 255 - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(
        given.reshape(3, 224, 224), expected.transpose(2, 0, 1), atol=1e-3, rtol=0
    )


def test_features_are_the_4096_of_fc6_before_its_relu() -> None:
    assert (FC6.dimension, FC6.layer, FC6.relu) == (4096, "fc6 before its ReLU", False)
    assert (FC6.resize, FC6.crop, FC6.interpolation) == (224, 224, "bilinear")
