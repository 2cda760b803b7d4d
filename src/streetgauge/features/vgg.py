"""VGG16 as far as ``fc6``, in plain PyTorch.

Simonyan and Zisserman (2015), *Very deep convolutional networks for large-scale image recognition*
(https://arxiv.org/abs/1409.1556), table 1, configuration D.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["VGG16", "named_by_layer"]

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
