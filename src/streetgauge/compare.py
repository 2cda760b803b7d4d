"""Two studies, or a study and a bundle's figures, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel

from streetgauge.errors import InputError
from streetgauge.files import write_json
from streetgauge.settings import EvaluationSettings, FoldSettings
from streetgauge.stages.second import KINDS, Tested, tested
from streetgauge.study import Study

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILE", "compare", "different_settings"]

FILE = "comparison.json"
FORMAT = "streetgauge comparison"
COLUMNS = ("area", "outcome", "decile", "actual_decile", "n_locations", "fold")
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
    of the shared areas (`streetgauge.areas.compare_areas`); others have draws of their own. Of a
    bundle there are only the figures that it carries, so nothing is paired with it. Both kinds of
    folds are compared where both sides have both.

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
        ``pictures_add``; ``settings`` (``key``, ``a``, ``b``: those that differ), ``only``
        (outcomes that one side has), ``cautions``.

    Raises
    ------
    InputError
        If there is no study or bundle, nothing was tested, no outcome is shared, classes differ,
        or ``out`` has a file of that name that is not ours.
    """
    left, right = _open(a), _open(b)
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
        "format_version": 1,
        "a": left.about,
        "b": right.about,
        "classes": left.metrics["classes"],
        "coverage": left.metrics["coverage"],
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


@dataclass(frozen=True)
class _Side:
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
        return [self.own, *(k for k in KINDS if k != self.own and k in self.metrics)]

    @property
    def about(self) -> dict[str, Any]:
        """Give what is compared, for the record."""
        version = None if self.study is None else self.study.record.get("streetgauge")
        what = "bundle" if self.study is None else "study"
        return {"what": what, "name": self.name, "streetgauge": version}

    @property
    def evaluation(self) -> EvaluationSettings:
        return EvaluationSettings() if self.study is None else self.study.settings.evaluation

    def account(self, kind: str) -> Mapping[str, Any]:
        """Give the account of all outcomes in folds of this kind."""
        found: Mapping[str, Any] = self.metrics if kind == self.own else self.metrics[kind]
        return found

    def areas(self, kind: str) -> pd.DataFrame | None:
        """Read its predicted areas; None of a bundle."""
        if self.study is None:
            return None
        own = kind == self.own
        files = tested(self.study) if own else Tested(self.study.directory / kind)
        try:
            frame = pd.read_parquet(files.areas)
        except FileNotFoundError:
            raise self._undone(files.areas, "it is not there") from None
        except (OSError, pa.ArrowException) as error:
            raise self._undone(files.areas, f"it cannot be read ({error})") from None
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise self._undone(files.areas, f"it has no column {missing[0]!r}")
        return frame

    def units(self, kind: str, outcome: str, areas: pd.Index) -> pd.Series | None:
        """Say which areas were drawn together for its own figures; None: each alone."""
        from streetgauge.areas.resample import draw_units

        drawn = self.account(kind)["outcomes"][outcome].get("bootstrap") or {}
        if self.study is None or drawn.get("unit", "areas") == "areas":
            return None
        settings = self.evaluation.model_copy(
            update={"bootstrap": drawn["unit"], "block": drawn.get("side")}
        )
        if drawn["unit"] == "blocks":
            return draw_units(areas, settings, {}, self._places)[0]
        return draw_units(areas, settings, {}, None, self._columns)[0]

    def cautions(self, side: str) -> Iterator[str]:
        """Say what a reader must know of it."""
        from streetgauge.stages import require_fresh

        caution = self.metrics.get("scheme", {}).get("caution")
        if caution:
            yield f"{side} ({self.name}): {caution}"
        if self.study is None:
            return
        try:
            require_fresh(self.study, "areas")
        except (InputError, OSError):
            yield (
                f"{side} ({self.name}) is compared as it was made: its inputs, its settings or the "
                "program have changed since"
            )

    @cached_property
    def _places(self) -> pd.DataFrame:
        from streetgauge.areas import location_coordinates

        assert self.study is not None
        return location_coordinates(pd.read_parquet(self.study.locations))

    @cached_property
    def _columns(self) -> pd.DataFrame:
        from streetgauge.locations import read_areas
        from streetgauge.stages.area_facts import columns_of_areas

        assert self.study is not None
        settings = self.study.settings
        areas = read_areas(settings.areas, settings.locations)
        locations = pd.read_parquet(self.study.locations)
        return columns_of_areas(self.study, settings.folds, areas, locations)

    def _undone(self, file: Path, reason: str) -> InputError:
        directory = file.parent if self.study is None else self.study.directory
        return InputError(file, reason, f"make it with `streetgauge run {directory}`")


