"""What can be checked before any long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from streetgauge.errors import InputError, require_torch
from streetgauge.evaluation.area_facts import check_evaluation
from streetgauge.evaluation.evaluate import read_oracle
from streetgauge.evaluation.leaks import feature_leaks, outcome_values
from streetgauge.features.lookup import backbone_of
from streetgauge.features.table import Matched, match_rows
from streetgauge.imagery import find_views
from streetgauge.io.files import read_metadata, read_table
from streetgauge.locations import read_areas, read_locations
from streetgauge.model.event_log import NO_TENSORBOARD, has_tensorboard
from streetgauge.model.training_data import labels_of, study_splits
from streetgauge.pipeline.features import sampled_locations
from streetgauge.pipeline.outcomes import read_outcomes
from streetgauge.pipeline.quality import earlier_findings
from streetgauge.settings import (
    ImageFeatures,
    ImagerySettings,
    OpenImagery,
    RasterFeatures,
    SimulatedFeatures,
    TableFeatures,
)
from streetgauge.skips import counted
from streetgauge.splits.sharing import recognised_codes
from streetgauge.study import Study
from streetgauge.study.stages import stage_named


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Parameters
    ----------
    name : str
        What was checked.
    text : str
        What is there, or what is wrong with it.
    is_problem : bool
        Whether a run of the study would fail.
    """

    name: str
    text: str
    is_problem: bool = False


def check(study: Study) -> Iterator[Finding]:
    """Read every input of a study before any long work, and find all that is wrong.

    Parameters
    ----------
    study : Study
        Nothing is written to it.

    Yields
    ------
    Finding
        In the order of the stages. What cannot be read without an input that is wrong is reported
        as not checked. If none is a problem, a run of the study has all that it needs.
    """
    inputs = _Inputs(study)
    failed: set[str] = set()
    broken = set()
    for section, error in study.file_problems():
        broken.add(section)
        yield Finding("files", str(error), is_problem=True)
    if not broken:
        yield Finding("files", "all there")
    for each in _checks(study, inputs):
        absent = [name for name in each.needs if name in failed]
        absent += [f"the files of [{name}]" for name in each.sections if name in broken]
        if absent:
            failed.add(each.name)
            yield Finding(each.name, f"not checked without {' and '.join(absent)}")
            continue
        try:
            text = each.sum_up()
        except* InputError as errors:
            failed.add(each.name)
            text = ""
            for problem in errors.exceptions:
                yield Finding(each.name, str(problem), is_problem=True)
        if text:
            yield Finding(each.name, text)


@dataclass(frozen=True)
class _Check:
    """A check, the checks that it needs the results of, and the sections whose files it reads."""

    name: str
    sum_up: Callable[[], str]
    needs: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()


def _checks(study: Study, inputs: _Inputs) -> Iterator[_Check]:
    """Give the checks of a study in their order."""
    settings = study.settings
    directory = ("locations",) if settings.areas.file is None else ()
    yield _Check("areas", inputs.check_areas, (), ("areas", *directory))
    yield _Check("outcomes", inputs.check_outcomes, ("areas",), ("outcomes", "deciles"))
    if settings.locations is not None:
        yield _Check("locations", inputs.check_locations, ("areas",), ("locations",))
    if settings.lacking is not None:
        yield _Check("training", inputs.report_lacking)
        return
    yield _Check("features", inputs.check_features, ("locations",), ("imagery", "features"))
    yield _Check("coverage", inputs.check_coverage, ("features",))
    yield _Check("leaks", inputs.check_leaks, ("outcomes", "features"))
    yield _Check("folds", inputs.check_folds, ("areas", "outcomes", "locations"), ("folds",))
    if settings.transfer is not None:
        yield _Check("transfer", inputs.check_transfer, (), ("transfer",))
    yield _Check("training", inputs.check_training)
    yield _Check("evaluation", inputs.check_evaluation, ("areas", "locations"), ("evaluation",))
    if settings.concepts is not None:
        yield _Check("concepts", inputs.check_concepts, (), ("concepts",))
    yield _Check("report", inputs.check_report)


