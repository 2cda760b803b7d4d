"""Splits as tables: which location is in which part of which split, stored and used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from streetgauge.errors import InputError, closest, summary
from streetgauge.io.tables import refuse_repeated
from streetgauge.settings import FoldSettings
from streetgauge.splits.blocks import column_by_location, to_metres
from streetgauge.splits.folds import PARTS, Split
from streetgauge.splits.schemes import LocationColumns, make_splits

EXCLUDED = "excluded"


def splits_frame(
    splits: Sequence[Split], location_ids: ArrayLike, areas: ArrayLike
) -> pd.DataFrame:
    """Make a long table: for each split, every location and the part that it is in.

    Parameters
    ----------
    splits : sequence of Split
        From `make_splits`.
    location_ids, areas : array of str, shape [N]
        Keys of the rows that the splits were made from.

    Returns
    -------
    DataFrame
        ``location_id, area, split, fold, part, reason``, split by split in order and then by
        location_id. ``part`` is ``training``, ``validation``, ``test`` or ``excluded``; only the
        last has a ``reason``.
    """
    ids, area = np.asarray(location_ids, object), np.asarray(areas, object)
    order = np.argsort(ids, kind="stable")
    part = np.full((len(splits), len(ids)), EXCLUDED, object)
    reason = np.full(part.shape, None, object)
    for number, split in enumerate(splits):
        for name in PARTS:
            part[number, getattr(split, name)] = name
        for why, rows in split.excluded.items():
            reason[number, rows] = why
    columns = {
        "location_id": np.tile(ids[order], len(splits)),
        "area": np.tile(area[order], len(splits)),
        "split": np.repeat(np.array([split.name for split in splits], object), len(ids)),
        "fold": np.repeat(np.array([split.fold for split in splits], np.int64), len(ids)),
        "part": part[:, order].ravel(),
        "reason": reason[:, order].ravel(),
    }
    return pd.DataFrame(columns).astype(dict.fromkeys(columns.keys() - {"fold"}, "str"))


def folds_frame(splits: Sequence[Split], location_ids: ArrayLike, areas: ArrayLike) -> pd.DataFrame:
    """Make the table of folds: ``location_id, area, fold``, 0 where a location is never tested.

    It is sorted by location_id.
    """
    keys = _keys_frame(location_ids, areas)
    fold = np.zeros(len(keys), np.int64)
    for split in splits:
        fold[split.test] = split.fold
    return keys.assign(fold=fold).sort_values("location_id", ignore_index=True)


def unassigned(splits: Sequence[Split], location_ids: ArrayLike, areas: ArrayLike) -> pd.DataFrame:
    """List the locations that are in no part of any split: ``location_id, area, reason``."""
    keys = _keys_frame(location_ids, areas)
    reason = np.full(len(keys), "no split has a part for it", object)
    for split in splits:
        for why, rows in split.excluded.items():
            reason[rows] = why
    used = [getattr(split, part) for split in splits for part in PARTS]
    unused = np.setdiff1d(np.arange(len(keys)), np.concatenate([[], *used]))
    frame = keys.assign(reason=reason.astype(str)).iloc[unused]
    return frame.sort_values("location_id", kind="stable", ignore_index=True)


def stored_folds(frame: pd.DataFrame, location_ids: ArrayLike) -> NDArray[np.int64]:
    """Look up the stored fold of every location: [N], 0 where the table does not have it.

    Parameters
    ----------
    frame : DataFrame
        ``location_id, fold``, as `folds_frame` makes it.
    location_ids : array of str, shape [N]
        Of this study.

    Raises
    ------
    InputError
        If a column is missing, a location is there twice, or none is one of this study's.
    """
    stored, ids = _keys_of(frame, ("location_id", "fold"), location_ids)
    fold = pd.Series(frame["fold"].to_numpy(), stored)
    return fold.reindex(ids).fillna(0).to_numpy(np.int64)


def read_splits(
    frame: pd.DataFrame, location_ids: ArrayLike, areas: ArrayLike | None = None
) -> list[Split]:
    """Use stored splits again, joined by location_id.

    Parameters
    ----------
    frame : DataFrame
        As `splits_frame` makes it: ``location_id, split, fold, part`` and perhaps ``reason``. Rows
        of locations that are not given are not used; see `split_notes` to name them.
    location_ids : array of str, shape [N]
        Of this study, in any order; what the table lacks is excluded of every split.
    areas : array of str, shape [N], optional
        Then it is an error if one of them is in two parts of a split.

    Returns
    -------
    list of Split
        In the table's order.

    Raises
    ------
    InputError
        If a column is missing, a part is not known, a location is in a split twice or none is one
        of this study's, or an area is in two parts.
    """
    stored, ids = _keys_of(frame, ("location_id", "split", "fold", "part"), location_ids)
    position = ids.get_indexer(stored)
    part = pd.Index([*PARTS, EXCLUDED]).get_indexer(pd.Index(frame["part"], dtype="str"))
    if (part < 0).any():
        wrong = f"there is no part '{frame['part'].iloc[int(part.argmin())]}'"
        raise InputError("stored splits", wrong, f"parts are {', '.join([*PARTS, EXCLUDED])}")
    given = frame.get("reason", pd.Series(None, frame.index)).astype(object)
    reason = given.where(given.notna(), "the stored split excludes it").to_numpy(object)
    splits = []
    for name, rows in frame.groupby("split", sort=False, observed=True).indices.items():
        here = rows[position[rows] >= 0]
        at, kind, why = position[here], part[here], reason[here]
        training, validation, test = (np.sort(at[kind == number]) for number in range(len(PARTS)))
        out = kind == len(PARTS)
        excluded = {str(each): np.sort(at[out & (why == each)]) for each in pd.unique(why[out])}
        missing = np.setdiff1d(np.arange(len(ids)), at)
        if len(missing):
            excluded["the stored split does not have it"] = missing
        fold = int(frame["fold"].iloc[rows[0]])
        splits.append(Split(str(name), fold, training, validation, test, excluded))
    if areas is not None and (divided := areas_in_two_parts(splits, areas)):
        raise InputError(
            f"area '{divided[0]}'",
            "the stored splits have it in two parts",
            "they were made for other areas: make new ones",
        )
    return splits


def split_locations(
    settings: FoldSettings,
    locations: pd.DataFrame,
    deciles: pd.DataFrame,
    areas: Callable[[], pd.DataFrame],
    *,
    seed: int,
) -> list[Split]:
    """Split a study's locations by its settings, or by stored splits.

    Parameters
    ----------
    settings : FoldSettings
        If `file` is set, the splits (with a column ``part``) or the folds (with ``fold`` only) in
        it are used; with folds, the settings still decide how what is not tested is parted.
    locations : DataFrame
        ``location_id, area, lat, lon``, and ``oa, lsoa, msoa`` where a setting names them.
    deciles : DataFrame
        One row for each of the locations, in their order; a column for every outcome.
    areas : callable
        Gives the areas, if a setting names a column of theirs: DataFrame by area.
    seed : int
        See `make_splits`.

    Returns
    -------
    list of Split
        Positions in `locations`.

    Raises
    ------
    InputError
        As `make_splits` and `read_splits`; also if the file is no such table.
    """
    ids, area = (locations[key].to_numpy(object) for key in ("location_id", "area"))
    fold = None
    if settings.file is not None:
        stored = _read_parquet(settings.file)
        if "part" in stored:
            if settings.unit != "location":
                return read_splits(stored, ids, area)
            return [replace(split, whole_areas=False) for split in read_splits(stored, ids)]
        fold = stored_folds(stored, ids)

    def column(name: str | None) -> NDArray[np.object_] | None:
        if name in (None, "area", "location"):
            return None
        own = name in ("oa", "lsoa", "msoa") and name in locations
        return column_by_location(str(name), locations, None if own else areas())

    metric = settings.scheme == "blocks" or settings.buffer > 0
    return make_splits(
        settings,
        area,
        deciles.to_numpy(np.float64),
        seed=seed,
        fold=fold,
        columns=LocationColumns(
            location_ids=ids,
            outcomes=[str(name) for name in deciles.columns],
            coordinates=to_metres(locations["lat"], locations["lon"]) if metric else None,
            units=column(settings.unit),
            groups=column(settings.group),
        ),
    )


def areas_in_two_parts(splits: Sequence[Split], areas: ArrayLike) -> list[str]:
    """Name the areas that any split has in two parts, sorted; there should be none."""
    names, area = np.unique(np.asarray(areas, object).astype(str), return_inverse=True)
    divided = np.zeros(len(names), np.bool_)
    for split in splits:
        seen = [np.unique(area[getattr(split, part)]) for part in PARTS]
        divided |= np.bincount(np.concatenate(seen), minlength=len(names)) > 1
    return [str(name) for name in names[divided]]


def split_notes(
    splits: Sequence[Split],
    areas: ArrayLike,
    deciles: ArrayLike,
    outcomes: Sequence[str],
) -> tuple[str, ...]:
    """Report what of a split a reader of its results must know, a line each.

    That areas are in two parts (then results are better than they are elsewhere), how many
    locations no network is tested on, how many a buffer or a share excludes from a split, and which
    classes a network never sees: the binomial head infers them from their neighbours.
    """
    area, target = np.asarray(areas, object), np.asarray(deciles, np.float64)
    notes = []
    if divided := areas_in_two_parts(splits, area):
        notes.append(
            f"{len(divided):,} areas are in two parts of a split, so networks are tested on areas "
            "that they have seen: results are better than they would be elsewhere"
        )
    tested = np.unique(np.concatenate([[], *(split.test for split in splits)]))
    if 0 < len(tested) < len(area):
        never = len(area) - len(tested)
        notes.append(f"{never:,} of {len(area):,} locations are never tested")
    for reason in dict.fromkeys(why for split in splits for why in split.excluded):
        counts = [len(split.excluded[reason]) for split in splits if reason in split.excluded]
        span = f"{min(counts):,}" + (f" to {max(counts):,}" if max(counts) > min(counts) else "")
        of = f"{len(counts)} of {len(splits)} splits" if len(splits) > 1 else "the split"
        notes.append(f"{span} locations are excluded from {of}: {reason}")
    unseen = [
        f"{split.name} is trained on no area of decile {decile:g} of '{outcome}'"
        for outcome, column in zip(outcomes, target.T, strict=True)
        for split in splits
        if len(split.training)
        for decile in np.setdiff1d(column[~np.isnan(column)], column[split.training])
    ]
    if unseen:
        more = f" (and {len(unseen) - 1} more like this)" if len(unseen) > 1 else ""
        notes.append(unseen[0] + more)
    return tuple(notes)


def _keys_frame(location_ids: ArrayLike, areas: ArrayLike) -> pd.DataFrame:
    columns = {"location_id": np.asarray(location_ids, object), "area": np.asarray(areas, object)}
    return pd.DataFrame(columns, dtype="str")


def _keys_of(
    frame: pd.DataFrame, columns: Sequence[str], location_ids: ArrayLike
) -> tuple[pd.Index, pd.Index]:
    """Give the locations of a stored table that has these columns, and the study's."""
    for column in columns:
        if column not in frame:
            raise InputError(
                "stored splits", f"there is no column '{column}'", closest(column, frame.columns)
            )
    stored = pd.Index(frame["location_id"], dtype="str")
    ids = pd.Index(np.asarray(location_ids, object), dtype="str")
    if frame.duplicated([name for name in ("split", "location_id") if name in columns]).any():
        split = frame["split"].astype(str) + ": " if "split" in columns else ""
        refuse_repeated(pd.Index(split + stored), "stored splits", "location")
    if not stored.isin(ids).any():
        other = f"they have '{stored[0]}', the study '{ids[0]}'" if len(stored) and len(ids) else ""
        raise InputError("stored splits", "none of their locations is one of this study's", other)
    return stored, ids


def _read_parquet(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = summary(error)
        step = "give folds.parquet or splits.parquet of a study"
        raise InputError(file, f"it cannot be read as Parquet ({reason})", step) from None
