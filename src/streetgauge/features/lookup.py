"""Which backbone a name means: one of `BACKBONES`, or one of a family that describes its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from streetgauge.errors import InputError, closest
from streetgauge.features.backbones import BACKBONES, FAMILIES, Backbone
from streetgauge.settings import ImageFeatures


def get_backbone(name: str, *, weights: Path | None = None, relu: bool | None = None) -> Backbone:
    """Look up a backbone.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`, or ``timm:NAME``, ``open_clip:NAME/WEIGHTS``, ``onnx:FILE``.
    weights : Path, optional
        A file with other weights for the same architecture. They have no known sha256 and licence.
        With the name ``onnx``: the file.
    relu : bool, optional
        Whether negative features of ``fc6`` are cut off; by the name if not given.

    Raises
    ------
    InputError
        If there is none of that name, naming the closest one; or it does not have this option.

    Examples
    --------
    >>> get_backbone("vgg16-caffe-fc6").dimension
    4096
    """
    family, colon, inner = name.partition(":")
    if name == "onnx" and weights is not None:
        (colon, inner), weights = (":", str(weights)), None
    if colon and family in FAMILIES:
        from streetgauge.features import families  # it needs torch

        record = families.FAMILIES[family].record(inner)
    elif name in BACKBONES:
        record = BACKBONES[name]
    else:
        known = [*BACKBONES, *(f"{each}:..." for each in FAMILIES)]
        raise InputError(f"backbone {name!r}", "it is not known", closest(name, known, limit=10))
    if relu is not None and relu != record.relu:
        if record.relu is None:
            raise InputError(
                "relu", f"{name!r} does not have this option", "it is for the fc6 backbones"
            )
        plain = record.name.removesuffix("-relu")
        record = BACKBONES[f"{plain}-relu" if relu else plain]
    if weights is not None:
        if family == "onnx" and colon:
            raise InputError("weights", "an ONNX file contains its own", "remove the setting")
        record = replace(record, weights=f"file:{weights}", sha256="", licence="")
    return record


def backbone_of(settings: ImageFeatures) -> Backbone:
    """Look up the network of a study's settings."""
    return get_backbone(settings.backbone, weights=settings.weights, relu=settings.relu)
