"""Figures of the classes that are predicted for one outcome: how right, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.report import text as words
from streetgauge.report.figures.drawing import (
    BLUE,
    COLUMN,
    GREY,
    INK,
    MOST_POINTS,
    PALE,
    Sketch,
    apart,
    below,
    new,
    plain,
    upright,
)

__all__ = ["agreement", "confusion", "reliability"]

MOST_NUMBERS = 15  # classes, beyond which cells are too small for numbers
BINS = 10
DRAWS = 500


def confusion(evaluation: Mapping[str, Any], classes: int, label: str) -> Sketch | None:
    """Count the areas by actual and predicted class."""
    count = np.asarray(evaluation["confusion"], dtype=np.int64)
    if not count.sum():
        return None
    one, many = words.unit(classes)
    of_actual = count.sum(1, keepdims=True)
    share = np.divide(count, of_actual, out=np.zeros(count.shape), where=of_actual > 0)
    actual, predicted = np.indices(count.shape).reshape(2, -1) + 1
    table = pd.DataFrame(
        {
            "actual": actual,
            "predicted": predicted,
            "areas": count.ravel(),
            "share_of_actual": share.ravel(),
        }
    )
    canvas, (axes,) = new(COLUMN, 3.35)
    at = np.arange(classes + 1) + 0.5
    top = max(float(share.max()), 1e-9)
    mesh = axes.pcolormesh(
        at, at, share, cmap="Blues", vmin=0, vmax=top, edgecolors="white", linewidth=0.8
    )
    for k in range(classes):
        axes.add_patch(_cell_outline(k + 0.5))
        for j in range(classes):
            if count[k, j] and classes <= MOST_NUMBERS:
                dark = share[k, j] > 0.6 * top
                axes.text(
                    j + 1,
                    k + 1,
                    f"{count[k, j]}",
                    ha="center",
                    va="center",
                    size=min(7, 70 / classes),
                    color="white" if dark else INK,
                )
    axes.set(aspect="equal", xlabel=f"Predicted {one}", ylabel=f"Actual {one}")
    axes.invert_yaxis()
    _class_ticks(axes, classes)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = canvas.colorbar(mesh, ax=axes, shrink=0.8, aspect=28, pad=0.02)
    bar.ax.yaxis.set_major_formatter(_percent)
    bar.set_label(f"Share of the areas of an actual {one}", size=7)
    bar.outline.set_visible(False)
    exact, mae = evaluation["metrics"]["exact"]["value"], evaluation["metrics"]["mae"]["value"]
    return Sketch(
        canvas,
        table,
        f"{label}: areas by actual and predicted {one}",
        f"{plain(label)}: number of areas by actual (rows) and predicted (columns) {one}. "
        f"Shade: share of the areas of that actual {one}. Outlined: the same {one}. "
        f"{words.plural(int(count.sum()), 'area')}, {words.percent(exact)} of them in the same "
        f"{one}, mean absolute error {words.number(mae)} {many}.",
    )


def agreement(
    rows: pd.DataFrame, evaluation: Mapping[str, Any], metrics: Mapping[str, Any], label: str
) -> Sketch | None:
    """Draw predicted against actual class, with the areas' intervals."""
    classes = int(metrics["classes"])
    known = _measured(rows)
    if known.empty:
        return None
    one, _ = words.unit(classes)
    table = _by_actual(known)
    canvas, (axes,) = new(COLUMN, 3.35)
    axes.plot(
        [1, classes], [1, classes], color=GREY, lw=0.8, ls=(0, (4, 3)), label=f"the same {one}"
    )
    has = table["mean_low"].notna()
    at = table.loc[has, "actual"]
    if has.any():
        axes.vlines(
            at,
            table.loc[has, "mean_low"],
            table.loc[has, "mean_high"],
            color=PALE,
            lw=5,
            label=f"mean interval ({words.percent(metrics['interval_level'])})",
            zorder=1,
        )
    axes.vlines(
        table["actual"],
        table["lower_quartile"],
        table["upper_quartile"],
        color=BLUE,
        lw=2,
        label="middle half predicted",
        zorder=3,
    )
    if len(known) <= MOST_POINTS:
        x, y = apart(known["actual_decile"], 0.3), apart(known["decile"], 0.3, second=True)
        axes.plot(x, y, ".", ms=2.6, mec="none", color=GREY, alpha=0.6, zorder=2, label="an area")
    axes.plot(
        table["actual"],
        table["mean_predicted"],
        "o",
        ms=4,
        color=BLUE,
        mec="white",
        mew=0.6,
        label="mean predicted",
        zorder=4,
    )
    axes.set(
        xlabel=f"Actual {one}",
        ylabel=f"Predicted {one}",
        aspect="equal",
        xlim=(0.4, classes + 0.6),
        ylim=(0.4, classes + 0.6),
    )
    _class_ticks(axes, classes)
    below(canvas, axes, 2)
    rho = evaluation["metrics"]["spearman"]
    upright(
        axes,
        f"Spearman’s ρ {words.number(rho['value'])}"
        + (f" ({words.span(rho)})" if words.span(rho) else ""),
    )
    held = evaluation.get("intervals") or {}
    note = ""
    if held.get("share") is not None:
        note = (
            f" The {words.percent(held['level'])} intervals hold the actual {one} of "
            f"{words.percent(held['share'])} of the areas."
        )
    return Sketch(
        canvas,
        table,
        f"{label}: predicted against actual {one}",
        f"{plain(label)}: predicted against actual {one} of {words.plural(len(known), 'area')}. "
        f"For each actual {one}: mean and middle half of the predictions, and mean ends of the "
        f"areas’ intervals. Spearman’s ρ {words.number(rho['value'])}.{note}",
    )


