"""The registry of backbones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from streetgauge.errors import InputError
from streetgauge.features import BACKBONES, Backbone, get_backbone
from streetgauge.features.weights import load_into, read_tensors, resolve_checksum, weights_file
from streetgauge.io.files import sha256_of


def test_a_backbone_is_found_by_its_name_and_cannot_be_changed() -> None:
    backbone = get_backbone("efficientnet-lite0")
    assert (backbone.dimension, backbone.crop, backbone.licence) == (1280, 224, "Apache-2.0")
    with pytest.raises(FrozenInstanceError):
        backbone.crop = 256  # type: ignore[misc]


def test_an_unknown_backbone_names_the_closest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'efficientnet-lite.'"):
        get_backbone("efficientnet_lite")


@pytest.mark.parametrize("name", [name for name in BACKBONES if "lite" in name])
def test_the_weights_are_in_their_package_and_are_the_published_ones(name: str) -> None:
    backbone = get_backbone(name)
    assert sha256_of(weights_file(backbone)) == backbone.sha256


def test_a_package_that_is_not_there_is_named() -> None:
    absent = replace(get_backbone("efficientnet-lite0"), weights="package:no_such_package/a.pth")
    with pytest.raises(InputError, match="install the package no-such-package"):
        weights_file(absent)


def test_names_that_need_no_torch_do_not_import_it() -> None:
    code = (
        "import sys; from streetgauge.features import FeatureStore, get_backbone, prepare; "
        "from streetgauge.imagery import find_views, read_image; "
        "print(sorted({'torch', 'scipy', 'geopandas'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_record_defines_how_the_paper_s_network_sees_an_image() -> None:
    caffe = get_backbone("vgg16-caffe-fc6")
    assert (caffe.resize, caffe.crop, caffe.channels, caffe.scale) == (224, 224, "BGR", 1)
    assert caffe.mean == (123.68, 116.779, 103.939)  # red first, as for all records
    assert caffe.relu is False
    ours = get_backbone("vgg16-torchvision-fc6")
    assert (ours.resize, ours.crop, ours.channels, ours.scale) == (256, 224, "RGB", 1 / 255)


def test_features_cut_at_zero_have_another_name_so_that_they_are_never_taken_for_the_others() -> (
    None
):
    cut = get_backbone("vgg16-caffe-fc6", relu=True)
    assert cut.name == "vgg16-caffe-fc6-relu"
    assert cut == get_backbone("vgg16-caffe-fc6-relu")
    assert cut.layer != get_backbone("vgg16-caffe-fc6").layer
    assert get_backbone("vgg16-caffe-fc6-relu", relu=False) == get_backbone("vgg16-caffe-fc6")
    assert get_backbone("vgg16-caffe-fc6", relu=False) == get_backbone("vgg16-caffe-fc6")
    with pytest.raises(InputError, match="'efficientnet-lite0' does not have this option"):
        get_backbone("efficientnet-lite0", relu=True)


def test_own_weights_have_their_own_sha256_and_no_known_licence(tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").write_bytes(b"content")
    own = get_backbone("efficientnet-lite0", weights=tmp_path / "own.safetensors")
    assert (own.sha256, own.licence) == ("", "")
    assert resolve_checksum(own).sha256 == sha256(b"content").hexdigest()


def test_weights_that_nobody_may_give_are_asked_for_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREETGAUGE_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"import-weights vgg16.npy --out .*vgg16-caffe") as error:
        resolve_checksum(get_backbone("vgg16-caffe-fc6"))
    assert str(tmp_path / "vgg16-caffe.safetensors") in str(error.value)
    (tmp_path / "vgg16-caffe.safetensors").write_bytes(b"content")
    assert (
        resolve_checksum(get_backbone("vgg16-caffe-fc6")).sha256 == sha256(b"content").hexdigest()
    )
    gone = get_backbone("vgg16-caffe-fc6", weights=tmp_path / "gone.safetensors")
    with pytest.raises(InputError, match=r"there is no file .*gone.safetensors"):
        resolve_checksum(gone)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class _Broken(_Silent):
    """Says how much is to come, and breaks off before."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"content")


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREETGAUGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("streetgauge.io.addresses._allowed", {"127.0.0.1"})
    return tmp_path / "cache"


