"""The whole of study.toml as settings, and how it is read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, Strict, ValidationError
from pydantic_core import ErrorDetails

from streetgauge.errors import InputError, closest
from streetgauge.settings.areas import AreaSettings, DirectoryLocations, LocationSettings
from streetgauge.settings.base import Name, Settings, Text, broken_rule, rule
from streetgauge.settings.evaluation import EvaluationSettings, ReportSettings
from streetgauge.settings.features import ConceptSettings, FeatureSettings, ImageFeatures
from streetgauge.settings.imagery import ImagerySettings, ImagerySource
from streetgauge.settings.outcomes import DecileSettings, OutcomeSettings
from streetgauge.settings.train import (
    CoverageSettings,
    FoldSettings,
    TrainSettings,
    TransferSettings,
)

_NAMED = {"named_features": "features", "named_imagery": "imagery"}


class SettingsError(InputError):
    """Settings that cannot be used: the first error, with all of them in `errors`."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(first.subject, first.reason + more, first.next_step)
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[type[SettingsError], tuple[Any, ...]]:
        """Pass on all errors on the way from another process."""
        return type(self), (self.errors,)


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
    locations: LocationSettings | None = None
    imagery: ImagerySource | None = None
    features: FeatureSettings = ImageFeatures()
    # What study.toml writes as [features.NAME] and [imagery.NAME]; then those above are not used.
    named_features: dict[Name, FeatureSettings] = Field({})
    named_imagery: dict[Name, ImagerySource] = Field({})
    concepts: ConceptSettings | None = None
    folds: FoldSettings = FoldSettings()
    train: TrainSettings = TrainSettings()
    coverage: CoverageSettings | None = None
    transfer: TransferSettings | None = None
    evaluation: EvaluationSettings = EvaluationSettings()
    report: ReportSettings = ReportSettings()

    @classmethod
    def _prepare(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Tell several named sources of features from one that has no name."""
        for field, section in _NAMED.items():
            if field in given:
                raise ValueError(f"{field!r} is not known; write [{section}.NAME]")
        features: Any = given.get("features")
        imagery: Any = given.get("imagery")
        if not isinstance(features, dict):
            return given
        tables = [n for n, x in features.items() if isinstance(x, dict) and n != "cluster"]
        if tables and not _are_tables(features):
            raise ValueError(
                f"[features] has keys of its own besides [features.{tables[0]}]; give each source "
                "a name, or use only one"
            )
        if not _are_tables(features) or set(features) == {"cluster"}:
            return given
        named = {key: value for key, value in given.items() if key not in ("features", "imagery")}
        # A source that is called in a way that is refused need not be refused for its file, too.
        stored = {name: name if re.fullmatch(r"[A-Za-z][\w-]*", name) else "x" for name in features}
        sources = {
            name: {"name": stored[name], **each}
            if each.get("source", "images") != "images"
            else each
            for name, each in features.items()
        }
        named["named_features"] = sources
        if _are_tables(imagery):
            named["named_imagery"] = imagery
        elif imagery is not None:
            of_images = [n for n, each in sources.items() if each.get("source") in (None, "images")]
            if len(of_images) != 1:
                count = len(of_images) or "none"
                raise ValueError(
                    f"[imagery] belongs to one source of images, and there are {count}: "
                    "write [imagery.NAME] with the source's name"
                )
            named["named_imagery"] = {of_images[0]: imagery}
        return named

    @property
    def sources(self) -> dict[str, FeatureSettings]:
        """The sources of features, sorted by name; the only one of most studies is called ""."""
        return dict(sorted(self.named_features.items())) or {"": self.features}

    @property
    def several(self) -> bool:
        """Whether there are several sources of features, each with a name."""
        return bool(self.named_features)

    def only(self, source: str) -> StudySettings:
        """Give the settings with one source of features, by its name, and its images alone."""
        if not self.several:
            return self
        own = {"features": self.named_features[source], "imagery": self.named_imagery.get(source)}
        return self.model_copy(update={**own, "named_features": {}, "named_imagery": {}})

    def section(self, name: str) -> Any:
        """Give a section of study.toml, with all of its named sources where it has some."""
        named = getattr(self, f"named_{name}", None)
        return named or getattr(self, name)

    def written(self) -> dict[str, Any]:
        """Give all settings as study.toml has them."""
        whole = self.model_dump(mode="json", exclude_none=True)
        for field, section in _NAMED.items():
            named = whole.pop(field)
            if self.several:
                whole[section] = dict(sorted(named.items()))
        return whole

    @property
    def lacking(self) -> str | None:
        """What is absent for training, if anything: then official statistics stand alone."""
        if self.locations is None:
            return "[locations]"
        if self.several:
            return None
        no_images = self.features.source == "images" and self.imagery is None
        return "[imagery], or [features] of another source" if no_images else None

    @property
    def image_rights(self) -> dict[str, str | None]:
        """Licence and attribution of the study's own images."""
        own = self.imagery if isinstance(self.imagery, ImagerySettings) else None
        return {
            "licence": None if own is None else own.licence,
            "attribution": None if own is None else own.attribution,
        }

    @rule
    def _tuning_belongs_to_transfer(self) -> Iterator[str]:
        if self.train.tune != TrainSettings().tune:
            yield "'tune' belongs to [transfer]; move it there"

    @rule
    def _transfer_fits_the_folds(self) -> Iterator[str]:
        if self.folds.scheme == "test-only" and self.transfer is None:
            yield 'folds.scheme = "test-only" tests a model that is there; name it: [transfer] from'
        if self.transfer and self.transfer.curve and self.folds.kind == "none":
            yield (
                "'curve' under [transfer] needs areas to train on and others to test on, which "
                f'folds.scheme = "{self.folds.scheme}" does not have; choose another scheme'
            )

    @rule
    def _coverage_weights_are_of_columns_of_the_areas(self) -> Iterator[str]:
        known = ("district", *self.areas.columns)
        for name in () if self.coverage is None else self.coverage.weights:
            if name not in known:
                yield (
                    f"coverage.weights names {name!r}, which the areas do not have; name it in "
                    f"areas.columns, too, or use one of: {', '.join(known)}"
                )

    @rule
    def _earlier_releases_are_outcomes(self) -> Iterator[str]:
        for outcome, earlier in self.evaluation.previous.items():
            for name in dict.fromkeys((outcome, earlier)):
                if name not in self.outcomes:
                    yield f"evaluation.previous names {name!r}, which is no outcome; remove it"
            if outcome == earlier:
                yield f"evaluation.previous makes {outcome!r} its own earlier release; name another"

    @rule
    def _published_deciles_make_the_classes(self) -> Iterator[str]:
        for name, outcome in self.outcomes.items():
            published = outcome.deciles == "published" and outcome.source == "deprivation"
            if published and 10 % self.deciles.classes:
                yield (
                    f'deciles = "published" of outcome {name!r} cannot be put together to '
                    f"{self.deciles.classes} classes; use 2, 5 or 10"
                )

    @rule
    def _areas_have_a_source(self) -> Iterator[str]:
        if self.areas.file is None and not isinstance(self.locations, DirectoryLocations):
            given = "" if self.locations is None else f" instead of {self.locations.source!r}"
            yield (
                "[areas] names no file, which only a postcode directory can stand in for; add "
                f"areas.file, or [locations] with source = 'directory'{given}"
            )

    @rule
    def _shown_images_have_a_licence(self) -> Iterator[str]:
        if self.report.images is not True:
            return
        if self.imagery is None:
            yield "report.images = true, but the study has no [imagery]; add it"
        elif isinstance(self.imagery, ImagerySettings) and self.image_rights["licence"] is None:
            yield (
                "report.images = true, but imagery.licence does not name what allows showing them; "
                "add it, or remove report.images"
            )

    @rule
    def _sources_are_several(self) -> Iterator[str]:
        names = list(self.named_features)
        if len(names) == 1:
            only = f"[features.{names[0]}]"
            yield f"one source of features needs no name: write [features], not {only}"
        if len({name.lower() for name in names}) < len(names):
            yield "two sources of features have one name, but for capitals; name one otherwise"
        if "cluster" in names:
            yield "a source of features cannot be called 'cluster'; name it otherwise"
        for name, source in self.named_features.items():
            if (given := getattr(source, "name", name)) != name:
                yield f"features.{name}.name = {given!r}, but its name is {name!r}; remove 'name'"

    @rule
    def _named_images_have_a_source(self) -> Iterator[str]:
        images = [n for n, each in self.named_features.items() if each.source == "images"]
        for name in images:
            if name not in self.named_imagery:
                yield f"[features.{name}] has no images; add [imagery.{name}]"
        for name in self.named_imagery:
            if name not in images:
                yield f"[imagery.{name}] belongs to no [features.{name}] of images; remove it"
        for name, imagery in self.named_imagery.items():
            if not isinstance(imagery, ImagerySettings):
                yield (
                    f"[imagery.{name}] is open imagery, which goes with one source of features; "
                    "fetch it with a study of its own, and name its images here"
                )

    @rule
    def _what_goes_with_one_source(self) -> Iterator[str]:
        if not self.several:
            if self.train.source_dropout:
                yield "train.source_dropout goes with several sources of features; remove it"
            return
        unknown = {
            "[transfer]": self.transfer is not None,
            "report.images = true": self.report.images is True,
            "train.components": self.train.components is not None,
            'train.network = "paper-2019"': self.train.network == "paper-2019",
            "evaluation.oracle": self.evaluation.oracle is not None,
        }
        for what, given in unknown.items():
            if given:
                yield f"{what} goes with one source of features, and there are several; remove it"

    @rule
    def _images_have_a_source(self) -> Iterator[str]:
        if self.features.source != "images" and self.imagery is not None:
            source = self.features.source
            yield f'[imagery] is not used with features.source = "{source}"; remove it'

    @rule
    def _concepts_have_images(self) -> Iterator[str]:
        found = [each.source for each in self.sources.values()]
        if self.concepts is not None and "images" not in found:
            yield f'[concepts] need images, and features.source = "{found[0]}" has none; remove it'


def _are_tables(section: Any) -> bool:
    """Whether every value of a section is itself a table."""
    tables = isinstance(section, dict) and all(isinstance(x, dict) for x in section.values())
    return tables and bool(section)


def read_settings(file: Path) -> StudySettings:
    """Read and validate study.toml; its paths are made absolute from its own directory.

    Parameters
    ----------
    file : Path
        The ``study.toml``.

    Returns
    -------
    StudySettings
        Frozen settings. That the named files exist is not checked: see `input_files`.

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
        raise InputError(file, f"this is not TOML: {error}", "fix that line") from None
    try:
        settings = StudySettings.model_validate(content)
    except ValidationError as error:
        raise _as_input_error(file, error) from None
    _refuse_virtual(file, settings)
    try:
        return _with_absolute_paths(settings, file.resolve().parent)
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(file, f"a path in it cannot be used: {error}", "fix it") from None


def _refuse_virtual(file: Path, settings: StudySettings) -> None:
    """Refuse what GDAL would take for an address or an archive."""
    for key, path in input_files(settings):
        if re.match(r"/vsi\w+(/|$)", path.as_posix()) and not path.exists():
            raise InputError(
                f"{file}: {key}",
                f"{path} is a name of GDAL's virtual file systems, which are closed",
                "name a file, or a zip with one",
            )


def input_files(settings: BaseModel) -> Iterator[tuple[str, Path]]:
    """Every path of the settings with its key, e.g. ``("areas.file", Path(...))``."""
    for key, value in settings:
        yield from _paths(_written(settings, key), value)


def _written(settings: BaseModel, key: str) -> str:
    """Give the key as study.toml has it."""
    return _NAMED.get(key) or type(settings).model_fields[key].alias or key


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


def _as_input_error(file: Path, error: ValidationError) -> SettingsError:
    """Report each error in one sentence; unknown keys come first, they explain others."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    errors: dict[tuple[str, str], InputError] = {}
    for detail in details:
        parts, around, inner = _locate(detail["loc"])
        subject = f"{file}: {'.'.join(parts)}" if parts else str(file)
        reason, step = _explain(detail, parts[-1] if parts else "", around, inner)
        # A value that may be of two kinds fails twice: one error; but several rules may be broken.
        rule = reason if detail["type"] == "value_error" else ""
        errors.setdefault((subject, rule), InputError(subject, reason, step))
    return SettingsError(list(errors.values()))


def _explain(detail: ErrorDetails, key: str, around: _Schema, inner: _Schema) -> tuple[str, str]:
    """Give the reason and the next step of one of pydantic's errors."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden" and (sources := _elsewhere(key, around)):
        return "this key is not known here", f"it goes with source = {' or '.join(sources)}"
    if kind == "extra_forbidden":
        return "this key is not known", closest(key, around.get("properties", {}))
    if kind == "missing" and isinstance(detail["loc"][-1], int):
        return f"{given!r} has too few values", f"give all of it: {inner.get('description', '')}"
    if kind == "missing":
        what = inner.get("description") or " or ".join(map(repr, inner.get("enum", [])))
        return "this key is missing", f"add it: {what or 'it has no default'}"
    if kind == "literal_error":
        return f"{given!r} is not allowed", f"use {context['expected']}"
    if kind == "union_tag_invalid":
        tags = context["expected_tags"]
        return f"source = {given.get('source')!r} is not allowed", f"use one of {tags}"
    if kind == "union_tag_not_found":
        tags = ", ".join(map(repr, inner.get("discriminator", {}).get("mapping", {})))
        return "the key 'source' is missing", f"use one of {tags}"
    return broken_rule(detail)


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
            options = {tag: _resolved(root, {"$ref": at}) for tag, at in members.items()}
            inner = {**options[str(part)], "options": options}
        elif parts and not inner.keys() & {"properties", "patternProperties", "items"}:
            continue  # which of the types that a value may have was tried
        elif part != "[key]":
            parts.append(_NAMED.get(str(part), str(part)))
            around = inner
            # Keys of a table like [outcomes] are the user's own, of one pattern.
            own: _Schema = next(iter(inner.get("patternProperties", {}).values()), {})
            inner = _resolved(root, inner.get("properties", {}).get(part, own))
    return parts, around, inner


def _elsewhere(key: str, around: _Schema) -> list[str]:
    """Name the other sources of a section that know a key."""
    options: dict[str, _Schema] = around.get("options", {})
    return [repr(tag) for tag, one in options.items() if key in one.get("properties", {})]


def _resolved(root: _Schema, schema: _Schema) -> _Schema:
    """Follow references, and skip 'or null'."""
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            schema = {**option, **{k: v for k, v in schema.items() if k != "anyOf"}}
            break
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: _Schema = root["$defs"][reference.rsplit("/", 1)[-1]]
    return target
