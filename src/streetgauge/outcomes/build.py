"""All outcomes of a study, joined to its areas by their codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.outcomes.census import read_census
from streetgauge.outcomes.deciles import deciles
from streetgauge.outcomes.deprivation import read_deprivation
from streetgauge.outcomes.income import read_income
from streetgauge.outcomes.outcome import Outcome
from streetgauge.outcomes.table import read_table
from streetgauge.settings import (
    CensusOutcome,
    DeprivationOutcome,
    IncomeOutcome,
    OutcomeSettings,
)
from streetgauge.skips import SKIP_COLUMNS
from streetgauge.tables import forget_sheets

__all__ = ["build_outcomes", "read_outcome"]


def read_outcome(name: str, settings: OutcomeSettings) -> Outcome:
    """Read one outcome with the reader that its ``source`` names.

    Parameters
    ----------
    name : str
        The outcome's key in the study.
    settings : OutcomeSettings
        One entry of ``[outcomes]``.

    Returns
    -------
    Outcome
        All areas of the file, the study's or not.

    Raises
    ------
    InputError
        If the file cannot be used as it is; see the readers.
    """
    if isinstance(settings, CensusOutcome):
        return read_census(name, settings)
    if isinstance(settings, DeprivationOutcome):
        return read_deprivation(name, settings)
    if isinstance(settings, IncomeOutcome):
        return read_income(name, settings)
    return read_table(name, settings)


def build_outcomes(
    settings: Mapping[str, OutcomeSettings], areas: pd.Index
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]], pd.DataFrame]:
    """Read all outcomes and cut them into deciles within the study's areas.

    Parameters
    ----------
    settings : mapping of str to OutcomeSettings
        ``[outcomes]`` of the study.
    areas : Index of str
        Codes of the study's areas, in any order.

    Returns
    -------
    frame : DataFrame
        ``area``, then for every outcome ``<outcome>_value`` (float) and ``<outcome>_decile``
        (Int64, 1 = worst off, NA if missing); a row for every area, sorted by area.
    metadata : dict
        For every outcome: label, direction, deciles, source, file, sha256, files, publisher,
        licence, columns, n_areas (with a decile), n_missing (of the study, without one), outside
        (rows of the file that are no areas of the study).
    skips : DataFrame
        location_id, view, area, stage ("outcomes"), reason: every missing decile.

    Raises
    ------
    InputError
        If a file cannot be used, has none of the study's areas, or an outcome is constant in them.
    """
    codes = pd.Index(areas, dtype="str", name="area").sort_values()
    columns: dict[str, pd.Series] = {}
    metadata: dict[str, dict[str, Any]] = {}
    skips: list[dict[str, str | None]] = []
    try:
        for name, chosen in settings.items():
            outcome = read_outcome(name, chosen)
            values, cut = _within_study(outcome, chosen.deciles, codes)
            columns[f"{name}_value"], columns[f"{name}_decile"] = values, cut
            skips += [_skip(area, outcome, values) for area in codes[cut.isna()]]
            metadata[name] = _describe(outcome, chosen, codes, int(cut.isna().sum()))
    finally:
        forget_sheets()
    frame = pd.DataFrame(columns, index=codes).reset_index()
    return frame, metadata, pd.DataFrame(skips, columns=pd.Index(SKIP_COLUMNS))


def _within_study(outcome: Outcome, rule: str, codes: pd.Index) -> tuple[pd.Series, pd.Series]:
    """Values and deciles of the study's areas; an area of the study counts, no other does."""
    if not outcome.values.index.isin(codes).any():
        theirs = outcome.values.index[0] if len(outcome.values) else "nothing"
        raise InputError(
            f"outcome {outcome.name!r}",
            f"its file {outcome.provenance.get('file')} has none of the study's areas: "
            f"it has {theirs!r}, the study {codes[0]!r}",
            "use a file of the same kind and year of areas",
        )
    values = outcome.values.reindex(codes).rename(outcome.name)
    if rule == "study":
        return values, deciles(values, outcome.direction)
    assert outcome.published is not None  # the readers see to it
    published = outcome.published.reindex(codes).rename(outcome.name)
    if published.nunique() < 2:
        raise InputError(
            f"outcome {outcome.name!r}",
            f"it is constant: all areas of the study have the published decile {published.max()}",
            'use deciles = "study", or leave it out of study.toml',
        )
    return values, published


def _skip(area: str, outcome: Outcome, values: pd.Series) -> dict[str, str | None]:
    if area not in outcome.values.index:
        reason = f"{outcome.provenance.get('file')} has no row for it"
    elif pd.isna(values[area]):
        reason = outcome.missing.get(area, "no value")
    else:
        reason = "no published decile"
    return {
        "location_id": None,
        "view": None,
        "area": area,
        "stage": "outcomes",
        "reason": f"{outcome.name}: {reason}",
    }


def _describe(
    outcome: Outcome, chosen: OutcomeSettings, codes: pd.Index, missing: int
) -> dict[str, Any]:
    said = {"publisher": chosen.publisher, "licence": chosen.licence}
    kept = {k: v for k, v in outcome.provenance.items() if k != "rows_without_code"}
    strangers = int((~outcome.values.index.isin(codes)).sum())
    return {
        "label": outcome.label,
        "direction": outcome.direction,
        "deciles": chosen.deciles,
        **kept,
        **{key: text for key, text in said.items() if text is not None},
        "n_areas": len(codes) - missing,
        "n_missing": missing,
        "outside": strangers + int(outcome.provenance.get("rows_without_code", 0)),
    }
