"""All that the page shows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from streetgauge.report.gallery import Gallery, Shot

__all__ = ["PooledCities", "PredictedCity", "ReportData"]


@dataclass(frozen=True)
class ReportData:
    """What the page shows, as plain data.

    Parameters
    ----------
    name : str
        The study's name.
    areas : DataFrame or GeoDataFrame by area
        ``name``, ``district`` and ``geometry``, each if known.
    table : DataFrame
        One row an area and outcome: ``area``, ``outcome``, ``fold``, ``n_locations``, ``score``,
        ``decile``, ``low``, ``high``, ``actual_decile``.
    estimates : DataFrame, optional
        ``area``, ``outcome`` and the columns of the best estimate, also of areas without images.
    metrics : dict
        From `streetgauge.evaluation.evaluate`.
    provenance : mapping of outcome to dict
        ``label``, ``direction``, ``source``, ``file``, ``sha256``, ``publisher``, ``licence``,
        ``vintage``, ``areas``, ``cells``, ``lookup``,
        ``n_areas``, ``n_missing``, ``outside``, each if known; its order is the page's.
    skips : DataFrame
        What was excluded: ``location_id``, ``view``, ``area``, ``stage``, ``reason``.
    locations : DataFrame
        The locations of the study, for counts.
    settings : mapping
        The study's settings, nested.
    run : mapping
        ``versions`` (dict), ``seed``, ``seconds`` (dict by stage), ``stages`` (by name:
        ``messages``, lines of text, and ``seconds``, each if known), and further plain facts.
    note : str, optional
        The study's own words about itself.
    simulated : bool
        Whether the features were made up from the outcomes.
    credits : sequence of mapping
        Whose images were used: ``line``, ``licence``, ``licence_url``, as open imagery asks for.
    figures : sequence
        Each with ``name``, ``title``, ``caption`` and ``svg`` (text); ``alt`` if it has one.
    gallery : Gallery, optional
        Images of the highest, the median and the lowest scores.
    imagery : mapping
        What is known of the study's images: ``views``, ``licence``, ``captured``, ``n``,
        ``found``, ``exclude``, each if known.
    basemap : mapping of GeoDataFrame
        Layers to draw over the areas, from `streetgauge.report.read_basemap`.
    age, coverage, fairness : mapping, optional
        When images were taken, which areas have some, and which groups are misjudged: from
        `study_age`, `study_coverage` and `study_fairness` of `streetgauge.pipeline`.
    change, sample, survey : mapping, optional
        What `study_change`, `study_sample` and `study_survey` of `streetgauge.pipeline` have found.
    images : mapping of area to sequence of mapping
        The areas' own images for their cards: ``src`` (a data URI), ``alt``, ``title``.
    concepts : mapping
        The content of ``concepts.json``; empty if there is none.
    concept_examples : mapping of concept to mapping
        Images with ``most`` and with ``least`` of it.
    """

    name: str
    areas: pd.DataFrame
    table: pd.DataFrame
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Mapping[str, Any]]
    skips: pd.DataFrame
    locations: pd.DataFrame
    estimates: pd.DataFrame | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    simulated: bool = False
    credits: Sequence[Mapping[str, Any]] = ()
    figures: Sequence[Any] = ()
    images: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    gallery: Gallery | None = None
    imagery: Mapping[str, Any] = field(default_factory=dict)
    concepts: Mapping[str, Any] = field(default_factory=dict)
    concept_examples: Mapping[str, Mapping[str, Sequence[Shot]]] = field(default_factory=dict)
    basemap: Mapping[str, Any] = field(default_factory=dict)
    age: Mapping[str, Any] | None = None
    coverage: Mapping[str, Any] | None = None
    fairness: Mapping[str, Any] | None = None
    change: Mapping[str, Any] | None = None
    sample: Mapping[str, Any] | None = None
    survey: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PredictedCity:
    """What is shown of a city that was predicted, as plain data.

    Parameters
    ----------
    name : str
        The city's.
    bundle_name : str
        What the bundle is called where it was given.
    bundle : mapping
        Of its ``bundle.json``: ``name``, ``outcomes``, ``classes``, ``source``, ``settings``,
        ``training``, ``metrics``, ``licence``, ``code_version``.
    held_out : str
        How the areas of the bundle's city were held out.
    figures : sequence of sequence of str
        For every outcome that was tested there: label, areas, mean absolute error, rank
        correlation, the best baseline without images, what the images add.
    cut_points : mapping of outcome to sequence of float, or None
        Between which scores the classes lie; None where they were cut within this city.
    locations : DataFrame
        ``location_id`` and ``area`` of the locations that were predicted.
    areas : DataFrame or GeoDataFrame by area
        ``name`` and ``geometry``, each if known.
    table : DataFrame
        One row an area and outcome: ``area``, ``outcome``, ``n_locations``, ``score``, ``decile``,
        ``disagreement``; ``dissimilarity_index`` and ``outside_aoa`` if the bundle knows its areas.
    skips : DataFrame
        What was excluded: ``location_id``, ``area``, ``stage``, ``reason``.
    notes : sequence of str
        What else is to be borne in mind of this run.
    """

    name: str
    bundle_name: str
    bundle: Mapping[str, Any]
    held_out: str
    figures: Sequence[Sequence[str]]
    cut_points: Mapping[str, Sequence[float]] | None
    locations: pd.DataFrame
    areas: pd.DataFrame
    table: pd.DataFrame
    skips: pd.DataFrame
    notes: Sequence[str] = ()

    @property
    def source(self) -> str:
        """Name of the city that the bundle comes from."""
        return str(self.bundle["source"].get("study") or "the bundle’s city")

    @property
    def labels(self) -> dict[str, str]:
        """What each outcome is called."""
        about = self.bundle["source"].get("outcomes") or {}
        return {n: str(about.get(n, {}).get("label") or n) for n in self.bundle["outcomes"]}


@dataclass(frozen=True)
class PooledCities:
    """What is shown of several cities that predict each other, as plain data.

    Parameters
    ----------
    result : mapping
        What `streetgauge.pipeline.pooling.pool_studies` gives.
    table : DataFrame
        The rows of ``pool.parquet``, with ``n_locations``.
    areas : mapping of city to DataFrame or GeoDataFrame by area
        ``name`` and ``geometry``, each if known.
    labels : mapping of outcome to str
        What outcomes are called.
    """

    result: Mapping[str, Any]
    table: pd.DataFrame
    areas: Mapping[str, pd.DataFrame]
    labels: Mapping[str, str]
