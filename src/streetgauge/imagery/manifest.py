"""A table that says which image is where: its location or coordinates, its view or heading."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.imagery.candidate import Candidate
from streetgauge.imagery.folders import File, Folder
from streetgauge.io.remote import is_url, local_copy, require_url
from streetgauge.io.tables import as_table, read_sheets, require_columns

__all__ = ["read_manifest"]

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_COLUMNS = ("path", "location_id", "view", "lat", "lon", "heading", "panorama")
_LIMITS = {"lat": (-90, 90), "lon": (-180, 180), "heading": (-360, 360)}


def read_manifest(
    file: Path | str, folder: Folder, *, panoramas: bool, one_view: bool
) -> tuple[list[Candidate], list[Candidate]]:
    """Read a manifest.

    Parameters
    ----------
    file : Path or str
        CSV, Parquet or a workbook, a file or its URL, with the column ``path`` (below the folder;
        an archive counts as a folder; or a URL); ``location_id``, or ``lat`` and ``lon``;
        ``view``, or ``heading`` in degrees; and ``panorama`` (true or false) if some are. Of a
        panorama, ``heading`` is where its middle looks, and it has all views unless ``view`` says
        which. Other columns are not read.
    folder : Folder
        Where the images are.
    panoramas : bool
        Whether all are panoramas, if no column says it.
    one_view : bool
        Whether locations have one view alone, so that neither view nor heading is needed.

    Returns
    -------
    there, gone : lists of Image
        In the manifest's order; of those that are gone, ``file`` says the name only.

    Raises
    ------
    InputError
        If a column is missing, a cell is empty or no number, or a path leaves the folder.
    """
    table = _table(file)
    if table.empty:
        raise InputError(file, "it lists no image", "give it a row for each")
    have = set(table.columns)
    require_columns(table, {"path": "path"}, file)
    if "location_id" not in have and not {"lat", "lon"} <= have:
        step = closest("location_id", table.columns)
        raise InputError(file, "there is no column 'location_id', nor 'lat' and 'lon'", step)
    told = panoramas or one_view or have & {"view", "heading", "panorama"}
    if not told:
        step = closest("view", table.columns)
        raise InputError(file, "there is no column 'view', nor 'heading'", step)
    columns = [name for name in _COLUMNS if name in have]
    rows = [
        (f"{file}: row {row}", dict(zip(columns, cells, strict=True)))
        for row, *cells in table[columns].itertuples(name=None)
    ]
    names = [_inside(where, cells) for where, cells in rows]
    files = {name: File(name, name) for name in names if is_url(name)}
    files |= folder.find(set(names) - files.keys())
    there, gone = [], []
    for name, (where, cells) in zip(names, rows, strict=True):
        image = _image(where, cells, panoramas)
        if name in files:
            there.append(image._replace(file=files[name]))
        else:
            gone.append(image)
    return there, gone


def _table(file: Path | str) -> pd.DataFrame:
    if not is_url(file):
        return as_table(read_sheets(Path(file))[0])
    with local_copy(str(file)) as copy:
        try:
            return as_table(read_sheets(copy)[0])
        except InputError as error:
            subject = error.subject.replace(str(copy), str(file))
            raise InputError(subject, error.reason, error.next_step) from None


def _inside(where: str, cells: dict[str, str]) -> str:
    path = _filled(where, cells, "path")
    if is_url(path):
        try:
            require_url(path)
        except ValueError as error:
            raise InputError(where, str(error)) from None
        return path
    inside = os.path.normpath(path)
    if Path(inside).is_absolute() or Path(inside).parts[:1] in ((), ("..",)):
        raise InputError(where, f"{path!r} leaves the folder", "name a path below the folder")
    return Path(inside).as_posix()


def _image(where: str, cells: dict[str, str], panoramas: bool) -> Candidate:
    by_id = "location_id" in cells
    word = cells.get("panorama", str(panoramas)).lower()
    if word not in _WORDS:
        raise InputError(where, f"panorama = {word!r} is not true or false", "mend the cell")
    panorama = _WORDS[word]
    view = None
    if "view" in cells and not (panorama and not cells["view"]):
        view = _filled(where, cells, "view")
    return Candidate(
        file=File(cells["path"], ""),
        location=_filled(where, cells, "location_id") if by_id else None,
        view=view,
        lat=math.nan if by_id else _number(where, cells, "lat"),
        lon=math.nan if by_id else _number(where, cells, "lon"),
        # Of an image whose view is told, its own heading does not matter.
        heading=_number(where, cells, "heading") % 360 if panorama or view is None else math.nan,
        panorama=panorama,
        where=where,
    )


def _filled(where: str, cells: dict[str, str], column: str) -> str:
    if not cells[column]:
        raise InputError(where, f"column {column!r} is empty", "fill it in or remove it")
    return cells[column]


def _number(where: str, cells: dict[str, str], column: str) -> float:
    """Read a number; an absent or empty one is NaN."""
    text = cells.get(column, "")
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        raise InputError(
            f"{where}, column {column!r}", f"{text!r} is not a number", "mend the cell"
        ) from None
    low, high = _LIMITS[column]
    if not low <= number <= high:
        raise InputError(
            f"{where}, column {column!r}", f"{text} is not within {low} to {high}", "mend the cell"
        )
    return number
