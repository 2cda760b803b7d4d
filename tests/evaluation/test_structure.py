"""Positions, neighbours and spatial autocorrelation of areas."""

from __future__ import annotations

import warnings
from importlib import import_module

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import MultiPolygon, box

from streetgauge.errors import InputError
from streetgauge.evaluation import (
    Neighbours,
    area_coordinates,
    error_clusters,
    location_coordinates,
    location_means,
    metric_crs,
    moran,
    positions_of_areas,
    structure,
)


def grid(side=6, gap=0.0, crs="EPSG:27700"):
    """Square areas of 100 m, row by row."""
    names = [f"A{i:03d}" for i in range(side**2)]
    shapes = [
        MultiPolygon([box(100 * x + gap, 100 * y + gap, 100 * x + 100 - gap, 100 * y + 100 - gap)])
        for y in range(side)
        for x in range(side)
    ]
    return gpd.GeoDataFrame({"name": names}, geometry=shapes, index=names, crs=crs)


def plain_moran(values, neighbours):
    """Moran's I by its definition, one pair after the other."""
    names, z = list(neighbours.areas), np.asarray(values) - np.mean(values)
    beside = {name: [] for name in names}
    for i, j in neighbours.pairs:
        beside[names[i]].append(j)
    above = weight = 0.0
    for i, name in enumerate(names):
        for j in beside[name]:
            above += z[i] * z[j] / len(beside[name])
            weight += 1 / len(beside[name])
    return len(z) / weight * above / (z**2).sum()


def test_areas_that_touch_are_neighbours_corners_too():
    neighbours = Neighbours.of_boundaries(grid(3))
    count = np.bincount(neighbours.pairs[:, 0])
    assert count.tolist() == [3, 5, 3, 5, 8, 5, 3, 5, 3]
    assert (neighbours.kind, neighbours.islands) == ("contiguity", 0)


def test_boundaries_that_were_simplified_apart_still_touch():
    touching, apart = Neighbours.of_boundaries(grid(4)), Neighbours.of_boundaries(grid(4, gap=0.3))
    np.testing.assert_array_equal(touching.pairs, apart.pairs)
    # In degrees as well: a metre is a metre.
    degrees = Neighbours.of_boundaries(grid(4, gap=0.3).to_crs(4326))
    np.testing.assert_array_equal(touching.pairs, degrees.pairs)


def test_areas_across_a_street_do_not_touch():
    # 2 m apart: each is an island, and joined to the nearest.
    assert Neighbours.of_boundaries(grid(3, gap=1.0)).islands == 9
    assert Neighbours.of_boundaries(grid(3, gap=0.49)).islands == 0


def test_an_island_is_joined_to_the_nearest_area():
    areas = grid(3)
    areas.loc["A008", "geometry"] = box(5000, 210, 5100, 290)  # beside A005 and A002, farther
    neighbours = Neighbours.of_boundaries(areas)
    assert neighbours.islands == 1
    near = neighbours.pairs[neighbours.pairs[:, 0] == 8, 1]
    assert neighbours.areas[near].tolist() in (["A005"], ["A007"])
    assert [near[0], 8] in neighbours.pairs.tolist()


def test_areas_without_boundary_are_excluded():
    areas = grid(3)
    areas.loc["A004", "geometry"] = None
    neighbours = Neighbours.of_boundaries(areas)
    assert "A004" not in neighbours.areas
    assert len(neighbours.areas) == 8
    assert len(Neighbours.of_boundaries(areas.iloc[:1]).pairs) == 0


def test_points_are_joined_to_the_nearest():
    places = pd.DataFrame({"x": [0.0, 1, 3, 7], "y": 0.0}, index=["d", "c", "b", "a"])
    neighbours = Neighbours.of_points(places, nearest=1)
    pairs = {(neighbours.areas[i], neighbours.areas[j]) for i, j in neighbours.pairs}
    assert pairs == {("d", "c"), ("c", "d"), ("b", "c"), ("a", "b")}
    assert neighbours.kind == "nearest"
    assert len(Neighbours.of_points(places, nearest=9).pairs) == 12
    # At one point all are each other's neighbours, and none its own.
    same = Neighbours.of_points(places.assign(x=0.0), nearest=2)
    assert np.bincount(same.pairs[:, 0]).tolist() == [2, 2, 2, 2]
    assert (same.pairs[:, 0] != same.pairs[:, 1]).all()


def test_those_that_lose_all_neighbours_are_excluded():
    neighbours = Neighbours.of_boundaries(grid(3)).of(pd.Index(["A000", "A001", "A008"]))
    assert neighbours.areas.tolist() == ["A000", "A001"]
    assert neighbours.pairs.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("kind", ["boundaries", "points"])
