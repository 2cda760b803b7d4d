"""Verbs that show what there is, and ask what else could be: less to train on, more images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from streetgauge.cli.app import Machine, Quiet, Screen, StudyPath, Verbose, app, open_study
from streetgauge.errors import InputError, visible

if TYPE_CHECKING:
    from collections.abc import Callable


Number = TypeVar("Number", int, float)


@app.command(epilog="Example: `streetgauge info streetgauge-demo/features/efficientnet-lite0.h5`")
def info(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A study, feature store, bundle, hf://user/name@revision or streetgauge table.",
        ),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare a store's numbers with their checksums.")
    ] = False,
    machine: Machine = False,
) -> None:
    """Describe a study, a feature store, a bundle or a table."""
    from streetgauge.pipeline.info import file_info

    facts = file_info(file, verify=verify)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        table.add_row(visible(name), visible(text))  # a line end in them would look like a row
    Screen(machine=machine).result(table, facts)


@app.command("map", epilog="Example: `streetgauge map examples/newport --out newport.html`")
def write_map(
    study: StudyPath,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the map (default: map.html in the study's directory)."),
    ] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Write only the interactive map, as one file that works offline."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.pipeline.report import make_map

    opened = open_study(study)
    opened.require_fresh("areas" if opened.settings.lacking is None else "outcomes")
    path = opened.path("map.html") if out is None else out
    make_map(opened, path, screen.progress)
    screen.result(f"Map: {path} ({path.stat().st_size / 1e6:.1f} MB)", {"map": str(path)})


@app.command(epilog="Example: `streetgauge view examples/newport`")
def view(
    study: StudyPath,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 uses any free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    machine: Machine = False,
) -> None:
    """Show the report in the browser, live during a run; only this machine can see it."""
    screen = Screen(machine=machine)
    from streetgauge.view import view as serve

    def announce(address: str) -> None:
        screen.result(address, {"address": address})
        sys.stdout.flush()  # whoever reads it through a pipe waits for it
        screen.report(
            "For this machine only, until Ctrl-C. Who has the address can read the study."
        )

    serve(open_study(study), port=port, browser=browser, announce=announce)


@app.command(
    epilog="Examples: `streetgauge compare newport newport-more-images`; "
    "`streetgauge compare leeds london-bundle --out comparison`"
)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A study or a bundle.")],
    b: Annotated[
        str, typer.Argument(metavar="B", help="Another study or bundle, to compare with A.")
    ],
    out: Annotated[Path | None, typer.Option(help="Directory for comparison.json.")] = None,
    draws: Annotated[
        int | None, typer.Option(min=100, help="Number of bootstrap draws (default: as in A).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the draws.")] = 2019,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Compare two studies, or a study and a bundle, paired by the areas that they share."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.analysis.compare import FILE
    from streetgauge.analysis.compare import compare as compared
    from streetgauge.cli.tables import comparison_tables, settings_table

    result = compared(a, b, out=out, draws=draws, seed=seed)
    if machine:
        screen.result("", result)
        return
    settings = settings_table(result)
    for table in [*comparison_tables(result), *([settings] if settings is not None else [])]:
        screen.result(table)
    for side, names in result["only"].items():
        if names:
            screen.report(f"Only in {side}: {', '.join(names)}")
    for caution in result["cautions"]:
        screen.result(Text(f"CAUTION: {caution}"))
    if out is not None:
        screen.report(f"Wrote {out / FILE}")


@app.command(
    epilog="Examples: `streetgauge curves streetgauge-demo --ensemble-size 1`; "
    "`streetgauge curves leeds --shares 0.1,0.5 --locations 1,2,4 --views 1`"
)
def curves(
    study: StudyPath,
    shares: Annotated[
        str, typer.Option(help="Shares of the training areas; 0 omits this curve.")
    ] = "0.05,0.1,0.25,0.5",
    locations: Annotated[
        str | None,
        typer.Option(help="Locations per area; 1,2,4,... if not given; 0 omits this curve."),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(help="Views per location; 1,2,3,... if not given; 0 omits this curve."),
    ] = None,
    ensemble_size: Annotated[
        int | None, typer.Option(min=1, help="Ensemble members of each network; 1 is fastest.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of training, at most.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Compute learning curves: train on fewer areas, locations and views."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.analysis.curves import Curves
    from streetgauge.cli.tables import curves_table

    opened = open_study(study)
    given = {"shares": _parse_numbers("--shares", shares, float)}
    given |= {
        name: _parse_numbers(f"--{name}", text, int)
        for name, text in (("locations", locations), ("views", views))
        if text is not None
    }
    with opened.locked():
        opened.require_upstream("train")
        drawn = Curves(opened, **given, ensemble_size=ensemble_size, epochs=epochs)  # type: ignore[arg-type]
        screen.report(drawn.cost, event="cost")
        result = drawn.draw(screen.progress)
    screen.result(curves_table(opened.settings.name, result), result)
    for each in result["skipped"]:
        screen.report(f"{each['by']} {each['value']:g}: skipped, {each['reason']}")
    screen.report(f"Wrote {opened.curves}")


@app.command(
    epilog="Examples: `streetgauge power streetgauge-demo --target spearman=0.7`; "
    "`streetgauge power leeds --signal 0.1,0.3 --locations 1,4,16 --views 1,4 --areas 100,482`"
)
def power(
    study: StudyPath,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as mae=1.5, spearman=0.7, mae-width=0.2, spearman-width=0.1; repeatable."
        ),
    ] = None,
    signal: Annotated[
        str | None,
        typer.Option(help="Strength of the signal, 0 to 1 (default: from the study's own result)."),
    ] = None,
    areas: Annotated[
        str | None, typer.Option(help="Numbers of areas to simulate; all if not given.")
    ] = None,
    locations: Annotated[str, typer.Option(help="Locations per area, at most.")] = "1,2,4,8,16",
    views: Annotated[str, typer.Option(help="Views per location.")] = "1,2,4",
    repeats: Annotated[int, typer.Option(min=1, help="Simulations per design.")] = 5,
    dimension: Annotated[int | None, typer.Option(min=1, help="Features per view.")] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Find how many images and areas a given precision needs, by simulation with your areas."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.analysis.power import FILE, Power, Target
    from streetgauge.cli.tables import power_tables

    opened = open_study(study)
    targets = [Target.read(text) for text in target or ()]
    with opened.locked():
        opened.require_upstream("features")
        simulated = Power(
            opened,
            signals=_parse_numbers("--signal", signal or "", float),
            areas=_parse_numbers("--areas", areas or "", int),
            locations=_parse_numbers("--locations", locations, int),
            views=_parse_numbers("--views", views, int),
            repeats=repeats,
            dimension=dimension,
        )
        screen.report(simulated.cost, event="cost")
        result = simulated.measure(targets, screen.progress)
    if machine:
        screen.result("", result)
        return
    for table in power_tables(opened.settings.name, result):
        screen.result(table)
    screen.report(f"Wrote {opened.path(FILE)}")


@app.command(
    epilog="Examples: `streetgauge coverage streetgauge-demo`; "
    "`streetgauge coverage areas.csv --area lsoa21 --images images --decile imd_decile "
    "--x easting --y northing`"
)
def coverage(
    path: Annotated[
        Path, typer.Argument(metavar="STUDY|TABLE", help="A study, or a table of areas.")
    ],
    area: Annotated[str | None, typer.Option(help="Column of area codes, of a table.")] = None,
    images: Annotated[str | None, typer.Option(help="Column of numbers of images.")] = None,
    decile: Annotated[str | None, typer.Option(help="Column of deciles, or classes.")] = None,
    x: Annotated[str | None, typer.Option(help="Column of eastings, in metres.")] = None,
    y: Annotated[str | None, typer.Option(help="Column of northings, in metres.")] = None,
    district: Annotated[str | None, typer.Option(help="Column of districts.")] = None,
    people: Annotated[str | None, typer.Option(help="Column of numbers of residents.")] = None,
    classes: Annotated[
        int, typer.Option(min=2, help="Number of classes in the column of deciles.")
    ] = 10,
    draws: Annotated[int, typer.Option(min=99, help="Number of permutations.")] = 999,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Test whether areas without images differ in the outcome."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.cli.tables import coverage_tables
    from streetgauge.io.files import write_json
    from streetgauge.pipeline.coverage import TableColumns, study_coverage, table_coverage
    from streetgauge.report.text import coverage_sentences

    given = {"area": area, "images": images, "decile": decile}
    more = {"x": x, "y": y, "district": district, "people": people}
    if not path.exists():
        raise InputError(
            path, "there is no such file or folder", "name a study, or a table of areas"
        )
    if path.is_dir() or path.suffix == ".toml":
        if named := [f"--{name}" for name, column in (given | more).items() if column is not None]:
            why = "these name columns of a table, and this is a study"
            raise InputError(", ".join(named), why, "omit them")
        study = open_study(path)
        with study.locked():
            study.require_upstream("features")
            result = study_coverage(study, draws=draws)
            write_json(result, study.coverage)
    else:
        if lacking := [f"--{name}" for name, column in given.items() if column is None]:
            why = "a table needs " + ", ".join(lacking)
            raise InputError(path, why, "name its columns by these options")
        if (x is None) != (y is None):
            raise InputError("--x, --y", "a position needs both", "name both columns")
        columns = TableColumns(**given, **more)  # type: ignore[arg-type]
        result = table_coverage(path, columns, classes=classes, draws=draws)
    if machine:
        screen.result("", result)
        return
    for table in coverage_tables(result):
        screen.result(table)
    for name, about in result["outcomes"].items():
        for line in coverage_sentences(about, result["strata"], result["classes"]):
            screen.result(f"{name}: {line}")


@app.command(
    epilog="Examples: `streetgauge fairness streetgauge-demo`; "
    "`streetgauge fairness leeds --group urban --group ethnicity`"
)
def fairness(
    study: StudyPath,
    group: Annotated[
        list[str] | None,
        typer.Option(help="Column in areas.columns that defines groups; may be repeated."),
    ] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Compare the errors in groups of areas with those in all other areas."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.cli.tables import fairness_table
    from streetgauge.pipeline.fairness import study_fairness
    from streetgauge.report.text import fairness_sentences

    opened = open_study(study)
    with opened.locked():
        opened.require_fresh("areas")
        result = study_fairness(opened, group or ())
    _show(screen, result, fairness_table(result), fairness_sentences(result), opened.fairness)


@app.command(epilog="Example: `streetgauge age leeds --year 2016`")
def age(
    study: StudyPath,
    year: Annotated[
        int | None,
        typer.Option(
            help="Train on images before this year, test on later ones (default: the median year)."
        ),
    ] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Show when images were taken, test whether errors grow with age, and test over time."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.cli.tables import age_table
    from streetgauge.pipeline.age import study_age
    from streetgauge.report.text import age_sentences

    opened = open_study(study)
    with opened.locked():
        opened.require_fresh("areas")
        result = study_age(opened, year, screen.progress)
    _show(screen, result, age_table(result), age_sentences(result), opened.age)


@app.command(epilog="Example: `streetgauge change leeds-2012 leeds-2022`")
def change(
    first: Annotated[Path, typer.Argument(metavar="A", help="Study of the first year, evaluated.")],
    second: Annotated[
        Path,
        typer.Argument(metavar="B", help="Study of the same areas with images of another year."),
    ],
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Find which areas have changed between the images of two years."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.cli.tables import change_table
    from streetgauge.pipeline.change import study_change
    from streetgauge.report.text import change_sentences

    opened, other = open_study(first), open_study(second)
    with opened.locked():
        opened.require_fresh("areas")
        other.require_fresh("features")
        result = study_change(opened, other, screen.progress)
    _show(screen, result, change_table(result), change_sentences(result), opened.change)


@app.command(epilog="Example: `streetgauge pool leeds york hull --out pooled`")
def pool(
    studies: Annotated[
        list[Path], typer.Argument(metavar="A B ...", help="Finished studies, one for each city.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the results.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the results of an earlier run.")
    ] = False,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Combine several cities: predict each from the others and from its own labels."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.cli.tables import pool_table
    from streetgauge.pipeline.pooling import pool_studies
    from streetgauge.report.text import pool_sentences

    opened = [open_study(path) for path in studies]
    result = pool_studies(opened, out, force=force, progress=screen.progress)
    _show(screen, result, pool_table(result), pool_sentences(result), out / "pool.parquet")


@app.command(
    epilog="Examples: `streetgauge sample leeds --budget 200`; "
    "`streetgauge sample leeds --budget 200 --travel 500`"
)
def sample(
    study: StudyPath,
    budget: Annotated[
        float,
        typer.Option(
            min=1, help="Number of locations to photograph; with --travel, their total cost."
        ),
    ],
    travel: Annotated[
        float | None,
        typer.Option(min=1, help="Metres of travel that cost as much as one location."),
    ] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Plan where to take images next: rank locations by the expected reduction of error."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.cli.tables import sample_table
    from streetgauge.io.files import read_table
    from streetgauge.pipeline.sampling import study_sample
    from streetgauge.report.text import sample_sentences

    opened = open_study(study)
    with opened.locked():
        opened.require_fresh("areas")
        result = study_sample(opened, budget, travel=travel)
    table = sample_table(opened.settings.name, read_table(opened.sample))
    _show(screen, result, table, sample_sentences(result), opened.sample)


@app.command(
    epilog="Examples: `streetgauge survey leeds --table survey.csv --outcome income`; "
    "`streetgauge survey leeds --table survey.xlsx --area lsoa --estimate mean --se se`"
)
def survey(
    study: StudyPath,
    table: Annotated[Path, typer.Option(help="Table of direct estimates, one row per area.")],
    outcome: Annotated[
        list[str] | None,
        typer.Option(help="Outcome whose predictions are used; may be repeated."),
    ] = None,
    area: Annotated[str, typer.Option(help="Column of area codes.")] = "area",
    estimate: Annotated[str, typer.Option(help="Column of direct estimates.")] = "estimate",
    variance: Annotated[
        str | None, typer.Option(help="Column of sampling variances (default: variance).")
    ] = None,
    se: Annotated[
        str | None, typer.Option(help="Column of standard errors instead of variances.")
    ] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Combine a survey's estimates for areas with predictions from images (Fay-Herriot)."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.cli.tables import survey_table
    from streetgauge.pipeline.survey import SurveyTable, study_survey
    from streetgauge.report.text import survey_sentences

    if variance is not None and se is not None:
        raise InputError("--variance, --se", "both are given", "name one of the columns")
    if se is None:
        variance = variance or "variance"
    opened = open_study(study)
    with opened.locked():
        opened.require_fresh("areas")
        columns = SurveyTable(table, area, estimate, variance, se)
        result = study_survey(opened, columns, outcome or ())
    _show(screen, result, survey_table(result), survey_sentences(result), opened.survey)


def _show(screen: Screen, result: object, table: Table, lines: list[str], file: Path) -> None:
    """Show a table, sentences and where all of it is; to a machine the result."""
    screen.result(table, result)
    if not screen.machine:
        for line in lines:
            screen.result(line)
        screen.report(f"Wrote {file}")


def _parse_numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """Read numbers with commas between; 0 alone is none of them."""
    if text.strip() in ("", "0"):
        return ()
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        step = "write them as 1,2,4"
        raise InputError(f"{option} {text}", f"these are not {what}", step) from None
