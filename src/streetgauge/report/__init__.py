"""One HTML page that says what was found, how good it is, and what it was made from."""

from streetgauge.report.figures import Figure, draw_figures, save_figures
from streetgauge.report.page import ReportData, render, render_map
from streetgauge.report.slides import draw_maps

__all__ = [
    "Figure",
    "ReportData",
    "draw_figures",
    "draw_maps",
    "render",
    "render_map",
    "save_figures",
]
