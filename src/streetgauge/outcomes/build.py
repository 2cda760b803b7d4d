"""All outcomes of a study, joined to its areas by their codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables import forget_sheets
from streetgauge.outcomes.census import read_census
from streetgauge.outcomes.deciles import cut_outcome, read_weights
from streetgauge.outcomes.deprivation import read_deprivation
from streetgauge.outcomes.income import read_income
from streetgauge.outcomes.lookup import onto_areas
from streetgauge.outcomes.outcome import Outcome
from streetgauge.outcomes.table import read_table
from streetgauge.settings import (
    CensusOutcome,
    DecileSettings,
    DeprivationOutcome,
    IncomeOutcome,
    OutcomeSettings,
)
from streetgauge.skips import SKIP_COLUMNS

FEWEST = 5  # areas on either side, to compare them
CLEARLY = 4.0  # standard errors


def describe_missing(frame: pd.DataFrame, outcomes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compare the areas that lack an outcome with those that have it, by the other outcomes.

    Parameters
    ----------
    frame : DataFrame
        ``area`` and ``<outcome>_decile`` for every outcome.
    outcomes : sequence of str
        Their names.

    Returns
    -------
    dict of outcome to dict
        For outcomes whose missing areas clearly differ from the others (a difference of 4 standard
        errors, the greatest over all other outcomes): ``by`` (the outcome that shows it),
        ``without`` and ``having`` (mean decile by it of the areas without and with the outcome).
        Where nothing shows a difference there may be one all the same.
    """
    deciles = pd.DataFrame({n: frame[f"{n}_decile"].astype("Float64") for n in outcomes})
    found = {}
    for name in outcomes:
        gone = deciles[name].isna()
        if gone.sum() < FEWEST:
            continue
        best = CLEARLY
        for other in outcomes:
            without = deciles.loc[gone, other].dropna().to_numpy(float)
            having = deciles.loc[~gone, other].dropna().to_numpy(float)
            if other == name or min(without.size, having.size) < FEWEST:
                continue
            error = np.sqrt(without.var(ddof=1) / without.size + having.var(ddof=1) / having.size)
            difference = abs(without.mean() - having.mean()) / error if error > 0 else 0.0
            if difference > best:
                best = float(difference)
                found[name] = {
                    "by": other,
                    "without": float(without.mean()),
                    "having": float(having.mean()),
                }
    return found


