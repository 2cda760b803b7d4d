"""Several cities that predict each other, and all together each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import h5py
import numpy as np
import pandas as pd
import pytest

from small_worlds import change
from streetgauge.analysis.pooling import METHODS, City, Pool
from streetgauge.errors import InputError
from streetgauge.features.store_file import put_text
from streetgauge.pipeline.pooling import _refuse_unlike, _shared_outcomes
from streetgauge.settings import EvaluationSettings

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]

FEW = EvaluationSettings(draws=100)


def city(name: str, *, sign: float = 1.0, n: int = 60) -> City:
    """A city that shows income in its first feature, in a light and a contrast of its own."""
    rng = np.random.default_rng([*name.encode()])
    codes = pd.Index([f"E{i:03d}" for i in range(n)], name="area")
    decile = rng.permutation(n) * 10 // n + 1.0
    features = rng.normal(size=(n, 12))
    features[:, 0] += sign * (decile - 5.5) / 2.9
    features = rng.uniform(0.5, 2, 12) * features + rng.normal(size=12)
    return City(name, pd.DataFrame(features, codes), pd.DataFrame({"income": decile}, codes))


def pool(*cities: City) -> Pool:
    return Pool(cities, evaluation=FEW)


def rho(frame: pd.DataFrame) -> pd.Series:
    return frame[["actual_decile", *METHODS]].corr(method="spearman")["actual_decile"]


def test_cities_alike_predict_each_other_and_one_that_shows_the_opposite_does_not() -> None:
    cities = pool(city("a"), city("b"), city("c", sign=-1.0))
    value = {
        (each["from"], each["to"]): each["spearman"]["value"] for each in cities.matrix("income")
    }
    assert len(value) == 6
    assert min(value["a", "b"], value["b", "a"]) > 0.5
    assert max(value["a", "c"], value["c", "a"], value["b", "c"]) < -0.3
    for each in cities.matrix("income"):
        assert each["n_areas"] == 60
        for metric in ("spearman", "mae"):
            assert each[metric]["low"] <= each[metric]["value"] <= each[metric]["high"]


def test_with_a_tenth_of_the_labels_pooled_is_at_least_as_good_as_a_single_city() -> None:
    found = []
    for seed in "abcde":
        cities = pool(*(city(f"{seed}{name}") for name in "xyz"))
        found += [rho(cities.estimates("income", name, share=0.1)) for name in cities.cities]
    mean = pd.concat(found, axis=1).mean(axis=1)
    assert mean["pooled"] > mean["own"] + 0.1
    assert mean["pooled"] > mean["others"] - 0.01


def test_a_city_that_shows_the_opposite_is_predicted_by_its_own_labels() -> None:
    found = []
    for seed in "abc":
        cities = pool(city(f"{seed}x"), city(f"{seed}y"), city(f"{seed}z", sign=-1.0))
        frame = cities.estimates("income", f"{seed}z")
        found.append(rho(frame))
        assert (frame.loc[frame["fold"] > 0, "gain"] > 0.2).all()
    mean = pd.concat(found, axis=1).mean(axis=1)
    assert mean["others"] < -0.4
    assert mean["pooled"] > max(0.5, mean["own"] - 0.1)


def test_no_area_is_predicted_by_its_own_label() -> None:
    first, second = city("a"), city("b")
    before = pool(first, second).estimates("income", "a")
    here = before["fold"] == 1
    other = first.deciles.copy()
    other.loc[here, "income"] = other.loc[here, "income"].to_numpy()[::-1]
    moved = Pool([replace(first, deciles=other), second], evaluation=FEW)
    labels = moved.cities["a"].labels("income")
    (split,) = (s for s in moved._splits("a", first.labels("income"), 1.0) if s.fold == 1)
    model = moved._ridge(["b"], "income")
    scores, _ = moved._corrected(model, "a", labels, split)
    np.testing.assert_allclose(scores, before.loc[here, "pooled"])


def test_a_city_without_labels_is_predicted_by_the_others_and_not_measured() -> None:
    blind = replace(city("c"), deciles=pd.DataFrame())
    cities = pool(city("a"), city("b"), blind)
    frame = cities.estimates("income", "c")
    np.testing.assert_array_equal(frame["pooled"], frame["others"])
    np.testing.assert_array_equal(frame["best"], frame["others"])
    assert cities.measured(frame) == {}
    assert {each["to"] for each in cities.matrix("income")} == {"a", "b"}
    truth = city("c").deciles["income"]
    assert frame["pooled"].corr(truth, method="spearman") > 0.5


def test_the_best_estimate_takes_up_what_the_study_knows() -> None:
    first = city("a")
    rng = np.random.default_rng(0)
    close = first.deciles + rng.normal(size=first.deciles.shape)  # neighbours, say
    cities = pool(replace(first, best=close), city("b"))
    found = rho(cities.estimates("income", "a"))
    assert found["best"] > found["pooled"] + 0.1


def test_nine_in_ten_areas_lie_in_the_intervals_of_the_best_estimate_and_these_are_narrow() -> None:
    held, width = [], []
    for seed in "abc":
        cities = pool(*(city(f"{seed}{name}", n=100) for name in "xy"))
        for name in cities.cities:
            frame = cities.estimates("income", name)
            classed = cities.classed(frame, "income", name)
            found = cities.coverage(frame, classed)
            assert found is not None
            assert found["n_areas"] == 100
            inside = frame["actual_decile"].between(classed["best_low"], classed["best_high"])
            assert found["share"] == pytest.approx(inside.mean())
            assert (classed["best_low"] <= classed["best_decile"]).all()
            held.append(found["share"])
            width.append(found["mean_width"])
    assert 0.87 < np.mean(held) < 0.94
    assert np.mean(width) < 7.2  # of an area of which nothing is known it is 9


def test_a_city_without_labels_gets_intervals_from_how_others_predict_each_other() -> None:
    held, width = [], []
    for seed in "abcdef":
        truth = city(f"{seed}z").deciles["income"]
        blind = replace(city(f"{seed}z"), deciles=pd.DataFrame())
        cities = pool(city(f"{seed}x"), city(f"{seed}y"), blind)
        frame = cities.estimates("income", blind.name)
        classed = cities.classed(frame, "income", blind.name)
        assert cities.coverage(frame, classed) is None
        held.append(truth.between(classed["best_low"], classed["best_high"]).mean())
        width.append((classed["best_high"] - classed["best_low"] + 1).mean())
    assert 0.85 < np.mean(held) < 0.96
    assert np.mean(width) < 8


def test_where_nothing_shows_how_large_errors_are_an_interval_is_everything() -> None:
    blind = replace(city("b"), deciles=pd.DataFrame())
    cities = pool(city("a"), blind)  # one city with labels: nobody predicts it
    classed = cities.classed(cities.estimates("income", "b"), "income", "b")
    assert (classed["best_low"] == 1).all()
    assert (classed["best_high"] == 10).all()


# ---- of studies ----


@pytest.fixture(scope="module")
def studies(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two finished studies whose areas have the same codes."""
    place = tmp_path_factory.mktemp("pool")
    for name in ("first", "second"):
        shutil.copytree(finished_once, place / name)
    return place / "first", place / "second"


