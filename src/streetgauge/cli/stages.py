"""Verbs that make a study, check it and run its stages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streetgauge.cli.app import (
    Force,
    Machine,
    Quiet,
    Screen,
    StudyPath,
    Verbose,
    app,
    echo,
    open_study,
)
from streetgauge.cli.tables import outcomes_table, print_headline, sources_table
from streetgauge.errors import InputError

if TYPE_CHECKING:
    from streetgauge.study import Study


@app.command(epilog="Example: `streetgauge demo --out my-demo`")
def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the city; streetgauge-demo, or -year-2, if not given."),
    ] = None,
    areas: Annotated[int, typer.Option(min=20, help="Number of areas.")] = 150,
    locations: Annotated[int, typer.Option(min=20, help="Number of postcodes.")] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed; another seed makes another city.")
    ] = 2019,
    year: Annotated[
        int, typer.Option(min=1, max=2, help="1, or 2 for the same places later, for `change`.")
    ] = 1,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Make a synthetic city and run every stage on it, from files to a report."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.synthetic import make_city

    out = out or Path("streetgauge-demo" if year == 1 else f"streetgauge-demo-year-{year}")
    file = out / "study.toml"
    if file.exists() and not _is_sample(file):
        raise InputError(file, "this is a study of your own", "choose another directory with --out")
    if file.exists() and not force:
        screen.report(f"The city in {out} is there already; --force makes it again.")
    else:
        screen.report(
            f"Making a city of {areas:,} areas and {locations:,} postcodes in {out} ...",
            event="sample",
        )
        if file.exists():  # images of a city of another size would be counted as nobody's
            shutil.rmtree(out / "data" / "images", ignore_errors=True)
        make_city(
            out,
            seed=seed,
            n_areas=areas,
            n_locations=locations,
            year=year,
            progress=screen.progress,
        )
    _run_study(out, screen, force=force, audited=True)


@app.command(epilog="Example: `streetgauge init newport`")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The new study's directory.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an existing study.toml.")
    ] = False,
) -> None:
    """Write a commented study.toml to start from."""
    from importlib.resources import files

    from streetgauge.io.files import write_text

    file = directory / "study.toml"
    if file.exists() and not force:
        raise InputError(file, "this file exists", "choose another directory, or use --force")
    template = files("streetgauge").joinpath("study.template.toml").read_text(encoding="utf-8")
    write_text(template, file)
    echo(f"Wrote {file}. Edit it, then: streetgauge check {directory}")


@app.command(epilog="Example: `streetgauge check examples/newport`")
def check(
    study: StudyPath, quiet: Quiet = False, verbose: Verbose = False, machine: Machine = False
) -> None:
    """Read every input before any long work; report all problems and summarise the contents."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.pipeline.check import check as checks
    from streetgauge.settings import SettingsError
    from streetgauge.skips import counted

    try:
        opened = open_study(study)
    except SettingsError as error:
        for each in error.errors:
            screen.error(str(each))
        raise typer.Exit(2) from None
    screen.report(f"{opened.file}: settings can be used")
    problems = 0
    for found in checks(opened):
        if found.is_problem:
            screen.error(found.text)
            problems += 1
        else:
            screen.report(f"{found.name}: {found.text}", event="checked", check=found.name)
    if problems:
        screen.report(f"Not ready: {counted(problems, 'problem')}")
        raise typer.Exit(2)
    screen.report(f"Ready: streetgauge run {study}")


@app.command(epilog="Example: `streetgauge run examples/newport`")
def run(
    study: StudyPath,
    force: Force = False,
    redo: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE", help="Run this stage and all later ones again, from scratch."
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Run all stages; those that are up to date are skipped."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    _run_study(study, screen, force=force, redo=redo)


def _stage_command(name: str, help_text: str) -> None:
    def command(
        study: StudyPath,
        force: Force = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        machine: Machine = False,
    ) -> None:
        screen = Screen(quiet=quiet, verbose=verbose, machine=machine)

        opened = open_study(study)
        _require_made(opened, name)
        with opened.locked():
            opened.require_upstream(name)
            _do(opened, name, screen, force=force)

    app.command(name, help=help_text, epilog=f"Example: `streetgauge {name} examples/newport`")(
        command
    )


@app.command(
    epilog="Examples: `streetgauge outcomes list` shows what can be read; "
    "`streetgauge outcomes examples/newport`"
)
def outcomes(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="The study's directory, or its study.toml; or the word `list`."
        ),
    ],
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Read official statistics into values and deciles of each area, and summarise them."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    if study == "list":
        from streetgauge.outcomes import sources

        screen.result(sources_table(sources()), [each.as_json() for each in sources()])
        return
    from streetgauge.pipeline.info import outcomes_info

    opened = open_study(Path(study))
    with opened.locked():
        _do(opened, "outcomes", screen, force=force)
    summary = outcomes_info(opened.outcomes)
    screen.result(outcomes_table(opened.settings.name, summary), summary)


