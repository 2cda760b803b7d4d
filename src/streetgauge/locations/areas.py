"""The small areas of a study, with their boundaries where the file has them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.files import require_columns
from streetgauge.settings import AreaSettings
from streetgauge.tables import VECTOR_SUFFIXES, as_table, choose_sheet, read_sheets

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["read_areas"]

_VECTOR_MEMBERS = (".shp", ".gpkg", ".geojson", ".fgb")


def read_areas(settings: AreaSettings) -> pd.DataFrame:
    """Read the study's areas.

    Parameters
    ----------
    settings : AreaSettings
        A boundary file (GeoPackage, GeoJSON, shapefile, FlatGeobuf, GeoParquet, or a zip with one
        of these in any folder, which is not unpacked) or a table (CSV, Parquet, Excel) without
        boundaries.

    Returns
    -------
    DataFrame or GeoDataFrame
        Indexed by ``area`` (str, sorted, unique) with columns ``name`` and ``district`` (str or
        None) and, from a boundary file, ``geometry`` in the file's own coordinate system.
        ``attrs`` count what was done: ``repaired`` (invalid polygons made valid) and ``left_out``
        (areas that ``include`` leaves out).

    Raises
    ------
    InputError
        If the file, its layer or a column is not there, a code is empty or stands twice, a pattern
        of ``include`` keeps nothing, boundaries have no coordinate system, or an area has no
        polygon.
    """
    path = settings.file
    if not path.exists():
        raise InputError(path, "there is no such file", "mend 'areas.file' in study.toml")
    columns = {"code": settings.code, "name": settings.name, "district": settings.district}
    if _is_geoparquet(path):
        raw: pd.DataFrame = _read_geoparquet(path)
    elif _is_vector(path):
        raw = _read_boundaries(_dataset(path, settings.layer), settings, columns)
    else:
        sheets = read_sheets(path)
        raw = as_table(choose_sheet(sheets, settings.layer, path, "layer"))
    require_columns(raw, columns, path)
    areas = _keyed(raw, columns, path)
    kept = _included(areas.index, settings.include, path)
    left_out = int((~kept).sum())
    areas = areas[kept]
    repaired = 0
    if "geometry" in areas:
        areas, repaired = _checked_boundaries(areas, path)
    areas.attrs = {"repaired": repaired, "left_out": left_out}
    return areas


def _keyed(raw: pd.DataFrame, columns: dict[str, str | None], path: Path) -> pd.DataFrame:
    codes = _texts(raw[columns["code"]])
    if (codes == "").any():
        position = int((codes == "").argmax())
        raise InputError(
            f"{path}: row {raw.index[position]}",
            f"there is no code in column {columns['code']!r}",
            "give every area a code",
        )
    twice = pd.Series(codes).duplicated(keep=False).to_numpy()
    if twice.any():
        code = codes[twice][0]
        first, second = raw.index[codes == code][:2]
        raise InputError(
            f"{path}: rows {first} and {second}",
            f"area {code!r} stands there twice",
            "keep one, or merge them to one (multi)polygon",
        )
    index = pd.Index(codes, dtype="str", name="area")
    kept: dict[str, Any] = {}
    for role in ("name", "district"):
        column = columns[role]
        texts = _texts(raw[column]) if column is not None else [""] * len(raw)
        kept[role] = pd.Series([text or None for text in texts], index=index, dtype="object")
    if "geometry" not in raw:
        plain: pd.DataFrame = pd.DataFrame(kept, index=index).sort_index()
        return plain
    import geopandas as gpd

    crs = raw.crs if isinstance(raw, gpd.GeoDataFrame) else None
    boundaries = raw["geometry"].to_numpy()
    keyed: pd.DataFrame = gpd.GeoDataFrame(kept, geometry=boundaries, index=index, crs=crs)
    return keyed.sort_index()


def _texts(cells: pd.Series) -> np.ndarray[Any, Any]:
    texts = ["" if pd.isna(cell) else str(cell).strip() for cell in cells.astype(object)]
    return np.array(texts, dtype=object)


def _included(codes: pd.Index, patterns: Sequence[str], path: Path) -> np.ndarray[Any, Any]:
    if not patterns:
        return np.ones(len(codes), dtype=bool)
    kept = np.zeros(len(codes), dtype=bool)
    for pattern in patterns:
        fits = np.array([fnmatchcase(code, pattern) for code in codes], dtype=bool)
        if not fits.any():
            raise InputError(
                path,
                f"no code is like {pattern!r} (setting 'areas.include')",
                f"codes are like {codes[0]!r}" if len(codes) else "the file has no areas",
            )
        kept |= fits
    return kept


# --- boundary files -------------------------------------------------------------------------------


def _is_vector(path: Path) -> bool:
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return True
    with path.open("rb") as handle:
        start = handle.read(16)
    if start.startswith(b"PK"):  # a zip: of boundaries, or a workbook
        try:
            with zipfile.ZipFile(path) as archive:
                return "[Content_Types].xml" not in archive.namelist()
        except zipfile.BadZipFile as error:
            raise InputError(path, f"the zip is damaged ({error})", "fetch it again") from None
    return start.startswith(b"SQLite format 3")


def _is_geoparquet(path: Path) -> bool:
    with path.open("rb") as handle:
        if handle.read(4) != b"PAR1":
            return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"geo" in (pq.read_schema(path).metadata or {})
    except pa.ArrowInvalid as error:
        raise InputError(
            path, f"this Parquet file is damaged ({error})", "fetch it again"
        ) from None


def _read_geoparquet(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    frame = gpd.read_parquet(path)
    if frame.geometry.name != "geometry":
        frame = frame.rename_geometry("geometry")
    return frame.set_axis(pd.RangeIndex(1, len(frame) + 1))


def _dataset(path: Path, layer: str | None) -> str:
    """Name the dataset for GDAL; a zip is looked into, for it finds no shapefile in a folder."""
    with path.open("rb") as handle:
        if handle.read(2) != b"PK":
            return str(path)
    with zipfile.ZipFile(path) as archive:
        members = sorted(
            name
            for name in archive.namelist()
            if name.lower().endswith(_VECTOR_MEMBERS) and not name.startswith("__MACOSX")
        )
    if not members:
        raise InputError(path, "there is no boundary file in the zip", "give a zip of a shapefile")
    named = [name for name in members if Path(name).stem == layer]
    if len(members) > 1 and not named:
        stems = [Path(name).stem for name in members]
        step = closest(layer, stems) if layer else f"set 'areas.layer' to one of {', '.join(stems)}"
        raise InputError(path, f"the zip has {len(members)} boundary files", step)
    return f"/vsizip/{{{path}}}/{(named or members)[0]}"


def _read_boundaries(
    dataset: str, settings: AreaSettings, columns: dict[str, str | None]
) -> gpd.GeoDataFrame:
    import pyogrio
    from pyogrio.errors import DataSourceError

    path = settings.file
    try:
        layers = [str(name) for name in pyogrio.list_layers(dataset)[:, 0]]
        layer = settings.layer
        if layer is None:
            layer = layers[0]
        elif layer not in layers:
            raise InputError(path, f"there is no layer {layer!r}", closest(layer, layers))
        fields = list(pyogrio.read_info(dataset, layer=layer)["fields"])
        require_columns(pd.DataFrame(columns=pd.Index(fields)), columns, path)
        wanted = sorted({column for column in columns.values() if column is not None})
        frame = pyogrio.read_dataframe(dataset, layer=layer, columns=wanted)
    except DataSourceError as error:
        raise InputError(
            path, f"the boundaries cannot be read ({error})", "fetch them again"
        ) from None
    if "geometry" not in frame:
        return frame  # a layer without geometry is a table
    return frame.set_axis(pd.RangeIndex(1, len(frame) + 1))


def _checked_boundaries(areas: Any, path: Path) -> tuple[gpd.GeoDataFrame, int]:
    import shapely

    if areas.crs is None:
        raise InputError(
            path,
            "the boundaries have no coordinate system",
            "add it (a shapefile needs its .prj), e.g. save as GeoPackage in EPSG:27700",
        )
    shapes = areas.geometry.to_numpy()
    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    polygons = np.isin(shapely.get_type_id(shapes), (3, 6))
    for wrong, what in ((empty, "has no boundary"), (~polygons, "is no polygon")):
        if wrong.any():
            code = areas.index[int(wrong.argmax())]
            raise InputError(f"{path}: area {code!r}", f"it {what}", "give every area a polygon")
    invalid = ~shapely.is_valid(shapes)
    if invalid.any():
        shapes = shapes.copy()
        shapes[invalid] = [_mended(shape) for shape in shapes[invalid]]
        areas = areas.set_geometry(shapes, crs=areas.crs)
        areas = areas.rename_geometry("geometry") if areas.geometry.name != "geometry" else areas
    return areas, int(invalid.sum())


def _mended(shape: Any) -> Any:
    """Make a polygon valid; of what that leaves only the polygons are an area."""
    import shapely

    parts = shapely.get_parts(shapely.make_valid(shape))
    flat = [part for whole in parts for part in shapely.get_parts(whole)]
    return shapely.unary_union([part for part in flat if part.geom_type == "Polygon"])
