"""The figures of a study, drawn once: for the report, for a paper, and as numbers."""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from streetgauge.io.files import atomic_directory
from streetgauge.processes import process_pool
from streetgauge.progress import Progress, silent
from streetgauge.report.figures import classes as of_classes
from streetgauge.report.figures import errors as of_errors
from streetgauge.report.figures import study as of_study
from streetgauge.report.figures.drawing import Sketch, drawing, files_of, short
from streetgauge.watchdog import answer_watchdog, watched_log

__all__ = ["Each", "Figure", "draw_figures", "processes", "save_figures"]

# A figure that there may be: its kind, its outcome, and what sketches it.
Plan = tuple[str, str | None, Callable[[], Sketch | None]]


# As `map` is: it goes through tasks and gives what becomes of each, in their order.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
SELDOM = 50_000  # new objects; drawing makes many, and few of them are garbage in a ring


@dataclass(frozen=True)
class Figure:
    """One figure, ready for a page and for a paper.

    Parameters
    ----------
    name : str
        Of its files: lower-case letters, digits, hyphens.
    title : str
        What it is.
    caption : str
        What a reader must know to read it.
    svg : str
        For a page: without an XML declaration, styled by attributes alone, its ids its own, and
        readable aloud.
    pdf, png : bytes or None
        With embedded fonts; with 300 dots an inch. None if they were not asked for.
    table : DataFrame
        The numbers that are drawn.
    outcome : str or None
        Whose it is; None of all.

    Examples
    --------
    >>> table = pd.DataFrame({"decile": [1, 2], "areas": [8, 8]})
    >>> figure = Figure("counts", "Areas", "Areas by decile.", "<svg/>", None, None, table)
    >>> figure.name, figure.outcome
    ('counts', None)
    """

    name: str
    title: str
    caption: str
    svg: str
    pdf: bytes | None
    png: bytes | None
    table: pd.DataFrame
    outcome: str | None = None

    @property
    def alt(self) -> str:
        """What those read who do not see it.

        Examples
        --------
        >>> Figure("map", "A map", "Deciles of 16 areas.", "<svg/>", None, None, pd.DataFrame()).alt
        'Deciles of 16 areas.'
        """
        return self.caption


def draw_figures(
    metrics: Mapping[str, Any],
    table: pd.DataFrame,
    labels: Mapping[str, str] | None = None,
    *,
    history: pd.DataFrame | None = None,
    curves: Mapping[str, Any] | None = None,
    paper: bool = True,
    each: Each = map,
    progress: Progress = silent,
) -> list[Figure]:
    """Draw every figure for which there are data.

    The same input gives the same bytes. Sizes are one or two columns of a journal page (89 and
    183 mm), type is 8 points and not below 7, and everything can be distinguished without colour.

    Parameters
    ----------
    metrics : mapping
        From `streetgauge.evaluation.evaluate`, with ``headline`` and ``transfer`` where they are.
    table : DataFrame
        The areas: ``area, outcome, decile, low, high, actual_decile``; ``status``, ``p1`` to
        ``pK`` and ``residual_nearby`` where they are.
    labels : mapping of outcome to str, optional
        What people call the outcomes, in the order of the figures.
    history : DataFrame, optional
        The course of the training, from ``model/history.jsonl``.
    curves : mapping, optional
        ``curves.json``.
    paper : bool, default True
        Also as PDF and PNG, which takes two thirds of the time.
    each : callable
        What goes through the work, here or in other processes: see `processes`.
    progress : Progress
        Reports how many are drawn.

    Returns
    -------
    list of Figure
        First those of the whole study, then those of each outcome.

    Examples
    --------
    >>> import json
    >>> metrics = json.loads(Path("streetgauge-demo/metrics.json").read_text())
    >>> areas = pd.read_parquet("streetgauge-demo/areas.parquet").query("n_locations > 0")
    >>> metrics["outcomes"] = {"crime": metrics["outcomes"]["crime"]}  # all of them take longer
    >>> [figure.name for figure in draw_figures(metrics, areas, paper=False)][:2]
    ['gain', 'methods']
    """
    known = {name: name for name in metrics["outcomes"]}
    named = {name: short(text, 60) for name, text in (labels or {}).items() if name in known}
    named |= {name: text for name, text in known.items() if name not in named}
    tasks = [[plan] for plan in _of_study(metrics, named, history, curves)]
    tasks += _of_outcomes(metrics, table, named)
    figures: list[Figure] = []
    with progress("figures", sum(map(len, tasks)), "figures") as advance:
        for task, drawn in zip(tasks, each(partial(_draw, paper), tasks), strict=True):
            figures += drawn
            advance(len(task))
    return figures


def _draw(paper: bool, plans: Sequence[Plan]) -> list[Figure]:
    """Draw those of the planned figures for which there are data."""
    figures = []
    with drawing():
        for kind, outcome, sketch_of in plans:
            if (sketch := sketch_of()) is not None:
                name = kind if outcome is None else f"{kind}-{_file_name(outcome)}"
                figures.append(_figure(name, sketch, outcome, paper))
    return figures


