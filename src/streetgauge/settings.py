"""study.toml read into frozen, typed settings; everything wrong in it is one sentence."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from streetgauge.errors import InputError, closest

__all__ = [
    "AreaSettings",
    "CensusOutcome",
    "DecileSettings",
    "DeprivationOutcome",
    "DirectoryLocations",
    "EvaluationSettings",
    "FeatureSettings",
    "FoldSettings",
    "ImagerySettings",
    "IncomeOutcome",
    "LocationSettings",
    "OutcomeSettings",
    "PictureFeatures",
    "PointLocations",
    "SimulatedFeatures",
    "StudySettings",
    "TableFeatures",
    "TableLocations",
    "TableOutcome",
    "TrainSettings",
    "TransferSettings",
    "WeightSettings",
    "input_files",
    "read_settings",
]

Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], Field(description="where it runs; auto takes a GPU")
]
Direction = Literal["higher-is-better", "higher-is-worse"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
# Names become columns, file names and keys: keep them plain.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
# A study says which version of a bundle it means.
HubAddress = Annotated[str, StringConstraints(pattern=r"^hf://[\w.-]+/[\w.-]+@[\w./-]+$")]
Positive = Annotated[float, Strict(), Field(gt=0)]
Share = Annotated[float, Strict(), Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AreaSettings(Settings):
    """``[areas]``: the small areas of the study, with boundaries where the file has them."""

    file: Path | None = Field(
        None,
        description="boundaries (GeoPackage, GeoJSON, GeoParquet, zip of a shapefile), a table, or "
        "a list of codes; if unset, the areas of 'place' as the postcode directory has them",
    )
    code: Text | None = Field(
        None, description="column with the area's code; if unset, the file is a list, one a line"
    )
    name: Text | None = Field(None, description="column with the area's name")
    district: Text | None = Field(None, description="column with the district that it lies in")
    columns: tuple[Text, ...] = Field(
        (), description="further columns to keep, for `folds.unit` and `folds.group`: the city, say"
    )
    layer: Text | None = Field(None, description="layer of the boundary file; the first if unset")
    crs: Text | None = Field(
        None,
        description="coordinate system of boundaries that state none, e.g. 'EPSG:27700'",
    )
    lookup: Path | None = Field(
        None,
        description="official lookup between the areas of two years (CSV): carries outcomes of "
        "another year's areas to these",
    )
    include: tuple[Text, ...] = Field((), description="keep only codes like these, e.g. 'E01*'")
    place: tuple[Text, ...] = Field(
        (),
        description="keep only areas of these districts, wards, counties, regions or countries: "
        "codes, patterns like 'E09*', or London, West Midlands, Greater Manchester, West Yorkshire",
    )
    bbox: tuple[float, float, float, float] | None = Field(
        None, description="keep only areas in this box: west, south, east, north in degrees"
    )
    polygon: Path | None = Field(
        None, description="keep only areas in the polygons of this boundary file"
    )

    @model_validator(mode="after")
    def _columns_belong_to_a_file(self) -> Self:
        given = {key: getattr(self, key) for key in ("code", "name", "district", "layer", "crs")}
        named = [key for key, value in given.items() if value is not None]
        named += ["columns"] if self.columns else []
        own = ["area", "code", "district", "geometry", "location", "lsoa", "msoa", "name", "oa"]
        if taken := [column for column in self.columns if column in own]:
            raise ValueError(f"a further column cannot be called {taken[0]!r}; rename it")
        if self.file is None and named:
            raise ValueError(f"'{named[0]}' goes with 'file', and there is none")
        if self.file is not None and self.code is None and named:
            raise ValueError(f"'{named[0]}' needs 'code', the column with the area's code")
        chosen = (self.place, self.bbox, self.polygon, self.include)
        if self.file is None and not any(chosen):
            raise ValueError(
                "give 'file', or 'place' with a postcode directory, e.g. place = [\"London\"]"
            )
        return self

    @model_validator(mode="after")
    def _box_is_one(self) -> Self:
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
                raise ValueError(
                    f"bbox = {list(self.bbox)} is no box: give west, south, east, north in degrees"
                )
        return self


class _Outcome(Settings):
    label: Text | None = Field(None, description="how reports call it; the outcome's key if unset")
    deciles: Literal["study", "published"] = Field(
        "study", description="cut as the study's [deciles] says, or as the publisher cut them"
    )
    publisher: Text | None = Field(None, description="who made it, if not the usual body")
    licence: Text | None = Field(None, description="what allows its use, if not the usual one")
    vintage: Text | None = Field(
        None, description="the year it is of; 'LSOA 2011' also says of which year its areas are"
    )
    lookup: Path | None = Field(
        None, description="lookup between areas of two years, if another than that of [areas]"
    )


class TableOutcome(_Outcome):
    """``source = "table"``: any table with one row an area."""

    source: Literal["table"]
    file: Path = Field(description="CSV, Parquet, Excel or GeoPackage")
    area: Text | Annotated[tuple[Text, ...], Field(min_length=2)] = Field(
        description="column with the area's code, or columns whose texts make it up in this order"
    )
    area_prefix: Text | None = Field(
        None, description="text that stands before every code and is cut off, e.g. '1400000US'"
    )
    area_width: Annotated[int, Strict(), Field(ge=1, le=64)] | None = Field(
        None, description="characters of a code; zeros that are lost at its start are put back"
    )
    value: Text | Annotated[tuple[Text, ...], Field(min_length=2)] = Field(
        description="column with the value, or columns that 'combine' makes one value of"
    )
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
    sheet: Text | None = Field(None, description="sheet of a workbook; the first if unset")
    layer: Text | None = Field(None, description="layer of a GeoPackage; the first if unset")

    @model_validator(mode="after")
    def _published_needs_a_column(self) -> Self:
        if self.deciles == "published" and self.decile is None:
            raise ValueError("deciles = \"published\" needs 'decile', the column that has them")
        return self

    @model_validator(mode="after")
    def _several_columns_are_combined(self) -> Self:
        if (self.combine is None) != isinstance(self.value, str):
            raise ValueError("'combine' goes with several columns in 'value', and they with it")
        return self


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

    @model_validator(mode="after")
    def _measure_or_columns(self) -> Self:
        own = (bool(self.numerator), bool(self.denominator), self.direction is not None)
        if self.measure is None and not all(own):
            raise ValueError("give 'measure', or 'numerator', 'denominator' and 'direction'")
        if self.measure in ("mean-age", "median-age"):
            if own != (False, False, True):
                raise ValueError(f"{self.measure!r} goes with 'direction': no age is worse as such")
        elif self.measure is not None and any(own):
            raise ValueError("'measure' already says numerator, denominator and direction")
        if self.deciles == "published":
            raise ValueError('the census publishes no deciles; use deciles = "study"')
        return self


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

    @model_validator(mode="after")
    def _no_published_deciles(self) -> Self:
        if self.deciles == "published":
            raise ValueError('the income estimates carry no deciles; use deciles = "study"')
        return self


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


class DirectoryLocations(Settings):
    """``source = "directory"``: an ONS postcode directory, or a table laid out like one."""

    source: Literal["directory"]
    file: Path = Field(description="the directory: CSV, Parquet, or the zip as it is published")
    area: Literal[
        "oa01", "lsoa01", "msoa01", "oa11", "lsoa11", "msoa11", "oa21", "lsoa21", "msoa21"
    ] = Field("lsoa11", description="which of the directory's areas the study's areas are")
    live_only: StrictBool = Field(False, description="leave out terminated postcodes")


class PointLocations(Settings):
    """``source = "points"``: coordinates; the boundaries say which area each lies in."""

    source: Literal["points"]
    file: Path = Field(description="CSV or Parquet, one row a location")
    id: Text = Field(description="column with the location's id")
    lat: Text = Field("lat", description="column with the latitude (or northing, with crs)")
    lon: Text = Field("lon", description="column with the longitude (or easting, with crs)")
    crs: Text = Field("EPSG:4326", description="coordinate system of the two columns")
    postcode: Text | None = Field(None, description="column with the postcode")


class TableLocations(Settings):
    """``source = "table"``: coordinates, and the area that each lies in, as somebody knows it."""

    source: Literal["table"]
    file: Path = Field(description="CSV or Parquet, one row a location")
    id: Text = Field("location_id", description="column with the location's id")
    area: Text = Field("area", description="column with the code of the area that it lies in")
    lat: Text = Field("lat", description="column with the latitude (or northing, with crs)")
    lon: Text = Field("lon", description="column with the longitude (or easting, with crs)")
    crs: Text = Field("EPSG:4326", description="coordinate system of the two columns")
    postcode: Text | None = Field(None, description="column with the postcode")


LocationSettings = Annotated[
    DirectoryLocations | PointLocations | TableLocations, Field(discriminator="source")
]


class ImagerySettings(Settings):
    """``[imagery]``: where the pictures are, and which belong to a location."""

    folder: Path = Field(description="where the pictures are")
    pattern: Text = Field(
        "{location_id}_{view}.jpg", description="file names; {location_id} and {view} vary"
    )
    manifest: Path | None = Field(
        None, description="table with location_id, view, path (relative to folder), not a pattern"
    )
    views: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        ("a", "b", "c", "d"), description="what {view} can be"
    )
    require: Literal["all", "any"] = Field(
        "all", description="use a location only with all its views, or with any"
    )

    @model_validator(mode="after")
    def _pattern_has_its_fields(self) -> Self:
        for part in ("{location_id}", "{view}"):
            if self.manifest is None and part not in self.pattern:
                raise ValueError(f"pattern {self.pattern!r} lacks {part}")
        if len(set(self.views)) < len(self.views):
            raise ValueError("a view is named twice")
        return self


class PictureFeatures(Settings):
    """``source = "pictures"``: a frozen pretrained network looks at every picture."""

    source: Literal["pictures"] = "pictures"
    backbone: Text = Field("efficientnet-lite0", description="the frozen network")
    device: Device = "auto"
    batch: Annotated[int, Strict(), Field(ge=1)] = Field(64, description="pictures at a time")

    @property
    def store(self) -> str:
        """Name of the feature store's file, without its suffix."""
        return self.backbone.replace(":", "-").replace("/", "-")


