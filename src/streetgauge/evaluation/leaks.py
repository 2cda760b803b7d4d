"""Leaks that shuffled labels cannot show: shared images, copied areas, outcomes as features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.settings import StudySettings
from streetgauge.splits.sharing import recognised_codes

Floats = NDArray[np.float64]

COUNTS = (
    *("tested", "images", "vectors", "either", "coordinates"),
    *("training_views", "training_shared"),
)
LARGE = 0.9  # |rho| that features of images hardly ever reach
SAME_ORDER = 0.999
COMPONENTS = 20
CHANCE = 0.01  # that any column exceeds LARGE without knowing the outcome


def shared_images(
    counts: Sequence[Mapping[str, int]] | None, setting: str
) -> dict[str, Any] | None:
    """Sum up what test and training parts share.

    Parameters
    ----------
    counts : sequence of mapping, optional
        From `count_shared`, of every split; None if they were not counted.
    setting : str
        ``shared_images`` under ``[folds]``.

    Returns
    -------
    dict or None
        JSON-clean: the sums, ``folds`` (the counts of each), ``shared_images`` and ``message``: a
        sentence, or None if nothing is shared.
    """
    if counts is None:
        return None
    total = {name: sum(each[name] for each in counts) for name in COUNTS}
    return {
        "shared_images": setting,
        **total,
        "message": _shared_message(total, setting),
        "folds": [dict(each) for each in counts],
    }


def _shared_message(total: Mapping[str, int], setting: str) -> str | None:
    """Report in a sentence or two what is shared, if anything is."""
    parts = []
    if total["either"]:
        views = f"{total['training_shared'] / total['training_views']:.1%} of the training views"
        done = (
            f"{views} are excluded for that"
            if setting == "exclude"
            else f"{views} are such copies and were trained on, so these figures may flatter: set "
            'shared_images = "exclude" under [folds]'
        )
        parts.append(
            f"{_of(total['either'], total)} have an image, or its features, in common with the "
            f"training part of their fold; {done}."
        )
    if total["coordinates"]:
        parts.append(
            f"{_of(total['coordinates'], total)} have the coordinates of a location of the "
            "training part: check which area such locations belong to."
        )
    return " ".join(parts) or None


def _of(count: int, total: Mapping[str, int]) -> str:
    return f"{count:,} of {total['tested']:,} tested locations ({count / total['tested']:.1%})"


def feature_leaks(
    features: pd.DataFrame, values: pd.DataFrame, source: str, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Find features that know an outcome too well, and areas that are copies of each other.

    Parameters
    ----------
    features : DataFrame by area
        Mean features, a column for each.
    values : DataFrame by area
        Values of the outcomes, a column for each, called as they are in sentences.
    source : str
        What the features come from.
    columns : sequence of str, optional
        Names of the features.

    Returns
    -------
    list of dict
        ``kind`` (``value``: a feature has the order of the outcome's own values; ``feature`` or
        ``component``: rho beyond .9; ``copies``), ``message``, and where they apply ``outcome``,
        ``column`` (1..), ``name``, ``spearman``, ``n_columns`` (how many exceed the limit),
        ``n_areas``. One for each outcome at most: the first kind that is found.
    """
    if features.empty:
        return []
    found = []
    # Ranks of many columns take long, and most outcomes are known of the same areas.
    ranked: dict[bytes, _Ranked] = {}
    for outcome in values:
        value = values[outcome].reindex(features.index).to_numpy(np.float64)
        known = ~np.isnan(value)
        key = known.tobytes()
        if key not in ranked:
            ranked[key] = _ranked(features.to_numpy(np.float64)[known])
        leak = _leak(ranked[key], value[known], columns)
        if leak is not None:
            leak["outcome"] = str(outcome)
            found.append({**leak, "message": _message(leak, source)})
    return [*found, *_copies(features, source)]


# Ranks of areas by each feature and by each component: kind and [A, n].
_Ranked = Sequence[tuple[str, Floats]]


def _ranked(vectors: Floats) -> _Ranked:
    """Rank areas by every feature and by their first principal components."""
    return [
        (kind, _unit_ranks(each))
        for kind, each in (("feature", vectors), ("component", _components(vectors)))
        if each.size
    ]


