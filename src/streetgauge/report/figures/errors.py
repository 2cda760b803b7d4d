"""Figures of the errors of one outcome: of which areas they are, and if they lie together."""

from __future__ import annotations

from collections.abc import Mapping
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
    ORANGE,
    PAGE,
    PALE,
    Sketch,
    apart,
    below,
    new,
    plain,
    short,
    upright,
)

__all__ = ["groups", "moran_scatter"]

MOST_GROUPS = 40  # units of one kind; the worst and the best half of that many are drawn
FIRST = {"deprivation": ("deprived", "middle", "affluent"), "images": ("few", "many")}


def groups(evaluation: Mapping[str, Any], metrics: Mapping[str, Any], label: str) -> Sketch | None:
    """Draw the error and the bias of kinds of areas and of every district."""
    kinds = evaluation.get("groups") or {}
    found = [
        {"kind": kind, "group": name, "areas": each["n_areas"]}
        | {
            f"{m}{e}": each[m][k]
            for m in ("mae", "bias")
            for k, e in (("value", ""), ("low", "_low"), ("high", "_high"))
        }
        for kind, members in kinds.items()
        for name, each in members.items()
        if each["n_areas"]
    ]
    if not found:
        return None
    classes = int(metrics["classes"])
    one, many = words.unit(classes)
    table = pd.DataFrame(found)
    numbers = [c for c in table.columns if c.startswith(("mae", "bias"))]
    table[numbers] = table[numbers].astype("float64")
    lines, is_cut = _lines_of_groups(table)
    height = 0.75 + 0.145 * len(lines)
    canvas, panels = new(PAGE, max(height, 1.4), 1, 2)
    y = np.arange(len(lines))
    at = np.array([i for i, (_, row) in zip(y, lines, strict=True) if row is not None])
    drawn = pd.DataFrame([row for _, row in lines if row is not None])
    for axes, metric, whole in (
        (panels[0], "mae", evaluation["metrics"]["mae"]["value"]),
        (panels[1], "bias", 0.0),
    ):
        if whole is not None:
            axes.axvline(whole, color=GREY, lw=0.8, ls=(0, (4, 3)))
        axes.hlines(
            at[drawn[f"{metric}_low"].notna()],
            drawn[f"{metric}_low"].dropna(),
            drawn[f"{metric}_high"].dropna(),
            color=BLUE,
            lw=1.2,
            alpha=0.55,
        )
        axes.plot(drawn[metric], at, "o", ms=3.6, color=BLUE, mec="white", mew=0.5)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=PALE, lw=0.4)
        axes.set_axisbelow(True)
    panels[0].set_xlim(left=0)
    panels[0].set_xlabel(f"Mean absolute error ({many}); dashed: all areas")
    panels[1].set_xlabel("Predicted less actual, on average; dashed: no bias")
    panels[0].set_yticks(y, [text for text, _ in lines])
    for text, (_, row) in zip(panels[0].get_yticklabels(), lines, strict=True):
        text.set_color(GREY if row is None else INK)
    panels[1].set_yticks([])
    more = f" Of many, the {MOST_GROUPS // 2} worst and best are drawn." if is_cut else ""
    return Sketch(
        canvas,
        table,
        f"{label}: error by district and kind of area",
        f"{plain(label)}: mean absolute error and mean difference of predicted and actual {one} by "
        f"kind of area, with {words.percent(metrics['interval_level'])} intervals. In brackets: "
        f"the number of areas.{more}",
    )


def moran_scatter(
    rows: pd.DataFrame, evaluation: Mapping[str, Any], label: str, classes: int
) -> Sketch | None:
    """Draw each area's residual against that of its neighbours."""
    about = (evaluation.get("structure") or {}).get("residuals") or {}
    if "residual_nearby" not in rows or about.get("value") is None:
        return None
    known = rows.assign(residual=(rows["decile"] - rows["actual_decile"]).astype("Float64"))
    known = known.dropna(subset=["residual", "residual_nearby"]).sort_values("area")
    if known.empty:
        return None
    _, many = words.unit(classes)
    residual, nearby = (known[c].to_numpy(float) for c in ("residual", "residual_nearby"))
    table = pd.DataFrame(
        {"area": known["area"].to_numpy(str), "residual": residual, "residual_nearby": nearby}
    )
    canvas, (axes,) = new(COLUMN, 3.0)
    axes.axhline(nearby.mean(), color=PALE, lw=0.8)
    axes.axvline(residual.mean(), color=PALE, lw=0.8)
    _scatter(axes, residual, nearby)
    ends = np.array([residual.min(), residual.max()])
    axes.plot(
        ends,
        nearby.mean() + about["value"] * (ends - residual.mean()),
        color=ORANGE,
        lw=1.4,
        label=f"slope: Moran’s I = {words.number(about['value'])}",
    )
    axes.set(
        xlabel=f"Predicted less actual ({many})", ylabel="The same of its neighbours, on average"
    )
    below(canvas, axes, 2)
    p = about.get("p")
    p_value = "" if p is None else f", p = {words.number(p, 3)}"
    upright(axes, f"I = {words.number(about['value'])}{p_value}")
    kind = (
        "areas that it borders on"
        if evaluation["structure"]["neighbours"] == "contiguity"
        else ("nearest areas")
    )
    return Sketch(
        canvas,
        table,
        f"{label}: do errors lie together?",
        f"{plain(label)}: predicted less actual of each of {words.plural(len(known), 'area')} "
        f"against the mean of the {kind}. The slope is Moran’s I, {words.number(about['value'])}"
        f"{p_value}; by chance it is about {words.number(about['expected'])}.",
    )


def _scatter(axes: Any, residual: Any, nearby: Any) -> None:
    """Draw the areas as points, or many of them as dots that grow with their number."""
    if len(residual) <= MOST_POINTS:
        axes.plot(
            apart(pd.Series(residual), 0.25),
            nearby,
            "o",
            ms=3,
            mec="none",
            color=BLUE,
            alpha=0.55,
            label="an area",
        )
    else:
        x, y, n = _counted(residual, nearby)
        axes.scatter(
            x,
            y,
            s=60 * n / n.max(),
            color=BLUE,
            alpha=0.6,
            linewidth=0,
            label="areas: the larger, the more",
        )


def _lines_of_groups(table: pd.DataFrame) -> tuple[list[tuple[str, pd.Series | None]], bool]:
    """Put the groups into lines, each kind below its own heading; the worst district first."""
    lines: list[tuple[str, pd.Series | None]] = []
    cut = False
    for kind, members in table.groupby("kind", sort=False):
        order = FIRST.get(str(kind))
        if order is not None:
            members = members.set_index("group", drop=False).reindex(order).dropna(subset=["kind"])
        else:
            members = members.sort_values(["mae", "group"], ascending=[False, True])
        rows = [row for _, row in members.iterrows()]
        lines.append((f"By {short(kind, 24)}", None))
        many = len(rows) > MOST_GROUPS
        half = MOST_GROUPS // 2
        for i, row in enumerate([*rows[:half], *rows[-half:]] if many else rows):
            if many and i == half:
                lines.append((f"… {len(rows) - MOST_GROUPS} between …", None))
            lines.append((f"{short(row['group'], 30)} ({int(row['areas'])})", row))
        cut |= many
    return lines, cut


def _counted(x: Any, y: Any, step: float = 0.5) -> tuple[Any, Any, Any]:
    """Count the points in squares of a grid."""
    grid = np.column_stack([np.round(x), np.round(y / step)])
    cell, count = np.unique(grid, axis=0, return_counts=True)
    return cell[:, 0], cell[:, 1] * step, count
