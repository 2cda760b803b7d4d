"""The images of the report: whose may be shown, which are, and what in them moved the score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.features.lookup import backbone_of
from streetgauge.features.store import FeatureStore
from streetgauge.imagery import (
    ImageError,
    ImageSource,
    decode,
    find_views,
    image_sources,
    raw_images,
)
from streetgauge.io.files import read_table
from streetgauge.progress import Progress
from streetgauge.report.gallery import (
    SIDE,
    SIDE_OF_AREA,
    Gallery,
    Heat,
    Shot,
    compose,
    extremes,
    heat,
    thumbnail,
    typical,
)
from streetgauge.settings import ImageFeatures, ImagerySettings, OpenImagery, Url
from streetgauge.settings.imagery import names_a_licence
from streetgauge.study import Study
from streetgauge.study.paths import image_files
from streetgauge.study.stages import has_gallery

if TYPE_CHECKING:
    from streetgauge.features import Backbone


Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Key = tuple[str, str]  # location and view

SHOWN = 4  # images at either end of a concept
LEAST_BYTES = 1500  # of a thumbnail: more of them need not be tried
UNEXPLAINED = "What moved the scores is not shown: {}."
RIGHTS = ["location_id", "view", "licence", "attribution", "url"]


def make_gallery(study: Study, table: pd.DataFrame, progress: Progress) -> Gallery | None:
    """Choose, read and explain the images of the page.

    Parameters
    ----------
    study : Study
        Its images, features, predictions and bundles.
    table : DataFrame
        Of areas.parquet.
    progress : Progress
        Reports images.

    Returns
    -------
    Gallery or None
        None if the study has no images, or its settings forbid to show them. Where they could be
        shown but cannot be read, a gallery with a note.

    Raises
    ------
    InputError
        If the study insists on images and there are none to show.
    """
    settings = study.settings
    if settings.several or not isinstance(settings.features, ImageFeatures):
        return None
    if settings.report.images is False:
        return None
    try:
        if not has_gallery(study):
            raise InputError(
                "images",
                "the study states no licence that allows showing them",
                "set imagery.licence",
            )
        gallery = _gallery(study, table, progress)
        if not gallery.outcomes and not gallery.areas:
            raise InputError(
                "images",
                "none that may be shown can be read",
                "check that they are still where `features` read them",
            )
        return gallery
    except InputError as error:
        if settings.report.images is True:
            raise
        return Gallery(note=f"No images are shown: {error.reason}.")


def concept_examples(
    study: Study, findings: Mapping[str, Any], progress: Progress
) -> dict[str, dict[str, list[Shot]]]:
    """Read images with most and with least of each concept that is reported.

    Parameters
    ----------
    study : Study
        Its images.
    findings : mapping
        The content of ``concepts.json``: of the images in its ``examples`` the first are shown
        that may be and can be read.
    progress : Progress
        Reports images.

    Returns
    -------
    dict of concept to dict of list of Shot
        ``most`` and ``least``; without concepts of which no image can be shown at both ends.
    """
    study = study.image_source or study
    chosen = findings.get("examples") or {}
    if not chosen or not has_gallery(study):
        return {}
    imagery, store = image_files(study), FeatureStore.open(study.features)
    if isinstance(imagery.folder, Url) and study.settings.report.images == "auto":
        return {}
    rights = _rights(study, store)
    candidates = {
        (concept, end): [key for key in map(tuple, keys) if key in rights.index][:SHOWN]
        for concept, ends in chosen.items()
        for end, keys in ends.items()
    }
    wanted: set[Key] = {key for keys in candidates.values() for key in keys}
    shots: dict[Key, Shot] = {}
    with progress("images of concepts", len(wanted), "images") as advance:
        for key, pixels in _pictures(study, imagery, wanted):
            advance(1)
            if pixels is not None:
                shots[key] = _shot(key, pixels, rights, SIDE_OF_AREA)
    found = {
        concept: {
            end: [shots[key] for key in candidates[concept, end] if key in shots] for end in ends
        }
        for concept, ends in chosen.items()
    }
    return {concept: ends for concept, ends in found.items() if all(ends.values())}


def _gallery(study: Study, table: pd.DataFrame, progress: Progress) -> Gallery:

    wishes, imagery = study.settings.report, image_files(study)
    if isinstance(imagery.folder, Url) and wishes.images == "auto":
        raise InputError("images", "they are on the web", "report.images = true")
    store = FeatureStore.open(study.features)
    predictions = read_table(study.predictions)
    rights = _rights(study, store)
    may = _shown_views(store, rights, predictions)
    predictions = predictions[predictions["location_id"].isin(may)]
    chosen = extremes(predictions, wishes.locations)
    budget = int(wishes.megabytes * 1e6)
    of_areas = typical(predictions, _by_error(table), wishes.area_images)
    of_areas = of_areas.head(budget // LEAST_BYTES)
    # Of an area's locations the first shows its first view, the second its second: they differ.
    cards = [
        (str(row.area), (str(row.location_id), views[int(cast("int", row.rank)) % len(views)]))
        for row in of_areas.itertuples()
        if (views := may[str(row.location_id)])
    ]
    located = [str(location) for location in chosen["location_id"].unique()]
    in_groups = {(location, view) for location in located for view in may[location]}
    explainer, views_of, note = _explainer(study, store, chosen, may)
    explained = {key for keys in views_of.values() for key in keys}
    large: dict[Key, Shot] = {}
    small: dict[Key, Shot] = {}
    inputs: dict[Key, tuple[Pixels, float | None]] = {}
    wanted = in_groups | {key for _, key in cards}
    with progress("images of the report", len(wanted), "images") as advance:
        for key, pixels in _pictures(study, imagery, wanted):
            advance(1)
            if key in rights.index and pixels is not None:
                if key in in_groups:
                    large[key] = _shot(key, pixels, rights, SIDE)
                small[key] = _shot(key, pixels, rights, SIDE_OF_AREA)
                if explainer is not None and key in explained:
                    inputs[key] = explainer.prepared(pixels)
    shots = {
        location: [large[location, view] for view in may[location] if (location, view) in large]
        for location in located
    }
    heats: dict[tuple[str, str, str], Heat] = {}
    largest: dict[str, float] = {}
    if explainer is not None:
        try:
            heats, largest = explainer.heats(views_of, inputs, large, progress)
        except InputError as error:
            note = UNEXPLAINED.format(error.reason)
    missing = len(wanted) - len(small)
    if missing:
        plural = "image that was chosen" if missing == 1 else "images that were chosen"
        note = f"{note} {missing:,} {plural} cannot be read now.".strip()
    return compose(
        chosen,
        shots,
        [(area, small[key]) for area, key in cards if key in small],
        budget=budget,
        largest=largest,
        heats=heats,
        note=note,
    )


def _explainer(
    study: Study, store: FeatureStore, chosen: pd.DataFrame, may: dict[str, list[str]]
) -> tuple[_Explainer | None, dict[str, set[Key]], str]:
    """Give what explains scores, and the views for each outcome; or None, nothing, and why."""
    if not study.settings.report.occlusion:
        return None, {}, ""
    if find_spec("torch") is None:
        return None, {}, UNEXPLAINED.format("PyTorch is not installed")
    try:
        explainer = _Explainer(study, store)
        return explainer, explainer.most_telling(chosen, may), ""
    except InputError as error:
        return None, {}, UNEXPLAINED.format(error.reason)


def _rights(study: Study, store: FeatureStore) -> pd.DataFrame:
    """Give what allows showing each view, and whom to name; without views that nothing allows."""
    if isinstance(study.settings.imagery, OpenImagery):
        rights = read_table(study.images).rename(columns={"source_url": "url"})
    else:
        pairs = pd.MultiIndex.from_product([store.location_ids, store.views])
        rights = pairs.to_frame(index=False, name=["location_id", "view"])
        rights = rights.assign(**study.settings.image_rights, url="")
    rights = rights.reindex(columns=RIGHTS)
    rights[RIGHTS[2:]] = rights[RIGHTS[2:]].astype(object).fillna("").astype(str)
    rights = rights[rights["licence"].map(names_a_licence)]
    return rights.drop_duplicates(RIGHTS[:2]).set_index(RIGHTS[:2]).sort_index()


def _shown_views(
    store: FeatureStore, rights: pd.DataFrame, predictions: pd.DataFrame
) -> dict[str, list[str]]:
    """Give the views of each predicted location that were used and may be shown."""
    ids = pd.unique(predictions["location_id"])
    present = store.present[store.rows(ids)] & (store.rows(ids) >= 0)[:, None]
    allowed = pd.MultiIndex.from_product([ids, store.views]).isin(rights.index)
    usable = present & allowed.reshape(present.shape)
    return {
        str(location): [view for view, use in zip(store.views, row, strict=True) if use]
        for location, row in zip(ids, usable, strict=True)
        if row.any()
    }


def _by_error(table: pd.DataFrame) -> list[str]:
    """Order areas by how wrong their predictions are: these matter most."""
    wrong = (table["decile"] - table["actual_decile"]).abs().astype("Float64").fillna(-1.0)
    each = wrong.groupby(table["area"]).mean().reset_index(name="wrong")
    return each.sort_values(["wrong", "area"], ascending=[False, True])["area"].tolist()


def _pictures(
    study: Study, imagery: ImagerySettings, wanted: set[Key]
) -> Iterator[tuple[Key, Pixels | None]]:
    """Read images, each file once; None instead of one that cannot be read."""
    locations = read_table(study.locations)
    # Which location an image with coordinates belongs to depends on all of them.
    if not imagery.exif and imagery.manifest is None:
        locations = locations[locations["location_id"].isin({each for each, _ in wanted})]
    views, _ = find_views(imagery, locations)
    views = views[pd.MultiIndex.from_frame(views[["location_id", "view"]]).isin(list(wanted))]
    rows: list[ImageSource] = image_sources(views)
    keys = zip(views["location_id"], views["view"], strict=True)
    for key, row, raw in zip(keys, rows, raw_images(rows), strict=True):
        try:
            pixels = None if isinstance(raw, ImageError) else decode(raw, row.cut)
        except ImageError:
            pixels = None
        yield (str(key[0]), str(key[1])), pixels


def _shot(key: Key, pixels: Pixels, rights: pd.DataFrame, side: int) -> Shot:

    licence, attribution, url = map(str, rights.loc[[key]].iloc[0])
    src, width, height = thumbnail(pixels, side)
    return Shot(*key, src, width, height, licence, attribution, url)


@dataclass
class _Explainer:
    """The networks of a study, evaluated once more on a few images."""

    study: Study
    store: FeatureStore

    def __post_init__(self) -> None:
        from streetgauge.features import resolve_checksum

        own = self.study.settings.features
        assert isinstance(own, ImageFeatures)  # else there are no images
        self.backbone: Backbone = resolve_checksum(backbone_of(own))
        splits = read_table(self.study.splits).query("part == 'test'")
        self.part = splits.drop_duplicates("location_id").set_index("location_id")["split"]
        self._bundles: dict[str, Any] = {}

    def prepared(self, pixels: Pixels) -> tuple[Pixels, float | None]:
        """Give what the network sees, and which share of the shorter side that is; None: all."""
        from streetgauge.features import prepare

        share = None if self.backbone.squash else self.backbone.crop / self.backbone.resize
        return prepare(pixels, self.backbone), share

    def most_telling(self, chosen: pd.DataFrame, may: dict[str, list[str]]) -> dict[str, set[Key]]:
        """Of the first location of each group, find the view without which the score differs most.

        Returns
        -------
        dict of outcome to set of (location, view)
        """
        result: dict[str, set[Key]] = {}
        for row in chosen[chosen["rank"] == 0].itertuples():
            outcome, location = str(row.outcome), str(row.location_id)
            features, present = self._features_of(location)
            if location not in self.part.index:
                continue
            there = [v for v in may[location] if present[self.store.views.index(v)]]
            best = there[0]
            if present.sum() > 1:
                masks = np.array([present & (np.array(self.store.views) != v) for v in there])
                every = np.concatenate([present[None], masks])
                scores = self._scores(location, outcome, features, every)
                best = there[int(np.argmax(np.abs(scores[0] - scores[1:]).round(9)))]
            result.setdefault(outcome, set()).add((location, best))
        return result

    def heats(
        self,
        views_of: dict[str, set[Key]],
        inputs: dict[Key, tuple[Pixels, float | None]],
        shots: dict[Key, Shot],
        progress: Progress,
    ) -> tuple[dict[tuple[str, str, str], Heat], dict[str, float]]:
        """Draw what moved the score, on one scale for an outcome."""
        from streetgauge.devices import working_threads
        from streetgauge.features.occlusion import grey_of, occlusion

        keys = sorted({key for keys in views_of.values() for key in keys if key in inputs})
        if not keys:
            return {}, {}
        features_of = self._network()
        colour = grey_of(self.backbone)

        def effect_of(key: Key) -> tuple[list[str], Floats]:
            names = [name for name, keys in views_of.items() if key in keys]

            def scores(pixels: Pixels) -> Floats:
                seen = features_of(pixels)
                return np.stack([self._moved(key, name, seen) for name in names], axis=1)

            return names, occlusion(inputs[key][0], scores, colour=colour)

        effects: dict[tuple[str, Key], Floats] = {}
        # An image for each thread: products that threads share are slow on a busy machine.
        with (
            progress("what moved the scores", len(keys), "images") as advance,
            working_threads() as pool,
        ):
            for key, (names, moved) in zip(keys, pool.map(effect_of, keys), strict=True):
                effects |= {(name, key): moved[..., m] for m, name in enumerate(names)}
                advance(1)
        largest: dict[str, float] = {}
        for (outcome, _), effect in effects.items():
            largest[outcome] = max(largest.get(outcome, 0.0), float(np.abs(effect).max()))
        drawn = {
            (outcome, *key): heat(
                effect,
                largest[outcome],
                (shots[key].width, shots[key].height),
                inputs[key][1],
            )
            for (outcome, key), effect in effects.items()
        }
        return drawn, largest

    def _features_of(self, location: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        row = int(self.store.rows([location])[0])
        return np.asarray(self.store.features[row], np.float32), np.array(self.store.present[row])

    def _moved(self, key: Key, outcome: str, seen: npt.NDArray[np.float32]) -> Floats:
        """Scores of a location with other features instead of one view's: [n, D] -> [n]."""
        features, present = self._features_of(key[0])
        each = np.repeat(features[None], len(seen), axis=0)
        each[:, self.store.views.index(key[1])] = seen
        return self._scores(key[0], outcome, each, np.repeat(present[None], len(seen), axis=0))

    def _scores(
        self,
        location: str,
        outcome: str,
        features: npt.NDArray[np.float32],
        present: npt.NDArray[np.bool_],
    ) -> Floats:
        """Calibrated scores by the network that has not seen the location's area."""
        from streetgauge.model import Bundle

        name = str(self.part[location])
        if name not in self._bundles:
            self._bundles[name] = Bundle.load(self.study.model / name)
        bundle = self._bundles[name]
        if features.ndim == 2:
            features = np.repeat(features[None], len(present), axis=0)
        predicted = bundle.predict(features, present, device="cpu").score
        scores: Floats = predicted[:, bundle.outcomes.index(outcome)]
        return scores

    def _network(self) -> Callable[[Pixels], npt.NDArray[np.float32]]:
        from streetgauge.features import load_network
        from streetgauge.features.chunks import features_of

        own = self.study.settings.features
        assert isinstance(own, ImageFeatures)
        # What computed the study's features, as far as it is here: another has other last bits.
        engine = str(self.store.attributes.get("engine") or "auto")
        network = load_network(self.backbone, own.device, engine)
        batch = 16

        def of(pixels: Pixels) -> npt.NDArray[np.float32]:
            parts = range(0, len(pixels), batch)
            return np.concatenate([features_of(network, pixels[at : at + batch]) for at in parts])

        return of
