"""What the sample city assumes: latents, what images show of them, outcomes, and the oracle.

All is linear and Gaussian, so that the best attainable score is known in closed form:

- an area has latents ``A`` with covariance ``C`` (`LatentModel.correlation`),
- a postcode in it has ``z = A + u`` with ``u`` of covariance ``spread * C``: areas differ within,
- view ``v`` of a postcode shows ``x_v = W z + e + f_v``: ``e`` is shared by the postcode's views
  (a smart street in a poor area), ``f_v`` is the view's own,
- the outcome of an area is ``y = B A + n``, and no image shows ``n``.

An image shows ``x`` through monotone maps and with nuisance that is independent of all of this
(season, light, colours, camera), so pixels know no more of ``y`` than ``x`` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LATENTS = ("affluence", "density", "greenery", "upkeep", "age")
"""What postcodes differ in; ``age`` is how old the houses are."""

VISIBLE = (
    "size", "height", "trees", "hedges", "facade", "litter", "cars", "age", "paving", "doors",
)  # fmt: skip
"""What images show: size of houses, storeys, street trees, ... each a mixture of latents."""

OUTCOMES = ("income", "bad_health", "low_qualification", "environment", "crime")
"""Outcomes by area, all as scores: mean 0, variance 1, higher = better off."""

_CORRELATION = np.array(
    [
        [1.00, -0.25, 0.35, 0.50, 0.10],
        [-0.25, 1.00, -0.45, -0.20, 0.10],
        [0.35, -0.45, 1.00, 0.20, 0.00],
        [0.50, -0.20, 0.20, 1.00, -0.20],
        [0.10, 0.10, 0.00, -0.20, 1.00],
    ]
)
# Rows are VISIBLE, columns LATENTS.
_SHOWS = np.array(
    [
        [0.80, -0.35, 0.00, 0.00, 0.00],
        [0.00, 0.95, 0.00, 0.00, 0.00],
        [0.10, 0.00, 0.90, 0.00, 0.00],
        [0.35, -0.30, 0.55, 0.00, 0.00],
        [0.30, 0.00, 0.00, 0.75, 0.00],
        [-0.15, 0.25, 0.00, -0.75, 0.00],
        [0.85, 0.00, 0.00, 0.00, 0.00],
        [0.00, 0.00, 0.00, 0.00, 0.95],
        [0.20, 0.00, 0.00, 0.65, 0.00],
        [0.70, 0.00, 0.00, 0.10, 0.25],
    ]
)
# Rows are OUTCOMES, columns LATENTS; only the direction of a row counts, see _EXPLAINED.
_EFFECTS = np.array(
    [
        [0.90, 0.00, 0.10, 0.20, 0.05],
        [0.55, 0.00, 0.40, 0.25, 0.00],
        [0.60, 0.35, 0.00, 0.10, 0.35],
        [0.10, -0.40, 0.50, 0.40, -0.35],
        [0.10, -0.50, 0.00, 0.60, 0.00],
    ]
)
_EXPLAINED = np.array([0.88, 0.62, 0.70, 0.75, 0.10])


@dataclass(frozen=True)
class LatentModel:
    """The linear Gaussian city; see the module's text for the letters.

    Parameters
    ----------
    spread : float
        Variance of a latent within an area, as a share of that between areas.
    misleading : float
        Variance of ``e``, what a postcode's views show in common that is not so.
    glimpse : float
        Variance of ``f``, by which the views of a postcode differ.
    views : int
        Views of a postcode.
    """

    spread: float = 0.7
    misleading: float = 0.35
    glimpse: float = 0.6
    views: int = 4

    @property
    def correlation(self) -> Array:
        """``C``: covariance [L, L] of the areas' latents, with ones on the diagonal."""
        return _CORRELATION.copy()

    @property
    def explained(self) -> Array:
        """Share [M] of an outcome's variance over areas that latents explain."""
        return _EXPLAINED.copy()

    @cached_property
    def effects(self) -> Array:
        """``B`` [M, L], scaled so that ``B C B'`` has `explained` on its diagonal."""
        variance = np.einsum("ml,lk,mk->m", _EFFECTS, _CORRELATION, _EFFECTS)
        scaled: Array = _EFFECTS * np.sqrt(_EXPLAINED / variance)[:, None]
        return scaled

    @cached_property
    def visible_scale(self) -> Array:
        """Standard deviation [K] of what a view shows: divided by it, it has variance 1."""
        within = np.einsum("kl,lj,kj->k", _SHOWS, _CORRELATION, _SHOWS) * (1 + self.spread)
        scale: Array = np.sqrt(within + self.misleading + self.glimpse)
        return scale

    def show(self, latents: Array, shared: Array, own: Array) -> Array:
        """Give what the views show, [N, V, K], each of variance 1.

        Parameters
        ----------
        latents : array [N, L]
            ``z`` of the postcodes.
        shared : array [N, K]
            Standard normals for ``e``.
        own : array [N, V, K]
            Standard normals for ``f``.
        """
        common = latents @ _SHOWS.T + np.sqrt(self.misleading) * shared
        shown: Array = (common[:, None, :] + np.sqrt(self.glimpse) * own) / self.visible_scale
        return shown

    @cached_property
    def gain(self) -> Array:
        """Weights [M, K] of the oracle: ``Cov(y, x) Cov(x)^-1`` for the mean over the views."""
        scale = self.visible_scale
        crossed = self.effects @ _CORRELATION @ _SHOWS.T / scale
        noise = self.misleading + self.glimpse / self.views
        covariance = (1 + self.spread) * _SHOWS @ _CORRELATION @ _SHOWS.T
        covariance = (covariance + noise * np.eye(len(VISIBLE))) / np.outer(scale, scale)
        return np.linalg.solve(covariance, crossed.T).T

    def oracle(self, shown: Array) -> Array:
        """Best scores [N, M] that any model could give from a location's own images.

        ``E[y | all that the location's views show]``, for an area drawn at random and with no
        knowledge of its other locations: what a model reaches that was trained on endless data and
        sees the scene without fail. The views of a location are exchangeable, so their mean is
        sufficient.

        Parameters
        ----------
        shown : array [N, V, K]
            As `show` gives it.
        """
        best: Array = shown.mean(axis=1) @ self.gain.T
        return best
