"""Two studies, or a study and a bundle's figures, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from streetgauge.analysis.operands import Side, open_side
from streetgauge.errors import InputError
from streetgauge.io.files import write_json
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.study import Study

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILE", "compare", "different_settings"]

FILE = "comparison.json"
FORMAT = "streetgauge comparison"
# What makes no difference to a figure.
_NO_MATTER = ("name", "note")


def compare(
    a: str | Path,
    b: str | Path,
    *,
    out: Path | None = None,
    draws: int | None = None,
    seed: int = 2019,
) -> dict[str, Any]:
    """Say how much better one study is than another, outcome by outcome.

    Studies that share areas are paired by area, and both are measured on the same bootstrap draws
    of the shared areas (`streetgauge.evaluation.compare_areas`); others have draws of their own.
    Of a bundle there are only the figures that it carries, so nothing is paired with it. Both
    kinds of folds are compared where both sides have both.

    Parameters
    ----------
    a, b : str or Path
        A study (its directory or study.toml), or a bundle (its directory, or hf://...).
    out : Path, optional
        Directory for ``comparison.json``.
    draws : int, optional
        Bootstrap draws; as many as a's, if not given.
    seed : int
        Of the draws.

    Returns
    -------
    dict
        What ``comparison.json`` holds: ``a`` and ``b`` (what was compared), ``kinds`` by kind of
        folds with ``outcomes`` by name, each as `compare_areas` gives it plus ``label`` and
        ``gain``; ``settings`` (``key``, ``a``, ``b``: those that differ), ``only``
        (outcomes that one side has), ``cautions``.

    Raises
    ------
    InputError
        If there is no study or bundle, nothing was tested, no outcome is shared, classes differ,
        or ``out`` has a file of that name that is not ours.
    """
    left, right = open_side(a), open_side(b)
    target = None if out is None else _target(out)
    if left.metrics["classes"] != right.metrics["classes"]:
        raise InputError(
            f"{left.name} and {right.name}",
            f"one tells {left.metrics['classes']} classes and the other "
            f"{right.metrics['classes']}, whose errors are not comparable",
            "set deciles.classes of one to that of the other, and run it again",
        )
    outcomes = [name for name in left.metrics["outcomes"] if name in right.metrics["outcomes"]]
    if not outcomes:
        has = "; ".join(f"{s.name} has {', '.join(s.metrics['outcomes'])}" for s in (left, right))
        raise InputError(
            f"{left.name} and {right.name}",
            f"they share no outcome: {has}",
            "outcomes are matched by name: rename one in its study.toml",
        )
    cautions = [*left.cautions("a"), *right.cautions("b")]
    many = draws or int(left.metrics.get("draws") or right.metrics.get("draws") or 1000)
    kinds = {}
    for kind, (one, other) in _kinds(left, right, cautions).items():
        each = {n: _outcome(n, left, right, one, other, many, seed) for n in outcomes}
        kinds[kind] = {"a": _scheme(left, one), "b": _scheme(right, other), "outcomes": each}
        cautions += _cautions(kind, each)
    names = {"a": left.metrics["outcomes"], "b": right.metrics["outcomes"]}
    result = {
        "format": FORMAT,
        "format_version": ANALYSIS_VERSION,
        "a": left.about,
        "b": right.about,
        "classes": left.metrics["classes"],
        "interval_level": left.metrics["interval_level"],
        "draws": many,
        "seed": seed,
        "kinds": kinds,
        "settings": different_settings(left.study, right.study),
        "only": {side: [n for n in own if n not in outcomes] for side, own in names.items()},
        "cautions": cautions,
    }
    if target is not None:
        write_json(result, target)
    return result


def different_settings(a: Study | None, b: Study | None) -> list[dict[str, str]]:
    """List the settings of two studies that differ.

    Files count by their content where both studies have recorded it, else by their names.

    Returns
    -------
    list of dict
        ``key`` (as in study.toml, with dots), ``a``, ``b`` (``-`` where a side has no such key).
    """
    if a is None or b is None:
        return []
    one, other = (dict(_flat(study, study.settings)) for study in (a, b))
    absent = ("-", None)
    result = []
    for key in sorted({*one, *other}):
        (said, content), (too, same) = one.get(key, absent), other.get(key, absent)
        alike = content == same if content and same else said == too
        if not alike:
            mark = " (other content)" if said == too else ""
            result.append({"key": key, "a": said, "b": too + mark})
    return result


def _kinds(a: Side, b: Side, cautions: list[str]) -> dict[str, tuple[str, str]]:
    """Say which folds of a are compared with which of b."""
    shared = [kind for kind in a.kinds if kind in b.kinds]
    if shared:
        return {kind: (kind, kind) for kind in shared}
    cautions.append(
        f"the areas of {a.name} were held out in {a.own} folds and those of {b.name} in {b.own} "
        "folds: part of the difference is that"
    )
    return {f"{a.own} and {b.own}": (a.own, b.own)}


def _outcome(
    name: str, a: Side, b: Side, kind_a: str, kind_b: str, draws: int, seed: int
) -> dict[str, Any]:
    from streetgauge.evaluation import compare_areas

    accounts = [side.account(kind) for side, kind in ((a, kind_a), (b, kind_b))]
    one, other = (account["outcomes"].get(name) for account in accounts)
    # The study may have been given other outcomes since it was run.
    about = None if a.study is None else a.study.settings.outcomes.get(name)
    label = name if about is None else about.label or name
    if one is None or other is None:
        raise InputError(f"outcome {name!r}", f"it was not tested in {kind_a} folds on both sides")
    both = {side: each.get("gain") for side, each in (("a", one), ("b", other))}
    said: dict[str, Any] = {"label": label, "gain": both}
    first, second = _rows(a.areas(kind_a), name), _rows(b.areas(kind_b), name)
    if first is None or second is None:
        same = accounts[0].get("interval_level") == accounts[1].get("interval_level")
        return said | _figures_alone(one, other, same_level=same)
    indexed = [frame.set_index("area") for frame in (first, second)]
    weights = [each.get("weight") for each in indexed]
    units = [
        side.units(kind, name, each.index)
        for side, kind, each in ((a, kind_a, indexed[0]), (b, kind_b, indexed[1]))
    ]
    return said | compare_areas(
        first,
        second,
        classes=a.metrics["classes"],
        interval_level=a.metrics["interval_level"],
        draws=draws,
        seed=seed,
        min_locations=(a.evaluation.min_locations, b.evaluation.min_locations),
        units=(units[0], units[1]),
        weights=(weights[0], weights[1]),
    )


def _figures_alone(
    one: Mapping[str, Any], other: Mapping[str, Any], *, same_level: bool
) -> dict[str, Any]:
    """Compare accounts without areas; intervals of another level say nothing of the difference."""
    from streetgauge.evaluation import compare_figures

    a, b = (
        {m: v if same_level else {"value": v["value"]} for m, v in each["metrics"].items()}
        for each in (one, other)
    )
    why = {} if same_level else {"difference": "the two sides' intervals are of another level"}
    return {
        "paired": False,
        "n_areas": {"a": one["n_areas"], "b": other["n_areas"], "shared": None},
        "different_actual": None,
        "weighted": None,
        "units": {"a": None, "b": None},
        "metrics": compare_figures(a, b),
        "agreement": None,
        "undefined": why,
    }


def _rows(areas: pd.DataFrame | None, outcome: str) -> pd.DataFrame | None:
    return None if areas is None else areas[areas["outcome"] == outcome]


def _scheme(side: Side, kind: str) -> str:
    return str(side.account(kind).get("scheme", {}).get("description") or kind)


def _cautions(kind: str, outcomes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say where the two sides are measured against different truths, or in part only."""
    for name, each in outcomes.items():
        counts = each["n_areas"]
        if each["different_actual"]:
            yield (
                f"{name}, {kind} folds: {each['different_actual']:,} of {counts['shared']:,} "
                "shared areas have another actual class in b than in a; each side is measured by "
                "its own"
            )
        if each["weighted"] is False:
            yield (
                f"{name}, {kind} folds: a and b weight areas by different numbers, so all areas "
                "count the same here; the studies' own figures are others"
            )
        if each["paired"] and counts["shared"] < max(counts["a"], counts["b"]):
            yield (
                f"{name}, {kind} folds: paired by the {counts['shared']:,} shared areas, of "
                f"{counts['a']:,} in a and {counts['b']:,} in b"
            )


def _flat(study: Study, value: Any, key: str = "") -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Give every setting as text, and of files what their content is where that is recorded."""
    if isinstance(value, BaseModel):
        for name, each in value:
            field = type(value).model_fields[name]
            if not field.exclude and not (key == "" and name in _NO_MATTER):
                yield from _flat(study, each, f"{key}.{name}" if key else name)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(study, each, f"{key}.{name}")
    elif isinstance(value, Path):
        kept = study.record.get("files", {}).get(str(value), {})
        yield key, (study.name_of(value), kept.get("sha256"))
    elif isinstance(value, tuple) and any(isinstance(each, (Path, BaseModel)) for each in value):
        for number, each in enumerate(value, start=1):
            yield from _flat(study, each, f"{key}.{number}")
    elif value is not None:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield key, (text, None)


def _target(out: Path) -> Path:
    """Give the file to write; refuse to write over what is not ours."""
    if out.exists() and not out.is_dir():
        raise InputError(out, "this is a file", "give a directory with --out")
    path = out / FILE
    if path.exists():
        try:
            ours = json.loads(path.read_text(encoding="utf-8")).get("format") == FORMAT
        except (ValueError, AttributeError, OSError):
            ours = False
        if not ours:
            raise InputError(path, "this is no comparison of ours", "take another --out")
    return path
