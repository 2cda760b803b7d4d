"""The plan of the sample city: small areas that tile a plane, districts, postcodes."""

from __future__ import annotations

import math
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from streetgauge.synthetic.model import Array

CRS = "EPSG:27700"
_CENTRE = (600_000.0, 420_000.0)  # on the British grid, but in the North Sea: nobody lives there
_DISTRICTS = (
    "Harrowmere", "Saltmere", "Port Calden", "Wexholm", "Thornhythe", "Eldersby", "Quillhaven",
    "Marrowick",
)  # fmt: skip
_INWARD = "ABDEFGHJLNPQRSTUWXYZ"  # letters that the second half of a postcode uses
_FIRST_OUTWARD = 8  # QX8, QX9, QX10 ...: no postcode begins with Q; both lengths occur
# Real areas of any kind have numbers below 200,000. 150 blocks of 5,000 follow, one a city.
_FIRST_CODE, _BLOCK, _BLOCKS = 200_001, 5_000, 150


def first_code(seed: int) -> int:
    """Give the number from which a city's codes count.

    Cities of the next 149 seeds have other codes, unless one has more than 1,000 areas.

    Examples
    --------
    >>> first_code(2019), first_code(2020)
    (545001, 550001)
    """
    return _FIRST_CODE + _BLOCK * (seed % _BLOCKS)