def read_outcome(
    name: str,
    settings: OutcomeSettings,
    *,
    classes: int = 10,
    areas: Sequence[str] | pd.Index = (),
) -> Outcome:
    """Read one outcome with the reader that its ``source`` names.

    Parameters
    ----------
    name : str
        The outcome's key in the study.
    settings : OutcomeSettings
        One entry of ``[outcomes]``.
    classes : int, default 10
        The highest published class that a table of the study's own may have.
    areas : sequence of str
        Codes of the study's areas: which kind of areas is read from files with several.

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
        return read_census(name, settings, areas)
    if isinstance(settings, DeprivationOutcome):
        return read_deprivation(name, settings)
    if isinstance(settings, IncomeOutcome):
        return read_income(name, settings, areas)
    return read_table(name, settings, classes=classes)


def build_outcomes(
    settings: Mapping[str, OutcomeSettings],
    areas: pd.Index,
    classes: DecileSettings | None = None,
    *,
    stated: str | None = None,
    lookup: Path | None = None,
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]], pd.DataFrame]:
    """Read all outcomes and cut them into deciles, within the study's areas or a wider set.

    Parameters
    ----------
    settings : mapping of str to OutcomeSettings
        ``[outcomes]`` of the study.
    areas : Index of str
        Codes of the study's areas, in any order.
    classes : DecileSettings, optional
        ``[deciles]`` of the study: how many classes, and among which areas they are cut; ten within
        the study's areas without it.
    stated : str, optional
        The name of the column that the areas' codes come from, which may hold their year.
    lookup : Path, optional
        A lookup between the areas of two years, for outcomes of another year's areas.

    Returns
    -------
    frame : DataFrame
        ``area``, then for every outcome ``<outcome>_value`` (float) and ``<outcome>_decile``
        (Int64, 1 = worst off, NA if missing; so called however many classes there are); a row for
        every area, sorted by area.
    metadata : dict
        For every outcome: label, direction, deciles, classes, within, weighted, source, file,
        sha256, files, publisher, licence, columns, vintage (the year it is of), areas (what the
        file's areas are), cells (the publisher's cells or columns), lookup (how it came from
        other areas: file, sha256, from, to, how many areas of the study are unchanged, split,
        merged, irregular, absent, and weights), n_areas (with a decile), n_missing (of the study,
        without one), outside (rows of the file that are no areas of the study),
        missing_bias (how areas without a decile differ, where they clearly do), notes (what was
        passed over in the file or is odd in it, if anything).
    skips : DataFrame
        location_id, view, area, stage ("outcomes"), reason: every missing decile.

    Raises
    ------
    InputError
        If a file cannot be used, has none of the study's areas, or an outcome is constant in them.
    """
    cuts = classes or DecileSettings()
    codes = pd.Index(areas, dtype="str", name="area").sort_values()
    columns: dict[str, pd.Series] = {}
    metadata: dict[str, dict[str, Any]] = {}
    skips: list[dict[str, str | None]] = []
    try:
        people = None if cuts.weights is None else read_weights(cuts.weights)
        for name, chosen in settings.items():
            outcome = read_outcome(name, chosen, classes=cuts.classes, areas=codes)
            if chosen.vintage is not None:
                dated = {**outcome.provenance, "vintage": chosen.vintage}
                outcome = replace(outcome, provenance=dated)
            outcome = onto_areas(outcome, codes, stated, chosen.lookup or lookup)
            _refuse_strangers(outcome, codes)
            values = outcome.values.reindex(codes).rename(outcome.name)
            cut = cut_outcome(outcome, chosen.deciles, cuts, codes, people)
            columns[f"{name}_value"], columns[f"{name}_decile"] = values, cut
            skips += [_skip(area, outcome, values, chosen.deciles) for area in codes[cut.isna()]]
            metadata[name] = _describe(outcome, chosen, cuts, codes, int(cut.isna().sum()))
            if outcome.notes:
                metadata[name]["notes"] = list(outcome.notes)
    finally:
        forget_sheets()
    frame = pd.DataFrame(columns, index=codes).reset_index()
    for name, unlike in describe_missing(frame, list(settings)).items():
        metadata[name]["missing_bias"] = unlike
    return frame, metadata, pd.DataFrame(skips, columns=pd.Index(SKIP_COLUMNS))


def _refuse_strangers(outcome: Outcome, codes: pd.Index) -> None:
    if (codes.get_indexer(outcome.values.index) < 0).all():
        theirs = f"{outcome.values.index[0]!r}" if len(outcome.values) else "no area at all"
        raise InputError(
            f"outcome {outcome.name!r}",
            f"its file {outcome.provenance.get('file')} has none of the study's areas: "
            f"it has {theirs}, the study {codes[0]!r}",
            "use a file of the same kind and year of areas",
        )


def _skip(area: str, outcome: Outcome, values: pd.Series, rule: str) -> dict[str, str | None]:
    if area not in outcome.values.index:
        reason = f"{outcome.provenance.get('file')} has no row for it"
    elif pd.isna(values[area]):
        reason = outcome.missing.get(area, "no value")
    elif rule == "published":
        reason = "no published decile"
    else:
        reason = "[deciles] excludes it: no people are known for it, or it is not in 'within'"
    return {
        "location_id": None,
        "view": None,
        "area": area,
        "stage": "outcomes",
        "reason": f"{outcome.name}: {reason}",
    }


def _describe(
    outcome: Outcome,
    chosen: OutcomeSettings,
    cuts: DecileSettings,
    codes: pd.Index,
    missing: int,
) -> dict[str, Any]:
    stated = {"publisher": chosen.publisher, "licence": chosen.licence}
    known = {k: v for k, v in outcome.provenance.items() if k != "rows_without_code"}
    # A table without codes for its cells has its column headers: those that classes are made of.
    unused = {"area"} if chosen.deciles == "published" else {"area", "decile"}
    columns = {k: v for k, v in known.get("columns", {}).items() if k not in unused}
    known["cells"] = known.get("cells") or list(dict.fromkeys(columns.values()))
    strangers = int((codes.get_indexer(outcome.values.index) < 0).sum())
    return {
        "label": outcome.label,
        "direction": outcome.direction,
        "deciles": chosen.deciles,
        "classes": cuts.classes,
        "within": cuts.within if isinstance(cuts.within, str) else list(cuts.within),
        "weighted": cuts.weights is not None,
        **known,
        **{key: text for key, text in stated.items() if text is not None},
        "n_areas": len(codes) - missing,
        "n_missing": missing,
        "outside": strangers + int(outcome.provenance.get("rows_without_code", 0)),
    }
