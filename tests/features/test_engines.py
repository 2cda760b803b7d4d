"""OpenVINO, ONNX Runtime and PyTorch give the same features, from any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features import Backbone, engines, get_backbone, load_network
from streetgauge.features import network as networks
from streetgauge.features.architectures import EfficientNetLite
from streetgauge.features.engines import OnnxEngine, OpenvinoEngine, TorchEngine
from streetgauge.features.families import does_not_import
from streetgauge.features.known_images import known_images
from streetgauge.features.network import build_module

LITE0 = get_backbone("efficientnet-lite0")
SMALL = Backbone(
    name="small", dimension=5, layer="", weights="", sha256="", licence="", resize=16, crop=16,
    mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0), channels="BGR",
)  # fmt: skip


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.deeper = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        x = torch.relu(self.deeper(x)) + x
        return self.last(torch.flatten(nn.functional.max_pool2d(x, 2), 1))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tests run side by side
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def openvino() -> Any:
    return pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """The same network as `Net`, as an ONNX file made by hand, with what is needed beside it."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: value.numpy() for name, value in Net().state_dict().items()}
    pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "deeper.weight", "deeper.bias"], ["c"], **pads),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Add", ["d", "b"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "last.weight", "last.bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(
        'mean = [100, 110, 120]\nstd = [50, 60, 70]\nscale = 1\nchannels = "BGR"\n'
    )
    return tmp_path / "net.onnx"


def images(count: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    sizes = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(axis=1) / sizes


def test_all_engines_agree_to_six_digits_in_float32(openvino: Any, onnx_file: Path) -> None:
    looks = images(21)
    expected = TorchEngine(SMALL, Net())(looks)
    x = torch.from_numpy(looks).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (SMALL.mean, SMALL.std))
    by_hand = Net()(((x - mean) / std).flip(1)).detach().numpy()
    np.testing.assert_allclose(expected, by_hand, rtol=1e-5, atol=1e-6)
    for engine in (
        OpenvinoEngine(SMALL, Net()),
        OpenvinoEngine(SMALL, onnx_file, slice=4),
        OnnxEngine(SMALL, onnx_file),
    ):
        np.testing.assert_allclose(engine(looks), expected, rtol=1e-5, atol=1e-5)


def test_any_number_of_images_and_callers_gives_the_same_bits(openvino: Any) -> None:
    engine = OpenvinoEngine(SMALL, Net(), streams=2)
    looks = images(50)
    once = engine(looks)
    assert once.dtype == np.float32
    assert once.flags.c_contiguous
    counts = [1, 7, 8, 9, 16, 50]
    for count in counts:
        np.testing.assert_array_equal(engine(looks[:count]), once[:count])
    with ThreadPoolExecutor(6) as pool:  # twice as many as there are requests
        for count, found in zip(
            counts, pool.map(lambda n: engine(looks[::-1][:n]), counts), strict=True
        ):
            np.testing.assert_array_equal(found, once[::-1][:count])


def test_images_in_a_slice_change_no_bit(openvino: Any) -> None:
    looks, module = known_images(8, 224), build_module(LITE0)
    few = OpenvinoEngine(LITE0, module, slice=2)
    many = OpenvinoEngine(LITE0, module, slice=8)
    np.testing.assert_array_equal(few(looks), many(looks))


def test_networks_with_large_weights_get_more_images_at_a_time(openvino: Any) -> None:
    net = Net()
    assert OpenvinoEngine(SMALL, net).slice == engines.OPENVINO_SLICE
    net.wide = nn.Linear(2**13, 2**12)  # 33 million weights
    assert OpenvinoEngine(SMALL, net).slice == engines.LARGE_SLICE


class Failing:
    """A request whose work ends in an error, as often as asked."""

    def __init__(self, request: Any, times: int) -> None:
        self.request, self.times = request, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self.request, name)

    def wait(self) -> None:
        self.request.wait()
        self.times -= 1
        if self.times >= 0:
            raise RuntimeError("the network failed")


