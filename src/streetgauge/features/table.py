"""Features that exist already: a table with one row an image, joined to locations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.features.store import FeatureStore, usable
from streetgauge.features.table_columns import Columns, read_columns
from streetgauge.io.files import atomic_path, sha256_of
from streetgauge.progress import Progress, silent
from streetgauge.settings import TableFeatures
from streetgauge.skips import skips_frame

__all__ = ["join_table"]

# WGS84: semi-major axis in metres, squared eccentricity.
SEMI_MAJOR, ECCENTRICITY_2 = 6_378_137.0, 0.00669437999014
MAX_VIEWS = 64

Skip = dict[str, str | None]
# For each location (slot): positions of its rows by view, -1 where it has none; [N, V]
Places = npt.NDArray[np.intp]


def join_table(
    settings: TableFeatures,
    locations: pd.DataFrame,
    path: Path,
    *,
    cache_key: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Join a table of features to locations, into a store.

    With ``settings.location_id`` rows are joined by key: by location and view, or, without a view,
    up to ``k`` rows of a location. With coordinates a location takes the ``k`` nearest rows within
    ``within`` metres, nearest first; of rows equally far away, and of a location's rows without a
    view, those with the lower latitude, longitude and features (in the order of ``columns``) come
    first. So neither the order of the table's rows nor that of the locations matters.

    Distances are straight lines between points on the WGS84 ellipsoid: less than a millimetre
    from the way along the ground at 1 km.

    Parameters
    ----------
    settings : TableFeatures
        The table, and how it is joined.
    locations : DataFrame
        ``location_id``, and ``lat``, ``lon`` in degrees for a join by place.
    path : Path
        The store. Its views are those of the table, or "1" to "k".
    cache_key : str
        Hash of all inputs and settings.
    progress : Progress
        Told of every location.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: rows without all their numbers, rows of unknown
        locations, and locations or views without a row.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, a feature is no number (with its row), a
        coordinate is none, a location and view stand in it twice, a location has more rows than
        ``k``, or no location has any row.
    """
    table = read_columns(settings)
    nothing_whole = len(table.complete) > 0 and not table.complete.any()
    skips = [*_incomplete(settings, table)]
    ids = np.array(sorted({str(location) for location in locations["location_id"]}), dtype=str)
    if settings.location_id is None:
        table = _in_order(table.kept())
        views = [str(rank) for rank in range(1, settings.k + 1)]
        places = _by_place(settings, table, locations, ids, skips, progress)
    elif settings.view is None:
        table = _in_order(table.kept())
        views = [str(rank) for rank in range(1, settings.k + 1)]
        places = _by_location(settings, table, ids, skips)
    else:
        table = table.kept()
        views = _view_names(settings, table)
        places = _by_view(settings, table, ids, views, skips)
    present = places >= 0
    done = usable(present, settings.require)
    if not present.any():
        if nothing_whole:
            raise InputError(
                settings.file, "every row lacks a number", "see the columns that study.toml names"
            )
        raise InputError(settings.file, "none of its rows belongs to a location", _hint(settings))
    attributes = {
        "backbone": "table",
        "weights_sha256": sha256_of(settings.file),
        "transform": json.dumps(settings.model_dump(mode="json", exclude={"file"})),
        "cache_key": cache_key,
    }
    with atomic_path(path) as temporary:
        dimension = len(settings.columns)
        with FeatureStore.create(
            temporary, ids, views, dimension, attributes, dtype=settings.dtype
        ) as store:
            for start in range(0, len(ids), 4096):
                slots = np.arange(start, min(start + 4096, len(ids)))
                store.write(slots, table.features[places[slots]], present[slots], done[slots])
    return skips_frame(skips)


def _hint(settings: TableFeatures) -> str:
    if settings.location_id is None:
        return f"no image lies within {settings.within:g} m of a location: check lat and lon"
    return f"compare its column {settings.location_id!r} with the locations' ids"


def _incomplete(settings: TableFeatures, table: Columns) -> Iterator[Skip]:
    """Rows that lack a number or a key."""
    names = [name for name in (settings.lat, settings.lon) if name] + list(settings.columns)
    numbers = np.column_stack([table.points, table.features])
    for i in np.flatnonzero(~table.complete):
        gaps = np.flatnonzero(~np.isfinite(numbers[i]))
        keys = [n for n in (settings.location_id, settings.view) if n]
        what = names[gaps[0]] if len(gaps) else " or ".join(keys)
        found = "infinity" if len(gaps) and np.isinf(numbers[i, gaps[0]]) else "nothing"
        yield {
            "location_id": table.location_ids[i] or None if settings.location_id else None,
            "view": table.views[i] or None if settings.view else None,
            "reason": f"a row of the table has {found} in column {what!r}",
        }


def _in_order(table: Columns) -> Columns:
    """Sort the rows by what they hold: how they stood in the file is then forgotten."""
    keys = [*table.features.T[::-1], *table.points.T[::-1]]
    return table.taken(np.lexsort(keys))


