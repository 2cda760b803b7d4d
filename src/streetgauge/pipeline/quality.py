"""What was found wrong with images: listed, and left out where the study says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.features.store import FeatureStore, usable
from streetgauge.imagery import FINDINGS, findings
from streetgauge.imagery.quality import FINGERPRINT
from streetgauge.io.files import write_table
from streetgauge.settings import ImagerySettings
from streetgauge.skips import skips_frame

__all__ = ["judge", "reinstate", "said_before"]

Slots = npt.NDArray[np.bool_]


def reinstate(path: Path, require: str) -> None:
    """Count all images of a store again that could be read, whatever was left out of it before.

    What is left out can then be changed without a second look at any image.
    """
    try:
        store = FeatureStore.open(path)
        read = _read(store)
        if not (store.quality["fingerprint"] != 0).any():
            return
        # A run that was killed while it left images out may have left `done` empty.
        if (store.present == read).all() and (store.done == _usable(store, read, require)).all():
            return
        with FeatureStore.open(path, writable=True) as store:
            _admit(store, read, require)
    except InputError:  # no store, or none that is gone on with: that is for the extraction to say
        return


def judge(path: Path, file: Path, imagery: ImagerySettings) -> tuple[tuple[str, ...], pd.DataFrame]:
    """List what was found wrong with a store's images, and leave out what the settings say.

    Parameters
    ----------
    path : Path
        The store; of an image that is left out the features stay, but it is not ``present``.
    file : Path
        Where the list goes: see `streetgauge.imagery.findings`.
    imagery : ImagerySettings
        Says what is left out, and whether a location needs all its views.

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
    out = table[_left_out(table, imagery)]
    if len(out):
        views = pd.Index(store.views)
        present = _read(store)
        present[store.slots(out["location_id"]), views.get_indexer(pd.Index(out["view"]))] = False
        with FeatureStore.open(path, writable=True) as store:
            _admit(store, present, imagery.require)
    suffix = ", and all views are needed" if imagery.require == "all" else ""
    columns = zip(out["location_id"], out["view"], _reasons(out, imagery), strict=True)
    skips = skips_frame(
        {"location_id": location, "view": view, "reason": reason + suffix}
        for location, view, reason in columns
    )
    return _said_of(table, imagery), skips


def said_before(file: Path, imagery: ImagerySettings) -> tuple[str, ...]:
    """Say what an earlier run found; nothing if there was none, or its list cannot be read."""
    try:
        return _said_of(pd.read_parquet(file), imagery)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return ()


def _said_of(table: pd.DataFrame, imagery: ImagerySettings) -> tuple[str, ...]:
    """Say what was found, and what can be done about it; nothing if nothing was."""
    lines = []
    counts = table["finding"].value_counts().drop("", errors="ignore")
    if len(counts):
        told = ", ".join(f"{count:,} {finding}" for finding, count in counts.items())
        used = set(table.loc[~_left_out(table, imagery), "finding"])
        kept = [str(finding) for finding in counts.index if finding in used]
        step = f"; leave out with imagery.exclude = {kept!r}" if kept else ""
        line = f"of {len(table):,} images {told} (quality.parquet){step}"
        lines.append(line.replace("'", '"'))
    if mixed := _measured_before(table):
        lines.append(
            f"{mixed:,} of {len(table):,} images were looked at by an older version, so their "
            "duplicates among the others are not known; `features --force` looks at all anew"
        )
    return tuple(lines)


def _left_out(table: pd.DataFrame, imagery: ImagerySettings) -> pd.Series[bool]:
    """Which images are to be left out: by all that holds of them, not by what they are called."""
    return table[list(imagery.exclude)].any(axis=1)


def _reasons(table: pd.DataFrame, imagery: ImagerySettings) -> list[str]:
    """Why each of some images is left out: the first of what the settings say that holds."""
    said = [finding for finding in FINDINGS if finding in imagery.exclude]
    first = table[said].to_numpy(bool).argmax(axis=1) if len(table) else []
    return [FINDINGS[said[place]] for place in first]


def _measured_before(table: pd.DataFrame) -> int:
    """Count the images whose fingerprints cannot be compared with those of others."""
    before = int(((table["fingerprint"].to_numpy(np.uint64) & 0xFF) != FINGERPRINT).sum())
    return before if before < len(table) else 0


def _read(store: FeatureStore) -> Slots:
    """Which images could be read; of a store that does not say so, those that are there."""
    read = np.asarray(store.quality["fingerprint"] != 0)
    return read if read.any() else np.array(store.present)


def _admit(store: FeatureStore, present: Slots, require: str) -> None:
    store.set_mask(present, _usable(store, present, require))


def _usable(store: FeatureStore, present: Slots, require: str) -> Slots:

    return usable(present, require) & store.attempted
