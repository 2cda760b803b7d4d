"""The stages in their order: what each depends on, reads and writes; the work is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from streetgauge.errors import InputError, closest
from streetgauge.io.files import companions
from streetgauge.settings import ImageFeatures, OpenImagery, RasterFeatures, SimulatedFeatures
from streetgauge.study.paths import StudyFiles, other_outputs, own_outputs


@dataclass(frozen=True)
class Stage:
    """One arrow of the flow: what it depends on and what it writes.

    Parameters
    ----------
    name : str
        The verb on the command line.
    version : int
        Part of its cache key, and of those of all stages downstream. Raised by hand when the code
        changes in a way that changes the stage's results, and only then: every study does the
        stage and those downstream again.
    settings : tuple of str
        The sections of study.toml that it depends on.
    reads : callable
        The study's own files that it reads, by path.
    writes : callable
        The files and directories that it makes.
    by_numbers : bool
        Whether its result is the same whatever outcomes are called: see `Study.numbers`.
    wanted : callable
        Whether a run does it; its own verb does it in any case.
    """

    name: str
    version: int
    settings: tuple[str, ...]
    reads: Callable[[StudyFiles], tuple[Path, ...]]
    writes: Callable[[StudyFiles], tuple[Path, ...]]
    by_numbers: bool = False
    wanted: Callable[[StudyFiles], bool] = lambda study: True


def has_curve(study: StudyFiles) -> bool:
    """Whether `train` also measures what labels are worth with a model of another city."""
    return study.settings.transfer is not None and study.settings.transfer.curve


def has_gallery(study: StudyFiles) -> bool:
    """Whether the page may show images of the study, so that it depends on what was predicted."""
    settings = study.settings
    if settings.several or not isinstance(settings.features, ImageFeatures):
        return False
    if settings.report.images is False or settings.imagery is None:
        return False
    return isinstance(settings.imagery, OpenImagery) or bool(settings.image_rights["licence"])


def _collected(study: StudyFiles) -> tuple[Path, ...]:
    """Where images of open street imagery are; nowhere in a study that has its own."""
    is_open = isinstance(study.settings.imagery, OpenImagery)
    return (study.images, study.image_folder) if is_open else ()


def _network_files(study: StudyFiles) -> tuple[Path, ...]:
    """Files that no setting names and that define what a network does: those of an ONNX file."""
    settings = study.settings.features
    if not isinstance(settings, ImageFeatures) or settings.backbone != "onnx":
        return ()
    return () if settings.weights is None else companions(settings.weights)


def _made_from(study: StudyFiles) -> tuple[Path, ...]:
    """Files of the study that features are made from, of all sources."""
    found = [study.locations, *_collected(study)]
    for each in study.sources.values():
        if isinstance(each.settings.features, SimulatedFeatures):
            found.append(study.outcomes)
        found += _network_files(each)
    return tuple(dict.fromkeys(found))


def _feature_files(study: StudyFiles) -> tuple[Path, ...]:
    """Files with the features of all sources, and of images with what was found wrong with them."""
    return tuple(
        path
        for each in study.sources.values()
        for path in (
            (each.features, each.quality)
            if isinstance(each.settings.features, ImageFeatures)
            else (each.features,)
        )
    )


def _further_inputs(study: StudyFiles) -> tuple[Path, ...]:
    """Give what the page shows besides what every study has, where it is there."""
    more = (
        *(study.history, study.curves, study.concept_findings, study.fairness, study.age),
        *(study.change_findings, study.sample_findings, study.survey_findings),
    )
    return tuple(path for path in more if path.exists())


def _other_files(study: StudyFiles, *names: str) -> tuple[Path, ...]:
    """Files of the other folds, if there are to be any."""
    other = other_outputs(study)
    return () if other is None else tuple(getattr(other, name) for name in names)


STAGES = (
    Stage(
        "outcomes",
        1,
        ("areas", "locations", "outcomes", "deciles"),
        lambda s: (),
        lambda s: (s.outcomes,),
    ),
    Stage(
        "locations",
        1,
        ("areas", "locations"),
        lambda s: (),
        lambda s: (s.locations,),
    ),
    Stage(
        "images",
        1,
        ("imagery",),
        lambda s: (s.locations,),
        _collected,
    ),
    Stage(
        "features",
        4,
        ("imagery", "features", "seed"),
        _made_from,
        _feature_files,
        by_numbers=True,
    ),
    Stage(
        "train",
        8,
        ("areas", "locations", "folds", "train", "deciles", "transfer", "seed"),
        lambda s: (s.outcomes, s.locations, *s.stores),
        lambda s: (
            *(s.folds, s.splits, s.predictions, s.model, s.area_features),
            *_other_files(s, "folds", "splits", "predictions", "model"),
        ),
        by_numbers=True,
    ),
    Stage(
        "areas",
        9,
        ("areas", "locations", "folds", "evaluation", "deciles", "seed"),
        lambda s: (
            *(s.predictions, s.folds, s.splits, s.locations, s.outcomes, s.area_features),
            *(f for f in _other_files(s, "predictions", "folds", "splits") if f.exists()),
            *((s.transfer_curve,) if has_curve(s) else ()),
            *((s.unweighted,) if s.settings.coverage and s.unweighted.exists() else ()),
            *((own_outputs(s).sources,) if s.settings.several else ()),
            *(f for f in _other_files(s, "sources") if s.settings.several and f.exists()),
        ),
        lambda s: (
            *(s.areas, s.map, s.geoparquet, s.map_style, s.metrics, *_other_files(s, "areas")),
            *map(s.level, s.settings.evaluation.levels),
        ),
    ),
    Stage(
        "concepts",
        2,
        ("imagery", "concepts", "areas", "locations", "folds", "evaluation", "deciles", "seed"),
        lambda s: (
            *(s.locations, s.outcomes, *s.stores, s.splits, s.areas, s.metrics),
            *_collected(s),
        ),
        lambda s: (
            (s.concepts, s.area_concepts, s.concept_findings, s.concept_stores)
            if s.image_source is not None
            else ()
        ),
        wanted=lambda s: s.settings.concepts is not None or s.concepts.exists(),
    ),
    Stage(
        "report",
        12,
        ("name", "note", "areas", "locations", "report", "image_rights"),
        lambda s: (
            *(s.areas, s.metrics, s.outcomes, s.locations, *s.stores, s.skipped),
            *_further_inputs(s),
            *((s.splits, s.predictions, s.model) if has_gallery(s) else ()),
            *(_collected(s) if has_gallery(s) else _collected(s)[:1]),
        ),
        lambda s: (s.report, s.figures),
    ),
)


def sections(stage: Stage, study: StudyFiles) -> tuple[str, ...]:
    """Give the sections of study.toml that a stage depends on in this study."""
    if stage.name == "train" and study.settings.coverage is not None:
        return (*stage.settings, "coverage")
    by_area = any(
        isinstance(each, RasterFeatures) and each.sample == "areas"
        for each in study.settings.sources.values()
    )
    return (*stage.settings, "areas") if by_area and stage.name == "features" else stage.settings


def stage_named(name: str) -> Stage:
    """Give the stage with this name.

    Raises
    ------
    InputError
        If there is none.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    step = closest(name, [stage.name for stage in STAGES])
    raise InputError(f"stage {name!r}", "there is no stage of this name", step)