def test_moran_is_that_of_a_plain_computation_and_of_esda(kind):
    areas = grid(7)
    centre = areas.geometry.centroid
    rng = np.random.default_rng(1)
    if kind == "boundaries":
        neighbours = Neighbours.of_boundaries(areas.drop(index=["A010", "A011", "A024"]))
    else:
        places = pd.DataFrame({"x": centre.x, "y": centre.y + rng.normal(0, 9, 49)})
        neighbours = Neighbours.of_points(places)
    value = centre.x[neighbours.areas].to_numpy() / 100 + rng.normal(0, 2, len(neighbours.areas))
    found = moran(value, neighbours.weights, rng)
    assert found["value"] == pytest.approx(plain_moran(value, neighbours))
    from esda import Moran
    from libpysal.graph import Graph

    row, column = neighbours.pairs.T
    graph = Graph.from_arrays(row, column, np.ones(len(row)))
    theirs = Moran(value, graph, permutations=0)
    assert found["value"] == pytest.approx(theirs.I)
    assert found["expected"] == pytest.approx(theirs.EI)


def test_a_chessboard_is_negative_halves_are_positive_and_noise_is_neither():
    areas = grid(8)
    neighbours = Neighbours.of_boundaries(areas)
    x, y = np.arange(64) % 8, np.arange(64) // 8
    rng = np.random.default_rng(2)
    halves = moran(x >= 4, neighbours.weights, rng)
    assert halves["value"] > 0.7
    assert halves["p"] == 0.001
    rook = neighbours.pairs[np.abs(np.diff(neighbours.pairs, axis=1))[:, 0] % 8 != 7]
    rook = rook[np.isin(np.abs(np.diff(rook, axis=1))[:, 0], [1, 8])]
    board = moran((x + y) % 2, Neighbours(neighbours.areas, rook).weights, rng)
    assert board["value"] == pytest.approx(-1)
    assert board["p"] == 0.001
    p = [moran(rng.normal(size=64), neighbours.weights, rng, 199)["p"] for _ in range(40)]
    assert 0.3 < np.mean(p) < 0.7


def test_what_does_not_vary_and_what_is_too_few_has_no_moran():
    neighbours = Neighbours.of_boundaries(grid(3))
    rng = np.random.default_rng(3)
    assert moran(np.full(9, 4.2), neighbours.weights, rng)["value"] is None
    few = neighbours.of(neighbours.areas[:4])
    assert moran([1.0, 2, 3, 4], few.weights, rng)["p"] is None


def test_of_many_areas_p_is_that_of_permutations_without_drawing_any(monkeypatch):
    module = import_module("streetgauge.evaluation.structure")
    rng = np.random.default_rng(0)
    points = pd.DataFrame(rng.uniform(0, 1, (1001, 2)), columns=["x", "y"])
    weights = Neighbours.of_points(points).weights
    for trend in (0, 0.4):
        value = rng.exponential(size=1001) + trend * points["x"]
        state = rng.bit_generator.state
        of_many = moran(value, weights, rng)
        assert rng.bit_generator.state == state
        monkeypatch.setattr(module, "MANY", 2000)
        drawn = moran(value, weights, rng, 2999)
        monkeypatch.undo()
        assert of_many["value"] == drawn["value"]
        assert of_many["p"] == pytest.approx(drawn["p"], abs=0.03)


