"""What can be checked before any long work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation.area_facts import check_evaluation
from streetgauge.evaluation.evaluate import read_oracle
from streetgauge.features.backbones import backbone_of
from streetgauge.features.table import read_columns
from streetgauge.imagery import find_views
from streetgauge.locations import read_areas, read_locations
from streetgauge.model.event_log import NO_TENSORBOARD, has_tensorboard
from streetgauge.model.training_data import labels_of, study_splits
from streetgauge.pipeline.outcomes import read_outcomes
from streetgauge.pipeline.quality import earlier_findings
from streetgauge.settings import ImageFeatures, OpenImagery, TableFeatures
from streetgauge.study import Study

__all__ = ["check"]


def check(study: Study) -> dict[str, Callable[[], str]]:
    """Name what can be checked before any long work; each entry reads one input and sums it up.

    Parameters
    ----------
    study : Study
        Nothing is written to it.

    Returns
    -------
    dict of str to callable
        By what is checked; each raises `InputError` if that input cannot be used. Those below
        use what those above have read.
    """
    inputs = _Inputs(study)
    transfer = {} if study.settings.transfer is None else {"transfer": inputs.check_transfer}
    statistics = {
        "files": inputs.check_files,
        "areas": inputs.check_areas,
        "outcomes": inputs.check_outcomes,
    }
    located = {"locations": inputs.check_locations}
    if study.settings.lacking is not None:
        present = {} if study.settings.locations is None else located
        return {**statistics, **present, "training": inputs.report_lacking}
    return {
        **statistics,
        **located,
        "folds": inputs.check_folds,
        **transfer,
        **({} if has_tensorboard() else {"training": lambda: NO_TENSORBOARD}),
        "evaluation": inputs.check_evaluation,
        "features": inputs.check_features,
    }


@dataclass
class _Inputs:
    """The inputs of a study, as far as they have been read."""

    study: Study
    areas: pd.DataFrame = field(init=False)
    outcomes: pd.DataFrame = field(init=False)
    locations: pd.DataFrame = field(init=False)

    def check_files(self) -> str:
        self.study.require_files()
        return "all there"

    def check_areas(self) -> str:
        settings, folds = self.study.settings, self.study.settings.folds
        self.areas = read_areas(settings.areas, settings.locations)
        by_number = folds.scheme == "k-fold" and folds.file is None
        if by_number and len(self.areas) < folds.k:
            raise InputError(
                f"{self.study.file}: folds.k",
                f"{folds.k} folds of only {len(self.areas)} areas",
                "an area is never split over folds: take fewer folds",
            )
        kind = "with" if "geometry" in self.areas else "without"
        return f"{len(self.areas):,} areas {kind} boundaries"

    def check_outcomes(self) -> str:
        self.outcomes, about, _ = read_outcomes(self.study, self.areas)
        counts = [f"{name} {a['n_areas']:,} areas" for name, a in about.items()]
        notes = [f"{name}: {note}" for name, a in about.items() for note in a.get("notes", ())]
        return "; ".join((", ".join(counts), *notes))

    def check_locations(self) -> str:
        assert self.study.settings.locations is not None  # else it is not checked
        self.locations, skips = read_locations(self.study.settings.locations, self.areas)
        return f"{len(self.locations):,} locations, {len(skips):,} excluded"

    def report_lacking(self) -> str:
        lacking = self.study.settings.lacking
        return f"none without {lacking}: official statistics alone, for `outcomes` and `map`"

    def check_folds(self) -> str:
        labels = labels_of(self.study.settings, self.outcomes, self.locations)
        labelled = labels.notna().any(axis=1).to_numpy()
        splits = study_splits(self.study, self.locations[labelled], labels[labelled])
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
        if isinstance(features, ImageFeatures):
            backbone = backbone_of(features).name
        bundle.compare(self.study.file, dimension=dimension, backbone=backbone)
        origin = bundle.source.get("study") or "another study"
        return f"from {settings.transfer.bundle}, a model of {origin}"

    def check_features(self) -> str:
        settings, imagery = self.study.settings, self.study.settings.imagery
        if settings.evaluation.oracle is not None:
            read_oracle(settings.evaluation.oracle)
        if isinstance(settings.features, TableFeatures):
            table = read_columns(settings.features)
            return f"{len(table.features):,} rows of {len(settings.features.columns):,} features"
        if not isinstance(settings.features, ImageFeatures) or imagery is None:
            return f"{settings.features.source} features"
        backbone = backbone_of(settings.features)
        if isinstance(imagery, OpenImagery):
            from streetgauge.imagery.open_street import probe

            return f"{probe(imagery, self.locations)}, for {backbone.name}"
        views, missing = find_views(imagery, self.locations)
        line = f"{len(views):,} images for {backbone.name}, {len(missing):,} excluded"
        return "; ".join((line, *earlier_findings(self.study.quality, imagery)))

    def check_evaluation(self) -> str:
        return check_evaluation(self.study, self.areas, self.locations)
