"""A trained model elsewhere: what the commands that carry it do, and how they refuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore, caffe
from streetgauge.model import Bundle
from streetgauge.model.authors import LAYERS
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def study(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("transfer") / "study"
    return Path(shutil.copytree(finished_once, place))


@pytest.fixture(scope="module")
def bundle(study: Path) -> Path:
    from streetgauge.pipeline.export import export_bundle

    export_bundle(Study.open(study), study.with_name("bundle"), licence="CC-BY-4.0")
    return study.with_name("bundle")


@pytest.fixture
def city(study: Path, tmp_path: Path) -> Path:
    """Locations of a city, and their features; of one there are none, one is in no area."""
    ids = FeatureStore.open(study / "features" / "shares.h5").location_ids
    frame = pd.DataFrame({"location_id": [*ids, "elsewhere"]})
    frame["area"] = [f"N{i // 6:02d}" for i in range(len(ids))] + ["N99"]
    frame.loc[3, "area"] = None
    frame.sample(frac=1, random_state=1).to_csv(tmp_path / "places.csv", index=False)
    return tmp_path / "places.csv"


def predicted(
    run: Run, bundle: object, study: Path, city: Path, out: str = "out"
) -> tuple[pd.DataFrame, str]:
    place = city.with_name(out)
    store = study / "features" / "shares.h5"
    code, _, err = run("predict", bundle, "--features", store, "--locations", city, "--out", place)
    assert code == 0, err
    return pd.read_parquet(place / "predictions.parquet"), err


def test_a_city_is_predicted_from_features_that_are_there(
    run: Run, bundle: Path, study: Path, city: Path
) -> None:
    frame, err = predicted(run, bundle, study, city)
    store = FeatureStore.open(study / "features" / "shares.h5")
    said = Bundle.load(bundle).predict_frame(store.features, store.present, store.location_ids)
    pd.testing.assert_frame_equal(frame.drop(columns="area"), said)
    areas = pd.read_parquet(city.with_name("out") / "areas.parquet")
    assert areas["area"].nunique() == 66
    cuts = Bundle.load(bundle).cut_points
    assert cuts is not None
    for outcome, rows in areas.groupby("outcome"):  # above how many of the cut points it lies
        above = [1 + sum(cut < score for cut in cuts[outcome]) for score in rows["score"]]
        assert rows["decile"].tolist() == above
    skipped = pd.read_parquet(city.with_name("out") / "skipped.parquet")
    assert skipped[["location_id", "stage"]].to_numpy().tolist() == [
        ["elsewhere", "features"],
        [str(store.location_ids[3]), "areas"],
    ]
    assert "1 location excluded: the store has no features of it" in err
    assert "1 location excluded: predicted, but the table names no area of it" in err


def test_areas_of_a_city_without_labels_have_the_intervals_of_the_bundles_city(
    run: Run, bundle: Path, study: Path, city: Path
) -> None:
    held_out = Bundle.load(bundle).held_out
    assert held_out is not None
    theirs = pd.read_parquet(study / "areas.parquet").query("outcome == 'income'")
    theirs = theirs.dropna(subset="actual_decile")
    expected = theirs[["score", "decile", "actual_decile"]].to_numpy(float)
    np.testing.assert_allclose(held_out["income"], expected[np.lexsort(expected.T[::-1])])
    _, err = predicted(run, bundle, study, city)
    areas = pd.read_parquet(city.with_name("out") / "areas.parquet")
    assert list(areas.columns[5:8]) == ["decile", "low", "high"]
    assert areas["decile"].between(areas["low"], areas["high"]).all()
    assert "intervals of 90% come from areas held out in the bundle's city" in err
    assert not [name for name in areas if name.startswith("best_")]
    text = (city.with_name("out") / "report.html").read_text()
    assert "They hold for this city only as far as it resembles Grid" in text
    assert "There are no intervals" not in text
    predicted(run, study, study, city, "from-study")  # not exported: the study has them
    same = pd.read_parquet(city.with_name("from-study") / "areas.parquet")
    pd.testing.assert_frame_equal(same[["low", "high"]], areas[["low", "high"]])


def test_deciles_that_are_known_in_a_city_give_it_a_best_estimate(
    run: Run, refuse: Refuse, bundle: Path, study: Path, city: Path
) -> None:
    labels, out = city.with_name("labels.csv"), city.with_name("out")
    known = pd.DataFrame({"area": [f"N{i:02d}" for i in range(40)]})
    known.assign(income_decile=1 + np.arange(40) % 10).to_csv(labels, index=False)
    store = study / "features" / "shares.h5"
    words = ("predict", bundle, "--features", store, "--locations", city, "--labels", labels)
    code, _, err = run(*words, "--out", out)
    assert code == 0, err
    areas = pd.read_parquet(out / "areas.parquet").set_index("outcome")
    best = ["best_score", "best_decile", "best_low", "best_high"]
    assert areas.loc["income", best].notna().all(axis=None)
    assert areas.loc["illness", best].isna().all(axis=None)
    assert (areas.loc["income", "best_from"] == "images").all()  # no place is known
    assert "income: in 40 areas whose decile is known, each estimated without its own" in err
    text = (out / "report.html").read_text()
    assert "Measured in part." in text
    assert "the best estimate (images) is" in text
    labels.write_text("area,wealth_decile\nN01,3\n")
    said = refuse(*words, "--out", out.with_name("two"))
    assert "it has a column for no outcome of the bundle; name it income_decile" in said
    assert not out.with_name("two").exists()


def test_a_city_without_areas_is_predicted_and_nothing_is_excluded(
    run: Run, bundle: Path, study: Path, city: Path
) -> None:
    table = pd.read_csv(city)
    table.loc[table["location_id"] != "elsewhere", ["location_id"]].to_csv(city, index=False)
    frame, err = predicted(run, bundle, study, city)
    assert frame["area"].isna().all()
    assert "excluded" not in err
    assert not len(pd.read_parquet(city.with_name("out") / "skipped.parquet"))
    assert not (city.with_name("out") / "areas.parquet").exists()


def write_features(store: FeatureStore, features: np.ndarray) -> None:
    """Write other features for all views, with their checksums."""
    present, done = np.array(store.present), np.array(store.done)
    store.write(np.arange(len(done)), features, present, done)


def test_areas_outside_a_bundles_training_distribution_are_marked(
    run: Run, bundle: Path, study: Path, city: Path, tmp_path: Path
) -> None:
    assert set(Bundle.load(bundle).area_of_applicability or ()) >= {"mean", "components", "points"}
    _, err = predicted(run, bundle, study, city)
    areas = pd.read_parquet(city.with_name("out") / "areas.parquet")
    assert areas["outside_aoa"].mean() < 0.3
    assert areas["disagreement"].notna().all()
    shutil.copy(study / "features" / "shares.h5", tmp_path / "other.h5")
    with FeatureStore.open(tmp_path / "other.h5", writable=True) as store:
        write_features(store, store.features + 50)
    out = tmp_path / "elsewhere"
    code, _, err = run(
        "predict",
        bundle,
        "--features",
        tmp_path / "other.h5",
        "--locations",
        city,
        "--out",
        out,
    )
    assert code == 0, err
    assert "66 of 66 areas (100%) are outside the training distribution of the bundle" in err
    assert pd.read_parquet(out / "areas.parquet")["outside_aoa"].all()


def test_a_feature_that_is_no_number_is_named_by_its_position_in_the_store_and_its_location(
    refuse: Refuse, bundle: Path, study: Path, city: Path, tmp_path: Path
) -> None:
    shutil.copy(study / "features" / "shares.h5", tmp_path / "store.h5")
    with FeatureStore.open(tmp_path / "store.h5", writable=True) as store:
        features = np.array(store.features)
        features[50, 1, 2] = np.nan
        write_features(store, features)
    location = FeatureStore.open(tmp_path / "store.h5").location_ids[50]
    table = pd.read_csv(city)
    table[table["location_id"] >= location].to_csv(tmp_path / "some.csv", index=False)
    sentence = refuse(
        "predict",
        bundle,
        "--features",
        tmp_path / "store.h5",
        "--locations",
        tmp_path / "some.csv",
        "--out",
        tmp_path / "out",
    )
    assert f"row 50 (location '{location}'), view 2, feature 3: nan" in sentence


def test_predict_reads_of_a_store_no_more_than_a_block_at_a_time(
    bundle: Path, study: Path, city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streetgauge.pipeline.predict import predict_city

    asked = []
    whole = Bundle.predict

    def noted(self: Bundle, features: np.ndarray, *given: object, **named: object) -> object:
        asked.append(features)
        return whole(self, features, *given, **named)

    monkeypatch.setattr(Bundle, "predict", noted)
    store = study / "features" / "shares.h5"
    predict_city(bundle, store, city, tmp_path / "out")
    (features,) = asked
    while isinstance(features, np.ndarray) and not isinstance(features, np.memmap):
        features = features.base
    assert isinstance(features, np.memmap)


def test_predicting_areas_that_a_bundle_was_trained_on_is_reported(
    run: Run, bundle: Path, study: Path, city: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    said = "have the codes of areas that the bundle was trained on"
    assert said not in predicted(run, bundle, study, city)[1]  # other codes
    table = pd.read_csv(city)
    table["area"] = table["area"].str.replace("N", "E000000")
    table.to_csv(city, index=False)
    assert f"49 of 66 areas {said}" in predicted(run, bundle, study, city, "known")[1]
    replace(Bundle.load(bundle), area_hashes=None).save(tmp_path / "old")
    assert said not in predicted(run, tmp_path / "old", study, city, "unknown")[1]


def test_ten_locations_in_two_areas_get_the_classes_that_their_scores_had_in_the_source_city(
    run: Run, bundle: Path, study: Path, city: Path
) -> None:
    held_out = pd.read_parquet(study / "areas.parquet")
    income = held_out[held_out["outcome"] == "income"].set_index("area")
    middle = income[income["decile"].isin([5, 6])].index
    places = pd.read_parquet(study / "predictions.parquet")
    places = places[places["outcome"] == "income"]
    chosen = places[places["area"].isin(middle)].groupby("area").head(5).iloc[:10].copy()
    chosen["area"] = ["A"] * 5 + ["B"] * 5
    chosen[["location_id", "area"]].to_csv(city, index=False)
    predicted(run, bundle, study, city)
    areas = pd.read_parquet(city.with_name("out") / "areas.parquet")
    found = areas.loc[areas["outcome"] == "income", "decile"]
    assert len(found) == 2
    assert found.between(3, 8).all()
    predicted(run, study, study, city, "from-the-study")  # whose own cut points are the same
    again = pd.read_parquet(city.with_name("from-the-study") / "areas.parquet")
    assert again["decile"].tolist() == areas["decile"].tolist()


def test_classes_of_the_new_city_need_five_areas_each(
    run: Run, refuse: Refuse, bundle: Path, study: Path, city: Path
) -> None:
    store, out = study / "features" / "shares.h5", city.with_name("here")
    words = ("predict", bundle, "--features", store, "--locations", city, "--cut", "here")
    code, _, err = run(*words, "--out", out)
    assert code == 0, err
    assert "66 areas, deciles cut within this city" in err
    sizes = pd.read_parquet(out / "areas.parquet").groupby(["outcome", "decile"]).size()
    assert set(sizes) == {6, 7}
    table = pd.read_csv(city)
    table[table["area"] < "N49"].to_csv(city, index=False)
    said = refuse(*words, "--out", city.with_name("few"))
    assert "49 areas are too few for 10 classes of 5 or more each" in said


def test_areas_are_refused_where_a_bundle_has_no_cut_points(
    refuse: Refuse, bundle: Path, study: Path, city: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    replace(Bundle.load(bundle), cut_points=None).save(tmp_path / "without")
    store = study / "features" / "shares.h5"
    words = ("--features", store, "--locations", city, "--out", tmp_path / "out")
    assert "between which scores the classes" in refuse("predict", tmp_path / "without", *words)
    file = tmp_path / "without" / "bundle.json"
    about = json.loads(file.read_text())
    about["cut_points"] = {name: [0.5, 0.1] for name in about["outcomes"]}
    file.write_text(json.dumps(about))
    assert "are not ascending" in refuse("predict", tmp_path / "without", *words)


def test_a_second_run_replaces_the_first_only_when_asked_and_never_another_file(
    run: Run, refuse: Refuse, bundle: Path, study: Path, city: Path
) -> None:
    predicted(run, bundle, study, city)
    store, out = study / "features" / "shares.h5", city.with_name("out")
    words = ("predict", bundle, "--features", store, "--out", out, "--locations")
    before = (out / "predictions.parquet").read_bytes()
    assert "an earlier run wrote this; choose another name" in refuse(*words, city)
    (out / "notes.txt").write_text("mine")
    assert run(*words, city, "--force")[0] == 0
    assert (out / "predictions.parquet").read_bytes() == before
    assert (out / "notes.txt").read_text() == "mine"
    skipped = out / "skipped.parquet"
    assert "this is an input" in refuse(*words, skipped, "--force")
    skipped.write_text("mine")
    assert "nothing that this command writes" in refuse(*words, city, "--force")
    assert skipped.read_text() == "mine"


def test_a_bundle_with_half_of_the_area_of_applicability_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    known = Bundle.load(bundle)
    parts = {k: v for k, v in (known.area_of_applicability or {}).items() if k != "spread"}
    replace(known, area_of_applicability=parts).save(tmp_path / "half")
    with pytest.raises(InputError, match=r"area_of_applicability\.\* do not fit"):
        Bundle.load(tmp_path / "half")
    replace(known, area_of_applicability=None).save(tmp_path / "none")
    assert Bundle.load(tmp_path / "none").area_of_applicability is None


def test_a_study_lends_the_model_of_all_its_areas(
    run: Run, bundle: Path, study: Path, city: Path
) -> None:
    expected, _ = predicted(run, bundle, study, city)
    for i, name in enumerate((study, study / "model", study / "model" / "all")):
        frame, err = predicted(run, name, study, city, f"out-{i}")
        pd.testing.assert_frame_equal(frame, expected)
        assert ("the model of all areas" in err) == (i < 2)


def test_without_such_a_model_the_others_are_named(
    refuse: Refuse, study: Path, city: Path, tmp_path: Path
) -> None:
    shutil.copytree(study / "model" / "fold-1", tmp_path / "model" / "fold-1")
    sentence = refuse(
        "predict",
        tmp_path / "model",
        "--features",
        study / "features" / "shares.h5",
        "--locations",
        city,
        "--out",
        tmp_path / "out",
    )
    assert "no model that was trained on all areas" in sentence
    assert "fold-1" in sentence


def test_a_store_of_another_backbone_is_refused(
    refuse: Refuse, bundle: Path, city: Path, tmp_path: Path
) -> None:
    def store(backbone: str, dimension: int, views: list[str]) -> Path:
        made = FeatureStore.create(
            tmp_path / "s.h5", ["P00000"], views, dimension, {"backbone": backbone}
        )
        features = np.zeros((1, len(views), dimension), np.float32)
        made.write(np.array([0]), features, np.ones((1, len(views)), bool))
        return tmp_path / "s.h5"

    for given, reason in (
        (("efficientnet-lite0", 4, ["1", "2"]), "come from 'efficientnet-lite0'"),
        (("table", 5, ["1", "2"]), "5 features a view, and the bundle was trained on 4"),
        (("table", 4, ["a", "b"]), "its views are a, b, and the bundle was trained on 1, 2"),
    ):
        sentence = refuse(
            "predict",
            bundle,
            "--features",
            store(*given),
            "--locations",
            city,
            "--out",
            tmp_path / "out",
        )
        assert reason in sentence


def test_predict_wants_images_or_features(
    refuse: Refuse, bundle: Path, city: Path, tmp_path: Path
) -> None:
    words = ("predict", bundle, "--locations", city, "--out", tmp_path / "out")
    assert "give --images or --features" in refuse(*words)
    assert "give a store with --features" in refuse(*words, "--images", tmp_path / "images")
    assert "hf://user/name@revision" in refuse("predict", "hf://city", *words[2:], "--images", ".")
    nothing = refuse("predict", tmp_path / "none", *words[2:], "--images", tmp_path)
    assert "there is no bundle here" in nothing


def test_predict_takes_an_address(
    run: Run, bundle: Path, study: Path, city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = bundle.with_name("0123abc")
    commit.symlink_to(bundle)
    monkeypatch.setattr("streetgauge.model.hub.from_hub", lambda address: commit)
    frame, err = predicted(run, "hf://me/city@v1", study, city)
    pd.testing.assert_frame_equal(frame, predicted(run, bundle, study, city, "other")[0])
    assert "hf://me/city@v1: commit 0123abc" in err


def test_an_exported_bundle_has_the_figures_of_the_test(study: Path, bundle: Path) -> None:
    metrics = json.loads((study / "metrics.json").read_text())["outcomes"]["income"]
    kept = Bundle.load(bundle)
    assert kept.metrics is not None
    for key in ("metrics", "baselines", "gain"):
        assert kept.metrics["outcomes"]["income"][key] == metrics[key]
    assert "confusion" not in kept.metrics["outcomes"]["income"]
    assert kept.licence == "CC-BY-4.0"
    card = (bundle / "README.md").read_text()
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert f"{metrics['metrics']['spearman']['value']:.2f} (" in card
    assert "| Household income | 49 |" in card
    assert kept.source["outcomes"]["income"]["direction"] == "higher-is-better"


def test_export_without_test_figures_says_so(run: Run, study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    (tmp_path / "study" / "metrics.json").unlink()
    code, out, err = run("export", tmp_path / "study", "--out", tmp_path / "b")
    assert code == 0, err
    assert "no test figures" in out
    assert "names no licence" in out
    assert Bundle.load(tmp_path / "b").metrics is None


def test_export_can_publish(
    run: Run, refuse: Refuse, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(
        "streetgauge.model.hub.push",
        lambda place, name, public: sent.append((place, name, public)) or f"hf://{name}@abc",
    )
    words = ("export", study, "--out", tmp_path / "b", "--push", "me/city")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert "HF_TOKEN" in refuse(*words)
    assert not (tmp_path / "b").exists()  # it is seen to first
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert "Published: hf://me/city@abc" in run(*words, "--public")[1]
    assert sent == [(tmp_path / "b", "me/city", True)]


def test_info_says_what_a_bundle_is(run: Run, refuse: Refuse, bundle: Path, tmp_path: Path) -> None:
    code, out, _ = run("info", bundle, "--json")
    assert code == 0
    said = json.loads(out)
    assert said["format"] == "streetgauge-bundle 4"
    assert said["licence"] == "CC-BY-4.0"
    assert said["backbone"] == "table"
    assert said["views"] == "1, 2"
    assert "ensemble_size" in said["settings"]
    assert "tune" not in said["settings"]  # it never was
    assert "Household income" in said["outcome income"]
    assert "Spearman 0." in said["outcome income"]
    assert "as described" in said["weights"]
    shutil.copytree(bundle, tmp_path / "b")
    with (tmp_path / "b" / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    assert "not those" in json.loads(run("info", tmp_path / "b", "--json")[1])["weights"]
    (tmp_path / "b" / "bundle.json").write_text('{"format": "streetgauge-bundle"}')
    assert "does not describe a bundle" in refuse("info", tmp_path / "b")


def test_the_authors_weights_become_a_bundle_that_predicts(
    run: Run, refuse: Refuse, tmp_path: Path
) -> None:
    state = {}
    for name, (shape, _) in LAYERS.items():
        # As small as trained ones are: scores of others are refused.
        state[f"{name}.weight"] = torch.randn(shape) / shape[1] ** 0.5
        state[f"{name}.bias"] = torch.zeros(shape[0])
    torch.save(state, tmp_path / "london.pth")
    words = ("import-weights", tmp_path / "london.pth", "--out", tmp_path / "london")
    assert "income" in refuse(*words)
    assert "one word" in refuse(*words, "--outcome", "mean income")
    assert run(*words, "--outcome", "income", "--place", "London")[0] == 0
    there = "this exists already; choose another name, or use --force."
    assert there in refuse(*words, "--outcome", "income")
    assert run(*words, "--outcome", "income", "--force")[0] == 0
    said = json.loads(run("info", tmp_path / "london", "--json")[1])
    assert said["backbone"] == "vgg16-caffe-fc6"
    store = FeatureStore.create(
        tmp_path / "fc6.h5", ["one", "two"], list("abcd"), 4096, {"backbone": "vgg16-caffe-fc6"}
    )
    features = np.random.default_rng(0).normal(-5, 8, (2, 4, 4096)).astype(np.float32)
    store.write(np.arange(2), features, np.ones((2, 4), bool))
    (tmp_path / "places.csv").write_text("location_id\none\ntwo\n")
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
    assert len(pd.read_parquet(tmp_path / "out" / "predictions.parquet")) == 2
    assert "is not a PyTorch file" in refuse(
        "import-weights",
        tmp_path / "places.csv",
        "--outcome",
        "income",
        "--out",
        tmp_path / "other",
    )
    # A file that holds no weights is refused as such, before anything else is asked for.
    assert "is not a PyTorch file" in refuse(
        "import-weights", tmp_path / "places.csv", "--out", tmp_path / "other"
    )
    for name in ("no-such.pth", "no-such.npy"):
        said = refuse("import-weights", name, "--out", tmp_path / "x")
        assert f"{name}: there is no such file; give the authors' weights" in said
    assert "this is a folder" in refuse("import-weights", tmp_path, "--out", tmp_path / "x")
    (tmp_path / "text.npy").write_text("hello")
    said = refuse("import-weights", tmp_path / "text.npy", "--out", tmp_path / "x.safetensors")
    assert "text.npy: despite its name this is not a NumPy array file" in said


def test_vgg16_becomes_one_file(
    run: Run, refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {"conv1_1": (3, 3, 3, 2), "fc6": (7 * 7 * 2, 3)}
    monkeypatch.setattr(caffe, "VGG16", shapes)
    layers = {n: [np.ones(s, np.float32), np.ones(s[-1], np.float32)] for n, s in shapes.items()}
    np.save(tmp_path / "vgg16.npy", np.array(layers, dtype=object), allow_pickle=True)
    words = ("import-weights", tmp_path / "vgg16.npy", "--out")
    assert ".safetensors" in refuse(*words, tmp_path / "vgg16")
    code, _, err = run(*words, tmp_path / "vgg16.safetensors")
    assert code == 0, err
    assert load_file(tmp_path / "vgg16.safetensors")["fc6.weight"].shape == (3, 98)
    assert "--force" in refuse(*words, tmp_path / "vgg16.safetensors")


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        ({"engine": "torch", "precision": "float32"}, {"engine": "openvino"}, None),
        ({"precision": "int8", "cosine": "0.994"}, {"cosine": "1.0"}, "int8 here, in float32"),
        ({"cosine": "1.0"}, {"precision": "int8", "cosine": "0.994"}, "float32 here, in int8"),
        ({"precision": "int8"}, {"precision": "int8"}, None),
    ],
)
def test_engines_in_float32_may_be_exchanged_and_another_precision_is_reported(
    bundle: Path, study: Path, here: dict[str, str], there: dict[str, str], said: str | None
) -> None:
    from dataclasses import replace

    from streetgauge.model.transfer import compare_with

    store = FeatureStore.open(Study.open(study).features)
    store.attributes.update(here)
    model = Bundle.load(bundle)
    notes = compare_with(replace(model, source={**model.source, **there}), store)
    assert len(notes) == (said is not None)
    if said is not None:
        assert said in notes[0]
        if "cosine" in here:
            assert "cosine to float32 0.9940" in notes[0]


@pytest.fixture
def boundaries(tmp_path: Path) -> Path:
    """Squares N00 to N66, whose names try to break a page, and one that is not in the table."""
    from shapely.geometry import box

    codes = [f"N{i:02d}" for i in range(67)] + ["Z00"]
    squares = [
        box(500 * (i % 9), 500 * (i // 9), 500 * (i % 9) + 500, 500 * (i // 9) + 500)
        for i in range(68)
    ]
    frame = {"code": codes, "name": [f"<b>{code}" for code in codes]}
    shapes = gpd.GeoDataFrame(frame, geometry=squares, crs="EPSG:27700")
    shapes[shapes["code"] != "N02"].to_file(tmp_path / "shapes.gpkg")
    return tmp_path / "shapes.gpkg"


def payload_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found
    return json.loads(found[1])


def test_a_city_without_labels_has_a_report_and_a_map_of_its_deciles(
    run: Run, bundle: Path, study: Path, city: Path, boundaries: Path
) -> None:
    out = city.with_name("out")
    words = ("--boundaries", boundaries, "--code", "code", "--name", "name")
    store = study / "features" / "shares.h5"
    code, _, err = run(
        *("predict", bundle, "--features", store, "--locations", city, "--out", out), *words
    )
    assert code == 0, err
    areas = pd.read_parquet(out / "areas.parquet")
    income = areas[areas["outcome"] == "income"].set_index("area")["decile"]
    for page in (out / "map.html", out / "report.html"):
        shown = payload_of(page)
        assert shown["geometry"]["width"] == shown["geometry"]["height"] * 9 // 8
        first = dict(zip(shown["codes"], shown["outcomes"][0]["decile"], strict=True))
        assert {code: each for code, each in first.items() if code in income} == income.to_dict()
        assert shown["names"][0] == "<b>N00"
        assert "Z00" not in first
        assert "actual" not in shown["outcomes"][0]
    # Counts on the screen and in the report are those of the table.
    sizes = income.value_counts().reindex(range(1, 11), fill_value=0)
    line = f"Household income: areas in decile 1 (worst off) to 10: {', '.join(map(str, sizes))}"
    assert line in err
    text = (out / "report.html").read_text()
    cells = "".join(f'<td class="n">{size}</td>' for size in sizes)
    assert f'<th scope="row">Household income</th>{cells}' in text
    assert "1 area not on the map: the boundaries lack the code" in err
    # Figures of the other city, and named as such.
    metrics = Bundle.load(bundle).metrics
    assert metrics is not None
    mae = metrics["outcomes"]["income"]["metrics"]["mae"]["value"]
    assert f'<td class="n">{mae:.2f} (' in text
    assert "Figures of Grid, not of out" in text
    assert "<strong>Not measured.</strong>" in text
    cuts = Bundle.load(bundle).cut_points
    assert cuts is not None
    assert "".join(f'<td class="n">{cut:.3f}</td>' for cut in cuts["income"]) in text
    outside = areas.drop_duplicates("area")["outside_aoa"]
    assert f"{outside.sum()} of 66 areas" in text
    assert str(city.parent) not in text
    assert "Bundle “bundle”, model “all”, of Grid" in text
    assert "<li>1 area not on the map: the boundaries lack the code.</li>" in text


def test_a_city_without_boundaries_or_areas_has_a_report_that_states_why_there_is_no_map(
    run: Run, bundle: Path, study: Path, city: Path
) -> None:
    predicted(run, bundle, study, city)
    text = (city.with_name("out") / "report.html").read_text()
    assert "no boundaries were given" in text
    assert not (city.with_name("out") / "map.html").exists()
    pd.read_csv(city)[["location_id"]].to_csv(city, index=False)
    predicted(run, bundle, study, city, "places")
    text = (city.with_name("places") / "report.html").read_text()
    assert "predictions of locations only" in text
    assert "Not known: the table names no areas" in text
    assert "<script" not in text
    assert "the store has no features of it" in text


def test_a_map_that_was_made_before_goes_with_its_predictions_and_no_page_of_others_does(
    run: Run, refuse: Refuse, bundle: Path, study: Path, city: Path, boundaries: Path
) -> None:
    store, out = study / "features" / "shares.h5", city.with_name("out")
    words = ("predict", bundle, "--features", store, "--locations", city, "--out", out, "--force")
    shapes = ("--boundaries", boundaries, "--code", "code")
    assert run(*words, *shapes)[0] == 0
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    assert run(*words)[0] == 0
    assert not (out / "map.html").exists()
    (out / "predictions.parquet").unlink()  # as of a run that was killed
    assert run(*words[:-1], *shapes)[0] == 0
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
    (out / "map.html").write_text("<p>mine</p>")
    assert "nothing that this command writes" in refuse(*words)
    assert (out / "map.html").read_text() == "<p>mine</p>"


def test_boundaries_that_are_of_other_areas_are_refused(
    refuse: Refuse, bundle: Path, study: Path, city: Path, boundaries: Path
) -> None:
    store, out = study / "features" / "shares.h5", city.with_name("out")
    words = ("predict", bundle, "--features", store, "--locations", city, "--out", out)
    said = refuse(*words, "--boundaries", boundaries, "--code", "name")
    assert "column 'name' has none of the areas that the locations lie in" in said
    assert "there is no column 'area'" in refuse(*words, "--boundaries", boundaries)
    assert "there is no such file" in refuse(*words, "--boundaries", boundaries.with_name("x.gpkg"))
    assert "--code, --name" in refuse(*words, "--boundaries", boundaries, "--code", "")
    (city.with_name("list.csv")).write_text("area,name\nN00,one\nN01,two\n")
    said = refuse(*words, "--boundaries", city.with_name("list.csv"))
    assert "it has no boundaries" in said
    assert not out.exists()


def test_the_card_of_a_bundle_names_its_cut_points(bundle: Path) -> None:
    cuts = Bundle.load(bundle).cut_points
    assert cuts is not None
    row = f"| Household income | {', '.join(f'{cut:.3f}' for cut in cuts['income'])} |"
    assert row in (bundle / "README.md").read_text()
