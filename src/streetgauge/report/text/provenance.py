"""What a study was made from, as rows of tables: settings, files, what was left out, the run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from streetgauge.report.text import numbers

__all__ = ["cells", "facts", "files", "flat", "reasons"]

MOST_REASONS = 40


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give settings as dotted names and texts."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            if value:
                yield name, ", ".join(_plain(item) for item in value)
        elif value is not None:
            yield name, _plain(value)


def _plain(value: object) -> str:
    """Text of a value; of a path only the name, for the page is shown to others."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if re.match(r"^(/|[A-Za-z]:[\\/])", text):
        return re.split(r"[\\/]", text.rstrip("\\/"))[-1]
    return text


def files(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names of an outcome's files with their sha256: several are written "one + other"."""
    names = str(provenance.get("file") or "").split(" + ")
    sums = str(provenance.get("sha256") or "").split(" + ")
    pairs = itertools.zip_longest(names, sums[: len(names)], fillvalue="")
    return [(_plain(file), sha256) for file, sha256 in pairs if file]


def cells(named: Iterable[str]) -> str:
    """Name each table once, before its cells."""
    tables: dict[str, list[str]] = {}
    for cell in map(str, named):
        table, colon, what = cell.partition(": ")
        tables.setdefault(table if colon else "", []).append(what if colon else cell)
    said = (f"{table}: {', '.join(of)}" if table else ", ".join(of) for table, of in tables.items())
    return "; ".join(said)


def reasons(skips: pd.DataFrame, locations: pd.DataFrame) -> dict[str, Any]:
    """How many rows were left out, by stage and reason; the most frequent first."""
    if {"location_id", "area"} <= set(locations.columns):  # what a row does not say itself
        of = locations.drop_duplicates("location_id").set_index("location_id")["area"]
        skips = skips.assign(area=skips["area"].fillna(skips["location_id"].map(of)))
    counted = skips.groupby(["stage", "reason"], dropna=False).agg(
        rows=("reason", "size"), locations=("location_id", "nunique"), areas=("area", "nunique")
    )
    counted = counted.reset_index().sort_values(
        ["rows", "stage", "reason"], ascending=[False, True, True], kind="stable"
    )
    return {"rows": counted.head(MOST_REASONS).to_dict("records"), "n": len(counted)}


def facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write what run.json says of the whole run, then what each stage said of itself."""
    found, stages = [], []
    for key, value in run.items():
        name = key.replace("_", " ").capitalize()
        if key in ("format_version", "study", "files") or value is None:
            continue  # for the program, not for the reader
        if key == "stages":
            stages = [
                (f"Stage {stage}", _said(v)) for stage, v in value.items() if stage != "report"
            ]
        elif key == "seconds":
            times = (f"{stage} {numbers.number(float(each), 1)} s" for stage, each in value.items())
            found.append(("Time", ", ".join(times)))
        elif isinstance(value, Mapping):
            found.append((name, ", ".join(f"{k} {_plain(v)}" for k, v in value.items())))
        else:
            found.append((name, _plain(value)))
    return found + [(stage, text) for stage, text in stages if text]


def _said(stage: Mapping[str, Any]) -> str:
    text = "; ".join(str(line) for line in stage.get("messages", ()))
    seconds = stage.get("seconds")
    return text if seconds is None else f"{text} ({numbers.number(float(seconds), 1)} s)"
