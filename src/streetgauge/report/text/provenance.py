"""What a study was made from: statistics, settings, files, what was excluded, the run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from streetgauge.report.text.findings import other_kind
from streetgauge.report.text.numbers import PARTS, listed, number, percent, plural, unit

if TYPE_CHECKING:
    import pandas as pd

    from streetgauge.report.data import ReportData

__all__ = [
    "carried",
    "cells",
    "facts",
    "files",
    "flat",
    "incomplete",
    "names_of",
    "reasons",
    "scale",
    "what_was_run",
]

MOST_REASONS = 40
LEARNERS = {
    "kernel": "Gaussian processes on areas as bags of views",
    "ridge": "Bayesian ridge on mean features",
    "stack": "A stack of a network, Gaussian processes and a ridge",
}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give settings as dotted names and texts."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            if value:
                yield name, ", ".join(_value_text(item) for item in value)
        elif value is not None:
            yield name, _value_text(value)


def _value_text(value: object) -> str:
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
    return [(_value_text(file), sha256) for file, sha256 in pairs if file]


def cells(named: Iterable[str]) -> str:
    """Name each table once, before its cells."""
    tables: dict[str, list[str]] = {}
    for cell in map(str, named):
        table, colon, what = cell.partition(": ")
        tables.setdefault(table if colon else "", []).append(what if colon else cell)
    cell_texts = (
        f"{table}: {', '.join(of)}" if table else ", ".join(of) for table, of in tables.items()
    )
    return "; ".join(cell_texts)


def reasons(skips: pd.DataFrame, locations: pd.DataFrame) -> dict[str, Any]:
    """How many rows were excluded, by stage and reason; the most frequent first."""
    if {"location_id", "area"} <= set(locations.columns):  # what a row lacks
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
    """Write run.json's facts of the whole run, then the messages of each stage."""
    found, stages = [], []
    for key, value in run.items():
        name = key.replace("_", " ").capitalize()
        if key in ("format_version", "study", "files") or value is None:
            continue  # for the program, not for the reader
        if key == "stages":
            stages = [
                (f"Stage {stage}", _stage_text(v))
                for stage, v in value.items()
                if stage != "report"
            ]
        elif key == "seconds":
            times = (f"{stage} {number(float(each), 1)} s" for stage, each in value.items())
            found.append(("Time", ", ".join(times)))
        elif isinstance(value, Mapping):
            found.append((name, ", ".join(f"{k} {_value_text(v)}" for k, v in value.items())))
        else:
            found.append((name, _value_text(value)))
    return found + [(stage, text) for stage, text in stages if text]


def _stage_text(stage: Mapping[str, Any]) -> str:
    text = "; ".join(str(line) for line in stage.get("messages", ()))
    seconds = stage.get("seconds")
    return text if seconds is None else f"{text} ({number(float(seconds), 1)} s)"


def names_of(areas: pd.DataFrame) -> dict[str, str]:
    """Give the areas' names by their codes, as far as they are known."""
    if "name" not in areas:
        return {}
    return {str(code): str(name) for code, name in areas["name"].dropna().items()}


def what_was_run(data: ReportData, labels: Mapping[str, str]) -> list[str]:
    """Describe what was done with what, each part as far as it is known."""
    parts = (
        _data(data),
        _statistics(data, labels),
        _images(data),
        _training(data),
        _reproducing(data),
    )
    return [text for part in parts for text in part]


def _data(data: ReportData) -> Iterator[str]:
    views = data.imagery.get("views")
    each = f" with up to {plural(views, 'view')} each" if views else ""
    yield (
        f"{plural(len(data.provenance) or len(data.metrics['outcomes']), 'official statistic')} of "
        f"{plural(len(data.areas), 'area')}, and {plural(len(data.locations), 'location')}{each}."
    )


def _statistics(data: ReportData, labels: Mapping[str, str]) -> Iterator[str]:
    """Name publishers with their licences, and what of theirs was used."""
    by: dict[tuple[str, str], list[str]] = {}
    for name, about in data.provenance.items():
        key = (str(about.get("publisher") or ""), str(about.get("licence") or ""))
        by.setdefault(key, []).append(labels.get(name, name))
    publishers = []
    for (publisher, licence), names in by.items():
        whose = ", ".join(part for part in (publisher, licence) if part)
        publishers.append(f"{listed(names)} ({whose or 'publisher and licence not stated'})")
    yield from (f"Statistics: {each}." for each in publishers)


def _images(data: ReportData) -> Iterator[str]:
    imagery = data.imagery
    if not imagery:
        return
    own = [imagery.get("attribution"), imagery.get("licence")]
    whose = [", ".join(str(part) for part in own if part)] if any(own) else []
    whose += [str(credit["line"]) for credit in data.credits]
    yield f"Images: {'; '.join(whose) if whose else 'no licence is stated, so none is shown'}."
    weights = imagery.get("weights") or {}
    if weights.get("backbone"):
        licence = f" ({weights['licence']})" if weights.get("licence") else ""
        sha = f", weights sha256 {weights['sha256'][:12]}" if weights.get("sha256") else ""
        yield f"Features by {weights['backbone']}{licence}{sha}, which was not trained further."


