"""Tables for the screen: outcomes, the headline of a run, comparisons, curves, precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Column, Table
from rich.text import Text

from streetgauge.cli.app import Screen
from streetgauge.io.formats import METRICS_VERSION, read_object
from streetgauge.markup import figure_text, interval_text

if TYPE_CHECKING:
    import pandas as pd

    from streetgauge.outcomes import Source
    from streetgauge.study import Study


Estimate = Mapping[str, Any]
TIMES = ("early", "late")
SUREST = 12  # comparisons of groups
MOST = 5  # outcomes next to each other
CELL = ("areas", "locations", "views", "images")  # of a simulated study


def print_headline(study: Study, screen: Screen) -> None:
    """Print the table that matters, and where the report is."""
    again = f"make it again with `streetgauge areas {study.directory} --force`"
    metrics = read_object(study.metrics, METRICS_VERSION, again)
    if metrics["outcomes"]:
        _print_figures(study, metrics, screen)
    else:
        text = (
            f"{study.settings.name}: nothing was tested, so there are no figures. To use the "
            f"model: streetgauge export {study.directory} --out BUNDLE, then streetgauge predict "
            "BUNDLE --images IMAGES --locations LOCATIONS --out CITY"
        )
        screen.result(text, metrics)
    screen.result(f"Report: {study.report}", {"report": str(study.report)})


def _print_figures(study: Study, metrics: dict[str, Any], screen: Screen) -> None:
    from streetgauge.io.files import read_metadata
    from streetgauge.report.text import leak_messages, plainer
    from streetgauge.settings import FOLD_KINDS
    from streetgauge.skips import without_value

    classes = metrics["classes"]
    many = "deciles" if classes == 10 else f"{classes} classes"
    # With few classes the next one is not close.
    close, near = ("within_1", "within\n1") if classes >= 5 else ("exact", "same\nclass")
    both = [metrics, *([metrics["other_folds"]] if "other_folds" in metrics else [])]
    schemes = {FOLD_KINDS.get(m["kind"], m["kind"]): m["scheme"]["description"] for m in both}
    kinds = list(next(iter(metrics["headline"].values())))
    attainable = ["of the\nmax. ρ"] if any(map(_attained, metrics["outcomes"].values())) else []
    added = [f"images add\n{FOLD_KINDS.get(kind, kind)}" for kind in kinds]
    table = _new_table(
        f"{study.settings.name}: areas' {many}; {metrics['scheme']['description']}",
        f"Below each figure its {metrics['interval_level']:.0%} interval. MAE: mean "
        f"absolute error in {many}, of the best estimate from all that is known, and of images "
        f"alone, as all that follows. Images add: how much less the latter is than that of the "
        "best baseline without them, which is named; "
        f"{'; '.join(f'{kind}: {how}' for kind, how in sorted(schemes.items()))}.",
        Column("outcome", min_width=13),
        *_number_columns("best est.\nMAE", "images\nMAE", near, "Spearman\nρ", *added, *attainable),
    )
    about = read_metadata(study.outcomes)
    for name, evaluation in metrics["outcomes"].items():
        label = study.settings.outcomes[name].label or name
        mark = " *" if without_value(about.get(name, {})) else ""
        cells = _headline_cells(evaluation, metrics["headline"][name], close)
        table.add_row(Text(label + mark), *cells[: len(table.columns) - 1])
    screen.result(table, metrics)
    for name in metrics["outcomes"]:
        if message := without_value(about.get(name, {})):
            label = study.settings.outcomes[name].label or name
            screen.result(Text(f"* {label}: {message}"), {"incomplete": name, "message": message})
    if caution := metrics["scheme"]["caution"]:
        screen.result(f"CAUTION: {caution}", {"caution": caution})
    for sentence in leak_messages(metrics):
        screen.result(Text(f"NOTE: {sentence}"), {"leak": sentence})
    labels = {n: study.settings.outcomes[n].label or n for n in metrics["outcomes"]}
    for sentence in plainer(metrics, labels, study.settings.train.learner):
        screen.result(Text(f"NOTE: {sentence}"), {"plainer_learner": sentence})


def _headline_cells(
    evaluation: dict[str, Any], headline: dict[str, dict[str, Any] | None], close: str
) -> list[str]:
    values, best = evaluation["metrics"], evaluation.get("best")
    return [
        "-" if best is None else _with_interval(best["metrics"]["mae"]),
        _with_interval(values["mae"]),
        figure_text(values[close]["value"], ".0%"),
        _with_interval(values["spearman"]),
        *(
            "-" if cell is None else f"{_with_interval(cell['mae'], '+.2f')}\n{_over(cell['mae'])}"
            for cell in headline.values()
        ),
        figure_text(_attained(evaluation).get("spearman"), ".0%"),
    ]


def _over(gain: Mapping[str, Any]) -> str:
    """Name the best baseline without images, on two lines where it is long."""
    return str(gain["over"]).replace("-and-", "-and-\n")


def _attained(evaluation: Mapping[str, Any]) -> Mapping[str, float]:
    """Give the share of what is attainable, which only a simulation knows."""
    return (evaluation.get("oracle") or {}).get("share_of_attainable") or {}


def sources_table(sources: Sequence[Source]) -> Table:
    """Show what outcomes can be read from, each with the lines for study.toml."""
    table = _new_table(
        "What outcomes can be read from, and the lines to write into study.toml",
        None,
        *(Column(style="bold", no_wrap=True), Column(no_wrap=True), Column(overflow="fold")),
    )
    table.show_header = False
    for source in sources:
        rows = {
            "reads": source.layouts,
            "measures": source.measures,
            "publisher": (source.publisher,),
            "licence": (source.licence,),
            "study.toml": source.lines.splitlines(),
        }
        for number, (what, lines) in enumerate(rows.items()):
            table.add_row("" if number else source.name, what, Text("\n".join(lines)))
        table.add_section()
    return table


def outcomes_table(study: str, summary: Sequence[Mapping[str, Any]]) -> Table:
    """Show a study's outcomes: how many areas have a value, and which values."""
    from streetgauge.pipeline.info import plain_number

    table = _new_table(
        f"{study}: outcomes",
        None,
        Column("outcome", overflow="fold"),
        *_number_columns("areas", "missing"),
        "higher is",
        *_number_columns("min", "median", "max"),
        Column("vintage", overflow="fold"),
    )
    for each in summary:
        three = (each["min"], each["median"], each["max"])
        vintage, areas, lookup = each["vintage"] or "-", each["areas"], each["lookup"]
        year = vintage if areas in (None, vintage) else f"{vintage} ({areas})"
        table.add_row(
            Text(str(each["outcome"])),
            f"{each['n_areas']:,}",
            Text(f"{each['n_missing']:,}", style="bold red" if each["n_missing"] else ""),
            str(each["direction"] or "-").removeprefix("higher-is-"),
            *("-" if value is None else plain_number(value) for value in three),
            Text(f"{year}, carried to {lookup['to']}" if lookup else year),
        )
    return table


