"""A city that another city's model predicts, where the deciles of some areas are known."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from streetgauge.errors import InputError
from streetgauge.evaluation import equal_count
from streetgauge.evaluation.best import AreaKnowledge
from streetgauge.pipeline.predict_best import FEWEST, add_best, placements_of, read_labels

SIDE = 14


class City:
    """Squares whose outcome is half what images show, and half what neighbours share."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        number = np.arange(SIDE**2)
        east, north = number % SIDE, number // SIDE
        self.codes = pd.Index([f"C{i:03d}" for i in number], name="area", dtype="str")
        shape = [
            box(1000 * x, 1000 * y, 1000 * x + 1000, 1000 * y + 1000)
            for x, y in zip(east, north, strict=True)
        ]
        self.shapes = gpd.GeoDataFrame({"geometry": shape}, index=self.codes, crs="EPSG:27700")
        seen = rng.normal(size=len(number))
        near = np.sin(east / 3) + np.cos(north / 3)
        actual = equal_count(seen + near / near.std() + 0.2 * rng.normal(size=len(number)))
        self.actual = pd.Series(actual, self.codes)
        score = 0.3 + 0.5 * seen + 0.3 * rng.normal(size=len(number))  # of another city's model
        features = np.column_stack([seen + 0.3 * rng.normal(size=len(number)) for _ in range(4)])
        self.areas = pd.DataFrame({"area": self.codes, "outcome": "income", "score": score})
        self.areas["decile"] = pd.array(equal_count(score), dtype="Int64")
        locations = pd.DataFrame({"area": self.codes})
        self.known = AreaKnowledge(
            self.codes,
            pd.DataFrame(features, self.codes),
            placements=placements_of(self.shapes, locations),
        )
        self.labelled = pd.Index(np.sort(rng.permutation(self.codes)[: len(number) // 2]))

    def labels(self, count: int | None = None) -> pd.DataFrame:
        chosen = self.labelled if count is None else self.labelled[:count]
        return self.actual.loc[chosen].astype(float).to_frame("income").rename_axis("area")

    def error(self, rows: pd.DataFrame, column: str) -> float:
        actual = self.actual[rows["area"]].to_numpy()
        return float((rows[column].astype(float) - actual).abs().mean())


@pytest.fixture(scope="module")
def city() -> City:
    return City()


def test_known_deciles_make_the_estimate_of_all_other_areas_better(city: City) -> None:
    found, (line,) = add_best(city.areas, city.labels(), city.known)
    assert set(found["best_from"]) == {"images, places"}
    others = found[~found["area"].isin(city.labelled)]
    assert city.error(others, "best_decile") < 0.6 * city.error(others, "decile")
    actual = city.actual[others["area"]].to_numpy()
    inside = (others["best_low"] <= actual) & (actual <= others["best_high"])
    assert 0.82 < inside.mean() < 0.98
    tested = found[found["area"].isin(city.labelled)]
    figures = (city.error(tested, "best_decile"), city.error(tested, "decile"))
    assert f"is {figures[0]:.2f} off, and images alone {figures[1]:.2f}" in line
    assert f"in {len(city.labelled)} areas" in line


def test_the_estimate_of_an_area_does_not_know_its_own_decile(city: City) -> None:
    one = city.labelled[5]
    labels = city.labels()
    other = labels.copy()
    other.loc[one] = 11 - other.loc[one]
    before, after = (
        add_best(city.areas, each, city.known)[0].set_index("area")["best_score"]
        for each in (labels, other)
    )
    assert before[one] == after[one]
    assert (before != after).mean() > 0.5  # but others do


def test_without_labels_enough_no_column_claims_to_be_the_best_estimate(city: City) -> None:
    found, (line,) = add_best(city.areas, city.labels(FEWEST - 1), city.known)
    assert list(found) == list(city.areas)
    assert "no best estimate, since the decile of 9 areas is known, and 10 are needed" in line
    found, _ = add_best(city.areas, city.labels(FEWEST), city.known)
    assert found["best_decile"].notna().all()
    twice = pd.concat([city.areas, city.areas.assign(outcome="health")], ignore_index=True)
    found, _ = add_best(twice, city.labels(), city.known)  # of health no decile is known
    assert found.groupby("outcome")["best_decile"].count().to_dict() == {
        "health": 0,
        "income": SIDE**2,
    }


def test_classes_are_those_of_the_labels(city: City) -> None:
    rich = city.labels().clip(lower=8)  # all of this city is in the nation's upper third
    found, _ = add_best(city.areas, rich, city.known)
    assert (found["best_decile"] >= 8).mean() > 0.9


def test_places_come_from_boundaries_or_coordinates_or_are_not_used(city: City) -> None:
    names = pd.DataFrame(index=city.codes)
    places = pd.DataFrame({"area": city.codes, "lat": 51.0, "lon": np.linspace(0, 1, SIDE**2)})
    assert placements_of(names, places[["area"]]) is None
    assert list(placements_of(names, places).coordinates) == ["locations"]
    assert list(placements_of(city.shapes, places).coordinates) == ["centroids", "locations"]
    assert placements_of(names, places.assign(lat=np.nan)) is None
    alone = AreaKnowledge(city.codes, city.known.features)
    found, _ = add_best(city.areas, city.labels(), alone)
    assert set(found["best_from"]) == {"images"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("area,income_decile\na,3\na,4\n", "'a'"),
        ("area,income_decile\na,3\nb,0\n", "income_decile is '0' in area 'b'"),
        ("area,income_decile\na,2.5\n", "give a whole number from 1 to 10, or nothing"),
        ("area,health\na,3\n", "name it income_decile"),
        ("code,income_decile\na,3\n", "area"),
    ],
)
def test_labels_that_are_no_classes_of_the_bundles_outcomes_are_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_labels(tmp_path / "labels.csv", ["income"], 10)


def test_labels_are_read_from_csv_and_from_the_outcomes_of_a_study(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("area,income_decile,other\n b,,\na,3,x\n")
    found = read_labels(tmp_path / "labels.csv", ["income", "health"], 10)
    assert found.index.tolist() == ["a", "b"]
    assert found["income"].tolist()[0] == 3
    assert np.isnan(found["income"]["b"])
    table = pd.DataFrame({"area": ["a", "b"], "income_decile": pd.array([3, None], dtype="Int64")})
    table.to_parquet(tmp_path / "outcomes.parquet")
    pd.testing.assert_frame_equal(
        read_labels(tmp_path / "outcomes.parquet", ["income"], 10), found, check_dtype=False
    )
