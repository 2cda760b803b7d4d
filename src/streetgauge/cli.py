"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from streetgauge import __version__
from streetgauge.errors import InputError, StreetgaugeError
from streetgauge.screen import Screen, outcomes_table, sources_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from streetgauge.study import Study

Number = TypeVar("Number", int, float)

__all__ = ["app", "main"]

app = typer.Typer(
    name="streetgauge",
    help="Measure social, environmental and health inequalities from street pictures.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

# How kinds of folds are called in the headline.
KINDS = {"random": "random folds", "spatial": "spatial folds"}

StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="The study's directory, or its study.toml.")
]
Force = Annotated[bool, typer.Option("--force", help="Do it again, even if it is up to date.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors and results.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]
Machine = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def main() -> None:
    """Run the command line; errors that a user can mend are one sentence and exit code 2."""
    machine = "--json" in sys.argv
    try:
        app()
    except StreetgaugeError as error:
        Screen(machine=machine).error(str(error))
        raise SystemExit(2) from None
    except OSError as error:
        subject = error.filename or "the system"
        reason = error.strerror or str(error)
        Screen(machine=machine).error(f"{subject}: {reason[0].lower() + reason[1:]}.")
        # What the user can mend is bad input; a full disk or a broken one is not.
        mendable = (PermissionError, IsADirectoryError, NotADirectoryError, FileNotFoundError)
        named = isinstance(error, (*mendable, FileExistsError))
        raise SystemExit(2 if named or error.errno == errno.ENAMETOOLONG else 1) from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streetgauge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which one.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: `streetgauge demo --out my-demo`")
def demo(
    out: Annotated[Path, typer.Option(help="Where the city and its study are made.")] = Path(
        "streetgauge-demo"
    ),
    areas: Annotated[int, typer.Option(min=20, help="Areas of the city.")] = 150,
    locations: Annotated[int, typer.Option(min=20, help="Postcodes of the city.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another city.")] = 2019,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Make a synthetic city and run the whole chain on it, from files to a report."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.sample import make_city

    file = out / "study.toml"
    if file.exists() and not _is_sample(file):
        raise InputError(file, "this is a study of your own", "take another directory with --out")
    if file.exists() and not force:
        screen.say(f"The city in {out} is there already; --force makes it anew.")
    else:
        screen.say(
            f"Making a city of {areas:,} areas and {locations:,} postcodes in {out} ...",
            event="sample",
        )
        make_city(out, seed=seed, n_areas=areas, n_locations=locations, progress=screen.progress)
    _run_study(out, screen, force=force)


@app.command(epilog="Example: `streetgauge init newport`")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The new study's directory.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a study.toml.")] = False,
) -> None:
    """Write a commented study.toml to start from."""
    from importlib.resources import files

    from streetgauge.files import write_text

    file = directory / "study.toml"
    if file.exists() and not force:
        raise InputError(file, "this file exists", "take another directory, or use --force")
    template = files("streetgauge").joinpath("study.template.toml").read_text(encoding="utf-8")
    write_text(template, file)
    typer.echo(f"Wrote {file}. Edit it, then: streetgauge check {directory}")


@app.command(epilog="Example: `streetgauge check examples/newport`")
def check(
    study: StudyPath, quiet: Quiet = False, verbose: Verbose = False, machine: Machine = False
) -> None:
    """Read every input before any long work, and say what is there."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.stages import check as checks
    from streetgauge.study import Study

    opened = Study.open(study)
    screen.say(f"{opened.file}: settings can be used")
    for name, look in checks(opened).items():
        screen.say(f"{name}: {look()}", event="checked", what=name)
    screen.say(f"Ready: streetgauge run {study}")


@app.command(epilog="Example: `streetgauge run examples/newport`")
def run(
    study: StudyPath,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Do all stages; those that are up to date are skipped."""
    _run_study(study, Screen(quiet=quiet, verbose=verbose, machine=machine), force=force)


def _stage_command(name: str, help_text: str) -> None:
    def command(
        study: StudyPath,
        force: Force = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        machine: Machine = False,
    ) -> None:
        screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
        from streetgauge.stages import require_upstream, stages_of
        from streetgauge.study import Study

        opened = Study.open(study)
        if name not in {stage.name for stage in stages_of(opened)}:
            raise InputError(
                opened.file,
                f"`{name}` makes nothing in this study, which has pictures or features of its own",
                'for open street imagery set imagery.source = "mapillary" or "panoramax"',
            )
        with opened.locked():
            require_upstream(opened, name)
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
            metavar="STUDY", help="The study's directory, or its study.toml; or the word list."
        ),
    ],
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Read official statistics into values and deciles of each area, and sum them up."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    if study == "list":
        from streetgauge.outcomes import sources

        screen.result(sources_table(sources()), [each.as_json() for each in sources()])
        return
    from streetgauge.describe import describe_outcomes
    from streetgauge.study import Study

    opened = Study.open(Path(study))
    with opened.locked():
        _do(opened, "outcomes", screen, force=force)
    summary = describe_outcomes(opened.outcomes)
    screen.result(outcomes_table(opened.settings.name, summary), summary)