class TableFeatures(Settings):
    """``source = "table"``: features that exist already, one row a picture.

    With ``location_id`` (and ``view``) rows are joined to locations by key; with ``lat`` and
    ``lon`` a location takes the ``k`` nearest pictures within ``within`` metres.
    """

    source: Literal["table"]
    name: Name = Field(description="how the store is called")
    file: Path = Field(description="CSV, Parquet, or a zip with one CSV")
    columns: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="the features; of columns with one name the last is taken as it is numeric"
    )
    transform: Literal["none", "sqrt"] = Field(
        "none", description="sqrt suits shares of a whole, of which many are near 0 (Hellinger)"
    )
    location_id: Text | None = Field(None, description="column with the location's id, to join by")
    view: Text | None = Field(None, description="column with the view's name; row order if unset")
    lat: Text | None = Field(None, description="column with the picture's latitude")
    lon: Text | None = Field(None, description="column with the picture's longitude")
    k: Annotated[int, Strict(), Field(ge=1)] = Field(4, description="views of a location")
    within: Positive = Field(40.0, description="metres")
    require: Literal["all", "any"] = Field(
        "all", description="use a location only with k views, or with any"
    )

    @property
    def store(self) -> str:
        """Name of the feature store's file, without its suffix."""
        return self.name

    @model_validator(mode="after")
    def _one_way_to_join(self) -> Self:
        by_key = self.location_id is not None
        by_place = self.lat is not None and self.lon is not None
        if by_key == by_place:
            raise ValueError("give either 'location_id' or both 'lat' and 'lon'")
        if self.view is not None and not by_key:
            raise ValueError("'view' goes with 'location_id'")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column is named twice")
        return self