def comparison_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Show what `streetgauge.analysis.compare.compare` gives: a table for each kind of folds."""
    a, b = result["a"]["name"], result["b"]["name"]
    for each in result["kinds"].values():
        schemes = each["a"] if each["a"] == each["b"] else f"a: {each['a']}; b: {each['b']}"
        table = _new_table(
            f"a = {a}, b = {b}: {schemes}",
            f"Below each figure its {result['interval_level']:.0%} interval. b less a: less MAE "
            "and more Spearman's ρ is better. The share is that of the draws in which b is better.",
            Column("outcome", min_width=13),
            *_number_columns(
                "areas", "MAE\na", "\nb", "\nb less a", "Spearman\na", "\nb", "\nb less a"
            ),
        )
        for about in each["outcomes"].values():
            cells = [cell for m in ("mae", "spearman") for cell in _compared(about["metrics"], m)]
            table.add_row(Text(about["label"]), _areas_compared(about), *cells)
        yield table


def settings_table(result: Mapping[str, Any]) -> Table | None:
    """Show the settings that differ; None if there are none."""
    if not result["settings"]:
        return None
    columns = [Column(name, overflow="fold") for name in ("setting", "a", "b")]
    table = _new_table("Settings that differ", None, *columns)
    for each in result["settings"]:
        table.add_row(*(Text(each[key]) for key in ("key", "a", "b")))
    return table


def curves_table(name: str, curves: Mapping[str, Any]) -> Table:
    """Show learning curves: a row for each point, means over the outcomes and each outcome's."""
    points = curves["points"]
    outcomes = _few(dict.fromkeys(each["outcome"] for each in points))
    table = _new_table(
        f"{name}: what fewer areas, locations and views would give",
        f"Spearman's ρ of the areas with its {curves['interval_level']:.0%} interval; "
        f"{curves['scheme']}. Areas: to train on. Locations: of an area, and views: of a "
        "location, at most, in training and test.",
        Column("at most", no_wrap=True),
        *_number_columns("training\nareas", "images", "mean\nMAE", "mean\nr"),
        *(Column(outcome, justify="right") for outcome in outcomes),
    )
    section = points[0]["by"] if points else None
    for by, value in dict.fromkeys((each["by"], each["value"]) for each in points):
        rows = [each for each in points if (each["by"], each["value"]) == (by, value)]
        if by != section:
            section = by
            table.add_section()
        table.add_row(
            _point(by, value),
            f"{rows[0]['n_training_areas']:,.0f}",
            f"{rows[0]['images']:,}",
            *(_mean_text([row[m]["value"] for row in rows]) for m in ("mae", "spearman")),
            *(_with_interval(row["spearman"]) for row in rows if row["outcome"] in outcomes),
        )
    return table


