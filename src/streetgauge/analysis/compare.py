"""Two studies, or a study and a bundle's figures, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from streetgauge.errors import InputError, summary
from streetgauge.io.files import read_table, write_json
from streetgauge.io.formats import ANALYSIS_VERSION, METRICS_VERSION, metrics_fault, read_object
from streetgauge.settings import EvaluationSettings, FoldSettings
from streetgauge.study import Study
from streetgauge.study.outputs import refuse_overlap
from streetgauge.study.paths import OTHER_FOLDS, FoldOutputs, own_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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
    """Report how much better one study is than another, outcome by outcome.

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
    target = None if out is None else _target(out, (left, right))
    if left.metrics["classes"] != right.metrics["classes"]:
        raise InputError(
            f"{left.name} and {right.name}",
            f"one has {left.metrics['classes']} classes and the other "
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
        (value, content), (too, same) = one.get(key, absent), other.get(key, absent)
        alike = content == same if content and same else value == too
        if not alike:
            mark = " (other content)" if value == too else ""
            result.append({"key": key, "a": value, "b": too + mark})
    return result


def _kinds(a: ComparedStudy, b: ComparedStudy, cautions: list[str]) -> dict[str, tuple[str, str]]:
    """Report which folds of a are compared with which of b."""
    shared = [kind for kind in a.kinds if kind in b.kinds]
    if shared:
        return {kind: (kind, kind) for kind in shared}
    cautions.append(
        f"the areas of {a.name} were held out in {a.own} folds and those of {b.name} in {b.own} "
        "folds: part of the difference is that"
    )
    return {f"{a.own} and {b.own}": (a.own, b.own)}


def _outcome(
    name: str, a: ComparedStudy, b: ComparedStudy, kind_a: str, kind_b: str, draws: int, seed: int
) -> dict[str, Any]:
    from streetgauge.evaluation import Operand, compare_areas

    evaluations = [side.metrics_of(kind) for side, kind in ((a, kind_a), (b, kind_b))]
    one, other = (evaluation["outcomes"].get(name) for evaluation in evaluations)
    # The study may have been given other outcomes since it was run.
    about = None if a.study is None else a.study.settings.outcomes.get(name)
    label = name if about is None else about.label or name
    if one is None or other is None:
        raise InputError(
            f"outcome {name!r}",
            f"it was not tested in {kind_a} folds in both studies",
            "run both studies with the same [folds]",
        )
    both = {side: each.get("gain") for side, each in (("a", one), ("b", other))}
    result: dict[str, Any] = {"label": label, "gain": both}
    first, second = _rows(a.areas(kind_a), name), _rows(b.areas(kind_b), name)
    if first is None or second is None:
        same = evaluations[0].get("interval_level") == evaluations[1].get("interval_level")
        return result | _figures_alone(one, other, same_level=same)
    indexed = [frame.set_index("area") for frame in (first, second)]
    weights = [each.get("weight") for each in indexed]
    units = [
        side.units(kind, name, each.index)
        for side, kind, each in ((a, kind_a, indexed[0]), (b, kind_b, indexed[1]))
    ]
    return result | compare_areas(
        Operand(first, min_locations=a.evaluation.min_locations, unit=units[0], weight=weights[0]),
        Operand(second, min_locations=b.evaluation.min_locations, unit=units[1], weight=weights[1]),
        classes=a.metrics["classes"],
        interval_level=a.metrics["interval_level"],
        draws=draws,
        seed=seed,
    )


def _figures_alone(
    one: Mapping[str, Any], other: Mapping[str, Any], *, same_level: bool
) -> dict[str, Any]:
    """Compare evaluations without areas; intervals of another level do not show the difference."""
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


def _scheme(side: ComparedStudy, kind: str) -> str:
    return str(side.metrics_of(kind).get("scheme", {}).get("description") or kind)


def _cautions(kind: str, outcomes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Report where the two sides are measured against different truths, or in part only."""
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
        stored = study.record.get("files", {}).get(str(value), {})
        yield key, (study.name_of(value), stored.get("sha256"))
    elif isinstance(value, tuple) and any(isinstance(each, (Path, BaseModel)) for each in value):
        for number, each in enumerate(value, start=1):
            yield from _flat(study, each, f"{key}.{number}")
    elif value is not None:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield key, (text, None)


def _target(out: Path, sides: Sequence[ComparedStudy]) -> Path:
    """Give the file to write; refuse to write over what is read, or is not ours."""
    if out.exists() and not out.is_dir():
        raise InputError(out, "this is a file", "give a directory with --out")
    path = out / FILE
    for side in sides:
        bundle = ((side.name, Path(side.name)),)
        refuse_overlap(bundle if side.study is None else side.study.everything(), (path,))
    if path.exists():
        try:
            ours = json.loads(path.read_text(encoding="utf-8")).get("format") == FORMAT
        except (ValueError, AttributeError, OSError, RecursionError):
            ours = False
        if not ours:
            raise InputError(
                path, "this is not a streetgauge comparison", "choose another directory with --out"
            )
    return path


COLUMNS = ("area", "outcome", "decile", "actual_decile", "n_locations", "fold")


@dataclass(frozen=True)
class ComparedStudy:
    """What is compared: a study with its areas, or the figures of a bundle."""

    name: str
    metrics: Mapping[str, Any]
    study: Study | None

    @property
    def own(self) -> str:
        """Kind of the folds that ``metrics`` itself tells of."""
        if self.study is not None:
            return str(self.metrics.get("kind") or self.study.settings.folds.kind)
        scheme = self.metrics.get("scheme", {})
        if scheme.get("name") == "stored":
            return "stored"
        given = {key: scheme[key] for key in ("block", "group") if scheme.get(key) is not None}
        try:
            return FoldSettings(scheme=scheme.get("name", "k-fold"), **given).kind
        except ValueError:
            return "class"

    @property
    def kinds(self) -> list[str]:
        """All kinds of folds that it was tested in, the own first."""
        other = self.metrics.get("other_folds")
        return [self.own] if other is None else [self.own, other["kind"]]

    @property
    def about(self) -> dict[str, Any]:
        """Give what is compared, for the record."""
        version = None if self.study is None else self.study.record.get("streetgauge")
        what = "bundle" if self.study is None else "study"
        return {"type": what, "name": self.name, "streetgauge": version}

    @property
    def evaluation(self) -> EvaluationSettings:
        """Give how it was measured."""
        return EvaluationSettings() if self.study is None else self.study.settings.evaluation

    def metrics_of(self, kind: str) -> Mapping[str, Any]:
        """Give the evaluation of all outcomes in folds of this kind."""
        return self.metrics if kind == self.own else self.metrics["other_folds"]

    def areas(self, kind: str) -> pd.DataFrame | None:
        """Read its predicted areas; None of a bundle."""
        if self.study is None:
            return None
        from streetgauge.evaluation import tested_areas

        own = kind == self.own
        files = own_outputs(self.study) if own else FoldOutputs(self.study.directory / OTHER_FOLDS)
        try:
            frame = read_table(files.areas)
        except FileNotFoundError:
            raise self._undone(files.areas, "it is not there") from None
        except (OSError, InputError) as error:
            raise self._undone(files.areas, f"it cannot be read ({summary(error)})") from None
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise self._undone(files.areas, f"it has no column {missing[0]!r}")
        return tested_areas(frame)

    def units(self, kind: str, outcome: str, areas: pd.Index) -> pd.Series | None:
        """Report which areas were drawn together for its own figures; None: each alone."""
        from streetgauge.evaluation.resample import draw_units

        drawn = self.metrics_of(kind)["outcomes"][outcome].get("bootstrap") or {}
        if self.study is None or drawn.get("unit", "areas") == "areas":
            return None
        settings = self.evaluation.model_copy(
            update={"bootstrap": drawn["unit"], "block": drawn.get("side")}
        )
        if drawn["unit"] == "blocks":
            return draw_units(areas, settings, {}, self._places)[0]
        return draw_units(areas, settings, {}, None, self._columns)[0]

    def cautions(self, side: str) -> Iterator[str]:
        """Report what a reader must know of it."""
        caution = self.metrics.get("scheme", {}).get("caution")
        if caution:
            yield f"{side} ({self.name}): {caution}"
        if self.study is None:
            return
        try:
            self.study.require_fresh("areas")
        except (InputError, OSError):
            yield (
                f"{side} ({self.name}) is compared as it was made: its inputs, its settings or the "
                "program have changed since"
            )

    @cached_property
    def _places(self) -> pd.DataFrame:
        from streetgauge.evaluation import positions_of_areas

        return positions_of_areas(*self._facts)

    @cached_property
    def _columns(self) -> pd.DataFrame:
        from streetgauge.evaluation.area_facts import columns_of_areas

        assert self.study is not None
        return columns_of_areas(self.study, self.study.settings.folds, *self._facts)

    @cached_property
    def _facts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Read the areas and the locations."""
        from streetgauge.locations import read_areas

        assert self.study is not None
        settings = self.study.settings
        areas = read_areas(settings.areas, settings.locations)
        return areas, read_table(self.study.locations)

    def _undone(self, file: Path, reason: str) -> InputError:
        directory = file.parent if self.study is None else self.study.directory
        return InputError(file, reason, f"make it with `streetgauge run {directory}`")


def open_side(name: str | Path) -> ComparedStudy:
    """Open a study or a bundle, with figures.

    Raises
    ------
    InputError
        If there is none, none of its areas was tested, or its figures cannot be read.
    """
    path = Path(name)
    if str(name).startswith("hf://") or (path / "bundle.json").is_file():
        from streetgauge.model.transfer import open_bundle

        bundle, _ = open_bundle(name)
        if bundle.metrics is None or not bundle.metrics.get("outcomes"):
            raise InputError(
                name,
                "this bundle carries no figures",
                "export it again when its study has been tested",
            )
        metrics = {"classes": bundle.model.classes, "interval_level": 0.9, **bundle.metrics}
        return ComparedStudy(str(name), metrics, None)
    if not path.exists():
        raise InputError(name, "there is no such study or bundle", "give their directories")
    study = Study.open(path)
    again = f"make it again with `streetgauge areas {study.directory} --force`"
    try:
        metrics = read_object(study.metrics, METRICS_VERSION, again)
    except FileNotFoundError:
        raise InputError(
            study.directory,
            "it has no figures yet",
            f"make them with `streetgauge run {study.directory}`",
        ) from None
    if not {"outcomes", "classes", "interval_level", "scheme"} <= metrics.keys():
        raise InputError(study.metrics, "this is not what `areas` writes", again)
    if fault := metrics_fault(metrics):
        raise InputError(study.metrics, f"{fault} is not what `areas` writes", again)
    if not metrics["outcomes"]:
        raise InputError(
            study.directory,
            "none of its areas was tested",
            "choose another folds.scheme, and run it again",
        )
    return ComparedStudy(str(name), metrics, study)
