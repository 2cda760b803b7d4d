"""EfficientNet-Lite, VGG16 as far as ``fc6``, and the ResNet-18 of Places, in plain PyTorch.

Tan and Le (2019), *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML
(https://arxiv.org/abs/1905.11946), table 1, with layers named as in the published PyTorch
checkpoints. The "lite" variants have ReLU6 instead of swish, no squeeze-and-excitation, and a
stem and a head that are not scaled
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).

Simonyan and Zisserman (2015), *Very deep convolutional networks for large-scale image recognition*
(https://arxiv.org/abs/1409.1556), table 1, configuration D.

He et al. (2016), *Deep residual learning for image recognition*, CVPR
(https://arxiv.org/abs/1512.03385), table 1, 18 layers; as Zhou et al. (2018, IEEE TPAMI 40,
1452-1464) trained it on Places365 for maps of 14 by 14: without the pooling behind the first
convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

# repeats, kernel, stride of the first, expansion, channels out
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
# Channels by how many, layers by how many, side of the input in pixels.
VARIANTS = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))


class _Conv(nn.Conv2d):
    """Convolution padded like TensorFlow's "SAME": at stride 2 the odd pixel goes to the end.

    How much it pads depends on ``side``, the rows and columns of what comes in.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, side: int, stride: int = 1, groups: int = 1
    ):
        around = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, around, groups=groups, bias=False)
        spare = max((ceil(side / stride) - 1) * stride + kernel - side, 0)
        self.ends = (spare // 2, spare - spare // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.stride == (1, 1) else functional.pad(x, self.ends))


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project; added to the input if shapes fit."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, side: int, stride: int, expansion: int
    ):
        super().__init__()
        wide = inputs * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = _Conv(inputs, wide, 1, side)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _Conv(wide, wide, kernel, side, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _Conv(wide, outputs, 1, ceil(side / stride))
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        projected: Tensor = self._bn2(self._project_conv(y))
        return projected + x if self.adds else projected


class EfficientNetLite(nn.Module):
    """Normalised images [n, 3, side, side] -> pooled features [n, 1280].

    Parameters
    ----------
    variant : {0, 1, 2, 3, 4}
        Which of `VARIANTS`: how wide and deep, and the side of its input.
    """

    def __init__(self, variant: int = 0) -> None:
        super().__init__()
        wider, deeper, side = VARIANTS[variant]
        self._conv_stem = _Conv(3, STEM, 3, side, 2)
        self._bn0 = _norm(STEM)
        side = ceil(side / 2)
        blocks, channels = [], STEM
        for stage, (repeats, kernel, first, expansion, outputs) in enumerate(STAGES):
            scaled = stage not in (0, len(STAGES) - 1)
            times = ceil(repeats * deeper) if scaled else repeats
            outputs = _eighths(outputs * wider)
            for stride in (first, *(1,) * (times - 1)):
                blocks.append(_Block(channels, outputs, kernel, side, stride, expansion))
                channels, side = outputs, ceil(side / stride)
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = _Conv(channels, HEAD, 1, side)
        self._bn1 = _norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Features of normalised images."""
        x = functional.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        x = self._blocks(x)
        x = functional.relu6(self._bn1(self._conv_head(x)), inplace=True)
        return x.mean(dim=(2, 3))

    def folded(self) -> Self:
        """Put every batch norm into the convolution before it: the same function, fewer passes."""
        pairs = {"_conv_stem": "_bn0", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1"}
        pairs |= {"_project_conv": "_bn2", "_conv_head": "_bn1"}
        self.eval()
        with torch.no_grad():
            for module in self.modules():
                for conv, norm in pairs.items():
                    if hasattr(module, conv):
                        fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
                        setattr(module, conv, fused)
                        setattr(module, norm, nn.Identity())
        return self


def _eighths(channels: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


# Channels and convolutions of each block; a block ends with a 2 x 2 maximum.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
SIDE, WIDTH = 7, 4096

# Where torchvision's Sequential has the convolutions, and fc6.
_TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


class VGG16(nn.Module):
    """Normalised images [n, 3, 224, 224] -> ``fc6`` [n, 4096].

    Parameters
    ----------
    relu : bool
        Whether negative values of ``fc6`` become 0.
    """

    def __init__(self, relu: bool = False) -> None:
        super().__init__()
        self.relu = relu
        inputs = 3
        for name, width in _convolutions():
            setattr(self, name, nn.Conv2d(inputs, width, 3, padding=1))
            inputs = width
        self.fc6 = nn.Linear(inputs * SIDE * SIDE, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Features of normalised images."""
        for block, (_, layers) in enumerate(BLOCKS, 1):
            for layer in range(1, layers + 1):
                x = functional.relu(getattr(self, f"conv{block}_{layer}")(x), inplace=True)
            x = functional.max_pool2d(x, 2)
        # The columns of fc6 are [channel, row, column] also where images are channels-last.
        x = self.fc6(torch.flatten(x, 1))
        return functional.relu(x) if self.relu else x


def named_by_layer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights as torchvision names them to the names of the layers; others stay."""
    layers = [name for name, _ in _convolutions()]
    known = {f"features.{i}": name for i, name in zip(_TORCHVISION, layers, strict=True)}
    known["classifier.0"] = "fc6"
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        renamed[f"{known.get(layer, layer)}.{part}"] = tensor
    return renamed


def _convolutions() -> list[tuple[str, int]]:
    """Names and channels of the thirteen."""
    return [
        (f"conv{block}_{layer}", width)
        for block, (width, layers) in enumerate(BLOCKS, 1)
        for layer in range(1, layers + 1)
    ]


WIDTHS = (64, 128, 256, 512)  # channels of the four layers of two blocks each


class _Residual(nn.Module):
    """Two convolutions, added to the input; projected where their shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.projects = stride > 1 or inputs != outputs
        if self.projects:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + (self.downsample(x) if self.projects else x), inplace=True)


class PlacesResNet(nn.Module):
    """Normalised images [n, 3, 224, 224] -> pooled features [n, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        inputs = WIDTHS[0]
        for number, width in enumerate(WIDTHS, 1):
            first = _Residual(inputs, width, 1 if number == 1 else 2)
            setattr(self, f"layer{number}", nn.Sequential(first, _Residual(width, width, 1)))
            inputs = width

    def forward(self, x: Tensor) -> Tensor:
        """Features of normalised images."""
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        for number in range(1, len(WIDTHS) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x.mean(dim=(2, 3))
