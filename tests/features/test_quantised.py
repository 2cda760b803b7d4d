"""A network in 8 bits is made once, and never taken for another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streetgauge.features import Backbone
from streetgauge.features.engines import _openvino
from streetgauge.features.quantised import quantised

pytest.importorskip("openvino", reason="OpenVINO is not installed")
pytest.importorskip("nncf", reason="nncf is not installed")

RECORD = Backbone(
    name="timm:small/one", dimension=2, layer="", weights="", sha256="a", licence="", resize=4,
    crop=4, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
)  # fmt: skip


@pytest.fixture
def rounded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for what rounds; give the names of what was rounded."""
    names: list[str] = []

    def rounding(backbone: Backbone, model: Any) -> Any:
        names.append(backbone.name)
        return model

    monkeypatch.setattr("streetgauge.features.quantised._rounded", rounding)
    return names


def times(factor: float) -> Any:
    """Give a model that multiplies."""
    from openvino import Model, opset13

    given = opset13.parameter([2, 3], dtype=np.float32, name="given")
    weights = opset13.constant(np.full((2, 3), factor, np.float32))
    return Model([opset13.multiply(given, weights)], [given], "times")


def factor_of(cache: Path | None, record: Backbone = RECORD, factor: float = 3) -> float:
    openvino = _openvino()
    model = quantised(openvino, record, lambda: times(factor), cache)
    wanted = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(model, "CPU", wanted)(np.ones((2, 3), np.float32))[0]
    assert found.min() == found.max()
    return float(found[0, 0])


def test_it_is_rounded_once(rounded: list[str], tmp_path: Path) -> None:
    assert factor_of(None) == 3
    assert [factor_of(tmp_path) for _ in range(3)] == [3, 3, 3]
    assert len(rounded) == 2
    (directory,) = tmp_path.iterdir()
    names = sorted(file.name for file in directory.iterdir())
    assert names == ["model.bin", "model.xml", "sha256.json"]


@pytest.mark.parametrize("name", ["model.bin", "model.xml", "sha256.json"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone", "folder"])
def test_what_is_damaged_is_made_anew(
    rounded: list[str], tmp_path: Path, name: str, how: str
) -> None:
    assert factor_of(tmp_path) == 3
    (directory,) = tmp_path.iterdir()
    content = bytearray((directory / name).read_bytes())
    (directory / name).unlink()
    if how == "changed":
        content[len(content) // 2] ^= 1
        (directory / name).write_bytes(content)
    elif how == "cut":
        (directory / name).write_bytes(content[:-3])
    elif how == "folder":
        (directory / name).mkdir()
    assert [factor_of(tmp_path) for _ in range(2)] == [3, 3]
    assert len(rounded) == 2


@pytest.mark.parametrize(
    "other", [{"sha256": "b"}, {"exact": ("conv",)}, {"crop": 5}, {"name": "timm-small-one"}]
)
def test_another_network_is_not_taken_for_it(
    rounded: list[str], tmp_path: Path, other: dict[str, Any]
) -> None:
    assert factor_of(tmp_path) == 3
    assert factor_of(tmp_path, replace(RECORD, **other), factor=4) == 4
    assert factor_of(tmp_path) == 3
    assert len(rounded) == 2


def test_words_and_paths_make_no_other_network(rounded: list[str], tmp_path: Path) -> None:
    factor_of(tmp_path)
    factor_of(tmp_path, replace(RECORD, about="in other words", weights="file:x", licence="MIT"))
    assert len(rounded) == 1


def test_another_version_of_what_rounds_rounds_anew(
    rounded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factor_of(tmp_path)
    monkeypatch.setattr(
        "streetgauge.features.quantised.version_of", lambda package: "of the next year"
    )
    factor_of(tmp_path)
    assert len(rounded) == 2


def test_where_nothing_can_be_written_nothing_is_cached(rounded: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert [factor_of(tmp_path / "file") for _ in range(2)] == [3, 3]
    assert len(rounded) == 2
