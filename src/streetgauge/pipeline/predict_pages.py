"""The report and the map of a city that was predicted without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.io.files import write_text
from streetgauge.locations import read_areas
from streetgauge.model.card import held_out_rows, held_out_sentence
from streetgauge.report import PredictedCity, render_predicted, render_predicted_map
from streetgauge.settings import AreaSettings, broken_rule

if TYPE_CHECKING:
    from streetgauge.model import Bundle


REPORT, MAP = PAGES = ("report.html", "map.html")
GENERATOR = b'<meta name="generator" content="streetgauge">'


def boundary_settings(file: Path, code: str = "area", name: str | None = None) -> AreaSettings:
    """Name a boundary file, and its columns with the codes and the names of the areas.

    Raises
    ------
    InputError
        If there is no such file, or a column has no name.
    """
    if not file.exists():
        raise InputError(file, "there is no such file", "name the boundaries with --boundaries")
    try:
        return AreaSettings(file=file, code=code, name=name)
    except ValidationError as error:
        raise InputError("--code, --name", *broken_rule(error.errors()[0])) from None


def areas_of_city(codes: Sequence[str], boundaries: AreaSettings | None) -> pd.DataFrame:
    """Give the areas of a city by their codes, with names and boundaries if there is a file.

    Raises
    ------
    InputError
        If the file cannot be read, or has no boundaries, or none of these areas.
    """
    index = pd.Index(sorted(codes), name="area", dtype="str")
    if boundaries is None:
        return pd.DataFrame(index=index)
    file, column = boundaries.file, boundaries.code
    found = read_areas(boundaries)
    if "geometry" not in found:
        raise InputError(file, "it has no boundaries", "name a GeoPackage, GeoJSON or shapefile")
    known = found[found.index.isin(index)]
    if known.empty:
        raise InputError(
            file,
            f"column {column!r} has none of the areas that the locations lie in",
            f"its codes are like {found.index[0]!r}; name another column with --code",
        )
    return known


def predicted_city(
    bundle: Bundle,
    tables: Mapping[str, pd.DataFrame],
    *,
    name: str,
    bundle_name: str,
    cut_points: Mapping[str, Sequence[float]] | None,
    notes: Sequence[str] = (),
) -> PredictedCity:
    """Gather what the pages show.

    Parameters
    ----------
    bundle : Bundle
        What predicted.
    tables : mapping of str to DataFrame
        ``locations``, ``areas``, ``table`` and ``skips`` of `PredictedCity`.
    name, bundle_name, cut_points, notes
        As of `PredictedCity`.
    """
    description = bundle.description()
    return PredictedCity(
        name=name,
        bundle_name=bundle_name,
        bundle=description,
        held_out=held_out_sentence(description["metrics"] or {}),
        figures=list(held_out_rows(description)),
        cut_points=cut_points,
        notes=notes,
        **tables,
    )


def write_pages(city: PredictedCity, out: Path) -> list[str]:
    """Write the report and, where there are boundaries, the map; give a line for each."""
    written = [REPORT]
    if "geometry" in city.areas and len(city.table):
        write_text(render_predicted_map(city), out / MAP)
        written.append(MAP)
    write_text(render_predicted(city), out / REPORT)
    return [f"{out / page}" for page in written]


def is_own_page(file: Path) -> bool:
    """Whether a file is a page that this program wrote."""
    with file.open("rb") as page:
        return GENERATOR in page.read(2000)