def _training(data: ReportData) -> Iterator[str]:
    own: Mapping[str, Any] = data.settings.get("train") or {}
    scheme = data.metrics["scheme"]["description"]
    kind = other_kind(data.metrics)
    other = data.metrics["other_folds"]["scheme"]["description"] if kind else ""
    also = f", then with {other}" if other else ""
    network = f"Network “{own['network']}”" if own.get("network") else "Networks"
    members = own.get("ensemble_size") or 1
    many = f" of {members} members" if members > 1 else ""
    head = f" with the {own['head']} head" if own.get("head") else ""
    learner = own.get("learner", "network")
    how = LEARNERS.get(learner, f"{network}{many}{head}")
    if learner == "stack":
        how += f" (network “{own['network']}”{many}{head})"
    yield f"{how}. Tested with {scheme}{also}."


def _reproducing(data: ReportData) -> Iterator[str]:
    seed = data.run.get("seed")
    versions = data.run.get("versions") or {}
    package = data.run.get("streetgauge") or versions.get("streetgauge")
    if seed is None or package is None:
        return
    torch = f", torch {versions['torch']}" if versions.get("torch") else ""
    python = f", Python {data.run['python']}" if data.run.get("python") else ""
    yield (
        f"Same inputs, settings and versions give the same numbers: seed {seed}, streetgauge "
        f"{package}{python}{torch}."
    )


def scale(
    provenance: Mapping[str, Mapping[str, Any]], classes: int, *, predicted: bool = True
) -> str:
    """Explain what a class means: among which areas, and cut by what."""
    one, many = unit(classes)
    outcomes = list(provenance.values())
    part = PARTS.get(classes, f"{classes}th part")
    own = [each for each in outcomes if each.get("deciles", "study") == "study"]
    within = own[0].get("within", "study") if own else "study"
    if within == "study":
        who = "the areas of this study"
    elif within == "nation":
        who = "all areas of each statistic’s file"
    else:
        who = f"the areas with codes like {listed([str(each) for each in within])}"
    text = (
        f"A {one} is the rank of an area among {who}: 1 is the worst-off {part}, {classes} the "
        "best-off."
    )
    if any(each.get("weighted") for each in own):
        text += f" Each of these {many} holds an equal share of the people, not of the areas."
    published = [str(p.get("label") or n) for n, p in provenance.items() if p not in own]
    if published:
        text += f" The {many} of {listed(published)} are the publisher’s."
    uneven = published or within != "study" or any(each.get("weighted") for each in own)
    if predicted and uneven:
        text += (
            f" As many areas are predicted in each {one} as are in it, so this study’s own share "
            f"of every {one} is taken as known."
        )
    return text


def incomplete(provenance: Mapping[str, Any], labels: Mapping[str, str], classes: int) -> str:
    """Refuse to call an outcome complete: how much is missing, and is it like the rest; or ""."""
    missing, n = provenance.get("n_missing") or 0, provenance.get("n_areas") or 0
    if not missing:
        return ""
    text = (
        f"This outcome is not complete: {missing:,} of {plural(missing + n, 'area')} of the study "
        f"({percent(missing / (missing + n))}) {'has' if missing == 1 else 'have'} no value. "
        f"Its figures are of the other {n:,} only."
    )
    whole, part = provenance.get("nation_areas"), provenance.get("file_areas")
    if whole and part and part < whole:
        text += f" Its file holds {part:,} of the {whole:,} areas that the index ranks."
    bias = provenance.get("missing_bias")
    if bias:
        by = labels.get(bias["by"], bias["by"])
        return (
            f"{text} They are no random sample. By {by}, the mean {unit(classes)[0]} of the areas "
            f"without a value is {number(bias['without'], 1)}, of the others "
            f"{number(bias['having'], 1)}."
        )
    return f"{text} Whether the others are a fair sample is not known."


def carried(provenance: Mapping[str, Any]) -> str:
    """Describe how values came from one year's areas to another's; "" if they did not have to."""
    lookup = provenance.get("lookup")
    if not lookup:
        return ""
    without = "" if lookup["weights"].startswith("the lookup") else ", without a value"
    kinds = {
        "unchanged": "unchanged",
        "split": "parts of a split area, with the whole’s value",
        "merged": f"merged, with the mean ({lookup['weights']})",
        "irregular": f"redrawn irregularly{without}",
        "absent": "not in the lookup, without a value",
    }
    counts = "; ".join(f"{lookup[kind]:,} {text}" for kind, text in kinds.items() if lookup[kind])
    return (
        f"values of {lookup['from']} areas were carried to {lookup['to']} areas by "
        f"{lookup['file']} (sha256 {lookup['sha256'][:12]}). Of the study’s areas: {counts}."
    )
