"""Splits as tables: which location is in which part of which split, stored and used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from streetgauge.errors import InputError, closest
from streetgauge.settings import FoldSettings
from streetgauge.splits.coordinates import column_by_location, to_metres
from streetgauge.splits.schemes import Split, make_splits

__all__ = [
    "areas_in_two_parts",
    "folds_frame",
    "never_used",
    "read_splits",
    "split_locations",
    "split_notes",
    "splits_frame",
    "stored_folds",
]

PARTS = ("training", "validation", "test")
EXCLUDED = "excluded"
COLUMNS = ("location_id", "area", "split", "fold", "part", "reason")


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
        location_id. ``part`` is ``training``, ``validation``, ``test`` or ``left out``; only the
        last has a ``reason``.
    """
    ids, area = np.asarray(location_ids, object), np.asarray(areas, object)
    order = np.argsort(ids, kind="stable")
    kinds = np.array([*PARTS, EXCLUDED], object)
    tables = []
    for split in splits:
        part = np.full(len(ids), len(PARTS))
        reason = np.full(len(ids), None, object)
        for number, name in enumerate(PARTS):
            part[getattr(split, name)] = number
        for why, rows in split.excluded.items():
            reason[rows] = why
        columns = {
            "location_id": ids[order],
            "area": area[order],
            "split": split.name,
            "fold": split.fold,
            "part": kinds[part[order]],
            "reason": reason[order],
        }
        tables.append(pd.DataFrame(columns))
    frame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    texts = dict.fromkeys(("location_id", "area", "split", "part", "reason"), "str")
    return frame.astype({**texts, "fold": "int64"})


def folds_frame(splits: Sequence[Split], location_ids: ArrayLike, areas: ArrayLike) -> pd.DataFrame:
    """Make the table of folds: ``location_id, area, fold``, 0 where a location is never tested.

    It is sorted by location_id.
    """
    ids = np.asarray(location_ids, object)
    fold = np.zeros(len(ids), np.int64)
    for split in splits:
        fold[split.test] = split.fold
    frame = pd.DataFrame({"location_id": ids, "area": np.asarray(areas, object), "fold": fold})
    frame = frame.astype({"location_id": "str", "area": "str"})
    return frame.sort_values("location_id", ignore_index=True)


