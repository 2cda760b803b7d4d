"""How figures are drawn: sizes and type of a journal page, and files that do not change."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Xml

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = [
    "BLUE",
    "COLUMN",
    "Files",
    "GREY",
    "INK",
    "MOST_POINTS",
    "ORANGE",
    "PAGE",
    "PALE",
    "Sketch",
    "apart",
    "below",
    "drawing",
    "files_of",
    "name_rows",
    "new",
    "plain",
    "png_of",
    "short",
    "upright",
]

# Widths of one and of two columns, inches: 89 and 183 mm, as Nature and Science ask for.
COLUMN, PAGE = 3.5, 7.2
# Okabe and Ito's (2008) blue and vermilion: distinct to every eye, and one darker in grey.
BLUE, ORANGE = "#0072b2", "#d55e00"
INK, GREY, PALE = "#1d2127", "#6b7280", "#c9ced6"
DOTS = 300  # of a PNG, an inch
MOST_POINTS = 400  # areas, beyond which they are drawn as counts

STYLE: dict[str, Any] = {
    # It comes with matplotlib, so that text is as wide on every machine.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 8,
    "text.color": INK,
    "text.parse_math": False,  # a name may have a dollar in it
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.borderaxespad": 0.0,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.2,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: it can be found, read aloud and edited
    "svg.hashsalt": "streetgauge",
    "pdf.fonttype": 42,  # embedded as TrueType, which journals ask for
}

# Of a PNG: runs of one colour alone are packed, which is most that there is in a drawing.
PACKED = {"compress_level": 6, "compress_type": zlib.Z_RLE}

TYPESETTING = ("GDEF", "GPOS", "GSUB", "MATH", "kern")  # tables of a font

# Attributes that do the same on a group as on each of its members.
INHERITED = {
    *("fill", "fill-opacity", "font-family", "font-size", "stroke", "stroke-dasharray"),
    *("stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width"),
    *("clip-path", "text-anchor"),
}
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Files:
    """One drawing in the three forms that a paper may want."""

    svg: str
    pdf: bytes | None = None
    png: bytes | None = None


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the house style, whatever the user's own settings of matplotlib are."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]), _bare_fonts(), warnings.catch_warnings():
        # A name in a script that the font lacks: text in SVG shows it all the same.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


@contextmanager
def _bare_fonts() -> Iterator[None]:
    """Embed fonts without what only setting type asks for: half of the time went into it."""
    from fontTools import subset  # type: ignore[import-untyped]

    load = subset.load_font

    def bare(*arguments: Any, **more: Any) -> Any:
        font = load(*arguments, **more)
        for table in TYPESETTING:
            if table in font:
                del font[table]
        return font

    subset.load_font = bare
    try:
        yield
    finally:
        subset.load_font = load


def new(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    heights: Sequence[float] | None = None,
) -> tuple[Canvas, list[Axes]]:
    """Start a figure: its canvas and its panels row by row, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
    canvas = Canvas(figsize=(width, height), layout=engine)
    panels = canvas.subplots(rows, columns, squeeze=False, height_ratios=heights)
    return canvas, list(panels.flat)


def below(canvas: Canvas, source: Axes, columns: int, *, above: bool = False) -> None:
    """Put the legend of a panel under the whole figure, or above it."""
    handles, labels = source.get_legend_handles_labels()
    position: Any = f"outside {'upper' if above else 'lower'} center"
    canvas.legend(handles, labels, loc=position, ncols=columns, columnspacing=1.2)


def name_rows(axes: Axes, ticks: Any, labels: Sequence[str] | None) -> None:
    """Name the rows of a panel, on a grid of their figures and without a line of its own."""
    axes.set_yticks(ticks, labels)
    axes.tick_params(axis="y", length=0, labelleft=labels is not None)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, lw=0.4)
    axes.set_axisbelow(True)


def upright(axes: Axes, text: str, size: float = 7) -> None:
    """Write in small grey letters at the top of a panel what cannot be drawn."""
    axes.set_title(text, fontsize=size, fontweight="normal", color=GREY, loc="right")


def apart(values: pd.Series, most: float, *, second: bool = False) -> Any:
    """Move values a little, the same way each time, so that equal ones can be distinguished."""
    steps = np.arange(len(values)) + 0.5
    # Multiples of irrational numbers fill a square evenly (Roberts 2018).
    part = (steps * (0.5698402909980532 if second else 0.7548776662466927)) % 1
    return np.asarray(values, dtype=float) + most * (2 * part - 1)


def plain(text: object) -> str:
    """Give text that XML can hold, on one line."""
    valid = re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text))
    return " ".join(valid.split())


def short(text: object, most: int = 40, *, lines: int = 1) -> str:
    """Cut text to what a figure has room for, on so many lines."""
    whole = plain(text)
    if lines > 1:
        return textwrap.fill(short(whole, most * lines), most)
    return whole if len(whole) <= most else whole[: most - 1].rstrip() + "…"


