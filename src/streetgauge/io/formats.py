"""Which version of each file format is written and read; a file of another version is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streetgauge.errors import InputError

ANALYSIS_VERSION = 2  # of curves.json, power.json, comparison.json and transfer.json
BUNDLE_VERSION = 4  # of bundle.json
METRICS_VERSION = 2  # of metrics.json
RECORD_VERSION = 3  # of run.json
STORE_VERSION = 4  # of a feature store


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
        raise InputError(subject, f"{found!r} is not a format version", step)
    newer = found > known
    raise InputError(
        subject,
        f"{'a newer' if newer else 'an unreleased version of'} streetgauge made it "
        f"(format {found!r}; this one reads {known})",
        "upgrade streetgauge" if newer else step,
    )


def read_json(path: Path, step: str) -> Any:
    """Read a JSON file, of any content.

    Parameters
    ----------
    path : Path
        The file.
    step : str
        What to do about a file that cannot be used.

    Raises
    ------
    InputError
        If it is not JSON, or is nested too deeply to be a streetgauge file.
    FileNotFoundError
        If there is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise InputError(path, "its JSON is nested too deeply", step) from None
    except ValueError as error:  # also of text that is not UTF-8, and numbers of too many digits
        raise InputError(path, f"this is not JSON: {error}", step) from None


# Types of what is read of metrics: of the whole, and of each outcome.
_OF_ALL: dict[str, type | tuple[type, ...]] = {
    **{"outcomes": dict, "scheme": dict, "headline": dict, "other_folds": dict},
    **{"classes": int, "interval_level": float, "draws": int, "kind": str},
}
_OF_EACH: dict[str, type | tuple[type, ...]] = {
    **{"metrics": dict, "baselines": dict, "n_areas": int, "n_locations": int},
    **{"gain": (dict, type(None)), "bootstrap": (dict, type(None))},
}


def metrics_fault(content: Mapping[str, Any]) -> str:
    """Name the first key of metrics.json, or of a bundle's figures, that has the wrong type.

    Parameters
    ----------
    content : mapping
        What was read; keys that are not there are no fault.

    Returns
    -------
    str
        The key, with those that it lies in; empty if all types are those that `areas` writes.

    Examples
    --------
    >>> metrics_fault({"outcomes": {"income": {"metrics": {"mae": {"value": "1"}}}}})
    'outcomes.income.metrics.mae'
    """
    odd = _odd(content, _OF_ALL)
    for name, about in () if odd else content.get("outcomes", {}).items():
        inside = _odd(about, _OF_EACH) if isinstance(about, dict) else "type"
        if not inside:
            kinds = {key: about.get(key, {}) for key in ("metrics", "baselines")}
            figures = {f"{k}.{each}": v for k, of in kinds.items() for each, v in of.items()}
            inside = next((key for key, v in figures.items() if not _is_figure(v)), "")
        if inside:
            return f"outcomes.{name}.{inside}"
    if not odd and "other_folds" in content:
        inside = metrics_fault(content["other_folds"])
        odd = f"other_folds.{inside}" if inside else ""
    return odd


def _odd(content: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> str:
    found = (k for k, kind in kinds.items() if k in content and not isinstance(content[k], kind))
    return next(found, "")


def _is_figure(value: object) -> bool:
    """Whether this is a figure with its interval, or a baseline's figures by name."""
    keys = ("value", "low", "high", "mae", "spearman")
    if not isinstance(value, dict):
        return False
    return all(isinstance(value.get(key), (int, float, type(None))) for key in keys)


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
        If it is not a JSON object, or of another version.
    FileNotFoundError
        If there is none.
    """
    content = read_json(path, step)
    if not isinstance(content, dict):
        raise InputError(path, "this is not a JSON object", step)
    require_version(path, content.get("format_version"), known, step)
    return content