def never_used(splits: Sequence[Split], location_ids: ArrayLike, areas: ArrayLike) -> pd.DataFrame:
    """List the locations that are in no part of any split: ``location_id, area, reason``."""
    ids = np.asarray(location_ids, object)
    unused = np.ones(len(ids), np.bool_)
    reason = np.full(len(ids), "no split has a part for it", object)
    for split in splits:
        for name in PARTS:
            unused[getattr(split, name)] = False
        for why, rows in split.excluded.items():
            reason[rows] = why
    rows = np.flatnonzero(unused)
    rows = rows[np.argsort(ids[rows], kind="stable")]
    area = np.asarray(areas, object)
    return pd.DataFrame(
        {"location_id": ids[rows], "area": area[rows], "reason": reason[rows]}
    ).astype("str")


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
    _require(frame, ("location_id", "fold"))
    ids = pd.Index(np.asarray(location_ids, object), dtype="str")
    fold = pd.Series(frame["fold"].to_numpy(), pd.Index(frame["location_id"], dtype="str"))
    if fold.index.has_duplicates:
        raise _twice(fold.index)
    if not fold.index.isin(ids).any():
        raise _strangers(fold.index, ids)
    found: NDArray[np.int64] = fold.reindex(ids).fillna(0).to_numpy(np.int64)
    return found


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
        Of this study, in any order; what the table lacks is left out of every split.
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
    _require(frame, ("location_id", "split", "fold", "part"))
    ids = pd.Index(np.asarray(location_ids, object), dtype="str")
    position = ids.get_indexer(pd.Index(frame["location_id"], dtype="str"))
    if not (position >= 0).any():
        raise _strangers(pd.Index(frame["location_id"]), ids)
    part, reason = frame["part"].astype("str"), _reasons(frame)
    unknown = part[~part.isin([*PARTS, EXCLUDED])]
    if len(unknown):
        step = f"parts are {', '.join([*PARTS, EXCLUDED])}"
        raise InputError("stored splits", f"there is no part '{unknown.iloc[0]}'", step)
    kind = pd.Index([*PARTS, EXCLUDED]).get_indexer(pd.Index(part))
    splits = []
    for name, rows in frame.groupby("split", sort=False, observed=True).indices.items():
        keys = pd.Index(frame["location_id"].to_numpy()[rows])
        if keys.has_duplicates:
            raise _twice(keys)
        here = rows[position[rows] >= 0]
        training, validation, test = (
            np.sort(position[here[kind[here] == number]]) for number in range(len(PARTS))
        )
        out = here[kind[here] == len(PARTS)]
        excluded = {
            str(why): np.sort(position[out[reason[out] == why]]) for why in pd.unique(reason[out])
        }
        missing = np.setdiff1d(np.arange(len(ids)), position[here])
        if len(missing):
            excluded["the stored split does not have it"] = missing
        fold = int(frame["fold"].iloc[rows[0]])
        splits.append(Split(str(name), fold, training, validation, test, excluded))
    if areas is not None:
        torn = areas_in_two_parts(splits, areas)
        if len(torn):
            raise InputError(
                f"area '{torn[0]}'",
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
    """Split a study's locations as its settings say, or as stored splits do.

    Parameters
    ----------
    settings : FoldSettings
        If `file` is set, the splits (with a column ``part``) or the folds (with ``fold`` only) in
        it are used; with folds, the settings still say how what is not tested is parted.
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
        stored = _read(settings.file)
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
        location_ids=ids,
        outcomes=[str(name) for name in deciles.columns],
        coordinates=to_metres(locations["lat"], locations["lon"]) if metric else None,
        units=column(settings.unit),
        groups=column(settings.group),
        fold=fold,
    )


def _read(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        step = "give folds.parquet or splits.parquet of a study"
        raise InputError(file, f"it cannot be read as Parquet ({reason})", step) from None


def areas_in_two_parts(splits: Sequence[Split], areas: ArrayLike) -> list[str]:
    """Name the areas that any split has in two parts, sorted; there should be none."""
    names, area = np.unique(np.asarray(areas, object).astype(str), return_inverse=True)
    torn = np.zeros(len(names), np.bool_)
    for split in splits:
        seen = np.zeros(len(names), np.int64)
        for part in PARTS:
            seen[np.unique(area[getattr(split, part)])] += 1
        torn |= seen > 1
    return [str(name) for name in names[torn]]


def split_notes(
    splits: Sequence[Split],
    areas: ArrayLike,
    deciles: ArrayLike,
    outcomes: Sequence[str],
) -> tuple[str, ...]:
    """Say what of a split a reader of its results must know, a line each.

    That areas are in two parts (then results are better than they are elsewhere), how many
    locations no network is tested on, how many a buffer or a share leaves out of a split, and which
    classes a network never sees: the binomial head learns of them from their neighbours.
    """
    area, target = np.asarray(areas, object), np.asarray(deciles, np.float64)
    notes = []
    torn = areas_in_two_parts(splits, area)
    if torn:
        notes.append(
            f"{len(torn):,} areas are in two parts of a split, so networks are tested on areas "
            "that they have seen: results are better than they would be elsewhere"
        )
    tested = np.zeros(len(area), np.bool_)
    for split in splits:
        tested[split.test] = True
    if tested.any() and not tested.all():
        notes.append(f"{int((~tested).sum()):,} of {len(area):,} locations are never tested")
    for reason in dict.fromkeys(why for split in splits for why in split.excluded):
        counts = [len(split.excluded[reason]) for split in splits if reason in split.excluded]
        span = f"{min(counts):,}" + (f" to {max(counts):,}" if max(counts) > min(counts) else "")
        of = f"{len(counts)} of {len(splits)} splits" if len(splits) > 1 else "the split"
        notes.append(f"{span} locations are left out of {of}: {reason}")
    unseen = _unseen_classes(splits, target, outcomes)
    if unseen:
        more = f" (and {len(unseen) - 1} more like this)" if len(unseen) > 1 else ""
        notes.append(unseen[0] + more)
    return tuple(notes)


def _unseen_classes(
    splits: Sequence[Split], target: NDArray[np.float64], outcomes: Sequence[str]
) -> list[str]:
    found = []
    for outcome, column in zip(outcomes, target.T, strict=True):
        known = set(np.unique(column[~np.isnan(column)]))
        for split in splits:
            seen = np.unique(column[split.training])
            absent = sorted(known - set(seen)) if len(split.training) else []
            found += [
                f"{split.name} learns from no area of decile {decile:g} of '{outcome}'"
                for decile in absent
            ]
    return found


def _reasons(frame: pd.DataFrame) -> NDArray[np.object_]:
    """Why each row is left out, for those that are."""
    plain = "the stored split leaves it out"
    if "reason" not in frame:
        return np.full(len(frame), plain, object)
    reason = frame["reason"].astype(object)
    found: NDArray[np.object_] = reason.where(reason.notna(), plain).to_numpy(object)
    return found


def _require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame:
            raise InputError(
                "stored splits", f"there is no column '{column}'", closest(column, frame.columns)
            )


def _twice(keys: pd.Index) -> InputError:
    return InputError(
        "stored splits",
        f"location '{keys[keys.duplicated()][0]}' is there twice",
        "keep one of the rows",
    )


def _strangers(stored: pd.Index, ids: pd.Index) -> InputError:
    example = f"they have '{stored[0]}', the study '{ids[0]}'" if len(stored) and len(ids) else ""
    return InputError("stored splits", "none of their locations is one of this study's", example)
