"""What was run, in sentences: data, licences, learning, seed and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from streetgauge.report.text.findings import other_kind
from streetgauge.report.text.numbers import listed, plural

if TYPE_CHECKING:
    from streetgauge.report.data import ReportData

__all__ = ["names_of", "what_was_run"]


def names_of(areas: pd.DataFrame) -> dict[str, str]:
    """Give the areas' names by their codes, as far as they are known."""
    if "name" not in areas:
        return {}
    return {str(code): str(name) for code, name in areas["name"].dropna().items()}


def what_was_run(data: ReportData, labels: Mapping[str, str]) -> list[str]:
    """Say what was done with what, each part as far as it is known."""
    parts = (_data(data), _statistics(data, labels), _pictures(data), _learning(data), _again(data))
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
    said = []
    for (publisher, licence), names in by.items():
        whose = ", ".join(part for part in (publisher, licence) if part)
        said.append(f"{listed(names)} ({whose or 'publisher and licence not stated'})")
    if said:
        yield f"Statistics: {'; '.join(said)}."


def _pictures(data: ReportData) -> Iterator[str]:
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
        yield f"Looked at by {weights['backbone']}{licence}{sha}, which was not trained further."


def _learning(data: ReportData) -> Iterator[str]:
    own: Mapping[str, Any] = data.settings.get("train") or {}
    scheme = data.metrics["scheme"]["description"]
    kind = other_kind(data.metrics)
    other = data.metrics["other_folds"]["scheme"]["description"] if kind else ""
    also = f", and again with {other}" if other else ""
    network = f"Network “{own['network']}”" if own.get("network") else "Networks"
    members = own.get("ensemble_size") or 1
    many = f" of {members} members" if members > 1 else ""
    head = f" with the {own['head']} head" if own.get("head") else ""
    yield f"{network}{many}{head}, tested with {scheme}{also}."


def _again(data: ReportData) -> Iterator[str]:
    seed = data.run.get("seed")
    versions = data.run.get("versions") or {}
    package = data.run.get("streetgauge") or versions.get("streetgauge")
    if seed is None or package is None:
        return
    torch = f", torch {versions['torch']}" if versions.get("torch") else ""
    python = f", Python {data.run['python']}" if data.run.get("python") else ""
    yield (
        f"All chance follows from seed {seed}: the same inputs, settings and versions (streetgauge "
        f"{package}{python}{torch}) give the same numbers."
    )
