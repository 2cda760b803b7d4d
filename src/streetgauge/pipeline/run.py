"""The work of every stage of the table, and how a stage is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from streetgauge.errors import require_torch
from streetgauge.io.files import naming_full_disk
from streetgauge.processes import undivided_products
from streetgauge.progress import Progress
from streetgauge.settings import ImageFeatures
from streetgauge.skips import AllExcludedError
from streetgauge.study import Done, Study
from streetgauge.study.stages import makes, stage_named


def _in(module: str, name: str) -> Callable[..., Any]:
    """Give a function that is imported when it is called: what is up to date loads nothing."""

    def call(*given: Any) -> Any:
        return getattr(import_module(f"streetgauge.pipeline.{module}"), name)(*given)

    return call


WORK: dict[str, Callable[[Study, str, Progress], Done]] = {
    "outcomes": _in("outcomes", "make_outcomes"),
    "locations": _in("locations", "make_locations"),
    "images": _in("images", "collect"),
    "features": _in("features", "make_features"),
    "train": _in("train", "train"),
    "areas": _in("areas", "make_areas"),
    "concepts": _in("concepts", "make_concepts"),
    "report": _in("report", "make_report"),
}
# These multiply no matrices, and do not wait for SciPy.
WITHOUT_PRODUCTS = ("outcomes", "locations", "images")
# What may refuse that a stage's files are removed, by raising InputError; and what else is removed.
REFUSE_CLEAN: dict[str, Callable[[Study], None]] = {"features": _in("features", "refuse_newer")}
PRE_CLEAN: dict[str, Callable[[Study], None]] = {"images": _in("images", "forget_answers")}


def run_stage(study: Study, name: str, progress: Progress, *, force: bool = False) -> Done | None:
    """Do a stage, unless it is up to date.

    Parameters
    ----------
    study : Study
        Whose.
    name : str
        Which stage.
    progress : Progress
        Reports how far long work is.
    force : bool
        Do it even if it is up to date, from nothing.

    Returns
    -------
    Done or None
        What the stage reports; None if it was up to date and nothing was done, or if it makes
        nothing in this study.

    Raises
    ------
    InputError
        If a file that the stage reads is missing or cannot be used.
    """
    stage = stage_named(name)
    if not makes(stage, study):
        return None
    study.require_inputs(stage)
    key = study.key(stage)
    if not force and study.is_up_to_date(stage, key):
        return None
    if force:
        forget_stages(study, [name])
    study.begin(stage)
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        with (
            naming_full_disk(study.directory),
            nullcontext() if name in WITHOUT_PRODUCTS else undivided_products(),
            study.running.stage(name, progress) as reported,
        ):
            done = WORK[name](study, study.key(stage, upstream=False), reported)
    except AllExcludedError as error:
        study.store_skips(name, error.skips)
        raise
    study.remember(stage, key, done, started, time.perf_counter() - clock)
    return done


def forget_stages(study: Study, names: Sequence[str]) -> None:
    """Remove what stages made, the last first, so that a run that is killed goes on with all.

    Raises
    ------
    InputError
        If one of them must not be removed; nothing is removed then.
    """
    images = any(isinstance(each, ImageFeatures) for each in study.settings.sources.values())
    for name in names:
        if name == "train" or (name == "features" and images):
            require_torch()
        if name in REFUSE_CLEAN:
            REFUSE_CLEAN[name](study)
        study.require_made(stage_named(name))
    for name in names:
        if name in PRE_CLEAN:
            PRE_CLEAN[name](study)
    study.running.watchdog.clear()
    for name in reversed(names):
        study.forget(stage_named(name))
