"""The names of a study's files, which are promised to those who read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from streetgauge.errors import InputError
from streetgauge.settings import ImageFeatures, ImagerySettings, OpenImagery, StudySettings

OTHER_FOLDS = "other-folds"


class _HasDirectory(Protocol):
    @property
    def directory(self) -> Path: ...


@dataclass(frozen=True)
class _File:
    """The path of a file by its name below the directory of whatever has it as an attribute."""

    name: str

    def __get__(self, files: _HasDirectory, owner: type) -> Path:
        return files.directory / self.name


class StudyFiles:
    """Where each file of a study is; ``file`` is its ``study.toml``."""

    file: Path
    settings: StudySettings
    source: str = ""
    """The source of features that these files are of alone, where a study has several."""

    outcomes = _File("outcomes.parquet")
    """Values and deciles of each area."""

    locations = _File("locations.parquet")
    """The locations with their areas."""

    images = _File("images.parquet")
    """Which image of open street imagery is which view, and whose it is."""

    folds = _File("folds.parquet")
    """Which fold each location is in."""

    splits = _File("splits.parquet")
    """Which part of which split each location is in."""

    predictions = _File("predictions.parquet")
    """Out-of-fold score, decile and probabilities of each location."""

    model = _File("model")
    """The bundles."""

    history = _File("model/history.jsonl")
    """The course of the training."""

    transfer_curve = _File("model/transfer.json")
    """What labels are worth with a model of another city."""

    unweighted = _File("model/unweighted/predictions.parquet")
    """What training without the weights of ``[coverage]`` predicts; its weights are in it."""

    area_features = _File("area_features.parquet")
    """Mean features of each area's locations."""

    areas = _File("areas.parquet")
    """Predicted and actual decile of each area."""

    concepts = _File("concepts.parquet")
    """Concepts of each location: named, readable features of its images."""

    area_concepts = _File("area_concepts.parquet")
    """Their means over each area's locations."""

    concept_findings = _File("concepts.json")
    """Which of them differ between areas, and what they predict alone."""

    concept_stores = _File("concepts")
    """Concepts of each image, a feature store for each source."""

    map = _File("areas.gpkg")
    """The same with boundaries, for a GIS."""

    geoparquet = _File("areas.geo.parquet")
    """The same map as GeoParquet."""

    map_style = _File("areas.geo.qml")
    """How QGIS draws the GeoParquet; the GeoPackage has its styles in it."""

    metrics = _File("metrics.json")
    """How good the predictions are, and the baselines."""

    report = _File("report.html")
    """The page for people."""

    figures = _File("figures")
    """Figures for a paper, and maps for slides."""

    curves = _File("curves.json")
    """How good the study would be with less: there once `streetgauge curves` has been run."""

    age = _File("age.json")
    """When images were taken, and what that does: there once `streetgauge age` has been run."""

    coverage = _File("coverage.json")
    """Which areas have images: there once `streetgauge coverage` has been run."""

    fairness = _File("fairness.json")
    """Errors of groups of areas: there once `streetgauge fairness` has been run."""

    sample = _File("sample.parquet")
    """Locations to photograph next: there once `streetgauge sample` has been run."""

    sample_findings = _File("sample.json")
    """What they are expected to gain."""

    sample_layer = _File("sample.gpkg")
    """Images to take in each area, for a GIS."""

    sample_map = _File("sample.png")
    """The same on a slide."""

    survey = _File("survey.parquet")
    """A survey's estimates with images: there once `streetgauge survey` has been run."""

    survey_findings = _File("survey.json")
    """The model behind them."""

    survey_layer = _File("survey.gpkg")
    """The same for a GIS."""

    survey_map = _File("survey.png")
    """The same on a slide."""

    change = _File("change.parquet")
    """Change to another year's images: there once `streetgauge change` has been run."""

    change_findings = _File("change.json")
    """What was removed from all areas, and what change would be noticed."""

    change_layer = _File("change.gpkg")
    """The same for a GIS."""

    change_map = _File("change.png")
    """The same on a slide."""

    skipped = _File("skipped.parquet")
    """Everything that was excluded, and why."""

    run_file = _File("run.json")
    """What made all this."""

    @property
    def directory(self) -> Path:
        """Where everything of the study lies."""
        return self.file.parent

    @property
    def image_folder(self) -> Path:
        """Images of open street imagery; a folder of its own next to a user's images."""
        imagery = self.settings.imagery
        return self.directory / "images" / (imagery.source if imagery else "files")

    @property
    def sources(self) -> dict[str, Self]:
        """The study with each source of features alone, by its name; of one source itself as ""."""
        if not self.settings.several:
            return {"": self}
        own: Any = self
        return {
            name: replace(own, settings=self.settings.only(name), source=name)
            for name in self.settings.sources
        }

    @property
    def image_source(self) -> Self | None:
        """The study with its source of images alone, of several the first by name; None if none."""
        own = (e for e in self.sources.values() if isinstance(e.settings.features, ImageFeatures))
        return next(own, None)

    @property
    def features(self) -> Path:
        """The feature store.

        Raises
        ------
        InputError
            If the study has several sources of features.
        """
        self.require_one_source()
        return self.directory / "features" / f"{self.source or self.settings.features.store}.h5"

    @property
    def quality(self) -> Path:
        """What was measured of each image, and what is wrong with it."""
        name = f"features/{self.source}.quality.parquet" if self.source else "quality.parquet"
        return self.directory / name

    def require_one_source(self) -> None:
        """Refuse a study of several sources of features, for what needs one.

        Raises
        ------
        InputError
        """
        if self.settings.several:
            raise InputError(
                f"{self.file}: [features]",
                f"it has several sources ({', '.join(self.settings.sources)}), and this needs one",
                "use a study of one source",
            )

    @property
    def stores(self) -> tuple[Path, ...]:
        """The feature store of every source."""
        return tuple(each.features for each in self.sources.values())

    def path(self, name: str) -> Path:
        """Give the path of one of the study's files."""
        return self.directory / name

    def level(self, name: str) -> Path:
        """Name the file of the units of a level above the areas."""
        return self.path(f"areas-{name}.parquet")


@dataclass(frozen=True)
class FoldOutputs:
    """Files of one kind of folds: the study's own lie in its directory, the others below it.

    Parameters
    ----------
    directory : Path
        The study's, or ``other-folds`` in it.
    """

    directory: Path

    folds = _File("folds.parquet")
    splits = _File("splits.parquet")
    predictions = _File("predictions.parquet")
    model = _File("model")
    areas = _File("areas.parquet")

    sources = _File("model/sources.parquet")
    """What each of several sources, and all but one, predict of the tested areas."""

    calibration = _File("model/calibration.parquet")
    """The calibration set of a single split: `streetgauge.model.cross_validate` writes it."""


def own_outputs(study: StudyFiles) -> FoldOutputs:
    """Give the files of the study's own folds."""
    return FoldOutputs(study.directory)


def other_outputs(study: StudyFiles) -> FoldOutputs | None:
    """Give the files of the other fold scheme; None if there is to be none."""
    if study.settings.folds.other_kind is None:
        return None
    return FoldOutputs(study.directory / OTHER_FOLDS)


def image_files(study: StudyFiles) -> ImagerySettings:
    """Give the settings of the study's images, be they its own or collected ones."""
    imagery = study.settings.imagery
    assert imagery is not None  # the settings see to it
    if isinstance(imagery, OpenImagery):
        return imagery.as_files(study.image_folder, study.images)
    return imagery
