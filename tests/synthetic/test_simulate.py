"""Simulated features: keyed by location, of the strength asked for; and their means over areas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from streetgauge.synthetic import change_deciles, simulate_features, simulated_oracle
from streetgauge.synthetic.simulate import (
    AREA_NOISE,
    Noise,
    _channels,
    noise_of_scores,
    simulate_area_means,
)


def _table(areas: int, each: int, outcomes: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(8)
    common = rng.standard_normal((areas, 1))
    scores = pd.DataFrame(0.7 * common + rng.standard_normal((areas, outcomes)))
    deciles = np.ceil(scores.rank(pct=True) * 10).to_numpy()
    owner = np.repeat(np.arange(areas), each)
    index = pd.Index([f"QX{i:05d}" for i in range(len(owner))], name="location_id")
    frame = pd.DataFrame(deciles[owner], index=index, columns=list("uvwxyz"[:outcomes]))
    return frame, np.array([f"E{a:08d}" for a in owner])


def _recovered(signal: float) -> float:
    deciles, areas = _table(120, 6)
    features = simulate_features(deciles, areas, dimension=40, views=4, signal=signal, seed=2).mean(
        axis=1
    )
    train = np.isin(areas, np.unique(areas)[::2])
    model = Ridge(10.0).fit(features[train], deciles["u"][train])
    return float(spearmanr(model.predict(features[~train]), deciles["u"][~train])[0])


def test_more_signal_is_recovered_better() -> None:
    reached = [_recovered(signal) for signal in (0.0, 0.1, 0.4, 0.8, 1.0)]
    assert abs(reached[0]) < 0.15
    assert np.all(np.diff(reached) > 0.01)
    assert reached[-1] > 0.99


def test_shuffled_locations_have_the_same_features() -> None:
    deciles, areas = _table(30, 5)
    order = np.random.default_rng(0).permutation(len(deciles))
    kwargs = {"dimension": 32, "views": 3, "signal": 0.4, "seed": 7}
    straight = simulate_features(deciles, areas, **kwargs)
    mixed = simulate_features(deciles.iloc[order], areas[order], **kwargs)
    np.testing.assert_allclose(mixed, straight[order], atol=1e-5)
    assert straight.dtype == np.float32
    assert straight.shape == (150, 3, 32)


def test_blocks_give_what_the_whole_gives() -> None:
    deciles, areas = _table(40, 30)
    kwargs = {"dimension": 16, "views": 2, "signal": 0.4, "seed": 7}
    whole = simulate_features(deciles, areas, **kwargs)
    parts = [
        simulate_features(deciles.iloc[i : i + 700], areas[i : i + 700], **kwargs)
        for i in range(0, len(deciles), 700)
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_the_share_of_signal_is_as_asked() -> None:
    # With 1 outcome, projecting on its direction gives the channel back.
    deciles, _ = _table(400, 5, outcomes=1)
    z = (deciles["u"].to_numpy() - 5.5) / np.sqrt(8.25)
    kwargs = {"dimension": 8, "views": 2, "seed": 1}
    direction = simulate_features(deciles, signal=1.0, **kwargs)
    basis = np.linalg.lstsq(z[:, None], direction[:, 0], rcond=None)[0][0]
    features = simulate_features(deciles, signal=0.3, **kwargs)
    channel = features[:, 0] @ basis / (basis @ basis)
    assert np.corrcoef(channel, z)[0, 1] ** 2 == pytest.approx(0.3, abs=0.04)
    assert channel.var() == pytest.approx(1, abs=0.1)


def test_area_noise_is_shared_in_an_area_and_does_not_average_away() -> None:
    deciles, areas = _table(400, 40, outcomes=1)
    oracle = simulated_oracle(deciles, areas, views=4, signal=0.2, seed=3)
    by_area = oracle["u"].groupby(areas).mean()
    truth = deciles["u"].groupby(areas).mean()
    limit = np.sqrt(0.2 / (0.2 + 0.8 * AREA_NOISE))
    assert by_area.corr(truth) == pytest.approx(limit, abs=0.05)
    alone = simulated_oracle(deciles, None, views=4, signal=0.2, seed=3)["u"].groupby(areas).mean()
    assert alone.corr(truth) > by_area.corr(truth) + 0.03


def test_no_regression_on_features_beats_the_oracle() -> None:
    deciles, areas = _table(300, 8)
    kwargs = {"views": 4, "signal": 0.2, "seed": 5}
    features = simulate_features(deciles, areas, dimension=24, **kwargs).mean(axis=1)
    oracle = simulated_oracle(deciles, areas, **kwargs).set_index("location_id")
    held = np.isin(areas, np.unique(areas)[::2])
    for outcome in deciles:
        fitted = Ridge(1.0).fit(features[~held], deciles[outcome][~held]).predict(features[held])
        truth = deciles[outcome][held]
        assert np.corrcoef(oracle[outcome][held], truth)[0, 1] > np.corrcoef(fitted, truth)[0, 1]
        assert np.corrcoef(fitted, truth)[0, 1] > 0.3


def test_a_missing_decile_adds_nothing_and_stays_finite() -> None:
    deciles, areas = _table(30, 4)
    deciles.iloc[:50, 1] = np.nan
    features = simulate_features(deciles, areas, dimension=16, views=4, signal=1.0, seed=1)
    oracle = simulated_oracle(deciles, areas, views=4, signal=0.5, seed=1)
    assert np.isfinite(features).all()
    assert oracle.notna().all(axis=None)


def test_fewer_dimensions_than_outcomes_mix_them() -> None:
    deciles, areas = _table(30, 4)
    features = simulate_features(deciles, areas, dimension=2, views=1, signal=0.9, seed=1)
    assert features.shape == (120, 1, 2)
    assert np.isfinite(features).all()


def test_another_outcome_changes_no_channel_of_the_others() -> None:
    deciles, areas = _table(30, 4)
    kwargs = {"views": 2, "signal": 0.5, "seed": 9}
    alone = _channels(deciles[["v"]], areas, **kwargs)
    np.testing.assert_array_equal(_channels(deciles, areas, **kwargs)[:, :, 1], alone[:, :, 0])


@pytest.mark.parametrize("signal", [-0.1, 1.5])
def test_a_signal_that_is_no_share_is_refused(signal: float) -> None:
    deciles, _ = _table(12, 2)
    with pytest.raises(ValueError, match="share"):
        simulate_features(deciles, dimension=8, views=1, signal=signal, seed=1)


def test_areas_of_another_length_are_refused() -> None:
    deciles, areas = _table(12, 2)
    with pytest.raises(ValueError, match="23 areas for 24 locations"):
        simulate_features(deciles, areas[1:], dimension=8, views=1, signal=0.5, seed=1)


AREAS = [f"A{i:04d}" for i in range(400)]
DECILES = pd.DataFrame(
    {
        "x": np.random.default_rng(0).permutation(np.arange(400) % 10 + 1).astype(float),
        "y": np.random.default_rng(1).permutation(np.arange(400) % 10 + 1).astype(float),
    },
    index=pd.Index(AREAS, name="area"),
)


def means_of_locations(n: int, views: int, signal: float, dimension: int) -> np.ndarray:
    """Give what averaging simulated features of locations gives."""
    ids = [f"{area}-{i}" for area in AREAS for i in range(n)]
    areas = np.repeat(AREAS, n)
    labels = DECILES.loc[areas].set_axis(pd.Index(ids, name="location_id"))
    features = simulate_features(
        labels, areas, dimension=dimension, views=views, signal=signal, seed=5
    )
    return features.mean(axis=1).reshape(len(AREAS), n, dimension).mean(axis=1)


@pytest.mark.parametrize(("n", "views"), [(1, 1), (5, 2)])
def test_area_means_are_distributed_as_means_of_simulated_features(n: int, views: int) -> None:
    plain = means_of_locations(n, views, 0.3, 24)
    quick = simulate_area_means(
        DECILES, pd.Series(n, AREAS), views, {"x": 0.3, "y": 0.3}, dimension=24, seed=5
    ).to_numpy()
    truth = (DECILES.to_numpy() - 5.5) / np.sqrt(99 / 12)

    def variances(features: np.ndarray) -> tuple[float, float, float]:
        """Variance that truth explains, of the channels beside it, and of the rest."""
        design = np.column_stack([np.ones(len(truth)), truth])
        fit = design @ np.linalg.lstsq(design, features, rcond=None)[0]
        left = np.linalg.svd(features - fit, compute_uv=False) ** 2 / len(truth)
        return float(((fit - fit.mean(0)) ** 2).sum() / len(truth)), left[:2].sum(), left[2:].sum()

    for one, other in zip(variances(plain), variances(quick), strict=True):
        assert one == pytest.approx(other, rel=0.12)


def test_area_means_do_not_depend_on_the_order_and_share_draws() -> None:
    size = pd.Series(np.arange(400) % 7 + 1, AREAS)
    signal = {"x": 0.2, "y": 0.6}
    found = simulate_area_means(DECILES, size, 2, signal, dimension=8, seed=(1, 2))
    shuffled = DECILES.sample(frac=1, random_state=0)
    again = simulate_area_means(
        shuffled, size.sample(frac=1, random_state=1), 2, signal, dimension=8, seed=(1, 2)
    )
    pd.testing.assert_frame_equal(found, again)
    assert not found.equals(simulate_area_means(DECILES, size, 2, signal, dimension=8, seed=(1, 3)))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_the_areas_share_of_the_noise_is_found_in_scores(share: float) -> None:
    rng = np.random.default_rng(0)
    size = rng.integers(1, 12, len(AREAS))
    area = np.repeat(np.arange(len(AREAS)), size)
    noise = np.sqrt(share) * rng.normal(size=len(AREAS))[area]
    noise += np.sqrt(1 - share) * rng.normal(size=len(area))
    truth = DECILES["x"].to_numpy()[area]
    fold = area % 5 + 1
    frame = pd.DataFrame(
        {
            "location_id": [f"L{i}" for i in range(len(area))],
            "area": np.array(AREAS)[area],
            "fold": fold,
            "actual_decile": pd.array(truth.astype(int), dtype="Int64"),
            "score": 0.4 * truth + 3.0 * fold + noise,  # folds need not be on one scale
        }
    )
    found = noise_of_scores(frame)
    assert found == pytest.approx(share, abs=0.06)
    assert noise_of_scores(frame.sample(frac=1, random_state=0)) == found
    assert noise_of_scores(frame.drop_duplicates("area")) is None


def test_noise_is_split_so_that_the_area_has_its_share() -> None:
    usual = Noise()
    for views in (1, 4):
        whole = float(usual.of_area(1, views))
        again = Noise.split(usual.area / whole, views)
        assert again.area == pytest.approx(usual.area)
        assert again.location == pytest.approx(usual.location)
    assert Noise.split(0.0, 4).area == 0
    assert Noise.split(1.0, 4).area == 1
    assert float(usual.of_area(10**9, 4)) == pytest.approx(usual.area)


def test_a_fifth_of_the_areas_are_two_deciles_better_or_worse_off_in_the_second_year() -> None:
    rng = np.random.default_rng(0)
    areas = [f"a{i}" for i in range(2000)]
    deciles = pd.DataFrame(rng.integers(1, 11, (2000, 2)) + 0.0, areas, ["u", "v"])
    deciles.iloc[7, 1] = np.nan
    changed = change_deciles(deciles, areas, share=0.2, seed=3)
    difference = changed - deciles
    assert set(np.unique(difference.fillna(0))) == {-2.0, 0.0, 2.0}
    assert changed.min().min() == 1
    assert changed.max().max() == 10
    moved = difference["u"] != 0
    assert moved.mean() == pytest.approx(0.2, abs=0.03)
    assert (difference["v"].ne(0) == moved).drop(areas[7]).all()  # the same areas
    assert np.isnan(changed.iloc[7, 1])
    some = change_deciles(deciles.iloc[300:100:-1], areas[300:100:-1], share=0.2, seed=3)
    pd.testing.assert_frame_equal(some.iloc[::-1], changed.iloc[101:301])
    assert change_deciles(deciles, areas, share=0, seed=3).equals(deciles)


def test_a_second_year_has_a_camera_of_its_own_and_most_of_what_misleads_is_still_there() -> None:
    areas = np.repeat([f"a{i}" for i in range(300)], 4)
    ids = [f"l{i}" for i in range(1200)]
    deciles = pd.DataFrame({"u": np.full(1200, 5.5)}, ids)
    how = {"dimension": 12, "views": 3, "signal": 0.0, "seed": 1}
    years = [simulate_features(deciles, areas, year=year, **how) for year in (1, 2)]
    first, second = (each.mean(axis=1) for each in years)
    assert np.abs(second.mean(axis=0) - first.mean(axis=0)).max() > 1  # the camera
    ratio = years[1].reshape(-1, 12).std(axis=0) / years[0].reshape(-1, 12).std(axis=0)
    assert np.ptp(ratio) > 0.2
    direction = np.linalg.svd(first - first.mean(axis=0), full_matrices=False)[2][0]
    noise = [each @ direction for each in (first, second)]
    assert 0.5 < np.corrcoef(*noise)[0, 1] < 0.8
    part = simulate_features(deciles.iloc[40:80], areas[40:80], year=2, **how)
    assert part == pytest.approx(years[1][40:80], abs=1e-5)
