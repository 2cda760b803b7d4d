"""Boundary files: found, read, given their coordinate system, and repaired."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError, closest, summary
from streetgauge.io.tables import VECTOR_SUFFIXES, require_columns
from streetgauge.io.tables.raw import DAMAGED, PARQUET, damaged, names_in_zip, starts
from streetgauge.io.vector import open_vector

if TYPE_CHECKING:
    import geopandas as gpd
    from pyproj import CRS


WGS84 = "EPSG:4326"
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
        if the layer has no geometry. ``attrs["closed"]`` lists the rows whose rings did not end
        where they began and were closed.

    Raises
    ------
    InputError
        If the file or its layer cannot be read or has no areas, or a column is not there.
    """
    if _is_geoparquet(path):
        frame = _read_geoparquet(path)
        require_columns(frame, columns or {}, path)
    else:
        frame = _read_layer(path, layer, columns)
    if not len(frame):
        raise _no_areas(path)
    closed = [position + 1 for position in frame.attrs.get("closed", ())]
    numbered: pd.DataFrame = frame.set_axis(pd.RangeIndex(1, len(frame) + 1))
    numbered.attrs = {"closed": closed}
    return numbered


def checked_boundaries(
    areas: Any, path: Path, crs: str | None = None, setting: str | None = "areas.crs"
) -> tuple[gpd.GeoDataFrame, int]:
    """Give boundaries their coordinate system and make invalid polygons valid.

    Parameters
    ----------
    areas : GeoDataFrame
        Indexed by what errors call an area; ``attrs["closed"]`` lists those whose rings were closed
        when they were read.
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
        How many were not valid, or had to be closed.

    Raises
    ------
    InputError
        If no coordinate system is known or two disagree, or an area has no polygon, one that
        encloses nothing, or one with coordinates that are not numbers.
    """
    import shapely

    closed = areas.index.isin(areas.attrs.get("closed", ()))
    shapes = areas.geometry.to_numpy()
    infinite = ~np.isfinite(shapely.get_coordinates(shapes)).all(axis=1)
    if infinite.any():
        owner = shapely.get_coordinates(shapes, return_index=True)[1][infinite][0]
        raise InputError(
            f"{path}: area {areas.index[owner]!r}",
            "a coordinate of its boundary is not a number",
            "fetch the file again",
        )
    areas = _with_crs(areas, path, crs, setting)
    shapes = areas.geometry.to_numpy()
    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    polygons = np.isin(shapely.get_type_id(shapes), (3, 6))
    for wrong, what in ((empty, "has no boundary"), (~polygons, "is not a polygon")):
        if wrong.any():
            code = areas.index[int(wrong.argmax())]
            raise InputError(f"{path}: area {code!r}", f"it {what}", "give every area a polygon")
    invalid = ~shapely.is_valid(shapes)
    if invalid.any():
        shapes = shapes.copy()
        shapes[invalid] = [_repaired(shape) for shape in shapes[invalid]]
        gone = shapely.is_empty(shapes)
        if gone.any():
            code = areas.index[int(gone.argmax())]
            raise InputError(
                f"{path}: area {code!r}",
                "its polygon is invalid and encloses nothing, so it cannot be repaired",
                "give it a polygon, or remove the area",
            )
        areas = areas.set_geometry(shapes, crs=areas.crs)
        areas = areas.rename_geometry("geometry") if areas.geometry.name != "geometry" else areas
    return areas, int((invalid | closed).sum())


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
            "this is not a coordinate system",
            "write for example 'EPSG:4326' (latitude and longitude) or 'EPSG:27700'",
        ) from None


def _with_crs(areas: Any, path: Path, crs: str | None, setting: str | None) -> Any:
    stated = areas.crs
    bounds = areas.geometry.total_bounds
    # GeoJSON without a system counts as degrees, and often is none; others state one by mistake.
    if stated is not None and not _fits(stated, bounds):
        stated = None
    if stated is None and crs is None:
        reason, example = "the boundaries have no coordinate system", "EPSG:27700"
        if areas.crs is not None:
            misfit = _misfit(areas.crs, bounds)
            reason = f"the boundaries count as {_name(areas.crs)}, but their {misfit}"
            example = example if areas.crs.is_geographic else WGS84
        step = f"save it as GeoPackage with its system, e.g. {example}"
        if setting is not None:
            step = f"set '{setting}' to the system they are in, e.g. crs = \"{example}\" in [areas]"
        raise InputError(path, reason, step)
    if crs is None or setting is None:
        return areas
    given = parse_crs(crs, setting)
    if stated is not None and given != stated:
        raise InputError(
            f"{setting} = {crs!r}",
            f"{path} itself states the system {_name(stated)}",
            f"remove '{setting}'; it is for boundaries that state none",
        )
    if not _fits(given, bounds):
        raise InputError(
            f"{setting} = {crs!r}",
            f"the {_misfit(given, bounds, f' of {path}')}",
            "write the system they are in, e.g. "
            f"{'EPSG:27700' if given.is_geographic else WGS84!r}",
        )
    return areas.set_crs(given, allow_override=True)


def _fits(crs: CRS, bounds: Any) -> bool:
    """Whether coordinates can be of a system: degrees have limits, and metres are not degrees."""
    if np.isnan(bounds).any():
        return True
    west, south, east, north = bounds
    if crs.is_geographic:
        return bool(max(abs(west), abs(east)) <= 360 and max(abs(south), abs(north)) <= 90)
    use = crs.area_of_use
    if use is None:
        return True
    # Numbers that are, as degrees, within the area that the system is made for.
    return not (use.west <= west and east <= use.east and use.south <= south and north <= use.north)