for _name, _help in {
    "locations": "Read a postcode directory or coordinates into locations with their areas.",
    "pictures": "Collect pictures of open street imagery (Mapillary, Panoramax).",
    "features": "Turn every picture into a vector, or join features that exist already.",
    "train": "Learn from the features, fold by fold, and predict every location out of fold.",
    "areas": "Turn predictions of locations into deciles of areas, with metrics and baselines.",
    "report": "Write the page to look at.",
}.items():
    _stage_command(_name, _help)


@app.command(
    epilog="Example: `streetgauge predict leeds-bundle --images pictures "
    "--locations places.csv --out leeds`"
)
def predict(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE",
            help="A trained model: its directory, its study's, or hf://user/name@revision.",
        ),
    ],
    locations: Annotated[
        Path, typer.Option(help="Table with location_id, and area if you want areas (CSV, Parquet)")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the predictions.")],
    images: Annotated[Path | None, typer.Option(help="Folder with the pictures.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="A feature store that exists already, not pictures.")
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="File names of the pictures.")
    ] = "{location_id}_{view}.jpg",
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's weights, if they are not published ones.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What computes it: auto, torch, openvino or onnxruntime.")
    ] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Use a trained model on the pictures of another city."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.transfer import predict_city

    for line in predict_city(
        *(bundle, images, locations, out),
        features=features,
        pattern=pattern,
        weights=weights,
        engine=engine,
        progress=screen.progress,
    ):
        screen.say(line)


