"""Figures of a whole study: what images add, how training went, what more data would bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.report import text as words
from streetgauge.report.figures.drawing import (
    BLUE,
    COLUMN,
    GREY,
    INK,
    ORANGE,
    PAGE,
    Sketch,
    below,
    name_rows,
    new,
    plain,
    short,
)
from streetgauge.settings import FOLD_KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["added", "less_data", "methods", "sources", "training", "transfer"]

MARKS = {"random": (ORANGE, "s"), "spatial": (BLUE, "o")}  # by kind of folds
OTHER = (GREY, "D")
# By what a method sees: its colour and mark.
SEEN = {
    "without images": (GREY, "D"),
    "other learners, with images": (ORANGE, "s"),
    "images alone": (BLUE, "o"),
    "best estimate": (INK, "^"),
}
# By which sources were used: colour, mark and shift of the row.
USED = {
    "alone": (ORANGE, "s", -0.12),
    "all but it": (GREY, "D", 0.12),
    "all together": (BLUE, "o", 0.0),
}
ENDS = {"value": "", "low": "_low", "high": "_high"}
ACROSS = 4  # panels of small multiples
METRICS = {"mae": "Mean absolute error ({many})", "spearman": "Spearman’s ρ"}


def added(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> Sketch | None:
    """Draw what the images add to the best baseline without any, in every kind of folds."""
    cells = [
        {"outcome": name, "folds": kind, "metric": metric, "areas": cell["n_areas"]}
        | {k: cell[metric][k] for k in ("value", "low", "high", "over", "images", "baseline")}
        for name in labels
        for kind, cell in metrics.get("headline", {}).get(name, {}).items()
        if cell is not None
        for metric in METRICS
    ]
    table = pd.DataFrame(cells)
    if table.empty or table["value"].isna().all():
        return None
    _, many = words.unit(int(metrics["classes"]))
    names = [name for name in labels if name in set(table["outcome"])]
    kinds = [kind for kind in FOLD_KINDS if kind in set(table["folds"])]
    kinds += [kind for kind in dict.fromkeys(table["folds"]) if kind not in FOLD_KINDS]
    canvas, panels = new(PAGE, 1.05 + 0.36 * len(names), 1, 2)
    for axes, metric, what in zip(
        panels, METRICS, (f"Less error ({many})", "More rank agreement (Spearman’s ρ)"), strict=True
    ):
        axes.axvline(0, color=GREY, lw=0.8)
        for i, kind in enumerate(kinds):
            colour, mark = MARKS.get(kind, OTHER)
            label = FOLD_KINDS.get(kind, f"{plain(kind)} folds")
            own = table[(table["folds"] == kind) & (table["metric"] == metric)]
            own = own.dropna(subset=["value"])
            y = own["outcome"].map(names.index) + 0.22 * (i - (len(kinds) - 1) / 2)
            axes.hlines(
                y, own["low"].astype(float), own["high"].astype(float), color=colour, lw=1.4
            )
            # Filled and hollow, so that they are apart in grey too.
            axes.plot(
                own["value"].astype(float),
                y,
                mark,
                ms=4.5,
                mec=colour,
                mew=1.1,
                mfc="white" if i else colour,
                label=label,
            )
        axes.set(xlabel=what, ylim=(len(names) - 0.5, -0.5))
        row_names = [short(labels[name], 24, lines=2) for name in names]
        name_rows(axes, range(len(names)), row_names if axes is panels[0] else None)
    below(canvas, panels[0], len(kinds))
    both = [metrics, *([metrics["other_folds"]] if "other_folds" in metrics else [])]
    held = [each["scheme"]["description"] for each in both]
    return Sketch(
        canvas,
        table,
        "What the images add to the best baseline without them",
        "How much less predictions from images err, and how much better they rank the areas, than "
        "the best baseline without images. It is chosen for each outcome, metric and kind of "
        f"folds by its result. Lines are paired {words.percent(metrics['interval_level'])} "
        f"intervals. Right of zero, images are better. Folds: {'; '.join(dict.fromkeys(held))}.",
    )


def methods(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> Sketch | None:
    """Draw the mean absolute error of each method, without and with images, for each outcome."""
    table = pd.DataFrame(
        [row for name in labels for row in _errors(name, metrics["outcomes"][name])]
    )
    if table.empty or table["seen"].nunique() < 2:
        return None
    names = [name for name in labels if name in set(table["outcome"])]
    rows = list(dict.fromkeys(table.sort_values("rank", kind="stable")["method"]))
    across = min(3, len(names))
    down = -(-len(names) // across)
    canvas, panels = new(PAGE, 0.9 + down * (0.45 + 0.17 * len(rows)), down, across)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for i, (axes, name) in enumerate(zip(panels, names, strict=False)):
        for seen, (colour, mark) in SEEN.items():
            own = table[(table["outcome"] == name) & (table["seen"] == seen)]
            y, ends = own["method"].map(rows.index), own[["low", "high"]].astype(float)
            axes.hlines(y, ends["low"], ends["high"], color=colour, lw=1.2)
            # One is hollow, so that all are apart in grey too.
            fill = "white" if mark == "s" else colour
            mae = own["mae"].astype(float)
            if len(own):
                axes.plot(mae, y, mark, ms=4, mec=colour, mew=1.1, mfc=fill, label=seen)
        axes.set_title(short(labels[name], 24, lines=2))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        shown = [row.replace("-", " ").capitalize() for row in rows]
        name_rows(axes, range(len(rows)), None if i % across else shown)
    _, many = words.unit(int(metrics["classes"]))
    canvas.supxlabel(METRICS["mae"].format(many=many), size=8)
    below(canvas, panels[0], len(SEEN), above=True)
    return Sketch(
        canvas,
        table.drop(columns="rank"),
        "How far off each method is",
        f"Mean absolute error in {many}, by method, on the same areas. The one with kriging uses "
        "places as well as images. The best estimate uses all that is known. Lines are "
        f"{words.percent(metrics['interval_level'])} intervals. Left is better. Folds: "
        f"{metrics['scheme']['description']}.",
    )


def sources(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> Sketch | None:
    """Draw how well each source of several ranks the areas: alone, all together, all but it."""
    found = {n: each for n in labels if (each := metrics["outcomes"][n].get("sources"))}
    rows = []
    for outcome, each in found.items():
        parts = [("alone", n, f) for n, f in each["alone"].items()]
        without = each["without"] if len(each["alone"]) > 2 else {}
        parts += [("all but it", n, f) for n, f in without.items()]
        parts.append(("all together", "all", each["together"]))
        rows += [
            {"outcome": outcome, "used": used, "source": source, "areas": each["n_areas"]}
            | {f"{m}{end}": f[m][k] for m in METRICS for k, end in ENDS.items()}
            for used, source, f in parts
        ]
    table = pd.DataFrame(rows)
    if table.empty or table["spearman"].isna().all():
        return None
    names = [*dict.fromkeys(table["source"])]
    across = min(3, len(found))
    down = -(-len(found) // across)
    canvas, panels = new(PAGE, 0.9 + down * (0.45 + 0.24 * len(names)), down, across)
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    for i, (axes, outcome) in enumerate(zip(panels, found, strict=False)):
        for used, (colour, mark, shift) in USED.items():
            own = table[(table["outcome"] == outcome) & (table["used"] == used)]
            if own.empty:
                continue
            y = own["source"].map(names.index) + shift
            ends = own[["spearman_low", "spearman_high"]].astype(float)
            axes.hlines(y, ends["spearman_low"], ends["spearman_high"], color=colour, lw=1.2)
            fill = "white" if mark == "s" else colour
            rho = own["spearman"].astype(float)
            axes.plot(rho, y, mark, ms=4, mec=colour, mew=1.1, mfc=fill, label=used)
        axes.set_title(short(labels[outcome], 24, lines=2))
        axes.set_ylim(len(names) - 0.5, -0.5)
        name_rows(axes, range(len(names)), None if i % across else [short(n, 24) for n in names])
    canvas.supxlabel(METRICS["spearman"], size=8)
    below(canvas, panels[0], len(USED), above=True)
    return Sketch(
        canvas,
        table,
        "What each source of features adds",
        "Spearman’s ρ of predicted and actual areas from each source alone and from all together. "
        "Of three sources or more, also from all but the one that is named. All use the same "
        f"Gaussian processes and folds, with {words.percent(metrics['interval_level'])} intervals.",
    )


def _errors(outcome: str, evaluation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give each method's error and interval, chance excluded: it is too far off to draw."""
    groups = (evaluation.get("baselines") or {}, evaluation.get("with_images") or {})
    for rank, (seen, group) in enumerate(zip(SEEN, groups, strict=False)):
        for method, each in group.items():
            if method != "random" and each.get("mae") is not None:
                ends = each.get("mae_interval") or {}
                yield {"outcome": outcome, "method": method, "seen": seen, "rank": rank} | {
                    "mae": each["mae"],
                    "low": ends.get("low"),
                    "high": ends.get("high"),
                }
    last = {"images": evaluation, "best-estimate": evaluation.get("best") or {}}
    for rank, (seen, (method, each)) in enumerate(zip([*SEEN][2:], last.items(), strict=True), 8):
        mae = each.get("metrics", {}).get("mae") or {}
        if mae.get("value") is not None:
            own = {"mae": mae["value"], "low": mae["low"], "high": mae["high"]}
            yield {"outcome": outcome, "method": method, "seen": seen, "rank": rank} | own


