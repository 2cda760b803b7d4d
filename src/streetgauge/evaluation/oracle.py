"""Results as a share of the possible, where the best possible scores are known: in simulations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError, closest
from streetgauge.evaluation.aggregate import aggregate, cut
from streetgauge.evaluation.metrics import CORRELATIONS, METRICS, cells, estimate, measure, to_json
from streetgauge.evaluation.resample import Sums
from streetgauge.io.tables import refuse_repeated, require_columns
from streetgauge.settings import (
    EvaluationSettings,
)

__all__ = ["read_oracle", "best_possible", "check_oracle", "share_of_attainable"]


def best_possible(
    outcome: str,
    oracle: pd.DataFrame,
    predictions: pd.DataFrame,
    rule: str,
    classes: int,
    sizes: Sequence[int] | None,
    weights: pd.Series | None = None,
    torn: Collection[str] = (),
) -> pd.Series:
    """Give the deciles by area if the best possible scores were predicted, by the same rule.

    Parameters
    ----------
    outcome : str
        Which.
    oracle : DataFrame
        ``location_id`` and a column called like the outcome.
    predictions : DataFrame
        The locations that the areas were made from.
    rule, classes, sizes, weights, torn
        As for `aggregate`; a rule of the locations' deciles takes those of the best scores.
    """
    rows = predictions[predictions["outcome"] == outcome]
    best = oracle.set_index("location_id")[outcome]
    rows = rows.assign(score=rows["location_id"].map(best)).dropna(subset="score")
    if rule in ("mean", "median", "majority"):
        rows["decile"] = cut(rows["score"].to_numpy(float), classes, sizes)
    counts = None if sizes is None else {outcome: sizes}
    return aggregate(rows, rule, classes, counts, torn, weights).set_index("area")["decile"]


def share_of_attainable(
    frame: pd.DataFrame,
    best: pd.Series,
    account: Mapping[str, Any],
    settings: EvaluationSettings,
    classes: int,
    rng: np.random.Generator,
    unit: pd.Series,
) -> dict[str, Any]:
    """Measure the best possible deciles, and the predictions as a share of them.

    Parameters
    ----------
    frame : DataFrame by area
        The areas that are measured.
    best : Series by area
        From `best_possible`.
    account : mapping
        The outcome's, for its constant baseline.
    settings, classes, rng, unit
        As for `Account`.

    Returns
    -------
    dict
        ``n_areas``, every metric with its interval, and ``share_of_attainable``.
    """
    rows = frame.assign(best=best.reindex(frame.index)).dropna(subset="best")
    weight = rows["weight"].to_numpy(float) if "weight" in rows else None
    sums = Sums(np.unique(unit[rows.index], return_inverse=True)[1], weight)
    actual = rows["actual_decile"].to_numpy(np.int64)
    for name in ("best", "decile"):
        sums.add(name, cells(actual, rows[name].to_numpy(np.int64), classes), classes**2)
    shape = (classes, classes)
    tables = {name: table.reshape(shape) for name, table in sums.totals().items()}
    values, pictures = measure(tables["best"]), measure(tables["decile"])
    drawn = measure(sums.drawn(settings.draws, rng)["best"].reshape(-1, *shape))
    result: dict[str, Any] = {
        m: estimate(float(values[m]), drawn[m], settings.interval_level) for m in METRICS
    }
    shares = {m: _share(pictures[m], values[m]) for m in (*CORRELATIONS, "kappa")}
    plain = account["baselines"].get("constant", {}).get("mae")
    if plain is not None:
        shares["mae"] = _share(plain - pictures["mae"], plain - values["mae"])
    return {"n_areas": len(rows), **result, "share_of_attainable": shares}


def _share(reached: npt.ArrayLike, possible: npt.ArrayLike) -> float | None:
    above, below = float(np.asarray(reached)), float(np.asarray(possible))
    return to_json(above / below) if below > 0 else None


def check_oracle(
    oracle: pd.DataFrame, predictions: pd.DataFrame | None, areas: pd.DataFrame
) -> None:
    """Refuse an oracle that lacks ``location_id``, has one more than once, or knows no outcome.

    Raises
    ------
    InputError
        Naming what is wrong.
    """
    if predictions is None:
        raise ValueError("an oracle of locations needs their predictions")
    if "location_id" not in oracle.columns:
        raise InputError(
            "evaluation.oracle",
            "there is no column 'location_id'",
            closest("location_id", oracle.columns),
        )
    refuse_repeated(pd.Index(oracle["location_id"]), "evaluation.oracle", "location")
    names = sorted(set(areas["outcome"]))
    if not set(names) & set(oracle.columns):
        raise InputError(
            "evaluation.oracle",
            "it has a column for no outcome of the study",
            f"name columns like outcomes: {', '.join(names)}",
        )


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV whose ids are text as they are: "007" and "NA", too."""
    header = pd.read_csv(path, nrows=0).columns
    gaps = {name: ["", "NA", "NaN", "nan"] for name in header if name != "location_id"}
    return pd.read_csv(path, dtype={"location_id": "str"}, keep_default_na=False, na_values=gaps)


def read_oracle(path: Path) -> pd.DataFrame:
    """Read the best attainable scores from Parquet or CSV: location_id and the outcomes."""
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, f"this is no table: {reason}", "give Parquet or CSV") from None
    require_columns(frame, {"location_id": "location_id"}, path)
    return frame.astype({"location_id": "str"})
