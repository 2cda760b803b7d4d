"""How far to trust the areas' deciles: disagreement, dissimilar areas, clusters of error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from streetgauge.classes import equal_count
from streetgauge.io.files import read_table
from streetgauge.io.tables import is_among
from streetgauge.study.paths import FoldOutputs


def calibration_set(files: FoldOutputs) -> pd.DataFrame | None:
    """Read the mean scores of areas that were neither trained on nor tested, if there are any.

    Returns
    -------
    DataFrame or None
        ``outcome, area, score, actual_decile``.
    """
    if not files.calibration.is_file():
        return None
    rows = read_table(files.calibration)
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
    training_areas: pd.DataFrame,
    *,
    classes: int,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Add what shows where not to trust the deciles, and report what it is worth.

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
    training_areas : DataFrame
        ``area, fold``: what each fold's network could be trained on.
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
    from streetgauge.evaluation.probabilities import evaluate_probabilities
    from streetgauge.evaluation.structure import Neighbours, structure

    frame = add_disagreement(areas, predictions, classes)
    tested = areas[["area", "fold"]].drop_duplicates("area")
    dissimilarity = assess_applicability(
        features, tested, training_areas[["area", "fold"]].drop_duplicates()
    )
    found = dissimilarity.reindex(frame["area"].to_numpy())
    frame["dissimilarity_index"] = found["dissimilarity_index"].to_numpy(float)
    frame["outside_aoa"] = found["outside_aoa"].astype("boolean").array
    here = boundaries.index[is_among(boundaries.index, areas["area"])]
    if "geometry" in boundaries:
        neighbours = Neighbours.of_boundaries(boundaries.loc[here])
    else:
        neighbours = Neighbours.of_points(coordinates.reindex(here))
    structures, columns = structure(frame, neighbours, seed)
    frame = frame.join(columns)
    evaluations: dict[str, dict[str, Any]] = {}
    for name, rows in frame.groupby("outcome", sort=True):
        own = predictions[predictions["outcome"] == name]
        evaluations[str(name)] = {
            "probabilities": evaluate_probabilities(rows, own, classes),
            "disagreement": evaluate_disagreement(rows),
            "area_of_applicability": evaluate_applicability(rows),
            "structure": structures[str(name)],
        }
    return frame, evaluations


def trust_lines(areas: pd.DataFrame) -> tuple[str, ...]:
    """Report how many areas are outside the training distribution."""
    known = areas.drop_duplicates("area")["outside_aoa"].dropna().astype(bool)
    if not len(known) or not known.any():
        return ()
    return (
        f"{int(known.sum()):,} of {len(known):,} areas ({known.mean():.0%}) "
        f"{'is' if known.sum() == 1 else 'are'} outside the training distribution; "
        "up to about 5% is usual",
    )


def add_disagreement(
    areas: pd.DataFrame, predictions: pd.DataFrame, classes: int = 10
) -> pd.DataFrame:
    """Add ``disagreement``: how many deciles an area could move if one member were asked, not all.

    The members' standard deviation ``score_sd``, averaged over the area's locations, becomes
    deciles by where the scores of the other areas are: half the share of areas whose score is
    between ``score`` - sd and ``score`` + sd, times the number of classes.

    Parameters
    ----------
    areas : DataFrame
        ``area, outcome, score``.
    predictions : DataFrame
        Of the locations: ``area, outcome`` and, if the networks have several members, ``score_sd``.
    classes : int, default 10
        K.

    Returns
    -------
    DataFrame
        ``areas`` with the column at the end (float, 0 to K / 2), missing where no location has a
        standard deviation.
    """
    found = pd.Series(np.nan, index=areas.index)
    if "score_sd" in predictions.columns and len(areas):
        grouped = predictions.groupby(["outcome", "area"], observed=True)["score_sd"].mean()
        keys = pd.MultiIndex.from_frame(areas[["outcome", "area"]])
        sd = pd.Series(grouped.reindex(keys).to_numpy(float), index=areas.index)
        for _, rows in areas.groupby("outcome"):
            score, own = rows["score"].to_numpy(float), sd[rows.index].to_numpy(float)
            ordered = np.sort(score)
            above = np.interp(score + own, ordered, np.linspace(0, 1, len(ordered)))
            below = np.interp(score - own, ordered, np.linspace(0, 1, len(ordered)))
            found[rows.index] = classes * (above - below) / 2
    return areas.assign(disagreement=found)


def evaluate_disagreement(areas: pd.DataFrame) -> dict[str, Any] | None:
    """Report whether areas on which members disagree are more often wrong, for one outcome.

    Parameters
    ----------
    areas : DataFrame
        ``disagreement, decile, actual_decile``.

    Returns
    -------
    dict or None
        ``mean`` in deciles; ``error_spearman``, rank correlation with the absolute error, and its
        ``p`` (two-sided; None where it is not defined); ``mae_by_third``, the mean absolute error
        where members agree most, in between, and least. None where no area has a disagreement.
    """
    from scipy.stats import spearmanr

    known = areas[areas["disagreement"].notna() & areas["actual_decile"].notna()]
    if known.empty:
        return None
    value = known["disagreement"].to_numpy(float)
    error = (known["decile"] - known["actual_decile"]).abs().to_numpy(float)
    rho = p = None
    if len(known) > 2 and np.ptp(value) > 0 and np.ptp(error) > 0:
        rho, p = (float(x) for x in spearmanr(value, error))
    third = equal_count(value, 3)
    means = [float(error[third == k].mean()) if (third == k).any() else None for k in (1, 2, 3)]
    return {"mean": float(value.mean()), "error_spearman": rho, "p": p, "mae_by_third": means}
