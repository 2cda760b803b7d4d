"""A backbone at work: prepared pictures in, features out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streetgauge.devices import choose_device
from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone, weights_file
from streetgauge.features.efficientnet import EfficientNetLite0
from streetgauge.files import sha256_of

__all__ = ["Network", "load_network"]

# Pictures at a time on a CPU. The largest activations of four take 19 MB: above 32 MB the C library
# gives memory back after every layer, and a third of the time goes into getting it again.
CPU_SLICE = 4


def _efficientnet_lite0(weights: dict[str, Tensor]) -> EfficientNetLite0:
    module = EfficientNetLite0()
    module.load_state_dict(weights, strict=True)
    return module.folded()


BUILDERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "efficientnet-lite0": _efficientnet_lite0,
}


class Network:
    """A frozen network with its backbone's normalisation.

    Parameters
    ----------
    backbone : Backbone
        Says how pixels are normalised.
    module : torch.nn.Module
        [n, 3, crop, crop] -> [n, dimension].
    device : torch.device
        Where it runs.
    """

    def __init__(self, backbone: Backbone, module: Any, device: torch.device) -> None:
        self.backbone = backbone
        self.device = device
        self.module = module.eval().requires_grad_(False)
        self.module.to(device, memory_format=torch.channels_last)
        self._mean = torch.tensor(backbone.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(backbone.std, device=device).view(3, 1, 1)

    def features(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features of prepared pictures.

        Parameters
        ----------
        pictures : array of uint8, [n, crop, crop, 3]
            As `prepare` gives them.

        Returns
        -------
        array of float32, [n, dimension]
            The same bits for the same batch on the same machine.
        """
        step = CPU_SLICE if self.device.type == "cpu" else len(pictures)
        with torch.inference_mode():
            parts = [self._look(pictures[i : i + step]) for i in range(0, len(pictures), step)]
        return np.concatenate(parts)

    def _look(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        # [n, h, w, 3] seen as [n, 3, h, w] is already channels-last.
        pixels = torch.from_numpy(np.array(pictures)).to(self.device).permute(0, 3, 1, 2).float()
        x = (pixels * self.backbone.scale - self._mean) / self._std
        if self.backbone.channels == "BGR":
            x = x.flip(1).contiguous(memory_format=torch.channels_last)
        features: npt.NDArray[np.float32] = self.module(x).float().cpu().numpy()
        return features


def load_network(backbone: Backbone, device: str = "auto") -> Network:
    """Load a backbone's weights, after a look at their sha256.

    Parameters
    ----------
    backbone : Backbone
        Which.
    device : {"auto", "cpu", "cuda", "mps"}
        "auto" takes a GPU where there is one.

    Raises
    ------
    InputError
        If the device or the weights are not there, or the weights are not the published ones.
    """
    place = choose_device(device)
    file = weights_file(backbone)
    found = sha256_of(file)
    if found != backbone.sha256:
        raise InputError(
            file,
            f"these are not the weights of {backbone.name}: sha256 {found[:12]}, "
            f"not {backbone.sha256[:12]}",
            "install the package again",
        )
    weights = torch.load(file, map_location="cpu", weights_only=True)
    module = BUILDERS[backbone.name](weights)
    return Network(backbone, module, place)
