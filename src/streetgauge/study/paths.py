"""The names of a study's files, which are promised to those who read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streetgauge.settings import (
    ImagerySettings,
    OpenImagery,
    StudySettings,
)

__all__ = ["picture_files", "OTHER_FOLDS", "StudyFiles", "Tested", "second_of", "tested"]

OTHER_FOLDS = "other-folds"


class StudyFiles:
    """Where each file of a study is; ``file`` is its ``study.toml``."""

    file: Path
    settings: StudySettings

    @property
    def directory(self) -> Path:
        """Where everything of the study lies."""
        return self.file.parent

    def path(self, name: str) -> Path:
        """Give the path of one of the study's files."""
        return self.directory / name

    @property
    def outcomes(self) -> Path:
        """Values and deciles of each area."""
        return self.path("outcomes.parquet")

    @property
    def locations(self) -> Path:
        """The locations with their areas."""
        return self.path("locations.parquet")

    @property
    def images(self) -> Path:
        """Which image of open street imagery is which view, and whose it is."""
        return self.path("images.parquet")

    @property
    def image_folder(self) -> Path:
        """Pictures of open street imagery; a folder of its own beside a user's images."""
        imagery = self.settings.imagery
        return self.directory / "images" / (imagery.source if imagery else "files")

    @property
    def features(self) -> Path:
        """The feature store."""
        return self.directory / "features" / f"{self.settings.features.store}.h5"

    @property
    def quality(self) -> Path:
        """What was measured of each image that was looked at, and what is wrong with it."""
        return self.path("quality.parquet")

    @property
    def folds(self) -> Path:
        """Which fold each location is in."""
        return self.path("folds.parquet")

    @property
    def splits(self) -> Path:
        """Which part of which split each location is in."""
        return self.path("splits.parquet")

    @property
    def predictions(self) -> Path:
        """Out-of-fold score, decile and probabilities of each location."""
        return self.path("predictions.parquet")

    @property
    def model(self) -> Path:
        """The bundles."""
        return self.path("model")

    @property
    def area_features(self) -> Path:
        """Mean features of each area's locations."""
        return self.path("area_features.parquet")

    @property
    def areas(self) -> Path:
        """Predicted and actual decile of each area."""
        return self.path("areas.parquet")

    def level(self, name: str) -> Path:
        """Name the file of the units of a level above the areas."""
        return self.path(f"areas-{name}.parquet")

    @property
    def map(self) -> Path:
        """The same with boundaries, for a GIS."""
        return self.path("areas.gpkg")

    @property
    def geoparquet(self) -> Path:
        """The same map as GeoParquet."""
        return self.path("areas.geo.parquet")

    @property
    def map_style(self) -> Path:
        """How QGIS draws the GeoParquet; the GeoPackage has its styles in it."""
        return self.path("areas.geo.qml")

    @property
    def metrics(self) -> Path:
        """How good the predictions are, and the baselines."""
        return self.path("metrics.json")

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path("report.html")

    @property
    def figures(self) -> Path:
        """Figures for a paper, and maps for slides."""
        return self.path("figures")

    @property
    def curves(self) -> Path:
        """How good the study would be with less: there once `streetgauge curves` has been run."""
        return self.path("curves.json")

    @property
    def skipped(self) -> Path:
        """Everything that was left out, and why."""
        return self.path("skipped.parquet")

    @property
    def run_file(self) -> Path:
        """What made all this."""
        return self.path("run.json")


@dataclass(frozen=True)
class Tested:
    """Files of one kind of folds: the study's own lie in its directory, the others below it.

    Parameters
    ----------
    directory : Path
        The study's, or ``other-folds`` in it.
    """

    directory: Path

    @property
    def folds(self) -> Path:
        """Which fold each location is in."""
        return self.directory / "folds.parquet"

    @property
    def splits(self) -> Path:
        """Which part of which split each location is in."""
        return self.directory / "splits.parquet"

    @property
    def predictions(self) -> Path:
        """Out-of-fold predictions of locations."""
        return self.directory / "predictions.parquet"

    @property
    def model(self) -> Path:
        """The folds' bundles."""
        return self.directory / "model"

    @property
    def aside(self) -> Path:
        """What one part alone held aside: `streetgauge.model.cross_validate` writes it."""
        return self.model / "calibration.parquet"

    @property
    def areas(self) -> Path:
        """Predicted and actual decile of each area."""
        return self.directory / "areas.parquet"


def tested(study: StudyFiles) -> Tested:
    """Give the files of the study's own folds."""
    return Tested(study.directory)


def second_of(study: StudyFiles) -> Tested | None:
    """Give the files of the folds beside them; None if there are to be none."""
    if study.settings.folds.other_kind is None:
        return None
    return Tested(study.directory / OTHER_FOLDS)


def picture_files(study: StudyFiles) -> ImagerySettings:
    """Say where the study's images are, be they its own or collected ones."""
    imagery = study.settings.imagery
    assert imagery is not None  # the settings see to it
    if isinstance(imagery, OpenImagery):
        return imagery.as_files(study.image_folder, study.images)
    return imagery
