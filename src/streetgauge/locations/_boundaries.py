"""Boundary files: found, read, given their coordinate system, and mended."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.files import require_columns
from streetgauge.tables import VECTOR_SUFFIXES

if TYPE_CHECKING:
    import geopandas as gpd
    from pyproj import CRS

__all__ = ["checked_boundaries", "is_boundaries", "parse_crs", "read_boundaries"]

_VECTOR_MEMBERS = (".shp", ".gpkg", ".geojson", ".fgb")


def is_boundaries(path: Path) -> bool:
    """Whether a file is one of boundaries, seen from its content, and no plain table."""
    return _is_vector(path) or _is_geoparquet(path)


def read_boundaries(
    path: Path, layer: str | None = None, columns: Mapping[str, str | None] | None = None
) -> pd.DataFrame:
    """Read one layer of a boundary file.

    Parameters
    ----------
    path : Path
        GeoPackage, GeoJSON, shapefile, FlatGeobuf, GeoParquet, or a zip with one of these in any
        folder, which is not unpacked.
    layer : str, optional
        Which; the first if not given. In a zip also the name of one of several files.
    columns : mapping of setting to column name, optional
        The columns needed besides the geometry; None is not needed. All of them if not given.

    Returns
    -------
    GeoDataFrame
        Rows numbered from 1, with ``geometry`` in the file's own coordinate system; a plain frame
        if the layer has no geometry.

    Raises
    ------
    InputError
        If the file or its layer cannot be read, or a column is not there.
    """
    if _is_geoparquet(path):
        frame = _read_geoparquet(path)
        require_columns(frame, columns or {}, path)
    else:
        frame = _read_layer(path, layer, columns)
    numbered: pd.DataFrame = frame.set_axis(pd.RangeIndex(1, len(frame) + 1))
    return numbered


def checked_boundaries(
    areas: Any, path: Path, crs: str | None = None, setting: str | None = "areas.crs"
) -> tuple[gpd.GeoDataFrame, int]:
    """Give boundaries their coordinate system and make invalid polygons valid.

    Parameters
    ----------
    areas : GeoDataFrame
        Indexed by what errors call an area.
    path : Path
        The file, named in errors.
    crs : str, optional
        The system of a file that states none, or one that its coordinates do not fit.
    setting : str, optional
        Where ``crs`` can be stated, named in errors; None if nowhere.

    Returns
    -------
    areas : GeoDataFrame
        With a coordinate system; every geometry a valid polygon or multipolygon.
    repaired : int
        How many were not valid.

    Raises
    ------
    InputError
        If no coordinate system is known or two disagree, or an area has no polygon, or one that
        encloses nothing.
    """
    import shapely

    areas = _with_crs(areas, path, crs, setting)
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
        gone = shapely.is_empty(shapes)
        if gone.any():
            code = areas.index[int(gone.argmax())]
            raise InputError(
                f"{path}: area {code!r}",
                "its polygon is invalid and encloses nothing, so it cannot be repaired",
                "give it a polygon, or leave the area out",
            )
        areas = areas.set_geometry(shapes, crs=areas.crs)
        areas = areas.rename_geometry("geometry") if areas.geometry.name != "geometry" else areas
    return areas, int(invalid.sum())


def parse_crs(text: str, setting: str) -> CRS:
    """Read a coordinate system as a user writes it.

    Raises
    ------
    InputError
        If it is none.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_user_input(text)
    except CRSError:
        raise InputError(
            f"{setting} = {text!r}",
            "this is no coordinate system",
            "write for example 'EPSG:4326' (latitude and longitude) or 'EPSG:27700'",
        ) from None


def _with_crs(areas: Any, path: Path, crs: str | None, setting: str | None) -> Any:
    stated = areas.crs
    bounds = areas.geometry.total_bounds
    # GeoJSON that says nothing counts as degrees, and often is none.
    if stated is not None and not _fits(stated, bounds):
        stated = None
    if stated is None and crs is None:
        reason = (
            "the boundaries have no coordinate system"
            if areas.crs is None
            else f"the boundaries count as {_name(areas.crs)}, but their coordinates "
            f"({bounds[0]:g}, {bounds[1]:g}) are no degrees"
        )
        step = "save it as GeoPackage with its system, e.g. EPSG:27700"
        if setting is not None:
            step = (
                f"set '{setting}' to the system they are in, e.g. crs = \"EPSG:27700\" in [areas]"
            )
        raise InputError(path, reason, step)
    if crs is None or setting is None:
        return areas
    given = parse_crs(crs, setting)
    if stated is not None and given != stated:
        raise InputError(
            f"{setting} = {crs!r}",
            f"{path} says itself that its system is {_name(stated)}",
            f"remove '{setting}'; it is for boundaries that say nothing",
        )
    if not _fits(given, bounds):
        raise InputError(
            f"{setting} = {crs!r}",
            f"the coordinates of {path} ({bounds[0]:g}, {bounds[1]:g}) are no degrees",
            "write the system they are in, e.g. 'EPSG:27700'",
        )
    return areas.set_crs(given, allow_override=True)


def _fits(crs: CRS, bounds: Any) -> bool:
    """Whether coordinates can be of a system: degrees have limits."""
    if not crs.is_geographic or np.isnan(bounds).any():
        return True
    return bool(np.abs(bounds[[0, 2]]).max() <= 360 and np.abs(bounds[[1, 3]]).max() <= 90)


def _name(crs: CRS) -> str:
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)


def _mended(shape: Any) -> Any:
    """Make a polygon valid; of what that leaves only the polygons are an area."""
    import shapely

    parts = shapely.get_parts(shapely.make_valid(shape))
    flat = [part for whole in parts for part in shapely.get_parts(whole)]
    return shapely.unary_union([part for part in flat if part.geom_type == "Polygon"])


# --- formats --------------------------------------------------------------------------------------


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

    try:
        frame = gpd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(
            path, f"this GeoParquet file cannot be read ({error})", "fetch it again"
        ) from None
    return frame.rename_geometry("geometry") if frame.geometry.name != "geometry" else frame


def _read_layer(
    path: Path, layer: str | None, columns: Mapping[str, str | None] | None
) -> pd.DataFrame:
    import pyogrio
    from pyogrio.errors import DataSourceError

    dataset = _dataset(path, layer)
    try:
        layers = [str(name) for name in pyogrio.list_layers(dataset)[:, 0]]
        if layer is None:
            layer = layers[0]
        elif layer not in layers:
            raise InputError(path, f"there is no layer {layer!r}", closest(layer, layers))
        fields = list(pyogrio.read_info(dataset, layer=layer)["fields"])
        wanted = None
        if columns is not None:
            require_columns(pd.DataFrame(columns=pd.Index(fields)), columns, path)
            wanted = sorted({column for column in columns.values() if column is not None})
        frame: pd.DataFrame = pyogrio.read_dataframe(dataset, layer=layer, columns=wanted)
    except DataSourceError as error:
        raise InputError(
            path, f"the boundaries cannot be read ({error})", "fetch them again"
        ) from None
    return frame


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
