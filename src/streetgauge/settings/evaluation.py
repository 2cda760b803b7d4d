"""``[evaluation]`` and ``[report]``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, StrictBool

from streetgauge.settings.base import Name, Positive, Settings, Share, Text, rule

Rule = Literal["mean-score", "mean-decile", "mean", "median", "majority"]


class PopulationSettings(Settings):
    """``[evaluation.population]``: how many people, or households, there are at each location."""

    file: Path = Field(description="table: CSV, Parquet, Excel or GeoPackage")
    location: Text | None = Field(
        None, description="column with the location's id or its postcode: numbers of locations"
    )
    area: Text | None = Field(None, description="column with the area's code: numbers of areas")
    people: Text = Field(description="column with the number of people, or of households")
    sheet: Text | None = Field(None, description="sheet of a workbook; the first if unset")

    @rule
    def _of_one_kind(self) -> Iterator[str]:
        if (self.location is None) == (self.area is None):
            yield "give either 'location' or 'area', the column of the numbers' keys"


class EvaluationSettings(Settings):
    """``[evaluation]``: from locations to areas, and their accuracy."""

    rule: Rule = Field(
        "mean-score",
        description="how locations become an area: the mean score, cut into deciles; the rounded "
        "mean of scores cut to deciles (`mean-decile`); or of the locations' deciles the rounded "
        "`mean`, the `median` or the `majority`",
    )
    weight: Text = Field(
        "location",
        description="`location`: all locations of an area, and all areas, count the same; "
        "`population`: by the people of [evaluation.population], else [deciles.weights]; or a "
        "column of `areas.columns`",
    )
    population: PopulationSettings | None = Field(
        None, description="how many people or households there are, for `weight`"
    )
    min_locations: Annotated[int, Strict(), Field(ge=1)] = Field(
        1, description="areas with fewer locations are marked and not measured"
    )
    levels: tuple[Name, ...] = Field(
        (),
        description="levels above the areas to evaluate as well: `msoa`, `district` or columns "
        "of `areas.columns`",
    )
    groups: tuple[Text, ...] = Field(
        (),
        description="columns of `areas.columns` by which errors are grouped, besides districts, "
        "deprived and affluent, few and many images, e.g. urban or rural",
    )
    interval_level: Share = Field(
        0.9, description="of the areas' intervals and of the metrics' intervals"
    )
    draws: Annotated[int, Strict(), Field(ge=100)] = Field(1000, description="bootstrap draws")
    bootstrap: Text = Field(
        "auto",
        description="what is drawn again: `areas`, `blocks`, or a column such as `district`; "
        "`auto` draws what the folds hold out together",
    )
    block: Positive | None = Field(
        None, description="side in metres of the blocks that are drawn; if unset, the folds'"
    )
    neighbours: Annotated[int, Strict(), Field(ge=1)] = Field(
        5, description="nearest labelled areas of the baseline that needs no image"
    )
    columns: tuple[Text, ...] = Field(
        (),
        description="columns of `areas.columns` with numbers that are known without an image, for "
        "a baseline, e.g. household size",
    )
    previous: dict[Name, Name] = Field(
        {},
        description="for an outcome, the outcome of this study that is its earlier release, for a "
        'baseline: `{ crime = "crime_2015" }`',
    )
    oracle: Path | None = Field(
        None, description="table location_id, <outcome>...: the attainable scores, if known"
    )


class ReportSettings(Settings):
    """``[report]``: what the page shows next to the numbers."""

    figures: Literal["all", "page", "none"] = Field(
        "all",
        description="`all`: every figure as SVG, PDF, PNG and CSV in `figures/`, and maps for "
        "slides; `page`: only what the page shows, as SVG and CSV, in a third of the time; `none`",
    )
    images: Literal["auto"] | StrictBool = Field(
        "auto",
        description="`auto`: show images whose licence is known; `true`: refuse to make a page "
        "without them; `false`: never show any. An image without a licence is never shown",
    )
    locations: Annotated[int, Strict(), Field(ge=1, le=12)] = Field(
        3, description="locations shown of the highest, of the median and of the lowest scores"
    )
    occlusion: bool = Field(
        True, description="show on one image of each group what in it moved the score"
    )
    area_images: Annotated[int, Strict(), Field(ge=0, le=6)] = Field(
        2, description="images on an area's card; 0 for none"
    )
    water: Path | None = Field(
        None, description="water on the map: polygons, a GeoPackage or GeoJSON"
    )
    roads: Path | None = Field(None, description="roads on the map: lines, in such a file")
    places: Path | None = Field(
        None, description="names of places on the map: points with a column `name`"
    )
    megabytes: Positive = Field(
        1.5, description="that images may add to the page; the most telling ones come first"
    )
