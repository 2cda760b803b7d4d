"""The best estimate on worlds with a known answer."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr

from streetgauge.evaluation.baselines import Folds, Kriging, Placements
from streetgauge.evaluation.best import AreaKnowledge, best_estimates

AREAS, FOLDS = 150, 5


class World:
    """Areas on a plane: an outcome of what images show, of a smooth field, and of chance."""

    def __init__(self, seed: int, image: float = 1.0, place: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.codes = pd.Index([f"A{k:03d}" for k in range(AREAS)], name="area")
        points = rng.uniform(0, 10_000, (AREAS, 2))
        self.coordinates = pd.DataFrame(points, self.codes, ["x", "y"])
        shown, field = rng.normal(size=AREAS), np.zeros(AREAS)
        for centre in rng.uniform(0, 10_000, (8, 2)):
            distance = np.linalg.norm(points - centre, axis=1)
            field += rng.choice([-1, 1]) * np.exp(-((distance / 2500) ** 2))
        field = (field - field.mean()) / field.std()
        truth = image * shown + place * field + 0.5 * rng.normal(size=AREAS)
        self.decile = np.ceil(10 * rankdata(truth) / AREAS).astype(int)
        features = rng.normal(size=(AREAS, 12))
        features[:, 0] += 2 * shown
        self.features = pd.DataFrame(features, self.codes)
        self.fold = rng.permutation(np.arange(AREAS) % FOLDS) + 1
        self.score = self.learned()

    def learned(self) -> np.ndarray:
        """What a learner of images alone makes of the other folds, on the scale of its scores."""
        inputs = np.column_stack([np.ones(AREAS), self.features.to_numpy()])
        score = np.zeros(AREAS)
        for fold in range(1, FOLDS + 1):
            out = self.fold == fold
            weights = np.linalg.lstsq(inputs[~out], self.decile[~out], rcond=None)[0]
            score[out] = (inputs[out] @ weights - 5.5) * 4 / 9
        return score

    def areas(self) -> pd.DataFrame:
        """Rows as `aggregate` gives them."""
        return pd.DataFrame(
            {
                "area": self.codes,
                "outcome": "income",
                "fold": self.fold,
                "score": self.score,
                "actual_decile": pd.array(self.decile, "Int64"),
            }
        )

    def known(self, **other: object) -> AreaKnowledge:
        """All that is known besides labels."""
        placements = Placements({"centroids": self.coordinates})
        given = {"features": self.features, "placements": placements}
        return AreaKnowledge(self.codes, **{**given, **other})

    def kriging(self) -> pd.Series:
        """Scores from places alone."""
        actual, fold = pd.Series(self.decile, self.codes), pd.Series(self.fold, self.codes)
        return Folds(actual, fold).predict(Kriging(self.coordinates))


def trained(areas: pd.DataFrame) -> pd.DataFrame:
    """The training areas of every fold: all of the other folds that have a label."""
    labels = areas.dropna(subset="actual_decile").rename(columns={"actual_decile": "decile"})
    parts = [
        labels[labels["fold"] != fold].assign(fold=fold) for fold in sorted(areas["fold"].unique())
    ]
    columns = ["fold", "area", "outcome", "decile"]
    return pd.concat(parts, ignore_index=True)[columns].astype({"decile": "int64"})


def estimate(
    world: World, areas: pd.DataFrame | None = None, known: AreaKnowledge | None = None
) -> pd.DataFrame:
    """The best estimates of a world, by area."""
    areas = world.areas() if areas is None else areas
    found = best_estimates(areas, known or world.known(), trained(areas))
    return found.set_index("area")


@cache
def first_estimate(seed: int) -> pd.DataFrame:
    """The best estimates of a world as it is made, once for all tests; only to be read."""
    return estimate(World(seed))


def rho(world: World, scores: pd.Series) -> float:
    return float(spearmanr(scores.reindex(world.codes), world.decile)[0])


@pytest.mark.parametrize("seed", range(3))
def test_images_and_places_together_are_better_than_either_alone(seed: int) -> None:
    world = World(seed)
    best = rho(world, first_estimate(seed)["best_score"])
    alone = rho(world, pd.Series(world.score, world.codes))
    assert best > alone + 0.1
    assert best > rho(world, world.kriging()) + 0.1


@pytest.mark.parametrize("seed", range(3))
def test_places_that_tell_nothing_cost_next_to_nothing(seed: int) -> None:
    world = World(seed, place=0.0)
    alone = rho(world, pd.Series(world.score, world.codes))
    assert rho(world, estimate(world)["best_score"]) > alone - 0.02


@pytest.mark.parametrize("seed", range(3))
def test_images_that_tell_nothing_cost_little(seed: int) -> None:
    world = World(seed, image=0.0)
    assert rho(world, estimate(world)["best_score"]) > rho(world, world.kriging()) - 0.02


def test_labels_of_chance_are_not_predicted_in_any_direction() -> None:
    found = []
    for seed in range(5):
        world = World(seed)
        world.decile = np.random.default_rng(seed).permutation(world.decile)
        world.score = np.random.default_rng(seed + 100).normal(size=AREAS) * 1e-3  # says nothing
        found.append(rho(world, estimate(world)["best_score"]))
    assert abs(np.mean(found)) < 2.6 / np.sqrt(5 * AREAS)


def test_an_areas_own_label_does_not_reach_its_estimate() -> None:
    world = World(0)
    before = first_estimate(0)["best_score"]
    world.decile[7] = 11 - world.decile[7]
    after = estimate(world)["best_score"]
    own_fold = world.codes[world.fold == world.fold[7]]
    pd.testing.assert_series_equal(before[own_fold], after[own_fold])
    assert (before.drop(own_fold) != after.drop(own_fold)).any()


def test_the_order_of_the_rows_does_not_matter() -> None:
    world = World(1)
    areas = world.areas()
    shuffled = areas.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(first_estimate(1), estimate(world, shuffled))


def test_intervals_hold_the_actual_decile_as_often_as_promised() -> None:
    shares = []
    for seed in range(5):
        world = World(seed)
        found = first_estimate(seed).loc[world.codes]
        low, high = (found[f"best_{end}"].to_numpy(int) for end in ("low", "high"))
        shares.append(((low <= world.decile) & (world.decile <= high)).mean())
    assert 0.88 <= np.mean(shares) <= 0.93


def test_an_area_without_a_label_is_estimated_from_all_that_have_one() -> None:
    world = World(2)
    areas = world.areas()
    without = areas["area"].isin(world.codes[:20])
    areas.loc[without, "actual_decile"] = pd.NA
    found = estimate(world, areas)
    assert rho(world, found["best_score"]) > 0.75
    first = world.codes[0]
    # All other folds know of its own fold's labels then: another label there changes its estimate.
    same = areas.index[(areas["fold"] == areas.loc[0, "fold"]) & ~without]
    areas.loc[same, "actual_decile"] = 11 - areas.loc[same, "actual_decile"]
    assert estimate(world, areas).loc[first, "best_score"] != found.loc[first, "best_score"]


def test_an_area_without_images_is_estimated_from_places_and_says_so() -> None:
    world = World(3, image=0.3)
    hidden = world.codes[::4]
    areas = world.areas()
    areas = areas[~areas["area"].isin(hidden)]
    known = world.known(features=world.features.drop(hidden))
    found = estimate(world, areas, known)
    assert found.loc[hidden, "best_from"].eq("places").all()
    assert found.drop(hidden)["best_from"].eq("images, places").all()
    actual = pd.Series(world.decile, world.codes)[hidden]
    rows = found.loc[hidden]
    assert spearmanr(rows["best_score"], actual)[0] > 0.6
    inside = (rows["best_low"] <= actual) & (actual <= rows["best_high"])
    assert inside.mean() >= 0.8  # 50 areas at 90%: below in 2 of 100 samples
    assert (rows["best_high"] - rows["best_low"]).mean() < 8


def test_an_area_without_a_position_is_not_estimated_from_places() -> None:
    world = World(3)
    hidden, areas = world.codes[::4], world.areas()
    areas = areas[~areas["area"].isin(hidden)]
    tested = pd.Index(areas["area"])
    without = [*hidden[:5], *tested[:5]]
    points = world.coordinates.drop(without)
    known = world.known(
        features=world.features.drop(hidden), placements=Placements({"centroids": points})
    )
    found = estimate(world, areas, known)
    assert found.index.sort_values().equals(world.codes.drop(hidden[:5]))
    assert found.loc[tested[:5], "best_from"].eq("images").all()
    assert found.loc[tested[5:], "best_from"].eq("images, places").all()
    assert found.loc[hidden[5:], "best_from"].eq("places").all()
    assert found["best_score"].notna().all()


def test_columns_and_an_earlier_release_are_used_where_they_are_given() -> None:
    world = World(4, image=0.2, place=0.2)
    truth = pd.Series(world.decile + 0.5 * np.random.default_rng(0).normal(size=AREAS), world.codes)
    nothing = rho(world, estimate(world)["best_score"])
    by_column = estimate(world, known=world.known(columns=truth.to_frame("rooms")))
    assert rho(world, by_column["best_score"]) > max(0.9, nothing + 0.1)
    assert by_column["best_from"].eq("images, places, columns").all()
    by_release = estimate(world, known=world.known(previous={"income": truth}))
    assert rho(world, by_release["best_score"]) > max(0.9, nothing + 0.1)
    assert by_release["best_from"].eq("images, places, earlier release").all()


def test_each_fold_gives_a_sign_that_the_work_goes_on() -> None:
    world, signs = World(0), []
    areas = world.areas()
    best_estimates(areas, world.known(), trained(areas), advance=signs.append)
    assert len(signs) >= areas["fold"].nunique()
    assert set(signs) == {0}  # they fill no bar


def test_there_is_no_estimate_where_areas_were_not_held_out_as_a_whole() -> None:
    world = World(0)
    split = world.areas().assign(fold=0)
    assert best_estimates(split, world.known(), trained(world.areas())).empty
    assert best_estimates(world.areas(), world.known(), trained(world.areas()).iloc[:0]).empty


@pytest.mark.parametrize(
    "case", ["no coordinates", "constant features", "one position", "few", "half of the labels"]
)
def test_what_is_missing_leaves_the_rest(case: str) -> None:
    world = World(0)
    areas, known = world.areas(), world.known()
    if case == "no coordinates":
        known = world.known(placements=None)
    elif case == "constant features":
        known = world.known(features=world.features * 0)
    elif case == "one position":
        known = world.known(placements=Placements({"centroids": world.coordinates * 0}))
    elif case == "half of the labels":
        areas.loc[::2, "actual_decile"] = pd.NA
    else:
        areas = areas.iloc[:20]
    found = estimate(world, areas, known).loc[areas["area"]]
    assert found[["best_score", "best_decile", "best_low", "best_high"]].notna().all(axis=None)
    assert found["best_decile"].between(1, 10).all()


def test_with_fewer_labels_than_three_the_estimate_is_that_of_images_and_says_so() -> None:
    world = World(0)
    areas = world.areas()
    areas.loc[2:, "actual_decile"] = pd.NA
    found = estimate(world, areas)
    assert set(found["best_from"]) == {"images"}
    assert found["best_score"].to_numpy() == pytest.approx(world.score)


def test_more_features_than_areas_are_no_obstacle() -> None:
    world = World(5)
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(AREAS, 4096)), world.codes)
    wide[0] = world.features[0] * 10
    assert rho(world, estimate(world, known=world.known(features=wide))["best_score"]) > 0.5


def test_of_one_split_the_calibration_set_gives_the_intervals() -> None:
    world = World(6)
    areas = world.areas()
    tested = areas[areas["fold"] == 1]
    held = areas[areas["fold"] == 2]
    training = trained(areas)
    training = training[training["fold"] == 1]
    found = best_estimates(tested, world.known(), training, calibration_set=held)
    assert found["area"].tolist() == sorted(tested["area"])
    assert (found["best_high"] - found["best_low"]).mean() < 8
    wide = best_estimates(tested, world.known(), training)
    assert (wide["best_high"] - wide["best_low"]).eq(9).all()


def test_an_area_that_is_not_in_the_study_is_refused_and_not_taken_for_the_last_one() -> None:
    world = World(0)
    known = world.known()
    fewer = AreaKnowledge(world.codes[:-1], known.features, placements=known.placements)
    with pytest.raises(ValueError, match="not among those"):
        best_estimates(world.areas(), fewer, trained(world.areas()))