def _open(name: str | Path) -> _Side:
    """Open a study or a bundle, with figures."""
    path = Path(name)
    if str(name).startswith("hf://") or (path / "bundle.json").is_file():
        from streetgauge.transfer import open_bundle

        bundle, _ = open_bundle(name)
        if bundle.metrics is None or not bundle.metrics.get("outcomes"):
            raise InputError(
                name,
                "this bundle carries no figures",
                "export it again when its study has been tested",
            )
        said = {"classes": bundle.model.classes, "coverage": 0.9, **bundle.metrics}
        return _Side(str(name), said, None)
    if not path.exists():
        raise InputError(name, "there is no such study or bundle", "give their directories")
    study = Study.open(path)
    try:
        metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
        whole = {"outcomes", "classes", "coverage", "scheme"} <= metrics.keys()
    except FileNotFoundError:
        raise InputError(
            study.directory,
            "it has no figures yet",
            f"make them with `streetgauge run {study.directory}`",
        ) from None
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise InputError(
            study.metrics,
            "this is not what `areas` writes",
            f"make it again with `streetgauge areas {study.directory} --force`",
        )
    if not metrics["outcomes"]:
        raise InputError(
            study.directory, "nothing was tested in it", "take another folds.scheme, and run it"
        )
    return _Side(str(name), metrics, study)


def _kinds(a: _Side, b: _Side, cautions: list[str]) -> dict[str, tuple[str, str]]:
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
    name: str, a: _Side, b: _Side, kind_a: str, kind_b: str, draws: int, seed: int
) -> dict[str, Any]:
    from streetgauge.areas import compare_areas, compare_figures

    accounts = [side.account(kind) for side, kind in ((a, kind_a), (b, kind_b))]
    one, other = (account["outcomes"].get(name) for account in accounts)
    label = name if a.study is None else a.study.settings.outcomes[name].label or name
    if one is None or other is None:
        raise InputError(f"outcome {name!r}", f"it was not tested in {kind_a} folds on both sides")
    both = {side: each.get("pictures_add") for side, each in (("a", one), ("b", other))}
    said: dict[str, Any] = {"label": label, "pictures_add": both}
    first, second = _rows(a.areas(kind_a), name), _rows(b.areas(kind_b), name)
    if first is None or second is None:
        same = accounts[0].get("coverage") == accounts[1].get("coverage")
        figures = [
            {m: v if same else {"value": v["value"]} for m, v in each["metrics"].items()}
            for each in (one, other)
        ]
        counts = {"a": one["n_areas"], "b": other["n_areas"], "shared": None}
        reason = {} if same else {"difference": "the two sides' intervals are of other coverage"}
        return said | {
            "paired": False,
            "n_areas": counts,
            "different_actual": None,
            "units": {"a": None, "b": None},
            "metrics": compare_figures(figures[0], figures[1]),
            "agreement": None,
            "undefined": reason,
        }
    weighted = a.evaluation.weight == b.evaluation.weight != "location"
    indexed = [frame.set_index("area") for frame in (first, second)]
    weights = [each["weight"] if weighted and "weight" in each else None for each in indexed]
    units = [
        side.units(kind, name, each.index)
        for side, kind, each in ((a, kind_a, indexed[0]), (b, kind_b, indexed[1]))
    ]
    return said | compare_areas(
        first,
        second,
        classes=a.metrics["classes"],
        coverage=a.metrics["coverage"],
        draws=draws,
        seed=seed,
        min_locations=(a.evaluation.min_locations, b.evaluation.min_locations),
        units=(units[0], units[1]),
        weights=(weights[0], weights[1]),
    )


def _rows(areas: pd.DataFrame | None, outcome: str) -> pd.DataFrame | None:
    return None if areas is None else areas[areas["outcome"] == outcome]


def _scheme(side: _Side, kind: str) -> str:
    return str(side.account(kind).get("scheme", {}).get("in_words") or kind)


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
        yield key, (study.key(value), kept.get("sha256"))
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
