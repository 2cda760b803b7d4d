"""Networks that name what each pixel shows: the share of an image that each class takes.

They are models of transformers for semantic segmentation, from a folder as ``save_pretrained``
writes it or from the Hugging Face Hub. Weights are read from safetensors only; a model that
brings code of its own, or names weights elsewhere, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streetgauge.errors import InputError, summary
from streetgauge.features.backbones import Backbone
from streetgauge.features.families import does_not_import
from streetgauge.io.hub import import_hub

WEIGHTS, CONFIG, PREPROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
ARCHITECTURE = "segmentation"
LARGEST = 2048  # pixels along a side
_STEP = "give another model of transformers for semantic segmentation"
# What would run code, read weights from elsewhere, or change what is computed.
_REFUSED = ("auto_map", "quantization_config", "use_pretrained_backbone")
_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ClassShares(nn.Module):
    """Shares of pixels by their likeliest class: [n, 3, side, side] -> [n, classes]."""

    def __init__(self, model: Any, classes: int) -> None:
        super().__init__()
        self.model, self.classes = model, classes

    def forward(self, x: Tensor) -> Tensor:
        """Count pixels of the network's own map, which is coarser than the image."""
        logits: Tensor = self.model(pixel_values=x).logits
        likeliest = nn.functional.one_hot(logits.argmax(dim=1), self.classes)
        return likeliest.float().mean(dim=(1, 2))


def read_segmenter(model: Path | str) -> tuple[Backbone, tuple[str, ...]]:
    """Read how a model wants its images, and what its classes are called.

    Parameters
    ----------
    model : Path or str
        A folder, or ``hf://user/name@revision``, which is fetched once.

    Returns
    -------
    Backbone, tuple of str
        Its record, and a name for each output.

    Raises
    ------
    InputError
        If it cannot be had, its classes have no names or its labels do not match its outputs, its
        weights are no safetensors, or it brings code.
    """
    if find_spec("transformers") is None:
        step = "pip install 'streetgauge[segmentation]'"
        raise InputError("concepts.segmentation", "transformers is not installed", step)
    folder = _fetched(model) if isinstance(model, str) else model
    config = _read_json(folder / CONFIG)
    for key in _keys(config):
        if key in _REFUSED:
            raise InputError(folder / CONFIG, f"it has {key!r}, which is not allowed", _STEP)
    if not (folder / WEIGHTS).is_file() or (folder / "adapter_config.json").exists():
        raise InputError(folder, f"its weights are not all in one {WEIGHTS}", _STEP)
    names = _labels(folder, config)
    rule = _read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).exists() else {}
    side = _side(folder / PREPROCESSOR, rule)
    is_plain = rule.get("do_normalize") is False
    mean, std = (
        neutral if is_plain else tuple(float(each) for each in rule.get(key) or usual)
        for key, neutral, usual in (
            ("image_mean", (0.0,) * 3, _MEAN),
            ("image_std", (1.0,) * 3, _STD),
        )
    )
    name = re.sub(
        r"[^\w.-]+", "-", model.removeprefix("hf://") if isinstance(model, str) else folder.name
    )
    record = Backbone(
        name=f"{ARCHITECTURE}:{name}",
        dimension=len(names),
        layer="shares of pixels by their likeliest class",
        weights=f"file:{folder / WEIGHTS}",
        sha256="",
        licence="",
        resize=side,
        crop=side,
        mean=mean,  # type: ignore[arg-type]
        std=std,  # type: ignore[arg-type]
        scale=float(rule.get("rescale_factor") or 1 / 255),
        interpolation=_FILTERS.get(rule.get("resample", 2), "bilinear"),  # type: ignore[arg-type]
        architecture=ARCHITECTURE,
        squash=True,
    )
    return record, names


def build_segmenter(record: Backbone, file: Path) -> nn.Module:
    """Make the module of a record, with its weights in it.

    Raises
    ------
    InputError
        If transformers does not import here, the weights do not fit, or the labels do not match
        the outputs.
    """
    transformers = import_transformers(record.name)
    try:
        with _quiet(transformers.utils.logging):
            model, about = transformers.AutoModelForSemanticSegmentation.from_pretrained(
                str(file.parent),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
            )
            shares = ClassShares(model.float().eval(), record.dimension)
            wrong = sorted(
                [*about["missing_keys"], *(each[0] for each in about["mismatched_keys"])]
            )
            if not wrong:
                side = record.crop
                with torch.inference_mode():
                    found = model(pixel_values=torch.zeros(1, 3, side, side)).logits.shape
    except Exception as error:  # of several libraries, and of any class of a model
        reason = f"it cannot be loaded ({summary(error)})"
        raise InputError(file.parent, reason, _STEP) from None
    if wrong:
        reason = f"its labels do not match its outputs, or weights are absent ({wrong[0]})"
        raise InputError(file.parent, reason, _STEP)
    if found[1] != record.dimension:
        reason = f"its {record.dimension} labels do not match its {found[1]} outputs"
        raise InputError(file.parent, reason, _STEP)
    return shares


def import_transformers(subject: str) -> Any:
    """Import transformers, for what is named.

    Raises
    ------
    InputError
        If it does not import here, as next to a torchvision that was built for another torch.
    """
    try:
        transformers: Any = import_module("transformers")
        transformers.PreTrainedModel  # noqa: B018  (imported now)
    except (ImportError, RuntimeError) as error:
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        raise does_not_import(subject, "transformers", "transformers", error) from None
    return transformers


def _fetched(address: str) -> Path:
    repository, _, revision = address.removeprefix("hf://").partition("@")
    try:
        folder = import_hub().snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[WEIGHTS, CONFIG, PREPROCESSOR],
            token=False,
        )
    except ImportError:
        step = "pip install 'streetgauge[segmentation]'"
        raise InputError(address, "huggingface_hub is not installed", step) from None
    except Exception as error:  # of the Hub, or of a connection: they are of several libraries
        reason = f"it could not be fetched ({type(error).__name__})"
        raise InputError(address, reason, "give a folder with the model") from None
    return Path(folder)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(file, "there is no such file", _STEP) from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(file, "this is not a JSON object", _STEP)
    return content


def _keys(content: object) -> Iterator[str]:
    """Give the keys that have a value, at any depth."""
    if isinstance(content, dict):
        yield from (key for key, value in content.items() if value)
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from _keys(each)


def _labels(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    labels = config.get("id2label")
    if not isinstance(labels, dict) or not labels:
        raise InputError(folder / CONFIG, "its classes have no names ('id2label')", _STEP)
    if set(labels) != {str(number) for number in range(len(labels))}:
        raise InputError(folder / CONFIG, "its labels do not match its outputs", _STEP)
    names = [str(labels[str(number)]).strip() for number in range(len(labels))]
    # Some names stand for several classes: those are distinguished by their number.
    return tuple(
        f"{name} ({number})" if names.count(name) > 1 or not name else name
        for number, name in enumerate(names)
    )


def _side(file: Path, rule: dict[str, Any]) -> int:
    size = rule.get("size", 512)
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or size.get("longest_edge")
    if not isinstance(size, int) or not 0 < size <= LARGEST:
        raise InputError(file, f"its size of images, {size!r}, cannot be used", _STEP)
    return size


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Let transformers write nothing to the screen while the block runs."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
