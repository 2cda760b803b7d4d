"""``[outcomes.NAME]`` and ``[deciles]``: official statistics and how they become classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from streetgauge.settings.base import Direction, Settings, Text, rule


class _Outcome(Settings):
    label: Text | None = Field(None, description="how reports call it; the outcome's key if unset")
    deciles: Literal["study", "published"] = Field(
        "study", description="cut by the study's [deciles], or as the publisher cut them"
    )
    publisher: Text | None = Field(None, description="who made it, if not the usual body")
    licence: Text | None = Field(None, description="what allows its use, if not the usual one")
    vintage: Text | None = Field(
        None, description="the year it is of; 'LSOA 2011' also gives the year of its areas"
    )
    lookup: Path | None = Field(
        None, description="lookup between areas of two years, if another than that of [areas]"
    )


class TableOutcome(_Outcome):
    """``source = "table"``: any table with one row an area."""

    source: Literal["table"]
    file: Path = Field(description="CSV, Parquet, Excel or GeoPackage")
    area: Text | Annotated[tuple[Text, ...], Field(min_length=2)] = Field(
        description="column with the area's code, or columns whose texts make it up in this order; "
        "a column without a name is 'column 1' by its position"
    )
    area_prefix: Text | None = Field(
        None,
        description="text that stands before the codes and is cut off, e.g. '1400000US'; rows of "
        "other geographies are passed over",
    )
    area_width: Annotated[int, Strict(), Field(ge=1, le=64)] | None = Field(
        None, description="characters of a code; zeros that are lost at its start are put back"
    )
    value: Text | Annotated[tuple[Text, ...], Field(min_length=2)] = Field(
        description="column with the value, or columns that 'combine' makes one value of"
    )
    measure: Text | Annotated[tuple[Text, ...], Field(min_length=2)] | None = Field(
        None,
        description="of a long table, with several rows an area: column that names what a row "
        "measures, or columns whose texts with ' / ' between them do; 'value' and 'decile' then "
        "name measures, and '*' in 'value' is all of an area added up",
    )
    number: Text | None = Field(None, description="of a long table: column with the numbers")
    combine: Literal["sum", "mean", "share"] | None = Field(
        None, description="of several columns; share: all but the last added up, over the last"
    )
    missing: tuple[Text, ...] = Field(
        (), description="what else stands for a missing value, e.g. '-9'"
    )
    direction: Direction = Field(description="whether higher values are better or worse off")
    decile: Text | None = Field(
        None, description="column with the published decile (or class of K), 1 = worst off"
    )
    sheet: Text | None = Field(
        None, description="sheet of a workbook; the first with the columns if unset"
    )
    layer: Text | None = Field(None, description="layer of a GeoPackage; the first if unset")

    @rule
    def _published_needs_a_column(self) -> Iterator[str]:
        if self.deciles == "published" and self.decile is None:
            yield "deciles = \"published\" needs 'decile', the column that has them"

    @rule
    def _long_tables_have_both(self) -> Iterator[str]:
        if (self.measure is None) != (self.number is None):
            yield "a long table needs both 'measure' and 'number'"

    @rule
    def _several_columns_are_combined(self) -> Iterator[str]:
        if (self.combine is None) != isinstance(self.value, str):
            yield "'combine' goes with several columns in 'value', and they with it"


class CensusOutcome(_Outcome):
    """``source = "census"``: a measure from tables of the Census 2011 or 2021, Nomis or InFuse."""

    source: Literal["census"]
    files: Annotated[tuple[Path, ...], Field(min_length=1)] = Field(
        description="the table, or the two tables with numerator and denominator"
    )
    measure: (
        Literal[
            "bad-health",
            "overcrowding",
            "overcrowding-bedrooms",
            "unemployment",
            "unemployment-rate",
            "low-qualification",
            "mean-age",
            "median-age",
        ]
        | None
    ) = Field(None, description="what is measured; columns and layout are recognised")
    level: Literal["oa", "lsoa", "msoa", "district"] | None = Field(
        None, description="areas to read where a file has several kinds; the study's if unset"
    )
    numerator: tuple[Text, ...] = Field((), description="columns added up, if no measure is named")
    denominator: tuple[Text, ...] = Field((), description="columns added up: the total")
    direction: Direction | None = Field(
        None, description="goes with numerator and denominator, and with an age"
    )

    @rule
    def _measure_or_columns(self) -> Iterator[str]:
        own = (bool(self.numerator), bool(self.denominator), self.direction is not None)
        if self.measure is None and not all(own):
            yield "give 'measure', or 'numerator', 'denominator' and 'direction'"
        if self.measure in ("mean-age", "median-age"):
            if own != (False, False, True):
                yield f"{self.measure!r} goes with 'direction': no age is worse as such"
        elif self.measure is not None and any(own):
            yield "'measure' already has numerator, denominator and direction; remove them"

    @rule
    def _no_published_deciles(self) -> Iterator[str]:
        if self.deciles == "published":
            yield 'the census publishes no deciles; use deciles = "study"'


class DeprivationOutcome(_Outcome):
    """``source = "deprivation"``: the indices of deprivation of the four nations of the UK."""

    source: Literal["deprivation"]
    file: Path = Field(description="a file of the indices as published, CSV or Excel")
    domain: Literal[
        "overall",
        "income",
        "employment",
        "education",
        "health",
        "crime",
        "housing",
        "environment",
        "access",
    ] = Field("overall", description="of the index; not every nation has them all")
    statistic: Literal["rank", "score"] = Field(
        "rank", description="what is read: ranks, or the scores where they are published"
    )


class IncomeOutcome(_Outcome):
    """``source = "income"``: household income estimates of the GLA (London)."""

    source: Literal["income"]
    file: Path = Field(description="the estimates as published, CSV or Excel")
    statistic: Literal["mean", "median"] = Field("mean", description="of households")
    year: Text = Field("2012/13", description="as in the header")

    @rule
    def _no_published_deciles(self) -> Iterator[str]:
        if self.deciles == "published":
            yield 'the income estimates carry no deciles; use deciles = "study"'


OutcomeSettings = Annotated[
    TableOutcome | CensusOutcome | DeprivationOutcome | IncomeOutcome,
    Field(discriminator="source"),
]


class WeightSettings(Settings):
    """``[deciles.weights]``: how many people live in each area."""

    file: Path = Field(description="table with one row an area: CSV, Parquet, Excel or GeoPackage")
    area: Text = Field(description="column with the area's code")
    population: Text = Field(description="column with the number of people")
    sheet: Text | None = Field(None, description="sheet of a workbook; the first if unset")


class DecileSettings(Settings):
    """``[deciles]``: how official statistics become classes, 1 = worst off."""

    classes: Annotated[int, Strict(), Field(ge=2, le=20)] = Field(
        10, description="how many classes: 10 makes deciles, 5 quintiles"
    )
    within: Literal["study", "nation"] | Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        "study",
        description="which areas are cut into classes of equal count: the study's, the nation's "
        "(all of the outcome's file), or those of the file with codes like these, e.g. 'E01*'",
    )
    weights: WeightSettings | None = Field(
        None, description="with it every class holds an equal share of people, not of areas"
    )