def files_of(
    canvas: Canvas, name: str, title: str, description: str, *, paper: bool = True
) -> Files:
    """Write a figure down: the same figure gives the same bytes.

    Parameters
    ----------
    canvas : matplotlib Figure
    name : str
        Letters, digits, hyphens and underscores; makes the SVG's ids its own.
    title, description : str
        For people who do not see it: ``<title>`` and ``<desc>`` of the SVG.
    paper : bool, default True
        Also as PDF and PNG.
    """
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # Laid out once: the panels do not move between the forms.
    canvas.set_dpi(DOTS)
    if (engine := canvas.get_layout_engine()) is not None:
        engine.execute(canvas)
    canvas.set_layout_engine("none")
    svg, pdf = io.BytesIO(), io.BytesIO()
    FigureCanvasSVG(canvas).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
    readable = _readable(svg.getvalue(), name, title, description)
    if not paper:
        return Files(readable)
    about = {"CreationDate": None, "Title": plain(title)}
    FigureCanvasPdf(canvas).print_pdf(pdf, metadata=about)  # type: ignore[no-untyped-call]
    canvas.set_dpi(DOTS)  # the others set their own
    return Files(readable, pdf.getvalue(), png_of(canvas))


def png_of(canvas: Canvas) -> bytes:
    """Paint a figure as a PNG of as many dots an inch as it is set to, without an alpha channel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    agg = FigureCanvasAgg(canvas)
    agg.draw()  # type: ignore[no-untyped-call]
    painted = np.asarray(agg.buffer_rgba())  # type: ignore[no-untyped-call]
    opaque = np.ascontiguousarray(painted[..., :3])
    with io.BytesIO() as stream:
        Image.fromarray(opaque).save(stream, "PNG", dpi=(canvas.dpi, canvas.dpi), **PACKED)
        return stream.getvalue()


def _readable(svg: bytes, name: str, title: str, description: str) -> str:
    """Make an SVG that can stand in a page next to others, and be read aloud.

    Styles become attributes, which a page that forbids inline styles still shows; ids get the
    figure's name in front; matplotlib's own metadata goes.
    """
    Xml.register_namespace("", SVG)
    Xml.register_namespace("xlink", XLINK)
    root = Xml.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _unstyle(element)
        if (path := element.get("d")) is not None:
            # A hundredth of a point is finer than any print.
            element.set("d", " ".join(re.sub(r"(\.\d\d)\d+", r"\1", path).split()))
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif value.startswith("#") and key.endswith("href"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    _share(root)
    _slim(root)
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt", "role": "img"}
    root.set("font-family", ", ".join(STYLE["font.sans-serif"]))
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for i, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = Xml.Element(f"{{{SVG}}}{tag}", id=f"{name}-{tag}")
        element.text = plain(text)
        root.insert(i, element)
    return Xml.tostring(root, encoding="unicode")


def _slim(root: Xml.Element) -> None:
    """Drop what shows nothing: half of what matplotlib writes."""
    used = set(
        re.findall(r"#([\w.-]+)", " ".join(v for e in root.iter() for v in e.attrib.values()))
    )
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        for key in ("x", "y"):
            if key in element.attrib:
                element.set(key, re.sub(r"(\.\d\d)\d+", r"\1", element.attrib[key]))
        if element.tag != f"{{{SVG}}}text" and not (element.text or "").strip():
            element.text = None
        element.tail = None
    _unwrap(root)


def _unwrap(element: Xml.Element) -> None:
    """Replace groups without attributes by what is in them."""
    children: list[Xml.Element] = []
    for child in element:
        _unwrap(child)
        children += list(child) if child.tag == f"{{{SVG}}}g" and not child.attrib else [child]
    element[:] = children


def _share(element: Xml.Element) -> None:
    """Set once, for the whole group, what all of its members have: a third of the size goes."""
    members = [child for child in element if child.tag != f"{{{SVG}}}defs"]
    for child in members:
        _share(child)
    if len(members) < 2 or element.tag not in (f"{{{SVG}}}g", f"{{{SVG}}}svg"):
        return
    # Sorted: a set's order differs from one process to the next, and with it the file's bytes.
    for key in sorted(INHERITED & (set(members[0].keys()) - set(element.keys()))):
        value = members[0].get(key)
        if value and all(child.get(key) == value for child in members[1:]):
            element.set(key, value)
            for child in members:
                del child.attrib[key]


def _unstyle(element: Xml.Element) -> None:
    for part in element.attrib.pop("style", "").split(";"):
        key, _, value = (each.strip() for each in part.partition(":"))
        if key == "font":
            # Of the one family, which the whole drawing has.
            found = re.fullmatch(r"(?:(italic|oblique) )?(?:(bold|\d+) )?([\d.]+px) .+", value)
            if found:
                names = ("font-style", "font-weight", "font-size")
                for attribute, each in zip(names, found.groups(), strict=True):
                    if each:
                        element.set(attribute, each)
        elif value:
            element.set(key, value)


@dataclass(frozen=True)
class Sketch:
    """A drawing, the numbers in it, and what it shows in words.

    Parameters
    ----------
    canvas : matplotlib Figure
    table : DataFrame
        Everything that is drawn.
    title : str
        What it is.
    caption : str
        What a reader must know to read it.
    """

    canvas: Canvas
    table: pd.DataFrame
    title: str
    caption: str
