"""Maps as images, for slides: what is predicted next to the actual class, 1920 x 1080."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from streetgauge.report import text as words
from streetgauge.report.figures.draw import Each
from streetgauge.report.figures.drawing import GREY, INK, drawing, plain, png_of, short

if TYPE_CHECKING:
    import geopandas as gpd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["draw_maps", "draw_numbers"]

WIDTH, HEIGHT, DOTS = 40 / 3, 7.5, 144  # inches, and dots an inch: 1920 x 1080
FINEST = 1 / 1500  # of the longer side: about a dot
LEFT, GAP = 0.035, 0.02  # margins, shares of the width
PANELS = {
    "best_decile": "Best estimate",
    "decile": "Images alone",
    "actual_decile": "Actual {one}",
}
AT_ONCE = 3  # slides of a task: the shapes are handed over with each task


def draw_maps(
    areas: pd.DataFrame,
    table: pd.DataFrame,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Mapping[str, Any]],
    study: str,
    each: Each = map,
) -> Iterable[tuple[str, bytes]]:
    """Draw a slide for each outcome.

    A bar of kilometres and an arrow to the north are on it if the boundaries state in which
    coordinate system they are; they are then drawn in metres. Same input, same bytes.

    Parameters
    ----------
    areas : DataFrame or GeoDataFrame by area
        Without ``geometry`` there is no map.
    table : DataFrame
        ``area, outcome, decile, actual_decile``, and ``best_decile`` if there are best estimates.
    metrics : mapping
        From `streetgauge.evaluation.evaluate`.
    provenance : mapping of outcome to dict
        ``label``, ``publisher``, ``licence``, each if known.
    study : str
        Its name.
    each : callable
        What goes through the work, here or in other processes: see `processes`.

    Returns
    -------
    iterable of tuple of str and bytes
        Each outcome's name and a PNG, drawn at the latest when they are asked for.
    """
    ground = _Ground.of(areas)
    if ground is None:
        return ()
    scale = _Scale.of(int(metrics["classes"]))
    slides = []
    for name, evaluation in metrics["outcomes"].items():
        rows = table[table["outcome"] == name].set_index("area").reindex(ground.codes)
        if rows["decile"].notna().any():
            about = provenance.get(name, {})
            label = str(about.get("label") or evaluation.get("label") or name)
            summary, source = _summary(evaluation, scale, study), _source(evaluation, about)
            titles = {column: text.format(one=scale.one) for column, text in PANELS.items()}
            shown = {c: t for c, t in titles.items() if c in rows and rows[c].notna().any()}
            slides.append(_Slide(name, label, summary, source, rows[[*shown]], shown))
    tasks = [slides[i : i + AT_ONCE] for i in range(0, len(slides), AT_ONCE)]
    drawn = each(partial(_paint, ground, scale), tasks)
    return (slide for task in drawn for slide in task)


def draw_numbers(
    areas: pd.DataFrame,
    table: pd.DataFrame,
    titles: Mapping[str, str],
    label: str,
    summary: str,
) -> bytes | None:
    """Draw two columns next to each other, in the same ten classes.

    The classes are of equal count among all numbers of both.

    Parameters
    ----------
    areas : DataFrame or GeoDataFrame by area
        Without ``geometry`` there is no map.
    table : DataFrame by area
    titles : mapping of column to str
        What the two show.
    label, summary : str
        The slide's title, and a line below it.

    Returns
    -------
    bytes or None
        A PNG.
    """
    ground = _Ground.of(areas)
    if ground is None:
        return None
    values = table[[*titles]].reindex(ground.codes).astype("float64")
    steps = np.unique(np.nanquantile(values.to_numpy(), np.arange(1, 10) / 10))
    numbers = np.searchsorted(steps, values.to_numpy()) + 1.0
    classes = pd.DataFrame(numbers, values.index, values.columns).where(values.notna())
    bounds = ", ".join(words.general(step) for step in steps.tolist())
    slide = _Slide(
        "",
        label,
        summary,
        f"Classes are bounded by {bounds}.",
        classes,
        titles,
        ("low", "high"),
    )
    return _paint(ground, _Scale.of(len(steps) + 1), [slide])[0][1]


@dataclass(frozen=True)
class _Scale:
    """What the classes are called, and their colours."""

    one: str
    many: str
    near: str
    colours: Sequence[str]
    nothing: str

    @classmethod
    def of(cls, classes: int) -> _Scale:
        from streetgauge.evaluation.layers import NOTHING, class_colours

        return cls(*words.unit(classes), words.nearby(classes), class_colours(classes), NOTHING)


@dataclass(frozen=True)
class _Slide:
    """What is on a slide: its outcome, three lines of text, and the classes of all areas."""

    outcome: str
    label: str
    summary: str
    source: str
    rows: pd.DataFrame
    titles: Mapping[str, str]  # of each panel, by its column in `rows`
    ends: tuple[str, str] = ("worst off", "best off")


class _Ground:
    """The areas' shapes as matplotlib draws them."""

    def __init__(self, areas: gpd.GeoDataFrame) -> None:

        from streetgauge.evaluation import metric_crs  # drawing in other processes needs none of it

        self.codes = areas.index
        geometry = areas.geometry
        self.metric = geometry.crs is not None
        if self.metric:
            geometry = geometry.to_crs(metric_crs(areas))
        shapes = np.asarray(geometry.values, dtype=object)
        left, bottom, right, top = shapely.total_bounds(shapes)
        self.bounds = left, bottom, max(right, left + 1e-9), max(top, bottom + 1e-9)
        simple = shapely.coverage_simplify(shapes, max(right - left, top - bottom) * FINEST)
        self.paths = [_path(shape) for shape in simple]

    @classmethod
    def of(cls, areas: pd.DataFrame) -> _Ground | None:
        """Select the areas that have a polygon; None if none has."""
        if "geometry" not in areas.columns:
            return None
        polygons: Any = areas[areas.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
        polygons = polygons[~polygons.geometry.is_empty]
        return cls(polygons) if len(polygons) else None

    def paint(self, axes: Axes, values: pd.Series, scale: _Scale) -> None:
        """Fill every area with the colour of its class."""
        from matplotlib.collections import PathCollection
        from matplotlib.colors import to_rgba_array

        colours = to_rgba_array([scale.nothing, *scale.colours])
        face = colours[values.astype("Int64").fillna(0).to_numpy(np.int64)]
        axes.add_collection(
            PathCollection(self.paths, facecolors=face, edgecolors="white", linewidths=0.25),
            autolim=False,
        )
        left, bottom, right, top = self.bounds
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        axes.set_axis_off()


def _path(shape: Any) -> Any:
    from matplotlib.path import Path

    points, codes = [], []
    for part in shapely.get_parts(shape):
        for ring in shapely.get_rings(part):
            xy = shapely.get_coordinates(ring)
            points.append(xy)
            codes += [Path.MOVETO, *[Path.LINETO] * (len(xy) - 2), Path.CLOSEPOLY]
    return Path(np.concatenate(points), codes) if points else Path(np.empty((0, 2)))


def _paint(ground: _Ground, scale: _Scale, slides: Sequence[_Slide]) -> list[tuple[str, bytes]]:
    """Draw some slides."""
    with drawing():
        return [(slide.outcome, _drawn(ground, scale, slide)) for slide in slides]


def _drawn(ground: _Ground, scale: _Scale, slide: _Slide) -> bytes:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(WIDTH, HEIGHT), dpi=DOTS)
    canvas.text(LEFT, 0.925, short(slide.label, 70), size=26, color=INK, va="center")
    canvas.text(LEFT, 0.872, short(slide.summary, 150), size=13, color=GREY, va="center")
    panels = len(slide.titles)
    width = (1 - 2 * LEFT - (panels - 1) * GAP) / panels
    for i, (column, title) in enumerate(slide.titles.items()):
        left = LEFT + i * (width + GAP)
        axes = canvas.add_axes((left, 0.15, width, 0.63))
        ground.paint(axes, slide.rows[column], scale)
        canvas.text(left, 0.815, title, size=15, color=INK, va="center")
        if i == 0 and ground.metric:
            _bar_and_arrow(canvas, axes, ground)
    _legend(canvas, scale, slide.ends, missing=bool(slide.rows.isna().any(axis=None)))
    canvas.text(LEFT, 0.03, short(slide.source, 170), size=9.5, color=GREY, va="center")
    return png_of(canvas)