def power_tables(name: str, power: Mapping[str, Any]) -> Iterator[Table]:
    """Show what `streetgauge.analysis.power.Power` finds: signal, cells and targets."""
    if power["signal"] is not None:
        table = _new_table(
            f"{name}: how much of an outcome its images show",
            "Signal: share of what a view shows of an outcome that is true, by which a simulated "
            "study like this one has the same Spearman's ρ.",
            "outcome",
            *_number_columns("Spearman's ρ", "signal", "interval"),
        )
        for outcome, about in power["signal"].items():
            values = (figure_text(about["spearman"]), figure_text(about["value"]))
            table.add_row(Text(outcome), *values, interval_text(about, between="\u2013"))
        yield table
    outcomes = _few(power["cells"][0]["outcomes"])
    given = any(cell["signal"] is not None for cell in power["cells"])
    signal = ["signal"] if given else []
    table = _new_table(
        f"{name}: simulated studies of its areas",
        f"Means over {power['repeats']} simulations; \u00b1 half the width of the "
        f"{power['interval_level']:.0%} interval of Spearman's ρ.",
        *_number_columns(*signal, *CELL, "mean\nMAE", "mean\nr", *outcomes),
    )
    for cell in power["cells"]:
        figures = list(cell["outcomes"].values())
        table.add_row(
            *(f"{cell[key]:g}" for key in signal),
            *(f"{cell[key]:,}" for key in CELL),
            *(_mean_text([each[m] for each in figures]) for m in ("mae", "spearman")),
            *(_give_or_take(cell["outcomes"][o]) for o in outcomes),
        )
    yield table
    for target in power["targets"]:
        title = f"Fewest images for {target['target']}"
        table = _new_table(title, None, *signal, "outcome", *_number_columns(*CELL))
        for each in target["by"]:
            cell = each["cell"]
            counts = [f"{cell[key]:,}" for key in CELL] if cell else ["none of these"]
            table.add_row(*(f"{each[key]:g}" for key in signal), Text(each["outcome"]), *counts)
        yield table


