"""What there is to see of a study right now, from the files that a run writes."""

from __future__ import annotations

import json
import math
import stat
import time
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from streetgauge.study import Study
from streetgauge.study.heartbeat import read_running
from streetgauge.study.paths import OTHER_FOLDS
from streetgauge.study.stages import stages_of

if TYPE_CHECKING:
    import pandas as pd


TITLES = {"random": "Cross-validation by area", "spatial": "Spatial block cross-validation"}
MEASURES = ("train_loss", "validation_loss", "validation_mae", "validation_tau")


def pulse_of(study: Study) -> dict[str, Any]:
    """Give what a page must know to stay current: the report's version, and what runs.

    Returns
    -------
    dict
        ``report`` (a word that changes whenever the report does; None without one) and ``running``
        (a few words, or None).
    """
    run = _run(study)
    return {
        "report": version_of(study.report),
        "running": _summary(run) if run and run["alive"] else None,
    }


def state_of(study: Study) -> dict[str, Any]:
    """Give all that the live page shows.

    Returns
    -------
    dict
        JSON-clean: that of `pulse_of`, and ``name``; ``classes``; ``since`` (seconds that the run
        takes so far, None if nothing runs); ``stopped`` (why the last run did not end, or None);
        ``stages``, in their order, each ``name``, ``state`` (``running``, ``done``, ``cached``:
        from an earlier run, ``not done``), ``seconds``, ``messages`` and ``bars``; ``curves``: for
        each kind of folds ``title`` and ``outcomes``, each ``label`` and ``splits``, each ``split``
        and ``points`` ([epoch, mean absolute error of the validation part in classes]).
    """
    run, now = _run(study), time.time()
    working = run is not None and run["alive"]
    return {
        **pulse_of(study),
        "name": study.settings.name,
        "classes": study.settings.deciles.classes,
        "since": max(now - run["since"], 0) if run and working else None,
        "stopped": None if run is None or working else _stopped(run),
        "stages": _stages(study, run, now),
        "curves": _curves(study),
    }


def version_of(path: Path) -> str | None:
    """Give a word that changes whenever the file does; None if there is none, or only a link."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return f"{about.st_mtime_ns:x}-{about.st_size:x}" if stat.S_ISREG(about.st_mode) else None


def training_curves(study: Study) -> pd.DataFrame:
    """Read how training went, or goes: one row for each evaluation step.

    Returns
    -------
    DataFrame
        ``folds`` (kind of folds), ``split`` (``fold-1``.., ``all``), ``member``, ``epoch`` (how
        often the training part was gone through), ``outcome``, ``train_loss``,
        ``validation_loss``, ``validation_mae`` (in classes), ``validation_tau``.
    """
    import pandas as pd

    columns = ["folds", "split", "member", "epoch", "outcome", *MEASURES]
    rows = [
        {"folds": kind, "split": part, **step}
        for kind, directory in _models(study).items()
        for part, steps in _histories(directory).items()
        for step in steps
    ]
    return pd.DataFrame(rows, columns=columns)


def _run(study: Study) -> dict[str, Any] | None:
    return read_running(study.running.file)


def _summary(run: dict[str, Any]) -> str:
    if run["stage"] is None:
        return "checking what must be done"
    bars = [bar for bar in run["bars"] if bar["total"] > 0]
    if not bars:
        return f"{run['stage']}"
    share = min(bars[-1]["done"] / bars[-1]["total"], 1)
    return f"{run['stage']}: {share:.0%}"


def _stopped(run: dict[str, Any]) -> str:
    if run["stopped"] is not None:
        return f"{run['stage']}: {run['stopped']}" if run["stage"] else str(run["stopped"])
    stage = f" during {run['stage']}" if run["stage"] else ""
    return f"The last run gave no more sign of life{stage}; the same command goes on from there."


def _stages(study: Study, run: dict[str, Any] | None, now: float) -> list[dict[str, Any]]:
    # Read anew each time: the process that writes it is another one.
    entries = Study(study.file, study.settings).record.get("stages", {})
    names = [stage.name for stage in stages_of(study)]
    working = run["stage"] if run is not None and run["alive"] else None
    before = names[: names.index(working)] if working in names else names
    result = []
    for name in names:
        about: dict[str, Any] = {"name": name, "state": "not done", "seconds": None, "messages": []}
        if name in entries:
            about["state"] = "done" if name in before else "cached"
            about |= {"seconds": entries[name]["seconds"], "messages": entries[name]["messages"]}
        bars = []
        if run is not None and name == working:
            about |= {
                "state": "running",
                "seconds": max(now - run["stage_since"], 0),
                "messages": [],
            }
            bars = [_bar(bar, now) for bar in run["bars"]]
        result.append({**about, "bars": bars})
    return result


def _bar(bar: dict[str, Any], now: float) -> dict[str, Any]:
    """Add the rate, and the time left if it goes on like this."""
    rate = bar["done"] / max(now - bar["since"], 1e-9)
    left = (bar["total"] - bar["done"]) / rate if rate > 0 else None
    named = {key: bar[key] for key in ("task", "done", "total", "unit")}
    return {**named, "rate": rate, "left": left}


def _models(study: Study) -> dict[str, Path]:
    """Name where networks of each kind of folds are trained."""
    folds = study.settings.folds
    models: dict[str, Path] = {folds.kind: study.model}
    if folds.other_kind is not None:
        models[folds.other_kind] = study.directory / OTHER_FOLDS / "model"
    return models


def _curves(study: Study) -> list[dict[str, Any]]:
    result = []
    for kind, directory in _models(study).items():
        histories = _histories(directory)
        outcomes = []
        for name, settings in study.settings.outcomes.items():
            parts = [
                {"split": part, "points": points}
                for part, steps in histories.items()
                if (points := _points(steps, name))
            ]
            if parts:
                outcomes.append({"label": settings.label or name, "splits": parts})
        if outcomes:
            result.append({"title": TITLES.get(kind, "Folds of the study"), "outcomes": outcomes})
    return result


def _points(steps: tuple[dict[str, Any], ...], outcome: str) -> list[list[float]]:
    """Mean over the members of an ensemble, epoch by epoch."""
    at: dict[float, list[float]] = defaultdict(list)
    for step in steps:
        if step["outcome"] == outcome and math.isfinite(step["validation_mae"]):
            at[step["epoch"]].append(step["validation_mae"])
    return [[epoch, round(fmean(values), 4)] for epoch, values in sorted(at.items())]


def _histories(model: Path) -> dict[str, tuple[dict[str, Any], ...]]:
    """Read the evaluation steps of each part; ``fold-10`` comes behind ``fold-9``."""
    files = {path.parent.name: path for path in model.glob("logs/*/history.jsonl")}
    result = {}
    for part in sorted(files, key=lambda name: (len(name), name)):
        version = version_of(files[part])
        if version is not None:
            result[part] = _evaluation_steps(files[part], version)
    return result


@lru_cache(maxsize=256)
def _evaluation_steps(file: Path, version: str) -> tuple[dict[str, Any], ...]:
    """Read a diary; its last line may be half written, and what is no step is skipped."""
    steps = []
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    for line in lines:
        try:
            row = json.loads(line)
            measured = {key: row.get(key) for key in MEASURES}
            numbers = {k: math.nan if x is None else float(x) for k, x in measured.items()}
            steps.append(
                {
                    "member": int(row.get("member", 1)),
                    "epoch": float(row["epoch"]),
                    "outcome": str(row["outcome"]),
                    **numbers,
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(steps)