def test_studies_are_pooled_and_areas_of_the_same_code_stay_apart(
    run: Run, refuse: Refuse, studies: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "pooled"
    code, screen, err = run("pool", *studies, "--out", out)
    assert code == 0, err
    assert "predicted by" in screen
    assert "Spearman's ρ of areas that were held out is" in screen
    table = pd.read_parquet(out / "pool.parquet")
    assert len(table) == len(table[["city", "area", "outcome"]].drop_duplicates())
    assert table.groupby(["city", "outcome"])["area"].nunique().tolist() == [49] * 4
    found = json.loads((out / "pool.json").read_text())
    assert found["outcomes"] == ["income", "illness"]
    assert len(found["matrix"]) == 4
    assert [each["n_models"] for each in found["results"]] == [5] * 4
    for each in found["results"]:
        assert each["methods"]["pooled"]["spearman"]["value"] > 0.7
        rows = table[(table["city"] == each["city"]) & (table["outcome"] == each["outcome"])]
        assert rows["pooled"].corr(rows["actual_decile"].astype(float), method="spearman") > 0.7
        assert rows["best_decile"].between(1, 10).all()
        held = rows["actual_decile"].between(rows["best_low"], rows["best_high"])
        assert each["intervals"]["share"] == pytest.approx(held.mean())
        assert each["intervals"]["n_areas"] == 49
    layer = gpd.read_file(out / "pool.gpkg")
    assert layer.groupby("city").size().tolist() == [49, 49]
    own = table[(table["city"] == "second") & (table["outcome"] == "income")].set_index("area")
    drawn = layer[layer["city"] == "second"].set_index("area")
    assert drawn["income_best_low"].equals(own["best_low"].astype(drawn["income_best_low"].dtype))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Which city predicts which" in page
    assert '"codes":["first: E00000000"' in page
    assert "intervals of the best estimate hold the actual class in" in screen
    matrix = pd.read_parquet(out / "pool-matrix.parquet")
    assert {"outcome", "from", "to", "spearman", "spearman_low", "mae_high"} <= set(matrix)
    assert "an earlier run wrote this" in refuse("pool", *studies, "--out", out)
    assert run("pool", *studies, "--out", out, "--force")[0] == 0


def test_what_cannot_be_pooled_is_refused_in_one_sentence(
    refuse: Refuse, studies: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = studies
    out = ("--out", tmp_path / "pooled")
    assert "one city cannot be pooled" in refuse("pool", first, *out)
    assert "named twice" in refuse("pool", first, second, first / "study.toml", *out)
    assert "which is read" in refuse("pool", first, second, "--out", first)
    other = Path(shutil.copytree(second, tmp_path / "other"))
    change(other, "[outcomes.income]", "[outcomes.wealth]")
    assert "run `streetgauge run" in refuse("pool", first, other, *out)
    assert not (tmp_path / "pooled").exists()


def test_outcomes_and_classes_that_studies_do_not_share_are_named() -> None:
    def study(name: str, classes: int, *outcomes: str) -> SimpleNamespace:
        settings = SimpleNamespace(
            outcomes=dict.fromkeys(outcomes), deciles=SimpleNamespace(classes=classes)
        )
        return SimpleNamespace(settings=settings, directory=Path(name), file=Path(name))

    names = {"A": study("a", 10, "income", "crime"), "B": study("b", 10, "health", "income")}
    shared, notes = _shared_outcomes(names)
    assert shared == ["income"]
    assert [note.partition(" is")[0] for note in notes] == ["A: crime", "B: health"]
    with pytest.raises(InputError, match=r"no outcome is in all of the studies .A: income, crime"):
        _shared_outcomes(names | {"C": study("c", 10, "crime_rate")})
    with pytest.raises(InputError, match="it has 5 classes, and a has 10"):
        _shared_outcomes(names | {"C": study("c", 5, "income")})


@pytest.mark.parametrize(
    ("change_to", "reason"),
    [
        ({"backbone": "vgg16-caffe-fc6"}, "come from 'vgg16-caffe-fc6'"),
        ({"transform": '{"columns": ["g0"]}'}, "not those of"),
    ],
)
def test_features_of_another_kind_are_refused(
    studies: tuple[Path, Path], tmp_path: Path, change_to: dict[str, str], reason: str
) -> None:
    here = studies[0] / "features" / "shares.h5"
    there = tmp_path / "other.h5"
    shutil.copy(here, there)
    _refuse_unlike(here, there)
    with h5py.File(there, "r+") as file:
        for name, text in change_to.items():
            put_text(file, name, text)
    with pytest.raises(InputError, match=reason):
        _refuse_unlike(here, there)
