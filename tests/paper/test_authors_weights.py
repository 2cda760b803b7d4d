"""The weights that the authors publish: a state dict with dense1 .. dense5, weight and bias."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore
from streetgauge.model import Bundle
from streetgauge.model.authors import import_authors

State = dict[str, torch.Tensor]

SHAPES = {
    "dense1": (512, 4096),
    "dense2": (256, 512),
    "dense3": (128, 256),
    "dense4": (64, 128),
    "dense5": (1, 64),
}


@pytest.fixture(scope="module")
def state() -> State:
    """Tensors of the names and shapes of the authors' PyTorch weights."""
    draw = torch.Generator().manual_seed(1)
    tensors = {}
    for name, shape in SHAPES.items():
        tensors[f"{name}.weight"] = torch.randn(shape, generator=draw) * (2 / shape[1]) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=draw) / 4
    return tensors


def kept(content: Any, place: Path) -> Path:
    torch.save(content, place / "london.pth")
    return place / "london.pth"


def formula(state: State, features: np.ndarray) -> np.ndarray:
    """The port's network in float64: (x + 5) / 8, three layers a view, the mean, two more."""
    w = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    x = (features.astype(np.float64) + 5) / 8

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    for name in ("dense1", "dense2", "dense3"):
        x = np.maximum(dense(x, name), 0)
    x = np.maximum(dense(x.mean(axis=1), "dense4"), 0)
    return dense(x, "dense5")[:, 0]


def test_an_imported_bundle_is_the_authors_formula(state: State, tmp_path: Path) -> None:
    import_authors(kept(state, tmp_path), outcome="income", place="London").save(tmp_path / "b")
    bundle = Bundle.load(tmp_path / "b")
    features = np.random.default_rng(0).normal(-5, 8, (40, 4, 4096)).astype(np.float32)
    said = bundle.predict(features, device="cpu")
    expected = formula(state, features)
    assert expected.std() > 0.3
    np.testing.assert_allclose(said.score[:, 0], expected, atol=1e-5)
    p = 1 / (1 + np.exp(-expected))
    worst, best = (1 - p) ** 9, p**9  # the ends of a binomial of nine trials
    np.testing.assert_allclose(said.probabilities[:, 0, 0], worst, atol=1e-5)
    np.testing.assert_allclose(said.probabilities[:, 0, 9], best, atol=1e-5)
    assert bundle.outcomes == ("income",)
    assert bundle.backbone == "vgg16-caffe-fc6"
    assert bundle.training is None
    assert "was not trained here" in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.parametrize("form", ["nested", "parallel", "safetensors"])
def test_the_same_weights_in_other_wrappings(state: State, form: str, tmp_path: Path) -> None:
    if form == "safetensors":
        save_file(state, tmp_path / "w.safetensors")
        file = tmp_path / "w.safetensors"
    elif form == "nested":
        file = kept({"epoch": 3, "state_dict": state}, tmp_path)
    else:
        file = kept({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path)
    bundle = import_authors(file, outcome="income")
    features = np.random.default_rng(1).normal(-5, 8, (3, 4, 4096)).astype(np.float32)
    np.testing.assert_allclose(
        bundle.predict(features, device="cpu").score[:, 0], formula(state, features), atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("dense3.weight", None, "there is no 'dense3.weight'; its tensors are dense1.bias"),
        ("dense2.bias", torch.zeros(255), r"'dense2.bias' has shape \(255,\), not \(256,\)"),
        ("dense5.weight", torch.full((1, 64), torch.nan), "'dense5.weight' .* not finite"),
    ],
)
def test_what_is_wrong_with_a_layer_is_one_sentence(
    state: State, name: str, change: torch.Tensor | None, reason: str, tmp_path: Path
) -> None:
    changed = {k: v for k, v in state.items() if k != name}
    file = kept(changed if change is None else changed | {name: change}, tmp_path)
    with pytest.raises(InputError, match=reason) as caught:
        import_authors(file, outcome="income")
    assert "\n" not in str(caught.value)


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_a_file_that_would_run_code_runs_none(state: State, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    torch.save({**state, "extra": Hostile(mark)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Hostile(mark)))
    (tmp_path / "c.pth").write_bytes(b"no weights at all")
    (tmp_path / "d.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:5000])
    for name in "abcd":
        with pytest.raises(InputError, match="with tensors only") as caught:
            import_authors(tmp_path / f"{name}.pth", outcome="income")
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    with pytest.raises(InputError, match="holds a list"):
        import_authors(kept([1, 2], tmp_path), outcome="income")


def test_the_commands_import_them_and_predict_a_city_by_the_authors_formula(
    run: Callable[..., tuple[int, str, str]], state: State, tmp_path: Path
) -> None:
    words = ("import-weights", kept(state, tmp_path), "--out", tmp_path / "london")
    assert run(*words, "--outcome", "income", "--place", "London")[0] == 0
    ids, about = [f"L{i}" for i in range(5)], {"backbone": "vgg16-caffe-fc6"}
    features = np.random.default_rng(2).normal(-5, 8, (5, 4, 4096)).astype(np.float32)
    with FeatureStore.create(tmp_path / "fc6.h5", ids, list("abcd"), 4096, about) as store:
        store.write(np.arange(5), features, np.ones((5, 4), bool))
    (tmp_path / "places.csv").write_text("location_id\n" + "\n".join(ids[::-1]) + "\n")
    code, _, err = run(
        "predict",
        tmp_path / "london",
        "--features",
        tmp_path / "fc6.h5",
        "--locations",
        tmp_path / "places.csv",
        "--out",
        tmp_path / "out",
    )
    assert code == 0, err
    found = pd.read_parquet(tmp_path / "out" / "predictions.parquet").set_index("location_id")
    assert (found["outcome"] == "income").all()
    np.testing.assert_allclose(found["score"].loc[ids], formula(state, features), atol=1e-4)
