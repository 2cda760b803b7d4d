"""The original VGG16, from the array file that was made of it for TensorFlow, as safetensors.

Simonyan and Zisserman (2015), *Very deep convolutional networks for large-scale image recognition*,
published their weights for Caffe; ``vgg16.npy`` has the same numbers as ``{layer: [weights,
biases]}``. That file is a pickle, and a pickle can run code. Here it is read by a reader that knows
four names, which build plain arrays; a file that asks for any other name is refused, unread.

What is written, all float32:

- ``conv1_1.weight`` [out, in, 3, 3], ``conv1_1.bias`` [out] .. ``conv5_3``: in the file [3, 3, in,
  out]. The input of ``conv1_1`` is blue, green, red, as it is there;
- ``fc6.weight`` [4096, 512 * 7 * 7], ``fc6.bias`` [4096]: the columns are the last pooled image
  as [channel, row, column], which in the file is [row, column, channel].

``fc7`` and ``fc8`` are skipped: features are the values of ``fc6``.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from streetgauge.errors import InputError
from streetgauge.features.weights import cache_directory
from streetgauge.io.files import atomic_path, sha256_of

Floats = NDArray[np.float32]
Layers = dict[str, tuple[Floats, Floats]]

SIDE = 7  # of the last pooled image
_WIDTHS = (3, *(64,) * 2, *(128,) * 2, *(256,) * 3, *(512,) * 6)
_NAMES = [f"conv{block}_{i + 1}" for block, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(n)]
# Shapes of the weights as they are in the file.
VGG16: dict[str, tuple[int, ...]] = {
    name: (3, 3, *widths) for name, widths in zip(_NAMES, pairwise(_WIDTHS), strict=True)
} | {"fc6": (SIDE * SIDE * 512, 4096)}


def import_caffe(file: Path, out: Path) -> list[str]:
    """Convert ``vgg16.npy`` to safetensors.

    Parameters
    ----------
    file : Path
        The array file.
    out : Path
        The safetensors file to write.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the file is not of that kind, holds anything but numbers, or lacks a layer.
    """
    from safetensors.numpy import save_file

    layers = read_layers(file)
    tensors = convert_layers(layers, subject=file)
    # One entry: with several their order, and so the file's sha256, would differ between runs.
    with atomic_path(out) as temporary:
        save_file(tensors, temporary, {"format": "streetgauge-vgg16-caffe-bgr"})
    unused = sorted(layers.keys() - VGG16.keys())
    return [
        f"{len(tensors)} tensors of {len(VGG16)} layers: {out}, sha256 {sha256_of(out)[:12]}",
        *([f"skipped: {', '.join(unused)}"] if unused else []),
        f'use it: backbone = "vgg16-caffe-fc6", weights = "{out}" in [features]; or store it as '
        f"{cache_directory() / 'vgg16-caffe.safetensors'} for all studies",
    ]


def convert_layers(
    layers: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    subject: object = "weights",
) -> dict[str, Floats]:
    """Put weights into the order of PyTorch.

    Parameters
    ----------
    layers : mapping of str to pair of arrays
        Weights and biases; convolutions [height, width, in, out], ``fc6`` [height * width * in,
        out].
    shapes : mapping of str to tuple of int, optional
        The layers to convert and the shapes that their weights must have; those of VGG16 if not
        given.
    subject : object, optional
        Named in errors.

    Returns
    -------
    dict of array of float32
        ``<layer>.weight`` and ``<layer>.bias``; convolutions [out, in, height, width], ``fc6``
        [out, in * height * width].

    Raises
    ------
    InputError
        Naming the first layer that is missing, or has another shape.
    """
    tensors: dict[str, Floats] = {}
    for name, shape in (shapes or VGG16).items():
        if name not in layers:
            raise InputError(subject, f"layer {name!r} is missing", "use the weights of VGG16")
        weight, bias = layers[name]
        if weight.shape != shape or bias.shape != shape[-1:]:
            raise InputError(
                subject,
                f"layer {name!r} has shapes {weight.shape} and {bias.shape}, "
                f"not {shape} and {shape[-1:]}",
                "use the weights of VGG16",
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise InputError(
                subject, f"layer {name!r} has a number that is not finite", "get the file again"
            )
        if weight.ndim == 2:
            weight = weight.reshape(SIDE, SIDE, -1, shape[-1])
        moved = weight.transpose(3, 2, 0, 1)
        turned = moved if len(shape) == 4 else moved.reshape(shape[-1], -1)
        tensors[f"{name}.weight"] = np.ascontiguousarray(turned, np.float32)
        tensors[f"{name}.bias"] = np.ascontiguousarray(bias, np.float32)
    return tensors


def read_layers(file: Path) -> Layers:
    """Read ``{layer: [weights, biases]}`` from an array file, without running what it may ask for.

    Parameters
    ----------
    file : Path
        As NumPy writes a dictionary: an array of one object.

    Returns
    -------
    dict of str to pair of arrays of float
        Weights and biases as they are in the file, read-only.

    Raises
    ------
    InputError
        If it is not of that kind, or asks for anything but numbers.
    """
    try:
        with file.open("rb") as handle:
            np.lib.format.read_magic(handle)
            np.lib.format.read_array_header_1_0(handle)
            (layers,) = _Reader(handle).load().state[4]
        return {_text(name): (_floats(pair[0]), _floats(pair[1])) for name, pair in layers.items()}
    # Whatever a damaged or a hostile file can make the readers stumble over.
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError),
        *(MemoryError, OverflowError, RecursionError, ImportError, SyntaxError, TokenError),
    ):
        reason = (
            "this is not an array file with a dictionary of layers, each with weights and biases"
        )
        raise InputError(file, reason, "give vgg16.npy") from None


class _Unread:
    """What a pickle makes by one of the known names: unread, and without attributes to set."""

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Unpickler for which four names exist, and what they stand for is defined here."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="bytes")
        self._file = file.name

    def find_class(self, module: str, name: str) -> Any:
        known = f"{module}.{name}"
        if known not in _KNOWN:
            raise InputError(
                self._file,
                f"it asks for {known}, which is more than numbers, and was not read on",
                "get the file from a source that you trust",
            )
        return _Unread


_KNOWN = (
    *("numpy.ndarray", "numpy.dtype"),
    *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
    "_codecs.encode",  # by which Python 3 writes bytes for Python 2
)


def _floats(array: _Unread) -> NDArray[Any]:
    """Read an array of floating-point numbers."""
    _, shape, kind, by_column, content = array.state
    code, byte_order = _text(kind.arguments[0]), _text(kind.state[1])
    if code not in ("f2", "f4", "f8") or byte_order not in ("<", ">"):
        raise TypeError("weights are floating-point numbers")
    if isinstance(content, _Unread):
        content = content.arguments[0].encode("latin-1")
    values = np.frombuffer(content, byte_order + code)
    return values.reshape(shape, order="F" if by_column else "C")


def _text(value: Any) -> str:
    """Text as Python 2 (bytes) or Python 3 wrote it."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
