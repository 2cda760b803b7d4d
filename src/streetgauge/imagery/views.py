"""Which picture is which view of which location, from file names or from a manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.files import require_columns
from streetgauge.settings import ImagerySettings
from streetgauge.skips import skips_frame
from streetgauge.tables import as_table, read_sheets

__all__ = ["find_views"]

FIELDS = ("location_id", "view")
Row = dict[str, str | None]


def find_views(
    settings: ImagerySettings, location_ids: Iterable[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the pictures of locations, and say what is missing.

    Parameters
    ----------
    settings : ImagerySettings
        The folder, and the pattern of its file names or a manifest.
    location_ids : iterable of str
        The study's locations; their order does not matter.

    Returns
    -------
    views : DataFrame
        ``location_id``, ``view``, ``path``: one row a picture, sorted by location and then in the
        order of ``settings.views``. Every picture found is there, also of locations that lack
        another; whether the file can be read as a picture is not looked at.
    skips : DataFrame
        ``location_id, view, area, stage, reason``: views and locations without a picture, and
        pictures whose location or view is not the study's.

    Raises
    ------
    InputError
        If the folder is not there or empty, no file fits the pattern, no picture belongs to a
        location, a picture could belong to two locations, the manifest cannot be used, names a
        view twice, or points out of the folder.
    """
    wanted = sorted(set(location_ids))
    if not settings.folder.is_dir():
        raise InputError(settings.folder, "there is no such folder", "check imagery.folder")
    if settings.manifest is not None:
        found, skips = _from_manifest(settings, settings.manifest, set(wanted))
    else:
        found, skips = _from_names(settings, wanted)
    if not found:
        _refuse_strangers(settings, wanted, skips)
    skips += _missing(settings, wanted, found)
    order = {view: place for place, view in enumerate(settings.views)}
    keys = sorted(found, key=lambda key: (key[0], order[key[1]]))
    views = pd.DataFrame(
        {
            "location_id": [location for location, _ in keys],
            "view": [view for _, view in keys],
            "path": [str(settings.folder / found[key]) for key in keys],
        },
        dtype=str,
    )
    return views, skips_frame(skips)


Found = dict[tuple[str, str], str]


def _from_names(settings: ImagerySettings, wanted: list[str]) -> tuple[Found, list[Row]]:
    """Look for the name that each view must have: an id may hold any sign, also the pattern's."""
    parts = PurePosixPath(settings.pattern).parts
    if ".." in parts or PurePosixPath(settings.pattern).is_absolute():
        raise InputError(
            f"pattern {settings.pattern!r}", "it leaves the folder", "name files below the folder"
        )
    files = set(_files(settings.folder, parts))
    owners: dict[str, tuple[str, str]] = {}
    for location in wanted:
        for view in settings.views:
            name = _filled(settings.pattern, location, view)
            if name not in files:
                continue
            if name in owners:
                raise InputError(
                    settings.folder / name,
                    f"it fits view {view!r} of location {location!r} and view "
                    f"{owners[name][1]!r} of location {owners[name][0]!r}",
                    "use a pattern that keeps ids and views apart, or a manifest",
                )
            owners[name] = (location, view)
    others = [row for name in files - owners.keys() if (row := _stranger(settings, name))]
    if not owners and not others:
        _refuse_pattern(settings)
    return {key: name for name, key in owners.items()}, others


def _files(folder: Path, parts: tuple[str, ...]) -> Iterator[str]:
    """Files at the pattern's depth, as paths relative to the folder."""
    head, rest = parts[0], parts[1:]
    for name in os.listdir(folder):  # noqa: PTH208 (names only: half a million of them)
        if "{" not in head and name != head:
            continue
        if not rest:
            yield name
        elif (folder / name).is_dir():
            yield from (f"{name}/{below}" for below in _files(folder / name, rest))


def _filled(pattern: str, location: str, view: str) -> str:
    """Fill the pattern in one pass, so that an id that looks like a field stays an id."""
    values = {"{location_id}": location, "{view}": view}
    return re.sub(r"\{location_id\}|\{view\}", lambda field: values[field.group()], pattern)


