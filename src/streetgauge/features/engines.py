"""What computes a network: PyTorch, OpenVINO or ONNX Runtime; uint8 images in, float32 out.

An engine is a function of images [n, side, side, 3] that gives features [n, dimension], and may
be called by several threads at once. The same images give the same bits.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from importlib.util import find_spec
from math import prod
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Literal, Protocol
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone
from streetgauge.features.network_cache import compiled
from streetgauge.features.quantised import is_of, quantised
from streetgauge.imagery import appearance_of

Images = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Precision = Literal["float32", "bfloat16", "int8"]

# Images at a time on a CPU with torch. The largest activations of four take 19 MB: above 32 MB
# the C library gives memory back after every layer, and a third of the time goes into getting it
# again.
TORCH_SLICE = 4
# With OpenVINO, which does not give memory back: the fewer, the more of what a layer makes is near
# the core when the next one takes it. But large weights are fetched for every slice, so they want
# more images in it. The bits are the same. See benchmarks/backbones.py --engines.
OPENVINO_SLICE = 2
LARGE_SLICE, LARGE = 8, 2**25  # weights
# Slices a stream that are under way or wait for it.
QUEUE = 3
_FIRST_LOOK = Lock()


class Engine(Protocol):
    """A network that can be called."""

    name: str
    precision: Precision
    device: torch.device
    batch: int

    def __call__(self, images: Images) -> Features:
        """Features of prepared images."""


class Normalised(nn.Module):
    """A module behind its backbone's normalisation: uint8 [n, side, side, 3] in, float32 out."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype, self.scale = module, dtype, backbone.scale
        self.flips = backbone.channels == "BGR"
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Features of prepared images."""
        # [n, h, w, 3] seen as [n, 3, h, w] is already channels-last.
        x = (images.permute(0, 3, 1, 2).float() * self.scale - self.mean) / self.std
        if self.flips:
            x = x.flip(1).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.module(x.to(self.dtype)).float()
        return features


def _round_products(module: nn.Module, exact: Collection[str]) -> None:
    """Compute convolutions and products in bfloat16 but some, all else in float32."""

    def rounded(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.to(torch.bfloat16) for x in given)

    def back(layer: nn.Module, given: object, found: Tensor) -> Tensor:
        return found.float()

    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and name not in exact:
            layer.to(torch.bfloat16)
            layer.register_forward_pre_hook(rounded)
            layer.register_forward_hook(back)


class TorchEngine:
    """PyTorch on any device, channels-last; float32 is what all others are compared with.

    Parameters
    ----------
    backbone : Backbone
        How pixels are normalised.
    module : torch.nn.Module
        [n, 3, crop, crop] -> [n, dimension]. It is moved and, for bfloat16, converted.
    device : torch.device
        Where it runs.
    precision : {"float32", "bfloat16"}
        Of weights and activations.
    """

    name = "torch"

    def __init__(
        self,
        backbone: Backbone,
        module: nn.Module,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        if precision == "int8":
            raise InputError(
                "precision 'int8'", "PyTorch has no int8 engine here", "pip install openvino nncf"
            )
        self.precision: Precision = precision
        self.device = torch.device(device)
        self.batch = 64 if self.device.type == "cpu" else 256
        module = module.eval().requires_grad_(False)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        dtype = torch.float32
        if precision == "bfloat16":
            if backbone.exact:
                _round_products(module, backbone.exact)
            else:
                dtype = torch.bfloat16
        if dtype != torch.float32:
            module = module.to(dtype)
        self.module = Normalised(backbone, module, dtype).to(self.device)

    def __call__(self, images: Images) -> Features:
        """Features of prepared images."""
        cpu = self.device.type == "cpu"
        step = TORCH_SLICE if cpu else self.batch
        compute = self._on_cpu if cpu else self._on_gpu
        with torch.inference_mode():
            parts = [compute(images[i : i + step]) for i in range(0, len(images), step)]
        return np.concatenate(parts)

    def _on_cpu(self, images: Images) -> Features:
        found: Features = self.module(torch.from_numpy(np.array(images))).numpy()
        return found

    def _on_gpu(self, images: Images) -> Features:
        given = torch.from_numpy(np.array(images))
        if self.device.type == "cuda":
            given = given.pin_memory()
        # TF32 would round float32 to 10 bits, and cuDNN's fastest choices vary between runs.
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            found: Features = self.module(given.to(self.device, non_blocking=True)).cpu().numpy()
        return found


class AppearanceEngine:
    """What is measured and not trained: see `streetgauge.imagery.appearance_of`."""

    name, batch = "numpy", 32
    precision: Precision = "float32"
    device = torch.device("cpu")

    def __call__(self, images: Images) -> Features:
        """Measures of prepared images."""
        return appearance_of(images)


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report to Google Analytics."""
    if not has_openvino():
        raise InputError("engine 'openvino'", "it is not installed", "pip install openvino")
    # Where the package is "not there", OpenVINO and nncf take a stub of their own.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # The first look at a tensor's data sets up its bridge to NumPy. Two threads that do so at once
    # wait for each other for ever: one has the interpreter's lock, the other that of the bridge.
    with _FIRST_LOOK:
        _ = openvino.Tensor(openvino.Type.f32, openvino.Shape([1])).data
    return openvino