def coverage_tables(coverage: Mapping[str, Any]) -> Iterator[Table]:
    """Show the areas without images by decile, a table for each outcome."""
    one = "decile" if coverage["classes"] == 10 else "class"
    for outcome, about in coverage["outcomes"].items():
        rows = about["by_decile"]
        with_people = any(each["people"] is not None for each in rows)
        table = _new_table(
            f"{coverage['name']}: areas without images by {one} of {outcome}",
            None,
            *_number_columns(one, "areas", "without images", "share", "90% interval"),
            *(_number_columns("people in them") if with_people else ()),
        )
        for each in rows:
            share = figure_text(each["share"], ".3f")
            cells = [str(each["decile"]), f"{each['n']:,}", f"{each['n_without']:,}", share]
            people = [f"{each['people_without']:,.0f}"] if with_people else []
            table.add_row(*cells, interval_text(each, ".3f", "\u2013"), *people)
        yield table


def age_table(age: Mapping[str, Any]) -> Table:
    """Show for each outcome how errors go with the age of images, and the test over time."""
    table = _new_table(
        f"{age['name']}: images of {age['first']} to {age['last']}, trained before {age['year']} "
        "and tested since",
        "Years: images less statistic, median. Per 5 years: more error in classes for each five "
        "years between them. Since/since: trained and tested on images since then.",
        "outcome",
        *_number_columns("years", "per 5 years", "q", "areas", "MAE\nbefore/since", "since/since"),
    )
    for outcome, each in age["outcomes"].items():
        tested = each["over_time"]
        figures = ["-"] * 3
        if tested is not None:
            mae = tested["mae"]
            figures = [f"{tested['n_areas']:,}", *(figure_text(mae[t]["value"]) for t in TIMES)]
        table.add_row(
            Text(outcome),
            figure_text(each["gap"], "+.1f"),
            _with_interval(each["per_5_years"], "+.2f"),
            figure_text(each["q"], ".3f"),
            *figures,
        )
    return table


def fairness_table(fairness: Mapping[str, Any]) -> Table:
    """Show the surest differences between groups and all other areas, at most twelve."""
    rows = fairness["comparisons"]
    table = _new_table(
        f"{fairness['name']}: groups of areas against all others, the surest differences",
        f"{fairness['interval_level']:.0%} intervals of the difference; q: p-value adjusted over "
        f"all {len(rows):,} comparisons; a star: at most {fairness['false_discovery_rate']:g}.",
        *("outcome", "group", "measure"),
        *_number_columns("areas", "group", "others", "difference", "q"),
    )
    for each in rows[:SUREST]:
        table.add_row(
            Text(each["outcome"]),
            Text(f"{each['column']}: {each['group']}"),
            each["measure"].replace("_", " "),
            f"{each['n']:,}",
            figure_text(each["value"]),
            figure_text(each["others"]),
            f"{each['difference']:+.2f} ({interval_text(each, '+.2f')})",
            figure_text(each["q"], ".3f") + ("*" if each["reported"] else " "),
        )
    return table


def sample_table(name: str, plan: pd.DataFrame) -> Table:
    """Show the areas of a plan with the largest gains, at most twelve."""
    areas = plan.groupby("area", sort=False).agg(locations=("rank", "size"), gain=("gain", "sum"))
    table = _new_table(
        f"{name}: where to take images next",
        "Gain: share of the whole fall of the mean squared error over all areas.",
        "area",
        *_number_columns("locations", "gain"),
    )
    for area, row in areas.sort_values("gain", ascending=False, kind="stable")[:SUREST].iterrows():
        share = row["gain"] / areas["gain"].sum()
        table.add_row(Text(str(area)), f"{row['locations']:,.0f}", f"{share:.1%}")
    return table


