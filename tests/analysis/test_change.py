"""What has changed between images of two years, apart from camera and season."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from small_worlds import change as settings
from streetgauge.analysis.change import FeatureShift, estimate_change
from streetgauge.errors import InputError
from streetgauge.report.text import change_sentences
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


def world(
    seed: int, n: int = 120, share: float = 0.2, locations: int = 8, shift: float = 1.0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    """Scores of two years that show half of a class, their classes, and what has changed."""
    rng = np.random.default_rng(seed)
    codes = pd.Index([f"a{i:03d}" for i in range(n)])
    actual = pd.Series(rng.permutation(n) * 10 // n + 1.0, codes)
    true = pd.Series(np.where(rng.random(n) < share, rng.choice([-2.0, 2.0], n), 0.0), codes)
    own = rng.normal(0, 0.3, n)
    place = rng.normal(0, 0.5, (n, locations))
    years = []
    for year, mean in enumerate((actual, actual + true)):
        new = rng.normal(0, 0.2, n)[:, None] + rng.normal(0, 0.5, (n, locations))
        score = 0.5 * mean.to_numpy()[:, None] + own[:, None] + place + new
        score = score if year == 0 else shift + 1.1 * score
        frame = pd.DataFrame({"area": np.repeat(codes, locations), "score": score.ravel()})
        years.append(frame.assign(location_id=[f"l{i}" for i in range(len(frame))]))
    return years[0], years[1], actual, true


def test_planted_changes_are_found_and_a_shift_of_all_areas_is_removed() -> None:
    ranks, errors, held, false = [], [], [], []
    for seed in range(8):
        first, second, actual, true = world(seed)
        found = estimate_change(first, second, actual)
        assert found is not None
        table, about = found
        planted = true[table["area"]].to_numpy()
        ranks.append(roc_auc_score(planted != 0, (table["change"] / table["standard_error"]).abs()))
        errors.append(table["change"].to_numpy() - planted)
        held.append(((table["low"] <= planted) & (planted <= table["high"])).mean())
        false.append((table["flagged"] & (planted == 0)).sum() / max(table["flagged"].sum(), 1))
        assert 0.9 <= about["shift"] * about["score_per_class"] / 1.275 <= 1.1
    assert np.mean(ranks) >= 0.9
    assert np.mean(errors) == pytest.approx(0, abs=0.1)
    assert 0.88 <= np.mean(held) <= 0.97
    assert np.mean(false) <= 0.1


def test_without_a_change_almost_no_area_is_flagged_and_intervals_hold_zero() -> None:
    flagged, held = [], []
    for seed in range(20):
        first, second, actual, _ = world(seed, share=0)
        found = estimate_change(first, second, actual)
        assert found is not None
        flagged.append(found[0]["flagged"].mean())
        held.append(((found[0]["low"] <= 0) & (found[0]["high"] >= 0)).mean())
    assert np.mean(flagged) <= 0.01
    assert max(flagged) <= 0.05
    assert 0.87 <= np.mean(held) <= 0.93


def test_an_area_with_fewer_locations_has_a_wider_interval() -> None:
    first, second, actual, _ = world(0, share=0)
    few = second[~(second["area"].eq("a000") & (second.index % 8 > 0))]
    found = estimate_change(first, few, actual)
    assert found is not None
    table = found[0].set_index("area")
    assert table.loc["a000", "n_second"] == 1
    rest = table["standard_error"].drop("a000")
    assert rest.max() == pytest.approx(rest.min())
    assert table.loc["a000", "standard_error"] > 1.3 * rest.max()


def test_the_same_locations_in_both_years_count_as_pairs() -> None:
    first, second, actual, _ = world(1, share=0)
    paired, apart = (
        estimate_change(first, second.assign(location_id=ids), actual)
        for ids in (second["location_id"], "other " + second["location_id"])
    )
    assert paired is not None
    assert apart is not None
    assert paired[1]["within"] < 0.85 * apart[1]["within"]


def test_one_location_an_area_is_compared_by_the_spread_of_all_areas_alone() -> None:
    first, second, actual, _ = world(2, share=0, locations=1)
    found = estimate_change(first, second, actual)
    assert found is not None
    assert found[1]["within"] == 0
    assert found[1]["between"] > 0
    assert not found[0]["flagged"].any()


def test_neither_the_order_of_rows_nor_an_area_of_one_year_changes_the_others() -> None:
    first, second, actual, _ = world(3)
    expected = estimate_change(first, second, actual)
    more = pd.concat([second, second.iloc[:1].assign(area="new")]).sample(frac=1, random_state=0)
    found = estimate_change(first.iloc[::-1], more, actual)
    assert expected is not None
    assert found is not None
    pd.testing.assert_frame_equal(found[0], expected[0])


def test_images_that_are_the_same_in_both_years_are_refused() -> None:
    first, _, actual, _ = world(5)
    with pytest.raises(InputError, match="half of the areas have the same scores in both years"):
        estimate_change(first, first, actual)


def test_scores_that_do_not_rise_with_the_class_show_no_change() -> None:
    first, second, actual, _ = world(4)
    rng = np.random.default_rng(0)
    assert estimate_change(first, second, -actual) is None
    assert estimate_change(first, second, actual[:9]) is None
    assert estimate_change(first, second, actual * 0 + 5) is None
    blind = pd.Series(rng.permutation(actual), actual.index)
    assert estimate_change(first, second, blind) is None


def test_the_shift_of_a_camera_is_removed_from_features_and_a_change_of_few_areas_is_not() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(3, 2, (200, 2))
    second = first.mean(axis=0) + (first - first.mean(axis=0)) * 1.5 + [4, -1]
    second[:20, 0] += 6
    spread = (np.full(2, 2.0), np.full(2, 3.0))
    aligned = FeatureShift.fit(first, second, spread).remove(second)
    assert aligned[20:] == pytest.approx(first[20:], abs=0.6)
    assert (aligned[:20, 0] - first[:20, 0]).mean() == pytest.approx(4, abs=0.6)


def test_features_that_do_not_clearly_differ_are_left_almost_as_they_are() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=(200, 60))
    second = first + rng.normal(0, 0.5, first.shape)
    found = FeatureShift.fit(first, second, (np.ones(60), rng.normal(1, 0.05, 60)))
    chance = np.abs(np.median(second - first, axis=0)).mean()
    assert np.abs(found.shift).mean() < 0.5 * chance
    assert np.abs(np.log(found.scale)).mean() < 0.02


@pytest.fixture
def years(
    finished_plain: Path, made_once: Callable[..., Path], tmp_path: Path
) -> tuple[Path, Path]:
    """Give two studies of a world: in the second year five areas are better off."""

    def make(place: Path) -> None:
        from streetgauge.pipeline.run import run_stage
        from streetgauge.progress import silent

        for name in ("first", "second"):
            shutil.copytree(finished_plain, place / name)
        file = place / "second" / "features.csv"
        table = pd.read_csv(file)
        rng = np.random.default_rng(5)
        names = ["f0", "f1", "f2", "f3"]
        table[names] = table[names] + rng.normal(0, 0.3, (len(table), 4))
        changed = table["place"].str[1:].astype(int) // 8 < 5
        table.loc[changed, "f0"] += 3.0
        table[names] = (table[names] * 1.2 + [2.0, -1.0, 1.0, 0.5]).round(4)
        table.to_csv(file, index=False)
        run_stage(Study.open(place / "second"), "features", silent)

    place = Path(shutil.copytree(made_once("years", make), tmp_path / "years"))
    return place / "first", place / "second"


def make(run: Run, study: Path) -> None:
    """Make a study's features again."""
    for stage in ("locations", "features"):
        code, _, err = run(stage, study)
        assert code == 0, err