def at(address: str, content: bytes = b"content") -> Backbone:
    known = sha256(content).hexdigest()[:8]  # as in torchvision's names
    return replace(get_backbone("vgg16-torchvision-fc6"), weights=f"url:{address}", sha256=known)


def test_weights_are_downloaded_once_and_their_sha256_completed(
    cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.pth").write_bytes(b"content")
    seen: list[int] = []

    @contextmanager
    def progress(_: str, total: int, unit: str) -> Iterator[Any]:
        assert (total, unit) == (7, "bytes")
        yield seen.append

    with serving(partial(_Silent, directory=tmp_path)) as address:
        record = at(f"{address}/a.pth")
        assert resolve_checksum(record, progress).sha256 == sha256(b"content").hexdigest()
    assert sum(seen) == 7
    assert [file.name for file in cache.iterdir()] == ["a.pth"]
    resolve_checksum(record)  # the server is gone


def test_a_download_that_fails_leaves_nothing_and_names_which_file_to_put_where(
    cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.pth").write_bytes(b"other")
    with serving(partial(_Silent, directory=tmp_path)) as address:
        with pytest.raises(InputError, match="has sha256 d9298a10d1b0, not ed7002b4"):
            resolve_checksum(at(f"{address}/a.pth"))
        with pytest.raises(InputError, match=r"b.pth could not be fetched .*put http.*b.pth as "):
            resolve_checksum(at(f"{address}/b.pth"))
    with serving(_Broken) as address, pytest.raises(InputError, match="could not be fetched"):
        resolve_checksum(at(f"{address}/a.pth"))
    with pytest.raises(InputError, match=r"could not be fetched \(Connection refused\)") as error:
        resolve_checksum(at(f"{address}/a.pth"))
    assert str(cache / "a.pth") in str(error.value)
    assert "\n" not in str(error.value)
    assert [*cache.iterdir()] == []


def test_what_pytorch_has_downloaded_already_is_used(cache: Path, tmp_path: Path) -> None:
    directory = tmp_path / "torch" / "hub" / "checkpoints"
    directory.mkdir(parents=True)
    (directory / "a.pth").write_bytes(b"content")
    assert weights_file(at("http://127.0.0.1:9/a.pth")) == directory / "a.pth"
    (directory / "a.pth").write_bytes(b"other")
    with pytest.raises(InputError, match=r"a.pth: these are not the weights of vgg16-torchvision"):
        resolve_checksum(at("http://127.0.0.1:9/a.pth"))


def test_weights_that_do_not_fit_are_one_sentence_about_the_first_tensor(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    right = dict(module.state_dict())
    for change, reason in (
        ({"0.weight": torch.zeros(2, 4)}, r"'0.weight' has the shape \(2, 4\), not \(2, 3\)"),
        ({"0.bias": torch.full((2,), torch.nan)}, "'0.bias' has a number that is not finite"),
        ({"0.bias": None}, "'0.bias' is missing"),
    ):
        wrong = {k: v for k, v in (right | change).items() if v is not None}
        with pytest.raises(InputError, match=rf"own: tensor {reason}"):
            load_into(module, wrong, "own")
    weight = torch.arange(6.0).reshape(2, 3)
    load_into(module, right | {"0.weight": weight.half(), "more": weight}, "own")
    assert torch.equal(module[0].weight, weight)


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_files_that_are_no_weights_are_one_sentence_and_run_nothing(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "right.safetensors")
    torch.save({"a": torch.ones(2)}, tmp_path / "right.pth")
    for name in ("right.safetensors", "right.pth"):
        assert read_tensors(tmp_path / name)["a"].tolist() == [1, 1]
    torch.save({"a": Hostile(tmp_path / "it-ran")}, tmp_path / "hostile.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": 1}, tmp_path / "number.pth")
    (tmp_path / "short.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "vgg16.npy").write_bytes(b"\x93NUMPY")
    for name, reason in (
        ("hostile.pth", "more than tensors"), ("list.pth", "no named tensors"),
        ("number.pth", "'a' is not a tensor"), ("short.safetensors", "damaged"),
        ("text.pth", "damaged"), ("vgg16.npy", "import-weights"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=rf"{name}: .*{reason}") as error:
            read_tensors(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "it-ran").exists()
