"""The areas' predictions as map layers that a GIS opens with a ready style."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.io.files import atomic_path, write_text
from streetgauge.markup import template

if TYPE_CHECKING:
    import geopandas as gpd


LAYER = "areas"
# Column of the areas' table, name in the layer, kind.
COLUMNS = (
    *(("decile", "decile", "Int64"), ("actual_decile", "actual", "Int64")),
    *(("best_decile", "best_decile", "Int64"), ("best_low", "best_low", "Int64")),
    *(("best_high", "best_high", "Int64"), ("best_score", "best_score", "float64")),
    ("best_from", "best_from", "str"),
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
        ``_best_decile``, ``_best_low``, ``_best_high``, ``_best_score`` and ``_best_from`` (of the
        best estimate), ``_difference`` (predicted less actual), ``_low``, ``_high``, ``_width``
        (high less low), ``_n_locations`` (locations), and of ``_n_views``, ``_share_with_images``,
        ``_score``, ``_actual_value``, ``_disagreement``, ``_status``, ``_outside_aoa`` and
        ``_error_cluster``
        those that the frame has anything in.
    """
    own = [column for column in ("name", "district", "geometry") if column in areas.columns]
    columns: dict[str, pd.Series] = {}
    for outcome, rows in frame.groupby("outcome", sort=True):
        rows = rows.set_index("area")
        rows["difference"] = rows["decile"] - rows["actual_decile"]
        if {"low", "high"} <= set(rows.columns):
            rows["width"] = rows["high"] - rows["low"]
        for column, name, kind in COLUMNS:
            # Columns that came with the first promise are there even if they are empty.
            if column in rows and (kind == "Int64" or rows[column].notna().any()):
                values = rows[[column]].astype({column: kind})[column]
                columns[f"{outcome}_{name}"] = values.reindex(areas.index)
    table = areas[own].join(pd.DataFrame(columns, index=areas.index))
    return table.rename_axis("area").reset_index()


class AreaLayers:
    """The areas for a GIS: one row an area, drawn by styles of QGIS.

    Parameters
    ----------
    frame, areas
        As for `layer_table`.
    labels : mapping of outcome to str, optional
        Outcomes as people call them, in their order: the map that opens is the first one's.
    classes : int, default 10
        K.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        areas: gpd.GeoDataFrame,
        *,
        labels: Mapping[str, str] | None = None,
        classes: int = 10,
    ) -> None:
        self.table = layer_table(frame, areas)
        best = "best_decile" in frame and bool(frame["best_decile"].notna().any())
        self._styles = layer_styles(_named(frame, labels), classes, best=best)

    def write_geopackage(self, path: Path) -> None:
        """Write layer ``areas`` of a GeoPackage, with its styles in it.

        The same areas give the same bytes: the file does not hold when it was written.

        Parameters
        ----------
        path : Path
            The ``.gpkg``.
        """
        write_layer(self.table, path, self._styles)

    def write_geoparquet(self, path: Path) -> None:
        """Write the same table as GeoParquet 1.1, and next to it the style that QGIS takes.

        Parameters
        ----------
        path : Path
            The ``.parquet``; the style has its name with ``.qml`` instead of ``.parquet``.
        """
        with atomic_path(path) as temporary:
            self.table.to_parquet(
                temporary, index=False, schema_version="1.1.0", write_covering_bbox=True
            )
        if self._styles:
            write_text(self._styles[0].qml, path.with_suffix(".qml"))


def write_layer(table: gpd.GeoDataFrame, path: Path, styles: Sequence[Style] = ()) -> None:
    """Write a GeoPackage of one layer, ``areas``: the same table gives the same bytes.

    Parameters
    ----------
    table : GeoDataFrame
    path : Path
        The ``.gpkg``.
    styles : sequence of Style
        Of QGIS, the default one first.
    """
    with atomic_path(path) as temporary:
        table.to_file(temporary, driver="GPKG", layer=LAYER, engine="pyogrio")
        write_styles(temporary, LAYER, styles)
        with sqlite3.connect(temporary) as connection:
            connection.execute("UPDATE gpkg_contents SET last_change = ?", (FIXED_TIME,))
        connection.close()


def _named(frame: pd.DataFrame, labels: Mapping[str, str] | None) -> dict[str, str]:
    """Name the outcomes that the table has, first those with a label."""
    known = sorted(map(str, np.unique(frame["outcome"].to_numpy(str)))) if len(frame) else []
    named = {name: label for name, label in (labels or {}).items() if name in known}
    return named | {name: name for name in known if name not in named}


# A file made again from the same is the same file, so it has no time of its own.
FIXED_TIME = "2000-01-01T00:00:00.000Z"
LONGEST_NAME = 30  # of a style, in the table as QGIS makes it
OUTLINE = "255,255,255,110"

# As QGIS itself makes it, through GDAL.
TABLE = """
CREATE TABLE "layer_styles" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "f_table_catalog" TEXT(256),
    "f_table_schema" TEXT(256),
    "f_table_name" TEXT(256),
    "f_geometry_column" TEXT(256),
    "styleName" TEXT(30),
    "styleQML" TEXT,
    "styleSLD" TEXT,
    "useAsDefault" BOOLEAN,
    "description" TEXT,
    "owner" TEXT(30),
    "ui" TEXT(30),
    "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""


