"""Files of boundaries and other layers, each opened by the one driver that its content calls for.

GDAL has dozens of drivers and chooses one by content, whatever a file is called. Some of them open
other files or web addresses that the content names, so that a file from a stranger could read any
other. Here GDAL has one driver at a time, of four that read nothing but the file itself.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from streetgauge.errors import InputError, summary

_FORMATS = "GeoPackage, GeoJSON, ESRI shapefile, FlatGeobuf or GeoParquet"

_MAGIC = {
    b"SQLite format 3\0": "GPKG",
    b"fgb": "FlatGeobuf",
    b"\x00\x00\x27\x0a": "ESRI Shapefile",
}
# GeoJSON may name a coordinate system by an address, which GDAL would fetch.
_LINKED_SYSTEM = re.compile(
    rb'"crs"\s*:\s*\{[^{}]*(\{[^{}]*\}[^{}]*)?"type"\s*:\s*"(link|url)"', re.I
)
_LINK_INSIDE = re.compile(rb'"crs"\s*:\s*\{[^{}]*\{[^{}]*"(url|href)"\s*:', re.IGNORECASE)
# No scheme of a proxy that there is: whatever would be fetched ends before any connection.
_CLOSED = {
    "GDAL_HTTP_PROXY": "closed://closed",
    "GDAL_HTTPS_PROXY": "closed://closed",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",
    "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "NO",
    "OGR_SQLITE_LOAD_EXTENSIONS": None,
    "OGR_SQLITE_PRAGMA": None,
}
_NO_PROXY = ("no_proxy", "NO_PROXY")
_UNPACKING = (OSError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError)
_lock = threading.RLock()


def driver_of(start: bytes) -> str | None:
    """Name the driver for a file that starts with these bytes; None if it is no such file.

    Examples
    --------
    >>> driver_of(b'{"type": "FeatureCollection"'), driver_of(b"<OGRVRTDataSource>")
    ('GeoJSON', None)
    """
    for magic, driver in _MAGIC.items():
        if start.startswith(magic):
            return driver
    is_object = start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    return "GeoJSON" if is_object else None


@contextmanager
def open_vector(path: Path, member: str | None = None) -> Iterator[str]:
    """Let GDAL have the one driver for a file while the block runs.

    Parameters
    ----------
    path : Path
        The file, or a zip.
    member : str, optional
        Which file of the zip; it is not unpacked to disk.

    Yields
    ------
    str
        What to open.

    Raises
    ------
    InputError
        If the file is none that may be opened, or names a coordinate system by an address.
    """
    try:
        real = path.resolve(strict=True)
        driver = driver_of(_start(real, member))
        is_linked = driver == "GeoJSON" and _has_linked_system(real, member)
    except (*_UNPACKING, RuntimeError) as error:  # RuntimeError: it is encrypted
        raise InputError(path, f"it cannot be read ({summary(error)})", "fetch it again") from None
    if driver is None:
        raise _is_none(path)
    if is_linked:
        raise InputError(
            path,
            "its coordinate system is an address, and nothing is fetched",
            "remove 'crs' from the file, and set 'areas.crs'",
        )
    from pyogrio.errors import DataSourceError

    with only_driver(driver), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "File .* has GPKG application_id", RuntimeWarning)
        try:
            yield str(real) if member is None else f"/vsizip/{{{real}}}/{member}"
        except DataSourceError as error:
            known = "not recognized as being in a supported file format" not in str(error)
            if known or driver != "GeoJSON":  # it is damaged, and the message has how
                raise
            raise _is_none(path) from None


def _is_none(path: Path) -> InputError:
    what = "the boundaries cannot be read, since its content is of no known format"
    return InputError(path, what, f"give {_FORMATS}")


@contextmanager
def only_driver(name: str) -> Iterator[None]:
    """Let GDAL know one driver, and no network, while the block runs; one thread at a time."""
    import pyogrio

    register = importlib.import_module("pyogrio._ogr")._register_drivers
    with _lock:
        options = {key: pyogrio.get_gdal_config_option(key) for key in (*_CLOSED, "GDAL_SKIP")}
        proxies = {key: os.environ.pop(key) for key in _NO_PROXY if key in os.environ}
        others = ",".join(each for each in pyogrio.list_drivers() if each != name)
        try:
            pyogrio.set_gdal_config_options({**_CLOSED, "GDAL_SKIP": others})
            register()
            if [*pyogrio.list_drivers()] != [name]:
                raise InputError(
                    f"GDAL {pyogrio.__gdal_version__}",
                    f"its drivers cannot be limited to {name}",
                    "install the pyogrio of requirements.lock",
                )
            yield
        finally:
            pyogrio.set_gdal_config_options(options)
            register()
            os.environ.update(proxies)


def _start(path: Path, member: str | None) -> bytes:
    if member is None:
        with path.open("rb") as file:
            return file.read(1024)
    with zipfile.ZipFile(path) as archive, archive.open(member) as part:
        return part.read(1024)


def _has_linked_system(path: Path, member: str | None) -> bool:
    if member is not None:
        with zipfile.ZipFile(path) as archive:
            return _is_linked(archive.read(member))
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return _is_linked(content)


def _is_linked(content: bytes | mmap) -> bool:
    return any(each.search(content) is not None for each in (_LINKED_SYSTEM, _LINK_INSIDE))
