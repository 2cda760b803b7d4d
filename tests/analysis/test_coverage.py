"""Whether having images is related to the outcome."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from streetgauge.analysis.coverage import choose_strata, measure_coverage, reweighted, wilson
from streetgauge.errors import InputError
from streetgauge.report.text import coverage_sentences

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]

# Areas of decile 1 to 10 without an image, as its publisher counted them.
ENGLAND = (0.455, 0.362, 0.316, 0.276, 0.248, 0.247, 0.244, 0.237, 0.260, 0.297)


def world(seed: int, n: int, odds_ratio: float) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Numbers of images, deciles and districts, some of which have few images as a whole.

    The odds of having none are ``odds_ratio`` times as high in decile 1 as in decile 10.
    """
    rng = np.random.default_rng(seed)
    areas = pd.Index([f"a{i:04d}" for i in range(n)])
    decile = rng.permutation(np.arange(n) % 10 + 1)
    district = rng.integers(0, n // 50, n)
    logit = -0.85 + rng.normal(0, 0.8, n // 50)[district] + np.log(odds_ratio) * (5.5 - decile) / 9
    none = rng.random(n) < 1 / (1 + np.exp(-logit))
    images = np.where(none, 0, 1 + rng.poisson(5, n))
    return (
        pd.Series(images, areas),
        pd.Series(decile, areas),
        pd.Series(district, areas).astype(str),
    )


def alarms(n: int, odds_ratio: float) -> int:
    worlds = (world(seed, n, odds_ratio) for seed in range(100))
    return sum(measure_coverage(*each, draws=199)["is_related"] for each in worlds)


def test_images_that_are_missing_at_random_raise_at_most_ten_alarms_in_a_hundred() -> None:
    assert alarms(1500, 1.0) <= 10


def test_twice_the_odds_between_the_end_deciles_are_found_in_eighty_of_a_hundred() -> None:
    assert alarms(1500, 2.0) >= 80


def test_districts_that_differ_in_images_and_outcome_are_no_relation_within_them() -> None:
    rng = np.random.default_rng(0)
    areas = [f"a{i}" for i in range(2000)]
    is_rural = np.arange(2000) < 1000
    decile = pd.Series(
        np.where(is_rural, rng.integers(6, 11, 2000), rng.integers(1, 6, 2000)), areas
    )
    images = pd.Series((rng.random(2000) < np.where(is_rural, 0.2, 0.9)).astype(int), areas)
    district = pd.Series(np.where(is_rural, "rural", "urban"), areas)
    assert measure_coverage(images, decile)["is_related"]
    assert not measure_coverage(images, decile, district)["is_related"]


def test_a_gap_in_the_middle_deciles_is_found_though_there_is_no_trend() -> None:
    decile = pd.Series(np.arange(1000) % 10 + 1, [f"a{i}" for i in range(1000)])
    none = np.random.default_rng(1).random(1000) < np.where(decile.isin([5, 6]), 0.5, 0.2)
    found = measure_coverage(pd.Series(np.where(none, 0, 4), decile.index), decile)
    assert found["p_any"] < 0.01 < found["p_trend"]
    assert found["is_related"]


def test_neither_the_order_of_the_areas_nor_areas_without_a_decile_change_anything() -> None:
    images, decile, district = world(3, 500, 2.0)
    more = pd.concat([images, pd.Series([0, 0], ["x", "y"])]).sample(frac=1, random_state=1)
    unknown = pd.concat([decile, pd.Series([np.nan], ["x"])])
    assert measure_coverage(images, decile, district) == measure_coverage(more, unknown, district)


def test_people_in_areas_without_an_image_are_added_up_by_decile() -> None:
    areas = list("abcd")
    found = measure_coverage(
        pd.Series([0, 3, 0, 1], areas),
        pd.Series([1, 1, 2, 2], areas),
        classes=2,
        people=pd.Series([100.0, 300.0, 50.0, 50.0], areas),
    )
    assert [(e["people"], e["people_without"]) for e in found["by_decile"]] == [
        (400, 100),
        (100, 50),
    ]
    assert "30% of the people live in areas without an image." in coverage_sentences(
        found, "all", 2
    )


def test_weights_give_each_decile_its_part_of_all_areas() -> None:
    """Decile 1 is half of the areas and a fifth of those measured; it is 2 off, 3 is right."""
    decile = pd.Series([1] * 10 + [3] * 10, [f"a{i}" for i in range(20)])
    images = pd.Series([1, 1] + [0] * 8 + [1] * 8 + [0] * 2, decile.index)
    found = measure_coverage(images, decile, classes=3)
    confusion = [[0, 0, 2], [0, 0, 0], [0, 0, 8]]
    weighted = reweighted(confusion, found)
    assert weighted is not None
    assert (weighted["mae"], weighted["mae_weighted"]) == (pytest.approx(0.4), pytest.approx(1.0))
    assert weighted["missing"] == []
    nobody = reweighted([[0, 0, 0], [0, 0, 0], [0, 0, 8]], found)
    assert nobody is not None
    assert nobody["missing"] == [1]
    text = coverage_sentences(found | {"reweighted": weighted}, "all", 3)
    assert "all areas, the mean absolute error would be 1.00, not 0.40." in text[-1]
    text = coverage_sentences(found | {"reweighted": nobody}, "all", 3)
    assert text[-1] == "No measured area stands for class 1."
    alike = weighted | {"mae_weighted": 0.401}
    assert "would be" not in " ".join(coverage_sentences(found | {"reweighted": alike}, "all", 3))
    assert reweighted(np.zeros((3, 3)), found) is None


def test_intervals_of_shares_are_scipy_s() -> None:
    for count, n in ((0, 5), (1, 9), (300, 1000), (7, 7)):
        expected = binomtest(count, n).proportion_ci(0.9, method="wilson")
        assert wilson(count, n, 0.9) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_where_all_or_none_have_images_nothing_is_tested_and_it_says_so() -> None:
    decile = pd.Series([1, 2, 3, 4], list("abcd"))
    everywhere = measure_coverage(pd.Series(2, decile.index), decile)
    assert everywhere["p_value"] is None
    assert not everywhere["is_related"]
    assert coverage_sentences(everywhere, "all", 10) == ["All 4 areas have images."]
    nowhere = measure_coverage(pd.Series(0, decile.index), decile)
    assert "cannot be tested" in " ".join(coverage_sentences(nowhere, "all", 10))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        *((each, f"{float(each)} is not a number") for each in (-1, 1.5, np.inf)),
        (np.nan, "it has no number"),
    ],
)
def test_a_number_of_images_that_cannot_be_one_is_refused(value: float, reason: str) -> None:
    with pytest.raises(InputError, match=f"area 'b': {reason} of images"):
        measure_coverage(pd.Series([1.0, value], ["a", "b"]), pd.Series([1, 2], ["a", "b"]))


