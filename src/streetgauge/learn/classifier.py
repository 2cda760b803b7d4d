"""The scikit-learn face of the method: a classifier for ordered classes."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from streetgauge.learn.model import Predictions, fit_model
from streetgauge.settings import Device, TrainSettings

__all__ = ["BinomialOrdinalClassifier"]

_DEFAULTS = TrainSettings()


class BinomialOrdinalClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predict ordered classes, such as deciles, from the features of a location's views.

    The network of Suel et al. (2019) with a binomial distribution over the classes: one score
    orders the samples, and the probabilities of the classes follow from it.

    Parameters
    ----------
    n_views : int
        Views of a sample in a flat `X` of shape [n, n_views * features]; not looked at where `X`
        has three dimensions.
    network : {"paper-2019", "port-2020"}
        With or without batch norm.
    epochs, batch, learning_rate, weight_decay, noise, patience, device
        As in the settings of a study, with the same defaults.
    validation : float
        Share of the groups (samples, if there are none) that only say when to stop, and on which
        the score is calibrated.
    random_state : int, RandomState or None
        An integer makes fits repeatable.

    Attributes
    ----------
    classes_ : array, shape [K]
        The classes in their (sorted) order, which is taken to be the order of the scale.
    n_features_in_ : int
        Columns of a flat `X`; features of a view where `X` has three dimensions.
    model_ : Model
        What was trained.
    record_ : TrainingRecord
        On how much, with figures on the validation part.

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
        network: Literal["paper-2019", "port-2020"] = _DEFAULTS.network,
        epochs: int = _DEFAULTS.epochs,
        batch: int = _DEFAULTS.batch,
        learning_rate: float = _DEFAULTS.learning_rate,
        weight_decay: float = _DEFAULTS.weight_decay,
        noise: float = _DEFAULTS.noise,
        patience: int = _DEFAULTS.patience,
        validation: float = 0.15,
        device: Device = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_views = n_views
        self.network = network
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.noise = noise
        self.patience = patience
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
            Features; standardised here.
        y : array, shape [n]
            Classes whose sorted order is the order of the scale; at least two.
        groups : array, shape [n], optional
            Areas: none is both learnt from and used to stop.
        sample_weight : array, shape [n], optional
            On top of the weights that let every class count the same.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` or `y` cannot be used.
        """
        features, y = validate_data(
            self, X, y, dtype=np.float32, allow_nd=True, ensure_min_samples=2, order="C"
        )
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y has one class only; a scale needs at least two classes")
        if groups is None:
            areas = np.arange(len(codes))
        else:
            check_consistent_length(features, groups)
            areas = np.asarray(groups)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, features)
        views = self._views(features)
        self.model_, self.record_ = fit_model(
            views,
            np.ones(views.shape[:2], np.bool_),
            (codes + 1).astype(np.float32)[:, np.newaxis],
            areas,
            np.arange(len(codes)),
            ["y"],
            self._settings(),
            validation=self.validation,
            seed=self._seed(),
            classes=len(self.classes_),
            sample_weight=weight,
        )
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the most probable class: [n]."""
        best = self._said(X).decile[:, 0] - 1
        classes: NDArray[Any] = self.classes_[best]
        return classes

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of every class, in the order of ``classes_``: [n, K]."""
        return self._said(X).probabilities[:, 0]

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score samples: one number, higher for higher classes, however many classes: [n]."""
        return self._said(X).score[:, 0]

    def _said(self, X: ArrayLike) -> Predictions:
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float32, allow_nd=True, order="C", reset=False)
        views = self._views(features)
        return self.model_.predict(views, np.ones(views.shape[:2], np.bool_), device=self.device)

    def _views(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        if X.ndim == 3:
            return X
        if X.ndim != 2 or X.shape[1] % self.n_views:
            raise ValueError(
                f"X of shape {X.shape} is neither [n, views, features] nor flat with "
                f"n_views={self.n_views}"
            )
        return X.reshape(len(X), self.n_views, -1)

    def _settings(self) -> TrainSettings:
        return TrainSettings(
            network=self.network,
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=float(self.learning_rate),
            weight_decay=float(self.weight_decay),
            noise=float(self.noise),
            patience=self.patience,
            device=self.device,
        )

    def _seed(self) -> int:
        from sklearn.utils import check_random_state

        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))
