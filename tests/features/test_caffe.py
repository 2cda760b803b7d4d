from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.signal import correlate

from streetgauge.errors import InputError
from streetgauge.features import caffe
from streetgauge.features.weights import is_array_file

# VGG16 with a few channels: the same layers, the same layouts.
SMALL = {"conv1_1": (3, 3, 3, 4), "conv1_2": (3, 3, 4, 5), "fc6": (7 * 7 * 5, 6)}


def layers(seed: int = 0) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        name: [
            rng.normal(size=shape).astype(np.float32),
            rng.normal(size=shape[-1]).astype(np.float32),
        ]
        for name, shape in SMALL.items()
    }


def as_file(content: Any, file: Path, protocol: int = 4) -> Path:
    """An array of one object, as np.save writes it."""
    with file.open("wb") as handle:
        np.lib.format.write_array_header_1_0(
            handle, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        array = np.empty((), object)
        array[()] = content
        pickle.dump(array, handle, protocol=protocol)
    return file


def tensorflow(weights: dict[str, list[np.ndarray]], image: np.ndarray) -> np.ndarray:
    """Two convolutions and fc6 of an image [height, width, channel], in the file's layouts."""
    x = image.astype(np.float64)
    for name in ("conv1_1", "conv1_2"):
        weight, bias = weights[name]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        maps = [correlate(padded, weight[..., o], "valid")[..., 0] for o in range(len(bias))]
        x = np.maximum(np.stack(maps, -1) + bias, 0)
    weight, bias = weights["fc6"]
    return x.reshape(-1) @ weight + bias


def test_fc6_after_conversion_is_that_of_the_tensorflow_layout() -> None:
    weights = layers()
    tensors = {k: torch.from_numpy(v).double() for k, v in convert(weights).items()}
    image = np.random.default_rng(1).normal(size=(7, 7, 3))
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    for name in ("conv1_1", "conv1_2"):
        weight, bias = (tensors[f"{name}.{part}"] for part in ("weight", "bias"))
        x = torch.nn.functional.conv2d(x, weight, bias, padding=1).relu()
    ours = torch.nn.functional.linear(x.flatten(), tensors["fc6.weight"], tensors["fc6.bias"])
    np.testing.assert_allclose(ours.numpy(), tensorflow(weights, image), rtol=1e-10)


def convert(weights: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return caffe.convert_layers({k: (w, b) for k, (w, b) in weights.items()}, SMALL)


def test_numpy_s_own_file_is_read_back(tmp_path: Path) -> None:
    weights = layers()
    np.save(tmp_path / "vgg16.npy", np.array(weights, dtype=object), allow_pickle=True)
    assert is_array_file(tmp_path / "vgg16.npy")
    for protocol in (2, 3, 4):
        as_file(weights, tmp_path / f"{protocol}.npy", protocol)
    for file in tmp_path.glob("*.npy"):
        read = caffe.read_layers(file)
        assert list(read) == list(SMALL)
        for name, pair in weights.items():
            for ours, theirs in zip(read[name], pair, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_what_python_2_wrote_is_read_too(tmp_path: Path) -> None:
    """As Python 2 did: text is bytes, names are those of old NumPy, a Fortran-ordered array."""
    weight = np.arange(6, dtype=">f4").reshape(2, 3)
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": ()})

    def array(shape: bytes, kind: bytes, state: bytes, by_column: bytes = b"\x89") -> bytes:
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01bt\x85R"
        made = made.replace(b"t\x85R", b"tR")
        return made + b"(K\x01" + shape + kind + by_column + state + b"tb"

    def floats(order: bytes) -> bytes:
        return (
            b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xff"
            b"J\xff\xff\xff\xffK\x00tb"
        )

    content = np.asfortranarray(weight).tobytes("F")
    first = array(b"K\x02K\x03\x86", floats(b">"), b"U" + bytes([24]) + content, b"\x88")
    second = array(b"K\x03\x85", floats(b">"), b"U" + bytes([12]) + weight[0].tobytes())
    pair = b"]" + first + b"a" + second + b"a"
    objects = floats(b"|").replace(b"f4", b"O8")
    whole = b"\x80\x02" + array(b")", objects, b"]}U\x03fc6" + pair + b"sa") + b"."
    pickletools.dis(whole, io.StringIO())  # well-formed
    (tmp_path / "old.npy").write_bytes(out.getvalue() + whole)
    ours, bias = caffe.read_layers(tmp_path / "old.npy")["fc6"]
    np.testing.assert_array_equal(ours, weight)
    np.testing.assert_array_equal(bias, weight[0])


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_a_hostile_file_runs_nothing_and_is_refused_in_one_sentence(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    for protocol in (0, 2, 4):
        file = as_file(layers() | {"fc6": Hostile(mark)}, tmp_path / "bad.npy", protocol)
        with pytest.raises(InputError, match=r"bad.npy: it asks for .*, which is more than") as e:
            caffe.read_layers(file)
        assert "\n" not in str(e.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",  # a dotted name
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"cnumpy\ndtype\n(S'O'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(N}S'__code__'\nNs\x86b.",  # set an attribute
        b"P1\n.",
        b"\x80\x02\x82\x01.",  # an extension
        b"(",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_other_names_do_not_exist(code: bytes, tmp_path: Path) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": ()})
    (tmp_path / "bad.npy").write_bytes(out.getvalue() + code)
    with pytest.raises(InputError):
        caffe.read_layers(tmp_path / "bad.npy")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    weights = {"fc6": [np.zeros((2, 3), np.float32), np.zeros(3, np.float32)]}
    return as_file(weights, tmp_path_factory.mktemp("npy") / "whole.npy").read_bytes()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_is_one_sentence(data: st.DataObject, whole: bytes, tmp_path: Path) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "damaged.npy"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(InputError):  # nothing else may come out of it
        caffe.read_layers(file)


def test_a_wrong_layer_is_named() -> None:
    weights = layers()
    for change, reason in (
        ({"conv1_2": weights["conv1_1"]}, r"'conv1_2' has shapes \(3, 3, 3, 4\)"),
        ({"fc6": [weights["fc6"][0], weights["fc6"][1][:5]]}, r"'fc6' has shapes .* and \(5,\)"),
        ({"fc6": [weights["fc6"][0] * np.nan, weights["fc6"][1]]}, "'fc6' .* not finite"),
    ):
        with pytest.raises(InputError, match=reason):
            convert(weights | change)
    del weights["conv1_1"]
    with pytest.raises(InputError, match="layer 'conv1_1' is missing"):
        convert(weights)


def test_a_file_comes_out_with_what_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caffe, "VGG16", SMALL)
    weights = layers() | {"fc7": layers()["fc6"]}
    file = as_file(weights, tmp_path / "vgg16.npy")
    lines = caffe.import_caffe(file, tmp_path / "vgg16.safetensors")
    assert "skipped: fc7" in lines
    tensors = load_file(tmp_path / "vgg16.safetensors")
    assert sorted(tensors) == sorted(f"{n}.{p}" for n in SMALL for p in ("weight", "bias"))
    assert tensors["conv1_2.weight"].shape == (5, 4, 3, 3)
    assert tensors["fc6.weight"].shape == (6, 5 * 7 * 7)


def test_the_layers_are_those_of_vgg16() -> None:
    numbers = sum(np.prod(shape) + shape[-1] for shape in caffe.VGG16.values())
    # 138,357,544 in all, less fc7 and fc8 (Simonyan and Zisserman 2015, table 2: configuration D).
    assert numbers == 138_357_544 - (4096 * 4096 + 4096) - (4096 * 1000 + 1000)