def training(history: pd.DataFrame, metric: str, labels: Mapping[str, str]) -> Sketch | None:
    """Draw the course of the training: ``loss`` or ``tau``, a panel for each outcome.

    Parameters
    ----------
    history : DataFrame
        A row for each evaluation step and outcome: ``split``, ``member``, ``epoch``,
        ``outcome``, ``train_loss``, ``validation_loss``, ``validation_tau``.
    metric : str
    labels : mapping of outcome to str
    """
    columns = {"loss": ["train_loss", "validation_loss"], "tau": ["validation_tau"]}[metric]
    needed = {"split", "member", "epoch", "outcome", *columns}
    if history.empty or not needed <= set(history.columns):
        return None
    keys = ["outcome", "split", "epoch"]
    mean = history.groupby(keys, sort=True)[columns].mean()
    mean = mean.dropna(how="all").reset_index()
    names = [name for name in labels if name in set(mean["outcome"])]
    if not names or mean[columns].isna().all(axis=None):
        return None
    canvas, panels = _grid(
        [labels[name] for name in names],
        "Loss" if metric == "loss" else "Kendall’s τ",
        "Epoch",
        heights=(2.8, 1.55),
    )
    drawn = [("validation_tau", "-", BLUE, "validation part")]
    if metric == "loss":
        drawn = [
            ("validation_loss", "-", BLUE, "validation part"),
            ("train_loss", "--", ORANGE, "training part"),
        ]
    for axes, name in zip(panels, names, strict=False):
        rows = mean[mean["outcome"] == name]
        for column, style, colour, label in drawn:
            if mean[column].isna().all():
                continue
            for _, own in rows.groupby("split", sort=True):
                axes.plot(own["epoch"], own[column], style, lw=0.5, color=colour, alpha=0.45)
            middle = _middle(rows, column)
            axes.plot(middle.index, middle, style, lw=1.6, color=colour, label=label)
        axes.set_ylim(*_limits(rows[columns]))
        axes.margins(x=0.02)
    below(canvas, panels[0], 2, above=True)
    parts = mean["split"].nunique()
    what = "Loss" if metric == "loss" else "Rank agreement (Kendall’s tau) on the validation part"
    return Sketch(
        canvas,
        mean,
        f"The course of the training: {'loss' if metric == 'loss' else 'rank agreement'}",
        f"{what} by epoch. Thin: each of {words.plural(parts, 'training')} (mean of its networks)."
        " Thick: their median, as far as half of them went. Training stops for an outcome when the "
        "validation loss no longer falls.",
    )


