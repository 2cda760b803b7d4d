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
    "TableOutcome",
    "TrainSettings",
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
Positive = Annotated[float, Strict(), Field(gt=0)]
Share = Annotated[float, Strict(), Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AreaSettings(Settings):
    """``[areas]``: the small areas of the study, with boundaries where the file has them."""

    file: Path = Field(description="boundaries (GeoPackage, GeoJSON, zip of a shapefile) or table")
    code: Text = Field(description="column with the area's code")
    name: Text | None = Field(None, description="column with the area's name")
    district: Text | None = Field(None, description="column with the district that it lies in")
    layer: Text | None = Field(None, description="layer of the boundary file; the first if unset")
    include: tuple[Text, ...] = Field((), description="keep only codes like these, e.g. 'E01*'")


class _Outcome(Settings):
    label: Text | None = Field(None, description="how reports call it; the outcome's key if unset")
    deciles: Literal["study", "published"] = Field(
        "study", description="cut within the study's areas, or as the publisher cut them"
    )
    publisher: Text | None = Field(None, description="who made it, if not the usual body")
    licence: Text | None = Field(None, description="what allows its use, if not the usual one")


class TableOutcome(_Outcome):
    """``source = "table"``: any table with one row an area."""

    source: Literal["table"]
    file: Path = Field(description="CSV, Parquet, Excel or GeoPackage")
    area: Text = Field(description="column with the area's code")
    value: Text = Field(description="column with the value")
    direction: Direction = Field(description="whether higher values are better or worse off")
    decile: Text | None = Field(None, description="column with the published decile, 1 = worst off")
    sheet: Text | None = Field(None, description="sheet of a workbook; the first if unset")
    layer: Text | None = Field(None, description="layer of a GeoPackage; the first if unset")

    @model_validator(mode="after")
    def _published_needs_a_column(self) -> Self:
        if self.deciles == "published" and self.decile is None:
            raise ValueError("deciles = \"published\" needs 'decile', the column that has them")
        return self


class CensusOutcome(_Outcome):
    """``source = "census"``: a share of counts from Nomis tables of the Census 2011."""

    source: Literal["census"]
    files: Annotated[tuple[Path, ...], Field(min_length=1)] = Field(
        description="the table, or the two tables with numerator and denominator"
    )
    measure: Literal["bad-health", "overcrowding", "unemployment", "low-qualification"] | None = (
        Field(None, description="one of the paper's four shares")
    )
    numerator: tuple[Text, ...] = Field((), description="columns added up, if no measure is named")
    denominator: tuple[Text, ...] = Field((), description="columns added up: the total")
    direction: Direction | None = Field(None, description="goes with numerator and denominator")

    @model_validator(mode="after")
    def _measure_or_columns(self) -> Self:
        own = (bool(self.numerator), bool(self.denominator), self.direction is not None)
        if self.measure is None and not all(own):
            raise ValueError("give 'measure', or 'numerator', 'denominator' and 'direction'")
        if self.measure is not None and any(own):
            raise ValueError("'measure' already says numerator, denominator and direction")
        if self.deciles == "published":
            raise ValueError('the census publishes no deciles; use deciles = "study"')
        return self


class DeprivationOutcome(_Outcome):
    """``source = "deprivation"``: English Indices of Deprivation, 2015 or 2019."""

    source: Literal["deprivation"]
    file: Path = Field(description="a file of the Indices as published, CSV or Excel")
    domain: Literal[
        "overall", "income", "employment", "education", "health", "crime", "housing", "environment"
    ] = Field("overall", description="of the Indices")


class IncomeOutcome(_Outcome):
    """``source = "income"``: GLA household income estimates."""

    source: Literal["income"]
    file: Path = Field(description="the estimates as published, CSV")
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


class DirectoryLocations(Settings):
    """``source = "directory"``: an ONS postcode directory, or a table laid out like one."""

    source: Literal["directory"]
    file: Path = Field(description="the directory, CSV or Parquet")
    area: Literal["oa11", "lsoa11", "msoa11", "oa21", "lsoa21", "msoa21"] = Field(
        "lsoa11", description="which of the directory's areas the study's areas are"
    )
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


LocationSettings = Annotated[DirectoryLocations | PointLocations, Field(discriminator="source")]


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


class FoldSettings(Settings):
    """``[folds]``: how locations are split; an area is never in two folds."""

    k: Annotated[int, Strict(), Field(ge=2)] = Field(5, description="number of folds")
    validation: Share = Field(
        0.15, description="share of the training areas that only early stopping sees"
    )


class TrainSettings(Settings):
    """``[train]``: the network and how it learns."""

    # Batch norm (paper-2019) ranks the areas of small cities worse: .01 to .08 less in rank
    # correlation on four made-up cities of 85 to 300 areas, at its own best learning rate.
    network: Literal["paper-2019", "port-2020"] = Field(
        "port-2020", description="the paper's layers with and without batch normalisation"
    )
    epochs: Annotated[int, Strict(), Field(ge=1)] = Field(40, description="at most so many")
    batch: Annotated[int, Strict(), Field(ge=2)] = Field(128, description="locations at a time")
    learning_rate: Positive = Field(1e-3, description="3e-3 suits paper-2019")
    weight_decay: Annotated[float, Strict(), Field(ge=0)] = Field(1e-4, description="L2, Adam's")
    noise: Annotated[float, Strict(), Field(ge=0)] = Field(
        0.05, description="sd of Gaussian noise on standardised features, training only"
    )
    patience: Annotated[int, Strict(), Field(ge=1)] = Field(
        4, description="epochs without a lower validation loss before an outcome stops"
    )
    device: Device = "auto"


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
    locations: LocationSettings
    imagery: ImagerySettings | None = None
    features: FeatureSettings = PictureFeatures()
    folds: FoldSettings = FoldSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

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
        yield from _paths(key, value)


def _paths(key: str, value: object) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        for inner, item in value:
            yield from _paths(f"{key}.{inner}", item)
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
