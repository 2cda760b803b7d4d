from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

from streetgauge.errors import InputError
from streetgauge.io.files import sha256_of
from streetgauge.model import Bundle, binomial, fit_model
from streetgauge.model.bundle import area_hashes
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits

DATA = Path(__file__).parent / "data"
SETTINGS = TrainSettings(learner="network", epochs=2, device="cpu")
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
    return trained(world, SETTINGS)


def trained(world: Any, settings: TrainSettings) -> Bundle:
    folds = FoldSettings(scheme="train-only", validation=0.2)
    (split,) = make_splits(folds, world.areas, world.deciles, seed=3)
    outcomes = ("income", "health", "crime")[: world.deciles.shape[1]]
    model, record = fit_model(world.data(outcomes), split, settings, seed=3)
    return Bundle(model, outcomes, "fold-2", settings, 3, "abc", record, SOURCE)


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
    for name in ("outcomes", "name", "settings", "seed", "cache_key", "training", "code_version"):
        assert getattr(again, name) == getattr(bundle, name)
    assert again.source == SOURCE
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "bundle.json",
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
    # The decile is the head's own most probable one, however flat the probabilities are made.
    own = binomial.probabilities(said.score, 10)
    np.testing.assert_array_equal(said.decile, own.argmax(2) + 1)
    rows = [np.arange(n)] * bundle.model.network.ensemble_size
    each = bundle.model.member_scores(world.features, world.present, rows).reshape(-1, n, 2)
    np.testing.assert_allclose(said.score_sd, each.std(0, ddof=1), rtol=1e-6)
    stretched = replace(bundle.model, calibration=bundle.model.calibration * [1, 2])
    twice = stretched.predict(world.features, world.present).score_sd
    np.testing.assert_allclose(twice, 2 * said.score_sd, rtol=1e-6)
    rows = np.array([7, 3])
    np.testing.assert_allclose(
        bundle.predict(world.features, rows=rows).score, said.score[rows], atol=1e-4
    )
    assert bundle.predict(world.features, rows=rows[:0]).score.shape == (0, 2)


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
        # Probabilities are in steps of 2^-10.
        np.testing.assert_allclose(one["p3"], said.probabilities[:, m, 2], rtol=0, atol=2**-10)
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
        (
            {"format_version": 5},
            r"a newer streetgauge made it \(format 5; this one reads 4\); upgrade streetgauge",
        ),
        (
            {"format_version": 3},
            r"an unreleased version of streetgauge made it \(format 3; this one reads 4\); "
            "run the study again",
        ),
        ({"format_version": "new"}, "'new' is not a format version; run the study again"),
        ({"dimension": 9}, r"network\.direct\.weight.*\(10, 8, 1\).*\(10, 9, 1\)"),
        ({"outcomes": ["income"]}, "has shape"),
        ({"settings": {"network": "port-2020"}}, r"network\.direct.* needs None"),
        ({"settings": {"network": "paper-2019", "ensemble_size": 1}}, "network.* has shape"),
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
    with pytest.raises(InputError, match="not a safetensors file"):
        Bundle.load(saved)


@pytest.mark.parametrize(
    "rows", [[[0.5, 1.0, 11.0]], [[0.5, 1.0]], [[np.nan, 1.0, 2.0]], np.empty((0, 3))]
)
def test_held_out_areas_are_read_as_written_and_refused_if_unusable(
    saved: Path, tmp_path: Path, rows: Any
) -> None:
    bundle = Bundle.load(saved)
    areas = {n: np.array([[-0.5, 2.0, 1.0], [0.25, 7.0, 10.0]]) for n in bundle.outcomes}
    bundle = replace(bundle, held_out=areas)
    bundle.save(tmp_path / "with")
    found = Bundle.load(tmp_path / "with").held_out
    assert found is not None
    assert np.array_equal(found["income"], areas["income"])
    wrong = areas | {"income": np.asarray(rows, np.float64)}
    replace(bundle, held_out=wrong).save(tmp_path / "wrong")
    with pytest.raises(InputError, match=r"held_out\.\* are not of areas and classes"):
        Bundle.load(tmp_path / "wrong")


def test_a_tensor_that_does_not_belong_is_refused(saved: Path) -> None:
    file = saved / "weights.safetensors"
    save_file(load_file(file) | {"more": np.zeros(2)}, file)
    change(saved / "bundle.json", weights={"sha256": sha256_of(file)})
    with pytest.raises(InputError, match="'more' has shape"):
        Bundle.load(saved)


