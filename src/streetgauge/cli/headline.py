"""The table that a run ends with."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from streetgauge.cli.screen import Screen

if TYPE_CHECKING:
    from streetgauge.study import Study

__all__ = ["print_headline"]


def print_headline(study: Study, screen: Screen) -> None:
    """Print the table that matters, and where the report is."""
    metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
    if metrics["outcomes"]:
        _figures(study, metrics, screen)
    else:
        text = (
            f"{study.settings.name}: nothing was tested, so there are no figures. To use the "
            f"model: streetgauge export {study.directory} --out BUNDLE, then streetgauge predict "
            "BUNDLE --images PICTURES --locations PLACES --out CITY"
        )
        screen.result(text, metrics)
    screen.result(f"Report: {study.report}", {"report": str(study.report)})


def _figures(study: Study, metrics: dict[str, Any], screen: Screen) -> None:
    from streetgauge.io.files import read_metadata
    from streetgauge.settings import FOLD_KINDS
    from streetgauge.skips import without_value

    classes = metrics["classes"]
    many = "deciles" if classes == 10 else f"{classes} classes"
    # With few classes the one beside is not close.
    close, near = ("within_1", "within\n1") if classes >= 5 else ("exact", "same\nclass")
    table = Table(
        title=f"{study.settings.name}: areas' {many}; {metrics['scheme']['description']}",
        caption=f"Below each figure its {metrics['interval_level']:.0%} interval. MAE: mean "
        f"absolute error in {many}. Images add: how much less that is than by the best guess "
        f"without them, which is named; {_in_which_folds(metrics)}.",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("outcome", min_width=12)
    kinds = list(next(iter(metrics["headline"].values())))
    added = [f"images add\n{FOLD_KINDS.get(kind, kind)}" for kind in kinds]
    for column in ("MAE", near, "Spearman\nr", *added, "of the\npossible"):
        table.add_column(column, justify="right", no_wrap=True)
    kept = read_metadata(study.outcomes)
    incomplete = {n: said for n in metrics["outcomes"] if (said := without_value(kept.get(n, {})))}
    for name, about in metrics["outcomes"].items():
        label = study.settings.outcomes[name].label or name
        named = f"{label} *" if name in incomplete else label
        table.add_row(Text(named), *_headline_cells(about, metrics["headline"][name], close))
    screen.result(table, metrics)
    for name, said in incomplete.items():
        label = study.settings.outcomes[name].label or name
        screen.result(Text(f"* {label}: {said}"), {"incomplete": name, "message": said})
    if caution := metrics["scheme"]["caution"]:
        screen.result(f"CAUTION: {caution}", {"caution": caution})


def _in_which_folds(metrics: dict[str, Any]) -> str:
    """Say how areas were held out, of each kind of folds."""
    from streetgauge.settings import FOLD_KINDS

    both = [metrics, *([metrics["other_folds"]] if "other_folds" in metrics else [])]
    said = {each["kind"]: each["scheme"]["description"] for each in both}
    return "; ".join(f"{FOLD_KINDS.get(kind, kind)}: {said[kind]}" for kind in sorted(said))


def _headline_cells(
    about: dict[str, Any], headline: dict[str, dict[str, Any] | None], close: str
) -> list[str]:
    values, possible = about["metrics"], "-"
    with suppress(KeyError, TypeError):
        possible = f"{about['oracle']['share_of_attainable']['spearman']:.0%}"
    return [
        _interval(values["mae"]),
        _number(values[close]["value"], ".0%"),
        _interval(values["spearman"]),
        *(
            "-" if cell is None else f"{_interval(cell['mae'], '+.2f')}\n{cell['mae']['over']}"
            for cell in headline.values()
        ),
        possible,
    ]


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else f"{value:{form}}"


def _interval(metric: dict[str, Any], form: str = ".2f") -> str:
    low, high = _number(metric["low"], form), _number(metric["high"], form)
    return f"{_number(metric['value'], form)}\n{low}\u2013{high}"
