"""The scikit-learn face of the method: a classifier for ordered classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from streetgauge.errors import InputError
from streetgauge.model.bundle import Bundle
from streetgauge.model.learners import fit_learner
from streetgauge.model.model import Predictions
from streetgauge.model.reading import BLOCK
from streetgauge.model.training_data import TrainingData
from streetgauge.seeds import derive_seed, seed_of
from streetgauge.settings import TrainSettings, broken_rule
from streetgauge.splits.folds import Split, validation_part

_DEFAULTS = TrainSettings()
_AT_A_TIME = 2**24  # bytes of features that are checked at a time
# The parameters that are settings of a study's [train] too.
_SETTINGS = (
    "learner", "network", "pooling", "width", "ensemble_size", "head", "dropout", "epochs", "batch",
    "learning_rate", "schedule", "weight_decay", "mixup", "sample_weighting", "noise", "patience",
    "components", "precision", "memory", "device",
)  # fmt: skip


class BinomialOrdinalClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predict ordered classes, such as deciles, from the features of a location's views.

    The network of Suel et al. (2019) with a binomial distribution over the classes: one score
    orders the samples, and the probabilities of the classes follow from it.

    Parameters
    ----------
    n_views : int
        Views of a sample in a flat `X` of shape [n, n_views * features]; not used where `X`
        has three dimensions.
    classes : sequence, optional
        The whole scale in its order, worst first. Without it the scale is what `fit` finds in
        ``y``: the categories of an ordered pandas Categorical in their order, else the sorted
        labels. Give it where a part of the data may lack a class, as a fold may.
    head : str
        How the network's output becomes classes: "binomial", or another of
        `streetgauge.model.heads`.
    learner, network, pooling, width, ensemble_size, dropout, epochs, batch, learning_rate, \
schedule, weight_decay, mixup, sample_weighting, noise, patience, components, precision, memory, \
device
        As in the ``[train]`` settings of a study, with the same defaults; areas are the groups.
    validation : float
        Share of the groups (samples, if there are none) that only decide when to stop, and on which
        the score is calibrated, where ``ensemble_size=1``. Several members divide all groups: each
        is stopped by a part of its own, on which the others are trained.
    random_state : int, RandomState or None
        An integer makes fits repeatable.

    Attributes
    ----------
    classes_ : array, shape [K]
        The classes in the order of the scale.
    n_features_in_ : int
        Columns of a flat `X`; features of a view where `X` has three dimensions.
    feature_names_in_ : array of str
        Names of the columns, where `X` is a frame.
    model_ : Model or StackModel
        What was trained.
    record_ : TrainingRecord
        On how much, with figures on the validation part.

    Notes
    -----
    A view whose features are all NaN is absent, and nothing is filled in; any other NaN is
    refused. An `X` of float32 or float16 is used where it lies: a memory map is read batch by
    batch. Other types are copied to float32.

    Samples are predicted in blocks of fixed size, because the size of a block shows in the last
    bits. So a sample with all its views gets the same score whatever it is predicted together
    with. One sample takes as long as a block.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(1, 5, 200)
    >>> X = y[:, None, None] + rng.normal(size=(200, 4, 3))  # 4 views of 3 features
    >>> model = BinomialOrdinalClassifier(epochs=10, random_state=0).fit(X, y)
    >>> model.predict_proba(X[:2]).shape
    (2, 4)
    """

    def __init__(
        self,
        n_views: int = 1,
        *,
        classes: Any = None,
        head: str = _DEFAULTS.head,
        learner: str = _DEFAULTS.learner,
        network: str = _DEFAULTS.network,
        pooling: str = _DEFAULTS.pooling,
        width: int | None = _DEFAULTS.width,
        ensemble_size: int = _DEFAULTS.ensemble_size,
        dropout: float = _DEFAULTS.dropout,
        epochs: int = _DEFAULTS.epochs,
        batch: int = _DEFAULTS.batch,
        learning_rate: float = _DEFAULTS.learning_rate,
        schedule: str = _DEFAULTS.schedule,
        weight_decay: float = _DEFAULTS.weight_decay,
        mixup: bool = _DEFAULTS.mixup,
        sample_weighting: str = _DEFAULTS.sample_weighting,
        noise: float = _DEFAULTS.noise,
        patience: int = _DEFAULTS.patience,
        components: int | None = _DEFAULTS.components,
        precision: str = _DEFAULTS.precision,
        memory: float = _DEFAULTS.memory,
        validation: float = 0.15,
        device: str = _DEFAULTS.device,
        random_state: Any = None,
    ) -> None:
        self.n_views = n_views
        self.classes = classes
        self.head = head
        self.learner = learner
        self.network = network
        self.pooling = pooling
        self.width = width
        self.ensemble_size = ensemble_size
        self.dropout = dropout
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.mixup = mixup
        self.sample_weighting = sample_weighting
        self.noise = noise
        self.patience = patience
        self.components = components
        self.precision = precision
        self.memory = memory
        self.validation = validation
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array, shape [n, views, features] or [n, n_views * features]
            Features; standardised here. A view that is all NaN is absent.
        y : array, shape [n]
            Classes, at least two.
        groups : array, shape [n], optional
            Areas: none is used both for training and to stop it.
        sample_weight : array, shape [n], optional
            On top of the weights that let every class count the same. A sample of weight 0 is as
            good as absent.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X`, `y`, `groups`, `sample_weight` or a parameter cannot be used.

        Examples
        --------
        >>> X, y = np.linspace(0, 1, 60)[:, None], np.repeat([1, 2, 3], 20)
        >>> model = BinomialOrdinalClassifier(learner="kernel", random_state=0).fit(X, y)
        >>> model.classes_.tolist()
        [1, 2, 3]
        """
        scale = _scale_of(y) if self.classes is None else list(self.classes)
        views, labels = self._read_samples(X, y=y, reset=True)
        present = _present_views(views)
        code = self._encode(labels, scale)
        areas = _codes_of(groups, views)
        weight = _weights_of(sample_weight, views)
        target = (code + 1).astype(np.float32)[:, np.newaxis]
        data = TrainingData(
            views, present, target, areas, np.arange(len(views)), ["y"],
            classes=len(self.classes_), sample_weight=weight,
        )  # fmt: skip
        seed = self._seed_of_fit = seed_of(self.random_state)
        with _value_errors():
            settings = self._settings()
            fitted, self.record_ = fit_learner(
                data,
                self._split(areas, target, weight, settings.ensemble_size, seed),
                settings,
                seed=seed,
            )
        # What is predicted is what is most probable, as scikit-learn has it: to make probabilities
        # as flat as they should be there is CalibratedClassifierCV.
        self.model_ = replace(fitted, temperature=None)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the most probable class: [n].

        Examples
        --------
        >>> X, y = np.linspace(0, 1, 60)[:, None], np.repeat([1, 2, 3], 20)
        >>> model = BinomialOrdinalClassifier(learner="kernel", random_state=0).fit(X, y)
        >>> model.predict([[0.0], [1.0]]).tolist()
        [1, 3]
        """
        best = self._predictions(X).decile[:, 0] - 1
        return self.classes_[best]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of every class, in the order of ``classes_``: [n, K].

        Examples
        --------
        >>> X, y = np.linspace(0, 1, 60)[:, None], np.repeat([1, 2, 3], 20)
        >>> model = BinomialOrdinalClassifier(learner="kernel", random_state=0).fit(X, y)
        >>> model.predict_proba([[0.0], [1.0]]).shape
        (2, 3)
        """
        return self._predictions(X).probabilities[:, 0]

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Give the log-probability of every class, [n, K]; of two classes the log-odds, [n].

        The one score that orders all samples is what `score_samples` gives.

        Examples
        --------
        >>> X, y = np.linspace(0, 1, 60)[:, None], np.repeat([1, 2, 3], 20)
        >>> model = BinomialOrdinalClassifier(learner="kernel", random_state=0).fit(X, y)
        >>> model.decision_function([[0.0], [1.0]]).argmax(axis=1).tolist()
        [0, 2]
        """
        p = self._predictions(X).probabilities[:, 0]
        logs: NDArray[np.float64] = np.log(np.maximum(p, np.finfo(np.float64).tiny))
        return logs[:, 1] - logs[:, 0] if p.shape[1] == 2 else logs

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score samples: one number, higher for higher classes, however many classes: [n].

        With the binomial head it is the logit of the expected share of the scale.

        Examples
        --------
        >>> X, y = np.linspace(0, 1, 60)[:, None], np.repeat([1, 2, 3], 20)
        >>> model = BinomialOrdinalClassifier(learner="kernel", random_state=0).fit(X, y)
        >>> low, high = model.score_samples([[0.0], [1.0]])
        >>> bool(low < high)
        True
        """
        return self._predictions(X).score[:, 0]

    def save(self, directory: Path | str) -> None:
        """Write the fitted classifier to a new directory, as a bundle: no pickle, and no code.

        Raises
        ------
        ValueError
            If its classes are of a type that JSON does not have.

        Examples
        --------
        >>> X, y = np.linspace(0, 1, 60)[:, None], np.repeat([1, 2, 3], 20)
        >>> model = BinomialOrdinalClassifier(learner="kernel", random_state=0).fit(X, y)
        >>> model.save("three-classes")
        """
        check_is_fitted(self)
        about = {
            "classes": self.classes_.tolist(),
            "dtype": self.classes_.dtype.str,
            "n_views": int(self.n_views),
            "n_features_in": int(self.n_features_in_),
            "feature_names_in": getattr(self, "feature_names_in_", np.empty(0)).tolist(),
            "validation": float(self.validation),
        }
        kinds = {type(label) for label in about["classes"]}
        if not kinds <= {str, int, float, bool}:
            raise ValueError(f"classes of type {kinds.pop().__name__} cannot be written to a file")
        bundle = Bundle(
            self.model_, ("y",), "all", self._settings(), self._seed_of_fit, "", self.record_,
            {"classifier": about},
        )  # fmt: skip
        with _value_errors():
            bundle.save(Path(directory))

    @classmethod
    def load(cls, directory: Path | str) -> Self:
        """Read what `save` has written.

        Raises
        ------
        ValueError
            If the directory holds no such bundle.

        Examples
        --------
        >>> X, y = np.linspace(0, 1, 60)[:, None], np.repeat([1, 2, 3], 20)
        >>> model = BinomialOrdinalClassifier(learner="kernel", random_state=0).fit(X, y)
        >>> model.save("saved")
        >>> BinomialOrdinalClassifier.load("saved").predict([[0.0], [1.0]]).tolist()
        [1, 3]
        """
        with _value_errors():
            bundle = Bundle.load(Path(directory))
        about = bundle.source.get("classifier")
        if not isinstance(about, dict):
            raise ValueError(f"{directory}: this bundle was not written by {cls.__name__}.save")
        scale = np.asarray(about["classes"], np.dtype(about["dtype"]))
        settings = {name: getattr(bundle.settings, name) for name in _SETTINGS}
        made = cls(
            about["n_views"],
            classes=about["classes"],
            validation=about["validation"],
            random_state=bundle.seed,
            **settings,
        )
        made.classes_, made.n_features_in_ = scale, about["n_features_in"]
        if about["feature_names_in"]:
            made.feature_names_in_ = np.asarray(about["feature_names_in"], object)
        made.model_, made.record_, made._seed_of_fit = bundle.model, bundle.training, bundle.seed  # type: ignore[assignment]
        return made

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Of one view only, an absent one leaves nothing to predict from.
        tags.input_tags.allow_nan = self.n_views != 1
        return tags

    def _predictions(self, X: ArrayLike) -> Predictions:
        check_is_fitted(self)
        views, _ = self._read_samples(X, reset=False)
        rows = np.zeros(-(-len(views) // BLOCK) * BLOCK, np.int64)
        rows[: len(views)] = np.arange(len(views))  # the last block is filled up with the first row
        with _value_errors():
            device = self._settings().device
            predictions = self.model_.predict(views, _present_views(views), rows, device)
        return Predictions(predictions.score[: len(views)], predictions.probabilities[: len(views)])

    def _read_samples(
        self, X: ArrayLike, *, y: ArrayLike | str = "no_validation", reset: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Give views [n, V, D], where it is possible without a copy, and labels [n]."""
        if getattr(X, "ndim", None) == 3 and not isinstance(X, np.ndarray):
            X = np.asarray(X)  # tensors and the like
        apart = np.ndim(X) == 3 if isinstance(X, np.ndarray | list) else False
        checked = validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype=[np.float32, np.float16],
            order="C",
            ensure_all_finite=False,
            ensure_2d=not apart,
            allow_nd=apart,
            ensure_min_samples=2 if reset else 1,
        )
        array, labels = checked if reset else (checked, np.empty(0))
        if not apart:
            if not isinstance(self.n_views, int | np.integer) or self.n_views < 1:
                raise ValueError(f"n_views={self.n_views!r} is not a number of views")
            if array.shape[1] % self.n_views:
                raise ValueError(
                    f"X has {array.shape[1]} columns, which are not the features of "
                    f"n_views={self.n_views!r} views"
                )
            return array.reshape(len(array), self.n_views, -1), labels
        if reset:
            self.n_features_in_ = array.shape[2]
        elif array.shape[2] != self.n_features_in_:
            raise ValueError(
                f"X has {array.shape[2]} features a view, but "
                f"{type(self).__name__} is expecting {self.n_features_in_} features a view"
            )
        return array, labels

    def _encode(self, labels: NDArray[Any], scale: list[Any] | None) -> NDArray[np.int64]:
        """Set ``classes_``; give the index of every label on the scale, 0..K - 1."""
        check_classification_targets(labels)
        if scale is None:
            self.classes_, code = np.unique(labels, return_inverse=True)
            if isinstance(self.classes_[0], str):
                order = " < ".join(self.classes_[:3]) + (" ..." if len(self.classes_) > 3 else "")
                warnings.warn(
                    f"y holds texts, which are sorted by the alphabet ({order}); give "
                    "classes=[lowest, ..., highest], or y as an ordered Categorical",
                    UserWarning,
                    stacklevel=3,
                )
        else:
            index = pd.Index(scale)
            if not index.is_unique:
                twice = _scalar(index[index.duplicated()][0])
                raise ValueError(f"classes names {twice!r} more than once")
            code = index.get_indexer(labels)
            if (code < 0).any():
                row = int(np.argmax(code < 0))
                raise ValueError(
                    f"y[{row}] is {_scalar(labels[row])!r}, none of classes={list(scale)!r}"
                )
            self.classes_ = np.asarray(scale)
        if len(self.classes_) < 2 or len(np.unique(code)) < 2:
            raise ValueError("y has only one class; at least two classes are needed")
        return np.asarray(code, np.int64)

    def _split(
        self,
        areas: NDArray[np.int64],
        target: NDArray[np.float32],
        weight: Any,
        ensemble_size: int,
        seed: int,
    ) -> Split:
        """Split the samples that have a weight into training and validation parts.

        Several members set their own parts apart.
        """
        if not 0 < self.validation < 1:
            raise ValueError(f"validation={self.validation!r} is not a share between 0 and 1")
        rows = np.arange(len(areas)) if weight is None else np.flatnonzero(weight > 0)
        groups = len(np.unique(areas[rows]))
        if groups < 2:
            raise ValueError(
                "all samples with a weight belong to one group; at least two are needed, one to "
                "train on and one to decide when to stop"
            )
        if ensemble_size > 1:
            if groups < ensemble_size:
                raise ValueError(
                    f"ensemble_size={ensemble_size} need a group each to decide when to stop, and "
                    f"the samples with a weight belong to {groups}; use "
                    f"ensemble_size={groups} or fewer"
                )
            return Split("all", 0, rows, rows[:0], rows[:0])
        held = validation_part(
            areas[rows], target[rows], self.validation, derive_seed(seed, "validation")
        )
        trained = np.unique(target[rows[~held]])
        if len(trained) < 2:
            raise ValueError(
                "the groups for training are all of one class; give more groups, or use a "
                f"smaller share than validation={self.validation}"
            )
        lost = np.setdiff1d(np.unique(target[rows]), trained)
        if len(lost):
            names = ", ".join(repr(_scalar(self.classes_[int(k) - 1])) for k in lost)
            warnings.warn(
                f"class {names} occurs only in the groups that decide when to stop, not in "
                f"training; give more groups, or use a smaller share than "
                f"validation={self.validation}",
                UserWarning,
                stacklevel=3,
            )
        return Split("all", 0, rows[~held], rows[held], rows[:0])

    def _settings(self) -> TrainSettings:
        given = {}
        for name in _SETTINGS:
            value = _scalar(getattr(self, name))
            whole_float = isinstance(getattr(_DEFAULTS, name), float) and type(value) is int
            given[name] = float(value) if whole_float else value
        return TrainSettings(**given)


def _scale_of(y: Any) -> list[Any] | None:
    """Give the categories of an ordered Categorical that occur in it, in their order."""
    dtype = getattr(y, "dtype", None)
    if not isinstance(dtype, pd.CategoricalDtype) or not dtype.ordered:
        return None
    return list(pd.Categorical(y).remove_unused_categories().categories)


def _scalar(value: Any) -> Any:
    """Make a Python number of a NumPy one; leave anything else."""
    return value.item() if isinstance(value, np.generic) else value


def _present_views(views: NDArray[Any]) -> NDArray[np.bool_]:
    """Which views are there: all but those that are all NaN. Reads a few rows at a time."""
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
                "0; only a view that is NaN in all its features counts as absent"
            )
    nothing = ~present.any(axis=1)
    if nothing.any():
        raise ValueError(
            f"X is NaN in all of row {int(np.argmax(nothing))}, counted from 0, so it has no view"
        )
    return present


def _codes_of(groups: ArrayLike | None, X: NDArray[Any]) -> NDArray[np.int64]:
    """Give every group a number, in sorted order; without groups each sample is its own."""
    if groups is None:
        return np.arange(len(X))
    check_consistent_length(X, groups)
    code, _ = pd.factorize(np.asarray(groups), sort=True)
    if (code < 0).any():
        raise ValueError(f"groups[{int(np.argmax(code < 0))}] is missing")
    return np.asarray(code, np.int64)


def _weights_of(sample_weight: ArrayLike | None, X: NDArray[Any]) -> NDArray[np.float64] | None:
    """Check the weights of samples: numbers of at least 0, some above."""
    if sample_weight is None:
        return None
    weight: NDArray[np.float64] = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    return weight


@contextmanager
def _value_errors() -> Iterator[None]:
    """Report what cannot be used as scikit-learn does: a ValueError of one sentence."""
    try:
        yield
    except InputError as error:
        raise ValueError(str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        _, rule = broken_rule(first)
        raise ValueError(f"{name}={first['input']!r} cannot be used; {rule}.") from None
