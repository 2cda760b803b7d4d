"""What is compiled or measured of a network is made once, and never taken for another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streetgauge.features import Backbone, get_backbone, load_network
from streetgauge.features import network as networks
from streetgauge.features.engines import import_openvino
from streetgauge.features.known_images import known_images
from streetgauge.features.network_cache import compiled, read_cached, write_cached

pytest.importorskip("openvino", reason="OpenVINO is not installed")

RECORD = Backbone(
    name="timm:small/one", dimension=2, layer="", weights="", sha256="a", licence="", resize=4,
    crop=4, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
)  # fmt: skip
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


class Times:
    """Makes models that multiply; knows how many it has made."""

    made = 0

    def model(self, factor: float) -> Any:
        from openvino import Model, opset13

        self.made += 1
        given = opset13.parameter([2, 3], dtype=np.float32, name="given")
        weights = opset13.constant(np.full((2, 3), factor, np.float32))
        return Model([opset13.multiply(given, weights)], [given], "times")

    def factor(
        self,
        cache: Path | None,
        record: Backbone = RECORD,
        factor: float = 3,
        wanted: dict[str, Any] = FLOAT32,
        slice: int | None = None,
    ) -> float:
        model = compiled(
            import_openvino(), record, lambda: self.model(factor), wanted, cache, slice
        )
        found = model(np.ones((2, 3), np.float32))[0]
        assert found.min() == found.max()
        return float(found[0, 0])


@pytest.fixture
def times() -> Times:
    return Times()


def test_a_model_is_compiled_once(times: Times, tmp_path: Path) -> None:
    assert times.factor(None) == 3
    assert [times.factor(tmp_path) for _ in range(3)] == [3, 3, 3]
    assert times.made == 2
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("timm-small-one-")


@pytest.mark.parametrize("how", ["changed", "cut", "empty", "gone", "folder"])
def test_what_is_damaged_is_made_anew(times: Times, tmp_path: Path, how: str) -> None:
    assert times.factor(tmp_path) == 3
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    file.unlink()
    if how == "changed":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(content[:-3])
    elif how == "empty":
        file.touch()
    elif how == "folder":
        file.mkdir()
    assert [times.factor(tmp_path) for _ in range(2)] == [3, 3]
    assert times.made == (3 if how == "folder" else 2)


def test_what_openvino_cannot_read_is_made_anew(times: Times, tmp_path: Path) -> None:
    times.factor(tmp_path)
    (file,) = tmp_path.iterdir()
    write_cached(file, b"whole, but no model")
    assert [times.factor(tmp_path) for _ in range(2)] == [3, 3]
    assert times.made == 2


@pytest.mark.parametrize(
    "other",
    [
        {"record": replace(RECORD, sha256="b")},
        {"record": replace(RECORD, exact=("conv",))},
        {"record": replace(RECORD, crop=5)},
        {"record": replace(RECORD, name="timm-small-one")},
        {"wanted": {"INFERENCE_PRECISION_HINT": "bf16"}},
        {"wanted": FLOAT32 | {"NUM_STREAMS": 1}},
        {"slice": 8},
    ],
    ids=["weights", "exact layers", "size", "name", "precision", "streams", "slice"],
)
def test_another_model_is_not_taken_for_it(
    times: Times, tmp_path: Path, other: dict[str, Any]
) -> None:
    assert times.factor(tmp_path) == 3
    assert times.factor(tmp_path, factor=4, **other) == 4
    assert times.factor(tmp_path) == 3
    assert times.made == 2


def test_words_and_paths_make_no_other_model(times: Times, tmp_path: Path) -> None:
    times.factor(tmp_path)
    times.factor(tmp_path, replace(RECORD, about="in other words", weights="file:x", licence="MIT"))
    assert times.made == 1


@pytest.mark.parametrize(
    ("function", "gives"), [("version_of", "of the next year"), ("processor_of", ["another"])]
)
def test_other_versions_and_processors_compile_anew(
    times: Times, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, gives: object
) -> None:
    times.factor(tmp_path)
    monkeypatch.setattr(f"streetgauge.features.network_cache.{function}", lambda _: gives)
    times.factor(tmp_path)
    assert times.made == 2


def test_where_nothing_can_be_written_nothing_is_cached(times: Times, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert [times.factor(tmp_path / "file") for _ in range(2)] == [3, 3]
    assert times.made == 2


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREETGAUGE_CACHE", str(tmp_path))
    return tmp_path / "networks"


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def forbidden(name: str) -> Callable[..., None]:
        return lambda *_: pytest.fail(f"called {name}")

    for name in names:
        monkeypatch.setattr(networks, name, forbidden(name))


def test_a_network_that_was_loaded_once_is_neither_built_nor_tried_again(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = known_images(3, 224)
    first = load_network(get_backbone("efficientnet-lite0"), "cpu", "openvino", "bfloat16")
    forbid(monkeypatch, "build_module", "_trial", "_cosine")
    again = load_network(get_backbone("efficientnet-lite0"), "cpu", "openvino", "bfloat16")
    assert (again.engine, again.precision) == ("openvino", "bfloat16")
    assert again.cosine == first.cosine < 1
    np.testing.assert_array_equal(again.features(looks), first.features(looks))


def test_the_engine_that_was_picked_stays_picked(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite0 = get_backbone("efficientnet-lite0")
    takes = {"openvino": 1.0, "torch": 0.5}
    monkeypatch.setattr(networks, "_trial", lambda _, engine: takes[engine.name])
    assert load_network(lite0, "cpu").engine == "torch"
    takes["openvino"] = 0.1
    assert load_network(lite0, "cpu").engine == "torch"
    (findings,) = empty_cache.glob("*.json")
    content = read_cached(findings)
    assert content == b'["torch", 1.0]'
    findings.write_bytes(findings.read_bytes()[:-1])
    assert load_network(lite0, "cpu").engine == "openvino"
