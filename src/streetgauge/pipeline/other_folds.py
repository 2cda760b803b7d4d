"""What was trained and tested in folds beside a study's own: which they were, and its removal."""

from __future__ import annotations

import shutil
from pathlib import Path

from streetgauge.io.files import read_metadata
from streetgauge.settings import FoldSettings
from streetgauge.study import Study
from streetgauge.study.paths import OTHER_FOLDS, Tested

__all__ = ["forget_other_kind", "forget_second", "stored_settings"]


def stored_settings(splits: Path) -> FoldSettings:
    """Read which folds a table of splits was made by."""
    return FoldSettings.model_validate(read_metadata(splits)["folds"])


def forget_other_kind(study: Study) -> None:
    """Remove what was trained in other folds that are of another kind than those to come."""
    splits = Tested(study.directory / OTHER_FOLDS).splits
    if splits.is_file() and stored_settings(splits).kind != study.settings.folds.other_kind:
        forget_second(study)


def forget_second(study: Study) -> None:
    """Remove what was trained in folds that the study no longer has beside its own.

    Only files of ours: nobody else's that lie in a directory of that name.
    """
    old = Tested(study.directory / OTHER_FOLDS)
    if not old.splits.is_file() and not (old.model / "logs").is_dir():
        return
    for file in (old.folds, old.splits, old.predictions, old.areas):
        file.unlink(missing_ok=True)
    shutil.rmtree(old.model, ignore_errors=True)
    if not any(old.directory.iterdir()):
        old.directory.rmdir()