@dataclass(frozen=True)
class Style:
    """How a layer is drawn by one of its columns.

    Parameters
    ----------
    name : str
        Short; no two of a layer have the same.
    description : str
        What it shows.
    qml : str
        The style as QGIS writes it: XML.
    """

    name: str
    description: str
    qml: str


def layer_styles(
    outcomes: Mapping[str, str], classes: int = 10, *, best: bool = False
) -> list[Style]:
    """Draw each outcome's predicted and actual class, and their difference.

    Parameters
    ----------
    outcomes : mapping of str to str
        Label by name; the columns are ``<name>_decile``, ``_actual`` and ``_difference``.
    classes : int, default 10
        K.
    best : bool, default False
        Whether there is a best estimate, ``<name>_best_decile``: then it is drawn first.

    Returns
    -------
    list of Style
        The first is the best estimate, or else the predicted class, of the first outcome.
    """
    unit = "decile" if classes == 10 else "class"
    scale = [
        (f'"{{}}" = {k}', _of_class(k, classes), colour)
        for k, colour in enumerate(class_colours(classes), start=1)
    ]
    apart = list(difference_colours(classes).items())
    difference = [
        (f'"{{}}" {_bound(d, apart[-1][0], classes)}', _apart(d, apart[-1][0], classes), colour)
        for d, colour in apart
    ]
    kinds = (
        *((("best", "best_decile", f"best estimate of the {unit}", scale),) if best else ()),
        ("predicted", "decile", f"predicted {unit}", scale),
        ("actual", "actual", f"actual {unit}", scale),
        ("difference", "difference", f"predicted less actual {unit}", difference),
    )
    styles: list[Style] = []
    for outcome, label in outcomes.items():
        for short, column, what, steps in kinds:
            name = _distinct_name(f"{outcome} {short}", [style.name for style in styles])
            qml = _qml(f"{outcome}_{column}", steps)
            styles.append(Style(name, f"{_xml_text(label)}: {what}", qml))
    return styles


def write_styles(path: Path, layer: str, styles: Sequence[Style], column: str = "geom") -> None:
    """Put styles into a GeoPackage, the first as the default one of the layer.

    Parameters
    ----------
    path : Path
        The GeoPackage; styles of the layer that are there are replaced.
    layer : str
        Name of the table.
    styles : sequence of Style
        Without any, nothing is written.
    column : str, default "geom"
        Name of its geometry.
    """
    if not styles:
        return
    connection = sqlite3.connect(path)
    try:
        with connection:
            there = connection.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'layer_styles'"
            ).fetchone()
            if there is None:
                connection.execute(TABLE)
                connection.execute(
                    "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, "
                    "last_change) VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?)",
                    (FIXED_TIME,),
                )
            connection.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer,))
            connection.executemany(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
                "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, "
                "owner, ui, update_time) VALUES ('', '', ?, ?, ?, ?, '', ?, ?, '', NULL, ?)",
                [
                    (layer, column, each.name, each.qml, i == 0, each.description, FIXED_TIME)
                    for i, each in enumerate(styles)
                ],
            )
    finally:
        connection.close()


