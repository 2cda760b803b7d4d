"""How far to trust the areas' deciles: disagreement, unlike areas, clusters of error."""

from __future__ import annotations

from typing import Any

import pandas as pd

from streetgauge.study.paths import FoldOutputs

__all__ = ["add_trust", "held_aside", "trust_lines"]


def held_aside(files: FoldOutputs) -> pd.DataFrame | None:
    """Read the mean scores of areas that were neither learned from nor tested, if there are any.

    Returns
    -------
    DataFrame or None
        ``outcome, area, score, actual_decile``.
    """
    if not files.calibration.is_file():
        return None
    rows = pd.read_parquet(files.calibration)
    grouped = rows.groupby(["outcome", "area"], observed=True, sort=True)
    return grouped.agg(
        score=("score", "mean"), actual_decile=("actual_decile", "first")
    ).reset_index()


def add_trust(
    areas: pd.DataFrame,
    predictions: pd.DataFrame,
    boundaries: pd.DataFrame,
    coordinates: pd.DataFrame,
    features: pd.DataFrame,
    learned: pd.DataFrame,
    *,
    classes: int,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Add what says where not to trust the deciles, and say what it is worth.

    Parameters
    ----------
    areas : DataFrame
        With intervals and probabilities.
    predictions : DataFrame
        Of the locations.
    boundaries : DataFrame or GeoDataFrame by area
    coordinates : DataFrame by area
        ``x``, ``y`` in metres.
    features : DataFrame by area
        Mean features.
    learned : DataFrame
        ``area, fold``: what each fold's network could learn from.
    classes, seed : int

    Returns
    -------
    DataFrame
        ``areas`` with ``disagreement``, ``dissimilarity_index``, ``outside_aoa``,
        ``residual_nearby`` and ``error_cluster``.
    dict
        By outcome ``probabilities``, ``disagreement``, ``area_of_applicability`` and ``structure``.
    """
    from streetgauge.evaluation.applicability import assess_applicability, evaluate_applicability
    from streetgauge.evaluation.disagreement import add_disagreement, disagreement_account
    from streetgauge.evaluation.probabilities import probability_account
    from streetgauge.evaluation.structure import Neighbours, structure

    frame = add_disagreement(areas, predictions, classes)
    tested = areas[["area", "fold"]].drop_duplicates("area")
    strange = assess_applicability(features, tested, learned[["area", "fold"]].drop_duplicates())
    found = strange.reindex(frame["area"].to_numpy())
    frame["dissimilarity_index"] = found["dissimilarity_index"].to_numpy(float)
    frame["outside_aoa"] = found["outside_aoa"].astype("boolean").array
    here = boundaries.index[boundaries.index.isin(areas["area"])]
    if "geometry" in boundaries:
        neighbours = Neighbours.of_boundaries(boundaries.loc[here])
    else:
        neighbours = Neighbours.of_points(coordinates.reindex(here))
    structures, columns = structure(frame, neighbours, seed)
    frame = frame.join(columns)
    accounts: dict[str, dict[str, Any]] = {}
    for name, rows in frame.groupby("outcome", sort=True):
        own = predictions[predictions["outcome"] == name]
        accounts[str(name)] = {
            "probabilities": probability_account(rows, own, classes),
            "disagreement": disagreement_account(rows),
            "area_of_applicability": evaluate_applicability(rows),
            "structure": structures[str(name)],
        }
    return frame, accounts


def trust_lines(areas: pd.DataFrame) -> tuple[str, ...]:
    """Say how many areas are unlike those learned from."""
    told = areas.drop_duplicates("area")["outside_aoa"].dropna().astype(bool)
    if not len(told) or not told.any():
        return ()
    return (
        f"{int(told.sum()):,} of {len(told):,} areas ({told.mean():.0%}) are outside the "
        "training distribution; at most about 5 % if all were alike",
    )
