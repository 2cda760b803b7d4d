"""A method without images, asked for every fold's areas and told that fold's labels alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Floats", "Folds", "Method", "out_of_fold"]

Floats = npt.NDArray[np.float64]


class Method(Protocol):
    """A way of guessing: what it knows besides labels (places, features) is its own.

    Parameters
    ----------
    training : Series by area, sorted, float
        Deciles of the areas that may be learned from; never empty.
    asked : Index of areas, sorted
        None of them is in ``training``.

    Returns
    -------
    array of float, shape [asked]
        Scores; NaN where the method knows nothing of an area.

    Notes
    -----
    ``from_mean`` is True of a method that adds what it knows of an area to the mean of the training
    areas: see `Folds.ask`.
    """

    def __call__(self, training: pd.Series, asked: pd.Index) -> Floats:
        """Guess."""
        ...


class Folds:
    """Which areas each fold asks for, and the labels that it may learn from.

    This is the only place from which a method gets labels, so none can see those of the areas
    that it is asked for.

    Parameters
    ----------
    actual : Series by area
        Actual deciles, missing where there is none.
    fold : Series by area
        The fold in which each area is held out.
    learned : DataFrame, optional
        ``fold, area, decile``: the training areas of every fold, which need not be among those that
        are held out in any; the areas of the other folds if not given.
    middle : float
        What methods that start from a mean start from: the middle of the classes.
    """

    def __init__(
        self,
        actual: pd.Series,
        fold: pd.Series,
        learned: pd.DataFrame | None = None,
        middle: float = 5.5,
    ) -> None:
        self.areas, self.middle = actual.index, middle
        # In the order of the codes: the same result whatever the rows' order, to the last bit.
        known = actual.sort_index().astype("float64")
        folds = fold.loc[known.index].to_numpy()
        self.parts: list[tuple[pd.Index, pd.Series]] = []
        for part in np.unique(folds):
            asked = known.index[folds == part]
            if learned is None:
                training = known[folds != part].dropna()
            else:
                rows = learned[learned["fold"] == part].set_index("area")["decile"]
                training = rows.astype("float64").sort_index()
            self.parts.append((asked, training[asked.get_indexer(training.index) < 0]))

    def ask(self, method: Method, labels: pd.Series | None = None) -> pd.Series:
        """Give every area the score that a method guesses from its fold's training areas.

        Where the training areas' mean is high, the areas held out are lower than others: scores
        that are hardly more than this mean would put areas the wrong way round, the more so the
        more folds there are. The networks' scores are free of it (they are balanced over the
        classes), so methods that start from the mean start from ``middle`` instead, in every fold.
        What is made of neighbours' labels has no such part; less the mean, it would be told of the
        areas held out what nobody can know.

        Parameters
        ----------
        method : Method
            Called once for each fold.
        labels : Series by area, optional
            Other labels for the training areas than their own.

        Returns
        -------
        Series by area, float
            In the order of ``actual``. The mean of the training areas, or what it starts from,
            where the method knows nothing; missing where a fold leaves no area with a decile to
            learn from.
        """
        from_mean = getattr(method, "from_mean", False)
        scores = []
        for asked, own in self.parts:
            training = own if labels is None else labels.reindex(own.index)
            guess = np.full(len(asked), np.nan)
            if len(training):
                guess = np.asarray(method(training, asked), np.float64)
                guess = np.where(np.isfinite(guess), guess, training.mean())
                guess = guess - training.mean() + self.middle if from_mean else guess
            scores.append(pd.Series(guess, asked))
        empty = pd.Series(dtype="float64", index=self.areas[:0])
        return pd.concat(scores or [empty]).reindex(self.areas)


def out_of_fold(
    method: Method,
    actual: pd.Series,
    fold: pd.Series,
    learned: pd.DataFrame | None = None,
) -> pd.Series:
    """Give every area the score that a method guesses; see `Folds`."""
    return Folds(actual, fold, learned).ask(method)
