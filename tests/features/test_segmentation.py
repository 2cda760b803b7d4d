"""Shares of classes by a model of transformers, from safetensors and nothing else."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.errors import InputError
from streetgauge.features import concept_source, load_network
from streetgauge.features.segmentation import (
    ClassShares,
    build_segmenter,
    import_transformers,
    read_segmenter,
)
from streetgauge.settings import ConceptSettings

LABELS = ("sky", "tree", "wall", "tree")


@pytest.fixture(scope="module")
def transformers() -> Iterator[Any]:
    """Give transformers, without a torchvision that was built for another torch."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError):
            patch.setitem(sys.modules, "torchvision", None)
        yield pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture
def folder(transformers: Any, tmp_path: Path) -> Path:
    """Give a tiny SegFormer with random weights, as it would be saved."""
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(LABELS)),
        label2id={},
    )
    place = tmp_path / "tiny model"
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(place)
    rule = {"size": {"height": 64, "width": 64}, "image_mean": [0.1, 0.2, 0.3], "resample": 3}
    (place / "preprocessor_config.json").write_text(json.dumps(rule))
    return place


def change(file: Path, **more: Any) -> None:
    content = {**json.loads(file.read_text()), **more}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_the_rule_for_images_and_the_names_are_the_models(folder: Path) -> None:
    record, names = read_segmenter(folder)
    assert names == ("sky", "tree (1)", "wall", "tree (3)")  # two classes have one name
    assert (record.name, record.dimension) == ("segmentation:tiny-model", 4)
    assert (record.crop, record.squash, record.interpolation) == (64, True, "bicubic")
    assert record.mean == (0.1, 0.2, 0.3)
    assert record.std == (0.229, 0.224, 0.225)


def test_shares_are_those_of_the_likeliest_class_of_each_pixel(
    folder: Path, transformers: Any
) -> None:
    record, _ = read_segmenter(folder)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    shares = load_network(record, "cpu").features(images)
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (record.mean, record.std))
    x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        likeliest = model(pixel_values=x).logits.argmax(1).numpy()
    expected = [[(own == k).mean() for k in range(4)] for own in likeliest]
    np.testing.assert_allclose(shares, expected, atol=2 / 256)  # pixels that are nearly tied
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


def test_a_class_on_a_quarter_of_the_pixels_has_a_quarter() -> None:
    class Painted:
        def __call__(self, pixel_values: torch.Tensor) -> Any:
            logits = torch.zeros(1, 3, 4, 4)
            logits[:, 1] = 1
            logits[:, 2, :2, :2] = 2
            return type("Output", (), {"logits": logits})

    assert ClassShares(Painted(), 3)(torch.zeros(1, 3, 8, 8)).tolist() == [[0, 0.75, 0.25]]


def test_the_source_has_a_concept_for_each_class(folder: Path) -> None:
    settings = ConceptSettings(sources=("segmentation",), segmentation=folder)
    source = concept_source("segmentation", settings)
    assert source.concepts == tuple(
        f"segment {name}" for name in ("sky", "tree (1)", "wall", "tree (3)")
    )
    assert source.least == 0.01


@pytest.mark.parametrize("labels", [3, 5])
def test_labels_that_do_not_match_the_outputs_are_one_sentence(folder: Path, labels: int) -> None:
    change(folder / "config.json", id2label={str(i): f"class {i}" for i in range(labels)})
    record, _ = read_segmenter(folder)
    with pytest.raises(InputError, match=r"tiny model: its labels do not match its outputs") as no:
        build_segmenter(record, folder / "model.safetensors")
    assert "decode_head.classifier" in str(no.value)


def test_labels_with_a_gap_are_refused(folder: Path) -> None:
    change(folder / "config.json", id2label={"0": "sky", "2": "tree"})
    with pytest.raises(InputError, match="its labels do not match its outputs"):
        read_segmenter(folder)


def test_outputs_without_names_are_refused(folder: Path) -> None:
    change(folder / "config.json", id2label=None)
    with pytest.raises(InputError, match="its classes have no names"):
        read_segmenter(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModelForSemanticSegmentation": "evil.Evil"}),
        ("quantization_config", {"quant_method": "gptq"}),
        ("backbone_config", {"use_pretrained_backbone": True, "backbone": "somebody/else"}),
    ],
)
def test_code_of_its_own_and_weights_of_elsewhere_are_refused(
    folder: Path, key: str, value: object
) -> None:
    change(folder / "config.json", **{key: value})
    with pytest.raises(InputError, match="which is not allowed"):
        read_segmenter(folder)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('a pickle was opened')",))


def test_a_pickle_is_never_opened(folder: Path) -> None:
    record, _ = read_segmenter(folder)
    weights = folder / "model.safetensors"
    for content in (pickle.dumps(Hostile()), b"", weights.read_bytes()[:1000]):
        weights.write_bytes(content)
        with pytest.raises(InputError, match="it cannot be loaded"):
            build_segmenter(record, weights)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"its weights are not all in one model\.safetensors"):
        read_segmenter(folder)


def test_a_model_of_another_kind_is_one_sentence(folder: Path) -> None:
    record, _ = read_segmenter(folder)
    for kind in ("bert", "no-such-model"):
        change(folder / "config.json", model_type=kind)
        with pytest.raises(InputError, match="tiny model: it cannot be loaded"):
            build_segmenter(record, folder / "model.safetensors")


def test_transformers_that_does_not_import_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="concepts: transformers does not import here"):
        import_transformers("concepts")


def test_settings_name_the_model_of_the_source(tmp_path: Path) -> None:
    for more in ({"sources": ("segmentation",)}, {"segmentation": tmp_path}):
        with pytest.raises(ValueError, match="'segmentation' under 'sources' and the key"):
            ConceptSettings(**more)
    own = ConceptSettings(sources=("segmentation",), segmentation="hf://user/name@main")
    assert own.segmentation == "hf://user/name@main"
