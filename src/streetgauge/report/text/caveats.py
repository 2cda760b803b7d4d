"""What to keep in mind of this study, as far as its numbers call for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.report.text import limits, seen
from streetgauge.report.text.numbers import listed, number, percent, plural, unit
from streetgauge.report.text.schemes import held_out, no_intervals

if TYPE_CHECKING:
    from streetgauge.report.data import ReportData

__all__ = ["caveats"]

FEW_AREAS = 300


def caveats(data: ReportData, labels: Mapping[str, str]) -> list[str]:
    """Say what to keep in mind, as far as the numbers call for it."""
    metrics = data.metrics
    accounts = metrics["outcomes"]
    result: list[str] = []
    if accounts:
        result += held_out(metrics["scheme"])
    classes = int(metrics.get("classes", 10))
    result += _other_areas(data.provenance, labels)
    result += _few_areas(accounts, classes)
    result += _incomplete_outcomes(data.provenance, labels)
    result += _missing_areas(accounts, labels, classes)
    result += _too_few_locations(accounts)
    result += _no_neighbours(accounts, classes)
    result += no_intervals(accounts, metrics["scheme"])
    result += _shifted_folds(data.table, accounts, labels)
    if accounts:
        result += limits.limits(metrics, labels)
    if data.simulated:
        result += seen.vintages({}, data.provenance, labels)
    else:
        result += seen.seen(data.table, data.imagery, data.credits, data.provenance, labels)
    if not data.skips.empty:
        count = plural(len(data.skips), "record")
        result.append(f"{count} of what was left out, and why, are counted under “Left out” below.")
    return result


def _other_areas(
    provenance: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> Iterable[str]:
    by_years: dict[tuple[str, str], list[str]] = {}
    for name, about in provenance.items():
        if lookup := about.get("lookup"):
            by_years.setdefault((lookup["from"], lookup["to"]), []).append(labels.get(name, name))
    for (source, to), names in by_years.items():
        yield (
            f"Values of {source} areas were carried to {to} areas for {listed(names)}; how many "
            "areas that touches is said under “Official statistics” below."
        )


def _few_areas(accounts: Mapping[str, Any], classes: int) -> Iterable[str]:
    fewest = min((account["n_areas"] for account in accounts.values()), default=0)
    if 0 < fewest < FEW_AREAS:
        yield (
            f"There are few areas to measure with: {fewest}, about {number(fewest / classes, 0)} "
            f"to a {unit(classes)[0]}. Chance moves such figures much; the intervals say how much."
        )


def _incomplete_outcomes(
    provenance: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> Iterable[str]:
    named = [
        f"{labels[n]} ({p['n_missing']:,} of {p['n_missing'] + p['n_areas']:,} areas missing, "
        f"{percent(p['n_missing'] / (p['n_missing'] + p['n_areas']))}"
        f"{', not at random' if p.get('missing_bias') else ''})"
        for n, p in provenance.items()
        if n in labels and p.get("n_missing") and p.get("n_areas") is not None
    ]
    if named:
        are, their = ("are", "their") if len(named) > 1 else ("is", "its")
        yield (
            f"{listed(named)} {are} not complete, and {their} figures must not be quoted as if "
            "they were of the whole study."
        )


def _missing_areas(
    accounts: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    one, many = unit(classes)
    unseen = max((_unseen(account) for account in accounts.values()), default=0)
    learned = max((a.get("n_areas_training_only") or 0 for a in accounts.values()), default=0)
    if learned:
        yield (
            f"{plural(learned, 'area')} of the study {'was' if learned == 1 else 'were'} learned "
            f"from and never tested. {many.capitalize()} are cut among those that were, and the "
            "figures are theirs alone."
        )
    if unseen:
        have = "has" if unseen == 1 else "have"
        yield (
            f"{plural(unseen, 'area')} of the study {have} no prediction, for want of a usable "
            f"location. {many.capitalize()} are cut among the areas that have one; nothing here "
            "speaks for the rest."
        )
    gaps = {n: a.get("n_areas_without_actual") or 0 for n, a in accounts.items()}
    named = [f"{labels[n]} ({count:,})" for n, count in gaps.items() if count]
    if named:
        yield (
            f"Areas without an actual {one} are predicted but not measured: {listed(named)}. "
            "If such areas are not like the others, the figures do not say how good they are."
        )


def _unseen(account: Mapping[str, Any]) -> int:
    """How many areas were neither tested nor learned from."""
    without = account.get("n_areas_without_prediction") or 0
    return int(without - (account.get("n_areas_training_only") or 0))


def _no_neighbours(accounts: Mapping[str, Any], classes: int) -> Iterable[str]:
    known = {name for account in accounts.values() for name in account["baselines"]}
    if known and "nearest-areas" not in known:
        yield (
            "Without coordinates there is no nearest-areas baseline, so the "
            f"images are compared with the middle {unit(classes)[0]} only, which is easily "
            "beaten."
        )


def _shifted_folds(
    table: pd.DataFrame, accounts: Mapping[str, Any], labels: Mapping[str, str]
) -> Iterable[str]:
    """Say where the folds' networks, pooled as if on one scale, visibly are not."""
    shifted = []
    for name, rows in table.groupby("outcome"):
        rows = rows[rows["fold"] > 0].dropna(subset="actual_decile")
        # What a fold's areas score beyond what their actual deciles lead one to expect.
        if len(rows) < 20 or rows["fold"].nunique() < 2:
            continue
        score, actual = rows["score"].to_numpy(float), rows["actual_decile"].to_numpy(float)
        if not actual.std() or not score.std():
            continue
        rest = pd.Series(score - np.polyval(np.polyfit(actual, score, 1), actual), index=rows.index)
        by_fold = rest.groupby(rows["fold"]).agg(["mean", "size"])
        far = by_fold["mean"].abs() * np.sqrt(by_fold["size"]) > 4 * rest.std()
        if (far & (by_fold["mean"].abs() > 0.25 * score.std())).any():
            rho = accounts.get(str(name), {}).get("spearman_within_folds")
            within = "" if rho is None else f" (rho within folds {number(rho)})"
            shifted.append(labels.get(str(name), str(name)) + within)
    if shifted:
        yield (
            f"For {listed(shifted)} the networks of different folds do not agree on the level of "
            "their scores; the areas of one fold then land too high or too low together."
        )


def _too_few_locations(accounts: Mapping[str, Any]) -> Iterable[str]:
    few = max((a.get("n_areas_too_few_locations") or 0 for a in accounts.values()), default=0)
    if few:
        yield (
            f"{plural(few, 'area')} {'has' if few == 1 else 'have'} fewer locations than "
            "evaluation.min_locations asks for: predicted, marked, and not measured."
        )
