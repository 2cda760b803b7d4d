"""The map of the page: boundaries on a grid of whole numbers, and one list a column.

All of it is in one order of areas, and small enough for a page. Ours because folium and its like
load scripts and tiles from the web, and a report is read offline.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from pyproj import Transformer

from streetgauge.analysis.districts import district_intervals
from streetgauge.evaluation import metric_crs
from streetgauge.report.basemap import on_map
from streetgauge.report.data import ReportData
from streetgauge.report.text.numbers import unit

if TYPE_CHECKING:
    import geopandas as gpd


__all__ = ["layers", "outline", "pack_postcodes", "packed", "payload"]

MOST_APART = 4  # the difference beyond which the map's colours do not change
MOST_POSTCODES = 3_000_000  # characters; London's 331,264 postcodes take under a million

# Name on the page, column of the table, digits: those that the card shows, rounded once.
COLUMNS = (
    *(("best", "best_decile", 0), ("bestlow", "best_low", 0), ("besthigh", "best_high", 0)),
    *(("decile", "decile", 0), ("low", "low", 0), ("high", "high", 0)),
    *(("actual", "actual_decile", 0), ("n", "n_locations", 0), ("views", "n_views", 0)),
    *(("seen", "share_with_images", 2), ("score", "score", 3), ("disagreement", "disagreement", 2)),
)
# Bit, column, and the value that it stands for.
FLAGS = (
    *((1, "outside_aoa", True), (2, "error_cluster", "high"), (4, "error_cluster", "low")),
    (8, "status", "too few locations"),
)


# What numbers are written with: no sign that JSON or HTML would write as several.
SIGNS = "".join(chr(each) for each in range(32, 127) if chr(each) not in '"&<>\\')
MANY_AREAS = 5_000

Integers = npt.NDArray[np.int64]
GRID = 8192  # the longer side, in steps
MOST_POINTS = 160_000  # about 1 MB of numbers
COARSEST = 1 / 300  # of the longer side
LATTICE = 17  # points a side: in between, the page is less than a step of the grid off


def payload(
    data: ReportData, labels: Mapping[str, str], geometry: dict[str, Any] | None
) -> dict[str, Any]:
    """Gather what the script needs, in the order of ``data.areas``.

    A column that is the same for all outcomes stands with the first one only.
    """
    table = data.table if data.estimates is None else _as_seen(data.estimates)
    extra = sorted(set(table["area"]) - set(data.areas.index))
    codes = [*data.areas.index.astype(str), *extra]
    if geometry is not None:
        geometry = {**geometry, "shapes": geometry["shapes"] + [None] * len(extra)}
    outcomes: list[dict[str, Any]] = []
    for name, label in labels.items():
        rows = table[table["outcome"] == name].set_index("area").reindex(codes)
        outcome: dict[str, Any] = {"name": name, "label": label}
        for key, column, digits in COLUMNS:
            if column in rows.columns and rows[column].notna().any():
                outcome[key] = _rounded_values(rows[column], digits)
        if (flags := _flags(rows)) is not None:
            outcome["flags"] = flags
        outcomes.append(outcome)
    for outcome in outcomes[1:]:
        for key in [k for k in outcome if k not in ("name", "label")]:
            if outcome[key] == outcomes[0].get(key):
                del outcome[key]
        # What only the first has must not be taken for this one's.
        outcome |= {k: [None] * len(codes) for k in _absent(outcomes[0], outcome, table)}
    one, many = unit(data.metrics["classes"])
    return {
        "name": data.name,
        "layers": layers(data.table, data.metrics["classes"]),
        "classes": data.metrics["classes"],
        "unit": one,
        "units": many,
        "apart": min(MOST_APART, data.metrics["classes"] - 1),
        "codes": codes,
        "names": _texts(data.areas, "name", len(extra)),
        "districts": _texts(data.areas, "district", len(extra)),
        "outcomes": outcomes,
        "of_districts": [_of_districts(data, table, name) for name in labels],
        "postcodes": pack_postcodes(data.locations, codes),
        "images": {str(area): list(own) for area, own in data.images.items()},
        "geometry": geometry,
    }


def _of_districts(data: ReportData, table: pd.DataFrame, name: str) -> dict[str, Any]:
    """Give low end, high end and chance to be the worst off of each district, by layer."""
    if "district" not in data.areas or not {"fold", "actual_decile"} <= set(table):
        return {}
    rows = table[table["outcome"] == name]
    actual = rows["actual_decile"].where(rows["fold"].fillna(0) > 0)  # only of areas held out
    district = rows["area"].map(data.areas["district"])
    level, classes = data.metrics.get("interval_level", 0.9), data.metrics["classes"]
    found = {}
    for layer, column in (("best", "best_decile"), ("predicted", "decile")):
        if column in rows and rows[column].notna().any():
            each = {"district": district, "estimate": rows[column], "actual": actual}
            ends = district_intervals(pd.DataFrame(each), level, classes)[["low", "high", "worst"]]
            known = ends.dropna(subset="low").round({"low": 1, "high": 1, "worst": 2})
            found[layer] = dict(zip(known.index, known.to_numpy(float).tolist(), strict=True))
    return found


def packed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Write the outcomes' columns of numbers as text, where there are so many that it pays.

    A number takes one to three signs instead of up to seven, and the page reads only the columns
    that it shows. Small pages stay as they are: their numbers can be read by anybody.

    Parameters
    ----------
    content : mapping
        From `payload`.

    Returns
    -------
    dict
        The same, with ``{"least", "per_unit", "signs", "text"}`` in place of each list.
    """
    if len(content["codes"]) < MANY_AREAS:
        return dict(content)
    digits = {key: each for key, _, each in COLUMNS}
    outcomes = [
        {k: _packed_column(v, digits.get(k, 0)) if isinstance(v, list) else v for k, v in o.items()}
        for o in content["outcomes"]
    ]
    return {**content, "outcomes": outcomes}


