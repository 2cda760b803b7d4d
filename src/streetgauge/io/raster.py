"""GeoTIFF files, each opened by GDAL's one driver for them, which reads nothing but the file.

GDAL reads metadata and overviews of a raster also from files next to it, and a tag inside may name
a file anywhere. Here no directory is listed, nothing but the file's own tags gives its position,
and a file that names another is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from streetgauge.errors import InputError, summary

# TIFF and BigTIFF, of either order of bytes.
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CLOSED = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # as if no other file lay next to it
    "GDAL_PAM_ENABLED": "NO",  # .aux.xml
    "GDAL_GEOREF_SOURCES": "INTERNAL",  # no world file
    "GDAL_CACHEMAX": 64,  # megabytes
    "GDAL_HTTP_PROXY": "closed://closed",
    "GDAL_HTTPS_PROXY": "closed://closed",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",
}
_LARGEST_BLOCK = 2**28  # bytes that must be unpacked to read one pixel
_REWRITE = "rewrite it with `gdal_translate -of COG`"


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """Open a GeoTIFF while the block runs.

    Parameters
    ----------
    path : Path
        A GeoTIFF or a cloud-optimised GeoTIFF.

    Yields
    ------
    rasterio.DatasetReader
        With a coordinate system and a position.

    Raises
    ------
    InputError
        If rasterio is not installed; the file is not a GeoTIFF, names another file, has no
        coordinate system or position, can be unpacked only in huge blocks, or is damaged, also
        where that shows within the block.
    """
    if find_spec("rasterio") is None:
        step = "pip install 'streetgauge[raster]'"
        raise InputError('[features] with source = "raster"', "rasterio is not installed", step)
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        real = path.resolve(strict=True)
        with real.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(path, f"it cannot be read ({error.strerror})", "check the path") from None
    if start not in _MAGIC:
        raise InputError(
            path, "this is not a GeoTIFF, whatever its name", "give a GeoTIFF or a COG"
        )
    with rasterio.Env(**_CLOSED), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # it is refused here
        try:
            with rasterio.open(real, driver="GTiff") as raster:
                _refuse_unusable(path, raster)
                yield raster
        except RasterioError as error:
            reason = f"it cannot be read ({summary(error.__cause__ or error)})"
            raise InputError(path, reason, "fetch it again") from None


def _refuse_unusable(path: Path, raster: Any) -> None:
    if raster.tags(ns="OVERVIEWS"):
        raise InputError(path, "its metadata name another file, and none is opened", _REWRITE)
    if raster.crs is None:
        raise InputError(
            path,
            "it has no coordinate system",
            "write it into the file, e.g. `gdal_edit.py -a_srs EPSG:27700 FILE`",
        )
    if raster.transform.is_identity or raster.transform.is_degenerate:
        raise InputError(path, "it has no position on the map", "export it as GeoTIFF again")
    if any(kind.startswith("complex") for kind in raster.dtypes):
        raise InputError(path, "its bands hold complex numbers", "give bands of real numbers")
    if _block_size(raster) > _LARGEST_BLOCK:
        size = _block_size(raster) / 1e6
        raise InputError(path, f"one pixel cannot be read without {size:,.0f} MB", _REWRITE)


def _block_size(raster: Any) -> int:
    """Bytes of the largest block, of all bands where they lie together."""
    together = raster.count if raster.profile.get("interleave") == "pixel" else 1
    sizes = zip(raster.block_shapes, raster.dtypes, strict=True)
    largest = max(high * wide * np.dtype(kind).itemsize for (high, wide), kind in sizes)
    return int(largest) * int(together)
