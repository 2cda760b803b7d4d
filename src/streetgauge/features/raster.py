"""Features that exist already as a raster: its bands at each location, or averaged over each area.

Only the blocks of the file that locations or areas lie in are read, each once, so that a region's
raster of many bands needs little memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.features.store import FeatureStore
from streetgauge.io.files import sha256_of
from streetgauge.io.raster import open_raster
from streetgauge.progress import Progress, silent
from streetgauge.settings import RasterFeatures
from streetgauge.skips import AllExcludedError, skips_frame

if TYPE_CHECKING:
    from pyproj import CRS


Floats = npt.NDArray[np.float64]

SIDE = 256  # pixels along either side of what is read in one go, at least
NUMBERS = 2**24  # that are read in one go, at most, if that is one block
LARGEST = float(np.finfo(np.float32).max)  # what a store can hold
LEAST = 0.5  # of an area's pixels that must have data
OUTSIDE = "the raster does not cover the location"
NO_POSITION = "the location has no coordinates"
NO_DATA = "the raster has no data at the location"
OUTSIDE_AREA = "the raster does not cover the location's area"
NO_AREA = "the boundaries do not have the location's area"
FEW_DATA = "the raster has data for less than half of the location's area"


@dataclass(frozen=True, eq=False)
class RasterSample:
    """Bands of a raster for each of N locations.

    Parameters
    ----------
    ids : array of str, [N]
        The locations, sorted.
    columns : tuple of str
        Names of the bands.
    values : array of float, [N, bands]
        NaN where a location has none.
    reasons : array of str, [N]
        Why a location has no values; "" where it has.
    """

    ids: npt.NDArray[np.str_]
    columns: tuple[str, ...]
    values: Floats
    reasons: npt.NDArray[np.object_]

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Which locations have values: [N]."""
        done: npt.NDArray[np.bool_] = self.reasons == ""
        return done

    @property
    def skips(self) -> pd.DataFrame:
        """Locations without values, as of `streetgauge.skips.skips_frame`."""
        pairs = zip(self.ids, self.reasons, strict=True)
        return skips_frame({"location_id": str(i), "reason": why} for i, why in pairs if why)