def _of_class(k: int, classes: int) -> str:
    ends = {1: f"{k} worst off", classes: f"{k} best off"}
    return ends.get(k, str(k))


def _bound(difference: int, most: int, classes: int) -> str:
    """Differences of one colour: those at the ends stand for all beyond."""
    if most < classes - 1 and abs(difference) == most:
        return f"{'>=' if difference > 0 else '<='} {difference}"
    return f"= {difference}"


def _apart(difference: int, most: int, classes: int) -> str:
    text = f"{difference:+d}".replace("-", "\u2212") if difference else "0"
    if most < classes - 1 and abs(difference) == most:
        text += " or more" if difference > 0 else " or less"
    if abs(difference) == most:
        text += " (too high)" if difference > 0 else " (too low)"
    return text


def _xml_text(text: str) -> str:
    """Leave out what XML cannot hold."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def _distinct_name(name: str, others: Sequence[str]) -> str:
    short = name if len(name) <= LONGEST_NAME else f"{name[:14]}…{name[-15:]}"
    found, number = short, 2
    while found in others:
        found, number = f"{short[: LONGEST_NAME - 4]} {number}", number + 1
    return found


def _qml(column: str, steps: Sequence[tuple[str, str, str]]) -> str:
    """Write a style of rules; what fits none has no value, and is grey."""
    # A quote in a name is written twice in QGIS expressions.
    named = column.replace('"', '""')
    rules = [
        {"filter": expression.replace("{}", named), "label": label, "options": _fill(colour)}
        for expression, label, colour in (*steps, ("ELSE", "no value", NOTHING))
    ]
    return template("streetgauge.evaluation", "style.qml.jinja").render(rules=rules)


def _fill(colour: str) -> dict[str, str]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "color": f"{red},{green},{blue},255",
        "style": "solid",
        "outline_color": OUTLINE,
        "outline_style": "solid",
        "outline_width": "0.1",
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }


# ColorBrewer's RdYlBu with 10 and PRGn with 9 colours (Brewer 2013, colorbrewer2.org, Apache 2.0):
# any kind of colour vision distinguishes them. The middle of PRGn is a little darker, so
# that areas without a difference stand out from white paper.
CLASSES = (
    *("#a50026", "#d73027", "#f46d43", "#fdae61", "#fee090"),
    *("#e0f3f8", "#abd9e9", "#74add1", "#4575b4", "#313695"),
)
DIFFERENCE = (
    *("#762a83", "#9970ab", "#c2a5cf", "#e3d3ea", "#ebe8e0"),
    *("#d3ecce", "#a6dba0", "#5aae61", "#1b7837"),
)
NOTHING = "#b9b6ae"
MOST_APART = 4  # the difference beyond which colours do not change


def class_colours(classes: int = 10) -> list[str]:
    """Give a colour for each class, red the worst off and blue the best off.

    Parameters
    ----------
    classes : int, default 10
        K, at least 1.

    Returns
    -------
    list of str
        ``#rrggbb``, by class.
    """
    return _interpolated_colours(CLASSES, classes)


def difference_colours(classes: int = 10) -> dict[int, str]:
    """Give a colour for predicted less actual: purple too low, green too high.

    Parameters
    ----------
    classes : int, default 10
        K: no difference is larger than K - 1.

    Returns
    -------
    dict of int to str
        From ``-apart`` to ``apart``, the smaller of 4 and K - 1; larger ones are drawn like these.
    """
    apart = max(min(MOST_APART, classes - 1), 0)
    return dict(
        zip(range(-apart, apart + 1), _interpolated_colours(DIFFERENCE, 2 * apart + 1), strict=True)
    )


def _interpolated_colours(colours: tuple[str, ...], count: int) -> list[str]:
    """Take so many colours from the whole of a scale, mixed where it has none."""
    if count == 1:
        return [colours[len(colours) // 2]]
    table = np.array([_rgb(colour) for colour in colours], dtype=float)
    at = np.linspace(0, len(colours) - 1, count)
    mixed = [np.interp(at, np.arange(len(colours)), channel) for channel in table.T]
    return [
        "#" + "".join(f"{round(float(x)):02x}" for x in row) for row in zip(*mixed, strict=True)
    ]


def _rgb(colour: str) -> npt.NDArray[np.int64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
