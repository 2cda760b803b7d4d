"""The app that verbs are added to, the options that most of them have, and the screen."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from streetgauge.errors import visible
from streetgauge.progress import Advance
from streetgauge.version import __version__

if TYPE_CHECKING:
    from streetgauge.study import Study


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
Force = Annotated[bool, typer.Option("--force", help="Run it again, even if it is up to date.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors and results.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print more details.")]
Machine = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def open_study(path: Path, *, anew: bool = False) -> Study:
    """Open a study; what that needs is loaded no sooner, so that ``--help`` is there at once."""
    from streetgauge.study import Study

    return Study.open(path, anew=anew)


def _version(wanted: bool) -> None:
    if wanted:
        echo(f"streetgauge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


class PlainConsole(Console):
    """A console on which names and paths stand as they are: no markup, and no control characters.

    Rich reads "[/bold]" of a study's name as a tag, and takes "[draft]" out of a path; here a style
    comes from the program alone.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(
            stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
        )

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as any console, with signs that a terminal would act on as escapes."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                lines = "\n".join(map(visible, segment.text.split("\n")))
                yield Segment(lines, segment.style)


def replace_unknown_signs() -> None:
    """Let what a stream's encoding lacks become a question mark, and no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a pipe on Windows has no ρ, and no name's ł
            stream.reconfigure(errors="replace")


def echo(line: str) -> None:
    """Print a line that was asked for to standard output, of any command without options of it."""
    Screen().result(line)


class Screen:
    """Where the command line reports what happens.

    Messages and bars go to standard error, results to standard output, so that results can be
    piped.

    Parameters
    ----------
    quiet : bool
        Print nothing but errors and what was asked for.
    verbose : bool
        Print more, e.g. what libraries log.
    machine : bool
        One JSON object a line instead of text and bars.
    """

    def __init__(
        self, *, quiet: bool = False, verbose: bool = False, machine: bool = False
    ) -> None:
        self.quiet, self.verbose, self.machine = quiet, verbose, machine
        replace_unknown_signs()
        self._lock = threading.Lock()  # folds train in threads, and each reports its progress
        self.console = PlainConsole(stderr=True, soft_wrap=True)
        self.output = PlainConsole()
        if not self.output.is_terminal:
            self.output.width = 100  # a file or a log: no terminal gives its width
        logging.basicConfig(
            level=logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING,
            format="%(message)s",
            handlers=[_Lines(self)],
            force=True,
        )

    def report(self, message: str, *, event: str = "message", **details: object) -> None:
        """Tell what happens; silent when quiet."""
        if self.quiet:
            return
        if self.machine:
            self._json(event=event, message=message, **details)
        else:
            # A log's message may have several lines.
            lines = message.splitlines() if event == "log" else [message]
            self.console.print(Text("\n".join(map(visible, lines))))

    def error(self, message: str) -> None:
        """Tell what went wrong, also when quiet."""
        if self.machine:
            self._json(event="error", message=message)
        else:
            self.console.print(Text.assemble(("Error: ", "bold red"), visible(message)))

    def result(self, table: Table | Text | str, data: object = None) -> None:
        """Print what was asked for to standard output."""
        if self.machine:
            print(_json_text(data, sys.stdout.encoding))  # noqa: T201
        elif isinstance(table, str):
            self.output.print(Text(visible(table)), soft_wrap=True)
        else:
            self.output.print(table)

    @contextmanager
    def progress(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """Show how far long work is, with its rate and the time left."""
        if self.quiet:
            yield lambda steps: None
        elif self.machine:
            yield from self._json_progress(description, total, unit)
        else:
            with Progress(
                TextColumn("  {task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}"),
                _Rate(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
                disable=not self.console.is_terminal,
            ) as bar:
                task = bar.add_task(description, total=total, unit=unit)
                yield lambda steps: bar.update(task, advance=steps)

    def _json_progress(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        started = last = time.monotonic()
        done = 0

        def advance(steps: int) -> None:
            nonlocal done, last
            now = time.monotonic()
            with self._lock:
                done += steps
                if now - last < 1 and done < total:
                    return
                last, rate = now, round(done / max(now - started, 1e-9), 2)
                fields = {"task": description, "done": done, "total": total, "unit": unit}
            self._json(event="progress", **fields, rate=rate)

        yield advance

    def _json(self, **fields: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = _json_text({"time": now, **fields}, sys.stderr.encoding)
        with self._lock:  # a line and its end at once, however many threads write
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _json_text(content: object, encoding: str | None) -> str:
    """Write JSON as an encoding can hold it: with escapes where it lacks a sign."""
    text = json.dumps(content, default=str, ensure_ascii=False)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, default=str)
    return text


class _Rate(TextColumn):
    """Steps a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s")


class _Lines(logging.Handler):
    """Log records of this and other packages, on the same screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self.screen.report(self.format(record), event="log", level=record.levelname.lower())
