"""Networks rounded to 8 bits, in ranges seen on known photographs."""

from __future__ import annotations

import logging
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any

from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone
from streetgauge.features.known_images import known_images

# Images that the ranges are measured on.
CALIBRATION = 128


def quantised(backbone: Backbone, model: Any) -> Any:
    """Round weights and activations of a model to 8 bits.

    Parameters
    ----------
    backbone : Backbone
        The network.
    model : openvino.Model
        In float32; it takes prepared images.

    Returns
    -------
    openvino.Model

    Raises
    ------
    InputError
        If nncf is not installed.
    """
    if find_spec("nncf") is None:
        raise InputError("precision 'int8'", "nncf is not installed", "pip install nncf")
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    slice = model.input(0).shape[0]
    images = known_images(CALIBRATION, backbone.crop, seed=8, drawn=False)
    parts = [images[i : i + slice] for i in range(0, CALIBRATION, slice)]
    names = [op.get_friendly_name() for op in model.get_ops() if "Conv" in op.get_type_name()]
    exact = [name for name in names if is_of(name, backbone.exact)]
    with redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(parts),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(parts),
            ignored_scope=nncf.IgnoredScope(names=exact),
        )


def is_of(operation: str, layers: tuple[str, ...]) -> bool:
    """Whether an operation of OpenVINO's came from one of some layers of a torch module."""
    return operation.partition("/")[0].removeprefix("__module.") in layers
