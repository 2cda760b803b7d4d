"""The best estimate of a city that a model of another city predicts, from deciles known there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation import location_means, positions_of_areas
from streetgauge.evaluation.baselines import Placements
from streetgauge.evaluation.best import AreaKnowledge, best_estimates
from streetgauge.io.tables import (
    as_table,
    forget_sheets,
    read_sheets,
    refuse_repeated,
    require_columns,
)

FEWEST = 10  # areas whose decile is known, below which an interval of 90% is everything
FOLDS = 5


def read_labels(path: Path, outcomes: Sequence[str], classes: int) -> pd.DataFrame:
    """Read the deciles that are known: by area, a column for each outcome, missing where unknown.

    Parameters
    ----------
    path : Path
        CSV or Parquet with ``area`` and ``<outcome>_decile``, as ``outcomes.parquet`` has them.
    outcomes : sequence of str
        Of the bundle.
    classes : int
        K.

    Raises
    ------
    InputError
        If it has no such column, an area is there twice, or a decile is not 1 to K.
    """
    frame = as_table(read_sheets(path)[0])
    forget_sheets()
    require_columns(frame, {"area": "area"}, path)
    names = {f"{outcome}_decile": outcome for outcome in outcomes if f"{outcome}_decile" in frame}
    if not names:
        wanted = ", ".join(f"{outcome}_decile" for outcome in outcomes)
        raise InputError(path, "it has a column for no outcome of the bundle", f"name it {wanted}")
    areas = frame["area"].str.strip()
    refuse_repeated(areas, path, "area")
    found = pd.DataFrame(index=pd.Index(areas, name="area"))
    for column, outcome in names.items():
        text = frame[column].str.strip()
        number = pd.to_numeric(text, "coerce")
        wrong = (text != "") & ~number.isin(range(1, classes + 1))
        if wrong.any():
            raise InputError(
                path,
                f"{column} is {text[wrong].iloc[0]!r} in area {areas[wrong].iloc[0]!r}",
                f"give a whole number from 1 to {classes}, or nothing",
            )
        found[outcome] = number.to_numpy(np.float64)
    return found.sort_index()


def placements_of(areas: pd.DataFrame, locations: pd.DataFrame) -> Placements | None:
    """Give where areas lie, by their boundaries and their locations' coordinates, if known.

    Parameters
    ----------
    areas : DataFrame by area
        With ``geometry`` or without.
    locations : DataFrame
        ``area`` and, if known, ``lat`` and ``lon``.
    """
    placed = {}
    if "geometry" in areas:
        placed["centroids"] = positions_of_areas(areas, locations)
    if "lat" in locations:
        means = location_means(areas, locations)
        placed["locations"] = positions_of_areas(areas, locations) if means is None else means
    known = {name: each for name, each in placed.items() if each[["x", "y"]].notna().any(axis=None)}
    return Placements(known) if known else None


def add_best(
    areas: pd.DataFrame,
    labels: pd.DataFrame,
    known: AreaKnowledge,
    *,
    classes: int = 10,
    interval_level: float = 0.9,
) -> tuple[pd.DataFrame, list[str]]:
    """Add the best estimate of every area from images, places and the deciles that are known.

    It is made as a study's own (`best_estimates`): areas with a known decile are estimated from
    four fifths of the others with one, all other areas from all of them. Classes are those of the
    labels, and their sizes are to each other as those of the labels.

    Parameters
    ----------
    areas : DataFrame
        ``area, outcome, score, decile``.
    labels : DataFrame by area
        From `read_labels`.
    known : AreaKnowledge
        Of the same areas.
    classes : int, default 10
        K.
    interval_level : float, default 0.9
        As for `intervals`.

    Returns
    -------
    DataFrame
        ``areas`` with ``best_score`` to ``best_from``, as of a study; without them if no outcome
        has `FEWEST` areas whose decile is known.
    list of str
        How good it is in these areas, and which outcomes have none.
    """
    labels = labels[labels.index.isin(known.areas)]
    count = labels.notna().sum()
    enough = [outcome for outcome in labels.columns if count[outcome] >= FEWEST]
    lines = [
        f"{outcome}: no best estimate, since the decile of {count[outcome]} areas is known, and "
        f"{FEWEST} are needed"
        for outcome in labels.columns
        if outcome not in enough
    ]
    if not enough:
        return areas, lines
    labels = labels[enough].dropna(how="all").sort_index()
    fold = pd.Series(1 + np.arange(len(labels)) % FOLDS, labels.index)
    fold[:] = np.random.default_rng(0).permutation(fold.to_numpy())
    long = labels.melt(var_name="outcome", value_name="decile", ignore_index=False)
    long = long.dropna().reset_index()
    training = [
        long[long["area"].map(fold) != part].assign(fold=part) for part in range(1, FOLDS + 2)
    ]
    actual = long.set_index(["area", "outcome"])["decile"]
    rows = areas[areas["outcome"].isin(enough)]
    pairs = pd.MultiIndex.from_frame(rows[["area", "outcome"]])
    tested = rows.assign(
        fold=rows["area"].map(fold).fillna(FOLDS + 1).astype("int64"),
        actual_decile=pd.array(actual.reindex(pairs).to_numpy(), dtype="Int64"),
    )
    counts = {
        # One more of each: a class that no label has is rare, and not impossible.
        outcome: (1 + np.bincount(own.dropna().astype(int), minlength=classes + 1)[1:]).tolist()
        for outcome, own in labels.items()
    }
    found = best_estimates(
        tested,
        known,
        pd.concat(training, ignore_index=True),
        classes=classes,
        counts={str(outcome): sizes for outcome, sizes in counts.items()},
        interval_level=interval_level,
    )
    result = areas.merge(found, "left", ["outcome", "area"], validate="one_to_one")
    return result, [*lines, *_figures(result, actual)]


def _figures(areas: pd.DataFrame, actual: pd.Series) -> list[str]:
    """Report the errors in areas whose decile is known, which did not go into their estimate."""
    lines = []
    pairs = pd.MultiIndex.from_frame(areas[["area", "outcome"]])
    known = areas.assign(actual=actual.reindex(pairs).to_numpy()).dropna(subset="actual")
    for outcome, rows in known.groupby("outcome", sort=False):
        best, images = (
            (rows[column].astype("float64") - rows["actual"]).abs().mean()
            for column in ("best_decile", "decile")
        )
        lines.append(
            f"{outcome}: in {len(rows):,} areas whose decile is known, each estimated without its "
            f"own, the best estimate ({rows['best_from'].mode().iloc[0]}) is {best:.2f} off, and "
            f"images alone {images:.2f}"
        )
    return lines
