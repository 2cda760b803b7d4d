"""The figures of the gallery, drawn by the package from the small results in docs/gallery.

They are two outcomes of a sample city of 300 areas and 3,000 locations: `metrics.json` without
other folds, `areas.parquet` with the columns that figures need, and `boundaries.parquet`.
"""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import pandas as pd

from streetgauge.report import draw_figures, draw_maps

RESULTS = Path(__file__).with_name("gallery")
LABELS = {"income": "Mean household income", "crime": "Crime"}


def write_gallery(directory: Path) -> None:
    """Draw each figure as SVG, and the map of income as PNG, unless they are there already."""
    newest = max(file.stat().st_mtime for file in RESULTS.iterdir())
    done = directory / "map-income.png"
    if done.exists() and done.stat().st_mtime > newest:
        return
    directory.mkdir(parents=True, exist_ok=True)
    metrics = json.loads((RESULTS / "metrics.json").read_text(encoding="utf-8"))
    areas = pd.read_parquet(RESULTS / "areas.parquet")
    for figure in draw_figures(metrics, areas, LABELS, paper=False):
        (directory / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
    boundaries = gpd.read_parquet(RESULTS / "boundaries.parquet")
    about = {name: {"label": label} for name, label in LABELS.items()}
    income = {**metrics, "outcomes": {"income": metrics["outcomes"]["income"]}}
    for name, image in draw_maps(boundaries, areas, income, about, "Sample city"):
        (directory / f"map-{name}.png").write_bytes(image)