class SimulatedFeatures(Settings):
    """``source = "simulated"``: made up from the outcomes, to ask how many pictures are needed."""

    source: Literal["simulated"]
    name: Name = Field("simulated", description="how the store is called")
    dimension: Annotated[int, Strict(), Field(ge=1)] = Field(512, description="features of a view")
    views: Annotated[int, Strict(), Field(ge=1)] = Field(4, description="views of a location")
    signal: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        0.5, description="share of a view's outcome-related variance that is signal, 0 to 1"
    )
    per_area: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None, description="at most so many locations of an area; all if unset"
    )

    @property
    def store(self) -> str:
        """Name of the feature store's file, without its suffix."""
        return self.name


FeatureSettings = Annotated[
    PictureFeatures | TableFeatures | SimulatedFeatures, Field(discriminator="source")
]


_NOT_BOTH = ("train-only", "test-only")  # schemes that do not both train and test


class FoldSettings(Settings):
    """``[folds]``: which areas the networks learn from, and on which they are tested."""

    scheme: Literal[
        "k-fold",
        "blocks",
        "leave-one-group-out",
        "train-validation-test",
        "train-test",
        "by-class",
        "train-only",
        "test-only",
    ] = Field("k-fold", description="how locations are split")
    k: Annotated[int, Strict(), Field(ge=2)] = Field(5, description="folds of k-fold and of blocks")
    validation: Share = Field(
        0.15, description="share of the training areas that only early stopping sees"
    )
    test: Share = Field(
        0.2, description="share of the areas that train-validation-test and train-test test on"
    )
    unit: Text = Field(
        "area",
        description="what is kept whole besides areas: `msoa`, `district` or a column of "
        "`areas.columns`; `location` keeps nothing whole, and leaks",
    )
    buffer: Annotated[float, Strict(), Field(ge=0)] = Field(
        0.0, description="metres around tested locations in which nothing is learned from"
    )
    block: Positive | None = Field(None, description="side of the square blocks in metres")
    group: Text | None = Field(
        None, description="column of leave-one-group-out, as for `unit`: `district`, say"
    )
    outcome: Name | None = Field(None, description="the outcome whose classes by-class tests on")
    classes: tuple[Annotated[int, Strict(), Field(ge=1)], ...] = Field(
        (), description="the classes that by-class tests on, e.g. [1, 10]"
    )
    train_size: Annotated[float, Strict(), Field(gt=0, le=1)] = Field(
        1.0, description="share of what a network could learn from that it does learn from"
    )
    train_size_unit: Literal["areas", "locations"] = Field(
        "areas", description="what that is a share of"
    )
    final: StrictBool = Field(
        True, description="train one more network on all areas, for other cities"
    )
    file: Path | None = Field(
        None, description="folds.parquet or splits.parquet of another study, used again"
    )

    @model_validator(mode="after")
    def _keys_fit_the_scheme(self) -> Self:
        belongs = {
            "k": ("k-fold", "blocks"),
            "test": ("train-validation-test", "train-test"),
            "block": ("blocks",),
            "group": ("leave-one-group-out",),
            "outcome": ("by-class",),
            "classes": ("by-class",),
        }
        fields = type(self).model_fields
        for key, schemes in belongs.items():
            given = getattr(self, key) != fields[key].default
            if given and self.scheme not in schemes:
                raise ValueError(f'{key!r} is not used with scheme = "{self.scheme}"; remove it')
            if not given and self.scheme in schemes and fields[key].default in (None, ()):
                raise ValueError(f'scheme = "{self.scheme}" needs {key!r}')
        if self.unit == "location" and (
            self.buffer or self.scheme in ("blocks", "leave-one-group-out", "by-class")
        ):
            raise ValueError('unit = "location" splits areas: it goes with no spatial scheme')
        if self.buffer and self.scheme in _NOT_BOTH:
            raise ValueError("'buffer' needs a scheme that both trains and tests")
        if self.file is not None and self.scheme != "k-fold":
            raise ValueError("'file' says how locations are split; remove 'scheme'")
        return self


