"""What a user of the scikit-learn face gives: looked through, and refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from streetgauge.errors import InputError

__all__ = ["codes_of", "plain", "present_views", "scale_of", "value_errors", "weights_of"]

_AT_A_TIME = 2**24  # bytes of features looked through at a time


def scale_of(y: Any) -> list[Any] | None:
    """Give the categories of an ordered Categorical that occur in it, in their order."""
    dtype = getattr(y, "dtype", None)
    if not isinstance(dtype, pd.CategoricalDtype) or not dtype.ordered:
        return None
    return list(pd.Categorical(y).remove_unused_categories().categories)


def plain(value: Any) -> Any:
    """Make a Python number of a NumPy one; leave anything else."""
    return value.item() if isinstance(value, np.generic) else value


def present_views(views: NDArray[Any]) -> NDArray[np.bool_]:
    """Which views are there: all but those that are all NaN. Looks at a few rows at a time."""
    present = np.ones(views.shape[:2], np.bool_)
    step = max(1, _AT_A_TIME // max(1, views[:1].nbytes))
    for start in range(0, len(views), step):
        block = views[start : start + step]
        finite = np.isfinite(block)
        if finite.all():
            continue
        absent = np.isnan(block).all(axis=2)
        present[start : start + step] = ~absent
        wrong = ~finite & ~absent[..., np.newaxis]
        if wrong.any():
            row, view, feature = (int(i[0]) for i in np.nonzero(wrong))
            value = "NaN" if np.isnan(block[row, view, feature]) else "infinite (inf)"
            raise ValueError(
                f"X is {value} in row {start + row}, view {view}, feature {feature}, counted from "
                "0; only a view that is NaN in all its features is taken as absent"
            )
    nothing = ~present.any(axis=1)
    if nothing.any():
        raise ValueError(
            f"X is NaN in all of row {int(np.argmax(nothing))}, counted from 0, so it has no view"
        )
    return present


def codes_of(groups: ArrayLike | None, X: NDArray[Any]) -> NDArray[np.int64]:
    """Give every group a number, in sorted order; without groups each sample is its own."""
    if groups is None:
        return np.arange(len(X))
    check_consistent_length(X, groups)
    code, _ = pd.factorize(np.asarray(groups), sort=True)
    if (code < 0).any():
        raise ValueError(f"groups[{int(np.argmax(code < 0))}] is missing")
    return np.asarray(code, np.int64)


def weights_of(sample_weight: ArrayLike | None, X: NDArray[Any]) -> NDArray[np.float64] | None:
    """Check the weights of samples: numbers of at least 0, some above."""
    if sample_weight is None:
        return None
    weight: NDArray[np.float64] = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    return weight


@contextmanager
def value_errors() -> Iterator[None]:
    """Say what cannot be used as scikit-learn does: a ValueError of one sentence."""
    try:
        yield
    except InputError as error:
        raise ValueError(str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ValueError(f"{name}={first['input']!r} cannot be used: {first['msg']}") from None