def stages_of(study: StudyFiles) -> tuple[Stage, ...]:
    """Give the stages that make something in this study and are wanted, in their order."""
    return tuple(stage for stage in STAGES if makes(stage, study) and stage.wanted(study))


def makes(stage: Stage, study: StudyFiles) -> bool:
    """Whether a stage makes something in this study; of official statistics alone, few do."""
    settings = study.settings
    if stage.name == "locations":
        return settings.locations is not None
    if stage.name != "outcomes" and settings.lacking is not None:
        return False
    return bool(stage.writes(study))


def upstream(stage: Stage, study: StudyFiles) -> tuple[Stage, ...]:
    """Give the stages that make what a stage reads, and those behind them, in their order."""
    wanted, found = list(stage.reads(study)), []
    for other in reversed(STAGES):
        if other.name != stage.name and _overlap(wanted, other.writes(study)):
            found.append(other)
            wanted += other.reads(study)
    return tuple(reversed(found))


def downstream(stage: Stage, study: StudyFiles) -> tuple[Stage, ...]:
    """Give the stages that read, at any remove, what a stage makes, in their order."""
    return tuple(
        other
        for other in stages_of(study)
        if stage.name in {each.name for each in upstream(other, study)}
    )


def _overlap(read: Iterable[Path], written: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(each) for path in read for each in written)
