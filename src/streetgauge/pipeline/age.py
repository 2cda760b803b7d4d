"""When the images of a study were taken, and what that does to its errors -> age.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.analysis.age import area_years, error_by_age, over_time
from streetgauge.errors import InputError
from streetgauge.evaluation import positions_of_areas, tested_areas, training_areas
from streetgauge.evaluation.area_facts import MEASURED
from streetgauge.evaluation.concepts import FALSE_DISCOVERY_RATE, Draws
from streetgauge.features.area_means import feature_table, mean_features
from streetgauge.features.store import FeatureStore
from streetgauge.imagery import capture_dates, find_views
from streetgauge.io.files import read_metadata, read_table, write_json
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.locations import read_areas
from streetgauge.model.training_data import deciles
from streetgauge.processes import undivided_products
from streetgauge.progress import Progress, silent
from streetgauge.report.text import years_of
from streetgauge.settings import ImageFeatures, OpenImagery
from streetgauge.study import Study
from streetgauge.study.paths import own_outputs


@undivided_products()
def study_age(study: Study, year: int | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Read when the images of a study were taken, and relate it to its errors; write age.json.

    Parameters
    ----------
    study : Study
        Evaluated, with images.
    year : int, optional
        The test over time trains on images from before it and tests on the others; the year in the
        middle of all images if not given.
    progress : callable
        Where to report how far it is.

    Returns
    -------
    dict
        ``name``, ``areas_sha256``, ``n_images``, ``n_dated``, ``first``, ``median``, ``last``
        (years), ``areas`` (by area: ``n_images``, ``n_dated``, ``median``, ``spread``), ``year``,
        ``false_discovery_rate``, ``outcomes``: by name what `error_by_age` gives, ``q``,
        ``is_related`` and ``over_time`` (what `streetgauge.analysis.age.over_time` gives).

    Raises
    ------
    InputError
        If the study has no images, or none of them states when it was taken.
    """
    settings = study.settings
    taken = _taken(study, progress)
    if not taken.notna().any():
        raise InputError(
            study.directory,
            "no image states when it was taken",
            "give the manifest a column captured_at",
        )
    locations = read_table(study.locations)
    of_location = pd.Series(locations["area"].to_numpy(), locations["location_id"])
    areas = read_areas(settings.areas, settings.locations)
    years, coordinates = area_years(taken, of_location), positions_of_areas(areas, locations)
    known = taken.dropna().dt.year
    when = int(known.median()) if year is None else year
    every = tested_areas(read_table(study.areas))
    frame = every[(every["status"] == MEASURED) & every["decile"].notna()]
    early, late = _means(study, taken, locations, when)
    trained = training_areas(
        read_table(own_outputs(study).splits), deciles(settings, read_table(study.outcomes))
    )
    level, classes = settings.evaluation.interval_level, settings.deciles.classes
    draws = Draws(settings.evaluation.draws, settings.seed, level)
    about, outcomes = read_metadata(study.outcomes), {}
    for name, rows in frame.groupby("outcome", sort=False):
        own = rows.set_index("area")
        error = (own["decile"] - own["actual_decile"]).astype("float64")
        stated = years_of(about.get(str(name), {}).get("vintage"))
        vintage = float(np.mean(stated)) + 0.5 if stated else None
        outcomes[str(name)] = {
            **error_by_age(
                error, years["median"], vintage, coordinates=coordinates, interval_level=level
            ),
            "over_time": over_time(
                early,
                late,
                own,
                trained[trained["outcome"] == name],
                classes=classes,
                draws=draws,
            ),
        }
    _adjust(outcomes)
    result = {
        "format_version": ANALYSIS_VERSION,
        "name": settings.name,
        "areas_sha256": study.fingerprint(study.areas),
        "n_images": len(taken),
        "n_dated": len(known),
        "first": int(known.min()),
        "median": int(known.median()),
        "last": int(known.max()),
        "areas": years.astype(object).where(years.notna(), None).to_dict("index"),
        "year": when,
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
        "outcomes": outcomes,
    }
    write_json(result, study.age)
    return result


def _taken(study: Study, progress: Progress) -> pd.Series:
    """Give when each image was taken: by location_id and view, NaT where it is not known."""
    study.require_one_source()
    settings = study.settings
    if not isinstance(settings.features, ImageFeatures) or settings.imagery is None:
        raise InputError(
            f"{study.file}: [features]",
            f"source = '{settings.features.source}' has no images with dates",
            "use a study of images",
        )
    if isinstance(settings.imagery, OpenImagery):
        images = read_table(study.images, columns=["location_id", "view", "captured_at"])
        index = pd.MultiIndex.from_frame(images[["location_id", "view"]])
        taken = pd.to_datetime(pd.Series(images["captured_at"].to_numpy(), index), utc=True)
        return taken.dt.tz_localize(None)
    views, _ = find_views(settings.imagery, read_table(study.locations))
    return capture_dates(settings.imagery, views, progress)


def _means(
    study: Study, taken: pd.Series, locations: pd.DataFrame, year: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Average the features of each area's images from before a year, and of those since."""
    store = FeatureStore.open(study.features)
    is_early = np.zeros(store.present.shape, dtype=bool)
    is_late = is_early.copy()
    row = store.rows(taken.index.get_level_values(0).to_numpy(str))
    view = pd.Index(store.views).get_indexer(taken.index.get_level_values(1))
    for mask, chosen in ((is_early, taken.dt.year < year), (is_late, taken.dt.year >= year)):
        here = chosen.to_numpy() & (row >= 0) & (view >= 0)
        mask[row[here], view[here]] = True
    found = []
    for mask in (is_early, is_late):
        used: npt.NDArray[np.bool_] = mask & store.present
        ids = store.location_ids[used.any(axis=1)]
        some = locations[locations["location_id"].isin(ids)]
        found.append(feature_table(mean_features(store, some, used)[0]))
    return found[0], found[1]


def _adjust(outcomes: dict[str, dict[str, Any]]) -> None:
    """Adjust the p-values over all outcomes (Benjamini and Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    tested = [each for each in outcomes.values() if each["p"] is not None]
    if tested:
        for each, q in zip(
            tested, false_discovery_control([each["p"] for each in tested]), strict=True
        ):
            each["q"] = float(q)
    for each in outcomes.values():
        each.setdefault("q", None)
        each["is_related"] = each["q"] is not None and each["q"] <= FALSE_DISCOVERY_RATE