def world(seed=4, side=14):
    """Errors of 0 or 1 decile, but for one quarter of the city where they are large."""
    areas = grid(side)
    rng = np.random.default_rng(seed)
    n = side**2
    actual = rng.integers(1, 11, n)
    wrong = (np.arange(n) % side < 5) & (np.arange(n) // side < 5)
    error = np.where(wrong, rng.integers(5, 8, n), rng.integers(0, 2, n))
    decile = np.where(actual + error > 10, actual - error, actual + error)
    frame = pd.DataFrame(
        {
            "area": areas.index,
            "outcome": "income",
            "decile": pd.array(np.clip(decile, -9, 19), dtype="Int64"),
            "actual_decile": pd.array(actual, dtype="Int64"),
        }
    )
    return areas, frame, wrong


def test_clusters_of_error_are_where_errors_are_large():
    areas, frame, wrong = world()
    accounts, columns = structure(frame, Neighbours.of_boundaries(areas), seed=1)
    high = columns["error_cluster"] == "high"
    assert high[wrong].mean() > 0.8
    assert high[~wrong].mean() < 0.05
    assert accounts["income"]["clusters"]["high"] == high.sum()
    assert accounts["income"]["n_areas"] == len(frame)
    assert not (columns["error_cluster"] == "low")[wrong].any()


def test_shuffled_errors_have_no_cluster():
    rng = np.random.default_rng(5)
    areas = grid(10)
    neighbours = Neighbours.of_boundaries(areas)
    found = [
        error_clusters(pd.Series(rng.integers(0, 6, 100).astype(float), areas.index), neighbours, s)
        .notna()
        .sum()
        for s in range(6)
    ]
    assert np.mean(found) < 1.5


@pytest.mark.parametrize("kind", ["boundaries", "points"])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_those_of_esda(kind, seed, monkeypatch):
    """With the same draws, and few values, so that many permutations are ties."""
    import esda
    from libpysal.graph import Graph

    monkeypatch.setattr(import_module("streetgauge.evaluation.structure"), "MANY", 80)
    areas = grid((8, 10)[seed % 2])
    rng = np.random.default_rng(seed)
    gone = rng.choice(areas.index, 9, replace=False)
    if kind == "boundaries":
        neighbours = Neighbours.of_boundaries(areas)
    else:
        centre = areas.geometry.centroid
        neighbours = Neighbours.of_points(pd.DataFrame({"x": centre.x, "y": centre.y}))
    far = np.where(areas.geometry.centroid.x > areas.geometry.centroid.x.mean(), 9, 0)
    error = pd.Series(rng.integers(0, 3, len(areas)) + far, areas.index, dtype=float)
    error[gone] = np.nan
    joined = neighbours.of(error.index[error.notna()])
    row, column = joined.pairs.T
    codes = joined.areas.to_numpy(object)
    graph = Graph.from_arrays(codes[row], codes[column], np.ones(len(row)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = esda.Moran_Local(
            error[graph.unique_ids].to_numpy(),
            graph,
            permutations=9999 if len(joined.areas) <= 80 else 1999,
            seed=seed,
            keep_simulations=False,
        )
    alike = np.where(theirs.Is > 0, theirs.p_sim, 1.0)
    found = alike <= esda.fdr(alike, 0.05)
    expected = pd.Series(None, index=areas.index, dtype="str")
    expected[graph.unique_ids[found & (theirs.q == 1)]] = "high"
    expected[graph.unique_ids[found & (theirs.q == 3)]] = "low"
    assert expected.notna().sum() > 8
    pd.testing.assert_series_equal(error_clusters(error, neighbours, seed), expected)


def test_rows_may_be_in_any_order_and_chance_is_seeded_and_private():
    areas, frame, _ = world(side=8)
    frame = pd.concat([frame, frame.assign(outcome="crime", decile=frame["actual_decile"])])
    frame = frame.reset_index(drop=True)
    frame.loc[5, "actual_decile"] = pd.NA
    neighbours = Neighbours.of_boundaries(areas)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    accounts, columns = structure(frame, neighbours, seed=1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    shuffled = frame.sample(frac=1, random_state=3)
    again, others = structure(
        shuffled, Neighbours.of_boundaries(areas.sample(frac=1, random_state=2)), seed=1
    )
    assert again == accounts
    pd.testing.assert_frame_equal(others.sort_index(), columns)
    assert accounts["crime"]["residuals"]["value"] is None  # all right: nothing varies
    assert accounts["income"]["n_areas"] == 63
    # An outcome's figures do not depend on the others.
    alone, _ = structure(frame[frame["outcome"] == "income"], neighbours, seed=1)
    assert alone["income"] == accounts["income"]


def test_the_mean_residual_nearby_is_that_of_the_neighbours():
    areas = grid(3)
    frame = pd.DataFrame(
        {
            "area": areas.index,
            "outcome": "income",
            "decile": pd.array([5] * 9, dtype="Int64"),
            "actual_decile": pd.array([1, 2, 3, 4, 5, 6, 7, 8, pd.NA], dtype="Int64"),
        }
    )
    _, columns = structure(frame, Neighbours.of_boundaries(areas), seed=1)
    nearby = columns["residual_nearby"]
    assert nearby[0] == pytest.approx(np.mean([3, 1, 0]))  # of A001, A003 and A004
    assert nearby[4] == pytest.approx(np.mean([4, 3, 2, 1, -1, -2, -3]))
    assert np.isnan(nearby[8])


def test_neighbours_among_some_areas_are_those_that_they_have_among_all():
    """The nearest of an area need not have it among theirs: one that goes takes others with it."""
    rng = np.random.default_rng(2)
    places = pd.DataFrame(rng.uniform(0, 1e4, (300, 2)), columns=["x", "y"])
    places.index = [f"A{i:03d}" for i in range(300)]
    every = Neighbours.of_points(places, 3)
    pairs = {(every.areas[i], every.areas[j]) for i, j in every.pairs}
    lost = 0
    for seed in range(20):
        query = pd.Index(rng.permutation(places.index)[:70])
        kept = set(query)
        while alone := {a for a in kept if not any((a, b) in pairs for b in kept)}:
            kept -= alone
            lost += 1
        found = every.of(query)
        assert found.areas.tolist() == [a for a in query if a in kept]
        named = {(found.areas[i], found.areas[j]) for i, j in found.pairs}
        assert named == {(a, b) for a, b in pairs if a in kept and b in kept}
        assert found.weights.sum(axis=1) == pytest.approx(np.ones(len(found.areas)))
        values = pd.Series(rng.normal(size=len(query)), query)
        told = moran(values[found.areas], found.weights, np.random.default_rng(seed), 9)["value"]
        assert told == pytest.approx(plain_moran(values[found.areas], found))
    assert lost > 20  # more than once in some


def squares(side=100.0, n=4, crs="EPSG:27700"):
    corner = [(500_000 + side * i, 200_000) for i in range(n)]
    shapes = [box(x, y, x + side, y + side) for x, y in corner]
    index = pd.Index([f"A{i}" for i in range(n)], name="area")
    columns = {"name": [f"Area {i}" for i in range(n)], "geometry": shapes}
    return gpd.GeoDataFrame(columns, index=index, crs=crs)


def test_the_centroid_is_in_the_metres_of_a_projected_file():
    found = area_coordinates(squares())
    assert found.loc["A1"].tolist() == [500_150.0, 200_050.0]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263"])  # degrees, feet
def test_other_units_become_metres(crs):
    if crs == "EPSG:2263":
        source = squares(crs="EPSG:2263")  # 100 US survey feet
        expected = 100 * 1200 / 3937
    else:
        source, expected = squares().to_crs(crs), 100.0
    found = area_coordinates(source)
    between = np.hypot(*(found.loc["A1"] - found.loc["A0"]))
    assert between == pytest.approx(expected, rel=2e-3)


def test_an_area_without_a_boundary_has_no_position():
    frame = squares()
    frame.loc["A2", "geometry"] = None
    found = area_coordinates(frame)
    assert found.loc["A2"].isna().all()
    assert found.drop("A2").notna().all(axis=None)


def test_boundaries_that_do_not_say_where_they_are_are_refused():
    with pytest.raises(InputError, match="coordinate system"):
        area_coordinates(squares(crs=None))


def test_locations_give_the_mean_position_of_their_area_whatever_their_order():
    frame = pd.DataFrame(
        {
            "area": ["A", "A", "B", None, "C"],
            "lat": [51.5, 51.6, 51.55, 51.5, np.nan],
            "lon": [0.0, 0.0, 0.1, 0.0, 0.2],
        }
    )
    found = location_coordinates(frame)
    assert found.index.tolist() == ["A", "B"]
    # 0.1 degree of longitude at 51.55 degrees north is 6.93 km.
    assert np.hypot(*(found.loc["B"] - found.loc["A"])) == pytest.approx(6935, rel=3e-3)
    shuffled = location_coordinates(frame.iloc[::-1])
    pd.testing.assert_frame_equal(found, shuffled, check_exact=True)


def test_without_any_position_there_are_no_coordinates():
    frame = pd.DataFrame({"area": ["A"], "lat": [np.nan], "lon": [np.nan]})
    assert location_coordinates(frame).empty


def test_areas_lie_where_their_boundaries_are_and_without_any_where_their_locations_are():
    locations = pd.DataFrame({"area": ["A0", "A1"], "lat": [51.5, 51.6], "lon": [0.0, 0.1]})
    areas = squares()
    pd.testing.assert_frame_equal(positions_of_areas(areas, locations), area_coordinates(areas))
    plain = pd.DataFrame(areas.drop(columns="geometry"))
    found = positions_of_areas(plain, locations)
    pd.testing.assert_frame_equal(found, location_coordinates(locations))


def test_locations_at_the_centroids_place_areas_there_in_the_boundaries_own_metres():
    areas = squares()
    for system in ("EPSG:27700", "EPSG:4326"):
        shapes = areas.to_crs(system)
        centroids = area_coordinates(shapes)
        points = gpd.GeoSeries(
            gpd.points_from_xy(centroids["x"], centroids["y"]), crs=metric_crs(shapes)
        ).to_crs("EPSG:4326")
        # Two about each centroid, and one that no coordinates are known of.
        locations = pd.concat(
            pd.DataFrame({"area": areas.index, "lat": points.y + step, "lon": points.x})
            for step in (1e-5, -1e-5, np.nan)
        )
        found = location_means(shapes, locations)
        pd.testing.assert_frame_equal(
            found, centroids.sort_index(), check_names=False, check_exact=False, atol=0.01, rtol=0
        )


def test_without_boundaries_there_is_no_second_placement():
    locations = pd.DataFrame({"area": ["A0"], "lat": [51.5], "lon": [0.0]})
    areas = squares()
    assert location_means(pd.DataFrame(areas.drop(columns="geometry")), locations) is None
    assert location_means(areas.set_geometry(gpd.GeoSeries(None, areas.index)), locations) is None