def test_after_a_failure_all_requests_can_be_used_again(openvino: Any) -> None:
    engine = OpenvinoEngine(SMALL, Net(), streams=2)
    looks = images(40)
    expected = engine(looks)
    count = engine._free.qsize()
    for _ in range(count):
        engine._free.put(Failing(engine._free.get(), times=1))
    failures = 0
    for _ in range(count + 1):
        try:
            np.testing.assert_array_equal(engine(looks), expected)
        except RuntimeError:
            failures += 1
        assert engine._free.qsize() == count
    assert failures >= 1
    with pytest.raises(RuntimeError, match="input tensor"):
        engine(images(4, side=17))  # a request that does not even begin
    assert engine._free.qsize() == count
    np.testing.assert_array_equal(engine(looks), expected)


def test_no_image_gives_no_features() -> None:
    network = networks.FrozenNetwork(SMALL, TorchEngine(SMALL, Net()))
    assert network.features(images(0)).shape == (0, 5)


def test_float32_is_float32_though_openvino_would_take_bfloat16(openvino: Any) -> None:
    network = load_network(LITE0, "cpu", "openvino")
    assert (network.engine, network.precision, network.device) == ("openvino", "float32", "cpu")
    assert network.cosine > 0.999999
    assert round(network.cosine, 6) == 1.0
    looks = known_images(4, 224)
    reference = TorchEngine(LITE0, build_module(LITE0))(looks)
    np.testing.assert_allclose(network.features(looks), reference, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(network.features(looks), network.features(looks))


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_bfloat16_retains_the_cosine_and_is_not_float32(engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    network = load_network(LITE0, "cpu", engine, "bfloat16")
    assert 0.9995 <= network.cosine < 0.9999999
    assert network.precision == "bfloat16"
    looks = known_images(3, 224, seed=1)
    reference = TorchEngine(LITE0, build_module(LITE0))(looks)
    found = cosines(network.features(looks), reference)
    assert network.cosine - 1e-6 <= found.min()  # it is the least of these and five more


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_layers_that_stay_exact_are_convolutions_of_the_network(variant: int) -> None:
    layers = dict(EfficientNetLite(variant).named_modules())
    exact = get_backbone(f"efficientnet-lite{variant}").exact
    assert len(set(exact)) == len(exact) > 10
    assert all(isinstance(layers[name], nn.Conv2d) for name in exact)
    blocks = [layers[name.rpartition(".")[0]] for name in exact if "." in name]
    assert not any(block.adds for block in blocks)  # those without a sum that would keep it


def test_the_layers_named_stay_in_float32_and_no_others(openvino: Any) -> None:
    wholly = OpenvinoEngine(SMALL, Net(), "bfloat16")
    partly = OpenvinoEngine(replace(SMALL, exact=("conv",)), Net(), "bfloat16")
    missed = OpenvinoEngine(replace(SMALL, exact=("con",)), Net(), "bfloat16")
    looks = images(16)
    reference = TorchEngine(SMALL, Net())(looks)
    off = [np.abs(each(looks) - reference).mean() for each in (wholly, partly, missed)]
    if off[0] < 1e-6:
        pytest.skip("this processor has no bfloat16")
    assert 0 < off[1] < 0.9 * off[0]
    assert off[1] < 0.9 * off[2]


def test_bfloat16_that_is_too_far_from_float32_is_refused() -> None:
    with pytest.raises(InputError, match=r"cosine to float32 is only 0.99.*use precision") as error:
        load_network(replace(LITE0, exact=()), "cpu", "torch", "bfloat16")
    assert "torch gives features of efficientnet-lite0" in str(error.value)


@pytest.mark.slow
def test_int8_is_stated_not_refused_and_needs_openvino(openvino: Any, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    record = replace(SMALL, crop=32)
    net = Net()
    net.last = nn.Linear(8 * 16 * 16, 5)
    engine = OpenvinoEngine(record, net, "int8")
    reference = TorchEngine(record, net)
    cosine = networks._cosine(record, engine, reference)
    assert 0.9 < cosine < 0.999999
    looks = images(9, 32)
    for _ in ("rounded", "cached"):
        again = OpenvinoEngine(record, net, "int8", cache=tmp_path)
        np.testing.assert_array_equal(engine(looks), again(looks))
    with pytest.raises(
        InputError, match="PyTorch has no int8 engine here; pip install openvino nncf"
    ):
        TorchEngine(record, net, precision="int8")


def test_openvino_reports_nothing_home() -> None:
    pytest.importorskip("openvino")
    code = (
        "import sys; from streetgauge.features.engines import import_openvino; import_openvino(); "
        "import openvino.tools.ovc.telemetry_utils as used; "
        "print(sys.modules['openvino_telemetry'], used.tm.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["None", "openvino.tools.ovc.telemetry_stub"]


def test_threads_never_take_the_first_look_at_an_openvino_tensor_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []
    inside: list[int] = []

    class Tensor:
        def __init__(self, *_: object) -> None: ...

        @property
        def data(self) -> None:
            inside.append(1)
            time.sleep(0.05)
            looks.append(len(inside))
            inside.pop()

    fake = SimpleNamespace(Tensor=Tensor, Type=SimpleNamespace(f32=0), Shape=list)
    monkeypatch.setitem(sys.modules, "openvino", fake)
    monkeypatch.setattr(engines, "has_openvino", lambda: True)
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(engines.import_openvino) for _ in range(4)]:
            assert each.result() is fake
    assert looks == [1] * 4


def test_onnx_runtime_reports_nothing_home(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    code = (
        "from pathlib import Path; from streetgauge.errors import InputError\n"
        "from streetgauge.features.families import session\n"
        "try: session(Path('none.onnx'))\n"
        "except InputError: pass"
    )
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME")}
    switches = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")  # any would silence it
    settings = {name: value for name, value in os.environ.items() if name not in switches}
    subprocess.run([sys.executable, "-c", code], env=settings | home, check=True)
    assert not list(tmp_path.rglob("*Microsoft*"))  # where it queues what it would send


class Slow:
    """An engine that takes as long as asked."""

    precision, device, batch = "float32", torch.device("cpu"), 8

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, looks: np.ndarray) -> np.ndarray:
        return np.zeros((len(looks), 5), dtype=np.float32)


@pytest.mark.parametrize(
    ("seconds", "picked"), [((1.0, 0.9), "first"), ((1.0, 0.7), "second"), ((0.5, 1.0), "first")]
)
def test_another_engine_is_picked_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], picked: str
) -> None:
    takes = dict(zip(("first", "second"), seconds, strict=True))
    monkeypatch.setattr(networks, "_trial", lambda _, engine: takes[engine.name])
    makers: dict[str, Callable[[], Any]] = {name: lambda n=name: Slow(n) for name in takes}
    assert networks._fastest(SMALL, makers).name == picked


def test_an_engine_that_cannot_compute_a_network_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot() -> Any:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(networks, "_trial", lambda *_: 1.0)
    picked = networks._fastest(SMALL, {"openvino": cannot, "torch": lambda: Slow("torch")})
    assert picked.name == "torch"


@pytest.mark.parametrize(
    ("device", "engine", "precision", "reason"),
    [
        ("cpu", "onnxruntime", "float32", "'onnxruntime': it does not compute efficientnet-lite0"),
        ("cuda", "openvino", "float32", "'openvino': it does not run on cuda"),
        ("cpu", "torch", "int8", "'torch': it does not compute efficientnet-lite0 in int8"),
        ("cpu", "tensorflow", "float32", "'tensorflow': it does not compute"),
    ],
)
def test_what_cannot_go_together_is_refused(
    device: str, engine: str, precision: Any, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        load_network(LITE0, device, engine, precision)


def test_without_openvino_torch_is_used_and_int8_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "has_openvino", lambda: False)
    assert load_network(LITE0, "cpu").engine == "torch"
    with pytest.raises(InputError, match=r"'int8': no engine here.*pip install openvino nncf"):
        load_network(LITE0, "cpu", precision="int8")


def test_threads_with_torch_give_the_same_bits() -> None:
    engine = TorchEngine(SMALL, Net())
    looks = images(16)
    with working_threads(2) as pool:
        first, *others = pool.map(engine, [looks] * 6)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_an_onnx_file_is_a_backbone(onnx_file: Path) -> None:
    record = get_backbone(f"onnx:{onnx_file}")
    assert record == get_backbone("onnx", weights=onnx_file)
    assert (record.name, record.dimension, record.crop) == ("onnx:net", 5, 16)
    assert (record.channels, record.scale, record.mean) == ("BGR", 1, (100, 110, 120))
    network = load_network(record)
    assert len(network.backbone.sha256) == 64
    expected = TorchEngine(SMALL, Net())(images(9))
    np.testing.assert_allclose(network.features(images(9)), expected, rtol=1e-5, atol=1e-5)
    assert load_network(record, engine="onnxruntime").engine == "onnxruntime"


def test_an_onnx_file_without_a_rule_or_of_another_shape_is_one_sentence(onnx_file: Path) -> None:
    toml = onnx_file.with_suffix(".toml")
    for content, reason in (
        ("mean = [1, 2]\nstd = [1, 1, 1]", "net.toml: mean"),
        ("mean = [1, 2, 3]\nstd = [1, 1, 0]", r"net.toml: std"),
        ("mean = [1, 2, 3]\nstd = [1, 1, 1]\nsize = 3", "net.toml: size"),
        ("mean", "net.toml: this is not TOML"),
        (None, "there is no net.toml next to it; write one with mean"),
    ):
        if content is None:
            toml.unlink()
        else:
            toml.write_text(content)
        with pytest.raises(InputError, match=reason) as error:
            get_backbone(f"onnx:{onnx_file}")
        assert "\n" not in str(error.value)
    onnx_file.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"net.onnx: ONNX Runtime cannot run it"):
        get_backbone(f"onnx:{onnx_file}")
    with pytest.raises(InputError, match="there is no file"):
        get_backbone("onnx:no-such.onnx")