def test_two_studies_give_a_table_a_layer_and_a_slide(years: tuple[Path, Path], run: Run) -> None:
    first, second = years
    before = (second / "run.json").read_bytes()
    code, out, err = run("change", first, second)
    assert code == 0, err
    text = " ".join(out.split())
    assert "Change is detected in" in text
    assert "cannot be distinguished from another camera or season" in text
    study = Study.open(first)
    table = pd.read_parquet(study.change).set_index(["outcome", "area"])
    income = table.loc["income"]
    better = [f"E{i:08d}" for i in range(5)]
    assert income["change"].nlargest(5).index.sort_values().tolist() == better
    assert income.loc[better, "flagged"].any()
    assert income["flagged"].drop(better).sum() == 0
    assert (income["low"] < income["change"]).all()
    layer = gpd.read_file(study.change_layer).set_index("area")
    assert layer["income_change"].to_numpy() == pytest.approx(income["change"].to_numpy())
    with Image.open(study.change_map) as image:
        assert image.size == (1920, 1080)
    files = (study.change, study.change_layer, study.change_map, study.change_findings)
    stored = [path.read_bytes() for path in files]
    assert run("change", first, second, "-q")[0] == 0
    assert stored == [path.read_bytes() for path in files]
    assert (second / "run.json").read_bytes() == before


