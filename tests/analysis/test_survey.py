"""A survey's direct estimates combined with what images show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.analysis.survey import FayHerriot, combine
from streetgauge.errors import InputError
from streetgauge.report.text import survey_sentences
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


def world(
    seed: int, n: int = 150, effects: float = 0.7
) -> tuple[pd.Series, pd.DataFrame, pd.DataFrame]:
    """True values, direct estimates with their variances, and scores that show half."""
    rng = np.random.default_rng(seed)
    codes = pd.Index([f"a{i:03d}" for i in range(n)])
    score = rng.normal(size=n)
    true = 2 + 0.7 * score + effects * rng.normal(size=n)
    variance = rng.uniform(0.4, 1.6, n)
    survey = pd.DataFrame(
        {"direct": true + rng.normal(0, np.sqrt(variance)), "variance": variance}, codes
    )
    return pd.Series(true, codes), survey, pd.DataFrame({"score": score}, codes)


@pytest.mark.parametrize("seed", range(4))
def test_estimates_and_their_errors_are_those_of_samplics(seed: int) -> None:
    sae = pytest.importorskip("samplics.sae", reason="samplics is not installed")
    _, survey, scores = world(seed, n=60)
    theirs = sae.EblupAreaModel()
    theirs.fit(
        yhat=survey["direct"].to_numpy(),
        X=scores.to_numpy(),
        area=np.arange(60),
        error_std=np.sqrt(survey["variance"].to_numpy()),
        tol=1e-12,
        maxiter=1000,
    )
    theirs.predict(X=scores.to_numpy(), area=np.arange(60))
    table, model = combine(survey, scores)
    assert model.coefficients == pytest.approx(theirs.fixed_effects, abs=1e-6)
    assert np.sqrt(np.diag(model.covariance)) == pytest.approx(theirs.fe_std, abs=1e-6)
    assert model.area_variance == pytest.approx(theirs.re_std**2, abs=1e-6)
    assert table["estimate"].to_numpy() == pytest.approx([*theirs.area_est.values()], abs=1e-6)
    assert table["mse"].to_numpy() == pytest.approx([*theirs.area_mse.values()], abs=1e-6)


def test_on_simulated_surveys_errors_fall_by_a_fifth_and_are_stated_rightly() -> None:
    squared, stated, direct, held = [], [], [], []
    for seed in range(60):
        true, survey, scores = world(seed)
        table = combine(survey, scores)[0].set_index("area")
        squared.append(((table["estimate"] - true) ** 2).mean())
        stated.append(table["mse"].mean())
        direct.append(((survey["direct"] - true) ** 2).mean())
        held.append(((table["low"] <= true) & (true <= table["high"])).mean())
    assert np.mean(squared) <= 0.8 * np.mean(direct)
    assert np.mean(stated) == pytest.approx(np.mean(squared), rel=0.05)
    assert 0.87 <= np.mean(held) <= 0.92


def test_the_images_weigh_most_where_the_survey_is_poorest() -> None:
    _, survey, scores = world(1)
    table, model = combine(survey, scores)
    weight = table["images_weight"]
    assert weight.to_numpy() == pytest.approx(
        table["variance"] / (table["variance"] + model.area_variance)
    )
    assert weight.corr(table["variance"], method="spearman") == pytest.approx(1)


def test_areas_outside_the_survey_have_the_error_of_the_model_alone() -> None:
    squared, stated = [], []
    for seed in range(60):
        true, survey, scores = world(seed)
        table = combine(survey.iloc[:100], scores)[0].set_index("area")
        outside = table[table["from"] == "images"]
        assert (outside["images_weight"] == 1).all()
        assert outside["direct"].isna().all()
        squared.append(((outside["estimate"] - true.iloc[100:]) ** 2).mean())
        stated.append(outside["mse"].mean())
    assert np.mean(stated) == pytest.approx(np.mean(squared), rel=0.05)


def test_areas_without_a_prediction_keep_the_survey_whatever_the_order_of_rows() -> None:
    _, survey, scores = world(2)
    table = combine(survey, scores.iloc[5:])[0]
    alone = table[table["from"] == "survey"]
    assert alone["area"].tolist() == scores.index[:5].tolist()
    assert (alone["estimate"] == alone["direct"]).all()
    assert (alone["mse"] == alone["variance"]).all()
    shuffled = combine(survey.sample(frac=1, random_state=1), scores.iloc[5:].iloc[::-1])[0]
    pd.testing.assert_frame_equal(shuffled, table)


def test_without_effects_of_areas_the_images_have_all_the_weight() -> None:
    at_zero = [
        model
        for seed in range(20)
        if not (model := combine(*world(seed, effects=0.0)[1:])[1]).area_variance
    ]
    assert 5 <= len(at_zero) <= 15  # half of the likelihoods are highest at 0


def test_too_few_areas_or_constant_predictions_are_refused() -> None:
    _, survey, scores = world(0)
    with pytest.raises(InputError, match="9 of its areas have a prediction; at least 10"):
        combine(survey.iloc[:9], scores)
    with pytest.raises(InputError, match="constant or collinear"):
        combine(survey, scores * 0)


@pytest.fixture
def asked(finished: Path, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """A finished study, and a survey of its first outcome."""
    study = Study.open(finished)
    outcome = next(iter(study.settings.outcomes))
    values = pd.read_parquet(study.outcomes).set_index("area")[f"{outcome}_value"].dropna()
    rng = np.random.default_rng(0)
    error = values.std() * rng.uniform(0.3, 0.8, len(values))
    table = pd.DataFrame({"area": values.index, "estimate": values + rng.normal(0, error)})
    return finished, table.assign(se=error, outcome=outcome).reset_index(drop=True)


def test_a_study_and_a_survey_give_a_table_a_layer_and_a_slide(
    asked: tuple[Path, pd.DataFrame], tmp_path: Path, run: Run
) -> None:
    place, survey = asked
    file, outcome = tmp_path / "survey.csv", survey["outcome"].iloc[0]
    few = survey.iloc[3:].drop(columns="outcome")
    few.loc[len(few) + 9] = ["X99", 1.0, 1.0]
    few.to_csv(file, index=False)
    before = file.read_bytes()
    command = ("survey", place, "--table", file, "--se", "se", "--outcome", outcome)
    code, out, err = run(*command)
    assert code == 0, err
    assert "Excluded: 1 area of the survey outside the study (X99)." in out.replace("\n", " ")
    study = Study.open(place)
    table = pd.read_parquet(study.survey)
    assert table["from"].value_counts()["images"] >= 1
    direct = few.set_index("area")["estimate"].reindex(table["area"])
    assert table["direct"].to_numpy() == pytest.approx(direct.to_numpy(), nan_ok=True)
    layer = gpd.read_file(study.survey_layer)
    assert set(layer["area"]) == set(table["area"])
    with Image.open(study.survey_map) as image:
        assert image.size == (1920, 1080)
    stored = [path.read_bytes() for path in (study.survey, study.survey_layer, study.survey_map)]
    assert run(*command)[0] == 0
    assert stored == [p.read_bytes() for p in (study.survey, study.survey_layer, study.survey_map)]
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"se": 0.0}, "0: an estimate of a survey has a sampling error above 0"),
        ({"se": None}, "empty: an estimate of a survey has a sampling error above 0"),
        ({"se": -1.0}, "-1: an estimate"),
        ({"estimate": "many"}, "many"),
        ({"area": "double"}, "appears more than once"),
    ],
)
def test_a_survey_that_cannot_be_used_is_one_sentence(
    asked: tuple[Path, pd.DataFrame],
    tmp_path: Path,
    refuse: Refuse,
    change: dict[str, object],
    words: str,
) -> None:
    place, survey = asked
    file, outcome = tmp_path / "survey.csv", survey["outcome"].iloc[0]
    survey = survey.astype({"estimate": object})
    for column, value in change.items():
        survey.loc[4, column] = survey["area"].iloc[0] if value == "double" else value
    survey.to_csv(file, index=False)
    line = refuse("survey", place, "--table", file, "--se", "se", "--outcome", outcome)
    assert words in line
    assert "survey.csv" in line
    assert not (place / "survey.parquet").exists()


def test_no_area_of_the_study_an_unknown_outcome_and_no_outcome_are_one_sentence(
    asked: tuple[Path, pd.DataFrame], tmp_path: Path, refuse: Refuse
) -> None:
    place, survey = asked
    file, outcome = tmp_path / "survey.csv", survey["outcome"].iloc[0]
    survey.assign(area=[f"Z{i}" for i in range(len(survey))]).to_csv(file, index=False)
    start = ("survey", place, "--table", file, "--se", "se")
    assert "is one of the study's" in refuse(*start, "--outcome", outcome)
    assert "the study has no such outcome" in refuse(*start, "--outcome", "incme")
    assert "outcomes; name what the survey is about with --outcome" in refuse(*start)
    line = refuse("survey", place, "--table", tmp_path / "none.csv", "--outcome", outcome)
    assert "none.csv: there is no such file; correct the path" in line
    own = place / "survey.parquet"
    survey.to_parquet(own)
    line = refuse("survey", place, "--table", own, "--se", "se", "--outcome", outcome)
    assert "this is an input (--table)" in line
    assert len(pd.read_parquet(own)) == len(survey)


def test_each_sentence_on_a_survey_stands_only_where_it_is_true() -> None:
    _, survey, scores = world(3)
    table, model = combine(survey, scores)
    plain = {
        "standard_error": {"survey": 2.0, "combined": 1.0},
        "n": {"survey and images": len(table)},
        "images_weight": 0.6,
        "area_variance": model.area_variance,
        "coefficients": {
            "constant": {"value": 0.0, "standard_error": 1.0},
            "income": {"value": 2.0, "standard_error": 1.0},
        },
        "unknown": [],
    }
    (line,) = survey_sentences(plain)
    assert "is 1 with images, 50% less than without (2); images have 60% of the weight" in line
    more = plain | {"n": {"survey and images": 9, "images": 2, "survey": 1}, "unknown": ["X"]}
    more |= {"area_variance": 0.0}
    more |= {"coefficients": {"income": {"value": 1.0, "standard_error": 1.0}}}
    text = " ".join(survey_sentences(more))
    for words in ("No variance between areas", "not shown that images help", "2 areas outside"):
        assert words in text
    assert "stands in 1 area without a prediction" in text
    assert "outside the study (X)" in text


def test_a_fit_holds_no_training_data() -> None:
    _, survey, scores = world(4, n=30)
    model = FayHerriot.fit(*survey.to_numpy().T, scores.to_numpy())
    assert sum(np.size(each) for each in vars(model).values()) == 8
