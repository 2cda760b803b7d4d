"""Draw areas, or blocks of them, again with replacement, and add up what each adds to the sums.

Every figure of areas is a function of sums: counts of a confusion matrix, errors of a group,
squared errors. What each unit adds to each sum is one sparse matrix; how often each unit comes in
each draw is another matrix; all sums of all draws are their product. Ours because
`scipy.stats.bootstrap` draws single areas, not clusters, and computes figures again in each draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.settings import EvaluationSettings

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CHUNK = 2**22  # units x draws at a time: 32 MiB of counts
FEWEST = 5  # units that can stand for what others would have been


class Sums:
    """Sums over areas, as they are and in every draw of a bootstrap.

    Parameters
    ----------
    unit : ndarray of int64, shape (n,)
        Which unit each area belongs to, 0, 1, ...: areas of one unit are drawn together. The area's
        own number if areas are drawn one by one; districts or squares for the block bootstrap,
        which preserves what neighbours share (Kuensch 1989, Annals of Statistics 17, 1217-1241; for
        clusters Cameron, Gelbach and Miller 2008, Review of Economics and Statistics 90, 414-427).
    weight : ndarray of float, shape (n,), optional
        How much each area counts; 1 if not given.
    """

    def __init__(self, unit: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> None:
        self.unit = np.asarray(unit, dtype=np.int64)
        ones = np.ones(self.unit.size)
        self.weight = ones if weight is None else np.asarray(weight, dtype=float)
        self.units = int(self.unit.max(initial=-1)) + 1
        self._sizes: dict[str, int] = {}
        self._parts: list[tuple[Integers, Integers, Floats]] = []

    def add(
        self, name: str, cell: npt.ArrayLike, size: int, value: npt.ArrayLike | float = 1.0
    ) -> None:
        """Ask for sums: area i adds its weight times ``value[i]`` to sum ``cell[i]`` of ``size``.

        Parameters
        ----------
        name : str
            What the sums are called.
        cell : array_like of int, shape (n,) or one for all
            0 to ``size`` - 1; an area adds nothing where it is negative.
        size : int
            How many sums.
        value : array_like of float, shape (n,) or one for all
            Finite where ``cell`` is not negative.
        """
        cells = np.broadcast_to(np.asarray(cell, dtype=np.int64), self.unit.shape)
        values = np.broadcast_to(np.asarray(value, dtype=float), self.unit.shape)
        used = cells >= 0
        first = sum(self._sizes.values())
        self._parts.append(
            (first + cells[used], self.unit[used], (self.weight * values)[used].astype(float))
        )
        self._sizes[name] = size

    def totals(self) -> dict[str, Floats]:
        """Give the sums as they are: by name, [size]."""
        return self._named(self._matrix() @ np.ones(self.units))

    def drawn(self, draws: int, rng: np.random.Generator) -> dict[str, Floats]:
        """Give the sums of every draw of as many units as there are: by name, [draws, size].

        The draws are paired: draw d of every sum is of the same units.
        """
        matrix = self._matrix()
        parts = [(matrix @ counts).T for counts in _counts(self.units, draws, rng)]
        return self._named(np.concatenate(parts) if parts else np.zeros((draws, matrix.shape[0])))

    def _matrix(self) -> Any:  # SciPy's sparse arrays have no types
        from scipy.sparse import csr_array  # here, so that importing the package stays cheap

        rows, columns, values = (np.concatenate(each) for each in zip(*self._parts, strict=True))
        return csr_array((values, (rows, columns)), (sum(self._sizes.values()), self.units))

    def _named(self, sums: Floats) -> dict[str, Floats]:
        ends = np.cumsum(list(self._sizes.values()))
        return dict(zip(self._sizes, np.split(sums, ends[:-1], axis=-1), strict=True))


def draw_units(
    areas: pd.Index,
    settings: EvaluationSettings,
    scheme: Mapping[str, Any],
    coordinates: pd.DataFrame | None = None,
    about: pd.DataFrame | None = None,
) -> tuple[pd.Series, dict[str, Any]]:
    """Report which areas are drawn together.

    Areas that were held out in blocks or in groups are drawn so as well. The errors of an area
    resemble those of its neighbours, so areas drawn one by one would make intervals too narrow.

    Parameters
    ----------
    areas : Index of str
        The areas that are measured.
    settings : EvaluationSettings
        ``bootstrap``: ``auto``, ``areas``, ``blocks`` or a column of ``about``; ``block``: the side
        of the blocks in metres, else that of the folds.
    scheme : mapping
        From `describe_scheme`.
    coordinates : DataFrame by area, optional
        ``x``, ``y`` in metres, for blocks; areas without any are blocks of their own.
    about : DataFrame by area, optional
        Further columns; areas without a value there are units of their own.

    Returns
    -------
    Series of int64 by area
        0, 1, ...: in the order of the codes, so that the order of the areas does not matter.
    dict
        ``unit`` (``areas``, ``blocks`` or the column), ``side`` (metres, None without blocks),
        ``n`` (how many units) and ``note`` (None, or why it is not what the folds would ask for).

    Raises
    ------
    InputError
        If the settings ask for blocks or a column that there is not.
    """
    unit, side, query = _wanted(settings, scheme)
    note = None
    names: pd.Series = pd.Series(areas, index=areas, dtype=object)
    if unit == "blocks":
        if coordinates is not None and side is not None:
            block = np.floor(coordinates[["x", "y"]].reindex(areas).to_numpy(float) / side)
            known = np.asarray(np.isfinite(block).all(axis=1))
            names.loc[areas[known]] = [f"{x:.0f} {y:.0f}" for x, y in block[known]]
        elif query:
            raise InputError(
                "evaluation.bootstrap", "blocks need a side in metres", "set evaluation.block"
            )
        else:
            unit, note = "areas", "blocks are not known here"
    elif unit != "areas":
        columns = [] if about is None else list(about.columns)
        if about is not None and unit in columns:
            column = about[unit].reindex(areas)
            known = column.notna().to_numpy()
            names.loc[areas[known]] = column[known].astype(str)
        elif query:
            raise InputError(
                "evaluation.bootstrap",
                f"the areas have no column {unit!r}",
                closest(unit, ["areas", "blocks", *columns]),
            )
        else:
            unit, note = "areas", f"{unit} is not known here"
    if unit != "areas" and (few := names.nunique()) < min(FEWEST, len(areas)):
        note = f"only {few} of {unit}, too few to draw from: these intervals are too narrow"
        unit, names = "areas", pd.Series(areas, index=areas, dtype=object)
    _, code = np.unique(names.to_numpy(str), return_inverse=True)
    units = int(code.max(initial=-1)) + 1
    record = {"unit": unit, "side": side if unit == "blocks" else None, "n": units, "note": note}
    return pd.Series(code, index=areas, dtype="int64"), record


def _wanted(
    settings: EvaluationSettings, scheme: Mapping[str, Any]
) -> tuple[str, float | None, bool]:
    """Report what to draw, the side of blocks, and whether the user asked for it."""
    side = settings.block or scheme.get("block")
    if settings.bootstrap != "auto":
        return settings.bootstrap, side, True
    if scheme.get("name") == "blocks":
        return "blocks", side, False
    group = scheme.get("group") if scheme.get("name") == "leave-one-group-out" else None
    unit = group or scheme.get("unit", "area")
    return ("areas" if unit in ("area", "location") else str(unit)), None, False


def _counts(units: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each unit comes in each draw, [units, some draws], until there are all draws."""
    at_once = max(CHUNK // max(units, 1), 1)
    for start in range(0, draws if units else 0, at_once):
        many = min(at_once, draws - start)
        drawn = rng.integers(0, units, (many, units))
        # Draw by draw, so that what is counted stays in the processor's cache.
        counts = np.stack([np.bincount(own, minlength=units).astype(np.float32) for own in drawn])
        yield np.ascontiguousarray(counts.T, dtype=np.float64)
