"""Which version of each file format is written and read; a file of another version is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streetgauge.errors import InputError

__all__ = ["ANALYSIS_VERSION", "BUNDLE_VERSION", "METRICS_VERSION", "RECORD_VERSION"]
__all__ += ["STORE_VERSION", "read_object", "require_version"]

ANALYSIS_VERSION = 2  # of curves.json, power.json, comparison.json and transfer.json
BUNDLE_VERSION = 4  # of bundle.json
METRICS_VERSION = 2  # of metrics.json
RECORD_VERSION = 3  # of run.json
STORE_VERSION = 3  # of a feature store


def require_version(
    subject: object, found: object, known: int, step: str = "run the study again with --force"
) -> None:
    """Refuse a file of a format version that is not the one that is read here.

    Parameters
    ----------
    subject : object
        The file, as the error names it.
    found : object
        The version that the file gives; anything may stand there.
    known : int
        The version that is read.
    step : str
        What to do about a file that an unreleased version made.

    Raises
    ------
    InputError
        If it is another one.

    Examples
    --------
    >>> require_version("run.json", 2, 2)
    >>> require_version("run.json", 1, 2)
    Traceback (most recent call last):
    streetgauge.errors.InputError: run.json: an unreleased version of streetgauge made it \
(format 1; this one reads 2); run the study again with --force.
    """
    if found == known and isinstance(found, int):
        return
    if not isinstance(found, int) or isinstance(found, bool):
        raise InputError(subject, f"{found!r} is no format version", step)
    newer = found > known
    raise InputError(
        subject,
        f"{'a newer' if newer else 'an unreleased version of'} streetgauge made it "
        f"(format {found!r}; this one reads {known})",
        "upgrade streetgauge" if newer else step,
    )


def read_object(path: Path, known: int, step: str) -> dict[str, Any]:
    """Read a JSON object of a format version.

    Parameters
    ----------
    path : Path
        The file.
    known : int
        The version that is read.
    step : str
        What to do about a file that cannot be used.

    Raises
    ------
    InputError
        If it is no JSON object, or of another version.
    FileNotFoundError
        If there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(path, f"this is not JSON: {error}", step) from None
    if not isinstance(content, dict):
        raise InputError(path, "this is not a JSON object", step)
    require_version(path, content.get("format_version"), known, step)
    return content