class TrainSettings(Settings):
    """``[train]``: the network and how it learns."""

    network: Literal["shared", "port-2020", "paper-2019"] = Field(
        "shared",
        description="one trunk that all outcomes share; or one network an outcome, with the "
        "paper's layers without and with batch normalisation",
    )
    pooling: Literal["mean", "attention"] = Field(
        "mean", description="how the views of a location are put together"
    )
    members: Annotated[int, Strict(), Field(ge=1, le=64)] = Field(
        5,
        description="networks whose scores are averaged, each stopped early by other areas",
    )
    head: Literal[
        "binomial", "clm", "corn", "softmax", "emd", "triangular", "beta", "exponential"
    ] = Field("binomial", description="what makes classes of the network's output")
    dropout: Annotated[float, Strict(), Field(ge=0, lt=1)] = Field(
        0.5, description="share of a location's pooled values left out, training only"
    )
    epochs: Annotated[int, Strict(), Field(ge=1)] = Field(40, description="at most so many")
    batch: Annotated[int, Strict(), Field(ge=2)] = Field(128, description="locations at a time")
    learning_rate: Positive = Field(1e-3, description="3e-3 suits paper-2019")
    schedule: Literal["constant", "cosine", "plateau"] = Field(
        "constant", description="how the learning rate falls over the epochs"
    )
    weight_decay: Annotated[float, Strict(), Field(ge=0)] = Field(1e-4, description="L2, Adam's")
    noise: Annotated[float, Strict(), Field(ge=0)] = Field(
        0.0, description="sd of Gaussian noise on standardised features, training only"
    )
    patience: Annotated[int, Strict(), Field(ge=1)] = Field(
        4, description="epochs without a lower validation loss before an outcome stops"
    )
    components: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None,
        description="learn from so many principal components of the features, not from all: "
        "several times as fast, a little less exact",
    )
    tune: Literal["all", "scaled", "head"] = Field(
        "all",
        description="what moves when a trained model is tuned further: all layers, those that "
        "look at views at a tenth of the rate, or only those after the pooling",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the products; auto takes bfloat16 where the processor has it"
    )
    memory: Positive = Field(8.0, description="GiB that features may take while learning")
    device: Device = "auto"


