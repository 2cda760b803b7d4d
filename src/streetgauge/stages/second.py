"""The folds beside a study's own, and the files of what is trained and tested in them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from streetgauge.io.files import read_metadata
from streetgauge.settings import FoldSettings
from streetgauge.study import Study

__all__ = ["KINDS", "Tested", "forget_second", "second_of", "stored_settings", "tested"]

KINDS = ("random", "spatial")


@dataclass(frozen=True)
class Tested:
    """Files of one kind of folds: the study's own lie in its directory, the others below it.

    Parameters
    ----------
    directory : Path
        The study's, or the one called after the kind of folds.
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
        return self.model / "held-aside.parquet"

    @property
    def areas(self) -> Path:
        """Predicted and actual decile of each area."""
        return self.directory / "areas.parquet"


def tested(study: Study) -> Tested:
    """Give the files of the study's own folds."""
    return Tested(study.directory)


def second_of(study: Study) -> Tested | None:
    """Give the files of the folds beside them; None if there are to be none."""
    kind = study.settings.folds.second_kind
    return None if kind is None else Tested(study.directory / kind)


def stored_settings(splits: Path) -> FoldSettings:
    """Read which folds a table of splits was made by."""
    return FoldSettings.model_validate(read_metadata(splits)["folds"])


def forget_second(study: Study, keep: Tested | None) -> None:
    """Remove what was trained in folds that the study no longer has beside its own.

    Only files of ours: nobody else's that lie in a directory of that name.
    """
    for kind in KINDS:
        old = Tested(study.directory / kind)
        if (keep is not None and old.directory == keep.directory) or not old.directory.is_dir():
            continue
        if not old.splits.is_file() and not (old.model / "logs").is_dir():
            continue
        for file in (old.folds, old.splits, old.predictions, old.areas):
            file.unlink(missing_ok=True)
        shutil.rmtree(old.model, ignore_errors=True)
        if not any(old.directory.iterdir()):
            old.directory.rmdir()
