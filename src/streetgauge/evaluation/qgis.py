"""Styles for QGIS: how a layer of areas is drawn, and the table of styles in a GeoPackage.

QGIS searches a GeoPackage for a table ``layer_styles``, draws a layer with the style that is marked
as the default one, and offers the others in the layer's properties (QGIS user guide, "Save and
share layer properties": saving in the datasource's database). For another file it takes the QML
file of the same name.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streetgauge.evaluation.colours import NOTHING, class_colours, difference_colours
from streetgauge.markup import template

__all__ = ["FIXED_TIME", "Style", "write_styles", "layer_styles"]

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


def layer_styles(outcomes: Mapping[str, str], classes: int = 10) -> list[Style]:
    """Draw each outcome's predicted and actual class, and their difference.

    Parameters
    ----------
    outcomes : mapping of str to str
        Label by name; the columns are ``<name>_decile``, ``_actual`` and ``_difference``.
    classes : int, default 10
        K.

    Returns
    -------
    list of Style
        The first is the predicted class of the first outcome.
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
        ("predicted", "decile", f"predicted {unit}", scale),
        ("actual", "actual", f"actual {unit}", scale),
        ("difference", "difference", f"predicted less actual {unit}", difference),
    )
    styles: list[Style] = []
    for outcome, label in outcomes.items():
        for short, column, what, steps in kinds:
            name = _unlike(f"{outcome} {short}", [style.name for style in styles])
            qml = _qml(f"{outcome}_{column}", steps)
            styles.append(Style(name, f"{_plain(label)}: {what}", qml))
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


def _plain(text: str) -> str:
    """Leave out what XML cannot hold."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def _unlike(name: str, others: Sequence[str]) -> str:
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
