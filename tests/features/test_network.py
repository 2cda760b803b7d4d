"""The default backbone on photographs whose content is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streetgauge.errors import InputError
from streetgauge.features import Backbone, FrozenNetwork, get_backbone, load_network, prepare
from streetgauge.features.architectures import EfficientNetLite
from streetgauge.features.engines import TorchEngine
from streetgauge.features.network import build_module
from streetgauge.features.weights import weights_file
from streetgauge.imagery import read_image

LITE0 = get_backbone("efficientnet-lite0")


@pytest.fixture(scope="module")
def network() -> Iterator[FrozenNetwork]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tests run side by side
    yield load_network(LITE0, "cpu", "torch")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photographs() -> tuple[list[np.ndarray], np.ndarray]:
    """20 images of ImageNet and their classes, which their names tell."""
    foolbox = pytest.importorskip("foolbox")
    files = sorted((Path(foolbox.__file__).parent / "data").glob("imagenet_*.jpg"))
    images = [read_image(file) for file in files]
    return images, np.array([int(file.stem.split("_")[-1]) for file in files])


@pytest.fixture(scope="module")
def imagenet(
    photographs: tuple[list[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    images, classes = photographs
    return np.stack([prepare(image, LITE0) for image in images]), classes


@pytest.fixture(scope="module")
def module() -> EfficientNetLite:
    return build_module(LITE0)  # type: ignore[return-value]


def probabilities(
    network: FrozenNetwork, module: EfficientNetLite, images: np.ndarray
) -> np.ndarray:
    features = torch.from_numpy(network.features(images))
    return module._fc(features).softmax(dim=1).detach().numpy()


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_at_least_17_of_20_imagenet_images_are_recognised(
    variant: int, photographs: tuple[list[np.ndarray], np.ndarray], network: FrozenNetwork
) -> None:
    images, classes = photographs
    assert len(images) == 20
    record = get_backbone(f"efficientnet-lite{variant}")
    prepared = np.stack([prepare(image, record) for image in images])
    module: EfficientNetLite = build_module(record)  # type: ignore[assignment]
    found = probabilities(FrozenNetwork(record, TorchEngine(record, module)), module, prepared)
    assert (found.argmax(axis=1) == classes).sum() >= 17
    five = np.argsort(found, axis=1)[:, -5:]
    assert (five == classes[:, None]).any(axis=1).sum() >= 19


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (0.0, 0.0, 0.0)},
        {"channels": "BGR"},
        {"mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)},
        {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    ],
    ids=["no mean", "BGR", "0 to 1", "0 to 255"],
)
def test_with_the_wrong_preprocessing_the_right_class_is_less_likely(
    network: FrozenNetwork,
    module: EfficientNetLite,
    imagenet: tuple[np.ndarray, np.ndarray],
    wrong: dict[str, object],
) -> None:
    images, classes = imagenet
    rows = np.arange(20)
    right = probabilities(network, module, images)[rows, classes].mean()
    record = replace(LITE0, **wrong)  # type: ignore[arg-type]
    other = FrozenNetwork(record, TorchEngine(record, build_module(LITE0)))
    assert probabilities(other, module, images)[rows, classes].mean() < right - 0.05


@pytest.mark.parametrize(
    ("name", "classes", "least"),
    [
        ("coffee.png", {967}, 0.8),  # espresso
        ("chelsea.png", {281, 282, 285}, 0.7),  # tabby, tiger cat, Egyptian cat
        ("rocket.jpg", {657, 744}, 0.3),  # missile, projectile
        ("motorcycle_left.png", {665, 670}, 0.6),  # moped, motor scooter
        ("camera.png", {872}, 0.8),  # tripod
    ],
)
def test_what_photographs_show_is_recognised(
    network: FrozenNetwork, module: EfficientNetLite, name: str, classes: set[int], least: float
) -> None:
    skimage = pytest.importorskip("skimage")
    image = prepare(read_image(Path(skimage.__file__).parent / "data" / name), LITE0)
    found = probabilities(network, module, image[None])[0]
    assert int(found.argmax()) in classes
    assert found[sorted(classes)].sum() > least


def test_folding_changes_no_feature_by_more_than_a_ten_thousandth(network: FrozenNetwork) -> None:
    plain = EfficientNetLite(0).eval()
    plain.load_state_dict(torch.load(weights_file(LITE0), weights_only=True), strict=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    with torch.inference_mode():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        expected = plain((pixels - 127) / 128).numpy()
    found = network.features(images)
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 1e-4


def test_the_same_batch_gives_the_same_bits_and_the_order_only_moves_rows(
    network: FrozenNetwork,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, 224, 224, 3), dtype=np.uint8)
    once = network.features(images)
    assert once.dtype == np.float32
    assert once.shape == (11, 1280)
    np.testing.assert_array_equal(once, network.features(images))
    np.testing.assert_allclose(network.features(images[::-1]), once[::-1], rtol=1e-4, atol=1e-5)


def test_normalisation_is_that_of_the_record() -> None:
    class Look(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, 0, 0]

    caffe = Backbone(
        name="caffe", dimension=3, layer="", weights="file:", sha256="", licence="",
        resize=2, crop=2, mean=(123.68, 116.779, 103.939), std=(1, 1, 1), scale=1, channels="BGR",
    )  # fmt: skip
    unit = replace(
        caffe, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=1 / 255, channels="RGB"
    )
    images = np.array([10, 20, 30], dtype=np.uint8) * np.ones((1, 2, 2, 1), dtype=np.uint8)
    np.testing.assert_allclose(
        FrozenNetwork(caffe, TorchEngine(caffe, Look())).features(images),
        [[30 - 103.939, 20 - 116.779, 10 - 123.68]],
        rtol=1e-6,
    )
    expected = (np.array([10, 20, 30]) / 255 - unit.mean) / unit.std
    np.testing.assert_allclose(
        FrozenNetwork(unit, TorchEngine(unit, Look())).features(images)[0], expected, rtol=1e-5
    )


def test_other_weights_than_the_published_are_refused() -> None:
    with pytest.raises(InputError, match="these are not the weights of efficientnet-lite0"):
        load_network(replace(LITE0, sha256="0" * 64))


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device 'cuda': torch finds none"):
        load_network(LITE0, "cuda")


def test_the_54_real_street_images_have_distinct_finite_features(
    network: FrozenNetwork, shared_data: Path
) -> None:
    files = [*(shared_data / "images").glob("*/*.jpg")]
    images = np.stack([prepare(read_image(file), LITE0) for file in sorted(files)])
    features = network.features(images)
    assert features.shape == (54, 1280)
    assert np.isfinite(features).all()
    assert (features >= 0).all()  # means of ReLU6
    assert (features <= 6).all()
    assert 0.1 < features.mean() < 2
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[~np.eye(54, dtype=bool)].max() < 0.999
    # 29 images of one place are more alike than the streets of 25.
    lund = [path.parent.name == "lund" for path in sorted(files)]
    streets = np.invert(lund)
    assert np.median(likeness[np.ix_(lund, lund)]) > np.median(likeness[np.ix_(streets, streets)])
