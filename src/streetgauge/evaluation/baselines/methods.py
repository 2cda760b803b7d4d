"""All that a study's images are compared with, made once for all outcomes."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines.folds import Chance, Folds, Method, middle
from streetgauge.evaluation.baselines.placements import BetterPlaced, Placements
from streetgauge.evaluation.baselines.ridge import Ridge, RidgeAndKriging, smooth_columns
from streetgauge.evaluation.baselines.spatial import Kriging, Nearest
from streetgauge.io.tables import is_among

if TYPE_CHECKING:
    import geopandas as gpd


CONSTANT, CHANCE = "constant", "random"


@dataclass(frozen=True, eq=False)
class BaselinePrediction:
    """What a method predicts for the areas of one outcome.

    Parameters
    ----------
    deciles : Series by area, Int64
        Cut as the predictions are.
    scores : Series by area, float
        On the scale of deciles, for the methods that have such.
    uses_images : bool
        Whether it uses images' features: then it is no baseline that images must beat.
    """

    deciles: pd.Series
    scores: pd.Series
    uses_images: bool = False


class Baselines:
    """The methods that a study's facts allow.

    Parameters
    ----------
    coordinates : DataFrame by area, optional
        ``x`` and ``y`` in metres; gives ``nearest-areas`` and ``kriging``, and tells the others how
        far from the training areas the query is.
    location_means : DataFrame by area, optional
        The mean positions of the areas' locations, in the same coordinate system: a second
        placement. ``nearest-areas`` and ``kriging`` take, fold by fold, the one that predicts the
        training areas better.
    neighbours : int, default 5
        Of ``nearest-areas``.
    density : Series by area, optional
        See `density`; gives ``density``.
    columns : DataFrame by area, optional
        Further numbers that are known of areas without an image (household size, say); gives
        ``columns``, from all of them and the density together.
    previous : mapping of outcome to Series by area, optional
        An earlier release's values of the outcome; gives ``previous``.
    features : DataFrame by area, optional
        Mean features of the areas' images; gives ``linear`` and, with coordinates,
        ``linear-and-kriging``, which use images, and the check with shuffled labels.
    seed : int, default 0
        Of ``random`` and of the shuffling.
    """

    def __init__(
        self,
        coordinates: pd.DataFrame | None = None,
        *,
        location_means: pd.DataFrame | None = None,
        neighbours: int = 5,
        density: pd.Series | None = None,
        columns: pd.DataFrame | None = None,
        previous: Mapping[str, pd.Series] | None = None,
        features: pd.DataFrame | None = None,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self._plain: dict[str, Method] = {}
        self._images: dict[str, Method] = {}
        given = {"centroids": coordinates, "locations": location_means}
        placed = {n: each for n, each in given.items() if each is not None and _any_position(each)}
        self.placements = Placements(placed, neighbours) if placed else None
        if self.placements is not None:
            coordinates_of = self.placements.coordinates.items()
            nearest = {name: Nearest(each, neighbours) for name, each in coordinates_of}
            self._plain["nearest-areas"] = BetterPlaced(self.placements, nearest)
            kriging = {name: Kriging(each) for name, each in coordinates_of}
            self._plain["kriging"] = BetterPlaced(self.placements, kriging)
        if density is not None and density.max() > density.min():
            self._plain["density"] = Ridge(smooth_columns(density.to_frame("density")), coordinates)
        if columns is not None and columns.shape[1]:
            known = columns if density is None else columns.assign(density=density)
            self._plain["columns"] = Ridge(smooth_columns(known), coordinates)
        self._plain |= {
            f"{name}-and-kriging": self._with_kriging(self._plain[name])
            for name in ("density", "columns")
            if name in self._plain and "kriging" in self._plain
        }
        self._previous = {
            outcome: Ridge(smooth_columns(values.to_frame("previous")), coordinates)
            for outcome, values in (previous or {}).items()
        }
        if features is not None and features.shape[1]:
            self._images["linear"] = Ridge(features, coordinates)
            if "kriging" in self._plain:
                self._images["linear-and-kriging"] = self._with_kriging(self._images["linear"])

    def _with_kriging(self, ridge: Method) -> BetterPlaced[RidgeAndKriging]:
        kriging = self._plain["kriging"]
        assert isinstance(ridge, Ridge)
        assert isinstance(kriging, BetterPlaced)
        # Placed by the labels, as kriging alone is, and not by what the regression leaves.
        methods = {name: RidgeAndKriging(ridge, each) for name, each in kriging.methods.items()}
        return BetterPlaced(kriging.placements, methods)

    def predict(
        self,
        outcome: str,
        frame: pd.DataFrame,
        *,
        classes: int = 10,
        counts: Sequence[int] | None = None,
        training_areas: pd.DataFrame | None = None,
    ) -> dict[str, BaselinePrediction]:
        """Let every method predict the areas of one outcome.

        Parameters
        ----------
        outcome : str
            Its name.
        frame : DataFrame by area
            ``fold`` (0: not held out as a whole) and ``actual_decile`` (may be missing).
        classes, counts
            As for `streetgauge.evaluation.aggregate`: they are cut as the networks' are. All but
            the constant's: rounding would lower the MAE of *any* method by crowding its
            predictions into the middle deciles, where no tenth of the areas is at either end.
        training_areas : DataFrame, optional
            As for `Folds`, of this outcome.

        Returns
        -------
        dict of name to BaselinePrediction
            Of methods that have a prediction for every area. None at all where areas were not held
            out as a whole: one that knew what the networks knew would know the area's own decile.
        """
        actual, fold = frame["actual_decile"], frame["fold"]
        if (fold == 0).any() or frame.empty:
            return {}
        folds, result = Folds(actual, fold, training_areas, (1 + classes) / 2), {}
        known = actual.notna().to_numpy()
        for name, method, uses_images in self._methods(outcome):
            score = folds.predict(method)
            if score.isna().any():
                continue
            deciles = score if name == CONSTANT else cut(score.to_numpy(), classes, counts, known)
            deciles = pd.Series(deciles, frame.index).astype("Int64")
            result[name] = BaselinePrediction(deciles, score, uses_images)
        return result

    def placement(
        self, frame: pd.DataFrame, training_areas: pd.DataFrame | None = None
    ) -> dict[str, int] | None:
        """Count in how many folds each placement is the one that is taken.

        Parameters
        ----------
        frame, training_areas
            As for `predict`.

        Returns
        -------
        dict of name to int, or None
            ``centroids`` and ``locations``; None where there is no choice of two, or no baseline.
        """
        fold = frame["fold"]
        if self.placements is None or len(self.placements.coordinates) < 2 or (fold == 0).any():
            return None
        parts = Folds(frame["actual_decile"], fold, training_areas).parts
        taken = Counter(self.placements.best(training) for _, training in parts if len(training))
        return {name: taken[name] for name in self.placements.coordinates}

    def shuffled(
        self,
        outcome: str,
        frame: pd.DataFrame,
        *,
        times: int = 5,
        training_areas: pd.DataFrame | None = None,
    ) -> list[tuple[pd.Series, pd.Series]]:
        """Shuffle an outcome's deciles over the areas, and train ``linear`` on those.

        Whatever of the areas' own labels reached the predictions other than by training would
        still be found: with nothing to be trained on, all that agrees beyond chance is a leak.

        Parameters
        ----------
        outcome, frame, training_areas
            As for `predict`.
        times : int, default 5
            How often.

        Returns
        -------
        list of pairs of Series by area, float
            Shuffled deciles and scores for them, of the areas of ``frame`` with an actual decile;
            empty without features.
        """
        actual, fold = frame["actual_decile"], frame["fold"]
        if "linear" not in self._images or (fold == 0).any() or not actual.notna().any():
            return []
        labels = actual.dropna().astype("float64")
        if training_areas is not None:
            once = training_areas.drop_duplicates("area").set_index("area")
            known = once["decile"].astype("float64")
            labels = pd.concat([labels, known[~is_among(known.index, labels.index)]])
        labels = labels.sort_index()
        rng = np.random.default_rng([self.seed, zlib.crc32(outcome.encode())])
        folds, tested, result = Folds(actual, fold, training_areas), actual.notna(), []
        for _ in range(times):
            other = pd.Series(rng.permutation(labels.to_numpy()), labels.index)
            score = folds.predict(self._images["linear"], other)
            result.append((other.loc[actual.index[tested]], score[tested]))
        return [] if any(score.isna().any() for _, score in result) else result

    def _methods(self, outcome: str) -> Iterator[tuple[str, Method, bool]]:
        yield CONSTANT, middle, False
        yield CHANCE, Chance(self.seed, outcome), False
        for name, method in self._plain.items():
            yield name, method, False
        if outcome in self._previous:
            yield "previous", self._previous[outcome], False
        for name, method in self._images.items():
            yield name, method, True


def _any_position(coordinates: pd.DataFrame) -> bool:
    return bool(np.isfinite(coordinates[["x", "y"]].to_numpy(float)).all(axis=1).any())


def density(locations: pd.DataFrame, areas: gpd.GeoDataFrame) -> pd.Series:
    """Give the areas' locations by square kilometre: of postcodes, where people live densely.

    Parameters
    ----------
    locations : DataFrame
        ``area`` of each.
    areas : GeoDataFrame by area
        With boundaries.

    Returns
    -------
    Series by area
        At least 0; NaN where an area has no boundary.
    """
    from streetgauge.evaluation.structure import metric_crs

    here = areas[~(areas.geometry.isna() | areas.geometry.is_empty)]
    if here.empty:
        return pd.Series(np.nan, areas.index)
    size = here.geometry.to_crs(metric_crs(here)).area / 1e6
    count = locations["area"].value_counts().reindex(size.index, fill_value=0)
    result: pd.Series = (count / size.where(size > 0)).reindex(areas.index)
    return result
