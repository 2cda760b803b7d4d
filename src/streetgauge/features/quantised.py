"""Networks rounded to 8 bits, in ranges seen on known photographs, and cached from run to run.

Rounding takes many times as long as loading what was rounded, so that is in the user's cache:
OpenVINO's own format, plain text and numbers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone
from streetgauge.features.known_images import known_images
from streetgauge.io.files import atomic_directory, digest, sha256_of, write_json

__all__ = ["is_of", "quantised", "version_of"]

# Images that the ranges are measured on.
CALIBRATION = 128
# Raised with any change of this module that changes a number: what is cached is then not it.
_RULE = 1
# What the rounded network depends on besides its record: what rounds, and what makes the images.
_PACKAGES = (
    *("openvino", "nncf", "torch", "timm", "open_clip_torch"),
    *("numpy", "pillow", "scikit-learn", "matplotlib"),
)
# What the record has for people, and where the weights were found: their sha256 identifies them.
_WORDS = ("weights", "licence", "about")
_FILES = ("model.xml", "model.bin")


def quantised(
    openvino: Any,
    backbone: Backbone,
    make: Callable[[], Any],
    cache: Path | None = None,
    slice: int | None = None,
) -> Any:
    """Round weights and activations of a model to 8 bits.

    Parameters
    ----------
    openvino : module
        OpenVINO.
    backbone : Backbone
        The network, with the whole sha256 of its weights if it is to be cached.
    make : callable
        Gives the model in float32, which takes prepared images.
    cache : Path, optional
        Where rounded models are cached; what is damaged there is made anew, and if nothing can be
        written there nothing is.
    slice : int, optional
        As `OpenvinoEngine` was given it.

    Returns
    -------
    openvino.Model
        The same bits whether or not it was cached.

    Raises
    ------
    InputError
        If nncf is not installed.
    """
    if find_spec("nncf") is None:
        raise InputError("precision 'int8'", "nncf is not installed", "pip install nncf")
    if cache is None:
        return _rounded(backbone, make())
    folder = cache / f"{backbone.name.replace(':', '-').replace('/', '-')}-{_key(backbone, slice)}"
    model = _loaded(openvino, folder)
    if model is None:
        model = _rounded(backbone, make())
        with suppress(OSError):  # the disk is full, or another process has written the same
            _cache(openvino, model, folder)
    return model


def _rounded(backbone: Backbone, model: Any) -> Any:
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


def version_of(package: str) -> str | None:
    """Give the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _key(backbone: Backbone, slice: int | None) -> str:
    record = {name: value for name, value in asdict(backbone).items() if name not in _WORDS}
    packages = {name: version_of(name) for name in _PACKAGES}
    return digest([_RULE, CALIBRATION, slice, record, packages])[:16]


def _cache(openvino: Any, model: Any, folder: Path) -> None:
    with atomic_directory(folder) as temporary:
        openvino.save_model(model, temporary / _FILES[0], compress_to_fp16=False)
        write_json(
            {name: sha256_of(temporary / name) for name in _FILES}, temporary / "sha256.json"
        )


def _loaded(openvino: Any, folder: Path) -> Any:
    """Read a cached model; None if there is none, or it is not what was written."""
    try:
        recorded = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
        whole = recorded == {name: sha256_of(folder / name) for name in _FILES}
        parts = [(folder / name).read_bytes() for name in _FILES] if whole else []
    except (OSError, ValueError, RecursionError):
        return None
    return openvino.Core().read_model(*parts) if whole else None
