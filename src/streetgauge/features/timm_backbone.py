"""``timm:NAME``: any image model of timm, its features before the classifier."""

from __future__ import annotations

from math import floor
from pathlib import Path
from typing import Any

from torch import nn

from streetgauge.errors import InputError, closest
from streetgauge.features.backbones import Backbone
from streetgauge.features.optional import does_not_import

__all__ = ["build", "fetch", "record"]


def record(name: str) -> Backbone:
    """Make a record of what timm says of a model.

    Raises
    ------
    InputError
        If timm does not import here, or does not know the name.
    """
    timm = _timm(name)
    if not timm.is_model(name):
        step = closest(name, timm.list_models())
        raise InputError(f"backbone 'timm:{name}'", "timm does not know it", step)
    model = timm.create_model(name, pretrained=False, num_classes=0)
    rule = timm.data.resolve_model_data_config(model)
    side = int(rule["input_size"][-1])
    return Backbone(
        name=f"timm:{name}",
        dimension=int(model.num_features),
        layer="before the classifier",
        weights=f"timm:{name}",
        sha256="",
        licence=str(model.pretrained_cfg.get("license") or ""),
        resize=floor(side / float(rule["crop_pct"])),
        crop=side,
        mean=tuple(map(float, rule["mean"])),  # type: ignore[arg-type]
        std=tuple(map(float, rule["std"])),  # type: ignore[arg-type]
        scale=1 / 255,
        interpolation=rule["interpolation"],
        architecture="timm",
    )


def fetch(name: str) -> Path:
    """Download a model's weights from the Hugging Face Hub, where timm keeps them.

    Raises
    ------
    InputError
        If there are none, or no network.
    """
    subject = f"weights of timm:{name}"
    about = _timm(name).get_pretrained_cfg(name)
    if about is None or not about.hf_hub_id:
        raise InputError(subject, "timm has none", "give them as `features.weights`")
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(about.hf_hub_id, about.hf_hub_filename or "model.safetensors"))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            subject,
            f"{about.hf_hub_id} could not be fetched ({type(error).__name__})",
            "give its model.safetensors as `features.weights`",
        ) from None


def build(backbone: Backbone, file: Path) -> nn.Module:
    """Make the model with weights from a file, in timm's names."""
    name = backbone.name.partition(":")[2]
    timm = _timm(name)
    try:
        made: nn.Module = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(file), "hf_hub_id": None, "url": ""},
            num_classes=0,
        )
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(file, f"these are not weights of {backbone.name}: {reason}") from None
    return made


def _timm(name: str) -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision fails in this way where it is alien
        raise does_not_import(f"backbone 'timm:{name}'", "timm", "timm", error) from None
    return timm
