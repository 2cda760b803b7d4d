"""A backbone at work: prepared images in, features out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from streetgauge.devices import choose_device, working_threads
from streetgauge.errors import InputError
from streetgauge.features.architectures import VGG16, EfficientNetLite, PlacesResNet, named_by_layer
from streetgauge.features.backbones import Backbone
from streetgauge.features.engines import (
    AppearanceEngine,
    Engine,
    OnnxEngine,
    OpenvinoEngine,
    Precision,
    TorchEngine,
    has_openvino,
    import_openvino,
)
from streetgauge.features.families import FAMILIES, OpenClip, Timm
from streetgauge.features.known_images import known_images
from streetgauge.features.network_cache import (
    cache_file,
    processor_of,
    read_cached,
    write_cached,
)
from streetgauge.features.segmentation import build_segmenter
from streetgauge.features.weights import (
    cache_directory,
    load_into,
    read_tensors,
    resolve_checksum,
    weights_file,
)
from streetgauge.progress import Progress, silent

# What bfloat16 has to retain of float32; less means that something is wrong with the engine.
LEAST_COSINE = 0.9995
# PyTorch has to be so many times as fast to be preferred: near a tie the same one is taken always.
_CLEARLY = 1.25
_COMPARED = 8  # images that engines are compared on


class FrozenNetwork:
    """A frozen network at work.

    Parameters
    ----------
    backbone : Backbone
        Which, with the whole sha256 of its weights.
    engine : Engine
        What computes it.
    cosine : float
        Least cosine, over some images, between its features and those in float32.

    Attributes
    ----------
    engine : {"torch", "openvino", "onnxruntime"}
        What computes it.
    precision : {"float32", "bfloat16", "int8"}
        What it is computed in.
    device : {"cpu", "cuda", "mps"}
        Where it runs.
    batch : int
        Images at a time that suit the engine.
    """

    def __init__(self, backbone: Backbone, engine: Engine, cosine: float = 1.0) -> None:
        self.backbone, self.cosine, self._engine = backbone, cosine, engine
        self.engine, self.precision, self.batch = engine.name, engine.precision, engine.batch
        self.device: str = engine.device.type

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features of prepared images; may be called from several threads at once.

        Parameters
        ----------
        images : array of uint8, [n, crop, crop, 3]
            As `prepare` gives them.

        Returns
        -------
        array of float32, [n, dimension]
            The same bits for the same batch on the same machine.
        """
        if not len(images):
            return np.zeros((0, self.backbone.dimension), dtype=np.float32)
        return self._engine(images)


def load_network(
    backbone: Backbone,
    device: str = "auto",
    engine: str = "auto",
    precision: Precision = "float32",
    *,
    progress: Progress = silent,
) -> FrozenNetwork:
    """Load a backbone's weights, once their sha256 is checked, into an engine.

    Parameters
    ----------
    backbone : Backbone
        Which.
    device : {"auto", "cpu", "cuda", "mps"}
        "auto" takes a GPU where there is one.
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        "auto" tries those that are installed for a moment. On a CPU it takes OpenVINO where it is
        installed, unless PyTorch is clearly faster; what a store was begun with should be given
        here to go on. Where OpenVINO is among them, what was found is cached.
    precision : {"float32", "bfloat16", "int8"}
        int8 needs OpenVINO and nncf.
    progress : Progress
        Reports a download.

    Returns
    -------
    FrozenNetwork
        With ``cosine``, how near its features are to PyTorch's in float32.

    Raises
    ------
    InputError
        If the device, the engine or the weights are not there, the weights are not the published
        ones, or bfloat16 is further from float32 than `LEAST_COSINE`.
    """
    where = choose_device("cpu" if engine in ("openvino", "onnxruntime") else device)
    if engine in ("openvino", "onnxruntime") and device not in ("auto", "cpu"):
        raise InputError(f"engine {engine!r}", f"it does not run on {device}", 'use device = "cpu"')
    record = resolve_checksum(backbone, progress)
    if record.architecture == "appearance":
        return FrozenNetwork(record, AppearanceEngine())
    if record.architecture == "segmentation":  # the likeliest class of a pixel is no product
        return FrozenNetwork(record, TorchEngine(record, build_module(record), where))
    module = cache(partial(build_module, record))
    makers = _makers(record, where.type, precision, module)
    if engine != "auto":
        if engine not in makers:
            raise InputError(
                f"engine {engine!r}",
                f"it does not compute {record.name} in {precision} on {where.type}",
                f"there {'is' if len(makers) == 1 else 'are'} {', '.join(makers)}",
            )
        makers = {engine: makers[engine]}
    if not makers:
        raise InputError(
            f"precision {precision!r}",
            f"no engine here computes {record.name} in it",
            "pip install openvino nncf",
        )
    file = _file_of_findings(record, list(makers), precision) if "openvino" in makers else None
    found = None if file is None else read_cached(file)
    if found is not None:
        name, cosine = json.loads(found)
        return FrozenNetwork(record, makers[name](), cosine)
    picked = _fastest(record, makers)
    is_exact = picked.precision == "float32" and picked.name in ("torch", "onnxruntime")
    cosine = 1.0 if is_exact else _cosine(record, picked, _reference(record, module))
    if precision != "int8" and not cosine >= LEAST_COSINE:
        raise InputError(
            f"precision {precision!r}",
            f"{picked.name} gives features of {record.name} whose cosine to float32 is only "
            f"{cosine:.5f}",
            'use precision = "float32"',
        )
    if file is not None:
        write_cached(file, json.dumps([picked.name, cosine]).encode())
    return FrozenNetwork(record, picked, cosine)


