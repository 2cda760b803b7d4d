"""Tables for the screen: comparisons, learning curves, and what a precision needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

__all__ = ["comparison_tables", "curves_table", "power_tables", "settings_table"]

Figure = Mapping[str, Any]
MOST = 5  # outcomes beside each other


def comparison_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Show what `streetgauge.analysis.compare.compare` gives: a table for each kind of folds."""
    a, b = result["a"]["name"], result["b"]["name"]
    for each in result["kinds"].values():
        held = each["a"] if each["a"] == each["b"] else f"a: {each['a']}; b: {each['b']}"
        table = _table(
            f"a = {a}, b = {b}: {held}",
            f"Below each figure its {result['interval_level']:.0%} interval. b less a: less MAE "
            "and more Spearman's r is better. The share is that of the draws in which b is better.",
        )
        table.add_column("outcome", min_width=12)
        for column in ("areas", "MAE\na", "\nb", "\nb less a", "Spearman\na", "\nb", "\nb less a"):
            table.add_column(column, justify="right", no_wrap=True)
        for about in each["outcomes"].values():
            cells = [cell for m in ("mae", "spearman") for cell in _compared(about["metrics"], m)]
            table.add_row(Text(about["label"]), _how_many(about), *cells)
        yield table


def settings_table(result: Mapping[str, Any]) -> Table | None:
    """Show the settings that differ; None if there are none."""
    if not result["settings"]:
        return None
    table = _table("Settings that differ", None)
    for column in ("setting", "a", "b"):
        table.add_column(column, overflow="fold")
    for each in result["settings"]:
        table.add_row(*(Text(each[key]) for key in ("key", "a", "b")))
    return table


def curves_table(name: str, curves: Mapping[str, Any]) -> Table:
    """Show learning curves: a row for each point, means over the outcomes and each outcome's."""
    points = curves["points"]
    outcomes = _few(dict.fromkeys(each["outcome"] for each in points))
    table = _table(
        f"{name}: what fewer areas, locations and views would give",
        f"Spearman's r of the areas with its {curves['interval_level']:.0%} interval; "
        f"{curves['scheme']}. Areas: to learn from. Locations: of an area, and views: of a "
        "location, at most, wherever one learns and tests.",
    )
    table.add_column("at most", no_wrap=True)
    for column in ("areas\nlearned", "images", "mean\nMAE", "mean\nr", *outcomes):
        table.add_column(column, justify="right", no_wrap=column not in outcomes)
    section = points[0]["by"] if points else None
    for key in dict.fromkeys((each["by"], each["value"]) for each in points):
        rows = [each for each in points if (each["by"], each["value"]) == key]
        if key[0] != section:
            section = key[0]
            table.add_section()
        table.add_row(
            _point(*key),
            f"{rows[0]['n_training_areas']:,.0f}",
            f"{rows[0]['images']:,}",
            *(_number(_mean([row[m]["value"] for row in rows])) for m in ("mae", "spearman")),
            *(_interval(row["spearman"]) for row in rows if row["outcome"] in outcomes),
        )
    return table


def power_tables(name: str, power: Mapping[str, Any]) -> Iterator[Table]:
    """Show what `streetgauge.analysis.power.Power` finds: signal, cells and targets."""
    if power["signal"] is not None:
        table = _table(
            f"{name}: how much of an outcome its images show",
            "Signal: share of what a view shows of an outcome that is true, by which a simulated "
            "study like this one has the same Spearman's r.",
        )
        for column in ("outcome", "Spearman's r", "signal", "interval"):
            table.add_column(column, justify="left" if column == "outcome" else "right")
        for outcome, about in power["signal"].items():
            value, interval = _interval(about).split("\n")
            table.add_row(Text(outcome), _number(about["spearman"]), value, interval)
        yield table
    outcomes = _few(power["cells"][0]["outcomes"])
    table = _table(
        f"{name}: simulated studies of its areas",
        f"Means over {power['repeats']} simulations; \u00b1 half the width of the "
        f"{power['interval_level']:.0%} interval of Spearman's r.",
    )
    given = any(cell["signal"] is not None for cell in power["cells"])
    for column in (*(["signal"] if given else []), "areas", "locations", "views", "images"):
        table.add_column(column, justify="right")
    for column in ("mean\nMAE", "mean\nr", *outcomes):
        table.add_column(column, justify="right")
    for cell in power["cells"]:
        said = list(cell["outcomes"].values())
        table.add_row(
            *([f"{cell['signal']:g}"] if given else []),
            *(f"{cell[key]:,}" for key in ("areas", "locations", "views", "images")),
            *(_number(_mean([each[m] for each in said])) for m in ("mae", "spearman")),
            *(_give_or_take(cell["outcomes"][o]) for o in outcomes),
        )
    yield table
    for target in power["targets"]:
        yield _target(target, given)


def _target(target: Mapping[str, Any], given: bool) -> Table:
    table = _table(f"Fewest images for {target['target']}", None)
    for column in (*(["signal"] if given else []), "outcome"):
        table.add_column(column)
    for column in ("areas", "locations", "views", "images"):
        table.add_column(column, justify="right")
    for each in target["by"]:
        cell = each["cell"]
        keys = ("areas", "locations", "views", "images")
        figures = [f"{cell[key]:,}" for key in keys] if cell else ["none of these", "", "", ""]
        table.add_row(*([f"{each['signal']:g}"] if given else []), Text(each["outcome"]), *figures)
    return table


def _table(title: str, caption: str | None) -> Table:
    return Table(
        title=Text(title), caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), min_width=60
    )


def _how_many(about: Mapping[str, Any]) -> str:
    counts = about["n_areas"]
    if about["paired"]:
        return f"{counts['shared']:,}\npaired"
    return f"{counts['a']:,}\n{counts['b']:,}"


def _compared(metrics: Mapping[str, Any], metric: str) -> list[str]:
    about = metrics.get(metric)
    if about is None:
        return ["-"] * 3
    better = "" if about["b_better"] is None else f"\nb: {about['b_better']:.0%}"
    difference = _interval(about["difference"], "+.2f")
    return [_interval(about["a"]), _interval(about["b"]), difference + better]


def _point(by: str, value: float) -> str:
    if by == "all":
        return "all"
    if by == "areas":
        return f"{value:.3g} of areas"
    return f"{value:g} {by.removesuffix('s') if value == 1 else by}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else f"{value:{form}}"


def _interval(figure: Figure, form: str = ".2f") -> str:
    low, high = _number(figure["low"], form), _number(figure["high"], form)
    return f"{_number(figure['value'], form)}\n{low}\u2013{high}"


def _give_or_take(figures: Mapping[str, float | None]) -> str:
    width = figures["spearman_width"]
    more = "" if width is None else f" \u00b1{width / 2:.2f}".replace("0.", ".")
    return f"{_number(figures['spearman'])}{more}"


def _few(outcomes: Iterable[str]) -> list[str]:
    """Give the outcomes if a line of the screen can hold them, else none: there are the means."""
    names = list(outcomes)
    return names if len(names) <= MOST else []