@dataclass
class _Inputs:
    """The inputs of a study, as far as they have been read."""

    study: Study
    areas: pd.DataFrame = field(init=False)
    outcomes: pd.DataFrame = field(init=False)
    locations: pd.DataFrame = field(init=False)
    # Views of each location by its id, where that is known before a run, and how many there can be.
    views: pd.Series | None = None
    n_views: int = 0
    usable: pd.Index | None = None
    table: Matched | None = None
    sources: dict[str, _Inputs] = field(default_factory=dict)

    def check_areas(self) -> str:
        settings = self.study.settings
        self.areas = read_areas(settings.areas, settings.locations)
        kind = "with" if "geometry" in self.areas else "without"
        return f"{len(self.areas):,} areas {kind} boundaries"

    def check_outcomes(self) -> str:
        made = self._made("outcomes", self.study.outcomes)
        if made is not None:
            self.outcomes, stored = made, read_metadata(self.study.outcomes)
            about = {name: stored[name] for name in self.study.settings.outcomes}
        else:
            try:
                self.outcomes, about, _ = read_outcomes(self.study, self.areas)
            except InputError as error:
                raise ExceptionGroup("outcomes", self._wrong_outcomes() or [error]) from None
        counts = [f"{name} {a['n_areas']:,} areas" for name, a in about.items()]
        notes = [f"{name}: {note}" for name, a in about.items() for note in a.get("notes", ())]
        return "; ".join((", ".join(counts), *notes))

    def _made(self, name: str, file: Path) -> pd.DataFrame | None:
        """Read what a stage has made of the very files that are there now, if it has."""
        stage = stage_named(name)
        try:
            if self.study.is_up_to_date(stage, self.study.key(stage), as_it_is=True):
                return read_table(file)
        except (OSError, InputError):  # of what is wrong, the checks have the reason
            pass
        return None

    def _wrong_outcomes(self) -> list[InputError]:
        """Read each outcome by itself; give the errors."""
        errors = []
        settings = self.study.settings
        for name, outcome in settings.outcomes.items():
            alone = settings.model_copy(update={"outcomes": {name: outcome}})
            try:
                read_outcomes(replace(self.study, settings=alone), self.areas)
            except InputError as error:
                errors.append(error)
        # What all of them need is wrong once.
        return list({str(error): error for error in errors}.values())

    def check_locations(self) -> str:
        assert self.study.settings.locations is not None  # else it is not checked
        made = self._made("locations", self.study.locations)
        if made is not None:
            self.locations = made
            excluded = int((self.study.skips()["stage"] == "locations").sum())
        else:
            self.locations, skips = read_locations(self.study.settings.locations, self.areas)
            excluded = len(skips)
        return f"{len(self.locations):,} locations, {excluded:,} excluded"

    def report_lacking(self) -> str:
        lacking = self.study.settings.lacking
        return f"none without {lacking}: official statistics alone, for `outcomes` and `map`"

    def check_features(self) -> str:
        if self.study.settings.several:
            for name, study in self.study.sources.items():
                self.sources[name] = own = _Inputs(study)
                own.areas, own.locations = self.areas, self.locations
            return self._of_sources(lambda own: own.check_features())
        settings, imagery = self.study.settings.features, self.study.settings.imagery
        if isinstance(settings, TableFeatures):
            self.table = matched = match_rows(settings, self.locations)
            self._count(pd.Series(matched.present.sum(axis=1), matched.ids), len(matched.views))
            return f"{len(matched.table.features):,} rows of {len(settings.columns):,} features"
        if isinstance(settings, RasterFeatures):
            from streetgauge.features.raster import sample_raster

            sample = sample_raster(settings, self.locations, areas=self.areas)
            self._count(pd.Series(sample.done.astype("int64"), sample.ids), 1)
            return f"{counted(sample.values.shape[1], 'band')}, read by {settings.sample}"
        if isinstance(settings, SimulatedFeatures):
            seed = self.study.settings.seed
            ids = sampled_locations(settings, self.locations, seed)["location_id"].astype(str)
            self._count(pd.Series(settings.views, ids), settings.views)
            return f"{settings.source} features"
        assert isinstance(settings, ImageFeatures)
        assert imagery is not None  # else the study lacks it, and this is not checked
        backbone = backbone_of(settings)
        if isinstance(imagery, OpenImagery):
            from streetgauge.imagery.open_street import probe

            self._count_collected(len(imagery.views))
            return f"{probe(imagery, self.locations)}, for {backbone.name}"
        views, missing = find_views(imagery, self.locations)
        self._count(views.groupby("location_id")["view"].nunique(), len(imagery.views))
        line = f"{len(views):,} images for {backbone.name}, {len(missing):,} excluded"
        return "; ".join((line, *earlier_findings(self.study.quality, imagery)))

    def _of_sources(self, sum_up: Callable[[_Inputs], str]) -> str:
        """Check each source by itself; give what all report, or all that is wrong."""
        found = {}
        problems = []
        for name, own in self.sources.items():
            try:
                found[name] = sum_up(own)
            except InputError as error:
                problems.append(error)
        if problems:
            raise ExceptionGroup("sources", problems)
        return "; ".join(f"{name}: {text}" for name, text in found.items() if text)

    def _count_collected(self, n_views: int) -> None:
        """Count the views of open imagery that an earlier run has found."""
        found = self._made("images", self.study.images)
        if found is None:  # all is searched for again
            return
        self._count(found.groupby("location_id")["view"].nunique(), n_views)

    def _count(self, views: pd.Series, n_views: int) -> None:
        self.n_views = n_views
        self.views = views.reindex(self.locations["location_id"].astype(str), fill_value=0)

    def check_coverage(self) -> str:
        if self.sources:
            lines = self._of_sources(lambda own: own.check_coverage())
            some = [own.usable for own in self.sources.values() if own.usable is not None]
            self.usable = pd.Index(sorted(set().union(*some)))
            return f"{lines}; {len(self.usable):,} locations have any source"
        if self.views is None:  # images are still to be searched for
            return self._at_most()
        settings, imagery = self.study.settings.features, self.study.settings.imagery
        require = getattr(imagery or settings, "require", None) or "any"
        whole = self.views == self.n_views
        usable = whole if require == "all" else self.views > 0
        areas = self.locations.loc[usable.to_numpy(), "area"].nunique()
        what = f"all {self.n_views:,} views" if self.n_views > 1 else "features"
        line = f"{int(whole.sum()):,} of {len(whole):,} locations have {what}"
        line += (
            f" and {int(usable.sum()):,} have any" if require == "any" and self.n_views > 1 else ""
        )
        line += f", in {areas:,} of {len(self.areas):,} areas"
        if not usable.any():
            own = isinstance(imagery, ImagerySettings)
            step = 'add images, or set require = "any" to use locations that lack a view'
            section = "imagery" if own else "features"
            raise InputError(
                f"{self.study.file}: [{section}]", f"nothing can be used: {line}", step
            )
        self.usable = pd.Index(usable.index[usable.to_numpy()])
        return line

    def check_leaks(self) -> str:
        """Find what a table of features shows: rows that areas share, features of an outcome."""
        for own in self.sources.values():
            own.outcomes = self.outcomes
        if self.sources:
            return self._of_sources(lambda own: own.check_leaks())
        if self.table is None:
            return ""
        matched, settings = self.table, self.study.settings
        slot, view = np.nonzero(matched.present & matched.done[:, None])
        ids = self.locations["location_id"].astype(str)
        areas = self.locations["area"].set_axis(ids).reindex(matched.ids).to_numpy(str)
        vectors = matched.table.features[matched.rows_of[slot, view]]
        code = recognised_codes(vectors)
        count = pd.Series(areas[slot]).groupby(code).transform("nunique").to_numpy()
        lines = []
        if shared := len(np.unique(slot[(code >= 0) & (count > 1)])):
            lines.append(
                f"{shared:,} of {len(np.unique(slot)):,} locations have features in common with "
                f'another area; shared_images = "{settings.folds.shared_images}" under [folds] '
                "sets whether training takes those that a test part has as well"
            )
        means = pd.DataFrame(vectors).groupby(slot).mean()
        means = means.groupby(areas[means.index]).mean()
        values = outcome_values(settings, self.outcomes.set_index("area"))
        name, columns = matched.settings.file.name, matched.settings.columns
        lines += [each["message"] for each in feature_leaks(means, values, name, columns)]
        return "; ".join(lines)

    def _at_most(self) -> str:
        """Tell of how many locations images can be searched for."""
        placed = self.locations.reindex(columns=["lat", "lon"]).notna().all(axis=1)
        areas = self.locations.loc[placed, "area"].nunique()
        line = f"{int(placed.sum()):,} of {len(placed):,} locations have coordinates, in "
        line += f"{areas:,} of {len(self.areas):,} areas"
        if not placed.any():
            step = "add the columns lat and lon to the locations"
            raise InputError(f"{self.study.file}: [imagery]", f"nothing can be found: {line}", step)
        return f"{line}; how many have images is known when `images` has searched for them"

    def check_folds(self) -> str:
        folds, locations = self.study.settings.folds, self.locations
        by_number = folds.scheme == "k-fold" and folds.file is None
        if by_number and len(self.areas) < folds.k:
            raise InputError(
                f"{self.study.file}: folds.k",
                f"{folds.k} folds of only {len(self.areas)} areas",
                "an area is never split over folds, so use fewer folds",
            )
        if self.usable is not None:
            locations = locations[locations["location_id"].astype(str).isin(self.usable)]
        labels = labels_of(self.study.settings, self.outcomes, locations)
        labelled = labels.notna().any(axis=1).to_numpy()
        if not labelled.any():
            raise InputError(
                f"{self.study.file}: [locations]",
                "no location that has features lies in an area that has a decile",
                "compare the areas of the locations with those of the outcomes",
            )
        splits = study_splits(self.study, locations[labelled], labels[labelled])
        sizes = [len(each.test) for each in splits if len(each.test)]
        return f"{len(sizes)} parts to test on, of at most {max(sizes, default=0):,} locations"

    def check_transfer(self) -> str:
        from streetgauge.model.transfer import open_start

        settings, features = self.study.settings, self.study.settings.features
        assert settings.transfer is not None
        classes = settings.deciles.classes
        bundle, _ = open_start(settings.transfer, list(settings.outcomes), classes=classes)
        dimension, backbone = bundle.dimension, str(features.source)
        if isinstance(features, TableFeatures):
            dimension = len(features.columns)
        if isinstance(features, RasterFeatures):
            from streetgauge.features.raster import count_bands

            dimension = count_bands(features)
        if isinstance(features, ImageFeatures):
            backbone = backbone_of(features).name
        bundle.compare(self.study.file, dimension=dimension, backbone=backbone)
        origin = bundle.source.get("study") or "another study"
        return f"from {settings.transfer.bundle}, a model of {origin}"

    def check_training(self) -> str:
        settings = self.study.settings
        problems: list[InputError] = []
        devices = {settings.train.device}
        wanted: list[Callable[[], object]] = [require_torch]
        for features in settings.sources.values():
            problems += _absent_extras(features)
            if getattr(features, "cluster", None) is None:
                devices.add(getattr(features, "device", "auto"))
            if isinstance(features, ImageFeatures):
                wanted.append(partial(_find_weights, features))
        wanted = [
            *(partial(_find_device, name) for name in sorted(devices - {"auto", "cpu"})),
            *wanted,
        ]
        for each in wanted:
            try:
                each()
            except InputError as error:
                problems.append(error)
        if problems:
            raise ExceptionGroup("training", problems)
        return "" if has_tensorboard() else NO_TENSORBOARD

    def check_evaluation(self) -> str:
        oracle = self.study.settings.evaluation.oracle
        if oracle is not None:
            read_oracle(oracle)
        return check_evaluation(self.study, self.areas, self.locations)

    def check_concepts(self) -> str:
        from streetgauge.features.concepts import concept_source

        settings = self.study.settings.concepts
        assert settings is not None  # else it is not checked
        sources = [concept_source(name, settings) for name in dict.fromkeys(settings.sources)]
        if settings.segmentation is not None:
            from streetgauge.features.segmentation import import_transformers

            import_transformers("concepts.sources: 'segmentation'")
        names = [name for source in sources for name in (*source.concepts, *source.measured)]
        return f"{counted(len(names), 'concept')} from {', '.join(s.name for s in sources)}"

    def check_report(self) -> str:
        if not self.study.curves.exists():
            return ""
        from streetgauge.pipeline.report import read_curves

        read_curves(self.study)
        return "with the learning curves"