def store_raster(
    settings: RasterFeatures,
    locations: pd.DataFrame,
    path: Path,
    *,
    areas: pd.DataFrame | None = None,
    cache_key: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Sample a raster into a store, with one view a location; see `sample_raster`.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: locations without values.
    """
    sample = sample_raster(settings, locations, areas=areas, progress=progress)
    attributes = {
        "backbone": "raster",
        "weights_sha256": sha256_of(settings.file),
        "transform": json.dumps({"columns": sample.columns, "sample": settings.sample}),
        "cache_key": cache_key,
    }
    with FeatureStore.create(
        path, sample.ids, ["1"], sample.values.shape[1], attributes, dtype=settings.dtype
    ) as store:
        values = sample.values[:, None].astype(np.float32)
        store.write(np.arange(len(sample.ids)), values, sample.done[:, None], sample.done)
    return sample.skips


def sample_raster(
    settings: RasterFeatures,
    locations: pd.DataFrame,
    *,
    areas: pd.DataFrame | None = None,
    progress: Progress = silent,
) -> RasterSample:
    """Read a raster's bands for each location.

    A location has the values of the pixel that it lies in, or the mean over those pixels with
    data whose centres lie in its area; an area without a pixel's centre has the mean of the pixels
    that it touches. A pixel has data where no band that is asked for is nodata or not finite.

    Parameters
    ----------
    settings : RasterFeatures
        The file, its bands, and how they are sampled.
    locations : DataFrame
        ``location_id``, and ``lat``, ``lon`` in degrees or ``area``.
    areas : GeoDataFrame by area, optional
        Boundaries: needed for means over areas.
    progress : Progress
        Reports every location or area.

    Raises
    ------
    InputError
        As of `streetgauge.io.raster.open_raster`; or if a band is not in the file or has no data
        at all, coordinates or boundaries are needed and absent, or no location has values.
    """
    unique = locations.assign(location_id=locations["location_id"].astype("str"))
    unique = unique.drop_duplicates("location_id").sort_values("location_id", ignore_index=True)
    with open_raster(settings.file) as raster:
        reader = _Reader(settings.file, raster, settings.bands)
        if settings.sample == "areas":
            values, reasons = _of_areas(reader, unique["area"], areas, progress)
        else:
            values, reasons = _at_points(reader, unique, progress)
        reader.refuse_empty_band()
    columns = tuple(f"band {band}" for band in reader.bands)
    sample = RasterSample(unique["location_id"].to_numpy(str), columns, values, reasons)
    if not sample.done.any():
        raise AllExcludedError(
            settings.file,
            "it has values for no location",
            f"it covers {reader.extent}: compare that with the locations",
            sample.skips,
        )
    return sample


def count_bands(settings: RasterFeatures) -> int:
    """Count the bands that are features."""
    with open_raster(settings.file) as raster:
        return len(_Reader(settings.file, raster, settings.bands).bands)


class _Reader:
    """Some bands of an open raster, tile by tile."""

    def __init__(self, file: Path, raster: Any, bands: Sequence[int] | None) -> None:
        from rasterio.enums import MaskFlags

        self.file, self.raster = file, raster
        self.bands = list(bands or range(1, raster.count + 1))
        if max(self.bands) > raster.count:
            step = f"it has {raster.count:,}; correct 'features.bands'"
            raise InputError(file, f"there is no band {max(self.bands)}", step)
        self.shape = (raster.height, raster.width)
        self.nodata = [raster.nodatavals[band - 1] for band in self.bands]
        self.is_masked = MaskFlags.per_dataset in raster.mask_flag_enums[0]
        self.side = _tile(raster.block_shapes[0], len(self.bands))
        self.seen = np.zeros(len(self.bands), dtype=bool)
        bounds = ", ".join(f"{each:,.6g}" for each in raster.bounds)
        self.extent = f"{bounds} (west, south, east, north) in {raster.crs.to_string()[:60]}"

    def from_degrees(self) -> Any:
        """Give what turns longitudes and latitudes into the raster's coordinates."""
        from pyproj import Transformer

        return Transformer.from_crs("EPSG:4326", self.system(), always_xy=True)

    def system(self) -> CRS:
        """Give the raster's coordinate system."""
        from pyproj import CRS
        from pyproj.exceptions import ProjError

        try:
            own = CRS.from_wkt(self.raster.crs.to_wkt())
            if not (own.is_geographic or own.is_projected):
                raise ProjError("a local system")
        except ProjError:
            reason = "its coordinate system cannot be compared with latitude and longitude"
            raise InputError(self.file, reason, "write the right one into the file") from None
        return own

    def pixels(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Turn the raster's coordinates into rows and columns, with fractions."""
        to, x, y = ~self.raster.transform, np.asarray(x), np.asarray(y)
        with np.errstate(invalid="ignore"):  # of infinite ones, which lie on no map
            return to.d * x + to.e * y + to.f, to.a * x + to.b * y + to.c

    def read(self, tile: tuple[int, int]) -> _Tile:
        """Read a tile by its position among the tiles."""
        spans = tuple(
            (at * side, min((at + 1) * side, whole))
            for at, side, whole in zip(tile, self.side, self.shape, strict=True)
        )
        masked = self.raster.read_masks(1, window=spans) == 0 if self.is_masked else None
        top, left = spans[0][0], spans[1][0]
        return _Tile(self, top, left, self.raster.read(self.bands, window=spans), masked)

    def refuse_empty_band(self) -> None:
        """Name the band that has no data anywhere, where others have."""
        if self.seen.any() and not self.seen.all():
            band = self.bands[int(np.argmin(self.seen))]
            step = "name the others as 'features.bands'"
            raise InputError(self.file, f"band {band} has no data at any location", step)


@dataclass(frozen=True, eq=False)
class _Tile:
    """What is read in one go: its first row and column, and numbers [bands, rows, columns]."""

    reader: _Reader
    top: int
    left: int
    found: npt.NDArray[Any]
    masked: npt.NDArray[np.bool_] | None

    def at(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Take pixels by rows and columns within the tile: [bands, n], NaN without data."""
        own = self.found[:, rows, columns]
        values = own.astype(np.float32 if own.dtype.itemsize <= 2 else np.float64)
        for band, whole, nodata in zip(values, own, self.reader.nodata, strict=True):
            if nodata is not None:
                band[whole == nodata] = np.nan
        if self.masked is not None:
            values[:, self.masked[rows, columns]] = np.nan
        values[~(np.abs(values) <= LARGEST)] = np.nan
        self.reader.seen |= np.isfinite(values).any(axis=1)
        return values


def _tile(block: tuple[int, int], bands: int) -> tuple[int, int]:
    """Give the sides of what is read in one go: whole blocks, of which some are a row each."""
    high, wide = block
    while min(high, wide) < SIDE and 2 * high * wide * bands <= NUMBERS:
        high, wide = (2 * high, wide) if high < wide else (high, 2 * wide)
    return high, wide


def _grouped(
    tiles: npt.NDArray[np.intp],
) -> Iterator[tuple[tuple[int, int], npt.NDArray[np.intp]]]:
    """Group rows [n, 2] of tiles: each tile, and the positions of its rows."""
    order = np.lexsort(tiles.T[::-1])
    starts = np.flatnonzero(np.diff(tiles[order], axis=0).any(axis=1)) + 1
    for own in np.split(order, starts):
        if len(own):
            yield (int(tiles[own[0], 0]), int(tiles[own[0], 1])), own


def _at_points(
    reader: _Reader, locations: pd.DataFrame, progress: Progress
) -> tuple[Floats, npt.NDArray[np.object_]]:
    """Take the pixel of each location."""
    lat, lon = (locations[name].to_numpy(np.float64) for name in ("lat", "lon"))
    row, column = reader.pixels(*reader.from_degrees().transform(lon, lat))
    inside = (row >= 0) & (row < reader.shape[0]) & (column >= 0) & (column < reader.shape[1])
    reasons = np.where(np.isnan(lat + lon), NO_POSITION, OUTSIDE).astype(object)
    values = np.full((len(locations), len(reader.bands)), np.nan)
    pixels = np.column_stack([row, column])[inside].astype(np.intp)
    slots = np.flatnonzero(inside)
    with progress("features", len(slots), "locations") as advance:
        for position, own in _grouped(pixels // reader.side):
            tile = reader.read(position)
            values[slots[own]] = tile.at(*(pixels[own] - (tile.top, tile.left)).T).T
            advance(len(own))
    reasons[inside] = np.where(np.isfinite(values[inside]).all(axis=1), "", NO_DATA)
    return values, reasons


def _of_areas(
    reader: _Reader, area: pd.Series, areas: pd.DataFrame | None, progress: Progress
) -> tuple[Floats, npt.NDArray[np.object_]]:
    """Take the mean over the area of each location."""
    if areas is None or "geometry" not in areas:
        raise InputError(
            "features.sample: 'areas'",
            "the areas have no boundaries",
            "name a boundary file in [areas], or use sample = 'locations'",
        )
    known = areas[areas.index.isin(area)]
    shapes = known.geometry.to_crs(reader.system())
    means = _AreaMeans(reader, shapes.to_numpy())
    means.add(np.arange(len(shapes)), progress)
    small = np.flatnonzero(means.pixels == 0)
    means.add(small, progress, all_touched=True)
    reasons = np.where(means.pixels == 0, OUTSIDE_AREA, np.where(means.are_known(), "", FEW_DATA))
    at = known.index.get_indexer(pd.Index(area))
    found = means.values()
    values = np.where(at[:, None] >= 0, found[at], np.nan)
    return values, np.where(at >= 0, reasons[at], NO_AREA).astype(object)


class _AreaMeans:
    """Sums of a raster's bands over M areas."""

    def __init__(self, reader: _Reader, shapes: npt.NDArray[np.object_]) -> None:
        import shapely

        self.reader, self.shapes = reader, shapes
        self.sums = np.zeros((len(shapes), len(reader.bands)))
        self.pixels, self.valid = (np.zeros(len(shapes), dtype=np.int64) for _ in range(2))
        pixel = abs(reader.raster.transform.determinant)
        self.expected = np.nan_to_num(shapely.area(shapes), posinf=0) / pixel

    def are_known(self) -> npt.NDArray[np.bool_]:
        """Whether enough of an area's pixels have data."""
        few = self.valid < LEAST * np.maximum(self.expected, self.pixels)
        known: npt.NDArray[np.bool_] = (self.valid > 0) & ~few
        return known

    def values(self) -> Floats:
        """Means: [M, bands], NaN where too few pixels have data."""
        with np.errstate(invalid="ignore"):
            means = self.sums / self.valid[:, None]
        return np.where(self.are_known()[:, None], means, np.nan)

    def add(
        self, chosen: npt.NDArray[np.intp], progress: Progress, all_touched: bool = False
    ) -> None:
        """Add the pixels whose centres lie in an area, or all that it touches."""
        pairs = [(i, *tile) for i in chosen for tile in self._tiles(self.shapes[i])]
        table = np.array(pairs, dtype=np.intp).reshape(-1, 3)
        with progress("features", len(table), "windows of areas") as advance:
            for position, own in _grouped(table[:, 1:]):
                tile = self.reader.read(position)
                for i in table[own, 0]:
                    self._add_within(tile, i, all_touched)
                advance(len(own))

    def _span(self, shape: Any) -> npt.NDArray[np.intp] | None:
        """First and last row and column that an area can have pixels in; None if it has none."""
        west, south, east, north = shape.bounds if not shape.is_empty else [np.nan] * 4
        corners = np.array(
            self.reader.pixels([west, west, east, east], [south, north, south, north])
        )
        if not np.isfinite(corners).all():
            return None
        first = np.maximum(np.floor(corners.min(axis=1)), 0)
        last = np.minimum(np.floor(corners.max(axis=1)), np.array(self.reader.shape) - 1)
        return None if (last < first).any() else np.array([first, last]).astype(np.intp)

    def _tiles(self, shape: Any) -> Iterator[tuple[int, int]]:
        span = self._span(shape)
        if span is not None:
            first, last = span // self.reader.side
            yield from product(range(first[0], last[0] + 1), range(first[1], last[1] + 1))

    def _add_within(self, tile: _Tile, i: int, all_touched: bool) -> None:
        from rasterio.features import geometry_mask
        from rasterio.windows import Window

        span = self._span(self.shapes[i])
        assert span is not None  # it has a tile
        start = np.array([tile.top, tile.left])
        first = np.maximum(span[0] - start, 0)
        shape = np.minimum(span[1] - start + 1, tile.found.shape[1:]) - first
        top, left = (int(each) for each in start + first)
        own = self.reader.raster.window_transform(Window(left, top, 1, 1))
        within = geometry_mask(
            [self.shapes[i]], tuple(shape), own, all_touched=all_touched, invert=True
        )
        rows, columns = np.nonzero(within)
        self.pixels[i] += len(rows)
        step = max(1, NUMBERS // len(self.reader.bands))
        for part in (slice(at, at + step) for at in range(0, len(rows), step)):
            found = tile.at(rows[part] + first[0], columns[part] + first[1])
            whole = np.isfinite(found).all(axis=0)
            self.valid[i] += int(whole.sum())
            self.sums[i] += found[:, whole].sum(axis=1, dtype=np.float64)