def _packed_column(values: Sequence[float | None], digits: int) -> dict[str, Any]:
    """Write numbers of so many digits as text; the first of `SIGNS` stands for no number."""
    per_unit = 10**digits
    number = np.array([np.nan if each is None else each * per_unit for each in values], float)
    known = np.isfinite(number)
    least = int(np.rint(number[known]).min()) if known.any() else 0
    code = np.where(known, np.rint(np.nan_to_num(number)) - least + 1, 0).astype(np.int64)
    signs = 1
    while code.max(initial=0) >= len(SIGNS) ** signs:
        signs += 1
    letters = np.frombuffer(SIGNS.encode(), "S1")
    places = [letters[code // len(SIGNS) ** k % len(SIGNS)] for k in reversed(range(signs))]
    text = np.stack(places, axis=1).tobytes().decode()
    return {"least": least, "per_unit": per_unit, "signs": signs, "text": text}


def _as_seen(estimates: pd.DataFrame) -> pd.DataFrame:
    """Give the areas' table without the zeros of areas that have no images."""
    return estimates.assign(n_locations=estimates["n_locations"].replace(0, pd.NA))


def layers(table: pd.DataFrame, classes: int) -> dict[str, str]:
    """Name the maps that the table has something for, in their order on the page."""
    one, many = unit(classes)
    if not table["decile"].notna().any():  # official statistics alone
        return {"actual": f"Official {one}"}
    result = {}
    if "best_decile" in table and table["best_decile"].notna().any():
        result["best"] = f"Best estimate: {one}"
    result["predicted"] = f"Images alone: {one}" if result else f"Predicted {one}"
    if table["actual_decile"].notna().any():
        result |= {"actual": f"Actual {one}", "difference": "Predicted less actual"}
    if table["low"].notna().any():
        result["uncertainty"] = f"Uncertainty, in {many}"
    elif "disagreement" in table and table["disagreement"].notna().any():
        result["spread"] = f"Spread of the ensemble, in {many}"
    if table["n_locations"].notna().any():
        result["locations"] = "Coverage: locations"
    if "n_views" in table and table["n_views"].notna().any():
        result["images"] = "Coverage: images"
    if _flags(table) is not None:
        result["flags"] = "Where to be careful"
    return result


def pack_postcodes(locations: pd.DataFrame, codes: Sequence[str]) -> str | None:
    """Write the postcodes of every area so that a page can hold a city's.

    Sorted within their area, each is a small letter for the number of characters that it shares
    with the one before (a none, b one, ...) and the rest; "|" goes on to the next area. Blanks are
    dropped; what has other characters than A to Z and 0 to 9 cannot be searched for.

    Returns
    -------
    str or None
        None if there are no postcodes, or so many that the page would be slow to open.
    """
    if "postcode" not in locations or "area" not in locations:
        return None
    known = locations.loc[locations["postcode"].notna(), ["postcode", "area"]]
    text = known["postcode"].astype(str).str.upper().str.replace(r"[^A-Z0-9]", "", regex=True)
    usable = text.str.len().between(3, 25)
    known = pd.DataFrame({"postcode": text, "area": known["area"]})[usable].drop_duplicates()
    if known.empty:
        return None
    known["order"] = pd.Index(codes).get_indexer(pd.Index(known["area"]))
    known = known[known["order"] >= 0].sort_values(["order", "postcode"])
    parts = _front_coded(known["postcode"].tolist(), order := known["order"].to_numpy())
    begins = np.searchsorted(order, np.arange(len(codes) + 1))
    packed = "|".join("".join(parts[i:j]) for i, j in itertools.pairwise(begins))
    packed = re.sub(r"\|+$", "", packed)
    return packed if packed and len(packed) <= MOST_POSTCODES else None


def _front_coded(texts: Sequence[str], order: npt.NDArray[np.intp]) -> list[str]:
    """Write each text as what it shares with the one before of its order, and the rest."""
    if not texts:
        return []
    letters = np.array(texts, dtype="S").view("S1").reshape(len(texts), -1)
    same = (letters[1:] == letters[:-1]) & (letters[1:] != b"")
    same &= (order[1:] == order[:-1])[:, None]
    shared = np.r_[0, np.logical_and.accumulate(same, axis=1).sum(1)].tolist()
    return [chr(97 + n) + text[n:] for n, text in zip(shared, texts, strict=True)]


def _rounded_values(column: pd.Series, digits: int) -> list[float | int | None]:
    values = column.astype("Float64").to_numpy(float, na_value=np.nan)
    if digits == 0:
        return [None if np.isnan(value) else int(value) for value in values]
    return [None if np.isnan(value) else round(float(value), digits) for value in values]


def _flags(rows: pd.DataFrame) -> list[int | None] | None:
    """Sum up what to be careful of in an area, a bit for each; None if nothing is known of it."""
    known = [
        (bit, rows[column].eq(value).fillna(False).to_numpy(bool))
        for bit, column, value in FLAGS
        if column in rows and rows[column].notna().any()
    ]
    if not known:
        return None
    total = np.sum([bit * flagged for bit, flagged in known], axis=0)
    seen = rows["decile"].notna().to_numpy(bool)
    return [int(flags) if there else None for flags, there in zip(total, seen, strict=True)]


def _absent(first: Mapping[str, Any], outcome: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    """Name the columns that the first outcome has and this one has no value in."""
    rows = table[table["outcome"] == outcome["name"]]
    columns = {key: column for key, column, _ in COLUMNS}
    absent = [k for k in first if k in columns and not rows[columns[k]].notna().any()]
    if "flags" in first and _flags(rows) is None:
        absent.append("flags")
    return absent


def _texts(areas: pd.DataFrame, column: str, extra: int) -> list[str | None] | None:
    if column not in areas.columns or areas[column].isna().all():
        return None
    values = [None if pd.isna(value) else str(value) for value in areas[column]]
    return values + [None] * extra


def outline(
    areas: gpd.GeoDataFrame, basemap: Mapping[str, gpd.GeoDataFrame] | None = None
) -> dict[str, Any] | None:
    """Draw the areas' boundaries for the page.

    Neighbours are simplified together (``shapely.coverage_simplify``) and rounded to one grid, so
    that no gap opens between them. An area that becomes too small for the grid stays as a dot.

    Parameters
    ----------
    areas : GeoDataFrame by area
        Boundaries; with ``district``, borders between districts are drawn too.
    basemap : mapping of GeoDataFrame, optional
        Layers to draw over them, from `read_basemap`.

    Returns
    -------
    dict or None
        ``width``, ``height`` (steps of the grid); ``step`` (metres) and ``lattice`` (longitude and
        latitude of points over the grid, row by row from the north-west), each None if the
        coordinate system is not known; ``shapes``: for every row of ``areas`` a list of
        rings ``[x, y, dx, dy, dx, dy, ...]``, or None where there is no polygon; ``borders``: lines
        written in the same way, and ``water``, ``roads`` and ``places`` of the basemap. None if no
        row has a polygon.
    """
    geometry = areas.geometry
    if areas.crs is not None:
        geometry = geometry.to_crs(metric_crs(areas))
    polygons = np.asarray(geometry.values, dtype=object)
    kind = shapely.get_type_id(polygons)
    usable = np.isin(kind, [3, 6]) & ~shapely.is_empty(polygons)  # polygons, multipolygons
    if not usable.any():
        return None
    left, bottom, right, top = shapely.total_bounds(polygons[usable])
    longer = max(right - left, top - bottom) or 1.0
    step = longer / GRID
    simple = polygons.copy()
    simple[usable] = _simplified(polygons[usable], step, longer * COARSEST)

    def on_grid(points: npt.NDArray[np.float64]) -> Integers:
        # The page's y runs down.
        moved = np.column_stack([points[:, 0] - left, top - points[:, 1]])
        return np.rint(moved / step).astype(np.int64)

    shapes: list[list[Integers] | None] = []
    for polygon, original, used in zip(simple, polygons, usable, strict=True):
        if not used:
            shapes.append(None)
            continue
        rings = [ring for points in _rings(polygon) if len(ring := _tidy(on_grid(points))) > 3]
        shapes.append(rings or [_dot(on_grid(shapely.get_coordinates(original.centroid))[0])])
    districts = areas["district"].tolist() if "district" in areas.columns else None
    frame = (left, bottom, left + max(right - left, step), bottom + max(top - bottom, step))
    drawn = on_map(basemap or {}, geometry.crs, frame, step)
    return {
        "width": max(round((right - left) / step), 1),
        "height": max(round((top - bottom) / step), 1),
        "step": None if areas.crs is None else float(f"{step:.6g}"),
        "lattice": None if areas.crs is None else _lattice(geometry.crs, frame),
        "shapes": [None if s is None else [_deltas(ring[:-1]) for ring in s] for s in shapes],
        "borders": [] if districts is None else [_deltas(b) for b in _borders(shapes, districts)],
        **{k: v if k == "places" else [_deltas(_tidy(b)) for b in v] for k, v in drawn.items()},
    }


def _lattice(crs: Any, frame: tuple[float, float, float, float]) -> list[float]:
    """Give longitude and latitude of points over the map, so that a page can write GeoJSON."""
    left, bottom, right, top = frame
    x, y = np.meshgrid(np.linspace(left, right, LATTICE), np.linspace(top, bottom, LATTICE))
    degrees = Transformer.from_crs(crs, 4326, always_xy=True).transform(x.ravel(), y.ravel())
    values: list[float] = np.column_stack(degrees).round(6).ravel().tolist()
    return values


def _simplified(polygons: npt.NDArray[Any], tolerance: float, coarsest: float) -> npt.NDArray[Any]:

    result = shapely.coverage_simplify(polygons, tolerance)
    while shapely.get_num_coordinates(result).sum() > MOST_POINTS and tolerance < coarsest:
        tolerance *= 2
        result = shapely.coverage_simplify(polygons, tolerance)
    return np.asarray(result, dtype=object)


def _rings(polygon: Any) -> Iterator[npt.NDArray[np.float64]]:

    for part in shapely.get_parts(polygon):
        for ring in shapely.get_rings(part):
            yield shapely.get_coordinates(ring)


def _tidy(points: Integers) -> Integers:
    """Drop points that fall on the one before."""
    moved = np.r_[True, (np.diff(points, axis=0) != 0).any(1)]
    return points[moved]


def _dot(centre: Integers) -> Integers:
    around = np.array([[-3, 0], [0, -3], [3, 0], [0, 3], [-3, 0]])
    return np.asarray(centre + around, dtype=np.int64)


def _deltas(points: Integers) -> list[int]:
    steps: list[int] = np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64)).ravel().tolist()
    return steps


def _borders(shapes: list[list[Integers] | None], districts: list[Any]) -> list[Integers]:
    """Draw the outlines of the districts: their areas united, each common border once."""
    members: dict[Any, list[Any]] = {}
    for rings, district in zip(shapes, districts, strict=True):
        # Rings are filled, holes too: a district that lies in the hole draws its own outline.
        for ring in rings or ():
            members.setdefault(district, []).append(shapely.Polygon(ring))
    if len(members) < 2:
        return []
    outlines = []
    for polygons in members.values():
        # Boundary files rarely fit to the last point: what opens between neighbours is no border.
        whole = shapely.union_all(shapely.make_valid(polygons), grid_size=1)
        parts = [p for p in shapely.get_parts(whole) if shapely.get_type_id(p) == 3]
        outlines += [shapely.get_exterior_ring(part) for part in parts]
    lines = shapely.line_merge(shapely.union_all(outlines, grid_size=1))
    return [
        np.rint(shapely.get_coordinates(line)).astype(np.int64) for line in shapely.get_parts(lines)
    ]