def _by_place(
    settings: TableFeatures,
    table: Columns,
    locations: pd.DataFrame,
    ids: npt.NDArray[np.str_],
    skips: list[Skip],
    progress: Progress,
) -> Places:
    """Find the k nearest rows of each location."""
    from scipy.spatial import cKDTree

    k, within = settings.k, settings.within
    unique = locations.drop_duplicates("location_id").set_index("location_id")
    where = unique[["lat", "lon"]].reindex(ids).to_numpy(np.float64)
    known = np.isfinite(where).all(axis=1)
    places = np.full((len(ids), k), -1, dtype=np.intp)
    skips += [_without(ids[i], "the location has no coordinates") for i in np.flatnonzero(~known)]
    if not len(table.features):
        return places
    points = _earth_centred(table.points)
    tree = cKDTree(points)
    with progress("features", len(ids), "locations") as advance:
        for slots in np.array_split(np.flatnonzero(known), max(1, len(ids) // 1024)):
            centres = _earth_centred(where[slots])
            # The k-th distance bounds the search; all rows as near are looked at, not some of them.
            far = tree.query(centres, k=[k], distance_upper_bound=within * (1 + 1e-9))[0][:, 0]
            near = tree.query_ball_point(centres, np.minimum(far, within) * (1 + 1e-9))
            for slot, centre, rows in zip(slots, centres, near, strict=True):
                chosen = _nearest(points, centre, np.sort(np.array(rows, dtype=np.intp)), settings)
                places[slot, : len(chosen)] = chosen
                if len(chosen) < k:
                    skips.append(
                        _too_few(ids[slot], len(chosen), settings, f" within {within:g} m")
                    )
            advance(len(slots))
    return places


def _nearest(
    points: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    rows: npt.NDArray[np.intp],
    settings: TableFeatures,
) -> npt.NDArray[np.intp]:
    """Of candidates in the table's order, the nearest; a stable sort keeps that order for ties."""
    distances = np.sqrt(((points[rows] - centre) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")
    nearest: npt.NDArray[np.intp] = rows[order[distances[order] <= settings.within][: settings.k]]
    return nearest


def _earth_centred(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Latitude and longitude as metres from the centre of the earth, at sea level; [n, 3]."""
    lat, lon = np.radians(degrees).T
    radius = SEMI_MAJOR / np.sqrt(1 - ECCENTRICITY_2 * np.sin(lat) ** 2)
    return np.column_stack(
        [
            radius * np.cos(lat) * np.cos(lon),
            radius * np.cos(lat) * np.sin(lon),
            radius * (1 - ECCENTRICITY_2) * np.sin(lat),
        ]
    )


def _by_location(
    settings: TableFeatures, table: Columns, ids: npt.NDArray[np.str_], skips: list[Skip]
) -> Places:
    """All rows of each location, in the table's order."""
    slots = _slots(table, ids, skips)
    places = np.full((len(ids), settings.k), -1, dtype=np.intp)
    count = np.zeros(len(ids), dtype=np.intp)
    for row in np.flatnonzero(slots >= 0):
        slot = slots[row]
        if count[slot] == settings.k:
            raise InputError(
                settings.file,
                f"location {str(ids[slot])!r} has {int((slots == slot).sum())} rows, and k is "
                f"{settings.k}",
                "set k to the most rows of a location, or name the column 'view'",
            )
        places[slot, count[slot]] = row
        count[slot] += 1
    short = np.flatnonzero(count < settings.k)
    skips += [_too_few(ids[i], int(count[i]), settings, "") for i in short]
    return places


def _by_view(
    settings: TableFeatures,
    table: Columns,
    ids: npt.NDArray[np.str_],
    views: list[str],
    skips: list[Skip],
) -> Places:
    """Find the one row of each location and view."""
    slots = _slots(table, ids, skips)
    place_of = {view: place for place, view in enumerate(views)}
    places = np.full((len(ids), len(views)), -1, dtype=np.intp)
    for row in np.flatnonzero(slots >= 0):
        slot, place = slots[row], place_of[table.views[row]]
        if (other := places[slot, place]) >= 0:
            raise InputError(
                f"{settings.file}: row {table.numbers[row]}",
                f"view {table.views[row]!r} of location {str(ids[slot])!r} stands there twice, "
                f"first in row {table.numbers[other]}",
                "keep one of the two",
            )
        places[slot, place] = row
    suffix = " and all are needed" if settings.require == "all" else ""
    for location, absent in zip(ids, places < 0, strict=True):
        if absent.all():
            skips.append(_without(location, "the table has no row of this location"))
            continue
        for missing in np.flatnonzero(absent):
            reason = f"the table has no row of this view{suffix}"
            skips.append({"location_id": str(location), "view": views[missing], "reason": reason})
    return places


def _slots(table: Columns, ids: npt.NDArray[np.str_], skips: list[Skip]) -> npt.NDArray[np.intp]:
    """Position of each row's location; rows of other locations are told."""
    slots: npt.NDArray[np.intp] = pd.Index(ids).get_indexer(pd.Index(table.location_ids, dtype=str))
    for row in np.flatnonzero(slots < 0):
        reason = "the location of this row is not one of the study's"
        view = table.views[row] or None
        skips.append({"location_id": table.location_ids[row], "view": view, "reason": reason})
    return slots


def _view_names(settings: TableFeatures, table: Columns) -> list[str]:
    """Sort the views in the table: 2 before 10 where all are numbers."""
    names = set(table.views)
    if len(names) > MAX_VIEWS:
        raise InputError(
            settings.file,
            f"column {settings.view!r} names {len(names):,} views, more than {MAX_VIEWS}",
            "name the column that tells a location's images apart",
        )
    key: Callable[[str], Any] = int if all(name.isdecimal() for name in names) else str
    return sorted(names, key=key)


def _too_few(location: str, count: int, settings: TableFeatures, where: str) -> Skip:
    wanted = "needed" if settings.require == "all" else "wanted"
    number = "no row" if count == 0 else "1 row" if count == 1 else f"{count} rows"
    return _without(location, f"{number} of the table{where}, {settings.k} {wanted}")


def _without(location: str, reason: str) -> Skip:
    return {"location_id": str(location), "reason": reason}