def _expression(pattern: str) -> re.Pattern[str]:
    """Turn the pattern into an expression; all but its two fields is literal."""
    text = ""
    seen: set[str] = set()
    for part in re.split(r"(\{location_id\}|\{view\})", pattern):
        field = part[1:-1]
        if part.startswith("{") and field in FIELDS:
            text += f"(?P={field})" if field in seen else f"(?P<{field}>[^/]+)"
            seen.add(field)
        else:
            text += re.escape(part)
    return re.compile(text, re.DOTALL)


def _stranger(settings: ImagerySettings, name: str) -> Row | None:
    match = _expression(settings.pattern).fullmatch(name)
    if match is None:
        return None
    return _unknown(settings, match["location_id"], match["view"])


def _unknown(settings: ImagerySettings, location: str, view: str) -> Row:
    if view not in settings.views:
        reason = f"the view is none of {', '.join(settings.views)}"
    else:
        reason = "the location is not one of the study's"
    return {"location_id": location, "view": view, "reason": reason}


def _from_manifest(
    settings: ImagerySettings, file: Path, wanted: set[str]
) -> tuple[Found, list[Row]]:
    columns = [*FIELDS, "path"]
    table = as_table(read_sheets(file)[0])
    require_columns(table, {name: name for name in columns}, file)
    found: Found = {}
    skips: list[Row] = []
    rows: dict[tuple[str, str], int] = {}
    for row, location, view, path in table[columns].itertuples(name=None):
        subject = f"{file}: row {row}"
        for name, value in zip(columns, (location, view, path), strict=True):
            if not value:
                raise InputError(subject, f"column {name!r} is empty", "fill it in or remove it")
        if (location, view) in rows:
            raise InputError(
                subject,
                f"view {view!r} of location {location!r} is named twice, first in row "
                f"{rows[location, view]}",
                "keep one of the two",
            )
        rows[location, view] = row
        inside = os.path.normpath(path)
        if Path(inside).is_absolute() or Path(inside).parts[:1] in ((), ("..",)):
            raise InputError(subject, f"{path!r} leaves the folder", "name a path below the folder")
        if location not in wanted or view not in settings.views:
            skips.append(_unknown(settings, location, view))
        elif (settings.folder / inside).is_file():
            found[location, view] = inside
        # Else `_missing` reports the view.
    return found, skips


def _missing(settings: ImagerySettings, wanted: list[str], found: Found) -> Iterator[Row]:
    suffix = " and all are needed" if settings.require == "all" else ""
    for location in wanted:
        absent = [view for view in settings.views if (location, view) not in found]
        if len(absent) == len(settings.views):
            yield {"location_id": location, "reason": "there is no picture of this location"}
            continue
        for view in absent:
            reason = f"there is no picture of this view{suffix}"
            yield {"location_id": location, "view": view, "reason": reason}


def _refuse_pattern(settings: ImagerySettings) -> None:
    there = _some_files(settings.folder)
    if not there:
        raise InputError(settings.folder, "there is no file in this folder", "put pictures there")
    raise InputError(
        settings.folder,
        f"no file fits the pattern {settings.pattern!r}",
        f"there are, for example, {', '.join(there)}",
    )


def _refuse_strangers(settings: ImagerySettings, wanted: list[str], skips: list[Row]) -> None:
    ids = sorted({str(row["location_id"]) for row in skips})
    if settings.manifest is not None and not ids:
        raise InputError(settings.manifest, "none of its files is there", "check imagery.folder")
    step = closest(ids[0], wanted, limit=3) if ids else ""
    raise InputError(
        settings.manifest or settings.folder,
        f"no picture belongs to a location of the study: they are of {', '.join(ids[:3])}",
        f"of the study's locations, {step}" if step.startswith("there are") else step,
    )


def _some_files(folder: Path, count: int = 3) -> list[str]:
    """Name the first few files of a folder and the folders in it."""
    some: list[str] = []
    for base, folders, names in os.walk(folder):
        folders.sort()
        some += [(Path(base) / name).relative_to(folder).as_posix() for name in sorted(names)]
        if len(some) >= count:
            break
    return some[:count]