def draw_plan(rng: np.random.Generator, n_areas: int, first: int = _FIRST_CODE) -> gpd.GeoDataFrame:
    """Draw the city's output areas, grouped to small areas, middle areas and districts.

    Output areas are Voronoi cells, denser in the centre, about five to a small area (as in the
    Census). A small area is a group of neighbouring cells, so that borders are jagged and yet fit
    without gap or overlap; so is the city's outline.

    Parameters
    ----------
    rng : Generator
        Source of chance.
    n_areas : int
        How many small areas (LSOA).
    first : int
        Number in the first code of every kind, see `first_code`.

    Returns
    -------
    GeoDataFrame
        Output areas: OA11CD, LSOA11CD, LSOA11NM, MSOA11CD, LAD11CD, LAD11NM, geometry
        (EPSG:27700), sorted by OA11CD.
    """
    points, ring = _scatter(rng, 5 * n_areas, radius=330.0 * math.sqrt(n_areas))
    cells = _cells(points, ring)
    small = _group(points, n_areas, rng)
    centres = _means(points, small, n_areas)
    district = _group(centres, min(len(_DISTRICTS), max(1, n_areas // 22)), rng)
    codes = _names(centres, district, rng, first)
    plan = gpd.GeoDataFrame(codes.iloc[small].reset_index(drop=True), geometry=cells, crs=CRS)
    plan = plan.sort_values("LSOA11CD", kind="stable", ignore_index=True)
    plan.insert(0, "OA11CD", [f"E00{first + i:06d}" for i in range(len(plan))])
    return plan


def _scatter(rng: np.random.Generator, count: int, radius: float) -> tuple[Array, Array]:
    """Points in an irregular outline, denser in the centre, and a ring of points around them."""
    waves = [(k, rng.normal(0, 0.16 / k), rng.uniform(0, 2 * math.pi)) for k in range(2, 8)]

    def reach(angle: Array) -> Array:
        edge = 1 + sum(size * np.cos(k * angle + shift) for k, size, shift in waves)
        return radius * np.clip(edge, 0.6, 1.5)

    angle = rng.uniform(0, 2 * math.pi, count)
    distance = reach(angle) * rng.random(count) ** 0.9
    points = np.column_stack([distance * np.cos(angle), distance * np.sin(angle)])
    step = radius * math.sqrt(math.pi / count) * 1.1
    rings = []
    for turn in (1.0, 2.2):
        around = np.arange(0, 2 * math.pi, step / radius) + turn
        far = reach(around) + step * turn * rng.uniform(0.7, 1.1, len(around))
        rings.append(np.column_stack([far * np.cos(around), far * np.sin(around)]))
    ring = np.concatenate(rings)
    for _ in range(3):  # towards the cells' centres: cells become rounder, but of the same density
        centres = shapely.get_coordinates(shapely.centroid(_cells(points, ring, shift=False)))
        points = points + 0.6 * (centres - points)
    return points, ring


def _cells(points: Array, ring: Array, *, shift: bool = True) -> NDArray[Any]:
    """Voronoi cells of the points, in their order; the ring's cells bound them and are dropped."""
    every = np.concatenate([points, ring])
    cells = shapely.voronoi_polygons(shapely.multipoints(every), ordered=True)
    own = shapely.get_parts(cells)[: len(points)]
    if not shift:
        return np.asarray(own)
    # One rounding of every corner, so that neighbours still share them: centimetres.
    return np.asarray(shapely.transform(own, lambda xy: np.round(xy + _CENTRE, 2)))


def _group(points: Array, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Part points into ``count`` compact groups, none empty (Lloyd's k-means)."""
    seeds = points[rng.choice(len(points), count, replace=False)]
    member = np.zeros(len(points), dtype=np.intp)
    for _ in range(12):
        distance, nearest = cKDTree(seeds).query(points)
        member = np.asarray(nearest, dtype=np.intp)
        for empty in np.setdiff1d(np.arange(count), member):
            # The point that is farthest from its seed, and not alone there, begins a new group.
            crowded = np.bincount(member, minlength=count)[member] > 1
            lonely = int(np.argmax(np.where(crowded, distance, -1.0)))
            member[lonely], distance[lonely] = empty, 0.0
        seeds = _means(points, member, count)
    return member


def _means(points: Array, member: NDArray[np.intp], count: int) -> Array:
    size = np.bincount(member, minlength=count)
    sums = [np.bincount(member, points[:, axis], minlength=count) for axis in range(2)]
    return np.column_stack([total / size for total in sums])


def _names(
    centres: Array, district: NDArray[np.intp], rng: np.random.Generator, first: int
) -> pd.DataFrame:
    """Codes and names of the small areas."""
    rows: list[dict[str, str] | None] = [None] * len(centres)
    small = middle = first - 1
    for number in range(district.max() + 1):
        inside = np.flatnonzero(district == number)
        groups = _group(centres[inside], max(1, len(inside) // 5), rng)
        for group in range(groups.max() + 1):
            middle += 1
            for letter, area in enumerate(inside[groups == group]):
                small += 1
                rows[area] = {
                    "LSOA11CD": f"E01{small:06d}",
                    "LSOA11NM": f"{_DISTRICTS[number]} {group + 1:03d}{_letters(letter)}",
                    "MSOA11CD": f"E02{middle:06d}",
                    "LAD11CD": f"E09{first + number:06d}",
                    "LAD11NM": _DISTRICTS[number],
                }
    return pd.DataFrame(rows)


def _letters(number: int) -> str:
    return chr(65 + number) if number < 26 else _letters(number // 26 - 1) + chr(65 + number % 26)


def place_locations(
    rng: np.random.Generator, plan: gpd.GeoDataFrame, n_locations: int, spare: int
) -> tuple[pd.DataFrame, list[str]]:
    """Put postcodes into the areas, and give postcodes that are still free.

    Parameters
    ----------
    rng : Generator
        Source of chance.
    plan : GeoDataFrame
        From `draw_plan`.
    n_locations : int
        How many; each area has at least two.
    spare : int
        How many free postcodes to give.

    Returns
    -------
    locations : DataFrame
        location_id, postcode, lat, lon, east, north (whole metres), oa, lsoa, msoa, district,
        area, sorted by location_id.
    free : list of str
        Postcodes of the same kind that lie nowhere.
    """
    cell = _cells_of_locations(rng, plan, n_locations)
    inside = plan.iloc[cell].reset_index(drop=True)
    points = _points_inside(rng, inside.geometry)
    postcode, free = _postcodes(rng, inside["LAD11CD"].to_numpy(str), spare)
    geographic = gpd.GeoSeries(shapely.points(points), crs=CRS).to_crs("EPSG:4326")
    frame = pd.DataFrame(
        {
            "location_id": [code.replace(" ", "") for code in postcode],
            "postcode": postcode,
            "lat": geographic.y.round(6).to_numpy(),
            "lon": geographic.x.round(6).to_numpy(),
            "east": points[:, 0].astype(np.int64),
            "north": points[:, 1].astype(np.int64),
            "oa": inside["OA11CD"],
            "lsoa": inside["LSOA11CD"],
            "msoa": inside["MSOA11CD"],
            "district": inside["LAD11CD"],
            "area": inside["LSOA11CD"],
        }
    )
    return frame.sort_values("location_id", ignore_index=True), free


def _cells_of_locations(
    rng: np.random.Generator, plan: gpd.GeoDataFrame, n_locations: int
) -> NDArray[np.intp]:
    codes, area = np.unique(plan["LSOA11CD"].to_numpy(str), return_inverse=True)
    weight = rng.lognormal(0, 0.35, len(codes))
    extra = rng.multinomial(n_locations - 2 * len(codes), weight / weight.sum())
    cells = [rng.choice(np.flatnonzero(area == a), 2 + n) for a, n in enumerate(extra)]
    return np.sort(np.concatenate(cells))


def _points_inside(rng: np.random.Generator, cells: gpd.GeoSeries) -> Array:
    """Draw a point in each (convex) cell, off its border, in whole metres."""
    points = np.empty((len(cells), 2))
    for i, polygon in enumerate(cells):
        corners = np.asarray(polygon.exterior.coords)[:-1]
        middle = corners.mean(axis=0)
        weights = rng.dirichlet(np.ones(len(corners)))
        points[i] = middle + 1.8 * (weights @ corners - middle)
        while not polygon.contains(shapely.Point(np.round(points[i]))):
            points[i] = middle + 0.8 * (points[i] - middle)
    return np.round(points)


def _postcodes(
    rng: np.random.Generator, district: NDArray[Any], spare: int
) -> tuple[list[str], list[str]]:
    names = [""] * len(district)
    free: list[str] = []
    outward = _FIRST_OUTWARD
    codes = np.unique(district)
    for code in codes:
        inside = np.flatnonzero(district == code)
        for start in range(0, len(inside), 3000):
            chunk = inside[start : start + 3000]
            more = -(-spare // len(codes)) if start == 0 else 0
            units = np.sort(rng.choice(4000, len(chunk) + more, replace=False))
            used = np.sort(rng.permutation(len(units))[: len(chunk)])
            texts = [
                f"QX{outward} {u // 400}{_INWARD[u // 20 % 20]}{_INWARD[u % 20]}" for u in units
            ]
            for row, unit in zip(chunk, used, strict=True):
                names[row] = texts[unit]
            free += [texts[i] for i in np.setdiff1d(np.arange(len(units)), used)]
            outward += 1
    return names, free[:spare]


def smooth_fields(rng: np.random.Generator, points: Array, count: int, reach: float) -> Array:
    """Draw ``count`` independent Gaussian fields at points, variance 1, [points, count].

    The covariance is Matern's with smoothness 3/2 and scale ``reach`` (metres).
    """
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1)) * math.sqrt(3) / reach
    covariance = (1 + distance) * np.exp(-distance)
    root = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(points)))
    return root @ rng.standard_normal((len(points), count))