def test_the_report_is_made_again_with_a_section_of_the_change(
    years: tuple[Path, Path], run: Run
) -> None:
    first, second = years
    assert run("change", first, second)[0] == 0
    assert run("report", first)[0] == 0
    page = (first / "report.html").read_text(encoding="utf-8")
    assert 'id="change"' in page
    assert "Change is detected in" in page
    assert "The map is change.png in the study’s directory" in page


def test_areas_of_one_year_are_listed(years: tuple[Path, Path], run: Run) -> None:
    first, second = years
    places = pd.read_csv(second / "places.csv")
    places[places["place"].str[1:].astype(int) >= 16].to_csv(second / "places.csv", index=False)
    make(run, second)
    code, out, err = run("change", first, second)
    assert code == 0, err
    line = "Excluded: 2 areas with images of the first year only (E00000000 and E00000001)."
    assert line in " ".join(out.split())
    assert pd.read_parquet(first / "change.parquet")["area"].nunique() == 47


def test_what_cannot_be_compared_is_one_sentence(
    years: tuple[Path, Path], run: Run, refuse: Refuse
) -> None:
    first, second = years
    assert "both are the same study; name the study of the other year's" in refuse(
        "change", first, first
    )
    assert "study.toml" in refuse("change", first, second / "none")
    places = pd.read_csv(second / "places.csv")
    few = places[places["place"].str[1:].astype(int) < 72]
    few.to_csv(second / "places.csv", index=False)
    assert "is not done, or what it depends on has changed" in refuse("change", first, second)
    make(run, second)
    assert "it shares 9 areas with images with" in refuse("change", first, second)
    settings(second, '"f3"]', '"f3", "f4"]')
    table = pd.read_csv(second / "features.csv")
    table.assign(f4=0.5).to_csv(second / "features.csv", index=False)
    make(run, second)
    assert "5 features a view, and the bundle was trained on 4" in refuse("change", first, second)
    assert not (first / "change.parquet").exists()


def test_each_sentence_on_a_change_stands_only_where_it_is_true() -> None:
    one = {"n_flagged": 3, "detectable": 2.04, "shift": -0.51}
    plain = {
        "classes": 10,
        "n_areas": 80,
        "false_discovery_rate": 0.05,
        "outcomes": {"income": one},
        "only": {"first": [], "second": []},
        "seen": [],
        "notes": [],
    }
    lines = change_sentences(plain, {"income": "Income"})
    assert lines[0].startswith("Change is detected in 3 (Income) of 80 areas; at most 5% of these")
    assert lines[1].endswith("at least 2.0 (Income) deciles.")
    assert "−0.5 (Income) deciles" in lines[2]
    assert len(lines) == 3
    none = change_sentences(plain | {"outcomes": {"income": one | {"n_flagged": 0}}})
    assert none[0] == "No change is detected in any of 80 areas."
    more = plain | {"outcomes": {"income": one, "crime": None}, "seen": ["X"], "notes": ["views"]}
    text = " ".join(change_sentences(more | {"only": {"first": ["A"], "second": ["B", "C"]}}))
    for words in ("do not show crime", "1 area with images of the first year only (A)", "Views."):
        assert words in text
    assert "2 areas with images of the second year only (B and C)" in text
    assert "1 area that were not held out (X)" in text