class TransferSettings(Settings):
    """``[transfer]``: go on from a trained model, instead of learning from nothing."""

    bundle: HubAddress | Path = Field(
        alias="from",
        description="a bundle's directory, or hf://user/name@revision; outcomes match by name",
    )
    share: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        1.0, description="of the areas that can be learned from; 0: the model as it is"
    )
    tune: Literal["all", "scaled", "head"] = Field(
        "scaled",
        description="what moves: all layers, those that look at views at a tenth of the rate, or "
        "only those after the pooling",
    )
    curve: StrictBool = Field(
        False,
        description="also measure 0, 1, 2, 5, 10, 25 and 100 % of the areas, with the model and "
        "from nothing",
    )


class EvaluationSettings(Settings):
    """``[evaluation]``: from locations to areas, and how good that is."""

    rule: Literal["mean-score"] = Field(
        "mean-score", description="mean score of an area's locations, cut into deciles"
    )
    coverage: Share = Field(
        0.9, description="of the areas' intervals and of the metrics' intervals"
    )
    draws: Annotated[int, Strict(), Field(ge=100)] = Field(1000, description="bootstrap draws")
    neighbours: Annotated[int, Strict(), Field(ge=1)] = Field(
        5, description="nearest labelled areas of the baseline that needs no picture"
    )
    oracle: Path | None = Field(
        None, description="table location_id, <outcome>...: the best scores possible, if known"
    )


