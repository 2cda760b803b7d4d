"""What can be checked before any long work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streetgauge.errors import InputError
from streetgauge.evaluation.area_facts import check_evaluation
from streetgauge.evaluation.oracle import read_oracle
from streetgauge.features.backbones import backbone_of
from streetgauge.model.event_log import NO_TENSORBOARD, has_tensorboard
from streetgauge.model.training_data import labels_of, study_splits
from streetgauge.pipeline.outcomes import column_of_codes
from streetgauge.pipeline.quality import said_before
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
        By what is checked; each raises `InputError` if that input cannot be used.
    """
    from streetgauge.features import read_columns
    from streetgauge.locations import read_areas, read_locations
    from streetgauge.outcomes import build_outcomes

    settings = study.settings
    seen: dict[str, Any] = {}

    def files() -> str:
        study.require_files()
        return "all there"

    def areas() -> str:
        seen["areas"] = read_areas(settings.areas, settings.locations)
        folds = settings.folds
        by_number = folds.scheme == "k-fold" and folds.file is None
        if by_number and len(seen["areas"]) < folds.k:
            raise InputError(
                f"{study.file}: folds.k",
                f"{settings.folds.k} folds of only {len(seen['areas'])} areas",
                "an area is never split over folds: take fewer folds",
            )
        kind = "with" if "geometry" in seen["areas"] else "without"
        return f"{len(seen['areas']):,} areas {kind} boundaries"

    def outcomes() -> str:
        seen["outcomes"], about, _ = build_outcomes(
            settings.outcomes,
            seen["areas"].index,
            settings.deciles,
            stated=column_of_codes(settings),
            lookup=settings.areas.lookup,
        )
        return ", ".join(f"{name} {a['n_areas']:,} areas" for name, a in about.items())

    def locations() -> str:
        seen["locations"], skips = read_locations(settings.locations, seen["areas"])
        return f"{len(seen['locations']):,} locations, {len(skips):,} left out"

    def folds() -> str:
        labels = labels_of(settings, seen["outcomes"], seen["locations"])
        labelled = labels.notna().any(axis=1).to_numpy()
        splits = study_splits(study, seen["locations"][labelled], labels[labelled])
        largest = max(splits, key=lambda split: len(split.test))
        tests = sum(1 for split in splits if len(split.test))
        return f"{tests} parts to test on, of at most {len(largest.test):,} locations"

    def transfer() -> str:
        from streetgauge.model.transfer import open_start

        tuned, looks = settings.transfer, settings.features
        assert tuned is not None
        bundle, _ = open_start(tuned, list(settings.outcomes), classes=settings.deciles.classes)
        dimension, backbone = bundle.dimension, str(looks.source)
        if isinstance(looks, TableFeatures):
            dimension = len(looks.columns)
        if isinstance(looks, ImageFeatures):
            backbone = backbone_of(looks).name
        bundle.compare(study.file, dimension=dimension, backbone=backbone)
        return f"from {tuned.bundle}, a model of {bundle.source.get('study') or 'another study'}"

    def features() -> str:
        if settings.evaluation.oracle is not None:
            read_oracle(settings.evaluation.oracle)
        if isinstance(settings.features, TableFeatures):
            table = read_columns(settings.features)
            return f"{len(table.features):,} rows of {len(settings.features.columns):,} features"
        if isinstance(settings.features, ImageFeatures) and settings.imagery is not None:
            from streetgauge.imagery import find_views

            backbone = backbone_of(settings.features)
            if isinstance(settings.imagery, OpenImagery):
                from streetgauge.imagery.open_street import probe

                return f"{probe(settings.imagery, seen['locations'])}, for {backbone.name}"
            views, missing = find_views(settings.imagery, seen["locations"])
            line = f"{len(views):,} images for {backbone.name}, {len(missing):,} left out"
            return "; ".join((line, *said_before(study.quality, settings.imagery)))
        return f"{settings.features.source} features"

    def evaluation() -> str:
        return check_evaluation(study, seen["areas"], seen["locations"])

    return {
        "files": files,
        "areas": areas,
        "outcomes": outcomes,
        "locations": locations,
        "folds": folds,
        **({} if settings.transfer is None else {"transfer": transfer}),
        **({} if has_tensorboard() else {"training": lambda: NO_TENSORBOARD}),
        "evaluation": evaluation,
        "features": features,
    }
