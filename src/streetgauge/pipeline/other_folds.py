"""What was trained and tested in folds beside a study's own: which they were, and its removal."""

from __future__ import annotations

import shutil
from pathlib import Path

from streetgauge.io.files import read_metadata
from streetgauge.settings import FOLD_KINDS, FoldSettings
from streetgauge.study import Study
from streetgauge.study.paths import Tested

__all__ = ["forget_second", "stored_settings"]


def stored_settings(splits: Path) -> FoldSettings:
    """Read which folds a table of splits was made by."""
    return FoldSettings.model_validate(read_metadata(splits)["folds"])


def forget_second(study: Study, keep: Tested | None) -> None:
    """Remove what was trained in folds that the study no longer has beside its own.

    Only files of ours: nobody else's that lie in a directory of that name.
    """
    for kind in FOLD_KINDS:
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