class StudySettings(Settings):
    """The whole of study.toml."""

    name: Text = Field(description="what the study is called")
    note: Text | None = Field(None, description="shown in the report")
    seed: Annotated[int, Strict(), Field(ge=0, lt=2**32)] = Field(
        2019, description="of everything random: folds, training, bootstrap"
    )
    areas: AreaSettings
    outcomes: Annotated[dict[Name, OutcomeSettings], Field(min_length=1)]
    deciles: DecileSettings = DecileSettings()
    locations: LocationSettings
    imagery: ImagerySettings | None = None
    features: FeatureSettings = PictureFeatures()
    folds: FoldSettings = FoldSettings()
    train: TrainSettings = TrainSettings()
    transfer: TransferSettings | None = None
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _what_is_tuned_is_there(self) -> Self:
        if self.train.tune != TrainSettings().tune:
            raise ValueError("what is tuned is said in [transfer]; move 'tune' there")
        if self.folds.scheme == "test-only" and self.transfer is None:
            raise ValueError(
                'folds.scheme = "test-only" tests a model that is there; name it: [transfer] from'
            )
        if self.transfer and self.transfer.curve and self.folds.scheme in _NOT_BOTH:
            raise ValueError(
                "'curve' under [transfer] needs areas to learn from and others to test on, which "
                f'folds.scheme = "{self.folds.scheme}" does not have; take another scheme'
            )
        return self

    @model_validator(mode="after")
    def _published_deciles_make_the_classes(self) -> Self:
        for name, outcome in self.outcomes.items():
            published = outcome.deciles == "published" and outcome.source == "deprivation"
            if published and 10 % self.deciles.classes:
                raise ValueError(
                    f'deciles = "published" of outcome {name!r} cannot be put together to '
                    f"{self.deciles.classes} classes; use 2, 5 or 10"
                )
        return self

    @model_validator(mode="after")
    def _areas_come_from_somewhere(self) -> Self:
        if self.areas.file is None and not isinstance(self.locations, DirectoryLocations):
            raise ValueError(
                "[areas] names no file, which only a postcode directory can stand in for; add "
                f"areas.file, or take a directory instead of source = {self.locations.source!r}"
            )
        return self

    @model_validator(mode="after")
    def _pictures_have_a_place(self) -> Self:
        if self.features.source == "pictures" and self.imagery is None:
            raise ValueError(
                "features from pictures need an [imagery] section that says where they are"
            )
        if self.features.source != "pictures" and self.imagery is not None:
            raise ValueError(
                f'[imagery] is not used with features.source = "{self.features.source}"; remove it'
            )
        return self


