"""What can be compared: a study with its areas, or the figures that a bundle carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.io.formats import METRICS_VERSION, read_object
from streetgauge.settings import EvaluationSettings, FoldSettings
from streetgauge.study import Study
from streetgauge.study.paths import OTHER_FOLDS, FoldOutputs, own_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Side", "open_side"]

COLUMNS = ("area", "outcome", "decile", "actual_decile", "n_locations", "fold")


@dataclass(frozen=True)
class Side:
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

    def account(self, kind: str) -> Mapping[str, Any]:
        """Give the account of all outcomes in folds of this kind."""
        found: Mapping[str, Any] = self.metrics if kind == self.own else self.metrics["other_folds"]
        return found

    def areas(self, kind: str) -> pd.DataFrame | None:
        """Read its predicted areas; None of a bundle."""
        if self.study is None:
            return None
        own = kind == self.own
        files = own_outputs(self.study) if own else FoldOutputs(self.study.directory / OTHER_FOLDS)
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
        from streetgauge.evaluation.resample import draw_units

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
        return areas, pd.read_parquet(self.study.locations)

    def _undone(self, file: Path, reason: str) -> InputError:
        directory = file.parent if self.study is None else self.study.directory
        return InputError(file, reason, f"make it with `streetgauge run {directory}`")


def open_side(name: str | Path) -> Side:
    """Open a study or a bundle, with figures.

    Raises
    ------
    InputError
        If there is none, nothing was tested in it, or its figures cannot be read.
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
        said = {"classes": bundle.model.classes, "interval_level": 0.9, **bundle.metrics}
        return Side(str(name), said, None)
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
    if not metrics["outcomes"]:
        raise InputError(
            study.directory, "nothing was tested in it", "take another folds.scheme, and run it"
        )
    return Side(str(name), metrics, study)
