"""The trained weights that the paper's authors publish, as a bundle that predicts.

Their PyTorch port keeps one outcome's network as a state dict with ``dense1`` .. ``dense5``: 4096
-> 512 -> 256 -> 128 for every view, the mean over the views, 64, 1; ReLU between, no batch norm
(``port-2020``). It standardises all features alike, by (x + 5) / 8.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streetgauge.errors import InputError, summary
from streetgauge.io.files import sha256_of
from streetgauge.model.bundle import Bundle
from streetgauge.model.model import Model
from streetgauge.model.network import Network
from streetgauge.model.reading import Standardisation
from streetgauge.settings import TrainSettings

__all__ = ["LAYERS", "import_authors"]

BACKBONE = "vgg16-caffe-fc6"
VIEWS = ("a", "b", "c", "d")
MEAN, SPREAD = -5.0, 8.0

# Shapes of the weights [outputs, inputs] in the file, and the layers that they are here.
LAYERS = {
    "dense1": ((512, 4096), "views.0.dense"),
    "dense2": ((256, 512), "views.1.dense"),
    "dense3": ((128, 256), "views.2.dense"),
    "dense4": ((64, 128), "location.dense"),
    "dense5": ((1, 64), "score"),
}


def import_authors(
    file: str | Path,
    *,
    outcome: str,
    label: str | None = None,
    place: str | None = None,
    licence: str | None = None,
) -> Bundle:
    """Make a bundle of one outcome's weights.

    Parameters
    ----------
    file : str or Path
        State dict, as ``torch.save`` writes it, or safetensors.
    outcome : str
        What the network was trained for: the file does not name it.
    label : str, optional
        The same for people.
    place : str, optional
        Where it was trained.
    licence : str, optional
        Of the weights.

    Returns
    -------
    Bundle
        Its scores are the network's own: calibrated on nothing.

    Raises
    ------
    InputError
        If the file holds anything but tensors, or a layer is missing or has another shape.

    Examples
    --------
    >>> state = {}
    >>> for name, (shape, _) in LAYERS.items():
    ...     state |= {f"{name}.weight": torch.zeros(shape), f"{name}.bias": torch.zeros(shape[0])}
    >>> torch.save(state, "income.pth")
    >>> import_authors("income.pth", outcome="income", place="London").outcomes
    ('income',)
    """
    file = Path(file)
    state = read_state(file)
    settings = TrainSettings(
        learner="network",
        network="port-2020",
        pooling="mean",
        ensemble_size=1,
        head="binomial",
        dropout=0.0,
    )
    network = Network(LAYERS["dense1"][0][1], [0], settings)
    own = dict(network.state_dict())
    for name, (shape, ours) in LAYERS.items():
        weight = _layer(state, f"{name}.weight", shape, file)
        own[f"{ours}.weight"] = weight.T[None].contiguous()
        own[f"{ours}.bias"] = _layer(state, f"{name}.bias", shape[:1], file)[None].contiguous()
    network.load_state_dict(own)
    dimension = LAYERS["dense1"][0][1]
    scale = Standardisation(
        np.full(dimension, MEAN, np.float32), np.full(dimension, SPREAD, np.float32)
    )
    about = {"label": label, "licence": licence, "file": file.name}
    sha256 = sha256_of(file)
    return Bundle(
        model=Model(network.eval(), scale, np.array([[0.0, 1.0]])),
        outcomes=(outcome,),
        name="imported",
        settings=settings,
        seed=0,
        cache_key=sha256,
        training=None,
        source={
            "study": place or "",
            "backbone": BACKBONE,
            "weights_sha256": "",  # the file does not name them; its own name must do
            "transform": "{}",
            "views": list(VIEWS),
            "imported": {"file": file.name, "sha256": sha256},
            "outcomes": {outcome: {k: v for k, v in about.items() if v}},
        },
        licence=licence,
    )


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict of tensors; nothing else in the file is built.

    Parameters
    ----------
    file : Path
        As ``torch.save`` writes it, or safetensors. The dict may lie in another under
        ``state_dict``, and names may start with ``module.``.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    InputError
        If it is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with file.open("rb") as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that are then refused
        try:
            if file.suffix == ".safetensors":
                content: Any = load_file(file)
            else:
                content = torch.load(handle, map_location="cpu", weights_only=True)
        # Whatever a damaged or a hostile file can make the readers stumble over.
        except (
            *(SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, EOFError),
            *(LookupError, ValueError, TypeError, AttributeError),
        ) as error:
            reason = summary(error)
            raise InputError(
                file,
                f"this is not a PyTorch file with tensors only ({reason})",
                "give a state dict",
            ) from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(file, f"this holds a {type(content).__name__}", "give a state dict")
    return {
        str(name).removeprefix("module."): tensor
        for name, tensor in content.items()
        if isinstance(tensor, Tensor)
    }


def _layer(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...], file: Path) -> Tensor:
    if name not in state:
        found = ", ".join(sorted(state)[:8]) or "none"
        raise InputError(file, f"there is no {name!r}", f"its tensors are {found}")
    tensor = state[name]
    if tuple(tensor.shape) != shape:
        raise InputError(
            file,
            f"{name!r} has shape {tuple(tensor.shape)}, not {shape}",
            "give the weights of the authors' PyTorch port",
        )
    if not (tensor.is_floating_point() and tensor.isfinite().all()):
        raise InputError(file, f"{name!r} has a number that is not finite", "get the file again")
    return tensor.float()