def read_settings(file: Path) -> StudySettings:
    """Read and validate study.toml; its paths are made absolute from its own directory.

    Parameters
    ----------
    file : Path
        The ``study.toml``.

    Returns
    -------
    StudySettings
        Frozen settings. That the named files exist is not looked at: see `input_files`.

    Raises
    ------
    InputError
        If the file is missing or not TOML, a key is unknown (with the closest known one), a value
        has the wrong type, or two settings cannot go together.
    """
    try:
        with file.open("rb") as handle:
            content = tomllib.load(handle)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError(
            file, "there is no such file", "make one with `streetgauge init DIR`"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(file, f"this is not TOML: {error}", "mend that line") from None
    try:
        settings = StudySettings.model_validate(content)
    except ValidationError as error:
        raise _as_input_error(file, error) from None
    try:
        return _with_absolute_paths(settings, file.resolve().parent)
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(file, f"a path in it cannot be used: {error}", "mend it") from None


def input_files(settings: BaseModel) -> Iterator[tuple[str, Path]]:
    """Every path of the settings with its key, e.g. ``("areas.file", Path(...))``."""
    for key, value in settings:
        yield from _paths(_written(settings, key), value)


def _written(settings: BaseModel, key: str) -> str:
    """Give the key as study.toml has it."""
    return type(settings).model_fields[key].alias or key


def _paths(key: str, value: object) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        for inner, item in value:
            yield from _paths(f"{key}.{_written(value, inner)}", item)
    elif isinstance(value, dict):
        for inner, item in value.items():
            yield from _paths(f"{key}.{inner}", item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _paths(key, item)


def _with_absolute_paths(settings: StudySettings, directory: Path) -> StudySettings:
    def resolve(value: Any) -> Any:
        if isinstance(value, Path):
            return (directory / value).resolve()
        if isinstance(value, BaseModel):
            return value.model_copy(update={key: resolve(item) for key, item in value})
        if isinstance(value, dict):
            return {key: resolve(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(resolve(item) for item in value)
        return value

    resolved: StudySettings = resolve(settings)
    return resolved


def _as_input_error(file: Path, error: ValidationError) -> InputError:
    """Say the first thing wrong in one sentence; unknown keys come first, they explain others."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    detail = details[0]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    parts, around, inner = _locate(detail["loc"])
    subject = f"{file}: {'.'.join(parts)}" if parts else str(file)
    reason, step = _explain(detail, parts[-1] if parts else "", around, inner)
    return InputError(subject, reason + more, step)


def _explain(detail: ErrorDetails, key: str, around: _Schema, inner: _Schema) -> tuple[str, str]:
    """Give the reason and the next step of one of pydantic's errors."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "this key is not known", closest(key, around.get("properties", {}))
    if kind == "missing" and isinstance(detail["loc"][-1], int):
        return f"{given!r} has too few values", f"give all of it: {inner.get('description', '')}"
    if kind == "missing":
        what = inner.get("description") or " or ".join(map(repr, inner.get("enum", [])))
        return "this key is missing", f"add it: {what or 'it has no default'}"
    if kind == "value_error":
        return str(context.get("error", detail["msg"])), ""
    if kind == "literal_error":
        return f"{given!r} is not possible", f"use {context['expected']}"
    if kind == "union_tag_invalid":
        tags = context["expected_tags"]
        return f"source = {given.get('source')!r} is not possible", f"use one of {tags}"
    if kind == "union_tag_not_found":
        tags = ", ".join(map(repr, inner.get("discriminator", {}).get("mapping", {})))
        return "the key 'source' is missing", f"use one of {tags}"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{given!r} does not fit: {message}", ""


_Schema = dict[str, Any]


def _locate(loc: tuple[int | str, ...]) -> tuple[list[str], _Schema, _Schema]:
    """Follow pydantic's location through the JSON schema of the settings.

    Returns the key's parts as study.toml writes them (pydantic adds the tag of a union's member),
    the schema of the section around the key, and the schema of the key itself.
    """
    root = StudySettings.model_json_schema()
    parts: list[str] = []
    around = inner = _resolved(root, root)
    for part in loc:
        members = inner.get("discriminator", {}).get("mapping", {})
        if part in members:
            inner = _resolved(root, {"$ref": members[str(part)]})
        elif parts and not inner.keys() & {"properties", "patternProperties", "items"}:
            continue  # which of the types that a value may have was tried
        elif part != "[key]":
            parts.append(str(part))
            around = inner
            # Keys of a table like [outcomes] are the user's own, of one pattern.
            own: _Schema = next(iter(inner.get("patternProperties", {}).values()), {})
            inner = _resolved(root, inner.get("properties", {}).get(part, own))
    return parts, around, inner


def _resolved(root: _Schema, schema: _Schema) -> _Schema:
    """Follow references, and look through 'or null'."""
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            schema = {**option, **{k: v for k, v in schema.items() if k != "anyOf"}}
            break
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: _Schema = root["$defs"][reference.rsplit("/", 1)[-1]]
    return target