class OpenvinoEngine:
    """OpenVINO on the CPU, one stream a core: cores need not wait for each other.

    Parameters
    ----------
    backbone : Backbone
        How pixels are normalised.
    network : torch.nn.Module, Path or callable
        [n, 3, crop, crop] -> [n, dimension], an ONNX file of the same, or what gives the module if
        it is needed.
    precision : {"float32", "bfloat16", "int8"}
        OpenVINO takes bfloat16 by itself where the processor has it, so float32 is demanded. With
        int8, ranges are measured on photographs of `known_images`: the same everywhere.
    streams : int
        How many batches are computed side by side.
    slice : int, optional
        Images in each; a smaller rest is filled up. What suits the network if not given; the
        features are the same.
    cache : Path, optional
        Folder of compiled models, which are converted but once then; for published weights, which
        the record identifies by their sha256.
    """

    name = "openvino"
    device = torch.device("cpu")

    def __init__(
        self,
        backbone: Backbone,
        network: nn.Module | Path | Callable[[], nn.Module],
        precision: Precision = "float32",
        streams: int = 2,
        slice: int | None = None,
        cache: Path | None = None,
    ) -> None:
        self.precision: Precision = precision
        openvino = import_openvino()

        def make() -> Any:
            given = network if isinstance(network, nn.Module | Path) else network()
            model = _normalised(openvino, backbone, _converted(openvino, backbone, given, slice))
            if precision == "int8":
                return quantised(backbone, model)
            if precision == "bfloat16" and backbone.exact:
                return _partly_exact(openvino, model, backbone.exact)
            return model

        wanted = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "ENABLE_CPU_PINNING": False,  # the cores decode as well
        }
        model = compiled(openvino, backbone, make, wanted, cache, slice)
        self.slice: int = model.input(0).shape[0]
        self.batch = max(64, self.slice * streams)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(QUEUE * streams):  # some are filled while the others are worked on
            self._free.put(model.create_infer_request())

    def __call__(self, images: Images) -> Features:
        """Features of prepared images."""
        return np.concatenate(list(self._each(images)))

    def _each(self, images: Images) -> Iterator[Features]:
        """Features of every slice, in order."""
        waiting: deque[tuple[Any, int]] = deque()
        try:
            for start in range(0, len(images), self.slice):
                part = images[start : start + self.slice]
                while (request := self._take(block=not waiting)) is None:
                    yield self._finish(*waiting.popleft())
                waiting.append((request, len(part)))
                request.start_async({0: self._filled(part)}, share_inputs=False)
            while waiting:
                yield self._finish(*waiting.popleft())
        finally:  # of a failure: others need the requests
            for request, _ in waiting:
                with suppress(RuntimeError):
                    request.wait()
                self._free.put(request)

    def _filled(self, part: Images) -> Images:
        """Fill a slice up: the network takes no fewer."""
        short = self.slice - len(part)
        if not short:
            return np.ascontiguousarray(part)
        return np.concatenate([part, np.zeros((short, *part.shape[1:]), dtype=np.uint8)])

    def _take(self, block: bool) -> Any:
        """Give a request that nobody uses; None if there is none and it is not waited for."""
        try:
            return self._free.get(block)
        except Empty:
            return None

    def _finish(self, request: Any, count: int) -> Features:
        try:
            request.wait()
            return np.array(request.get_output_tensor(0).data[:count], dtype=np.float32)
        finally:
            self._free.put(request)