def test_deciles_that_are_none_are_refused() -> None:
    images = pd.Series([1, 0], ["a", "b"])
    with pytest.raises(InputError, match="between 1 and 10"):
        measure_coverage(images, pd.Series([0, 11], ["a", "b"]))
    with pytest.raises(InputError, match="whole numbers between 1 and 10"):
        measure_coverage(images, pd.Series([1.5, 2], ["a", "b"]))
    with pytest.raises(InputError, match="no area has both"):
        measure_coverage(images, pd.Series([1, 2], ["c", "d"]))


def test_a_number_of_people_below_nought_is_refused() -> None:
    images, decile = (pd.Series([1, 2], ["a", "b"]) for _ in range(2))
    with pytest.raises(InputError, match=r"area 'b': -5\.0 is not a number of people"):
        measure_coverage(images, decile, people=pd.Series([3.0, -5.0], ["a", "b"]))


def test_nine_areas_have_a_rank_correlation_and_no_interval_of_it() -> None:
    decile = pd.Series(range(1, 11), [f"a{i}" for i in range(10)])
    assert measure_coverage(decile, decile)["spearman"]["low"] == pytest.approx(1)
    few = decile.iloc[:9]
    found = measure_coverage(few, few)
    assert found["spearman"] == {"value": pytest.approx(1), "low": None, "high": None}
    assert coverage_sentences(found, "all", 10) == ["All 9 areas have images."]


def test_one_city_is_one_stratum_and_a_country_has_squares_of_20_km() -> None:
    city = pd.DataFrame({"x": [100.0, 900.0], "y": [5.0, 5.0]}, ["a", "b"])
    assert choose_strata(pd.Series(["E06"] * 2, ["a", "b"]), city).kind == "all"
    country = city * [30.0, 1.0]
    assert choose_strata(pd.Series([None] * 2, ["a", "b"]), country).kind == "blocks"