def _unit_ranks(values: Floats) -> Floats:
    """Rank the values of columns so that the product of two is Spearman's rho; 0 of a constant."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    norm = np.sqrt((ranks**2).sum(axis=0))
    return np.asarray(ranks / np.where(norm > 0, norm, 1))


def _leak(ranked: _Ranked, target: Floats, columns: Sequence[str] | None) -> dict[str, Any] | None:
    """Find the feature, or else the component, that knows an outcome best and too well."""
    for kind, ranks in ranked:
        rho = _unit_ranks(target) @ ranks
        over = np.abs(rho) > max(LARGE, _chance(*ranks.shape))
        if not over.any():
            continue
        best = int(np.abs(rho).argmax())
        leak: dict[str, Any] = {
            "kind": "value" if kind == "feature" and abs(rho[best]) > SAME_ORDER else kind,
            "column": best + 1,
            "spearman": float(rho[best]),
            "n_columns": int(over.sum()),
        }
        if kind == "feature" and columns is not None:
            leak["name"] = str(columns[best])
        return leak
    return None


def _components(vectors: Floats) -> Floats:
    """Give the areas' scores on the first principal components of standardised features."""
    from sklearn.utils.extmath import randomized_svd

    count = min(COMPONENTS, len(vectors) - 1, vectors.shape[1])
    if count < 1:
        return np.empty((len(vectors), 0))
    sd = vectors.std(axis=0)
    standard = (vectors - vectors.mean(axis=0)) / np.where(sd > 0, sd, 1)
    scores, size, _ = randomized_svd(standard, count, random_state=0)
    return np.asarray(scores * size)


def _chance(n: int, columns: int) -> float:
    """Give the |rho| that the largest of so many columns exceeds by chance once in 100 studies."""
    from scipy.stats import t as student

    if n < 4:
        return 1.0
    t = student.isf(CHANCE / (2 * max(columns, 1)), n - 2)
    return float(t / np.sqrt(n - 2 + t**2))


def _message(leak: Mapping[str, Any], source: str) -> str:
    named = f" ({leak['name']})" if "name" in leak else ""
    what = "Principal component" if leak["kind"] == "component" else "Feature column"
    more = leak["n_columns"] - 1
    others = f", and {more:,} more over {LARGE:g}" if more else ""
    who = f"{what} {leak['column']}{named} of {source}"
    rho = f"Spearman's rho {leak['spearman']:.3f}{others}"
    if leak["kind"] == "value":
        return (
            f"{who} puts areas in the order of {leak['outcome']} itself ({rho}): the outcome "
            "stands among the features; remove this column."
        )
    return (
        f"{who} puts areas nearly in the order of {leak['outcome']} ({rho}), as images hardly ever "
        "do: check that it was not made from the outcome, or remove it."
    )


def _copies(features: pd.DataFrame, source: str) -> Iterator[dict[str, Any]]:
    """Find areas that have exactly the features of another area."""
    vectors = features.to_numpy(np.float32)
    code = recognised_codes(vectors)
    same = (code >= 0) & (np.bincount(code + 1)[code + 1] > 1)
    if not same.any():
        return
    names = features.index.to_numpy(str)
    pair = names[code == code[same][0]][:2]
    count = int(same.sum())
    yield {
        "kind": "copies",
        "n_areas": count,
        "message": f"{count:,} areas have exactly the features of another area in {source} "
        f"({pair[0]} and {pair[1]}): one of them in training gives the other away; remove the "
        "copies, or hold them out together with `unit` under [folds].",
    }


def outcome_values(settings: StudySettings, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Give the values of outcomes by their labels, or deciles where there are no values.

    Parameters
    ----------
    settings : StudySettings
    outcomes : DataFrame by area
        ``<outcome>_value`` and ``<outcome>_decile``.
    """
    values = {}
    for name, outcome in settings.outcomes.items():
        value = outcomes[f"{name}_value"]
        known = value if value.notna().any() else outcomes[f"{name}_decile"]
        values[outcome.label or name] = known.astype("Float64").astype("float64")
    return pd.DataFrame(values, index=outcomes.index)
