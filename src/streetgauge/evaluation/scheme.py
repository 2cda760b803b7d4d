"""How areas came to be tested: by which scheme, and by networks that had been trained on which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.settings import FoldSettings

TRAINED = ("training", "validation")
CAUTION = (
    "The networks were trained on other locations of the very areas that they were tested on: "
    "these figures leak. They are better than any for areas that are not known, and are no result."
)
KNOWN = (
    "The model that was started from had been trained on {known:,} of the {tested:,} areas that "
    "were tested, by their codes: if they are these, they are not held out, and the figures are "
    "better than any for areas that are not known."
)
# What of the settings belongs to a scheme.
_OWN = {
    "k-fold": ("k",),
    "blocks": ("k", "block"),
    "leave-one-group-out": ("group",),
    "train-validation-test": ("test",),
    "train-test": ("test",),
    "by-class": ("outcome", "classes"),
}


def describe_scheme(
    settings: FoldSettings,
    parts: int,
    split_areas: int = 0,
    known_areas: int | None = 0,
    tested: int = 0,
) -> dict[str, Any]:
    """Report how areas were held out, for `evaluate` and for all who quote its figures.

    Parameters
    ----------
    settings : FoldSettings
        The study's.
    parts : int
        How many parts were tested: folds, groups, or 1; 0 if nothing was.
    split_areas : int
        How many areas were tested by networks that knew some of their locations.
    known_areas : int or None
        How many of the tested areas the model that was started from had been trained on; None if
        that model has not stored its areas.
    tested : int
        How many areas were tested; needed where there are known areas.

    Returns
    -------
    dict
        JSON-clean. ``name`` (of the scheme; ``stored`` if a file said how), what belongs to it (as
        ``block``), ``unit``, ``buffer`` (metres), ``train_size``, ``parts``, ``split_areas``,
        ``whole_areas`` (whether there is none), ``known_areas`` and ``tested`` where the former is
        not 0, ``description``, and ``caution``, a sentence that
        must stand next to the figures, or None.
    """
    name = "stored" if settings.file is not None else settings.scheme
    own = settings.model_dump(mode="json", include=set(_OWN.get(name, ())))
    if settings.file is not None:
        own["file"] = settings.file.name
    words = _in_words(name, settings, parts, known_areas, tested)
    if settings.buffer and parts:
        words += f" with a buffer of {_distance(settings.buffer)}"
    if settings.train_size < 1 and parts:
        share = f"{100 * settings.train_size:.3g}%"
        words += f", trained on {share} of the other {settings.train_size_unit}"
    cautions = [CAUTION] if split_areas else []
    if known_areas:
        cautions.append(KNOWN.format(known=known_areas, tested=tested))
    return {
        "name": name,
        **own,
        "unit": settings.unit,
        "buffer": settings.buffer,
        "train_size": settings.train_size,
        "train_size_unit": settings.train_size_unit,
        "parts": parts,
        "split_areas": split_areas,
        "whole_areas": not split_areas,
        **({} if known_areas == 0 else {"known_areas": known_areas, "tested": tested}),
        "description": words,
        "caution": " ".join(cautions) or None,
    }


def _in_words(
    name: str, settings: FoldSettings, parts: int, known_areas: int | None, tested: int
) -> str:
    if not parts:
        return "nothing tested"
    folds = f"{parts} folds" if parts > 1 else "one fold"
    if name == "blocks" and settings.block is not None:
        whole = "" if settings.unit == "area" else f", each {settings.unit} in one block"
        return f"spatial block cross-validation ({_distance(settings.block)}, {folds}{whole})"
    if name == "leave-one-group-out":
        return f"leave-one-{settings.group}-out cross-validation ({folds})"
    if name in ("train-validation-test", "train-test"):
        share = f"{100 * settings.test:.3g}%"
        return f"one random test set ({share}, by {settings.unit})"
    if name == "by-class":
        of = " and ".join(map(str, settings.classes))
        return f"one test set, the areas in class {of} of {settings.outcome}"
    if name == "test-only":
        if known_areas is None:
            return "all areas tested with a model that does not state which areas it was trained on"
        whom = f"{known_areas:,} of these {tested:,}" if known_areas else "none of them"
        return f"all areas tested with a model that was trained on {whom}"
    folded = f"{parts}-fold cross-validation" if parts > 1 else "one fold of cross-validation"
    source = "" if settings.file is None else f", with the folds of {settings.file.name}"
    return f"{folded} by {settings.unit}{source}"


def _distance(metres: float) -> str:
    """Write a distance in km, or in metres where it is shorter."""
    return f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"


def training_areas(splits: pd.DataFrame, deciles: pd.DataFrame) -> pd.DataFrame:
    """List the areas that each fold's network could be trained on, with their deciles.

    Parameters
    ----------
    splits : DataFrame
        ``area, fold, part`` of every location; parts ``training`` and ``validation`` are used,
        of the splits that test anything (fold 1..).
    deciles : DataFrame by area
        A column for every outcome; missing where an area has no decile.

    Returns
    -------
    DataFrame
        ``fold, area, outcome, decile`` (int64), without areas that have none.
    """
    used = splits[(splits["fold"] > 0) & splits["part"].isin(TRAINED)]
    pairs = used[["fold", "area"]].drop_duplicates()
    labels = deciles.rename_axis("area").reset_index()
    labels = labels.melt("area", var_name="outcome", value_name="decile").dropna(subset="decile")
    found = pairs.merge(labels.astype({"decile": "int64"}), on="area")
    return found.sort_values(["fold", "outcome", "area"], ignore_index=True)


def split_areas(splits: pd.DataFrame) -> list[str]:
    """Name the areas that no network was tested on as a whole without training on them.

    Parameters
    ----------
    splits : DataFrame
        ``area, split, part`` of every location.

    Returns
    -------
    list of str
        Areas with locations in the test parts of several splits, or in a test part and in what the
        same network was trained on; sorted. None, unless splits are made to leak.
    """
    tested = splits.loc[splits["part"] == "test", ["split", "area"]].drop_duplicates()
    trained = splits.loc[splits["part"].isin(TRAINED), ["split", "area"]].drop_duplicates()
    several = tested["area"][tested["area"].duplicated()]
    known = tested.merge(trained, on=["split", "area"])["area"]
    return sorted({*several, *known})


def class_counts(predictions: pd.DataFrame, classes: int = 10) -> dict[str, Sequence[int]]:
    """Count the tested areas in each actual class: `aggregate` takes it as ``counts``.

    Where only areas of some classes are tested, as ``by-class`` does, cutting them into classes of
    equal count would put most of them where none belongs.

    Parameters
    ----------
    predictions : DataFrame
        ``area, outcome, actual_decile`` of every location.
    classes : int, default 10
        The highest class.

    Returns
    -------
    dict of outcome to list of int
        For outcomes with an actual class.
    """
    known = predictions.dropna(subset="actual_decile").drop_duplicates(["outcome", "area"])
    counts: Mapping[Any, pd.Series] = dict(iter(known.groupby("outcome")["actual_decile"]))
    return {
        str(outcome): np.bincount(actual.to_numpy(np.int64), minlength=classes + 1)[1:].tolist()
        for outcome, actual in counts.items()
    }
