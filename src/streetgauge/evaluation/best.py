"""The best estimate of every area: what its images, its place and its columns show together.

An area's class is predicted by Gaussian processes on a sum of kernels: a Gaussian one on the mean
features of its images, a Matérn one on its position, linear ones on splines of further columns and
of an earlier release. The sums differ in smoothness, range and in the shares of their parts, and
are averaged by marginal likelihood (`streetgauge.model.gaussian_process.regress`). A quarter of
the best estimate is what the images' learner predicts: it finds what is not linear, and it errs in
other areas.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines import Placements, smooth_columns
from streetgauge.evaluation.intervals import intervals
from streetgauge.evaluation.kernels import landmarks, matern_maps, spanned
from streetgauge.model.gaussian_process import regress
from streetgauge.model.products import Selection, Totals
from streetgauge.progress import Advance

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

LEARNER = 0.25  # share of the images' learner: docs/best.md compares shares
COMPONENTS = 256  # of areas' mean features
MANY = 1500  # areas or features, beyond which exact components take long
WIDTH = 2.0  # of the images' kernel, in median distances of features: docs/best.md compares it
IMAGE_LANDMARKS = 256  # areas that span the images' kernel
SHARES = (0.2, 0.5, 0.8)  # of the first of two parts
LARGE = 0.6  # share of one of more than two parts; the others have equal ones
LEAST = 3  # areas with a label, below which there is no estimate
IMAGES, PLACES, FURTHER, EARLIER = "images", "places", "columns", "earlier release"


@dataclass(frozen=True, eq=False)
class AreaKnowledge:
    """What is known of areas besides their labels.

    Parameters
    ----------
    areas : Index
        All areas of the study.
    features : DataFrame by area, optional
        Mean features of the areas that have images.
    scale : array of float, shape [D], optional
        What each feature is divided by; its standard deviation over these areas if not given.
    placements : Placements, optional
        Where areas lie. The one that predicts the training areas better is used.
    columns : DataFrame by area, optional
        Further numbers.
    previous : mapping of outcome to Series by area
        Values of an earlier release.
    """

    areas: pd.Index
    features: pd.DataFrame | None = None
    scale: npt.ArrayLike | None = None
    placements: Placements | None = None
    columns: pd.DataFrame | None = None
    previous: Mapping[str, pd.Series] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals, init=False)

    @cached_property
    def with_images(self) -> pd.Index:
        """Areas that have features."""
        return self.areas[:0] if self.features is None else self.features.dropna(how="all").index

    @cached_property
    def images(self) -> Singles | None:
        """Map of the images' kernel [A, landmarks]; zero in areas without images."""
        components = self._components
        if components is None:
            return None
        from scipy.spatial.distance import cdist

        marks = landmarks(len(components), IMAGE_LANDMARKS)
        reaching = cdist(components[marks], components)
        between = reaching[:, marks]
        apart = between[np.triu_indices(len(marks), 1)]
        if not apart.any():
            return None
        width = WIDTH * np.median(apart[apart > 0])
        inner, cross = (np.exp(-((d / width) ** 2) / 2) for d in (between, reaching))
        return self._rows(pd.DataFrame(spanned(inner, cross), self.with_images.sort_values()))

    @property
    def _components(self) -> Floats | None:
        """Principal components of the mean features of the areas that have images, sorted."""
        if not len(self.with_images) or self.features is None or not self.features.shape[1]:
            return None
        from sklearn.decomposition import PCA

        known = self.features.loc[self.with_images].sort_index()
        values = known.fillna(known.median()).to_numpy(np.float64)
        scale = values.std(axis=0) if self.scale is None else np.asarray(self.scale, np.float64)
        values = values[:, scale > 0] / scale[scale > 0]
        if not values.shape[1]:
            return None
        n, width = values.shape
        solver = "covariance_eigh" if width <= MANY else "full" if n <= MANY else "randomized"
        pca = PCA(min(COMPONENTS, n, width), svd_solver=solver, iterated_power=4, random_state=0)
        found: Floats = pca.fit_transform(values)
        return found

    @cached_property
    def places(self) -> Mapping[str, list[Singles]]:
        """Of each placement the maps of its Matérn kernels; zero in areas without coordinates."""
        if self.placements is None:
            return {}
        return {
            name: matern_maps(points.reindex(self.areas)[["x", "y"]].to_numpy(np.float64))
            for name, points in self.placements.coordinates.items()
        }

    @cached_property
    def further(self) -> Singles | None:
        """Splines of the columns."""
        return None if self.columns is None else self._splines(self.columns)

    def earlier(self, outcome: str) -> Singles | None:
        """Splines of the outcome's earlier release."""
        values = self.previous.get(outcome)
        return None if values is None else self._splines(values.to_frame("previous"))

    def _splines(self, table: pd.DataFrame) -> Singles | None:
        splines = smooth_columns(table)
        return self._rows(splines - splines.mean()) if splines.shape[1] else None

    def _rows(self, table: pd.DataFrame) -> Singles:
        rows: Singles = np.nan_to_num(table.reindex(self.areas).to_numpy(np.float32))
        return rows


