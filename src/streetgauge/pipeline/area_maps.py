"""Numbers of areas -> a layer for a GIS and a slide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from streetgauge.evaluation.layers import write_layer
from streetgauge.io.files import atomic_path
from streetgauge.report.figures.slides import draw_numbers


def write_area_maps(
    areas: pd.DataFrame,
    table: pd.DataFrame,
    layer: Path,
    slide: Path,
    *,
    titles: Mapping[str, str],
    label: str,
    summary: str,
) -> None:
    """Write a GeoPackage and a PNG; none of a run before stays where areas have no boundaries.

    Parameters
    ----------
    areas : DataFrame or GeoDataFrame by area
    table : DataFrame by area
        Columns of the layer; its areas are those that are written.
    layer, slide : Path
    titles, label, summary
        As for `draw_numbers`.
    """
    for path in (layer, slide):
        path.unlink(missing_ok=True)
    if "geometry" not in areas.columns:
        return
    own = [column for column in ("name", "district", "geometry") if column in areas.columns]
    joined = areas[own].join(table, how="inner")
    write_layer(joined.rename_axis("area").reset_index(), layer)
    drawn = draw_numbers(areas, table, titles, label, summary)
    if drawn is not None:
        with atomic_path(slide) as temporary:
            temporary.write_bytes(drawn)