def _file_of_findings(record: Backbone, engines: list[str], precision: Precision) -> Path:
    """Name the cached file of which engine was picked on this processor, and of its cosine."""
    processor = processor_of(import_openvino().Core())
    how = [engines, precision, processor, _cores()]
    return cache_file(_cache_folder(), record, how, ".json")


def build_module(record: Backbone) -> nn.Module:
    """Make the module of a backbone, with its weights in it.

    Parameters
    ----------
    record : Backbone
        Which.

    Returns
    -------
    torch.nn.Module
        float32, [n, 3, crop, crop] -> [n, dimension].

    Raises
    ------
    InputError
        If the weights do not fit.
    """
    file = weights_file(record)
    family = FAMILIES.get(record.name.partition(":")[0])
    if isinstance(family, Timm | OpenClip):
        return family.build(record, file).eval()
    if record.architecture == "segmentation":
        return build_segmenter(record, file)
    module: Any
    tensors = read_tensors(file)
    if record.architecture == "vgg16":
        module, tensors = VGG16(relu=bool(record.relu)), named_by_layer(tensors)
    elif record.architecture == "places-resnet":
        module = PlacesResNet()
    else:
        module = EfficientNetLite(int(record.architecture[-1]))
    load_into(module, tensors, file)
    return module.folded() if isinstance(module, EfficientNetLite) else module.eval()


def _makers(
    record: Backbone, device: str, precision: Precision, module: Callable[[], nn.Module]
) -> dict[str, Callable[[], Engine]]:
    """Give the engines that can compute a backbone here, the preferred one first.

    Of the module PyTorch on a GPU or in bfloat16 takes one of its own, which it changes.
    """
    makers: dict[str, Callable[[], Engine]] = {}
    if record.architecture == "onnx":
        file = weights_file(record)
        if has_openvino():
            makers["openvino"] = partial(
                OpenvinoEngine, record, file, precision, _cores(), cache=_cache_folder()
            )
        if precision == "float32":
            makers["onnxruntime"] = partial(OnnxEngine, record, file)
        return makers
    if device == "cpu" and has_openvino():
        makers["openvino"] = partial(
            OpenvinoEngine, record, module, precision, _cores(), cache=_cache_folder()
        )
    if precision != "int8":
        changes = device != "cpu" or precision != "float32"
        own = partial(build_module, record) if changes else module
        makers["torch"] = lambda: TorchEngine(record, own(), device, precision)
    return makers


def _cache_folder() -> Path:
    return cache_directory() / "networks"


def _cores() -> int:
    with working_threads() as pool:
        return pool._max_workers


def _reference(record: Backbone, module: Callable[[], nn.Module]) -> Engine:
    """Give the engine that others are compared with."""
    if record.architecture == "onnx":
        return OnnxEngine(record, weights_file(record))
    return TorchEngine(record, module())


def _fastest(record: Backbone, makers: dict[str, Callable[[], Engine]]) -> Engine:
    """Try every engine for a moment; the first is taken unless another is clearly faster."""
    if len(makers) == 1:
        return next(iter(makers.values()))()
    best, least = None, np.inf
    for make in makers.values():
        try:
            engine = make()
            seconds = _trial(record, engine)
        except RuntimeError:  # of a library, for a network that it cannot compute
            continue
        if best is None or seconds * _CLEARLY < least:
            best, least = engine, seconds
    if best is None:
        raise InputError(record.name, "no engine here can compute it", 'use engine = "torch"')
    return best


def _trial(record: Backbone, engine: Engine) -> float:
    """Seconds that an engine takes for a few images on all cores, as in extraction."""
    images = known_images(2, record.crop)[[0, 1] * 4]
    with working_threads() as pool:
        cores = pool._max_workers
        seconds = []
        for _ in range(3):  # the first one warms it
            start = time.perf_counter()
            list(pool.map(engine, [images] * cores))
            seconds.append(time.perf_counter() - start)
    return min(seconds)


def _cosine(record: Backbone, engine: Engine, reference: Engine) -> float:
    """Least cosine between the features of two engines over known images."""
    images = known_images(_COMPARED, record.crop, seed=1)
    with working_threads() as pool:
        both = [pool.submit(each, images) for each in (engine, reference)]
        ours, theirs = (each.result().astype(np.float64) for each in both)
    if not np.isfinite(theirs).all():
        raise InputError(
            f"weights of {record.name}",
            "the network gives numbers that are not finite of usual images",
            "get the weights again",
        )
    sizes = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    same = (ours == theirs).all(axis=1)  # also where both are 0
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(same, 1.0, (ours * theirs).sum(axis=1) / sizes)
    return float(min(1.0, np.nan_to_num(cosines, nan=-1.0).min()))