def save_figures(figures: Sequence[Figure], maps: Mapping[str, bytes], directory: Path) -> None:
    """Write each figure as SVG, PDF, PNG and CSV, and the maps, instead of all that is there.

    Parameters
    ----------
    figures : sequence of Figure
    maps : mapping of outcome to bytes
        From `draw_maps`; their files are ``map-<outcome>.png``.
    directory : Path
        Written whole or not at all.

    Examples
    --------
    >>> figure = Figure("map", "A map", "Deciles.", "<svg/>", None, None, pd.DataFrame({"a": [1]}))
    >>> save_figures([figure], {}, Path("figures"))
    >>> sorted(path.name for path in Path("figures").iterdir())
    ['map.csv', 'map.svg']
    """
    with atomic_directory(directory) as temporary:
        for figure in figures:
            declared = f'<?xml version="1.0" encoding="utf-8"?>\n{figure.svg}\n'
            (temporary / f"{figure.name}.svg").write_bytes(declared.encode())
            if figure.pdf is not None:
                (temporary / f"{figure.name}.pdf").write_bytes(figure.pdf)
            if figure.png is not None:
                (temporary / f"{figure.name}.png").write_bytes(figure.png)
            figure.table.to_csv(temporary / f"{figure.name}.csv", index=False, lineterminator="\n")
        for outcome, content in maps.items():
            (temporary / f"map-{_file_name(outcome)}.png").write_bytes(content)


def _of_study(
    metrics: Mapping[str, Any],
    labels: Mapping[str, str],
    history: pd.DataFrame | None,
    curves: Mapping[str, Any] | None,
) -> Iterator[Plan]:
    """Plan the figures of the whole study."""
    course = pd.DataFrame() if history is None else history
    yield "gain", None, partial(of_study.added, metrics, labels)
    yield "methods", None, partial(of_study.methods, metrics, labels)
    yield "sources", None, partial(of_study.sources, metrics, labels)
    yield "transfer", None, partial(of_study.transfer, metrics, labels)
    for by in ("areas", "locations", "views"):
        yield f"fewer-{by}", None, partial(of_study.less_data, curves, by, labels)
    for metric in ("loss", "tau"):
        yield f"training-{metric}", None, partial(of_study.training, course, metric, labels)


def _of_outcomes(
    metrics: Mapping[str, Any], table: pd.DataFrame, labels: Mapping[str, str]
) -> Iterator[list[Plan]]:
    """Plan the figures of each outcome, with what is its own: it may go to another process."""
    classes = int(metrics["classes"])
    common = {"classes": classes, "interval_level": metrics["interval_level"]}
    rows_of = {str(name): rows for name, rows in table.groupby("outcome")}
    for name, label in labels.items():
        evaluation = metrics["outcomes"][name]
        rows = rows_of.get(name, table.iloc[:0])
        of = (rows, evaluation, common, label)
        yield [
            ("confusion", name, partial(of_classes.confusion, evaluation, classes, label)),
            ("agreement", name, partial(of_classes.agreement, *of)),
            ("reliability", name, partial(of_classes.reliability, *of)),
            ("groups", name, partial(of_errors.groups, evaluation, common, label)),
            ("moran", name, partial(of_errors.moran_scatter, rows, evaluation, label, classes)),
        ]


def _figure(name: str, sketch: Sketch, outcome: str | None, paper: bool) -> Figure:
    files = files_of(sketch.canvas, name, sketch.title, sketch.caption, paper=paper)
    about = (name, sketch.title, sketch.caption, files.svg, files.pdf, files.png)
    return Figure(*about, sketch.table.reset_index(drop=True), outcome)


def _file_name(outcome: str) -> str:
    """Make part of a file's name of an outcome's: the name itself where that can be one."""
    plain = re.sub("[^a-z0-9_-]+", "-", outcome.lower())[:40].strip("-")
    own = hashlib.sha256(outcome.encode()).hexdigest()[:6]
    return outcome if plain == outcome else f"{plain}-{own}".lstrip("-")


@contextmanager
def processes(workers: int) -> Iterator[Each]:
    """Give what goes through the tasks of drawing: here, or in processes of its own.

    All that is given to it before the block ends shares the same processes, so the tasks of one
    kind fill the gaps of another.

    Parameters
    ----------
    workers : int
        Processes that draw at the same time, started afresh ("spawn"): a script that asks for more
        than one needs the usual ``if __name__ == "__main__":``.

    Yields
    ------
    callable
        ``each(function, tasks)``, as `map`: results come in the order of the tasks.

    Examples
    --------
    >>> with processes(1) as each:
    ...     list(each(abs, [-1, 2]))
    [1, 2]
    """
    with process_pool(workers, _prepare_process, (watched_log(),)) as pool:
        yield map if pool is None else pool.map


def _prepare_process(log: Path | None) -> None:
    """Load what draws, and collect garbage among what is drawn only: a tenth of the time."""
    answer_watchdog(log)
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_pdf
    import matplotlib.backends.backend_svg  # noqa: F401

    gc.freeze()
    gc.set_threshold(SELDOM)
