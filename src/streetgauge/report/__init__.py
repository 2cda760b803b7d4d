"""One HTML page that says what was found, how good it is, and what it was made from."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streetgauge.report.data import ReportData
    from streetgauge.report.figures.draw import Figure, draw_figures, save_figures
    from streetgauge.report.figures.slides import draw_maps
    from streetgauge.report.page import render, render_map
    from streetgauge.report.processes import hands

# By module: a process that only draws needs no page, nor what measures areas.
_PUBLIC = {
    **dict.fromkeys(("Figure", "draw_figures", "save_figures"), "figures.draw"),
    "hands": "processes",
    "ReportData": "data",
    **dict.fromkeys(("render", "render_map"), "page"),
    "draw_maps": "figures.slides",
}

__all__ = [
    "Figure",
    "ReportData",
    "draw_figures",
    "draw_maps",
    "hands",
    "render",
    "render_map",
    "save_figures",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