def best_estimates(
    areas: pd.DataFrame,
    known: AreaKnowledge,
    training_areas: pd.DataFrame,
    *,
    classes: int = 10,
    counts: Mapping[str, Sequence[int]] | None = None,
    interval_level: float = 0.9,
    calibration_set: pd.DataFrame | None = None,
    advance: Advance | None = None,
) -> pd.DataFrame:
    """Estimate every area from all that is known.

    An area with a label is estimated from the training areas of the fold that it is held out in,
    one without a label from all areas that have one. Where an area has no images, its place, its
    columns and its earlier release are used, and nothing else; the intervals of such areas come
    from the errors that the same makes in areas with images. An area that was trained on and never
    tested has no estimate, nor has one of which nothing is known.

    Parameters
    ----------
    areas : DataFrame
        From `aggregate`: ``area, outcome, fold, score, actual_decile``.
    known : AreaKnowledge
    training_areas : DataFrame
        From `training_areas`: ``fold, area, outcome, decile``.
    classes, counts
        As for `aggregate`: estimates are cut as the predictions are.
    interval_level, calibration_set
        As for `intervals`.
    advance : callable, optional
        Called with 0 after each fold, as a sign that the work goes on.

    Returns
    -------
    DataFrame
        ``area``, ``outcome``, ``best_score`` (on the scale of ``score``), ``best_decile``,
        ``best_low`` and ``best_high`` (Int64, 1 to ``classes``) and ``best_from``, which names what
        the area's estimate is made of. Sorted by outcome and area; empty where areas were not held
        out as a whole, or none of the study's areas was trained on.
    """
    if areas.empty or training_areas.empty or (areas["fold"] == 0).any():
        return _table([])
    one = _Estimates(areas, known, training_areas, classes, advance or (lambda steps: None))
    tables = []
    for outcome in one.outcomes:
        sizes = (counts or {}).get(outcome)
        held = None if calibration_set is None else one.calibration(calibration_set, outcome)
        for rows, calibration in ((one.tested(outcome), held), (one.untested(outcome), None)):
            rows = rows.dropna(subset="score")
            has_label = rows["actual_decile"].notna().to_numpy()
            rows = rows.assign(decile=cut(rows["score"].to_numpy(), classes, sizes, has_label))
            found = intervals(rows, interval_level, classes, calibration)
            tables.append(found[found["wanted"]])
    return _table(tables)


def _table(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    kinds = {
        **{"area": "str", "outcome": "str", "best_score": "float64", "best_decile": "Int64"},
        **{"best_low": "Int64", "best_high": "Int64", "best_from": "str"},
    }
    names = {n: f"best_{n}" for n in ("score", "decile", "low", "high", "from")}
    parts = [part.rename(columns=names)[[*kinds]] for part in parts if len(part)]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=[*kinds])
    return table.astype(kinds).sort_values(["outcome", "area"], ignore_index=True)


