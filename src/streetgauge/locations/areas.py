"""The small areas of a study, with their boundaries where the file has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables import (
    as_codes,
    as_table,
    choose_sheet,
    read_sheets,
    refuse_repeated,
    require_columns,
)
from streetgauge.locations.boundaries import checked_boundaries, is_boundaries, read_boundaries
from streetgauge.locations.directory import survey_directory
from streetgauge.locations.study_area import (
    fits,
    in_box,
    in_place,
    in_polygon,
    representative_points,
)
from streetgauge.settings import (
    AreaSettings,
    DirectoryLocations,
    LocationSettings,
)

if TYPE_CHECKING:
    pass


def read_areas(settings: AreaSettings, locations: LocationSettings | None = None) -> pd.DataFrame:
    """Read the study's areas.

    Parameters
    ----------
    settings : AreaSettings
        A boundary file (GeoPackage, GeoJSON, shapefile, FlatGeobuf, GeoParquet, or a zip with one
        of these in any folder, which is not unpacked), a table (CSV, Parquet, Excel) without
        boundaries, a list of codes, or no file: then the areas are those of the postcode directory.
        ``include``, ``place``, ``bbox`` and ``polygon`` each select some of them.
    locations : LocationSettings, optional
        The study's. A postcode directory gives the district that an area lies in (the one with most
        of its postcodes; of equals the first code) where the areas' file does not.

    Returns
    -------
    DataFrame or GeoDataFrame
        Indexed by ``area`` (str, sorted, unique) with columns ``name`` and ``district`` (str or
        None) and, from a boundary file, ``geometry`` in the file's own coordinate system.
        ``attrs`` count what was done: ``repaired`` (invalid polygons made valid, and open rings
        closed) and ``excluded`` (areas outside the study area).

    Raises
    ------
    InputError
        If the file, its layer or a column is not there, a code is empty or repeated, a pattern
        or the selection is empty, boundaries have no coordinate system, or an area has no
        polygon.
    """
    directory = locations if isinstance(locations, DirectoryLocations) else None
    survey = None if directory is None else lambda: survey_directory(directory)
    if settings.file is not None:
        path = settings.file
        areas = _read_file(path, settings)
    elif directory is not None:
        path = directory.file
        areas = survey_directory(directory)[["district"]].astype("object")
        areas.insert(0, "name", None)
        areas = areas.where(areas.notna(), None)
    else:
        raise InputError(
            "[areas]", "it names no file", "add 'file', or use a postcode directory in [locations]"
        )
    before = len(areas)
    if settings.include:
        areas = areas[_included(areas.index, settings.include, path)]
    if settings.place:
        areas = areas[in_place(areas, settings.place, path, survey)]
    repaired = 0
    if "geometry" in areas:
        areas, repaired = checked_boundaries(areas, path, settings.crs)
    if settings.bbox is not None or settings.polygon is not None:
        points = representative_points(areas, survey)
        inside = np.ones(len(areas), dtype=bool)
        if settings.bbox is not None:
            inside &= in_box(points, settings.bbox, path)
        if settings.polygon is not None:
            inside &= in_polygon(points, settings.polygon, path)
        if not inside.any():
            raise InputError(
                "areas.bbox, areas.polygon", "no area's middle lies in both", "use one of them"
            )
        areas = areas[inside]
    areas.attrs = {"repaired": repaired, "excluded": before - len(areas)}
    return areas


def _read_file(path: Path, settings: AreaSettings) -> pd.DataFrame:
    if not path.exists():
        raise InputError(path, "there is no such file", "fix 'areas.file' in study.toml")
    columns = {"code": settings.code, "name": settings.name, "district": settings.district}
    columns |= {column: column for column in settings.columns}
    if settings.code is None:
        return _keyed(_read_list(path), {**columns, "code": "area"}, path)
    if is_boundaries(path):
        raw = read_boundaries(path, settings.layer, columns)
    else:
        sheets = read_sheets(path)
        raw = as_table(choose_sheet(sheets, settings.layer, path, "layer"))
        require_columns(raw, columns, path)
    return _keyed(raw, columns, path)


def _read_list(path: Path) -> pd.DataFrame:
    """Read codes, one a line; a first line that has another form than all others is a header."""
    if is_boundaries(path):
        fields = [name for name in read_boundaries(path).columns if name != "geometry"]
        raise InputError(
            path, "no setting names the column that holds the areas' codes", _set_code(fields)
        )
    sheet = read_sheets(path)[0]
    wide = next((row for row in sheet.rows if len(row) > 1 and any(row[1:])), None)
    if wide is not None:
        raise InputError(
            path, "it has several columns, so it is not a list of codes", _set_code(sheet.rows[0])
        )
    cells = [row[0] for row in sheet.rows]
    forms = [re.sub(r"\d", "0", re.sub(r"[A-Za-z]", "A", cell)) for cell in cells]
    skip = int(len(forms) > 1 and forms[0] not in forms[1:])
    index = pd.Index(sheet.numbers[skip:], name="row")
    return pd.DataFrame({"area": cells[skip:]}, index=index, dtype="str")


def _set_code(columns: Sequence[str]) -> str:
    named = ", ".join(columns[:12]) + (" ..." if len(columns) > 12 else "")
    return f"set 'areas.code' to one of its columns: {named}"


def _keyed(raw: pd.DataFrame, columns: dict[str, str | None], path: Path) -> pd.DataFrame:
    codes = _texts(raw[columns["code"]])
    codes = as_codes(pd.Series(codes, dtype="str")).to_numpy(object)
    if (codes == "").any():
        position = int((codes == "").argmax())
        raise InputError(
            f"{path}: row {raw.index[position]}",
            f"there is no code in column {columns['code']!r}",
            "give every area a code",
        )
    refuse_repeated(
        pd.Series(codes, index=raw.index),
        path,
        "area",
        step="keep one, or merge them to one (multi)polygon",
    )
    index = pd.Index(codes, dtype="str", name="area")
    texts = {
        role: [None] * len(raw) if column is None else [t or None for t in _texts(raw[column])]
        for role, column in columns.items()
        if role != "code"
    }
    keyed: pd.DataFrame = pd.DataFrame(texts, index=index, dtype=object)
    if "geometry" in raw:
        import geopandas as gpd

        crs = raw.crs if isinstance(raw, gpd.GeoDataFrame) else None
        keyed = gpd.GeoDataFrame(keyed, geometry=raw["geometry"].to_numpy(), crs=crs)
        keyed.attrs["closed"] = codes[raw.index.isin(raw.attrs.get("closed", ()))].tolist()
    return keyed.sort_index()


def _texts(cells: pd.Series) -> np.ndarray[Any, Any]:
    texts = ["" if pd.isna(cell) else str(cell).strip() for cell in cells.astype(object)]
    return np.array(texts, dtype=object)


def _included(codes: pd.Index, patterns: Sequence[str], path: Path) -> np.ndarray[Any, Any]:
    for pattern in patterns:
        if not fits(codes, [pattern]).any():
            raise InputError(
                path,
                f"no code is like {pattern!r} (setting 'areas.include')",
                f"codes are like {codes[0]!r}" if len(codes) else "the file has no areas",
            )
    return fits(codes, patterns)


def repaired(areas: pd.DataFrame) -> tuple[str, ...]:
    """Count the boundaries that were repaired, in a line, if any."""
    count = areas.attrs.get("repaired")
    return (f"{count:,} invalid boundaries were repaired",) if count else ()
