"""The app that verbs are added to, and the options that most of them have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streetgauge.version import __version__

__all__ = ["Force", "Machine", "Quiet", "StudyPath", "Verbose", "app"]

app = typer.Typer(
    name="streetgauge",
    help="Measure social, environmental and health inequalities from street images.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="The study's directory, or its study.toml.")
]
Force = Annotated[bool, typer.Option("--force", help="Do it again, even if it is up to date.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors and results.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]
Machine = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


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
