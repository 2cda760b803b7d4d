"""Which concepts are reported: those planted, and not those that have nothing to do with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streetgauge.evaluation import Draws, associations, readable_model, worst_and_best
from streetgauge.evaluation.weighted_test import weighted_p_values

N, K = 120, 6
FEW = Draws(draws=20)
AREAS = pd.Index([f"A{i:03d}" for i in range(N)], name="area")


def _world(
    seed: int, *, planted: float = 0.0, reach: float = 0.0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make concepts of which the first may correlate with the outcome; all may be smooth maps."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 10_000, (N, 2))
    fields = rng.standard_normal((N, K + 1))
    if reach:
        distance = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
        fields = np.linalg.cholesky(np.exp(-distance / reach) + 1e-9 * np.eye(N)) @ fields
    outcome, concepts = fields[:, 0], fields[:, 1:]
    concepts[:, 0] = planted * outcome + np.sqrt(1 - planted**2) * concepts[:, 0]
    deciles = pd.DataFrame({"income": outcome.argsort().argsort() * 10 // N + 1}, AREAS)
    names = [f"concept {k}" for k in range(K)]
    return pd.DataFrame(concepts, AREAS, names), deciles, pd.DataFrame(xy, AREAS, ["x", "y"])


def _reported(table: pd.DataFrame) -> set[str]:
    return set(table.loc[table["reported"], "concept"])


def test_planted_concepts_are_reported_and_independent_ones_are_not() -> None:
    planted = independent = 0
    for seed in range(100):
        concepts, deciles, xy = _world(seed, planted=0.5)
        found = _reported(associations(concepts, deciles, coordinates=xy, draws=FEW))
        planted += "concept 0" in found
        independent += bool(found - {"concept 0"})
    assert planted >= 80
    assert independent <= 10


def test_maps_that_are_smooth_and_unrelated_are_reported_only_where_distances_are_ignored() -> None:
    with_distances = without = 0
    for seed in range(40):
        concepts, deciles, xy = _world(seed, reach=2_000)
        with_distances += bool(
            _reported(associations(concepts, deciles, coordinates=xy, draws=FEW))
        )
        without += bool(_reported(associations(concepts, deciles, draws=FEW)))
    assert with_distances <= 4
    assert without >= 20


def test_planted_concepts_are_found_among_smooth_maps() -> None:
    planted = unrelated = 0
    for seed in range(40):
        concepts, deciles, xy = _world(seed, planted=0.5, reach=1_500)
        found = _reported(associations(concepts, deciles, coordinates=xy, draws=FEW))
        planted += "concept 0" in found
        unrelated += bool(found - {"concept 0"})
    assert planted >= 30
    assert unrelated <= 4


def test_worst_and_best_off_are_a_fifth_of_the_classes_each() -> None:
    worst, best = worst_and_best(pd.Series([1.0, 2, 3, 8, 9, 10, np.nan]))
    assert worst.tolist() == [True, True, *[False] * 5]
    assert best.tolist() == [*[False] * 4, True, True, False]
    worst, best = worst_and_best(pd.Series([1, 2, 3]), classes=3)
    assert worst.tolist() == [True, False, False]
    assert best.tolist() == [False, False, True]


def test_difference_is_best_less_worst_in_standard_deviations() -> None:
    deciles = pd.DataFrame({"income": np.repeat(np.arange(1, 11), 12)}, AREAS)
    concept = pd.Series(np.repeat([0.2, 0.2, *[0.3] * 6, 0.4, 0.4], 12), AREAS)
    one = associations(concept.to_frame("greenery"), deciles).iloc[0]
    assert (one["n_worst"], one["n_best"], one["n_areas"]) == (24, 24, 120)
    assert (one["worst"], one["best"]) == pytest.approx((0.2, 0.4))
    assert one["difference"] == pytest.approx(0.2 / concept.std(ddof=0))
    # Nothing varies within an end.
    assert (one["low"], one["high"]) == pytest.approx((one["difference"],) * 2)
    assert one["effective"] == N
    assert one["reported"]


def test_order_of_areas_and_missing_concepts_change_nothing_for_others() -> None:
    concepts, deciles, xy = _world(5, planted=0.5)
    whole = associations(concepts, deciles, coordinates=xy, draws=FEW)
    back = np.random.default_rng(1).permutation(N)
    shuffled = associations(concepts.iloc[back], deciles.iloc[back], coordinates=xy, draws=FEW)
    pd.testing.assert_frame_equal(whole, shuffled)
    concepts.loc[AREAS[:30], "concept 3"] = np.nan
    part = associations(concepts, deciles, coordinates=xy, draws=FEW).set_index("concept")
    assert part["n_areas"].to_dict() == dict.fromkeys(concepts, N) | {"concept 3": N - 30}
    same = ["difference", "p", "effective"]
    others = [name for name in concepts if name != "concept 3"]
    pd.testing.assert_frame_equal(
        part.loc[others, same], whole.set_index("concept").loc[others, same]
    )


def test_what_does_not_vary_or_has_too_few_areas_has_no_row() -> None:
    concepts, deciles, _ = _world(5)
    concepts["concept 1"] = 1.0
    assert "concept 1" not in set(associations(concepts, deciles, draws=FEW)["concept"])
    few = deciles.where(deciles > 2)
    assert associations(concepts, few, draws=FEW).empty


def test_areas_of_one_unit_are_drawn_together() -> None:
    unit = pd.Series(np.arange(N) // 4, AREAS)
    deciles = pd.DataFrame({"income": np.repeat(np.arange(1, 11), 12)}, AREAS)
    of_units = np.random.default_rng(2).standard_normal(N // 4)[unit]
    concept = pd.DataFrame({"greenery": of_units}, AREAS)
    widths = []
    for each in (None, unit):
        one = associations(concept, deciles, unit=each, draws=Draws(200)).iloc[0]
        widths.append(one["high"] - one["low"])
    assert widths[1] > 1.5 * widths[0]


def test_readable_model_is_tested_on_areas_that_it_has_not_seen() -> None:
    concepts, deciles, xy = _world(3, planted=0.8)
    fold = np.arange(N) % 5 + 1
    actual = deciles["income"].to_numpy()
    frame = pd.DataFrame({"fold": fold, "decile": actual, "actual_decile": actual}, AREAS)
    pairs = pd.DataFrame(
        [(f, a, d) for f in range(1, 6) for a, g, d in zip(AREAS, fold, actual, strict=True)
         if g != f],
        columns=["fold", "area", "decile"],
    )  # fmt: skip
    found = readable_model(concepts, frame, pairs, coordinates=xy)
    assert found is not None
    assert found["n_areas"] == N
    assert 0.6 < found["concepts"]["value"] < 0.9
    assert found["images"]["value"] == 1
    assert found["difference"]["value"] == pytest.approx(1 - found["concepts"]["value"])
    assert found["difference"]["low"] > 0
    noise = readable_model(concepts[["concept 1"]], frame, pairs, coordinates=xy)
    assert noise is not None
    assert abs(noise["concepts"]["value"]) < 0.25
    assert readable_model(concepts.iloc[:0], frame, pairs) is None


def test_weighted_test_agrees_with_least_squares_of_the_true_covariance() -> None:
    """With a covariance that is in the family, p-values are those of the exact computation."""
    from scipy.stats import t

    exact, found = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        points = rng.uniform(0, 10_000, (150, 2))
        distance = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
        factor = np.linalg.cholesky(np.exp(-distance / 2_000) + 1e-9 * np.eye(150))
        fields = factor @ rng.standard_normal((150, 5))
        decile = fields[:, 0].argsort().argsort() * 10 // 150 + 1
        worst, best = (decile <= 2).astype(float), (decile > 8).astype(float)
        x = np.linalg.solve(factor, np.column_stack([np.ones(150), worst, best]))
        y = np.linalg.solve(factor, fields[:, 1:] + 0.4 * fields[:, :1])
        inverse = np.linalg.inv(x.T @ x)
        coefficients = inverse @ x.T @ y
        error = ((y - x @ coefficients) ** 2).sum(axis=0) / 147
        contrast = np.array([0, -1, 1])
        statistic = contrast @ coefficients / np.sqrt(error * (contrast @ inverse @ contrast))
        exact.append(statistic)
        values = fields[:, 1:] + 0.4 * fields[:, :1]
        p = weighted_p_values(values, worst, best, points)
        plain = best @ values / best.sum() - worst @ values / worst.sum()
        found.append(np.where(p < 1, np.sign(plain) * t.isf(p / 2, 147), np.nan))
    known = np.isfinite(found)
    assert known.sum() >= 35
    np.testing.assert_allclose(np.array(found)[known], np.array(exact)[known], atol=0.6)


def test_weighted_test_is_the_t_test_where_areas_are_independent() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(1)
    points, values = rng.uniform(0, 1_000, (200, 2)), rng.standard_normal((200, 40))
    worst = np.arange(200) < 100
    p = weighted_p_values(values, worst * 1.0, ~worst * 1.0, points)
    np.testing.assert_allclose(
        np.median(p / ttest_ind(values[worst], values[~worst]).pvalue), 1, atol=0.05
    )
