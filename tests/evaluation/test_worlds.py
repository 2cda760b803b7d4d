"""The whole stage ``areas`` on small worlds whose answers are known, the odd ones above all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from streetgauge.errors import InputError
from streetgauge.io.files import write_table
from streetgauge.pipeline.areas import make_areas
from streetgauge.pipeline.run import run_stage
from streetgauge.progress import silent
from streetgauge.settings import FoldSettings
from streetgauge.study import Study

STUDY = (Path(__file__).parents[1] / "minimal.toml").read_text("utf-8")
AREAS = 'code = "code"\ndistrict = "district"\ncolumns = ["people", "ward"]\n'
MORE = """
[folds]
k = 4
other_folds = false
[deciles]
classes = {classes}
[evaluation]
draws = 200
{evaluation}
"""
PER_AREA = 3
SIDE = 14


@dataclass
class World:
    """What the stage has made of it."""

    account: dict
    metrics: dict
    areas: pd.DataFrame
    study: Study


def world(
    place: Path,
    income: np.ndarray,
    score: np.ndarray,
    *,
    classes: int = 10,
    outcome: str = "",
    evaluation: str = "",
    people: np.ndarray | None = None,
    published: np.ndarray | None = None,
    fold: np.ndarray | None = None,
    split_areas: bool = False,
    oracle: np.ndarray | None = None,
) -> World:
    """Run the stage on areas of a square grid; all locations of an area have its score."""
    n = len(income)
    code = np.array([f"E{i:05d}" for i in range(n)])
    x, y = 1060 + np.arange(n) % SIDE, 360 + np.arange(n) // SIDE
    place.mkdir(parents=True, exist_ok=True)
    about = {
        "code": code,
        "district": np.where(x < 1060 + SIDE // 2, "West", "East"),
        "ward": [f"W{a // 2}-{b // 2}" for a, b in zip(x, y, strict=True)],
        "people": np.ones(n) if people is None else people,
    }
    shapes = [
        box(a * 500, b * 500, a * 500 + 500, b * 500 + 500) for a, b in zip(x, y, strict=True)
    ]
    gpd.GeoDataFrame(about, geometry=shapes, crs="EPSG:27700").to_file(
        place / "areas.geojson", driver="GeoJSON", engine="pyogrio"
    )
    table = pd.DataFrame({"code": code, "income": income, "decile": published})
    table.to_csv(place / "outcomes.csv", index=False)
    of = np.repeat(np.arange(n), PER_AREA)
    rng = np.random.default_rng(0)
    spot = np.column_stack([x[of], y[of]]) * 500 + rng.uniform(20, 480, (len(of), 2))
    points = gpd.GeoSeries.from_xy(spot[:, 0], spot[:, 1], crs="EPSG:27700").to_crs(4326)
    ids = np.array([f"P{i:05d}" for i in range(len(of))])
    pd.DataFrame({"place": ids, "lat": points.y, "lon": points.x}).to_csv(
        place / "places.csv", index=False
    )
    (place / "features.csv").write_text("place,f0\n")
    if oracle is not None:
        pd.DataFrame({"location_id": ids, "income": oracle[of]}).to_csv(
            place / "oracle.csv", index=False
        )
        evaluation += '\noracle = "oracle.csv"'
    text = STUDY.replace('code = "code"\n', AREAS).replace('better"\n', f'better"\n{outcome}\n')
    text += MORE.format(classes=classes, evaluation=evaluation)
    (place / "study.toml").write_text(text)
    study = Study.open(place)
    for name in ("outcomes", "locations"):
        run_stage(study, name, silent)
    told = pd.read_parquet(study.outcomes).set_index("area")["income_decile"]
    part = (1 + np.arange(n) % 4 if fold is None else fold)[of]
    if split_areas:
        part = np.where((of == 0) & (np.arange(len(of)) % 2 == 1), 1 + part % 4, part)
    predictions = pd.DataFrame(
        {
            "location_id": ids,
            "area": code[of],
            "fold": part.astype(np.int64),
            "outcome": "income",
            "score": score[of].astype(float),
            "decile": 1,
            "actual_decile": told.reindex(code[of]).array,
        }
    )
    write_table(predictions, study.predictions)
    write_table(predictions[["location_id", "area", "fold"]].assign(n_views=2), study.folds)
    splits = pd.concat(
        pd.DataFrame(
            {
                "location_id": ids,
                "area": code[of],
                "split": f"fold-{k}",
                "fold": k,
                "part": np.where(part == k, "test", "training"),
            }
        )
        for k in np.unique(part)
    )
    folds = FoldSettings().model_dump(mode="json", exclude={"file"})
    write_table(splits, study.splits, {"folds": folds})
    means = rng.normal(size=(n, 3)).astype(np.float32)
    write_table(
        pd.DataFrame({"area": code, "n_locations": PER_AREA, "features": list(means)}),
        study.area_features,
    )
    make_areas(study, "cache_key", silent)
    metrics = json.loads(study.metrics.read_text())
    areas = pd.read_parquet(study.areas).set_index("area")
    return World(metrics["outcomes"]["income"], metrics, areas, study)


def values(n=SIDE**2, seed=0):
    """Incomes that are all different and lie anyhow."""
    return np.exp(np.random.default_rng(seed).normal(size=n))


def agrees(found: World) -> None:
    """All are in their actual class."""
    metrics = found.account["metrics"]
    assert metrics["mae"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert metrics["spearman"]["value"] == pytest.approx(1)
    assert found.account["intervals"]["share"] == 1


def test_images_that_are_the_truth_are_right_everywhere_and_add_all_that_was_missing(tmp_path):
    income = values()
    found = world(tmp_path, income, income, evaluation='levels = ["ward"]')
    agrees(found)
    best = min(each["mae"] for each in found.account["baselines"].values())
    assert found.account["gain"]["mae"]["value"] == pytest.approx(best)
    assert found.account["intervals"]["mean_width"] == 1
    assert found.account["structure"]["residuals"]["value"] is None  # nothing is left
    assert found.metrics["levels"]["ward"]["outcomes"]["income"]["metrics"]["mae"]["value"] < 0.3


def test_images_that_are_noise_add_nothing_and_that_is_reported(tmp_path):
    found = world(tmp_path, values(), values(seed=1))
    metrics, adds = found.account["metrics"], found.account["gain"]
    assert abs(metrics["spearman"]["value"]) < 2.5 / SIDE
    assert metrics["spearman"]["low"] < 0 < metrics["spearman"]["high"]
    assert adds["mae"]["high"] < 0  # the constant is nearer
    assert adds["over"] == "constant"
    assert adds["spearman"]["low"] < 0
    held = found.account["intervals"]
    assert held["low"] <= 0.9
    assert held["share"] > 0.84
    assert held["mean_width"] > 7


@pytest.mark.parametrize("classes", [2, 3, 20])
def test_any_number_of_classes_is_predicted(tmp_path, classes):
    income = values()
    agrees(world(tmp_path / "truth", income, income, classes=classes))
    noisy = world(tmp_path / "noise", income, values(seed=1), classes=classes)
    assert noisy.areas["decile"].between(1, classes).all()
    assert noisy.areas["decile"].value_counts().agg(np.ptp) <= 1
    assert noisy.areas[[f"p{k}" for k in range(1, classes + 1)]].sum(axis=1).round(9).eq(1).all()
    assert noisy.account["metrics"]["mae"]["value"] == pytest.approx(
        (classes**2 - 1) / (3 * classes), rel=0.2
    )


def test_one_area_with_half_of_the_people_counts_as_all_the_others(tmp_path):
    income = values()
    people = np.ones(SIDE**2)
    people[7] = SIDE**2 - 1
    found = world(tmp_path, income, values(seed=1), people=people, evaluation='weight = "people"')
    error = (found.areas["decile"] - found.areas["actual_decile"]).abs().astype(float)
    mae = found.account["metrics"]["mae"]
    assert mae["value"] == pytest.approx(np.average(error, weights=people))
    assert mae["value"] == pytest.approx((error.iloc[7] + error.drop(error.index[7]).mean()) / 2)
    # Drawn or not drawn, it moves the figure far more than any other.
    plain = world(tmp_path / "plain", income, values(seed=1)).account["metrics"]["mae"]
    assert mae["high"] - mae["low"] > 3 * (plain["high"] - plain["low"])


def test_areas_that_are_all_in_one_class_but_one_are_reported_as_such(tmp_path):
    n = SIDE**2
    published = np.ones(n)
    published[7] = 4
    chosen = 'deciles = "published"\ndecile = "decile"'
    found = world(tmp_path, values(), values(seed=1), published=published, outcome=chosen)
    assert sorted(found.areas["decile"]) == sorted(published)
    assert found.account["metrics"]["mae"]["value"] == pytest.approx(6 / n)
    assert found.account["metrics"]["exact"]["value"] == 1 - 2 / n
    assert found.areas["low"].eq(1).sum() >= n - 1
    with pytest.raises(InputError, match="constant"):
        world(tmp_path / "all", values(), values(), published=np.ones(n), outcome=chosen)


def test_an_outcome_that_the_richer_half_lacks_is_measured_among_those_that_have_it(tmp_path):
    income = values()
    known = np.where(income <= np.median(income), income, np.nan)
    found = world(tmp_path, known, income)
    agrees(found)
    half = SIDE**2 // 2
    assert found.account["n_areas"] == found.account["n_areas_without_actual"] == half
    without = found.areas["actual_decile"].isna()
    # They are better off than the best of those that are known.
    assert found.areas.loc[without, "decile"].eq(10).all()


def test_an_outcome_that_half_of_the_areas_lack_by_chance_changes_little(tmp_path):
    income = values()
    lost = np.random.default_rng(3).permutation(SIDE**2) % 2 == 0
    found = world(tmp_path, np.where(lost, np.nan, income), income)
    agrees(found)
    whole = pd.qcut(income, 10, labels=False) + 1
    assert np.abs(found.areas["decile"].to_numpy() - whole)[lost].mean() < 0.5


def test_a_value_that_many_areas_share_is_no_error_of_images_that_show_it(tmp_path):
    income = np.sort(values())
    income[10:37] = income[10]  # on the border of two classes: all are in the lower one
    income = income[np.random.default_rng(2).permutation(SIDE**2)]
    found = world(tmp_path, income, income)
    agrees(found)
    assert found.areas["actual_decile"].eq(1).sum() == 37


def test_a_constant_of_units_is_one_class_whatever_the_folds(tmp_path):
    # Folds differ in their medians: a constant that was cut again would be anything.
    income = values()
    fold = 1 + pd.qcut(income, 4, labels=False)
    found = world(tmp_path, income, values(seed=1), fold=fold, evaluation='levels = ["ward"]')
    level = found.metrics["levels"]["ward"]["outcomes"]["income"]
    assert level["baselines"]["constant"]["mae"] < 3
    assert level["gain"]["mae"]["value"] <= 0


def test_units_of_which_little_is_known_have_no_actual_decile(tmp_path):
    income = values()
    x, y = np.arange(SIDE**2) % SIDE, np.arange(SIDE**2) // SIDE
    few = (x < 8) & ~((x % 2 == 0) & (y % 2 == 0))  # one of four areas of these wards is known
    found = world(tmp_path, np.where(few, np.nan, income), income, evaluation='levels = ["ward"]')
    wards = pd.read_parquet(found.study.level("ward")).set_index("area")
    assert len(wards) == 49
    unknown = wards.index[wards["actual_decile"].isna()]
    assert set(unknown) == {f"W{a}-{b}" for a in range(530, 534) for b in range(180, 187)}
    level = found.metrics["levels"]["ward"]["outcomes"]["income"]
    assert level["n_areas"] == 21
    assert level["metrics"]["spearman"]["value"] > 0.9


def test_an_area_that_is_split_between_folds_has_the_attainable_figures_next_to_it(tmp_path):
    income = values()
    found = world(tmp_path, income, values(seed=1), split_areas=True, oracle=income)
    assert found.metrics["scheme"]["split_areas"] == 1
    assert found.account["oracle"]["mae"]["value"] == 0
    assert found.account["baselines"] == {}


def test_the_best_possible_is_that_of_the_same_areas(tmp_path):
    income = values()
    known = np.where(income <= np.median(income), income, np.nan)
    score = income + np.random.default_rng(5).normal(0, 0.05, len(income))
    found = world(tmp_path, known, score, oracle=income)
    assert found.account["oracle"]["mae"]["value"] == 0
    share = found.account["oracle"]["share_of_attainable"]
    assert share["spearman"] == pytest.approx(found.account["metrics"]["spearman"]["value"])
    assert 0 < share["mae"] < 1
