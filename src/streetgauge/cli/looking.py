"""Verbs that show what is there: in words, as a map, in the browser."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from streetgauge.cli._app import Machine, Quiet, StudyPath, app
from streetgauge.screen import Screen

__all__ = ["info", "view", "write_map"]


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
    from streetgauge.stages.report import make_map
    from streetgauge.study import Study

    opened = Study.open(study)
    opened.require_fresh("areas")
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