def transfer(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> Sketch | None:
    """Draw what labels are worth with a model of another city, and without one."""
    about = metrics.get("transfer") or {}
    table = _points(about.get("points", ()), ["share", "start"])
    if table.empty:
        return None
    starts = {
        "tuned": (BLUE, "o", "-", "from the other city’s model"),
        "scratch": (ORANGE, "s", "--", "from no model"),
    }
    drawn = _multiples(
        table,
        labels,
        _Axes("spearman", "share", METRICS["spearman"], "Share of the areas with labels"),
        starts,
    )
    return Sketch(
        drawn,
        table,
        "What labels are worth with a model of another city",
        "Spearman’s ρ of predicted and actual classes against the share of the areas used in "
        "training. One curve begins from the model of another city, one from no model. "
        f"Bands are {words.percent(about.get('interval_level', 0.9))} intervals. The test areas "
        "are the same.",
    )


def less_data(
    curves: Mapping[str, Any] | None, by: str, labels: Mapping[str, str]
) -> Sketch | None:
    """Draw how good the study would be with fewer areas, locations or views."""
    axis = {
        "areas": ("n_training_areas", "Training areas"),
        "locations": ("locations_per_area", "Locations an area"),
        "views": ("views_per_location", "Views a location"),
    }
    column, what = axis[by]
    points = [p for p in (curves or {}).get("points", ()) if p.get("by") in (by, "all")]
    table = _points(points, ["by", "value", column])
    if table.empty or set(table["by"]) == {"all"}:
        return None
    _, many = words.unit(int((curves or {}).get("classes", 10)))
    style = {"": (BLUE, "o", "-", "")}
    axes = _Axes("mae", column, METRICS["mae"].format(many=many), what, logarithmic=True)
    drawn = _multiples(table.assign(start=""), labels, axes, style)
    less = {
        "areas": "fewer training areas",
        "locations": "fewer locations in every area",
        "views": "fewer views of every location",
    }[by]
    interval_level = words.percent((curves or {}).get("interval_level", 0.9))
    return Sketch(
        drawn,
        table,
        f"How good this would be with {less}",
        f"Mean absolute error with {less}, on the same test areas, with {interval_level} "
        "intervals. The last point uses everything.",
    )


def _points(points: Any, keys: list[str]) -> pd.DataFrame:
    """Put points of a curve into a table: ``outcome``, the keys, and metrics with intervals."""
    rows = []
    for point in points:
        row = {"outcome": point["outcome"]} | {key: point.get(key) for key in keys}
        for metric in METRICS:
            each = point.get(metric) or {}
            row |= {
                metric: each.get("value"),
                f"{metric}_low": each.get("low"),
                f"{metric}_high": each.get("high"),
            }
        rows.append(row)
    table = pd.DataFrame(rows)
    numbers = [c for c in table.columns if c.startswith(tuple(METRICS))]
    table[numbers] = table[numbers].astype("float64")
    return table


@dataclass(frozen=True)
class _Axes:
    """What a curve is drawn against: columns of the table, and their names for people."""

    metric: str
    x: str
    metric_label: str
    x_label: str
    logarithmic: bool = False


def _multiples(
    table: pd.DataFrame,
    labels: Mapping[str, str],
    curve: _Axes,
    styles: Mapping[str, tuple[str, str, str, str]],
) -> Canvas:
    """Draw a curve with intervals for each outcome and start."""
    names = [name for name in labels if name in set(table["outcome"])]
    canvas, panels = _grid(
        [labels[name] for name in names], curve.metric_label, curve.x_label, heights=(2.6, 1.6)
    )
    for axes, name in zip(panels, names, strict=False):
        rows = table[table["outcome"] == name]
        for start, (colour, mark, line, label) in styles.items():
            own = rows[rows["start"] == start].dropna(subset=[curve.metric, curve.x])
            own = own.sort_values(curve.x)
            x, low, high = own[curve.x].astype(float), f"{curve.metric}_low", f"{curve.metric}_high"
            axes.fill_between(x, own[low], own[high], color=colour, alpha=0.18, lw=0)
            axes.plot(
                x,
                own[curve.metric],
                marker=mark,
                ls=line,
                ms=3.6,
                color=colour,
                mec="white",
                mew=0.5,
                label=label,
            )
        if curve.logarithmic:
            axes.set_xscale("log")
            ticks = sorted(set(rows[curve.x].astype(float)))
            axes.set_xticks(ticks, [f"{t:.3g}" if t < 1000 else f"{t:,.0f}" for t in ticks])
            axes.minorticks_off()
        else:
            axes.set_xscale("function", functions=(_root, np.square))
            axes.set_xticks([0, 0.05, 0.25, 1], ["0", "5%", "25%", "100%"])
    if len(styles) > 1:
        below(canvas, panels[0], len(styles), above=True)
    return canvas


def _grid(
    titles: Sequence[str], y_label: str, x_label: str, *, heights: tuple[float, float]
) -> tuple[Canvas, Sequence[Axes]]:
    """Start small multiples, a panel for each title; ``heights`` of one panel, and of a row."""
    across = min(ACROSS, len(titles))
    down = -(-len(titles) // across)
    height = heights[0] if across == 1 else 0.5 + (heights[1] if across > 2 else 2.3) * down
    canvas, panels = new(COLUMN if across == 1 else PAGE, height, down, across)
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(short(title, 21 if across > 2 else 50, lines=2))
    for axes in panels[len(titles) :]:
        axes.set_visible(False)
    for axes in panels[: len(titles) : across]:
        axes.set_ylabel(y_label)
    canvas.supxlabel(x_label, size=8)
    return canvas, panels


def _middle(rows: pd.DataFrame, column: str) -> pd.Series:
    """Take the median over the trainings, as far as half of them went."""
    wide = rows.pivot_table(index="epoch", columns="split", values=column, sort=True)
    enough = wide.notna().sum(axis=1) * 2 >= wide.shape[1]
    return wide[enough].median(axis=1)


def _limits(values: pd.DataFrame) -> tuple[float, float]:
    """Leave out the first steps, which are far off, where they would fill the panel."""
    numbers = values.to_numpy(float)
    numbers = numbers[np.isfinite(numbers)]
    low, high = numbers.min(), min(numbers.max(), np.quantile(numbers, 0.98) * 1.05)
    high = max(float(high), float(low) + 1e-6)
    return float(low - 0.05 * (high - low)), float(high + 0.05 * (high - low))


def _root(x: Any) -> Any:
    return np.sqrt(np.maximum(x, 0))
