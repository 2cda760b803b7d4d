"""Families of backbones that a library or a file describes: ``timm:``, ``open_clip:``, ``onnx:``.

Each gives the record of a name, fetches its weights and builds its module.

``timm:NAME`` is any image model of timm, its features before the classifier.
``open_clip:NAME/WEIGHTS`` is the image encoder of a CLIP model, e.g. ``ViT-B-32/openai``.
``onnx:FILE`` is any network as an ONNX file, with a record in a TOML file next to it: ONNX does not
define how images are prepared, and features from images prepared otherwise look like features and
are not. So ``net.onnx`` needs ``net.toml``: ``mean`` and ``std`` (three numbers each, red first),
and where they differ from the usual ``scale``, ``channels``, ``resize``, ``interpolation``,
``layer``, ``licence``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from math import floor
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from streetgauge.errors import InputError, closest, summary
from streetgauge.features.backbones import Backbone
from streetgauge.io.files import digest, external_data, sha256_of
from streetgauge.io.hub import import_hub
from streetgauge.settings import broken_rule


def does_not_import(subject: str, module: str, package: str, error: Exception) -> InputError:
    """Name what would help: the package itself, or the torchvision that it stands on.

    Parameters
    ----------
    subject : str
        What wanted it.
    module, package : str
        What was imported, and the distribution that has it.
    error : Exception
        What importing it raised; a torchvision built for another torch raises RuntimeError.
    """
    absent = isinstance(error, ModuleNotFoundError) and error.name == module
    step = (
        f"pip install {package}"
        if absent
        else f"{package} is there: install the torchvision that was built for this torch"
    )
    reason = f"{module} does not import here: {summary(error)}"
    return InputError(subject, reason, step)


@contextmanager
def _of_this_model(backbone: Backbone, file: Path) -> Iterator[None]:
    """Say in one sentence that weights are those of another model."""
    try:
        yield
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        reason = summary(error)
        raise InputError(
            file, f"these are not weights of {backbone.name}: {reason}", "name its own weights"
        ) from None


class _Library:
    """A family whose models a library knows."""

    name: str
    package: str

    def _module(self, name: str) -> Any:
        try:
            return import_module(self.name)
        except (ImportError, RuntimeError) as error:  # torchvision's, where it is alien
            subject = f"backbone '{self.name}:{name}'"
            raise does_not_import(subject, self.name, self.package, error) from None

    def _record(
        self, name: str, rule: Mapping[str, Any], side: int, resize: int, **more: Any
    ) -> Backbone:
        return Backbone(
            name=f"{self.name}:{name}",
            weights=f"{self.name}:{name}",
            sha256="",
            resize=resize,
            crop=side,
            mean=tuple(map(float, rule["mean"])),  # type: ignore[arg-type]
            std=tuple(map(float, rule["std"])),  # type: ignore[arg-type]
            scale=1 / 255,
            interpolation=rule.get("interpolation", "bicubic"),
            architecture=self.name,
            **more,
        )

    def build(self, backbone: Backbone, file: Path) -> nn.Module:
        """Make the module with weights from a file, in the library's names.

        Raises
        ------
        InputError
            If they are the weights of another model.
        """
        with _of_this_model(backbone, file):
            return self._built(backbone.name.partition(":")[2], file)

    def _built(self, name: str, file: Path) -> nn.Module:
        raise NotImplementedError


class Timm(_Library):
    """Image models of timm."""

    name = package = "timm"

    def record(self, name: str) -> Backbone:
        """Make a record of how timm describes a model.

        Raises
        ------
        InputError
            If timm does not import here, or does not know the name.
        """
        timm = self._module(name)
        if not timm.is_model(name):
            step = closest(name, timm.list_models())
            raise InputError(f"backbone 'timm:{name}'", "timm does not know it", step)
        model = timm.create_model(name, pretrained=False, num_classes=0)
        rule = timm.data.resolve_model_data_config(model)
        side = int(rule["input_size"][-1])
        return self._record(
            name,
            rule,
            side,
            floor(side / float(rule["crop_pct"])),
            dimension=int(model.num_features),
            layer="before the classifier",
            licence=str(model.pretrained_cfg.get("license") or ""),
        )

    def fetch(self, name: str) -> Path:
        """Download a model's weights from the Hugging Face Hub, where timm has them.

        Raises
        ------
        InputError
            If there are none, or no network.
        """
        subject = f"weights of timm:{name}"
        about = self._module(name).get_pretrained_cfg(name)
        if about is None or not about.hf_hub_id:
            raise InputError(subject, "timm has none", "give them as `features.weights`")
        try:
            file = about.hf_hub_filename or "model.safetensors"
            return Path(import_hub().hf_hub_download(about.hf_hub_id, file))
        except (OSError, ValueError, ImportError) as error:
            raise InputError(
                subject,
                f"{about.hf_hub_id} could not be fetched ({type(error).__name__})",
                "give its model.safetensors as `features.weights`",
            ) from None

    def _built(self, name: str, file: Path) -> nn.Module:
        overlay = {"file": str(file), "hf_hub_id": None, "url": ""}
        made: nn.Module = self._module(name).create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0
        )
        return made


class _ImageEncoder(nn.Module):
    """What CLIP makes of an image, before it is compared with text."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual = model.visual

    def forward(self, x: Tensor) -> Tensor:
        """Features of normalised images."""
        features: Tensor = self.visual(x)
        return features