class _Estimates:
    """Estimates of the areas of one study in one kind of folds."""

    def __init__(
        self,
        areas: pd.DataFrame,
        known: AreaKnowledge,
        training: pd.DataFrame,
        classes: int,
        advance: Advance,
    ) -> None:
        self.known, self.training, self.advance = known, training, advance
        self.middle, self.step = (classes + 1) / 2, (classes - 1) / 4  # of a score, in classes
        self.outcomes = [str(name) for name in np.unique(areas["outcome"].to_numpy(str))]
        self.fold = areas.drop_duplicates("area").set_index("area")["fold"].sort_index()
        self.actual = self._wide(areas, "actual_decile").reindex(self.fold.index)
        learner = self.middle + self.step * self._wide(areas, "score")
        self.learner = learner.reindex(self.fold.index)

    def _wide(self, frame: pd.DataFrame, column: str) -> pd.DataFrame:
        numbers = frame.astype({column: "float64"})
        wide = numbers.pivot_table(column, "area", "outcome", aggfunc="first")
        return wide.reindex(columns=self.outcomes).sort_index()

    def labels(self, fold: int) -> pd.DataFrame:
        """Deciles of the training areas of a fold, by area and outcome."""
        return self._wide(self.training[self.training["fold"] == fold], "decile")

    @cached_property
    def all_labels(self) -> pd.DataFrame:
        """Deciles of all areas with images and a label."""
        once = self.training.drop_duplicates(["area", "outcome"])
        return self.actual.combine_first(self._wide(once, "decile"))

    def _held_out(self, *, images: bool) -> pd.DataFrame:
        """Estimate every tested area without its label."""
        result = pd.DataFrame(np.nan, self.fold.index, self.outcomes)
        for fold, own in self.fold.groupby(self.fold):
            query = own.index
            found = self._process(self.labels(int(fold)), query, images=images)
            result.loc[query] = found.to_numpy()
        lacking = self.actual.isna()
        query = self.fold.index[lacking.any(axis=1)]
        if len(query):
            everywhere = self._process(self.all_labels, query, images=images)
            result = result.mask(lacking, everywhere)
        return result

    @cached_property
    def processed(self) -> pd.DataFrame:
        """What Gaussian processes alone make of the tested areas; missing where labels are few."""
        return self._held_out(images=True)

    @cached_property
    def from_images(self) -> pd.DataFrame:
        """Estimates of the tested areas: a mean with the learner's, which stands alone at need."""
        mean = (1 - LEARNER) * self.processed + LEARNER * self.learner
        return mean.fillna(self.learner)

    @cached_property
    def from_places(self) -> pd.DataFrame:
        """Estimates of the same areas as if they had no images."""
        return self._held_out(images=False)

    @cached_property
    def without_images(self) -> pd.DataFrame:
        """Estimates of the areas that have none."""
        there = self.known.areas.difference(self.known.with_images).difference(self.fold.index)
        there = there.difference(pd.Index(self.training["area"].unique()))
        return self._process(self.all_labels, there, images=False)

    def _process(self, labels: pd.DataFrame, query: pd.Index, *, images: bool) -> pd.DataFrame:
        """Predict areas from others, about the middle: see `Folds.predict`."""
        if query.empty:
            return pd.DataFrame(index=query, columns=self.outcomes, dtype="float64")
        found = _predict(self.known, labels, query, images=images)
        self.advance(0)
        return found - labels.mean() + self.middle

    def tested(self, outcome: str) -> pd.DataFrame:
        """Give the tested areas with what `intervals` needs."""
        rows = self._rows(self.from_images, outcome, images=True)
        alone = self.processed[outcome].isna().to_numpy()
        rows.loc[alone, "from"] = IMAGES
        return rows

    def untested(self, outcome: str) -> pd.DataFrame:
        """Give the areas without images, which are ``wanted``, next to those that test them."""
        found = self._rows(self.without_images, outcome, images=False)
        if found["score"].isna().all():
            return found
        tested = self._rows(self.from_places, outcome, images=False).assign(wanted=False)
        return pd.concat([tested, found], ignore_index=True)

    def calibration(self, calibration_set: pd.DataFrame, outcome: str) -> pd.DataFrame | None:
        """Estimate the calibration set, from the training areas that are not in it."""
        own = calibration_set[calibration_set["outcome"] == outcome].set_index("area").sort_index()
        labels = self.all_labels.drop(own.index.union(self.fold.index), errors="ignore")
        if own.empty or labels[outcome].notna().sum() < LEAST:
            return None
        found = self._process(labels[[outcome]], own.index, images=True)[outcome]
        learner = self.middle + self.step * own["score"]
        score = ((1 - LEARNER) * found + LEARNER * learner).fillna(learner)
        return own.assign(score=(score - self.middle) / self.step).reset_index()

    def _rows(self, found: pd.DataFrame, outcome: str, *, images: bool) -> pd.DataFrame:
        actual, fold = self.actual[outcome], self.fold
        parts = _known_parts(self.known, outcome, found.index, images=images)
        # An area of which nothing is known would get the mean.
        estimated = found[outcome].where(parts != "")
        return pd.DataFrame(
            {
                "area": found.index,
                "outcome": outcome,
                "fold": fold.reindex(found.index).fillna(fold.max() + 1).astype(int).to_numpy(),
                "score": (estimated.to_numpy() - self.middle) / self.step,
                "actual_decile": actual.reindex(found.index).astype("Int64").to_numpy(),
                "from": parts.to_numpy(),
                "wanted": True,
            }
        )


