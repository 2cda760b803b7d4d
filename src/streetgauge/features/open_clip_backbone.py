"""``open_clip:NAME/WEIGHTS``: the image's half of a CLIP model, e.g. ``ViT-B-32/openai``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from streetgauge.errors import InputError, closest
from streetgauge.features.backbones import Backbone
from streetgauge.features.optional import does_not_import

__all__ = ["build", "fetch", "record"]


class _ImageEncoder(nn.Module):
    """What CLIP makes of an image, before it is compared with text."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual = model.visual

    def forward(self, x: Tensor) -> Tensor:
        """Features of normalised images."""
        features: Tensor = self.visual(x)
        return features


def record(place: str) -> Backbone:
    """Make a record of what open_clip says of a model.

    Raises
    ------
    InputError
        If open_clip does not import here, or does not know the names.
    """
    open_clip = _open_clip(place)
    name, _, weights = place.partition("/")
    if name not in open_clip.list_models():
        step = closest(name, open_clip.list_models())
        raise InputError(f"backbone 'open_clip:{place}'", "open_clip does not know it", step)
    known = open_clip.list_pretrained_tags_by_model(name)
    if weights not in known:
        raise InputError(
            f"backbone 'open_clip:{place}'", f"there are no weights {weights!r}",
            closest(weights, known),
        )  # fmt: skip
    model = open_clip.create_model(name)
    rule = {
        **open_clip.get_model_preprocess_cfg(model),
        **(open_clip.get_pretrained_cfg(name, weights) or {}),
    }
    size = rule["size"]
    side = int(size if isinstance(size, int) else size[0])
    return Backbone(
        name=f"open_clip:{place}",
        dimension=int(model.visual.output_dim),
        layer="the projected image",
        weights=f"open_clip:{place}",
        sha256="",
        licence=str(rule.get("license") or ""),
        resize=side,
        crop=side,
        mean=tuple(map(float, rule["mean"])),  # type: ignore[arg-type]
        std=tuple(map(float, rule["std"])),  # type: ignore[arg-type]
        scale=1 / 255,
        interpolation=rule.get("interpolation", "bicubic"),
        architecture="open_clip",
    )


def fetch(place: str) -> Path:
    """Download weights from where open_clip knows them to be.

    Raises
    ------
    InputError
        If there is no network.
    """
    open_clip = _open_clip(place)
    name, _, weights = place.partition("/")
    try:
        about = open_clip.get_pretrained_cfg(name, weights)
        return Path(open_clip.download_pretrained(about, prefer_hf_hub=True))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise InputError(
            f"weights of open_clip:{place}",
            f"they could not be fetched ({type(error).__name__})",
            "give the file as `features.weights`",
        ) from None


def build(backbone: Backbone, file: Path) -> nn.Module:
    """Make the image's half with weights from a file."""
    place = backbone.name.partition(":")[2]
    name, _, weights = place.partition("/")
    try:
        model = _open_clip(place).create_model(
            name, pretrained=str(file), force_quick_gelu=weights == "openai", weights_only=True
        )
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(file, f"these are not weights of {backbone.name}: {reason}") from None
    return _ImageEncoder(model)


def _open_clip(place: str) -> Any:
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:  # torchvision fails in this way where it is alien
        subject = f"backbone 'open_clip:{place}'"
        raise does_not_import(subject, "open_clip", "open_clip_torch", error) from None
    return open_clip