class OpenClip(_Library):
    """Image encoders of open_clip."""

    name, package = "open_clip", "open_clip_torch"

    def record(self, name: str) -> Backbone:
        """Make a record of how open_clip describes a model.

        Raises
        ------
        InputError
            If open_clip does not import here, or does not know the names.
        """
        open_clip = self._module(name)
        subject = f"backbone 'open_clip:{name}'"
        model_name, _, weights = name.partition("/")
        if model_name not in open_clip.list_models():
            step = closest(model_name, open_clip.list_models())
            raise InputError(subject, "open_clip does not know it", step)
        known = open_clip.list_pretrained_tags_by_model(model_name)
        if weights not in known:
            raise InputError(subject, f"there are no weights {weights!r}", closest(weights, known))
        model = open_clip.create_model(model_name)
        rule = {
            **open_clip.get_model_preprocess_cfg(model),
            **(open_clip.get_pretrained_cfg(model_name, weights) or {}),
        }
        size = rule["size"]
        side = int(size if isinstance(size, int) else size[0])
        return self._record(
            name,
            rule,
            side,
            side,
            dimension=int(model.visual.output_dim),
            layer="the projected image",
            licence=str(rule.get("license") or ""),
        )

    def fetch(self, name: str) -> Path:
        """Download weights from where open_clip knows them to be.

        Raises
        ------
        InputError
            If there is no network.
        """
        open_clip = self._module(name)
        model_name, _, weights = name.partition("/")
        try:
            import_hub()
            about = open_clip.get_pretrained_cfg(model_name, weights)
            return Path(open_clip.download_pretrained(about, prefer_hf_hub=True))
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise InputError(
                f"weights of open_clip:{name}",
                f"they could not be fetched ({type(error).__name__})",
                "give the file as `features.weights`",
            ) from None

    def texts(self, backbone: Backbone, file: Path, texts: Sequence[str]) -> tuple[Any, float]:
        """Encode texts as a model compares them with images.

        Returns
        -------
        array of float64, [n, dimension]
            Of length 1 each.
        float
            What the model multiplies similarities by before it makes probabilities of them.

        Raises
        ------
        InputError
            If they are the weights of another model.
        """
        name = backbone.name.partition(":")[2]
        tokens = self._module(name).get_tokenizer(name.partition("/")[0])(list(texts))
        with _of_this_model(backbone, file):
            model = self._whole(name, file)
        with torch.inference_mode():
            found = model.eval().encode_text(tokens).double()
            found = found / found.norm(dim=1, keepdim=True)
            return found.numpy(), float(model.logit_scale.exp())

    def _built(self, name: str, file: Path) -> nn.Module:
        return _ImageEncoder(self._whole(name, file))

    def _whole(self, name: str, file: Path) -> Any:
        model_name, _, weights = name.partition("/")
        return self._module(name).create_model(
            model_name, pretrained=str(file), force_quick_gelu=weights == "openai",
            weights_only=True,
        )  # fmt: skip


