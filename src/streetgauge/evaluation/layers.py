"""The areas' predictions as map layers that a GIS opens with a ready style."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from streetgauge.evaluation.qgis import FIXED_TIME, layer_styles, write_styles
from streetgauge.io.files import atomic_path, write_text

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["layer_table", "write_geopackage", "write_geoparquet"]

LAYER = "areas"
# Column of the areas' table, name in the layer, kind.
COLUMNS = (
    *(("decile", "decile", "Int64"), ("actual_decile", "actual", "Int64")),
    *(("difference", "difference", "Int64"), ("low", "low", "Int64"), ("high", "high", "Int64")),
    *(("width", "width", "Int64"), ("n_locations", "n_locations", "Int64")),
    *(("n_views", "n_views", "Int64"), ("share_with_images", "share_with_images", "float64")),
    *(("score", "score", "float64"), ("actual_value", "actual_value", "float64")),
    *(("disagreement", "disagreement", "float64"), ("status", "status", "str")),
    *(("outside_aoa", "outside_aoa", "boolean"), ("error_cluster", "error_cluster", "str")),
)


def layer_table(frame: pd.DataFrame, areas: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Give one row an area, with its boundary and what is known of it under every outcome.

    Parameters
    ----------
    frame : DataFrame
        From `aggregate` and `intervals`, with whatever was added to it.
    areas : GeoDataFrame by area
        Boundaries; every area of it becomes a row, with or without a prediction.

    Returns
    -------
    GeoDataFrame
        ``area``, ``name``, ``district`` and for every outcome ``<outcome>_decile``, ``_actual``,
        ``_difference`` (predicted less actual), ``_low``, ``_high``, ``_width`` (high less low),
        ``_n_locations`` (locations), and of ``_n_views``, ``_share_with_images``, ``_score``,
        ``_actual_value``, ``_disagreement``, ``_status``, ``_outside_aoa`` and ``_error_cluster``
        those that the frame has anything in.
    """
    kept = [column for column in ("name", "district", "geometry") if column in areas.columns]
    columns: dict[str, pd.Series] = {}
    for outcome, rows in frame.groupby("outcome", sort=True):
        rows = rows.set_index("area")
        rows["difference"] = rows["decile"] - rows["actual_decile"]
        if {"low", "high"} <= set(rows.columns):
            rows["width"] = rows["high"] - rows["low"]
        for column, name, kind in COLUMNS:
            # Columns that came with the first promise are there even if they are empty.
            if column in rows and (kind == "Int64" or rows[column].notna().any()):
                columns[f"{outcome}_{name}"] = rows.astype({column: kind})[column].reindex(
                    areas.index
                )
    table = areas[kept].join(pd.DataFrame(columns, index=areas.index))
    result: gpd.GeoDataFrame = table.rename_axis("area").reset_index()
    return result


def write_geopackage(
    frame: pd.DataFrame,
    areas: gpd.GeoDataFrame,
    path: Path,
    *,
    labels: Mapping[str, str] | None = None,
    classes: int = 10,
) -> None:
    """Write the areas for a GIS: layer ``areas`` of a GeoPackage, styled for QGIS.

    The same areas give the same bytes: the file does not say when it was written.

    Parameters
    ----------
    frame, areas
        As for `layer_table`.
    path : Path
        The ``.gpkg``.
    labels : mapping of outcome to str, optional
        Outcomes as people call them, in their order: the map that opens is the first one's.
    classes : int, default 10
        K.
    """
    table = layer_table(frame, areas)
    with atomic_path(path) as temporary:
        table.to_file(temporary, driver="GPKG", layer=LAYER, engine="pyogrio")
        write_styles(temporary, LAYER, layer_styles(_named(frame, labels), classes))
        with sqlite3.connect(temporary) as connection:
            connection.execute("UPDATE gpkg_contents SET last_change = ?", (FIXED_TIME,))
        connection.close()


def write_geoparquet(
    frame: pd.DataFrame,
    areas: gpd.GeoDataFrame,
    path: Path,
    *,
    labels: Mapping[str, str] | None = None,
    classes: int = 10,
) -> None:
    """Write the same table as GeoParquet 1.1, and beside it the style that QGIS takes.

    Parameters
    ----------
    frame, areas, labels, classes
        As for `write_geopackage`.
    path : Path
        The ``.parquet``; the style has its name with ``.qml`` in place of ``.parquet``.
    """
    table = layer_table(frame, areas)
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False, schema_version="1.1.0", write_covering_bbox=True)
    styles = layer_styles(_named(frame, labels), classes)
    if styles:
        write_text(styles[0].qml, path.with_suffix(".qml"))


def _named(frame: pd.DataFrame, labels: Mapping[str, str] | None) -> dict[str, str]:
    """Name the outcomes that the table has, first those with a label."""
    known = sorted(map(str, np.unique(frame["outcome"].to_numpy(str)))) if len(frame) else []
    named = {name: label for name, label in (labels or {}).items() if name in known}
    return named | {name: name for name in known if name not in named}
