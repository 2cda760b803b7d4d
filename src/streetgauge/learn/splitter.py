"""The splits as scikit-learn asks for them: a splitter to give as ``cv=``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.model_selection import BaseCrossValidator

from streetgauge.errors import InputError
from streetgauge.learn.splits import Split, make_splits
from streetgauge.settings import FoldSettings

__all__ = ["AreaSplit"]

Rows = NDArray[np.int64]
ByArea = Mapping[Any, Any] | pd.Series


class AreaSplit(BaseCrossValidator):  # type: ignore[misc]
    """Split rows by their areas, for ``cross_validate``, ``GridSearchCV`` and their like.

    ``groups`` are the areas of the rows. What else is known of areas (where they are, in which
    district) is given by area and looked up by it, so that the splitter also works on a part of the
    rows, as in nested cross-validation.

    Parameters
    ----------
    scheme : {"k-fold", "blocks", "leave-one-group-out", "train-test"}
        How, see `make_splits`.
    k : int
        Folds of ``k-fold`` and ``blocks``.
    test : float
        Share of the areas that ``train-test`` tests on.
    buffer : float
        Metres around tested areas in which nothing is learned from.
    block : float, optional
        Side of the blocks in metres.
    coordinates : DataFrame by area, or array of shape [N, 2], optional
        ``x`` and ``y`` in metres, of the areas or else of the rows.
    units : Series by area or mapping, optional
        Larger units that are kept whole as well: the MSOA of each area, say.
    districts : Series by area or mapping, optional
        What ``leave-one-group-out`` tests one after the other: districts, or cities.
    random_state : int
        Same rows in any order and same number, same split.

    Examples
    --------
    >>> areas = np.repeat(["a", "b", "c", "d", "e", "f"], 2)
    >>> for train, test in AreaSplit(k=3).split(np.zeros((12, 1)), groups=areas):
    ...     print(len(set(areas[train])), len(set(areas[test])))
    4 2
    4 2
    4 2
    """

    # Asks a router of metadata for the groups, as scikit-learn's own group splitters do.
    __metadata_request__split: ClassVar[dict[str, bool]] = {"groups": True}

    def __init__(
        self,
        scheme: Literal["k-fold", "blocks", "leave-one-group-out", "train-test"] = "k-fold",
        *,
        k: int = 5,
        test: float = 0.2,
        buffer: float = 0.0,
        block: float | None = None,
        coordinates: pd.DataFrame | ArrayLike | None = None,
        units: ByArea | None = None,
        districts: ByArea | None = None,
        random_state: int = 0,
    ) -> None:
        self.scheme = scheme
        self.k = k
        self.test = test
        self.buffer = buffer
        self.block = block
        self.coordinates = coordinates
        self.units = units
        self.districts = districts
        self.random_state = random_state

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[Rows, Rows]]:
        """Give positions of the rows to train on and to test on, split by split.

        Parameters
        ----------
        X : array-like, shape [N, ...]
            Not looked at.
        y : array-like, shape [N] or [N, M], optional
            Classes; each part gets its share of each. NaN where missing.
        groups : array-like, shape [N]
            The area of every row.

        Yields
        ------
        train, test : array of int64
            Sorted; no area is in both.

        Raises
        ------
        InputError
            As `make_splits`; also if there are no groups, or an area is not known to
            ``coordinates``.
        """
        for split in self._splits(y, groups):
            yield split.training, split.test

    def get_n_splits(
        self, X: Any = None, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> int:
        """Say how many splits there are; leaving one group out, that depends on ``groups``."""
        if self.scheme == "leave-one-group-out":
            return len(self._splits(y, groups))
        return 1 if self.scheme == "train-test" else self.k

    def _splits(self, y: ArrayLike | None, groups: ArrayLike | None) -> list[Split]:
        if groups is None:
            raise InputError("groups", "there are none", "give the area of every row")
        areas = np.asarray(groups)
        return make_splits(
            self._settings(),
            areas,
            np.zeros((len(areas), 1)) if y is None else _classes(y),
            seed=self.random_state,
            coordinates=self._places(areas),
            units=_looked_up(self.units, areas),
            groups=_looked_up(self.districts, areas),
            validation=False,  # an estimator sets its own apart
        )

    def _settings(self) -> FoldSettings:
        own = {
            "k": self.k if self.scheme in ("k-fold", "blocks") else 5,
            "test": self.test if self.scheme == "train-test" else 0.2,
            "group": "district" if self.scheme == "leave-one-group-out" else None,
            "unit": "area" if self.units is None else "unit",
        }
        try:
            return FoldSettings(
                scheme=self.scheme, buffer=self.buffer, block=self.block, final=False, **own
            )
        except ValidationError as error:
            first = error.errors()[0]
            subject = ".".join(["AreaSplit", *map(str, first["loc"])])
            raise InputError(subject, first["msg"].removeprefix("Value error, ")) from None

    def _places(self, areas: NDArray[Any]) -> NDArray[np.float64] | None:
        if self.coordinates is None:
            return None
        if isinstance(self.coordinates, pd.DataFrame):
            known = self.coordinates[["x", "y"]]
            return known.reindex(areas).to_numpy(np.float64)
        return np.asarray(self.coordinates, np.float64)


def _looked_up(values: ByArea | None, areas: NDArray[Any]) -> NDArray[np.object_] | None:
    if values is None:
        return None
    found: NDArray[np.object_] = pd.Series(values).reindex(areas).to_numpy(object)
    return found


def _classes(y: ArrayLike) -> NDArray[np.float64]:
    """Give classes as numbers; names in their order."""
    try:
        return np.asarray(y, np.float64)
    except ValueError:
        return np.unique(np.asarray(y), return_inverse=True)[1].astype(np.float64)
