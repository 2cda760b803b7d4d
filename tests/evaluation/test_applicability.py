"""Areas unlike those learned from are found, and those that are like them are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from streetgauge.evaluation import (
    AreaOfApplicability,
    add_disagreement,
    assess_applicability,
    evaluate_applicability,
    evaluate_disagreement,
    is_outside_aoa,
)


def features(n=200, dimension=30, seed=1, mixed=None):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(6, dimension)) if mixed is None else mixed
    return rng.normal(size=(n, 6)) @ mixing + 0.3 * rng.normal(size=(n, dimension))


def test_of_areas_like_those_trained_on_at_most_one_in_twenty_is_far():
    shares = []
    for seed in range(20):
        known = AreaOfApplicability.of(features(200, seed=seed))
        shares.append(
            is_outside_aoa(known.dissimilarity_index(features(200, seed=1000 + seed))).mean()
        )
    assert 0.015 < np.mean(shares) < 0.06


def test_a_large_city_is_measured_like_a_small_one():
    mixed = np.random.default_rng(8).normal(size=(6, 250))
    known = AreaOfApplicability.of(features(1500, 250, mixed=mixed))
    like = is_outside_aoa(known.dissimilarity_index(features(400, 250, seed=2, mixed=mixed))).mean()
    assert 0.01 < like < 0.09
    assert is_outside_aoa(
        known.dissimilarity_index(features(50, 250, seed=3, mixed=-2 * mixed) + 2)
    ).all()


def test_areas_of_another_kind_are_far():
    known = AreaOfApplicability.of(features())
    assert is_outside_aoa(known.dissimilarity_index(features(50, seed=2) + 5)).all()
    other = np.random.default_rng(5).normal(size=(6, 30)) * 3
    assert is_outside_aoa(known.dissimilarity_index(features(50, seed=3, mixed=other))).mean() > 0.5


def test_strangeness_is_that_of_a_plain_computation():
    x, query = features(60, 8), features(5, 8, seed=3)

    def far(values, known):
        z, asked_z = ((v - known.mean(0)) / known.std(0) for v in (known, values))
        pca = PCA().fit(z)
        ratio = np.cumsum(pca.explained_variance_ratio_)
        count = min(np.searchsorted(ratio, 0.9) + 1, len(known) // 10)
        sides = []
        for each in (z, asked_z):
            turned = pca.transform(each)
            left = np.linalg.norm(turned[:, count:], axis=1)
            sides.append((turned[:, :count], left))
        (along, left), (asked_along, asked_left) = sides
        scale = np.r_[along.std(0), left.std()]
        places = np.column_stack([along, left]) / scale
        asked_places = np.column_stack([asked_along, asked_left]) / scale
        return [np.sort(np.linalg.norm(places - p, axis=1))[:5].mean() for p in asked_places]

    own = np.empty(60)
    for part in range(5):
        mine = np.arange(60) % 5 == part
        own[mine] = far(x[mine], x[~mine])
    expected = [1 - (1 + (own >= d).sum()) / 61 for d in far(query, x)]
    np.testing.assert_allclose(AreaOfApplicability.of(x).dissimilarity_index(query), expected)


def test_what_no_component_shows_is_far_as_well():
    # All areas lie in 6 dimensions of 30, and these in one more.
    x = features(200)
    z = (x - x.mean(0)) / x.std(0)
    beyond = np.linalg.svd(z)[2][-1] * x.std(0)
    more = features(50, seed=2) + 12 * beyond
    assert is_outside_aoa(AreaOfApplicability.of(x).dissimilarity_index(more)).all()


def test_features_that_do_not_vary_and_few_areas_are_no_trouble():
    x = features(12, 5)
    x[:, 2] = 7.0
    known = AreaOfApplicability.of(x)
    assert np.isfinite(known.dissimilarity_index(x)).all()
    assert np.isfinite(AreaOfApplicability.of(x[:2]).dissimilarity_index(x)).all()
    same = AreaOfApplicability.of(np.ones((20, 4)))
    assert not is_outside_aoa(same.dissimilarity_index(np.ones((3, 4)))).any()
    with pytest.raises(ValueError, match="two or more"):
        AreaOfApplicability.of(x[:1])


def test_what_a_bundle_keeps_says_the_same():
    known, query = AreaOfApplicability.of(features()), features(40, seed=2)
    arrays = known.arrays()
    assert {a.dtype for a in arrays.values()} == {np.dtype("float32")}
    again = AreaOfApplicability.from_arrays(arrays)
    np.testing.assert_allclose(
        again.dissimilarity_index(query), known.dissimilarity_index(query), atol=0.011
    )


def test_each_area_is_compared_with_those_that_its_own_network_was_trained_on():
    x = features(120, seed=4)
    x[:40] += 8  # a district of another kind
    names = [f"A{i:03d}" for i in range(120)]
    table = pd.DataFrame(x, index=pd.Index(names, name="area"))
    district = np.arange(120) < 40

    def found(fold):
        tested = pd.DataFrame({"area": names, "fold": fold})
        training_areas = pd.concat(
            [tested[tested["fold"] != f].assign(fold=f) for f in np.unique(fold)]
        )
        shuffled = table.sample(frac=1, random_state=1)
        result = assess_applicability(shuffled, tested, training_areas)
        pd.testing.assert_frame_equal(
            result,
            assess_applicability(table, tested.sample(frac=1, random_state=2), training_areas),
        )
        assert result.index.tolist() == names
        return result["outside_aoa"].to_numpy()

    random = found(1 + np.random.default_rng(1).permutation(120) % 5)
    assert random.mean() < 0.15
    whole = found(np.where(district, 1, 2))
    assert whole[district].all()


def test_split_areas_and_those_without_features_are_not_measured():
    table = pd.DataFrame(features(30), index=[f"A{i:02d}" for i in range(30)])
    tested = pd.DataFrame({"area": [*table.index, "B"], "fold": [0, *[1, 2] * 15]})
    training_areas = tested.assign(fold=3 - tested["fold"])
    result = assess_applicability(table, tested, training_areas)
    assert "A00" not in result.index
    assert "B" not in result.index
    assert assess_applicability(table, tested.iloc[:0], training_areas).empty


def test_the_account_counts_them_and_says_whether_errors_are_larger():
    frame = pd.DataFrame(
        {
            "outside_aoa": pd.array([True, False, False, pd.NA], dtype="boolean"),
            "decile": pd.array([1, 5, 5, 5], dtype="Int64"),
            "actual_decile": pd.array([9, 5, 6, 5], dtype="Int64"),
            "low": pd.array([1, 4, 4, 1], dtype="Int64"),
            "high": pd.array([3, 6, 6, 9], dtype="Int64"),
        }
    )
    found = evaluate_applicability(frame)
    assert (found["n_areas"], found["n_outside"]) == (3, 1)
    assert (found["mae"], found["share_within_interval"]) == (8.0, 0.0)
    assert found["inside"] == {"mae": 0.5, "share_within_interval": 1.0}
    assert evaluate_applicability(frame.iloc[3:]) is None


def test_disagreement_is_in_deciles_and_its_worth_is_reported():
    rng = np.random.default_rng(6)
    n = 400
    areas = pd.DataFrame(
        {
            "area": [f"A{i:03d}" for i in range(n)],
            "outcome": "income",
            "score": np.linspace(0, 1, n),
            "decile": pd.array([5] * n, dtype="Int64"),
        }
    )
    sd = rng.uniform(0, 0.2, n)
    rows = areas[["area", "outcome"]].assign(score_sd=sd).loc[np.repeat(np.arange(n), 2)]
    found = add_disagreement(areas, rows.sample(frac=1, random_state=1))
    middle = slice(100, 300)
    # Scores are even between 0 and 1: a tenth of them is a decile.
    np.testing.assert_allclose(found["disagreement"][middle], 10 * sd[middle], atol=0.02)
    error = np.where(sd > 0.1, 4, 1)
    account = evaluate_disagreement(found.assign(actual_decile=pd.array(5 + error, dtype="Int64")))
    assert account["error_spearman"] > 0.7
    assert account["p"] < 1e-6
    assert account["mae_by_third"][0] < 1.2 < 3.8 < account["mae_by_third"][2]


def test_one_member_does_not_disagree():
    areas = pd.DataFrame({"area": ["A"], "outcome": ["income"], "score": [0.1]})
    without = add_disagreement(areas, areas)
    assert without["disagreement"].isna().all()
    frame = without.assign(decile=1, actual_decile=1)
    assert evaluate_disagreement(frame) is None