@pytest.fixture
def timm() -> Any:
    """Import timm; torchvision's schemas are declared where torch has none of its operators."""
    if "torchvision" not in sys.modules:
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return pytest.importorskip("timm", reason="timm is not installed, or torchvision is alien")


def test_any_model_of_timm_is_a_backbone_by_its_name(timm: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model("resnet18", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    record = get_backbone("timm:resnet18", weights=tmp_path / "own.safetensors")
    assert (record.dimension, record.crop, record.scale) == (512, 224, 1 / 255)
    looks = known_images(2, 224)
    x = torch.from_numpy(looks / 255).permute(0, 3, 1, 2).float()
    x = (x - torch.tensor(record.mean).view(3, 1, 1)) / torch.tensor(record.std).view(3, 1, 1)
    with torch.inference_mode():
        model.reset_classifier(0)
        expected = model(x).numpy()
    network = load_network(record, "cpu", "torch")
    np.testing.assert_allclose(network.features(looks), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        get_backbone("timm:resnet_18")


def test_any_image_network_of_open_clip_is_a_backbone(timm: Any, tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("RN50").eval()
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    record = get_backbone("open_clip:RN50/openai", weights=tmp_path / "own.safetensors")
    assert (record.dimension, record.crop) == (1024, 224)
    network = load_network(record, "cpu", "torch")
    assert network.features(known_images(1, 224)).shape == (1, 1024)


@pytest.mark.parametrize("family", ["timm", "open_clip"])
def test_a_library_that_does_not_import_is_named(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, family, None)
    with pytest.raises(InputError, match=f"{family} does not import here: .*pip install {family}"):
        get_backbone(f"{family}:ViT-B-32/openai")


def test_a_torchvision_built_for_another_torch_is_what_is_named() -> None:
    alien = RuntimeError("operator torchvision::nms does not exist")
    message = str(does_not_import("backbone 'timm:resnet18'", "timm", "timm", alien))
    assert "timm is there: install the torchvision that was built for this torch" in message
    assert "pip install timm" not in message


def test_known_images_are_known_and_resemble_images() -> None:
    looks = known_images(6, 64)
    np.testing.assert_array_equal(looks, known_images(6, 64))
    assert (looks != known_images(6, 64, seed=1)).any()
    assert (looks.reshape(6, -1).std(axis=1) > 10).all()
    steps = np.abs(np.diff(looks.astype(int), axis=2)).mean(axis=(1, 2, 3))
    assert (steps < looks.reshape(6, -1).std(axis=1)).all()  # neighbours are alike


def test_parts_of_photographs_are_no_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    downwards = np.linspace(255, 0, 64).astype(np.uint8)[:, None, None]
    bright_above = Image.fromarray(np.tile(downwards, (1, 64, 3)))
    module = import_module("streetgauge.features.known_images")
    monkeypatch.setattr(module, "_photographs", lambda: (bright_above,))
    looks = known_images(8, 32, drawn=False).astype(float)
    assert (looks[:, :8].mean(axis=(1, 2, 3)) > looks[:, -8:].mean(axis=(1, 2, 3)) + 10).all()


def test_a_network_that_gives_no_numbers_is_refused_before_it_computes_images(
    openvino: Any, onnx_file: Path
) -> None:
    import onnx

    model = onnx.load(onnx_file)
    (bias,) = (one for one in model.graph.initializer if one.name == "last.bias")
    bias.raw_data = np.full(5, np.nan, dtype=np.float32).tobytes()
    onnx.save(model, onnx_file)
    record = get_backbone(f"onnx:{onnx_file}")
    with pytest.raises(InputError, match="the network gives numbers that are not finite of usual"):
        load_network(record, engine="openvino")


def test_weights_next_to_an_onnx_file_belong_to_what_it_is(onnx_file: Path) -> None:
    import onnx

    from streetgauge.features import resolve_checksum
    from streetgauge.io.files import companions, sha256_of

    record = get_backbone(f"onnx:{onnx_file}")
    assert resolve_checksum(record).sha256 == sha256_of(onnx_file)
    assert companions(onnx_file) == (onnx_file.with_suffix(".toml"),)
    onnx.save(
        onnx.load(onnx_file),
        onnx_file,
        save_as_external_data=True,
        location="net.weights",
        size_threshold=0,
    )
    weights = onnx_file.with_name("net.weights")
    assert companions(onnx_file) == (onnx_file.with_suffix(".toml"), weights)
    before, of_file = resolve_checksum(record).sha256, sha256_of(onnx_file)
    assert before != of_file
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    assert sha256_of(onnx_file) == of_file
    assert resolve_checksum(record).sha256 != before


@pytest.mark.parametrize("where", ["../secret.bin", "{folder}/secret.bin", "link.bin", "pipe"])
def test_an_onnx_file_opens_no_file_outside_its_folder(onnx_file: Path, where: str) -> None:
    """Weights may be in a file that the network names; it could be any."""
    import onnx

    from streetgauge.io.files import companions

    folder = onnx_file.parent / "of-a-stranger"
    folder.mkdir()
    name = folder / "net.onnx"
    name.with_suffix(".toml").write_text(onnx_file.with_suffix(".toml").read_text())
    how = {"save_as_external_data": True, "location": "near.bin", "size_threshold": 0}
    onnx.save(onnx.load(onnx_file), name, **how)
    weights = (folder / "near.bin").rename(onnx_file.parent / "secret.bin")
    (folder / "link.bin").symlink_to(weights)
    os.mkfifo(folder / "pipe")
    model = onnx.load(name, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = where.format(folder=onnx_file.parent)
    name.write_bytes(model.SerializeToString())
    assert weights not in companions(name)
    with pytest.raises(InputError, match=r"it has weights in|cannot run it") as caught:
        get_backbone(f"onnx:{name}")
    assert "\n" not in str(caught.value)
