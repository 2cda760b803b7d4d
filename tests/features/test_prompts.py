"""Images are compared with texts by a CLIP model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from streetgauge.errors import InputError
from streetgauge.features import ConceptSource, concept_source, load_network
from streetgauge.settings import ConceptSettings

PROMPTS = {"leafy": ("a leafy street",), "safe": ("a safe street", "a dangerous street")}


def settings(clip: str = "tiny/own", **more: Any) -> ConceptSettings:
    return ConceptSettings(sources=("clip",), clip=clip, prompts={**PROMPTS, **more})


class Clip(nn.Module):
    """What open_clip's models have: colours as images, and texts that stand for colours."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.visual.output_dim = 3
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.float()


COLOURS = {
    "a leafy street": (0, 2, 0),
    "a safe street": (3, 0, 0),
    "a dangerous street": (0, 0, 1),
}


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Give a module with the functions of open_clip that are used."""
    (tmp_path / "weights").write_bytes(b"any")

    def create_model(name: str, pretrained: str | None = None, **more: Any) -> Clip:
        assert pretrained is None or more["weights_only"]
        return Clip()

    module = SimpleNamespace(
        __spec__=None,
        list_models=lambda: ["tiny"],
        list_pretrained_tags_by_model=lambda name: ["own"],
        create_model=create_model,
        get_model_preprocess_cfg=lambda model: {
            "size": (8, 8),
            "mean": (0, 0, 0),
            "std": (1, 1, 1),
            "interpolation": "bicubic",
        },
        get_pretrained_cfg=lambda name, weights: {},
        download_pretrained=lambda about, prefer_hf_hub: str(tmp_path / "weights"),
        get_tokenizer=lambda name: lambda texts: torch.tensor([COLOURS[text] for text in texts]),
    )
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return module


def paint(*colours: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    return np.array(colours, np.uint8)[:, None, None] * np.ones((1, 8, 8, 1), np.uint8)


def of_images(source: ConceptSource, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    network = load_network(source.backbone, "cpu", "torch")
    return source.read(network.features(images).astype(np.float64))


def test_a_prompt_is_a_cosine_and_opposed_prompts_are_a_probability(open_clip: Any) -> None:
    source = concept_source("clip", settings())
    assert source.concepts == ("prompt leafy", "prompt safe")
    found = of_images(source, paint((0, 200, 0), (200, 0, 0), (0, 0, 9), (90, 0, 90), (0, 0, 0)))
    sure = 1 / (1 + np.exp(-10.0))
    expected = [[1, 0.5], [0, sure], [0, 1 - sure], [0, 0.5], [0, 0.5]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_prompts_of_which_none_opposes_another_do_not_matter_to_each_other(open_clip: Any) -> None:
    images = paint((10, 200, 3), (1, 2, 3))
    one = of_images(concept_source("clip", settings()), images)
    other = of_images(concept_source("clip", settings(more=("a leafy street",))), images)
    np.testing.assert_array_equal(one, other[:, :2])


def test_settings_give_prompts_and_the_source_together() -> None:
    for more in ({"sources": ("clip",)}, {"prompts": {"a": ("b",)}}):
        with pytest.raises(ValueError, match="'clip' under 'sources' and the key 'prompts' go"):
            ConceptSettings(**more)


def test_open_clip_that_does_not_import_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match="backbone 'open_clip:tiny/own': open_clip does not imp"):
        concept_source("clip", settings())


def test_texts_are_encoded_as_open_clip_itself_does(tmp_path: Path) -> None:
    """The real library, with a tiny model that is made here."""
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"open_clip does not import here: {str(error)[:80]}")
    from streetgauge.features.families import OpenClip
    from streetgauge.features.lookup import get_backbone

    about = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16}
        | {"patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2}
        | {"layers": 1},
    }
    (tmp_path / "tiny-test.json").write_text(json.dumps(about))
    open_clip.add_model_config(tmp_path / "tiny-test.json")
    model = open_clip.create_model("tiny-test").eval()
    weights = tmp_path / "own.pt"
    torch.save(model.state_dict(), weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["own"])
        record = get_backbone("open_clip:tiny-test/own", weights=weights)
    texts = ["a safe street", "a dangerous street"]
    found, scale = OpenClip().texts(record, weights, texts)
    tokens = open_clip.get_tokenizer("tiny-test")(texts)
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert scale == pytest.approx(float(model.logit_scale.exp()))