def _slice(weights: int) -> int:
    """Images that a network of so many weights is best given at a time."""
    return OPENVINO_SLICE if weights < LARGE else LARGE_SLICE


def _converted(
    openvino: Any, backbone: Backbone, network: nn.Module | Path, slice: int | None
) -> Any:
    """Make an OpenVINO model of a network, for so many images."""
    if isinstance(network, Path):
        model = openvino.Core().read_model(network)
        weights = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
        slice = slice or _slice(sum(prod(op.get_output_shape(0)) for op in weights))
        model.reshape([slice, 3, backbone.crop, backbone.crop])
        return model
    slice = slice or _slice(sum(p.numel() for p in network.parameters()))
    shape = [slice, 3, backbone.crop, backbone.crop]
    example = torch.zeros(shape)
    trace: Any = torch.jit.trace
    with torch.no_grad():  # traced here, because OpenVINO would trace it twice, as a check
        traced = trace(network.eval().float(), example, strict=False, check_trace=False)
        return openvino.convert_model(traced, example_input=example, input=[shape])


def _normalised(openvino: Any, backbone: Backbone, model: Any) -> Any:
    """Put the backbone's normalisation before a model."""
    scale = backbone.scale  # (pixels * scale - mean) / std
    before = openvino.preprocess.PrePostProcessor(model)
    before.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    before.input().model().set_layout(openvino.Layout("NCHW"))
    steps = before.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean([value / scale for value in backbone.mean])
    steps.scale([value / scale for value in backbone.std])
    if backbone.channels == "BGR":
        steps.convert_layout(openvino.Layout("NCHW"))
        steps.reverse_channels()
    return before.build()


def _partly_exact(openvino: Any, model: Any, exact: tuple[str, ...]) -> Any:
    """Demand float32 of some convolutions, of what follows on each, and of all sums.

    What a layer may be computed in can be written into OpenVINO's files, but not into its objects
    from Python; so the model goes through a file.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.xml"
        openvino.save_model(model, file, compress_to_fp16=False)
        tree = ElementTree.parse(file)  # we have just written it
        is_exact = True
        for layer in tree.getroot().iter("layer"):  # in the order of computing
            if "Convolution" in layer.attrib["type"]:
                is_exact = is_of(layer.attrib["name"], exact)
            if layer.attrib["type"] == "Add" or (
                is_exact and layer.attrib["type"] not in ("Const", "Parameter", "Result")
            ):
                about = layer.find("rt_info")
                about = ElementTree.SubElement(layer, "rt_info") if about is None else about
                ElementTree.SubElement(about, "attribute", name="precise", version="0")
        tree.write(file)
        # The weights are read when it is compiled, after the folder is gone: read them now.
        return openvino.Core().read_model(file.read_bytes(), file.with_suffix(".bin").read_bytes())


class OnnxEngine:
    """ONNX Runtime on the CPU in float32: what an ONNX file is compared with.

    Parameters
    ----------
    backbone : Backbone
        How pixels are normalised.
    file : Path
        The network, float32 [n, 3, crop, crop] -> [n, dimension].
    threads : int
        For one call; callers may come from several threads.
    """

    name = "onnxruntime"
    precision: Precision = "float32"
    device = torch.device("cpu")
    batch = 64

    def __init__(self, backbone: Backbone, file: Path, threads: int = 1) -> None:
        from streetgauge.features.families import session

        self._session: Any = session(file, threads)
        (given,) = self._session.get_inputs()
        self._input = given.name
        self._fixed = given.shape[0] if isinstance(given.shape[0], int) else None
        self._normalised: Callable[[Tensor], Tensor] = Normalised(
            backbone, nn.Identity(), torch.float32
        )

    def __call__(self, images: Images) -> Features:
        """Features of prepared images."""
        step = self._fixed or TORCH_SLICE
        parts = []
        for start in range(0, len(images), step):
            part = images[start : start + step]
            with torch.inference_mode():
                x = self._normalised(torch.from_numpy(np.array(part))).contiguous().numpy()
            if self._fixed:  # a rest is filled up
                x = np.pad(x, ((0, step - len(part)), (0, 0), (0, 0), (0, 0)))
            found = self._session.run(None, {self._input: x})[0]
            parts.append(np.asarray(found, dtype=np.float32)[: len(part)])
        return np.concatenate(parts)
