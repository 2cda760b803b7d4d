"""The splits as scikit-learn asks for them: a splitter to give as ``cv=``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils.validation import check_consistent_length

from streetgauge.errors import InputError
from streetgauge.seeds import seed_of
from streetgauge.settings import FoldSettings, broken_rule
from streetgauge.splits.folds import Rows, Split
from streetgauge.splits.schemes import LocationColumns, make_splits

ByArea = Mapping[Any, Any] | pd.Series


class AreaSplit(BaseCrossValidator):  # type: ignore[misc]
    """Split rows by their areas, for ``cross_validate``, ``GridSearchCV`` and their like.

    ``groups`` are the areas of the rows. Positions and districts are given by area, not by row. So
    the splitter also works on a part of the rows, as in nested cross-validation.

    Parameters
    ----------
    scheme : {"k-fold", "blocks", "leave-one-group-out", "train-test", "by-class"}
        How, see `make_splits`.
    k : int
        Folds of ``k-fold`` and ``blocks``.
    test : float
        Share of the areas that ``train-test`` tests on.
    buffer : float
        Metres around tested areas in which nothing is trained on.
    block : float, optional
        Side of the blocks in metres.
    coordinates : DataFrame by area, or array of shape [N, 2], optional
        ``x`` and ``y`` in metres, of the areas or else of the rows.
    units : Series by area or mapping, optional
        Larger units that are held whole as well: the MSOA of each area, say.
    districts : Series by area or mapping, optional
        What ``leave-one-group-out`` tests one after the other: districts, or cities.
    classes : sequence of int, optional
        What ``by-class`` tests on: the areas of these classes of ``y``.
    column : int
        Whose classes, where ``y`` has several columns.
    train_size : float
        Share of the possible training part that is used; nested in every larger share.
    train_size_unit : {"areas", "locations"}
        Unit of ``train_size``.
    random_state : int, RandomState or None
        Same rows in any order and same number, same split; None: another one each time.

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
        scheme: Literal[
            "k-fold", "blocks", "leave-one-group-out", "train-test", "by-class"
        ] = "k-fold",
        *,
        k: int = 5,
        test: float = 0.2,
        buffer: float = 0.0,
        block: float | None = None,
        coordinates: pd.DataFrame | ArrayLike | None = None,
        units: ByArea | None = None,
        districts: ByArea | None = None,
        classes: Sequence[int] = (),
        column: int = 0,
        train_size: float = 1.0,
        train_size_unit: Literal["areas", "locations"] = "areas",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.scheme = scheme
        self.k = k
        self.test = test
        self.buffer = buffer
        self.block = block
        self.coordinates = coordinates
        self.units = units
        self.districts = districts
        self.classes = classes
        self.column = column
        self.train_size = train_size
        self.train_size_unit = train_size_unit
        self.random_state = random_state

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[Rows, Rows]]:
        """Give positions of the rows to train on and to test on, split by split.

        Parameters
        ----------
        X : array-like, shape [N, ...]
            Not used.
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
        ValueError
            As `make_splits`; also if there are no groups, or not one for each row, or an area is
            not known to ``coordinates``.

        Examples
        --------
        >>> areas = np.repeat(["a", "b", "c"], 2)
        >>> train, test = next(AreaSplit(k=3).split(np.zeros((6, 1)), groups=areas))
        >>> set(areas[train]) & set(areas[test])
        set()
        """
        check_consistent_length(X, y, groups)
        for split in self._splits(y, groups):
            yield split.training, split.test

    def get_n_splits(
        self, X: Any = None, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> int:
        """Report how many splits there are; leaving one group out, that depends on ``groups``.

        Examples
        --------
        >>> AreaSplit(k=3).get_n_splits()
        3
        """
        if self.scheme == "leave-one-group-out":
            return len(self._splits(y, groups))
        return 1 if self.scheme in ("train-test", "by-class") else self.k

    def _splits(self, y: ArrayLike | None, groups: ArrayLike | None) -> list[Split]:
        try:
            self._require_what_the_scheme_needs(y, groups)
            areas = np.asarray(groups)
            classes = np.zeros((len(areas), 1)) if y is None else _classes(y)
            names = [f"y{i}" for i in range(1 if classes.ndim == 1 else classes.shape[1])]
            return make_splits(
                self._settings(),
                areas,
                classes,
                seed=seed_of(self.random_state),
                validation=False,
                columns=LocationColumns(
                    outcomes=names if self.scheme == "by-class" else (),
                    coordinates=self._coordinates(areas),
                    units=_by_row(self.units, areas),
                    groups=_by_row(self.districts, areas),
                ),
            )
        except InputError as error:
            subject = error.subject.replace("folds.", "AreaSplit.")
            refused = InputError(subject, error.reason, error.next_step)
        except ValidationError as error:
            first = error.errors()[0]
            subject = ".".join(["AreaSplit", *map(str, first["loc"])])
            refused = InputError(subject, *broken_rule(first))
        raise ValueError(str(refused))

    def _require_what_the_scheme_needs(self, y: ArrayLike | None, groups: ArrayLike | None) -> None:
        if groups is None:
            raise InputError("groups", "there are none", "give the area of every row")
        if self.coordinates is None and (self.scheme == "blocks" or self.buffer > 0):
            reason = "there are none, and blocks and buffers need them"
            raise InputError("folds.coordinates", reason, "give x and y in metres of each area")
        if self.districts is None and self.scheme == "leave-one-group-out":
            reason = "it is not known which district an area is in"
            raise InputError("folds.districts", reason, "give the district of each area")
        if y is None and self.scheme == "by-class":
            raise InputError("y", "there is none, and by-class tests its classes", "give it")

    def _settings(self) -> FoldSettings:
        own = {
            "k": self.k if self.scheme in ("k-fold", "blocks") else 5,
            "test": self.test if self.scheme == "train-test" else 0.2,
            "group": "district" if self.scheme == "leave-one-group-out" else None,
            "unit": "area" if self.units is None else "unit",
            "outcome": f"y{self.column}" if self.scheme == "by-class" else None,
            "classes": tuple(map(int, self.classes)),
            "train_size": float(self.train_size),
        }
        same = {name: getattr(self, name) for name in ("scheme", "buffer", "block")}
        return FoldSettings(**same, **own, train_size_unit=self.train_size_unit, final=False)

    def _coordinates(self, areas: NDArray[Any]) -> NDArray[np.float64] | None:
        if self.coordinates is None:
            return None
        if isinstance(self.coordinates, pd.DataFrame):
            known = self.coordinates[["x", "y"]]
            return known.reindex(areas).to_numpy(np.float64)
        return np.asarray(self.coordinates, np.float64)


def _by_row(values: ByArea | None, areas: NDArray[Any]) -> NDArray[np.object_] | None:
    if values is None:
        return None
    return pd.Series(values).reindex(areas).to_numpy(object)


def _classes(y: ArrayLike) -> NDArray[np.float64]:
    """Give classes as numbers; names in their order."""
    try:
        return np.asarray(y, np.float64)
    except ValueError:
        return np.unique(np.asarray(y), return_inverse=True)[1].astype(np.float64)