def _find_device(name: str) -> None:
    """Refuse a device that this machine lacks; a CPU is always there, and needs no torch."""
    from streetgauge.devices import choose_device

    choose_device(name)


def _find_weights(features: ImageFeatures) -> None:
    """Refuse a network whose weights are not here; those behind an address are not fetched."""
    from streetgauge.features.weights import weights_file

    try:
        backbone = backbone_of(features)
    except InputError:  # the check of the features reports it
        return
    if backbone.weights.startswith(("package:", "cache:")):
        weights_file(backbone)


def _absent_extras(features: object) -> Iterator[InputError]:
    """Give the packages that features need by their settings and that are not installed."""
    if not isinstance(features, ImageFeatures):
        return
    needed = {
        "ray": ("[features.cluster]", "Ray", "ray", features.cluster is not None),
        "openvino": (
            *("[features]", "OpenVINO", "openvino"),
            features.engine == "openvino" or features.precision == "int8",
        ),
        "nncf": ("[features]", "nncf", "openvino", features.precision == "int8"),
        "onnxruntime": (
            *("[features]", "ONNX Runtime", "onnx"),
            features.engine == "onnxruntime",
        ),
    }
    for module, (subject, name, extra, is_needed) in needed.items():
        if is_needed and find_spec(module) is None:
            step = f"pip install 'streetgauge[{extra}]'"
            yield InputError(subject, f"{name} is not installed", step)