Three = tuple[float, float, float]
_Positive = Annotated[float, Field(gt=0)]


class OnnxRule(BaseModel):
    """What is in ``net.toml``."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mean: Three
    std: tuple[_Positive, _Positive, _Positive]
    scale: _Positive = 1 / 255
    channels: Literal["RGB", "BGR"] = "RGB"
    resize: Annotated[int, Field(ge=1)] | None = None
    interpolation: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    layer: str = "the file's one output"
    licence: str = ""


class Onnx:
    """Networks as ONNX files; they are computed as they are, so that none is built."""

    name = "onnx"

    def record(self, name: str) -> Backbone:
        """Make a record of an ONNX file and of the TOML file next to it.

        Raises
        ------
        InputError
            If one is missing or damaged, or the network is not one of square images to vectors.
        """
        file = Path(name)
        if not file.is_file():
            raise InputError(f"backbone 'onnx:{name}'", f"there is no file {file}", "name another")
        for weights in external_data(file):
            if Path(weights).name != weights:
                raise InputError(
                    file, f"it has weights in {weights!r}", "save them in one file, or next to it"
                )
        given, found = _ends(file)
        rule = read_rule(file)
        return Backbone(
            name=f"onnx:{file.stem}",
            dimension=found[1],
            layer=rule.layer,
            weights=f"file:{file}",
            sha256="",
            licence=rule.licence,
            resize=rule.resize or given[2],
            crop=given[2],
            mean=rule.mean,
            std=rule.std,
            scale=rule.scale,
            channels=rule.channels,
            interpolation=rule.interpolation,
            architecture="onnx",
        )

    def fetch(self, name: str) -> Path:
        """Give the file; it is never fetched."""
        return Path(name)

    def fingerprint(self, file: Path) -> str:
        """Give the sha256 of an ONNX file, or of it and the files with its weights."""
        elsewhere = [file.parent / name for name in external_data(file)]
        parts = [sha256_of(path) for path in (file, *elsewhere) if path.is_file()]
        return parts[0] if len(parts) == 1 else digest(parts)


def session(file: Path, threads: int = 1) -> Any:
    """Open an ONNX file with ONNX Runtime.

    Raises
    ------
    InputError
        If ONNX Runtime is not installed, or the file is not one that it can run.
    """
    # Its official builds would report each model's name and hashes to their makers.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"backbone 'onnx:{file}'", "onnxruntime is not installed", "pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base but this
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = summary(error)
        raise InputError(file, f"ONNX Runtime cannot run it: {reason}", "give another") from None


def _ends(file: Path) -> tuple[list[Any], list[Any]]:
    """Shapes of the one input and the one output: [n, 3, side, side] and [n, dimension]."""
    opened = session(file)
    inputs, outputs = opened.get_inputs(), opened.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            file,
            f"it has {len(inputs)} inputs and {len(outputs)} outputs",
            "export it with one of each: images in, features out",
        )
    given, found = inputs[0].shape, outputs[0].shape
    square = len(given) == 4 and given[1] == 3 and given[2] == given[3]
    if not square or not isinstance(given[2], int) or inputs[0].type != "tensor(float)":
        raise InputError(
            file,
            f"its input is {inputs[0].type} {given}",
            "export it for float32 images of a fixed size [n, 3, side, side]",
        )
    if len(found) != 2 or not isinstance(found[1], int):
        raise InputError(
            file, f"its output has the shape {found}", "export it with vectors [n, dimension]"
        )
    return given, found


def read_rule(file: Path) -> OnnxRule:
    """Read how images are prepared for an ONNX file, from the TOML file next to it."""
    toml = file.with_suffix(".toml")
    if not toml.is_file():
        raise InputError(
            file,
            f"it is not known how images are prepared for it: there is no {toml.name} next to it",
            "write one with mean = [..] and std = [..], three numbers each",
        )
    try:
        return OnnxRule.model_validate(tomllib.loads(toml.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(toml, f"this is not TOML: {error}", "correct it") from None
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"]))
        raise InputError(f"{toml}: {key}", *broken_rule(detail)) from None


FAMILIES = {family.name: family for family in (Timm(), OpenClip(), Onnx())}
