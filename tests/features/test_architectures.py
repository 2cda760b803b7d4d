"""VGG16 against an independent computation in the layout of TensorFlow, at its real size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from streetgauge.errors import InputError
from streetgauge.features import get_backbone, load_network, prepare
from streetgauge.features.architectures import VGG16, named_by_layer
from streetgauge.features.caffe import VGG16 as SHAPES
from streetgauge.features.caffe import import_caffe
from streetgauge.features.weights import load_into
from streetgauge.imagery import read_image

Layers = dict[str, list[np.ndarray]]
BGR = np.array([103.939, 116.779, 123.68])  # blue first, as the paper's code has them


def random_layers() -> Layers:
    """Weights in the layout of vgg16.npy under which values neither die nor explode."""
    rng = np.random.default_rng(0)
    layers: Layers = {}
    for name, shape in SHAPES.items():
        inputs = int(np.prod(shape[:-1]))
        block = rng.standard_normal(1 << 20, dtype=np.float32)  # 103 million take seconds
        weight = np.resize(block, int(np.prod(shape)) + 7)[7:].reshape(shape)
        weight = weight * np.float32(np.sqrt(2 / inputs))
        layers[name] = [weight, rng.standard_normal(shape[-1], dtype=np.float32)]
    return layers


def fc6(layers: Layers, x: np.ndarray) -> np.ndarray:
    """Normalised [224, 224, 3] -> [4096], channels last, filters [row, column, in, out]."""
    for name, (weight, bias) in layers.items():
        if name == "fc6":
            break
        height, width = x.shape[:2]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        y = np.zeros((height, width, weight.shape[-1]), dtype=np.float32) + bias
        for i in range(3):
            for j in range(3):
                y += padded[i : i + height, j : j + width] @ weight[i, j]
        x = np.maximum(y, 0)
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            x = x.reshape(height // 2, 2, width // 2, 2, -1).max(axis=(1, 3))
    weight, bias = layers["fc6"]
    return x.reshape(-1) @ weight + bias  # [row, column, channel]


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def layers() -> Layers:
    return random_layers()


@pytest.fixture(scope="module")
def imported(layers: Layers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("vgg16")
    np.save(folder / "vgg16.npy", np.array(layers, dtype=object), allow_pickle=True)
    import_caffe(folder / "vgg16.npy", folder / "vgg16.safetensors")
    (folder / "vgg16.npy").unlink()
    yield folder / "vgg16.safetensors"
    (folder / "vgg16.safetensors").unlink()


@pytest.fixture(scope="module")
def file() -> Path:
    skimage = pytest.importorskip("skimage")
    return Path(skimage.__file__).parent / "data" / "coffee.png"


@pytest.mark.slow
def test_fc6_of_a_real_image_is_that_of_the_caffe_weights_in_tensorflow_s_layout(
    layers: Layers, imported: Path, file: Path
) -> None:
    record = get_backbone("vgg16-caffe-fc6", weights=imported)
    network = load_network(record, "cpu", "torch")
    found = network.features(prepare(read_image(file), record)[None])[0]

    # The paper's way: shorter side 224, centre crop, RGB 0..1, x 255, BGR, means subtracted.
    with Image.open(file) as image:
        assert image.size == (600, 400)
        small = image.convert("RGB").resize((336, 224), Image.Resampling.BILINEAR)
    rgb = np.asarray(small)[:, 56:280] / 255
    expected = fc6(layers, (rgb[..., ::-1] * 255 - BGR).astype(np.float32))
    assert relative(found, expected) < 0.01  # the crop's edges, and roundings to a grey level

    # Of a square image, as the paper's are, the preparation itself is Pillow's to the grey level.
    square = file.with_name("astronaut.png")
    with Image.open(square) as image:
        assert image.size == (512, 512)
        small = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    whole = fc6(layers, (np.asarray(small)[..., ::-1] / 255 * 255 - BGR).astype(np.float32))
    seen = network.features(prepare(read_image(square), record)[None])[0]
    assert relative(seen, whole) < 1e-4

    pixels = prepare(read_image(file), record)
    apart = np.abs(pixels - (rgb * 255).round())[:, 1:-1]
    assert apart.max() <= 1
    assert apart.mean() < 0.01
    expected = fc6(layers, (pixels[..., ::-1] - BGR).astype(np.float32))
    assert relative(found, expected) < 1e-4
    assert (found < 0).mean() > 0.2  # before the ReLU
    cut = get_backbone("vgg16-caffe-fc6", weights=imported, relu=True)
    module = VGG16(relu=bool(cut.relu))
    load_into(module, load_file(imported), imported)
    x = torch.from_numpy((pixels[..., ::-1] - BGR).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        assert relative(module(x)[0].numpy(), np.maximum(expected, 0)) < 1e-4


@pytest.mark.slow
def test_torchvision_s_layout_gives_the_same_fc6_with_its_own_normalisation(
    layers: Layers, file: Path, tmp_path: Path
) -> None:
    numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    tensors = {}
    for number, name in zip(numbers, [name for name in layers if name != "fc6"], strict=True):
        weight, bias = layers[name]
        moved = np.moveaxis(weight[:, :, ::-1], (3, 2), (0, 1))  # there red comes first
        moved = moved if number == 0 else np.moveaxis(weight, (3, 2), (0, 1))
        tensors[f"features.{number}.weight"] = torch.from_numpy(np.ascontiguousarray(moved))
        tensors[f"features.{number}.bias"] = torch.from_numpy(bias)
    weight, bias = layers["fc6"]
    by_channel = weight.reshape(7, 7, 512, 4096).transpose(3, 2, 0, 1).reshape(4096, -1)
    tensors["classifier.0.weight"] = torch.from_numpy(np.ascontiguousarray(by_channel))
    tensors["classifier.0.bias"] = torch.from_numpy(bias)
    tensors["classifier.3.bias"] = torch.zeros(3)  # layers after fc6 are skipped
    save_file(tensors, tmp_path / "tv.safetensors")
    del tensors, by_channel

    record = get_backbone("vgg16-torchvision-fc6", weights=tmp_path / "tv.safetensors")
    pixels = prepare(read_image(file), record)
    found = load_network(record, "cpu", "torch").features(pixels[None])[0]
    (tmp_path / "tv.safetensors").unlink()
    rgb = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = fc6(layers, rgb[..., ::-1].astype(np.float32))
    assert relative(found, expected) < 1e-4


def test_torchvision_s_names_become_those_of_the_layers() -> None:
    module = VGG16.__new__(VGG16)
    with torch.device("meta"):
        module.__init__()  # type: ignore[misc]
    numbers = sum(tensor.numel() for tensor in module.state_dict().values())
    assert numbers == sum(int(np.prod(shape)) + shape[-1] for shape in SHAPES.values())
    given = {"features.28.weight": torch.ones(1), "classifier.0.bias": torch.zeros(1)}
    assert sorted(named_by_layer(given)) == ["conv5_3.weight", "fc6.bias"]
    ours = {"conv1_1.weight": torch.ones(1)}
    assert named_by_layer(ours) == ours


def test_weights_of_another_network_are_refused_by_the_first_tensor_that_is_missing(
    tmp_path: Path,
) -> None:
    save_file({"stem.weight": torch.ones(3)}, tmp_path / "other.safetensors")
    record = get_backbone("vgg16-torchvision-fc6", weights=tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other.safetensors: tensor 'conv1_1.weight' is missing"):
        load_network(record, "cpu", "torch")
