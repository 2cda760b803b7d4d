"""When images were taken: as their manifest states it, else as they do themselves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from streetgauge.imagery.decoding import ImageSource, raw_images
from streetgauge.imagery.image_file import ImageError, read_captured
from streetgauge.io.remote import is_url
from streetgauge.io.tables import as_table, read_sheets
from streetgauge.progress import Progress, silent
from streetgauge.settings import ImagerySettings

COLUMN = "captured_at"  # of a manifest


def capture_dates(
    settings: ImagerySettings, views: pd.DataFrame, progress: Progress = silent
) -> pd.Series:
    """Give the day on which each image was taken.

    Parameters
    ----------
    settings : ImagerySettings
        Where the images are; a manifest that is a table may have the column ``captured_at``, a day
        or a time in ISO 8601.
    views : DataFrame
        ``location_id``, ``view``, ``path``, ``member`` of `streetgauge.imagery.find_views`.
    progress : callable
        Where to report how far it is; a file is opened for its metadata, not decoded.

    Returns
    -------
    Series of datetime64 by location_id and view
        NaT where nothing states it. Only images in files are opened, not those on the web.
    """
    stated = _stated(settings)
    days = []
    with progress("dates of images", len(views), "images") as advance:
        for path, member in zip(views["path"], views["member"], strict=True):
            name = (Path(path) / member).as_posix() if member else Path(path).as_posix()
            days.append(stated.get(name) or _own(path, member))
            advance(1)
    index = pd.MultiIndex.from_frame(views[["location_id", "view"]])
    found = pd.to_datetime(
        pd.Series(days, index, dtype="str"), errors="coerce", utc=True, format="ISO8601"
    )
    return found.dt.tz_localize(None)


def _stated(settings: ImagerySettings) -> Mapping[str, str]:
    """Read the days that a manifest states, by the image's full path."""
    file = settings.manifest
    if file is None or is_url(file) or is_url(str(settings.folder)):
        return {}
    if Path(file).suffix.lower() == ".json":
        return {}
    table = as_table(read_sheets(Path(file))[0])
    if not {"path", COLUMN} <= set(table.columns):
        return {}
    folder = Path(str(settings.folder))
    names = [(folder / path.replace("\\", "/")).as_posix() for path in table["path"]]
    return dict(zip(names, table[COLUMN], strict=True))


def _own(path: str, member: str) -> str:
    if is_url(path):
        return ""
    try:
        if not member:
            with Path(path).open("rb") as handle:
                return read_captured(handle)
        (raw,) = raw_images([ImageSource(path, member)])
        return "" if isinstance(raw, ImageError) else read_captured(io.BytesIO(raw))
    except (ImageError, OSError):  # the stage of the features has reported it
        return ""