def _predict(
    known: AreaKnowledge, labels: pd.DataFrame, query: pd.Index, *, images: bool
) -> pd.DataFrame:
    """Predict areas from the labels of others by Gaussian processes: NaN where nothing is known."""
    result = pd.DataFrame(np.nan, query, labels.columns)
    groups: dict[tuple[str, str], list[str]] = {}
    for outcome in labels.columns:
        own = labels[outcome].dropna()
        if len(own) >= LEAST:
            place = "" if known.placements is None else known.placements.best(own)
            earlier = outcome if outcome in known.previous else ""
            groups.setdefault((place, earlier), []).append(outcome)
    for (place, _), outcomes in groups.items():
        parts = [maps for _, maps in _parts(known, outcomes[0], place, images)]
        if parts:
            result[outcomes] = _regressed(known.areas, parts, labels[outcomes], query, known.totals)
    return result


def _parts(
    known: AreaKnowledge, outcome: str, place: str, images: bool
) -> Iterator[tuple[str, list[Singles]]]:
    """Give what an outcome's kernels are sums of: one map of each part."""
    if images and known.images is not None:
        yield IMAGES, [known.images]
    if known.places.get(place):
        yield PLACES, known.places[place]
    for name, each in ((FURTHER, known.further), (EARLIER, known.earlier(outcome))):
        if each is not None:
            yield name, [each]


def _known_parts(known: AreaKnowledge, outcome: str, areas: pd.Index, *, images: bool) -> pd.Series:
    """Name which parts are known of each area; "" where there are none."""
    rows = known.areas.get_indexer(areas)
    # Where areas have images, their learner knows them, even if their mean features are all alike.
    names = pd.Series(IMAGES if images else "", areas, dtype="object")
    for name, maps in _parts(known, outcome, next(iter(known.places), ""), images=False):
        there = maps[0][rows].any(axis=1)
        names += np.where(there, np.where(names == "", name, f", {name}"), "")
    return names


def _regressed(
    areas: pd.Index,
    parts: Sequence[list[Singles]],
    labels: pd.DataFrame,
    query: pd.Index,
    totals: Totals,
) -> Floats:
    """Predict by every map alone, and every sum of one map of each part: [query, outcomes].

    Which of them count, and how much, the training areas' labels decide: where images or places say
    nothing, kernels without them are the likeliest.
    """
    maps = list(itertools.chain(*parts))
    number = iter(range(len(maps)))
    positions = [[next(number) for _ in part] for part in parts]
    alone = [((each,), (1.0,)) for part in positions for each in part if len(parts) > 1]
    sums = itertools.product(itertools.product(*positions), _shares(len(parts)))
    kernels, shares = zip(*alone, *sums, strict=True)
    labels = labels.dropna(how="all")
    training, asked = areas.get_indexer(labels.index), areas.get_indexer(query)
    if (training < 0).any() or (asked < 0).any():
        raise ValueError("an area is not among those of which something is known")
    fitted = regress(
        maps,
        labels.to_numpy(np.float64),
        np.ones(len(labels)),
        kernels,
        shares,
        variance=False,
        selection=Selection(training, totals),
    )
    return fitted.expected([each[asked] for each in maps])


def _shares(count: int) -> list[tuple[float, ...]]:
    """Give shares of so many parts, each of sum 1."""
    if count <= 2:
        return [(share, 1 - share) for share in SHARES] if count == 2 else [(1.0,)]
    rest = (1 - LARGE) / (count - 1)
    one_large = [tuple(LARGE if i == k else rest for i in range(count)) for k in range(count)]
    return [(1 / count,) * count, *one_large]