@app.command(
    epilog="Examples: `streetgauge export examples/newport --out newport-bundle`; "
    "`streetgauge export streetgauge-demo --features parquet --out features.parquet`"
)
def export(
    study: StudyPath,
    out: Annotated[Path, typer.Option(help="The bundle's directory; of features, a file.")],
    features: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Not the model but the features: zarr or parquet. STUDY may be "
            "a feature store (.h5).",
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="What allows its use, e.g. cc-by-4.0; written on its card.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="USER/NAME", help="Publish it on the Hugging Face Hub; needs HF_TOKEN."
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For everyone, when published.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Copy the model that learned from all of a study, or its features, for use elsewhere."""
    from streetgauge.study import Study

    if features is not None:
        from streetgauge.transfer import export_features

        screen = Screen()
        for line in export_features(*(study, out, features), force=force, progress=screen.progress):
            screen.say(line)
        return
    from streetgauge.transfer import export_bundle

    for line in export_bundle(Study.open(study), out, licence=licence, force=force):
        typer.echo(line)
    if push is not None:
        from streetgauge.learn.hub import push as publish

        typer.echo(f"Published: {publish(out, push, public=public)}")
    typer.echo(f"What it is: streetgauge info {out}")


@app.command(
    "import-weights",
    epilog="Examples: `streetgauge import-weights london.pth --outcome income --out london`; "
    "`streetgauge import-weights vgg16.npy --out vgg16-caffe.safetensors`",
)
def import_weights(
    file: Annotated[
        Path, typer.Argument(help="The authors' PyTorch weights (.pth), or VGG16 as .npy.")
    ],
    out: Annotated[
        Path, typer.Option(help="The bundle's directory; of VGG16, a .safetensors file.")
    ],
    outcome: Annotated[
        str | None, typer.Option(help="What the authors' network was trained for, as one word.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The same for people.")] = None,
    place: Annotated[str | None, typer.Option(help="Where it was trained.")] = None,
    licence: Annotated[str | None, typer.Option(help="What allows its use.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Convert weights that others have published: safetensors come out, and no code is run."""
    from streetgauge.transfer import import_file

    for line in import_file(
        *(file, out), outcome=outcome, label=label, place=place, licence=licence, force=force
    ):
        typer.echo(line)


@app.command(epilog="Example: `streetgauge info streetgauge-demo/features/efficientnet-lite0.h5`")
def info(
    file: Annotated[Path, typer.Argument(help="A study, a store, a bundle, or a table of ours.")],
    machine: Machine = False,
) -> None:
    """Say what a study, a feature store, a bundle or a table is."""
    from streetgauge.describe import describe

    facts = describe(file)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        table.add_row(name, text)
    Screen(machine=machine).result(table, facts)


@app.command("map", epilog="Example: `streetgauge map examples/newport --out newport.html`")
def write_map(
    study: StudyPath,
    out: Annotated[
        Path | None, typer.Option(help="The page; map.html in the study's directory if not given.")
    ] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Write the interactive map alone, as one file that works offline."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.stages import require_fresh
    from streetgauge.stages.report import make_map
    from streetgauge.study import Study

    opened = Study.open(study)
    require_fresh(opened, "areas")
    path = opened.path("map.html") if out is None else out
    make_map(opened, path, screen.progress)
    screen.result(f"Map: {path} ({path.stat().st_size / 1e6:.1f} MB)", {"map": str(path)})


@app.command(epilog="Example: `streetgauge view examples/newport`")
def view(
    study: StudyPath,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0 takes any free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    machine: Machine = False,
) -> None:
    """Show the report in the browser, live during a run, to this machine only; Ctrl-C ends it."""
    screen = Screen(machine=machine)
    from streetgauge.study import Study
    from streetgauge.view import view as serve

    def tell(address: str) -> None:
        screen.result(address, {"address": address})
        sys.stdout.flush()  # whoever reads it through a pipe waits for it
        screen.say("For this machine only, until Ctrl-C. Who has the address can read the study.")

    serve(Study.open(study), port=port, browser=browser, tell=tell)


@app.command(
    epilog="Examples: `streetgauge compare newport newport-more-pictures`; "
    "`streetgauge compare leeds london-bundle --out comparison`"
)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A study, or a bundle.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another: is it better?")],
    out: Annotated[Path | None, typer.Option(help="Directory for comparison.json.")] = None,
    draws: Annotated[
        int | None, typer.Option(min=100, help="Bootstrap draws; as in A if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 2019,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Compare two studies, or a study and a bundle's figures: paired by the areas they share."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.compare import FILE
    from streetgauge.compare import compare as compared
    from streetgauge.shown import comparison_tables, settings_table

    result = compared(a, b, out=out, draws=draws, seed=seed)
    if machine:
        screen.result("", result)
        return
    settings = settings_table(result)
    for table in [*comparison_tables(result), *([settings] if settings is not None else [])]:
        screen.result(table)
    for side, names in result["only"].items():
        if names:
            screen.say(f"Only in {side}: {', '.join(names)}")
    for caution in result["cautions"]:
        screen.result(Text(f"CAUTION: {caution}"))
    if out is not None:
        screen.say(f"Wrote {out / FILE}")


@app.command(
    epilog="Examples: `streetgauge curves streetgauge-demo --members 1`; "
    "`streetgauge curves leeds --shares 0.1,0.5 --locations 1,2,4 --views 1`"
)
def curves(
    study: StudyPath,
    shares: Annotated[
        str, typer.Option(help="Of the areas to learn from; 0 for none of these points.")
    ] = "0.05,0.1,0.25,0.5",
    locations: Annotated[
        str | None,
        typer.Option(help="Locations of an area; 1,2,4,... if not given, 0 for none."),
    ] = None,
    views: Annotated[
        str | None, typer.Option(help="Views of a location; 1,2,3,... if not given, 0 for none.")
    ] = None,
    members: Annotated[
        int | None, typer.Option(min=1, help="Members of each network: 1 is cheap.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    machine: Machine = False,
) -> None:
    """Learn from fewer areas, fewer locations and fewer views, to see what more would give."""
    screen = Screen(quiet=quiet, verbose=verbose, machine=machine)
    from streetgauge.curves import Curves
    from streetgauge.shown import curves_table
    from streetgauge.stages import require_upstream
    from streetgauge.study import Study

    opened = Study.open(study)
    given = {"shares": _numbers("--shares", shares, float)}
    given |= {
        name: _numbers(f"--{name}", text, int)
        for name, text in (("locations", locations), ("views", views))
        if text is not None
    }
    with opened.locked():
        require_upstream(opened, "train")
        drawn = Curves(opened, **given, members=members, epochs=epochs)  # type: ignore[arg-type]
        screen.say(drawn.cost, event="cost")
        result = drawn.draw(screen.progress)
    screen.result(curves_table(opened.settings.name, result), result)
    for each in result["left_out"]:
        screen.say(f"{each['by']} {each['value']:g}: left out, {each['reason']}")
    screen.say(f"Wrote {opened.path('curves.json')}")


@app.command(
    epilog="Examples: `streetgauge power streetgauge-demo --target spearman=0.7`; "
    "`streetgauge power leeds --signal 0.1,0.3 --locations 1,4,16 --views 1,4 --areas 100,482`"
)
def power(
    study: StudyPath,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="mae=1.5, spearman=0.7, mae-width=0.2 or spearman-width=0.1; may be repeated."
        ),
    ] = None,
    signal: Annotated[
        str | None,
        typer.Option(help="How strong, 0 to 1; what the study's own result says if not given."),
    ] = None,
    areas: Annotated[str | None, typer.Option(help="Numbers of areas; all if not given.")] = None,
    locations: Annotated[str, typer.Option(help="Locations of an area, at most.")] = "1,2,4,8,16",
    views: Annotated[str, typer.Option(help="Views of a location.")] = "1,2,4",
    repeats: Annotated[int, typer.Option(min=1, help="Simulations of each.")] = 5,
    dimension: Annotated[int | None, typer.Option(min=1, help="Features of a view.")] = None,
    quiet: Quiet = False,
    machine: Machine = False,
) -> None:
    """Say how many pictures and areas a precision needs, by simulated studies of your areas."""
    screen = Screen(quiet=quiet, machine=machine)
    from streetgauge.power import FILE, Power, Target
    from streetgauge.shown import power_tables
    from streetgauge.stages import require_upstream
    from streetgauge.study import Study

    opened = Study.open(study)
    targets = [Target.read(text) for text in target or ()]
    with opened.locked():
        require_upstream(opened, "features")
        simulated = Power(
            opened,
            signals=_numbers("--signal", signal or "", float),
            areas=_numbers("--areas", areas or "", int),
            locations=_numbers("--locations", locations, int),
            views=_numbers("--views", views, int),
            repeats=repeats,
            dimension=dimension,
        )
        screen.say(simulated.cost, event="cost")
        result = simulated.measure(targets, screen.progress)
    if machine:
        screen.result("", result)
        return
    for table in power_tables(opened.settings.name, result):
        screen.result(table)
    screen.say(f"Wrote {opened.path(FILE)}")


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """Read numbers with commas between; 0 alone is none of them."""
    if text.strip() in ("", "0"):
        return ()
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        step = "write them as 1,2,4"
        raise InputError(f"{option} {text}", f"these are no {what}", step) from None


def _is_sample(file: Path) -> bool:
    """Whether a study.toml is that of a sample city, which may be made anew."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return lines.readline().startswith("# The sample city")


def _run_study(path: Path, screen: Screen, *, force: bool) -> None:
    from streetgauge.stages import stages_of
    from streetgauge.study import Study

    study = Study.open(path)
    study.require_files()
    with study.locked():
        for stage in stages_of(study):
            _do(study, stage.name, screen, force=force)
    _headline(study, screen)


def _do(study: Study, name: str, screen: Screen, *, force: bool) -> None:
    from streetgauge.stages import stage_named

    stage = stage_named(name)
    done = study.run(stage, screen.progress, force=force)
    if done is None:
        screen.say(f"{name}: up to date", event="up to date", stage=name)
        return
    seconds = study.record["stages"][name]["seconds"]
    screen.say(f"{name}: {seconds:.1f} s", event="stage", stage=name, seconds=seconds)
    for line in done.lines:
        screen.say(f"  {line}", event="detail", stage=name)


def _headline(study: Study, screen: Screen) -> None:
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
    from streetgauge.files import read_metadata
    from streetgauge.skips import without_value

    classes = metrics["classes"]
    many = "deciles" if classes == 10 else f"{classes} classes"
    # With few classes the one beside is not close.
    close, near = ("within_1", "within\n1") if classes >= 5 else ("exact", "same\nclass")
    table = Table(
        title=f"{study.settings.name}: areas' {many}; {metrics['scheme']['in_words']}",
        caption=f"Below each figure its {metrics['coverage']:.0%} interval. MAE: mean absolute "
        f"error in {many}. Pictures add: how much less that is than by the best guess without "
        f"them, which is named; {_in_which_folds(metrics)}.",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("outcome", min_width=12)
    kinds = list(next(iter(metrics["headline"].values())))
    added = [f"pictures add\n{KINDS.get(kind, kind)}" for kind in kinds]
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
        screen.result(Text(f"* {label}: {said}"), {"incomplete": name, "says": said})
    if caution := metrics["scheme"]["caution"]:
        screen.result(f"CAUTION: {caution}", {"caution": caution})


def _in_which_folds(metrics: dict[str, Any]) -> str:
    """Say how areas were held out, of each kind of folds."""
    own, second = metrics["kind"], next((k for k in KINDS if k in metrics), None)
    said = {own: metrics["scheme"]["in_words"]}
    if second is not None:
        said[second] = metrics[second]["scheme"]["in_words"]
    return "; ".join(f"{KINDS.get(kind, kind)}: {said[kind]}" for kind in sorted(said))


def _headline_cells(
    about: dict[str, Any], headline: dict[str, dict[str, Any] | None], close: str
) -> list[str]:
    values, possible = about["metrics"], "-"
    with suppress(KeyError, TypeError):
        possible = f"{about['oracle']['share_of_possible']['spearman']:.0%}"
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


if __name__ == "__main__":
    main()
