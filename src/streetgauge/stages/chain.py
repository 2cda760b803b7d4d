"""The stages in their order, and what each reads and writes."""

from __future__ import annotations

from pathlib import Path

from streetgauge.errors import InputError
from streetgauge.settings import OpenImagery, PictureFeatures, SimulatedFeatures
from streetgauge.stages._common import curve_file, has_curve
from streetgauge.stages.areas import make_areas
from streetgauge.stages.features import beside_network, make_features, refuse_newer
from streetgauge.stages.figures import drawn_from
from streetgauge.stages.gallery import has_gallery
from streetgauge.stages.locations import make_locations
from streetgauge.stages.outcomes import make_outcomes
from streetgauge.stages.pictures import collect
from streetgauge.stages.report import make_report
from streetgauge.stages.second import second_of
from streetgauge.stages.train import train
from streetgauge.study import Stage, Study

__all__ = ["STAGES", "require_fresh", "require_upstream", "stage_named", "stages_of"]


def _collected(study: Study) -> tuple[Path, ...]:
    """Where pictures of open street imagery are; nowhere in a study that has its own."""
    is_open = isinstance(study.settings.imagery, OpenImagery)
    return (study.pictures, study.picture_folder) if is_open else ()


STAGES = (
    Stage(
        "outcomes",
        ("areas", "locations", "outcomes", "deciles"),
        lambda s: (),
        lambda s: (s.outcomes,),
        ("outcomes", "locations"),
        make_outcomes,
    ),
    Stage(
        "locations",
        ("areas", "locations"),
        lambda s: (),
        lambda s: (s.locations,),
        ("locations",),
        make_locations,
    ),
    Stage(
        "pictures",
        ("imagery",),
        lambda s: (s.locations,),
        _collected,
        ("imagery",),
        collect,
    ),
    Stage(
        "features",
        ("imagery", "features", "seed"),
        lambda s: (
            (s.locations, s.outcomes)
            if isinstance(s.settings.features, SimulatedFeatures)
            else (s.locations, *_collected(s), *beside_network(s))
        ),
        lambda s: (
            (s.features, s.quality)
            if isinstance(s.settings.features, PictureFeatures)
            else (s.features,)
        ),
        ("imagery", "features", "sample"),
        make_features,
        by_numbers=True,
        before_forgetting=refuse_newer,
    ),
    Stage(
        "train",
        ("areas", "locations", "folds", "train", "deciles", "transfer", "seed"),
        lambda s: (s.outcomes, s.locations, s.features),
        lambda s: (
            *(s.folds, s.splits, s.predictions, s.model, s.area_features),
            *_second_files(s, "folds", "splits", "predictions", "model"),
        ),
        ("learn", "features", "locations"),
        train,
        by_numbers=True,
    ),
    Stage(
        "areas",
        ("areas", "locations", "folds", "evaluation", "deciles", "seed"),
        lambda s: (
            *(s.predictions, s.folds, s.splits, s.locations, s.outcomes, s.area_features),
            *(f for f in _second_files(s, "predictions", "folds", "splits") if f.exists()),
            *((curve_file(s),) if has_curve(s) else ()),
        ),
        lambda s: (
            *(s.areas, s.map, s.geoparquet, s.map_style, s.metrics, *_second_files(s, "areas")),
            *map(s.level, s.settings.evaluation.levels),
        ),
        ("areas", "locations", "sample"),
        make_areas,
    ),
    Stage(
        "report",
        ("name", "note", "areas", "locations", "report", "picture_rights"),
        lambda s: (
            *(s.areas, s.metrics, s.outcomes, s.locations, s.skipped, *drawn_from(s)),
            *((s.features, s.splits, s.predictions, s.model) if has_gallery(s) else ()),
            *(_collected(s) if has_gallery(s) else _collected(s)[:1]),
        ),
        lambda s: (s.report, s.figures),
        ("report", "areas", "locations", "imagery", "features", "learn"),
        make_report,
    ),
)


def _second_files(study: Study, *names: str) -> tuple[Path, ...]:
    """Files of the folds beside the study's own, if there are to be any."""
    second = second_of(study)
    return () if second is None else tuple(getattr(second, name) for name in names)


def require_upstream(study: Study, name: str) -> None:
    """Refuse to go on from files that are older than what they are made from.

    Raises
    ------
    InputError
        Naming the first stage before ``name`` that is not done or out of date.
    """
    reads = set(stage_named(name).reads(study))
    for stage in STAGES:
        if reads & set(stage.writes(study)):
            require_fresh(study, stage.name)


def require_fresh(study: Study, name: str) -> None:
    """Refuse if a stage, or one before it, is not up to date.

    Raises
    ------
    InputError
        Naming the first stage that must be done.
    """
    require_upstream(study, name)
    stage = stage_named(name)
    study.require_inputs(stage)
    if not study.is_up_to_date(stage, study.stamp(stage)):
        raise InputError(
            study.directory,
            f"`{name}` is not done, or what it depends on has changed",
            f"run `streetgauge run {study.directory}`",
        )


def stages_of(study: Study) -> tuple[Stage, ...]:
    """Give the stages that make something in this study, in their order."""
    return tuple(stage for stage in STAGES if stage.writes(study))


def stage_named(name: str) -> Stage:
    """Give the stage with this name."""
    return next(stage for stage in STAGES if stage.name == name)