for _name, _help in {
    "locations": "Read a postcode directory or coordinates into locations with their areas.",
    "images": "Collect images of open street imagery (Mapillary, Panoramax).",
    "features": "Turn every image into a vector, or join features that exist already.",
    "train": "Train on the features, fold by fold, and predict every location out of fold.",
    "areas": "Turn predictions of locations into deciles of areas, with metrics and baselines.",
    "concepts": "Measure what the images show, and which of it differs between areas.",
    "report": "Write the report: one page that works offline.",
}.items():
    _stage_command(_name, _help)


def _is_sample(file: Path) -> bool:
    """Whether a study.toml is that of a sample city, which may be made again."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return lines.readline().startswith("# The sample city")


def _run_study(
    path: Path,
    screen: Screen,
    *,
    force: bool,
    redo: str | None = None,
    audited: bool = False,
) -> None:
    from streetgauge.pipeline.run import forget_stages
    from streetgauge.study.stages import downstream, stage_named, stages_of

    study, again = open_study(path, anew=force), set()
    if redo is not None:
        stage = stage_named(redo)
        _require_made(study, redo)
        again = {stage.name, *(each.name for each in downstream(stage, study))}
    study.require_files()
    with study.locked():
        if study.curves.exists():
            from streetgauge.pipeline.report import read_curves

            read_curves(study)  # the report draws them, hours from now
        stages = stages_of(study)
        if force or again:
            forget_stages(study, [s.name for s in stages if force or s.name in again])
        for stage in stages:
            if audited and stage.name == "report":
                _audit(study, screen)
            _do(study, stage.name, screen, force=False)
    if study.settings.lacking is None:
        print_headline(study, screen)
    else:
        step = f"streetgauge map {study.directory}"
        text = f"Official statistics: {study.outcomes}; a map of them: {step}"
        screen.result(text, {"outcomes": str(study.outcomes)})


def _audit(study: Study, screen: Screen) -> None:
    """Find who is misjudged and how old the images are, so that the report has both."""
    from streetgauge.pipeline.age import study_age
    from streetgauge.pipeline.fairness import study_fairness
    from streetgauge.pipeline.findings import read_findings

    if read_findings(study, study.fairness) is None:
        study_fairness(study)
    if read_findings(study, study.age) is None:
        try:
            study_age(study, progress=screen.progress)
        except InputError as error:  # images of a city that an older version made have no dates
            screen.report(str(error))


def _require_made(study: Study, name: str) -> None:
    """Refuse a stage that makes nothing in this study."""
    from streetgauge.study.stages import makes, stage_named

    if makes(stage_named(name), study):
        return
    if study.settings.lacking is not None:
        raise InputError(
            study.file,
            f"`{name}` needs {study.settings.lacking}, which the study does not have",
            "add it; `streetgauge outcomes` and `streetgauge map` do without",
        )
    if name == "concepts":
        raise InputError(
            study.file,
            "`concepts` are of images, and the study's features are not",
            'set features.source = "images" and name the images under [imagery]',
        )
    raise InputError(
        study.file,
        f"`{name}` makes nothing in this study, which has images or features of its own",
        'for open street imagery set imagery.source = "mapillary" or "panoramax"',
    )


def _do(study: Study, name: str, screen: Screen, *, force: bool) -> None:
    from streetgauge.pipeline.run import run_stage

    done = run_stage(study, name, screen.progress, force=force)
    if done is None:
        screen.report(f"{name}: up to date", event="up to date", stage=name)
        return
    seconds = study.record["stages"][name]["seconds"]
    screen.report(f"{name}: {seconds:.1f} s", event="stage", stage=name, seconds=seconds)
    for line in done.lines:
        screen.report(f"  {line}", event="detail", stage=name)
