"""``onnx:FILE``: any network as an ONNX file, with a record in a TOML file beside it.

ONNX says nothing of how images are prepared, and features from images prepared otherwise look
like features and are not. So ``net.onnx`` needs ``net.toml``: ``mean`` and ``std`` (three numbers
each, red first), and where they differ from the usual ``scale``, ``channels``, ``resize``,
``interpolation``, ``layer``, ``licence``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone
from streetgauge.io.files import digest, external_data, sha256_of

__all__ = ["fetch", "fingerprint", "record", "session"]

Three = tuple[float, float, float]
_Positive = Annotated[float, Field(gt=0)]


class _Rule(BaseModel):
    """What ``net.toml`` says."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mean: Three
    std: tuple[_Positive, _Positive, _Positive]
    scale: _Positive = 1 / 255
    channels: Literal["RGB", "BGR"] = "RGB"
    resize: Annotated[int, Field(ge=1)] | None = None
    interpolation: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    layer: str = "the file's one output"
    licence: str = ""


def record(place: str) -> Backbone:
    """Make a record of an ONNX file and of the TOML file beside it.

    Raises
    ------
    InputError
        If one is missing or damaged, or the network is not one of square images to vectors.
    """
    file = Path(place)
    if not file.is_file():
        raise InputError(f"backbone 'onnx:{place}'", f"there is no file {file}", "name another")
    given, found = _ends(file)
    rule = _rule(file)
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


def fingerprint(file: Path) -> str:
    """Give the sha256 of an ONNX file, or of it and the files with its weights."""
    elsewhere = [file.parent / name for name in external_data(file)]
    parts = [sha256_of(path) for path in (file, *elsewhere) if path.is_file()]
    return parts[0] if len(parts) == 1 else digest(parts)


def fetch(place: str) -> Path:
    """Give the file; it is never fetched."""
    return Path(place)


def session(file: Path, threads: int = 1) -> Any:
    """Open an ONNX file with ONNX Runtime.

    Raises
    ------
    InputError
        If ONNX Runtime is not installed, or the file is not one that it can run.
    """
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
        reason = str(error).partition("\n")[0]
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


def _rule(file: Path) -> _Rule:
    beside = file.with_suffix(".toml")
    if not beside.is_file():
        raise InputError(
            file,
            f"nothing says how images are prepared for it: there is no {beside.name} beside it",
            "write one with mean = [..] and std = [..], three numbers each",
        )
    try:
        return _Rule.model_validate(tomllib.loads(beside.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(beside, f"this is no TOML: {error}", "mend it") from None
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"]))
        raise InputError(f"{beside}: {key}", detail["msg"].lower(), "mend it") from None