def _misfit(crs: CRS, bounds: Any, of: str = "") -> str:
    what = "not degrees" if crs.is_geographic else "degrees"
    return f"coordinates{of} ({bounds[0]:g}, {bounds[1]:g}) are {what}"


def _name(crs: CRS) -> str:
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)


def _repaired(shape: Any) -> Any:
    """Make a polygon valid; of what that leaves only the polygons are an area."""
    import shapely

    try:
        parts = shapely.get_parts(shapely.make_valid(shape))
    except shapely.errors.ShapelyError:  # e.g. numbers too large to be multiplied
        return shapely.Polygon()
    flat = [part for whole in parts for part in shapely.get_parts(whole)]
    return shapely.unary_union([part for part in flat if part.geom_type == "Polygon"])


# --- formats --------------------------------------------------------------------------------------


def _is_vector(path: Path) -> bool:
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return True
    if starts(path, b"PK"):  # a zip: of boundaries, or a workbook
        return "[Content_Types].xml" not in names_in_zip(path)
    return starts(path, b"SQLite format 3")


def _is_geoparquet(path: Path) -> bool:
    if not starts(path, PARQUET):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"geo" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, *DAMAGED) as error:
        raise damaged(path, error) from None


def _read_geoparquet(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pyarrow as pa
    from pyproj.exceptions import CRSError
    from shapely.errors import ShapelyError

    try:
        frame = gpd.read_parquet(path)
        return frame.rename_geometry("geometry") if frame.geometry.name != "geometry" else frame
    # AttributeError: what it calls its boundaries is none of its columns, or no text.
    except (pa.ArrowException, *DAMAGED, ShapelyError, CRSError, AttributeError) as error:
        raise damaged(path, error) from None


def _read_layer(
    path: Path, layer: str | None, columns: Mapping[str, str | None] | None
) -> pd.DataFrame:
    from pyogrio.errors import DataLayerError, DataSourceError
    from pyproj.exceptions import CRSError
    from shapely.errors import ShapelyError

    try:
        with open_vector(path, _member(path, layer)) as dataset:
            return _read_dataset(path, dataset, layer, columns)
    except (
        *(DataSourceError, DataLayerError, CRSError, ShapelyError),
        *DAMAGED,  # names and texts that are not UTF-8
        UnboundLocalError,  # of pyogrio, where GDAL opens a file and then cannot read its fields
    ) as error:
        reason = summary(error)
        what = "the file is cut off or damaged: " if "malformed" in reason else ""
        raise InputError(
            path, f"{what}the boundaries cannot be read ({reason})", "fetch them again"
        ) from None


def _read_dataset(
    path: Path, dataset: str, layer: str | None, columns: Mapping[str, str | None] | None
) -> pd.DataFrame:
    import pyogrio

    layers = [str(row[0]) for row in pyogrio.list_layers(dataset)]
    if not layers:
        raise InputError(path, "there is no layer in it", "give a file with the areas' shapes")
    if layer is None:
        layer = layers[0]
    elif layer not in layers:
        raise InputError(path, f"there is no layer {layer!r}", closest(layer, layers))
    info = pyogrio.read_info(dataset, layer=layer)
    if info["features"] == 0:  # an empty GeoJSON has no columns either
        raise _no_areas(path, layer if len(layers) > 1 else None)
    wanted = None
    if columns is not None:
        others = [name for name in layers if name != layer]
        require_columns(list(info["fields"]), columns, path, others, "layers")
        wanted = sorted({column for column in columns.values() if column is not None})
    return _shapes(dataset, layer, wanted)


def _shapes(dataset: str, layer: str, columns: list[str] | None) -> pd.DataFrame:
    """Read a layer; rings that do not end where they began are closed, and their rows noted."""
    import pyogrio
    from shapely.errors import ShapelyError

    def read(on_invalid: str) -> pd.DataFrame:
        frame: pd.DataFrame = pyogrio.read_dataframe(
            dataset, layer=layer, columns=columns, on_invalid=on_invalid
        )
        return frame

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Non closed ring", RuntimeWarning)  # it is closed here
        try:
            return read("raise")
        except ShapelyError:
            without, closed = read("ignore"), read("fix")
        opened = without["geometry"].isna() & closed["geometry"].notna()
        closed.attrs["closed"] = np.flatnonzero(opened).tolist()
        return closed


def _no_areas(path: Path, layer: str | None = None) -> InputError:
    where = f"layer {layer!r}" if layer else "it"
    return InputError(path, f"{where} has no areas", "give a file with the areas' shapes")


def _member(path: Path, layer: str | None) -> str | None:
    """Name the file of a zip to read; GDAL itself finds no shapefile in a folder of it."""
    if not starts(path, b"PK"):
        return None
    members = sorted(
        name
        for name in names_in_zip(path)
        if name.lower().endswith(_VECTOR_MEMBERS) and not name.startswith("__MACOSX")
    )
    if not members:
        raise InputError(path, "there is no boundary file in the zip", "give a zip of a shapefile")
    named = [name for name in members if Path(name).stem == layer]
    if len(members) > 1 and not named:
        stems = [Path(name).stem for name in members]
        step = closest(layer, stems) if layer else f"set 'areas.layer' to one of {', '.join(stems)}"
        raise InputError(path, f"the zip has {len(members)} boundary files", step)
    return (named or members)[0]
