from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from streetgauge.errors import InputError
from streetgauge.files import sha256_of
from streetgauge.learn import Bundle, fit_model
from streetgauge.settings import TrainSettings

SETTINGS = TrainSettings(epochs=2, device="cpu")
SOURCE = {
    "backbone": "table",
    "weights_sha256": "0" * 64,
    "views": ["a", "b", "c"],
    "licence": "MIT",
    "outcomes": {"income": {"label": "Income", "publisher": "GLA", "licence": "OGL v2"}},
}


@pytest.fixture(scope="module")
def world(make_world: Any) -> Any:
    return make_world()


@pytest.fixture(scope="module")
def bundle(world: Any) -> Bundle:
    model, record = fit_model(
        world.features,
        world.present,
        world.deciles,
        world.areas,
        np.arange(len(world.ids)),
        ["income", "health"],
        SETTINGS,
        validation=0.2,
        seed=3,
    )
    return Bundle(model, ("income", "health"), "fold-2", SETTINGS, 3, "abc", record, SOURCE)


@pytest.fixture
def saved(bundle: Bundle, tmp_path: Path) -> Path:
    bundle.save(tmp_path / "model")
    return tmp_path / "model"


def change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_bundle_read_back_says_the_same(bundle: Bundle, saved: Path, world: Any) -> None:
    again = Bundle.load(saved)
    ours, theirs = bundle.predict(world.features), again.predict(world.features)
    np.testing.assert_array_equal(ours.score, theirs.score)
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
    for name in ("outcomes", "name", "settings", "seed", "stamp", "training", "code_version"):
        assert getattr(again, name) == getattr(bundle, name)
    assert again.source == SOURCE
    assert sorted(path.name for path in saved.iterdir()) == [
        "bundle.json",
        "card.md",
        "weights.safetensors",
    ]


def test_saving_twice_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("one", "two"):
        bundle.save(tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_predictions_fit_their_contract(bundle: Bundle, world: Any) -> None:
    said = bundle.predict(world.features, world.present)
    n = len(world.ids)
    assert said.score.shape == (n, 2)
    assert said.probabilities.shape == (n, 2, 10)
    np.testing.assert_allclose(said.probabilities.sum(2), 1)
    np.testing.assert_array_equal(said.decile, said.probabilities.argmax(2) + 1)
    rows = np.array([7, 3])
    np.testing.assert_allclose(
        bundle.predict(world.features, rows=rows).score, said.score[rows], atol=1e-4
    )


def test_a_frame_is_sorted_by_key_whatever_the_order_of_the_rows(
    bundle: Bundle, world: Any
) -> None:
    said = bundle.predict(world.features)
    order = np.random.default_rng(0).permutation(len(world.ids))
    frame = bundle.predict_frame(world.features[order], None, world.ids[order])
    assert frame["outcome"].unique().tolist() == ["health", "income"]
    for outcome, m in (("health", 1), ("income", 0)):
        one = frame[frame["outcome"] == outcome]
        assert one["location_id"].tolist() == sorted(world.ids)
        np.testing.assert_allclose(one["score"], said.score[:, m], atol=1e-4)
        np.testing.assert_allclose(one["p3"], said.probabilities[:, m, 2], atol=1e-4)
    assert bundle.views == ("a", "b", "c")
    assert bundle.backbone == "table"


def test_the_number_of_views_is_free(bundle: Bundle, world: Any) -> None:
    twice = np.concatenate([world.features, world.features], axis=1)
    np.testing.assert_allclose(
        bundle.predict(twice).score, bundle.predict(world.features).score, atol=1e-4
    )


def test_features_that_do_not_fit_are_refused(bundle: Bundle, world: Any) -> None:
    with pytest.raises(InputError, match="backbone 'table'"):
        bundle.predict(world.features[:, :, :5])
    absent = world.present.copy()
    absent[4] = False
    with pytest.raises(InputError, match="no view at all"):
        bundle.predict(world.features, absent)
    with pytest.raises(InputError, match="present"):
        bundle.predict(world.features, absent[:, :2])


def test_an_empty_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bundle\.json is missing"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "a-picture"}, "this is not a streetgauge-bundle"),
        ({"format_version": 2}, "format version is 2.*upgrade streetgauge"),
        ({"format_version": "new"}, "format version is 'new'"),
        ({"dimension": 9}, r"network\.views\.0\.dense\.weight.*\(2, 8, 512\).*\(2, 9, 512\)"),
        ({"outcomes": ["income"]}, "has shape"),
        ({"settings": {"network": "paper-2019"}}, "norm.* has shape None"),
        ({"settings": {"network": "port-2020", "epochs": "many"}}, "does not describe a bundle"),
        ({"training": {}}, "does not describe a bundle"),
        ({"weights": {}}, "does not describe a bundle"),
    ],
)
def test_a_wrong_description_is_one_sentence(
    saved: Path, changes: dict[str, Any], reason: str
) -> None:
    change(saved / "bundle.json", **changes)
    with pytest.raises(InputError, match=reason) as caught:
        Bundle.load(saved)
    assert "\n" not in str(caught.value)


def test_half_a_description_is_refused(saved: Path) -> None:
    text = (saved / "bundle.json").read_text()
    (saved / "bundle.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="not JSON"):
        Bundle.load(saved)


def test_missing_weights_are_refused(saved: Path) -> None:
    (saved / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="weights are missing"):
        Bundle.load(saved)


def test_weights_of_another_bundle_or_half_of_them_are_refused(saved: Path) -> None:
    file = saved / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"not the file that bundle\.json describes"):
        Bundle.load(saved)
    change(saved / "bundle.json", weights={"sha256": sha256_of(file)})
    with pytest.raises(InputError, match="no safetensors file"):
        Bundle.load(saved)


def test_a_tensor_that_does_not_belong_is_refused(saved: Path) -> None:
    file = saved / "weights.safetensors"
    save_file(load_file(file) | {"more": np.zeros(2)}, file)
    change(saved / "bundle.json", weights={"sha256": sha256_of(file)})
    with pytest.raises(InputError, match="'more' has shape"):
        Bundle.load(saved)


def test_the_card_says_whose_figures_and_whose_data(saved: Path, bundle: Bundle) -> None:
    card = (saved / "card.md").read_text()
    assert "the figures flatter" in card
    assert "Income: GLA; OGL v2" in card
    assert "health: source not given" in card
    assert "held out for testing" in card
    assert f"{bundle.training.validation_mae[0]:.2f}" in card
