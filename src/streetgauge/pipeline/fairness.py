"""areas.parquet -> fairness.json: errors of groups of areas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.analysis.fairness import FEWEST, MEASURES, audit, sort_into_groups
from streetgauge.classes import equal_count
from streetgauge.errors import InputError, closest
from streetgauge.evaluation import positions_of_areas, tested_areas
from streetgauge.evaluation.area_facts import MEASURED, columns_of_areas
from streetgauge.evaluation.concepts import FALSE_DISCOVERY_RATE
from streetgauge.io.files import read_table, write_json
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.locations import read_areas
from streetgauge.processes import undivided_products
from streetgauge.study import Study


@undivided_products()
def study_fairness(study: Study, columns: Sequence[str] = ()) -> dict[str, Any]:
    """Compare the errors of groups of a study's areas; write fairness.json.

    Parameters
    ----------
    study : Study
        Evaluated.
    columns : sequence of str
        Columns of the areas that name groups, besides those of ``[evaluation] groups``, districts,
        and few and many images.

    Returns
    -------
    dict
        ``name``, ``areas_sha256`` (of areas.parquet), ``classes``, ``interval_level``,
        ``false_discovery_rate``, ``fewest`` (areas of a group), ``measures`` (by name, in words),
        ``small`` (groups with fewer), ``without`` (areas without a group, by column),
        ``comparisons``: the rows that `audit` gives.

    Raises
    ------
    InputError
        If the areas have no such column.
    """
    settings = study.settings
    evaluation, classes = settings.evaluation, settings.deciles.classes
    every = tested_areas(read_table(study.areas))
    frame = every[(every["status"] == MEASURED) & every["decile"].notna()]
    areas = read_areas(settings.areas, settings.locations)
    locations = read_table(study.locations)
    about = columns_of_areas(study, settings.folds, areas, locations)
    measured = pd.Index(frame["area"].unique()).sort_values()
    groups, small = sort_into_groups(
        _columns(about, (*evaluation.groups, *columns), frame).reindex(measured)
    )
    table = audit(
        frame,
        groups,
        classes=classes,
        coordinates=positions_of_areas(areas, locations),
        interval_level=evaluation.interval_level,
        seed=settings.seed,
    )
    result = {
        "format_version": ANALYSIS_VERSION,
        "name": settings.name,
        "areas_sha256": study.fingerprint(study.areas),
        "classes": classes,
        "interval_level": evaluation.interval_level,
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
        "fewest": FEWEST,
        "measures": MEASURES,
        "small": small,
        "without": {name: int(groups[name].isna().sum()) for name in groups},
        "comparisons": json.loads(table.to_json(orient="records")),
    }
    write_json(result, study.fairness)
    return result


def _columns(about: pd.DataFrame, names: Sequence[str], frame: pd.DataFrame) -> pd.DataFrame:
    """Give the columns that groups are made of."""
    counted = "n_views" if frame["n_views"].notna().all() else "n_locations"
    images = frame.groupby("area")[counted].max()
    halves = equal_count(images.to_numpy(float), 2)
    columns = {"images": pd.Series(np.where(halves == 1, "few", "many"), images.index)}
    if "district" in about and len(about["district"].dropna().unique()) > 1:
        columns["district"] = about["district"]
    for name in names:
        if name not in about:
            step = f"name it in areas.columns, too; {closest(name, list(about.columns))}"
            raise InputError(f"--group {name}", "the areas have no such column", step)
        columns[name] = about[name]
    return pd.DataFrame(columns)
