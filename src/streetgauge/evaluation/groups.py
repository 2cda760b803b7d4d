"""Kinds of areas whose errors are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.classes import equal_count
from streetgauge.errors import InputError, closest
from streetgauge.evaluation.metrics import estimate, measure, to_json
from streetgauge.evaluation.resample import Sums

__all__ = ["Groups", "kinds_of_areas"]

THIRDS = ("deprived", "middle", "affluent")


def kinds_of_areas(
    frame: pd.DataFrame, about: pd.DataFrame | None = None, columns: Sequence[str] = ()
) -> dict[str, pd.Series]:
    """Sort the areas that are measured into kinds, in several ways.

    Parameters
    ----------
    frame : DataFrame by area
        Of one outcome: ``actual_decile``, ``n_locations`` and, if known, ``n_views``.
    about : DataFrame by area, optional
        Further columns; ``district`` is always used.
    columns : sequence of str
        Which others are.

    Returns
    -------
    dict of name to Series of str by area
        ``deprivation``: thirds by the actual decile (of ten: 1 to 3 ``deprived``, 8 to 10
        ``affluent``). ``images``: ``few`` and ``many``, the two halves by the number of images,
        or of locations where that is not known. ``district``, and ``columns``. Missing where an
        area has no such; ways in which all are alike are left out.

    Raises
    ------
    InputError
        If the areas have no such column.
    """
    if frame.empty:
        return {}
    thirds = equal_count(frame["actual_decile"].to_numpy(float), 3)
    kinds = {"deprivation": pd.Series(np.array(THIRDS)[thirds - 1], index=frame.index)}
    counted = "n_locations"
    if "n_views" in frame and frame["n_views"].notna().all():
        counted = "n_views"
    halves = equal_count(frame[counted].to_numpy(float), 2)
    kinds["images"] = pd.Series(np.array(["few", "many"])[halves - 1], index=frame.index)
    known = [] if about is None else list(about.columns)
    for column in columns:
        if column not in known:
            raise InputError(
                "evaluation.groups", f"the areas have no column {column!r}", closest(column, known)
            )
    if about is not None:
        named = ["district"] if "district" in known else []
        for column in dict.fromkeys([*named, *columns]):
            kinds[column] = about[column].reindex(frame.index)
    return {name: kind for name, kind in kinds.items() if len(kind.dropna().unique()) > 1}


class Groups:
    """The figures of every kind of areas, from the same draws as all others.

    Parameters
    ----------
    kinds : dict of name to Series by area
        From `kinds_of_areas`.
    actual, predicted : ndarray of int64, shape (n,)
        Deciles of the areas.
    classes : int
        K.
    """

    def __init__(
        self,
        kinds: dict[str, pd.Series],
        actual: npt.NDArray[np.int64],
        predicted: npt.NDArray[np.int64],
        classes: int,
    ) -> None:
        self.actual, self.predicted, self.classes = actual, predicted, classes
        self.labels: dict[str, list[str]] = {}
        self.codes: dict[str, npt.NDArray[np.int64]] = {}
        for name, kind in kinds.items():
            code, labels = pd.factorize(kind.astype(object), sort=True)
            self.codes[name], self.labels[name] = code.astype(np.int64), [str(x) for x in labels]

    def ask(self, sums: Sums) -> None:
        """Ask for what the figures need."""
        error = self.predicted - self.actual
        for name, code in self.codes.items():
            size = len(self.labels[name])
            sums.add(f"{name} weight", code, size)
            sums.add(f"{name} mae", code, size, np.abs(error))
            sums.add(f"{name} bias", code, size, error)

    def account(
        self,
        totals: dict[str, npt.NDArray[np.float64]],
        drawn: dict[str, npt.NDArray[np.float64]],
        weight: npt.NDArray[np.float64],
        interval_level: float,
    ) -> dict[str, Any]:
        """Give the figures by kind: ``n_areas``, ``mae``, ``bias``, ``within_1``, ``spearman``."""
        result: dict[str, Any] = {}
        for name, labels in self.labels.items():
            tables = self._tables(self.codes[name], len(labels), weight)
            values = measure(tables, ("within_1", "spearman"))
            below, drawn_below = totals[f"{name} weight"], drawn[f"{name} weight"]
            # A draw without any such area says nothing of them.
            drawn_below = np.where(drawn_below > 0, drawn_below, np.nan)
            result[name] = {}
            for i, label in enumerate(labels):
                about: dict[str, Any] = {"n_areas": int((self.codes[name] == i).sum())}
                for metric in ("mae", "bias"):
                    key = f"{name} {metric}"
                    value = totals[key][i] / below[i] if below[i] > 0 else np.nan
                    spread = drawn[key][:, i] / drawn_below[:, i]
                    about[metric] = estimate(float(value), spread, interval_level)
                about |= {metric: to_json(float(each[i])) for metric, each in values.items()}
                result[name][label] = about
        return result

    def _tables(
        self, code: npt.NDArray[np.int64], size: int, weight: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        cell = (code * self.classes + self.actual - 1) * self.classes + self.predicted - 1
        used = code >= 0
        flat = np.bincount(cell[used], weight[used], size * self.classes**2).astype(float)
        return flat.reshape(size, self.classes, self.classes)