def test_england_s_most_deprived_tenth_has_the_most_areas_without_an_image(
    shared_data: Path, run: Run
) -> None:
    file = shared_data / "coverage" / "mapillary_lsoa21.csv.gz"
    columns = ("--area", "lsoa21", "--images", "images", "--decile", "imd2025_decile")
    code, out, err = run("coverage", file, *columns, "--x", "easting", "--y", "northing", "--json")
    assert code == 0, err
    found = json.loads(out)
    about = found["outcomes"]["imd2025_decile"]
    assert [round(each["share"], 3) for each in about["by_decile"]] == pytest.approx(ENGLAND)
    assert all(each["low"] < each["share"] < each["high"] for each in about["by_decile"])
    assert found["strata"] == "blocks"
    assert about["is_related"]
    assert 0.1 < about["spearman"]["low"] < about["spearman"]["high"] < 0.2


def test_a_study_is_measured_before_its_features_and_after_with_the_same_result(
    grid: Path, run: Run
) -> None:
    """Nobody took an image in half of the areas of the lowest income."""
    incomes = pd.read_csv(grid / "outcomes.csv").set_index("code")["income"]
    features = pd.read_csv(grid / "features.csv")
    area = features["place"].str[1:].astype(int) // 8
    poor = incomes.rank(ascending=True).to_numpy()[area] <= 25
    features[~(poor & (area % 2 == 0))].to_csv(grid / "features.csv", index=False)
    for stage in ("outcomes", "locations"):
        assert run(stage, grid)[0] == 0
    before = json.loads(run("coverage", grid, "--json")[1])
    gone = int((incomes.rank().to_numpy()[::2] <= 25).sum())
    assert before["outcomes"]["income"]["n_without"] == gone > 5
    assert sum(e["n_without"] for e in before["outcomes"]["income"]["by_decile"][:5]) == gone
    assert before["outcomes"]["income"]["is_related"]
    assert not before["outcomes"]["illness"]["is_related"]
    assert run("features", grid)[0] == 0
    assert json.loads(run("coverage", grid, "--json")[1]) == before
    assert json.loads((grid / "coverage.json").read_text("utf-8")) == before
    code, out, _ = run("coverage", grid)
    assert code == 0
    assert f"income: {gone} of 49 areas" in out


def test_an_evaluated_study_has_its_error_as_of_all_areas(finished: Path, run: Run) -> None:
    """All areas have images, so that weights change nothing."""
    found = json.loads(run("coverage", finished, "--json")[1])["outcomes"]
    metrics = json.loads((finished / "metrics.json").read_text("utf-8"))["outcomes"]
    for name, about in found.items():
        mae = metrics[name]["metrics"]["mae"]["value"]
        assert about["reweighted"]["mae"] == pytest.approx(mae)
        assert about["reweighted"]["mae_weighted"] == pytest.approx(mae)


def test_simulated_features_have_no_images(grid: Path, run: Run, refuse: Refuse) -> None:
    file = grid / "study.toml"
    head, _, rest = file.read_text("utf-8").partition("[features]")
    rest = rest.partition("[folds]")[2]
    file.write_text(f'{head}[features]\nsource = "simulated"\n\n[folds]{rest}', "utf-8")
    for stage in ("outcomes", "locations"):
        assert run(stage, grid)[0] == 0
    assert "simulated features have no images" in refuse("coverage", grid)


def test_what_a_table_lacks_is_one_sentence(tmp_path: Path, refuse: Refuse) -> None:
    table = tmp_path / "areas.csv"
    table.write_text("code,n,imd\na,1,1\na,2,2\n", "utf-8")
    assert "a table needs --decile" in refuse("coverage", table, "--area", "code", "--images", "n")
    named = ("--area", "code", "--images", "n", "--decile", "imd")
    assert "'a'" in refuse("coverage", table, *named)
    table.write_text("code,n,imd\na,1,1\nb,many,2\n", "utf-8")
    assert "row 3, column 'n': 'many' is not a number" in refuse("coverage", table, *named)
    assert "--area" in refuse("coverage", tmp_path, "--area", "code")
    table.write_text("code,n,imd,x\na,1,1,5\nb,2,2,6\n", "utf-8")
    assert "--x, --y: a position needs both" in refuse("coverage", table, *named, "--x", "x")
    assert "there is no such file or folder; name a study" in refuse("coverage", tmp_path / "x.csv")