def rewritten(saved: Path, name: str, change_tensor: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change a tensor as whoever makes a bundle could, with the right checksum."""
    file = saved / "weights.safetensors"
    tensors = load_file(file)
    save_file(tensors | {name: change_tensor(tensors[name])}, file)
    change(
        saved / "bundle.json",
        weights={"file": "weights.safetensors", "sha256": sha256_of(file)},
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_finite_numbers_are_refused_at_once(saved: Path, value: float) -> None:
    rewritten(saved, "network.score.bias", lambda bias: np.full_like(bias, value))
    with pytest.raises(InputError, match=r"safetensors: its tensor 'network\.score\.bias' has a"):
        Bundle.load(saved)


@pytest.mark.parametrize(("name", "factor"), [("standardisation.sd", 0.0), ("calibration", -1.0)])
def test_a_scale_that_is_not_positive_is_refused(saved: Path, name: str, factor: float) -> None:
    rewritten(saved, name, lambda scale: scale * scale.dtype.type(factor))
    with pytest.raises(InputError, match=f"its tensor '{name}' has a scale that is not positive"):
        Bundle.load(saved)


@pytest.mark.parametrize("factor", [1e6, 1e37])
def test_weights_that_give_absurd_scores_are_refused_when_first_used(
    saved: Path, world: Any, factor: float
) -> None:
    rewritten(saved, "network.score.weight", lambda weight: weight * np.float32(factor))
    with pytest.raises(InputError, match="not finite numbers, or far off its classes"):
        Bundle.load(saved).predict(world.features)


def test_a_description_that_claims_terabytes_is_refused_before_any_is_allocated(
    saved: Path,
) -> None:
    change(saved / "bundle.json", dimension=2**40)
    with pytest.raises(InputError, match="has shape"):
        Bundle.load(saved)


def test_a_bundle_of_an_earlier_release_predicts_the_same(tmp_path: Path) -> None:
    # Written before some settings were there, which were added by hand; thinned out to be small.
    with zipfile.ZipFile(DATA / "bundle-v4.zip") as packed:
        packed.extractall(tmp_path)
    assert json.loads((tmp_path / "bundle.json").read_text())["format_version"] == 4
    known = json.loads((tmp_path / "expected.json").read_text())
    features, present = np.array(known["features"], np.float32), np.array(known["present"])
    bundle = Bundle.load(tmp_path)
    said = bundle.predict(features, present, device="cpu")
    np.testing.assert_allclose(said.score, known["score"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(said.probabilities, known["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(said.decile, known["decile"])
    assert np.std(known["score"]) > 0.05  # it tells locations apart
    assert bundle.settings.ensemble_size == 2
    assert bundle.licence == "CC-BY-4.0"
    assert bundle.area_of_applicability is not None
    assert bundle.model.temperature is not None
    bundle.save(tmp_path / "again")
    again = Bundle.load(tmp_path / "again").predict(features, present, device="cpu")
    np.testing.assert_array_equal(again.score, said.score)


def test_a_bundle_knows_which_areas_it_was_trained_on(
    bundle: Bundle, world: Any, tmp_path: Path
) -> None:
    replace(bundle, area_hashes=area_hashes(world.areas[:60])).save(tmp_path / "b")
    again = Bundle.load(tmp_path / "b")
    assert again.area_hashes == area_hashes(set(world.areas[:60]))
    assert len(again.area_hashes) == 10
    assert area_hashes(["A010"]).isdisjoint(again.area_hashes)
    said = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert said["area_hashes"] == sorted(again.area_hashes)


def test_rows_of_a_store_are_predicted_where_they_lie(bundle: Bundle, world: Any) -> None:
    rows = np.array([70, 3, 41])
    expected = bundle.predict_frame(world.features[rows], world.present[rows], world.ids[rows])
    frame = bundle.predict_frame(world.features, world.present, world.ids[rows], rows=rows)
    pd.testing.assert_frame_equal(frame, expected)


def test_a_feature_that_is_no_number_is_named_by_row_and_location(
    bundle: Bundle, world: Any
) -> None:
    features = world.features.copy()
    features[41, 1, 2] = np.nan
    rows = np.array([70, 3, 41])
    with pytest.raises(InputError, match=r"row 41 \(location 'L00041'\), view 2, feature 3: nan"):
        bundle.predict_frame(features, world.present, world.ids[rows], rows=rows)
    bundle.predict_frame(features, world.present, world.ids[rows[:2]], rows=rows[:2])


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(learner="network", epochs=2, device="cpu", network="paper-2019"),
        TrainSettings(
            learner="network", epochs=2, device="cpu", network="shared", pooling="attention"
        ),
        TrainSettings(learner="network", epochs=2, device="cpu", network="shared", ensemble_size=3),
        TrainSettings(learner="network", epochs=2, device="cpu", head="exponential"),
        TrainSettings(learner="network", epochs=2, device="cpu", head="clm"),
        TrainSettings(learner="network", epochs=2, device="cpu", components=4),
    ],
    ids=["batch-norm", "shared", "ensemble_size", "exponential", "clm", "components"],
)
def test_every_network_goes_through_a_file_and_can_be_picked_from(
    settings: TrainSettings, make_world: Any, tmp_path: Path
) -> None:
    world = make_world(outcomes=3)
    bundle = trained(world, settings)
    bundle.save(tmp_path / "b")
    again = Bundle.load(tmp_path / "b")
    whole = bundle.predict(world.features)
    np.testing.assert_array_equal(again.predict(world.features).score, whole.score)
    some = again.pick(["crime", "income"])
    said = some.predict(world.features)
    np.testing.assert_allclose(said.score, whole.score[:, [2, 0]], atol=1e-5)
    np.testing.assert_allclose(said.probabilities, whole.probabilities[:, [2, 0]], atol=1e-5)
    assert some.training is not None
    assert bundle.training is not None
    assert some.training.validation_mae == [bundle.training.validation_mae[i] for i in (2, 0)]
    head = some.model.network.head  # it can still be trained
    assert head.loss(torch.zeros(1, 2, head.outputs), torch.ones(1, 2)).isfinite().all()
    some.save(tmp_path / "some")
    assert Bundle.load(tmp_path / "some").outcomes == ("crime", "income")


def test_an_outcome_that_it_does_not_have_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"'helth'.*did you mean 'health'\?"):
        bundle.pick(["helth"])


def test_features_of_another_backbone_are_refused_with_what_would_do(bundle: Bundle) -> None:
    b = replace(bundle, source=SOURCE | {"backbone": "lite", "transform": '{"crop": 224}'})
    same = {"dimension": 8, "backbone": "lite"}
    assert b.compare("s.h5", **same, weights_sha256="0" * 64, views=("a", "b", "c")) == []
    assert b.compare("s.h5", **same, transform='{"crop":  224}') == []
    for given, reason in (
        ({"backbone": "vgg16"}, "come from 'vgg16'.*extract them with 'lite', or use a bundle"),
        (
            {"dimension": 9},
            "9 features a view, and the bundle was trained on 8; extract them with 'lite'",
        ),
        ({"weights_sha256": "1" * 64}, "other weights here .sha256 111111111111"),
        ({"views": ("1", "2")}, "views are 1, 2, and the bundle was trained on a, b, c"),
    ):
        with pytest.raises(InputError, match=f"s.h5: .*{reason}"):
            b.compare("s.h5", **(same | given))
    assert "views a, b, where the bundle" in b.compare("s.h5", **same, views=("a", "b"))[0]
    assert "prepared otherwise" in b.compare("s.h5", **same, transform='{"crop": 200}')[0]


def test_the_file_a_table_came_from_may_be_another(bundle: Bundle) -> None:
    assert bundle.compare("s.h5", dimension=8, backbone="table", weights_sha256="1" * 64) == []


def test_a_table_of_other_columns_or_prepared_otherwise_is_refused(bundle: Bundle) -> None:
    def said(columns: str, transform: str | None) -> str:
        return json.dumps({"name": "shares", "columns": list(columns), "transform": transform})

    b = replace(bundle, source=SOURCE | {"backbone": "table", "transform": said("abc", "sqrt")})
    same = {"dimension": 8, "backbone": "table"}
    assert b.compare("s.h5", **same, transform=said("abc", "sqrt")) == []
    with pytest.raises(InputError, match="feature 2 is 'c', where the bundle was trained on 'b'"):
        b.compare("s.h5", **same, transform=said("acb", "sqrt"))
    with pytest.raises(InputError, match="is None, where the bundle was trained with 'sqrt'"):
        b.compare("s.h5", **same, transform=said("abc", None))


METRICS = {
    "interval_level": 0.9,
    "outcomes": {
        "income": {
            "n_areas": 40,
            "metrics": {
                "mae": {"value": 1.25, "low": 1.0, "high": 1.5},
                "spearman": {"value": 0.8, "low": None, "high": None},
            },
            "baselines": {"constant": {"mae": 2.5}, "nearest-areas": {"mae": 2.0}},
            "gain": {"mae": {"value": 0.75, "low": 0.5, "high": 1.0}},
        }
    },
}


def test_the_card_says_whose_figures_and_whose_data(saved: Path, bundle: Bundle) -> None:
    card = (saved / "README.md").read_text()
    assert "the figures flatter" in card
    assert "- Income: GLA; " in card
    assert "OGL v2" in card
    assert "health: source not given" in card
    assert "held out for testing" in card
    assert bundle.training is not None
    assert f"{bundle.training.validation_mae[0]:.2f}" in card
    assert "## Evaluation" not in card


def test_the_card_says_what_the_networks_are_and_how_they_were_stopped(
    world: Any, bundle: Bundle, tmp_path: Path
) -> None:
    def card(of: Bundle) -> str:
        of.save(tmp_path / "of")
        return (tmp_path / "of" / "README.md").read_text()

    assert SETTINGS.ensemble_size == 5
    said = card(bundle)
    assert "view layers of 512, 256 and 128 units, head `binomial`" in said
    assert bundle.training is not None
    assert f"products in {bundle.training.precision};" in said
    assert "5 networks, whose scores are averaged, were each stopped by another share" in said
    assert "Another" not in said
    alone = {"ensemble_size": 1, "components": 2, "width": 16, "precision": "float32"}
    narrow = trained(world, SETTINGS.model_copy(update=alone))
    said = card(narrow)
    assert "view layers of 16, 16 and 16 units, trained on 2 principal components" in said
    assert "products in float32;" in said
    assert narrow.training is not None
    assert f"Another {narrow.training.validation_areas} areas" in said
    assert "networks, whose" not in said
    tuned = replace(narrow, settings=SETTINGS, source=SOURCE | {"start": {"study": "Leeds"}})
    assert "networks, whose" not in card(tuned)


def test_others_than_the_writer_can_read_a_bundle(saved: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in saved.iterdir()}
    assert {mode & 0o444 for mode in modes.values()} == {0o444}, modes


def test_the_card_has_the_figures_of_the_test_and_what_needs_no_image(
    bundle: Bundle, tmp_path: Path
) -> None:
    replace(bundle, metrics=METRICS, licence="CC-BY-4.0").save(tmp_path / "b")
    again = Bundle.load(tmp_path / "b")
    assert again.metrics == METRICS
    assert again.licence == "CC-BY-4.0"
    card = (tmp_path / "b" / "README.md").read_text()
    row = "| Income | 40 | 1.25 (1.00 to 1.50) | 0.80 | 2.00 (nearest-areas) | +0.75"
    assert row in card


def test_the_card_marks_the_figures_of_an_outcome_that_lacks_areas(
    bundle: Bundle, tmp_path: Path
) -> None:
    lacking = {**SOURCE["outcomes"]["income"], "n_areas": 45, "n_missing": 5}
    source = SOURCE | {"outcomes": {"income": lacking}}
    replace(bundle, metrics=METRICS, source=source).save(tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    assert "| Income (10% of areas have no value) | 40 | 1.25" in card
    assert ': Income (10% of areas have no value)"' in card.split("---")[1]


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        (None, {"license": "unknown"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("OGL 3: see page", {"license": "other", "license_name": "ogl-3-see-page"}),
    ],
)
def test_the_hub_can_read_the_front_matter(
    licence: str | None, expected: dict[str, str], bundle: Bundle, tmp_path: Path
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    source = SOURCE | {"study": 'A "city": north & south'}
    replace(bundle, metrics=METRICS, licence=licence, source=source).save(tmp_path / "b")
    data = hub.ModelCard.load(tmp_path / "b" / "README.md").data
    said = data.to_dict()
    assert {k: v for k, v in said.items() if k.startswith("license")} == expected
    assert said["library_name"] == "streetgauge"
    assert said["datasets"] == ["a-city-north-south"]
    # One row for each metric of each outcome, values as numbers.
    assert [(r.metric_type, r.metric_value) for r in data.eval_results] == [
        ("mae", 1.25),
        ("spearmanr", 0.8),
    ]
    assert data.eval_results[0].dataset_name == 'A "city": north & south: Income'
