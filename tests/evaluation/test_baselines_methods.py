"""Every baseline against an independent computation; none sees the labels it is asked for."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import RidgeCV

from streetgauge.classes import equal_count
from streetgauge.evaluation import evaluate_shuffled, headline
from streetgauge.evaluation.baselines import (
    Baselines,
    Chance,
    Folds,
    Kriging,
    Ridge,
    RidgeAndKriging,
    density,
    smooth_columns,
)
from streetgauge.evaluation.baselines.spatial import blocks_like
from streetgauge.report.text.evaluation import METHODS
from streetgauge.report.text.findings import baseline


def world(n=240, seed=3, folds=4, noise=0.3):
    """Areas with labels that are smooth in space, and facts of several kinds that show them."""
    rng = np.random.default_rng(seed)
    index = pd.Index([f"A{i:04d}" for i in range(n)], name="area")
    place = pd.DataFrame(rng.uniform(0, 1e4, (n, 2)), index, columns=["x", "y"])
    latent = np.sin(place["x"] / 2000) + np.cos(place["y"] / 2500) + noise * rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "actual_decile": pd.array(equal_count(latent), dtype="Int64"),
            "fold": rng.integers(1, folds + 1, n),
        },
        index,
    )
    features = latent.to_numpy()[:, None] + rng.normal(size=(n, 6))
    columns = pd.DataFrame({"size": latent + rng.normal(size=n), "age": rng.normal(size=n)}, index)
    methods = Baselines(
        place,
        density=np.exp(latent + rng.normal(size=n)),
        columns=columns,
        previous={"income": -np.exp(latent + 0.1 * rng.normal(size=n))},
        features=pd.DataFrame(features, index),
        seed=seed,
    )
    return frame, place, methods, latent


ALL = {
    *("constant", "random", "nearest-areas", "kriging", "density", "columns", "previous"),
    *("density-and-kriging", "columns-and-kriging", "linear", "linear-and-kriging"),
}


def test_labels_of_the_areas_that_are_asked_for_change_no_guess():
    frame, _, methods, _ = world()
    mine = frame["fold"] == 2
    other = frame.copy()
    other.loc[mine, "actual_decile"] = 11 - frame.loc[mine, "actual_decile"]
    before, after = (methods.predict("income", each) for each in (frame, other))
    assert before.keys() == after.keys() == ALL
    for name in ALL:
        pd.testing.assert_series_equal(
            before[name].scores[mine], after[name].scores[mine], check_exact=True
        )
        if name not in ("constant", "random"):
            assert (before[name].scores[~mine] != after[name].scores[~mine]).any()


def test_the_report_has_words_for_every_method():
    frame, _, methods, _ = world()
    for name, prediction in methods.predict("income", frame).items():
        assert name in METHODS
        assert prediction.uses_images or baseline(name) != name


def test_the_order_of_rows_changes_nothing():
    frame, _, methods, _ = world()
    _, _, again, _ = world()
    shuffled = frame.sample(frac=1, random_state=1)
    one, two = methods.predict("income", frame), again.predict("income", shuffled)
    for name in ALL:
        pd.testing.assert_series_equal(one[name].scores, two[name].scores.loc[frame.index])
        pd.testing.assert_series_equal(one[name].deciles, two[name].deciles.loc[frame.index])


def test_what_one_outcome_was_asked_does_not_change_the_next():
    frame, _, methods, _ = world()
    _, _, fresh, _ = world()
    turned = frame.assign(actual_decile=11 - frame["actual_decile"])
    methods.predict("crime", turned)
    for name, guess in fresh.predict("income", frame).items():
        assert guess.scores.equals(methods.predict("income", frame)[name].scores)


def test_guesses_are_cut_as_predictions_are_but_for_the_constant():
    frame, _, methods, _ = world()
    for name, guess in methods.predict("income", frame).items():
        counts = guess.deciles.value_counts()
        assert guess.deciles.dtype == "Int64"
        assert (len(counts) <= 2) if name == "constant" else counts.eq(24).all()
        assert guess.uses_images == name.startswith("linear")


def test_areas_that_were_not_held_out_as_a_whole_have_no_baseline():
    frame, _, methods, _ = world(n=40)
    assert methods.predict("income", frame.assign(fold=0)) == {}
    assert methods.shuffled("income", frame.assign(fold=0)) == []
    assert methods.predict("income", frame.iloc[:0]) == {}


def test_nothing_is_shuffled_without_features_labels_or_whole_folds():
    frame, _, methods, _ = world(n=40)
    assert methods.shuffled("income", frame)
    assert methods.shuffled("income", frame.assign(actual_decile=pd.NA)) == []
    assert Baselines().shuffled("income", frame) == []


def test_methods_need_what_they_know():
    frame, place, _, _ = world(n=40)
    assert set(Baselines().predict("income", frame)) == {"constant", "random"}
    nowhere = place * np.nan
    assert set(Baselines(nowhere).predict("income", frame)) == {"constant", "random"}
    flat = Baselines(place, density=pd.Series(3.0, place.index))
    assert "density" not in flat.predict("income", frame)
    same = Baselines(pd.DataFrame({"x": 1.0, "y": 2.0}, place.index))
    assert same.predict("income", frame)["kriging"].scores.notna().all()


class OneKriging(Kriging):
    RANGES, NUGGETS = (4.0,), (0.2,)


def test_kriging_from_all_areas_is_a_gaussian_process_with_an_unknown_mean():
    frame, place, _, _ = world(n=150)
    known, query = frame.index[:100], frame.index[100:]
    labels = frame["actual_decile"].astype(float)[known]
    found = OneKriging(place, neighbours=1000)(labels, query)
    near = np.sort(
        np.linalg.norm(place.loc[known].to_numpy()[:, None] - place.loc[known].to_numpy(), axis=2),
        1,
    )
    reach = 4 * float(np.median(near[:, 1]))
    kernel = 0.8 * Matern(reach, nu=1.5) + WhiteKernel(0.2) + ConstantKernel(1e5)
    process = GaussianProcessRegressor(kernel, alpha=0, optimizer=None)
    expected = process.fit(place.loc[known], labels).predict(place.loc[query])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_kriging_chooses_a_long_range_where_labels_are_smooth_and_noise_where_there_is_none():
    frame, place, _, _ = world(n=400, noise=0.0)
    labels = frame["actual_decile"].astype(float).sort_index()
    rng = np.random.default_rng(0)

    def chosen(values):
        method = Kriging(place)
        trial = method._trial(place.to_numpy(), place.to_numpy()[:50])
        return trial.best(values)

    reach, nugget = chosen(labels.to_numpy())
    assert nugget == 0.05
    assert reach > 1000
    assert chosen(rng.permutation(labels.to_numpy()))[1] >= 0.6


def test_kriging_does_better_than_the_mean_and_no_worse_than_neighbours():
    frame, _, methods, _ = world(n=800, noise=0.5)
    baselines = methods.predict("income", frame)
    actual = frame["actual_decile"].astype(float)
    error = {n: (g.scores - actual).pow(2).mean() for n, g in baselines.items()}
    assert error["kriging"] < error["nearest-areas"] < actual.var() / 1.5


def test_ridge_is_that_of_scikit_learn_with_the_penalty_of_least_leave_one_out_error():
    rng = np.random.default_rng(5)
    index = pd.Index([f"A{i:03d}" for i in range(120)])
    table = pd.DataFrame(rng.normal(size=(120, 8)) * 10 ** rng.uniform(-2, 2, 8), index)
    values = pd.Series(table[0] / table[0].std() + rng.normal(size=120), index)
    known, query = index[:90], index[90:]
    standard = ((table - table.mean()) / table.std(ddof=0)).to_numpy()
    centred = standard[:90] - standard[:90].mean(0)
    penalties = np.array(Ridge.PENALTIES) * np.linalg.eigvalsh(centred.T @ centred).mean()
    expected = RidgeCV(alphas=penalties).fit(standard[:90], values[known])
    found = Ridge(table)(values[known], query)
    np.testing.assert_allclose(found, expected.predict(standard[90:]), rtol=1e-8)


def test_leave_one_out_errors_are_those_of_fits_without_each_area():
    rng = np.random.default_rng(6)
    index = pd.Index([f"A{i:03d}" for i in range(40)])
    ridge = Ridge(pd.DataFrame(rng.normal(size=(40, 3)), index))
    values = pd.Series(ridge.inputs[:, 0] + rng.normal(size=40), index)
    fold = ridge._fold(values, index[:0])
    _, best, errors = fold._chosen(values.to_numpy())
    for i in (0, 17, 39):
        rest = np.delete(np.arange(40), i)
        mean = ridge.inputs[rest].mean(0)
        centred = ridge.inputs[rest] - mean
        # The same penalty: not of the mean square of one area fewer.
        gram = centred.T @ centred + fold.penalties[best] * np.eye(3)
        weights = np.linalg.solve(gram, centred.T @ (values.iloc[rest] - values.iloc[rest].mean()))
        guess = values.iloc[rest].mean() + (ridge.inputs[i] - mean) @ weights
        assert values.iloc[i] - guess == pytest.approx(errors[i, best], rel=1e-8)


def test_many_features_are_put_on_fewer_axes_and_tell_nearly_the_same():
    rng = np.random.default_rng(7)
    n, d = 500, 700
    index = pd.Index([f"A{i:03d}" for i in range(n)])
    hidden = rng.normal(size=(n, 4))
    table = pd.DataFrame(hidden @ rng.normal(size=(4, d)) + rng.normal(size=(n, d)), index)
    values = pd.Series(hidden[:, 0], index)
    ridge = Ridge(table)
    assert ridge.inputs.shape == (n, Ridge.COMPONENTS)
    found = ridge(values.iloc[:400], index[400:])
    assert np.corrcoef(found, values.iloc[400:])[0, 1] > 0.95


def test_areas_without_facts_get_the_mean_of_the_training_areas():
    frame, place, _, _ = world(n=60)
    lone = frame.index[7]
    methods = Baselines(place.drop(index=lone), density=pd.Series(place["x"]).drop(index=lone))
    baselines = methods.predict("income", frame)
    others = frame[frame["fold"] != frame.loc[lone, "fold"]]
    for name in ("nearest-areas", "kriging"):
        assert baselines[name].scores[lone] == pytest.approx(others["actual_decile"].mean())
    assert baselines["density"].scores[lone] == 5.5  # what every fold's regression starts from


def test_kriging_explains_what_features_leave():
    frame, place, _, _ = world(n=600, noise=0.0)
    rng = np.random.default_rng(1)
    shown = pd.DataFrame({"east": np.sin(place["x"] / 2000) + 0.3 * rng.normal(size=600)})
    ridge, kriging = Ridge(shown), Kriging(place)
    folds = Folds(frame["actual_decile"], frame["fold"])
    actual = frame["actual_decile"].astype(float)
    both = folds.predict(RidgeAndKriging(ridge, kriging))
    assert (both - actual).abs().mean() < 0.6 * (folds.predict(ridge) - actual).abs().mean()


def test_an_earlier_release_is_found_whatever_its_direction_and_shape():
    frame, _, methods, latent = world()
    guess = methods.predict("income", frame)["previous"]
    assert guess.scores.corr(latent, method="spearman") > 0.95
    assert "previous" not in methods.predict("crime", frame)


def test_splines_leave_gaps_and_constant_columns_alone():
    table = pd.DataFrame({"a": [1.0, 2, np.nan, 4, 9], "b": 3.0}, list("vwxyz"))
    splines = smooth_columns(table)
    assert splines.shape == (5, 7)
    assert splines.loc["x"].isna().all()
    np.testing.assert_allclose(splines.drop(index="x").sum(axis=1), 1)
    assert smooth_columns(table[["b"]]).shape == (5, 0)


def test_chance_belongs_to_the_area():
    index = pd.Index(["E1", "E2", "E3"])
    chance = Chance(1, "income")
    one, fewer = chance(pd.Series(dtype=float), index), chance(pd.Series(dtype=float), index[1:])
    assert one[1:].tolist() == fewer.tolist()
    assert ((one >= 0) & (one < 1)).all()
    assert Chance(2, "income")(pd.Series(dtype=float), index).tolist() != one.tolist()
    assert Chance(1, "crime")(pd.Series(dtype=float), index).tolist() != one.tolist()


def test_density_is_locations_by_square_kilometre():
    areas = gpd.GeoDataFrame(
        index=pd.Index(["A", "B", "C", "D"], name="area"),
        geometry=[box(0, 0, 1000, 1000), box(0, 0, 2000, 1000), None, box(0, 0, 1000, 0)],
        crs="EPSG:27700",
    )
    places = pd.DataFrame({"area": ["B", "A", "A", "C", "A", "D"]})
    found = density(places, areas)
    assert found["A"] == pytest.approx(3)
    assert found["B"] == pytest.approx(0.5)
    assert np.isnan(found["C"])
    assert np.isnan(found["D"])  # its boundary encloses nothing


def test_shuffled_labels_are_predicted_as_by_chance():
    frame, _, methods, _ = world(n=600)
    account = evaluate_shuffled(methods.shuffled("income", frame), 10)
    assert account["times"] == 5
    assert abs(account["spearman"]) < account["chance"]
    assert account["mae"] == pytest.approx(3.3, abs=0.3)
    assert methods.predict("income", frame)["linear"].scores.corr(frame["actual_decile"]) > 0.5
    assert evaluate_shuffled([], 10) is None


def test_many_small_folds_are_no_leak():
    # What is learned from is low where the areas held out are high: that is no knowledge of them.
    frame, _, _, _ = world(n=400)
    rng = np.random.default_rng(3)
    frame = frame.assign(fold=rng.integers(1, 41, len(frame)))
    noise = pd.DataFrame(rng.normal(size=(len(frame), 20)), frame.index)
    pairs = Baselines(features=noise).shuffled("income", frame, times=20)
    account = evaluate_shuffled(pairs, 10)
    assert abs(account["spearman"]) < account["chance"] / 2
    assert account["mae"] == pytest.approx(3.3, abs=0.15)


def many_folds(n=400, folds=40):
    """Labels without any sense, and folds that differ in their means by chance."""
    rng = np.random.default_rng(3)
    index = pd.Index([f"A{i:04d}" for i in range(n)], name="area")
    place = pd.DataFrame(rng.uniform(0, 1e4, (n, 2)), index, columns=["x", "y"])
    frame = pd.DataFrame(
        {
            "actual_decile": pd.array(equal_count(rng.normal(size=n)), dtype="Int64"),
            "fold": rng.integers(1, folds + 1, n),
        },
        index,
    )
    return frame, place, pd.Series(rng.uniform(1, 2, n), index)


def test_what_knows_nothing_puts_areas_in_no_order_however_many_folds_there_are():
    frame, place, unknown = many_folds()
    baselines = Baselines(
        place, density=unknown, features=unknown.to_frame(), previous={"income": unknown}
    ).predict("income", frame)
    actual = frame["actual_decile"].astype(float)
    for name in ("density", "density-and-kriging", "linear", "linear-and-kriging", "previous"):
        rho = baselines[name].scores.corr(actual, method="spearman")
        assert abs(rho) < 2.5 / np.sqrt(len(frame)), name
    # Chosen penalties leave hardly more than the mean: as guessed, it runs against the truth.
    ridge = Ridge(smooth_columns(unknown.to_frame("density")))
    plain = pd.concat(
        pd.Series(ridge(training, query), query)
        for query, training in Folds(frame["actual_decile"], frame["fold"]).parts
    )
    assert plain.corr(actual, method="spearman") < -0.15


def test_neighbours_are_not_given_the_mean_of_the_areas_that_are_held_out():
    # Districts differ by much, and what is left of the city knows nothing of the one held out.
    rng = np.random.default_rng(7)
    n, districts = 400, 4
    index = pd.Index([f"A{i:04d}" for i in range(n)], name="area")
    district = np.arange(n) % districts
    frame = pd.DataFrame(
        {
            "actual_decile": pd.array(
                equal_count(3 * district + rng.normal(size=n)), dtype="Int64"
            ),
            "fold": district + 1,
        },
        index,
    )
    place = pd.DataFrame(rng.uniform(0, 1e4, (n, 2)), index, columns=["x", "y"])
    baselines = Baselines(place, density=pd.Series(rng.uniform(size=n), index)).predict(
        "income", frame
    )
    actual = frame["actual_decile"].astype(float)
    for name, guess in baselines.items():
        if name != "constant":
            assert guess.scores.corr(actual, method="spearman") < 0.1, name
    assert abs(baselines["density"].scores.corr(actual, method="spearman")) < 0.1


@pytest.mark.parametrize("seed", [0, 2])
def test_where_folds_are_blocks_the_penalty_is_chosen_by_blocks(seed):
    # Columns that tell a place from its neighbours tell little of a place without any.
    rng = np.random.default_rng(seed)
    index = pd.Index([f"A{i:04d}" for i in range(900)], name="area")
    place = pd.DataFrame(rng.uniform(0, 1e4, (900, 2)), index, columns=["x", "y"])

    def waves(count, length):
        wave, phase = rng.normal(size=(count, 2)) / length, rng.uniform(0, 2 * np.pi, (count, 1))
        return np.cos(wave @ place.to_numpy().T + phase)

    near = pd.DataFrame(waves(200, 800).T, index)
    labels = pd.Series(equal_count(waves(40, 1500).sum(0)).astype(float), index)
    square = np.floor(place / 2500) @ np.array([1, 10])
    query = [index[square == each] for each in np.unique(square)]
    error = {}
    for name, ridge in (("alone", Ridge(near)), ("blocks", Ridge(near, place))):
        guess = [pd.Series(ridge(labels.drop(part), part), part) for part in query]
        error[name] = float((pd.concat(guess) - labels).pow(2).mean())
    assert error["blocks"] < 0.7 * error["alone"]


def test_where_folds_are_of_areas_at_random_each_is_held_out_alone():
    rng = np.random.default_rng(8)
    index = pd.Index([f"A{i:04d}" for i in range(500)])
    place = pd.DataFrame(rng.uniform(0, 1e4, (500, 2)), index, columns=["x", "y"])
    query = index[rng.uniform(size=500) < 0.2]
    assert blocks_like(place, index.difference(query), query) is None
    far = place.index[place["x"] < 2500]
    rest = index.difference(far)
    part = blocks_like(place, rest, far)
    assert sorted(np.unique(part)) == [0, 1, 2, 3, 4]
    order = rng.permutation(len(rest))
    np.testing.assert_array_equal(blocks_like(place.iloc[::-1], rest[order], far), part[order])
    own = place.loc[rest].to_numpy()
    distance = np.linalg.norm(own[:, None] - own, axis=2)
    alike = part[:, None] == part
    nearest = np.where(alike, np.inf, distance).min(1)
    asked_far = np.linalg.norm(place.loc[far].to_numpy()[:, None] - own, axis=2).min(1)
    assert 0.3 < np.median(nearest) / np.median(asked_far) < 2


def test_areas_at_one_position_or_without_any_are_held_out_alone():
    index = pd.Index([f"A{i:04d}" for i in range(40)])
    place = pd.DataFrame({"x": 0.0, "y": 0.0}, index)
    place.iloc[30:] = 5000.0
    assert blocks_like(place, index[:30], index[30:]) is None
    assert blocks_like(place * np.nan, index[:30], index[30:]) is None
    place.iloc[:5] = np.nan
    place.iloc[5:30, 0] = np.arange(25) * 10.0
    assert blocks_like(place, index[:30], index[30:]).shape == (30,)


def test_the_largest_of_several_shuffles_is_seldom_more_than_chance():
    frame, _, _, _ = world(n=50)
    rng = np.random.default_rng(1)
    noise = pd.DataFrame(rng.normal(size=(len(frame), 16)), frame.index)
    pairs = Baselines(features=noise).shuffled("income", frame, times=200)
    checks = [evaluate_shuffled(pairs[i : i + 5], 10) for i in range(0, 200, 5)]
    assert sum(check["largest"] > check["chance"] for check in checks) <= 2


def test_labels_are_shuffled_over_all_areas_that_are_trained_on():
    frame, place, _, _ = world(n=200)
    training_areas = (
        frame[["actual_decile"]].reset_index().rename(columns={"actual_decile": "decile"})
    )
    training_areas = training_areas.assign(fold=1).iloc[100:]
    tested = frame.iloc[:100].assign(fold=1)
    methods = Baselines(place, features=place)
    for known, score in methods.shuffled("income", tested, training_areas=training_areas):
        assert known.index.equals(tested.index)
        assert score.notna().all()
        assert (known != tested["actual_decile"]).mean() > 0.7


def test_without_an_account_there_is_no_headline():
    empty = {"outcomes": {"income": {"gain": None}}, "scheme": {"description": ""}}
    assert headline({"random": empty, "spatial": {"outcomes": {}}}) == {
        "income": {"random": None, "spatial": None}
    }


def test_range_and_nugget_are_chosen_from_as_far_as_is_asked():
    rng = np.random.default_rng(2)
    around = rng.uniform(0, 1e4, (300, 2))
    query = rng.uniform([1.3e4, 0], [1.5e4, 1e4], (40, 2))  # 3 to 5 km from all that is known
    trial = Kriging(pd.DataFrame())._trial(around, query)
    distance = np.linalg.norm(around[trial.rows] - around[trial.chosen][:, None], axis=2)
    assert distance.min() > 3000
    near = Kriging(pd.DataFrame())._trial(around, around[:40] + 1.0)
    assert (np.linalg.norm(around[near.rows] - around[near.chosen][:, None], axis=2)).min() < 100
