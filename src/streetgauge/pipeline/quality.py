"""What was found wrong with images: listed, and excluded where the study asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.features.store import FeatureStore, usable
from streetgauge.imagery import FINDINGS, findings
from streetgauge.imagery.quality import FINGERPRINT
from streetgauge.io.files import read_table, write_table
from streetgauge.settings import ImagerySettings
from streetgauge.skips import skips_frame

Slots = npt.NDArray[np.bool_]


def reset_quality(path: Path, require: str) -> None:
    """Count all images of a store again that could be read, whatever was excluded before.

    What is excluded can then be changed without reading any image again.
    """
    try:
        store = FeatureStore.open(path)
        read = _readable(store)
        if not (store.quality["fingerprint"] != 0).any():
            return
        # A run that was killed while it excluded images may have left `done` empty.
        if (store.present == read).all() and (store.done == _usable(store, read, require)).all():
            return
        with FeatureStore.open(path, writable=True) as store:
            _set_mask(store, read, require)
    except InputError:  # no store that is gone on with: the extraction reports it
        return


def filter_quality(
    path: Path, file: Path, imagery: ImagerySettings
) -> tuple[tuple[str, ...], pd.DataFrame]:
    """List what was found wrong with a store's images, and exclude what the settings name.

    Parameters
    ----------
    path : Path
        The store; of an image that is excluded the features stay, but it is not ``present``.
    file : Path
        Where the list goes: see `streetgauge.imagery.findings`.
    imagery : ImagerySettings
        What is excluded, and whether a location needs all its views.

    Returns
    -------
    lines : tuple of str
        For the screen.
    skips : DataFrame
        ``location_id, view, area, stage, reason``.
    """
    store = FeatureStore.open(path)
    table = findings(store.quality, store.location_ids.tolist(), store.views)
    write_table(table, file)
    out = table[_excluded(table, imagery)]
    if len(out):
        views = pd.Index(store.views)
        present = _readable(store)
        present[store.slots(out["location_id"]), views.get_indexer(pd.Index(out["view"]))] = False
        with FeatureStore.open(path, writable=True) as store:
            _set_mask(store, present, imagery.require)
    suffix = ", and all views are needed" if imagery.require == "all" else ""
    columns = zip(out["location_id"], out["view"], _reasons(out, imagery), strict=True)
    skips = skips_frame(
        {"location_id": location, "view": view, "reason": reason + suffix}
        for location, view, reason in columns
    )
    return _finding_lines(table, imagery), skips


def earlier_findings(file: Path, imagery: ImagerySettings) -> tuple[str, ...]:
    """Give what an earlier run found; nothing if there was none, or its list cannot be read."""
    try:
        return _finding_lines(read_table(file), imagery)
    except (OSError, ValueError, KeyError, InputError):
        return ()


def _finding_lines(table: pd.DataFrame, imagery: ImagerySettings) -> tuple[str, ...]:
    """Describe what was found, and what can be done about it; nothing if nothing was."""
    lines = []
    counts = table["finding"].value_counts().drop("", errors="ignore")
    if len(counts):
        counted = ", ".join(f"{count:,} {finding}" for finding, count in counts.items())
        used = set(table.loc[~_excluded(table, imagery), "finding"])
        retained = [str(finding) for finding in counts.index if finding in used]
        step = f"; exclude with imagery.exclude = {retained!r}" if retained else ""
        line = f"of {len(table):,} images {counted} (quality.parquet){step}"
        lines.append(line.replace("'", '"'))
    if mixed := _measured_before(table):
        lines.append(
            f"{mixed:,} of {len(table):,} images were inspected by an older version, so their "
            "duplicates among the others are not known; `features --force` inspects all again"
        )
    return tuple(lines)


def _excluded(table: pd.DataFrame, imagery: ImagerySettings) -> pd.Series[bool]:
    """Which images are to be excluded: by all that holds of them, not by their first finding."""
    return table[list(imagery.exclude)].any(axis=1)


def _reasons(table: pd.DataFrame, imagery: ImagerySettings) -> list[str]:
    """Why each of some images is excluded: the first reason of the settings that holds."""
    reasons = [finding for finding in FINDINGS if finding in imagery.exclude]
    first = table[reasons].to_numpy(bool).argmax(axis=1) if len(table) else []
    return [FINDINGS[reasons[i]] for i in first]


def _measured_before(table: pd.DataFrame) -> int:
    """Count the images whose fingerprints cannot be compared with those of others."""
    before = int(((table["fingerprint"].to_numpy(np.uint64) & 0xFF) != FINGERPRINT).sum())
    return before if before < len(table) else 0


def _readable(store: FeatureStore) -> Slots:
    """Which images could be read; of a store without that measure, those that are there."""
    read = np.asarray(store.quality["fingerprint"] != 0)
    return read if read.any() else np.array(store.present)


def _set_mask(store: FeatureStore, present: Slots, require: str) -> None:
    store.set_mask(present, _usable(store, present, require))


def _usable(store: FeatureStore, present: Slots, require: str) -> Slots:

    return usable(present, require) & store.attempted