def _summary(evaluation: Mapping[str, Any], scale: _Scale, study: str) -> str:
    measured, text = evaluation["metrics"], plain(study)
    if measured["mae"]["value"] is None:
        return text
    best = evaluation.get("best")
    if best:
        return (
            f"{text}: mean absolute error {words.number(best['metrics']['mae']['value'], 1)} "
            f"{scale.many} for the best estimate, {words.number(measured['mae']['value'], 1)} for "
            f"images alone, in {words.plural(evaluation['n_areas'], 'area')} held out"
        )
    neighbour = " or the one next to it" if scale.near == "within_1" else ""
    return (
        f"{text}: {words.percent(measured[scale.near]['value'])} of "
        f"{words.plural(evaluation['n_areas'], 'area')} in the actual {scale.one}{neighbour}, "
        f"mean absolute error {words.number(measured['mae']['value'], 1)} {scale.many}"
    )


def _source(evaluation: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    official = [plain(about[key]) for key in ("publisher", "licence") if about.get(key)]
    actual = f" Official statistics: {', '.join(official)}." if official else ""
    best = evaluation.get("best")
    more = [each for each in best["from"].split(", ") if each != "images"] if best else []
    known = f" The best estimate also uses {words.listed(more)}." if more else ""
    return f"Predicted from street images with streetgauge, areas held out.{known}{actual}"


def _legend(canvas: Canvas, scale: _Scale, ends: tuple[str, str], *, missing: bool) -> None:
    """Put the scale below the maps, in the middle."""
    colours = scale.colours
    each = min(0.035, 0.35 / len(colours))
    left, bottom, height = 0.5 - each * len(colours) / 2, 0.088, 0.022
    from matplotlib.patches import Rectangle

    def box(x: float, colour: str) -> None:
        canvas.add_artist(
            Rectangle(
                (x, bottom), each * 0.96, height, facecolor=colour, transform=canvas.transFigure
            )
        )

    step = -(-len(colours) // 20)
    for k, colour in enumerate(colours):
        box(left + k * each, colour)
        if k % step == 0:
            canvas.text(
                left + (k + 0.48) * each,
                bottom - 0.018,
                str(k + 1),
                size=10,
                color=INK,
                ha="center",
                va="center",
            )
    middle = bottom + height / 2
    canvas.text(left - 0.01, middle, ends[0], size=12, color=INK, ha="right", va="center")
    end = left + len(colours) * each + 0.01
    canvas.text(end, middle, ends[1], size=12, color=INK, va="center")
    if missing:
        box(end + 0.1, scale.nothing)
        canvas.text(end + 0.11 + each, middle, "no value", size=12, color=INK, va="center")


def _bar_and_arrow(canvas: Canvas, axes: Axes, ground: _Ground) -> None:
    """Draw a round number of metres, and where north is, in the lower left of the slide."""
    axes.apply_aspect()  # until then the panel does not know how large it is
    left, _, right, _ = ground.bounds
    panel = axes.get_position()
    across = panel.width / (right - left)  # of the slide, a metre
    metres = _round(0.09 / across)
    x, y, length = LEFT, 0.085, metres * across
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon

    edge = 0.006
    canvas.add_artist(
        Line2D([x, x, x + length, x + length], [y + edge, y, y, y + edge], color=INK, lw=1.4)
    )
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    canvas.text(x + length / 2, y - 0.018, text, size=11, color=INK, ha="center", va="center")
    north = x + length + 0.025
    arrow = [(north, y + 0.03), (north + edge, y), (north, y + 0.008), (north - edge, y)]
    canvas.add_artist(Polygon(arrow, closed=True, facecolor=INK))
    canvas.text(north, y + 0.043, "N", size=11, color=INK, ha="center", va="center")


def _round(metres: float) -> float:
    """Take the largest of 1, 2 and 5 times a power of ten that is not longer."""
    power = 10.0 ** np.floor(np.log10(max(metres, 1e-9)))
    return float(max(m for m in (1, 2, 5) if m * power <= metres * (1 + 1e-9)) * power)