def reliability(
    rows: pd.DataFrame,
    evaluation: Mapping[str, Any],
    metrics: Mapping[str, Any],
    label: str,
    seed: int = 0,
) -> Sketch | None:
    """Compare stated probabilities with how often it was so."""
    classes = int(metrics["classes"])
    columns = [f"p{k}" for k in range(1, classes + 1)]
    known = _measured(rows)
    if classes < 2 or known.empty or not set(columns) <= set(known.columns):
        return None
    known = known.dropna(subset=columns)
    if known.empty:
        return None
    one, _ = words.unit(classes)
    table = _by_probability(known, columns, float(metrics["interval_level"]), seed)
    canvas, (axes, counted) = new(COLUMN, 3.5, 2, heights=(5, 1))
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=(0, (4, 3)), label="perfectly calibrated")
    axes.vlines(
        table["mean_probability"],
        table["low"],
        table["high"],
        color=BLUE,
        lw=1,
        label=f"its {words.percent(metrics['interval_level'])} interval",
    )
    axes.plot(
        table["mean_probability"],
        table["share"],
        "o-",
        ms=4,
        lw=0.8,
        color=BLUE,
        mec="white",
        mew=0.6,
        label="observed share",
    )
    axes.set(ylabel="Observed share of areas", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ideal, interval, observed = axes.get_legend_handles_labels()[0]
    axes.legend(handles=[ideal, observed, interval], loc="upper left")
    axes.tick_params(labelbottom=False)
    counted.bar(
        (table.index + 0.5) / BINS,
        table["statements"] / table["statements"].sum(),
        width=0.8 / BINS,
        color=PALE,
    )
    counted.set(
        xlim=(-0.02, 1.02),
        xlabel=f"Stated probability of “{one} k or less”",
        ylabel="Share of\nstatements",
    )
    counted.yaxis.set_major_formatter(_percent)
    stated_error = (evaluation.get("probabilities") or {}).get("areas", {}).get("calibration_error")
    note = "" if stated_error is None else f" Calibration error {words.number(stated_error, 3)}."
    return Sketch(
        canvas,
        table,
        f"{label}: reliability of the probabilities",
        f"{plain(label)}: how often an area’s actual {one} was k or less, against the stated "
        f"probability of that. All k from 1 to {classes - 1} are taken together. Intervals come "
        f"from resampling the {words.plural(len(known), 'area')}. The lower panel shows how often "
        f"each probability is stated.{note}",
    )


def _by_actual(known: pd.DataFrame) -> pd.DataFrame:
    """Sum up the predictions and intervals of the areas of each actual class."""
    grouped = known.groupby("actual_decile", sort=True)
    return pd.DataFrame(
        {
            "areas": grouped.size(),
            "mean_predicted": grouped["decile"].mean(),
            "lower_quartile": grouped["decile"].quantile(0.25),
            "median": grouped["decile"].median(),
            "upper_quartile": grouped["decile"].quantile(0.75),
            "mean_low": grouped["low"].mean(),
            "mean_high": grouped["high"].mean(),
            "share_within_interval": grouped["inside"].mean(),
        }
    ).reset_index(names="actual")


def _by_probability(
    known: pd.DataFrame, columns: list[str], interval_level: float, seed: int
) -> pd.DataFrame:
    """Count how often it was so, by the probability stated, with intervals from drawn areas."""
    classes = len(columns)
    upto = np.cumsum(known[columns].to_numpy(float), axis=1)[:, :-1].clip(0, 1)
    happened = known["actual_decile"].to_numpy(np.int64)[:, None] <= np.arange(1, classes)
    bin_of = np.minimum((upto * BINS).astype(np.int64), BINS - 1)
    # By area and bin: how often, the probabilities' sum, and how often it was so.
    often, stated, was = np.zeros((3, len(known), BINS))
    for k in range(classes - 1):
        each = (np.arange(len(known)), bin_of[:, k])
        often[each] += 1
        stated[each] += upto[:, k]
        was[each] += happened[:, k]
    drawn = _drawn_again(len(known), seed)
    counts = drawn @ often
    shares = np.divide(drawn @ was, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    outside = (1 - interval_level) / 2
    used = often.sum(0) > 0
    low, high = np.nanquantile(shares[:, used], [outside, 1 - outside], axis=0)
    return pd.DataFrame(
        {
            "bin": [f"{b / BINS:.1f} to {(b + 1) / BINS:.1f}" for b in np.flatnonzero(used)],
            "statements": often.sum(0)[used].astype(np.int64),
            "mean_probability": stated.sum(0)[used] / often.sum(0)[used],
            "share": was.sum(0)[used] / often.sum(0)[used],
            "low": low,
            "high": high,
        },
        index=np.flatnonzero(used),
    )


@lru_cache(maxsize=1)
def _drawn_again(n: int, seed: int) -> Any:
    """How often each of n areas is in each of the draws: the same for outcomes of as many areas."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS)
    return drawn.astype(np.float64)


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the areas whose figures count, in the order of their codes."""
    known = rows[rows["decile"].notna() & rows["actual_decile"].notna()]
    if "status" in known:
        known = known[known["status"].isna() | (known["status"] == "measured")]
    known = known.sort_values("area")
    numbers = known[["decile", "actual_decile"]].astype("int64")
    low, high = (
        known[c].astype("Float64").astype("float64") if c in known else np.nan
        for c in ("low", "high")
    )
    known = known.assign(**numbers, low=low, high=high)
    inside = (known["low"] <= numbers["actual_decile"]) & (
        numbers["actual_decile"] <= known["high"]
    )
    return known.assign(inside=inside.astype("float64").where(known["low"].notna()))


def _cell_outline(corner: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((corner, corner), 1, 1, fill=False, ec=INK, lw=0.8)


def _class_ticks(axes: Any, classes: int) -> None:
    ticks = np.arange(1, classes + 1)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)


def _percent(value: float, _: float) -> str:
    return words.percent(value)