def change_table(change: Mapping[str, Any]) -> Table:
    """Show for each outcome in how many areas change is detected, and how large it must be."""
    table = _new_table(
        f"{change['name']} to {change['other']}: {change['n_areas']:,} areas",
        "In classes. Removed: what all areas have in common. Error: standard error of an area's "
        "change, by its locations, and beyond. Noticed: the change that would be in 4 of 5 areas.",
        "outcome",
        *_number_columns("detected", "removed", "error by\nlocations", "beyond", "noticed"),
    )
    for name, each in change["outcomes"].items():
        if each is None:
            table.add_row(Text(name), *["-"] * 5)
            continue
        figures = (figure_text(each[key], ".1f") for key in ("within", "between", "detectable"))
        shift = figure_text(each["shift"], "+.1f")
        table.add_row(Text(name), f"{each['n_flagged']:,}", shift, *figures)
    return table


def pool_table(pool: Mapping[str, Any]) -> Table:
    """Show how well cities predict each other, and all together each: means over the outcomes."""
    from streetgauge.report.text import POOL_METHODS, pool_means

    names = [each["name"] for each in pool["cities"]]
    table = _new_table(
        "Spearman's \u03c1 of areas, mean over the outcomes",
        "Columns: the city that is predicted. Its own labels are used out of fold.",
        "predicted by",
        *_number_columns(*names),
    )
    for source in names:
        cells = []
        for target in names:
            own = [e for e in pool["matrix"] if (e["from"], e["to"]) == (source, target)]
            cells.append(_mean_text([each["spearman"]["value"] for each in own]))
        table.add_row(Text(source), *cells)
    for method, words in POOL_METHODS.items():
        cells = [figure_text(pool_means(pool, name, method)) for name in names]
        table.add_row(Text(words), *cells)
    return table


def survey_table(survey: Mapping[str, Any]) -> Table:
    """Show the model that combines a survey with images."""
    from streetgauge.report.text import general

    table = _new_table(
        f"{survey['name']}: {survey['survey']} with images",
        f"Fay-Herriot model; variance between areas {general(survey['area_variance'])}.",
        "",
        *_number_columns("coefficient", "standard error"),
    )
    for name, each in survey["coefficients"].items():
        table.add_row(Text(name), general(each["value"]), general(each["standard_error"]))
    return table


def _new_table(title: str, caption: str | None, *columns: Column | str) -> Table:
    return Table(
        *columns,
        title=Text(title),
        caption=caption,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        min_width=60,
    )


def _number_columns(*names: str) -> list[Column]:
    """Name columns of numbers."""
    return [Column(name, justify="right", no_wrap=True) for name in names]


def _areas_compared(about: Mapping[str, Any]) -> str:
    counts = about["n_areas"]
    if about["paired"]:
        return f"{counts['shared']:,}\npaired"
    return f"{counts['a']:,}\n{counts['b']:,}"


def _compared(metrics: Mapping[str, Any], metric: str) -> list[str]:
    about = metrics.get(metric)
    if about is None:
        return ["-"] * 3
    better = "" if about["b_better"] is None else f"\nb: {about['b_better']:.0%}"
    difference = _with_interval(about["difference"], "+.2f")
    return [_with_interval(about["a"]), _with_interval(about["b"]), difference + better]


def _point(by: str, value: float) -> str:
    if by == "all":
        return "all"
    if by == "areas":
        return f"{value:.3g} of areas"
    return f"{value:g} {by.removesuffix('s') if value == 1 else by}"


def _mean_text(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return figure_text(sum(known) / len(known) if known else None)


def _with_interval(estimate: Estimate, form: str = ".2f") -> str:
    """Write a figure, and below it its interval."""
    return "\n".join(
        (figure_text(estimate["value"], form), interval_text(estimate, form, "\u2013"))
    )


def _give_or_take(figures: Mapping[str, float | None]) -> str:
    width = figures["spearman_width"]
    more = "" if width is None else f" \u00b1{width / 2:.2f}".replace("0.", ".")
    return f"{figure_text(figures['spearman'])}{more}"


def _few(outcomes: Iterable[str]) -> list[str]:
    """Give the outcomes if a line of the screen can hold them, else none: there are the means."""
    names = list(outcomes)
    return names if len(names) <= MOST else []
