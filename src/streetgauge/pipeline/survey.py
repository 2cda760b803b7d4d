"""areas.parquet and a survey -> survey.parquet, survey.json, survey.gpkg and survey.png."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.analysis.survey import FayHerriot, combine
from streetgauge.errors import InputError, closest
from streetgauge.evaluation import tested_areas
from streetgauge.io.files import read_table, write_json, write_table
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.io.tables import read_columns, refuse_repeated, to_numbers
from streetgauge.locations import read_areas
from streetgauge.pipeline.area_maps import write_area_maps
from streetgauge.processes import undivided_products
from streetgauge.report.text import survey_sentences
from streetgauge.study import Study
from streetgauge.study.outputs import refuse_overlap

TITLES = {"direct": "Survey alone", "estimate": "Survey and images"}


@dataclass(frozen=True)
class SurveyTable:
    """A table of direct estimates, a row an area, and the names of its columns.

    Parameters
    ----------
    file : Path
        CSV, Parquet, Excel or GeoPackage.
    area, estimate : str
        The area's code and its direct estimate.
    variance, standard_error : str, optional
        The sampling variance, or its root: one of both.
    """

    file: Path
    area: str = "area"
    estimate: str = "estimate"
    variance: str | None = "variance"
    standard_error: str | None = None

    def read(self) -> pd.DataFrame:
        """Read ``direct`` and ``variance`` by area; areas without an estimate are not in it.

        Raises
        ------
        InputError
            If a column is absent, an area is repeated, a cell holds no number, or an estimate has
            no variance above 0.
        """
        given = {"variance": self.variance, "se": self.standard_error}
        spread = next((name for name in given.values() if name is not None), "")
        options = {f"--{name}": column for name, column in given.items()}
        named = {"--area": self.area, "--estimate": self.estimate, **options}
        table, title = read_columns(self.file, named)
        refuse_repeated(table[self.area], title, "area")
        direct, variance = (
            to_numbers(table[column], title).to_numpy(float) for column in (self.estimate, spread)
        )
        lacking = ~np.isnan(direct) & ~(np.isfinite(variance) & (variance > 0))
        if lacking.any():
            row = int(lacking.argmax())
            raise InputError(
                f"{title}: area {table[self.area].iloc[row]!r}, column {spread!r}",
                f"{'empty' if np.isnan(variance[row]) else f'{variance[row]:g}'}: an estimate of a "
                "survey has a sampling error above 0",
                "give it, or leave the cell of the estimate empty",
            )
        if self.variance is None:
            variance = variance**2
        found = pd.DataFrame({"direct": direct, "variance": variance}, pd.Index(table[self.area]))
        return found.dropna().rename_axis("area")


@undivided_products()
def study_survey(study: Study, table: SurveyTable, outcomes: Sequence[str] = ()) -> dict[str, Any]:
    """Combine a survey's direct estimates with what images alone show.

    Parameters
    ----------
    study : Study
        Evaluated: the auxiliary variables are the scores of areas that were held out.
    table : SurveyTable
    outcomes : sequence of str
        Whose scores are used; the study's outcome, if it has one only.

    Returns
    -------
    dict
        ``name``, ``areas_sha256``, ``survey`` (the file's name), ``outcomes``, ``coefficients``
        (``constant`` and by outcome: ``value``, ``standard_error``), ``area_variance``, ``n``
        (areas by what their estimate is made of), ``unknown`` (areas of the survey that are not in
        the study), ``images_weight`` and ``standard_error`` (medians over the survey's areas; the
        latter with that of the survey alone). Also written to survey.json; the areas to
        survey.parquet and, where they have boundaries, survey.gpkg and survey.png.

    Raises
    ------
    InputError
        If the table cannot be used (see `SurveyTable.read`), the study has no such outcome, or too
        few of its areas are in the survey.
    """
    outputs = (study.survey, study.survey_findings, study.survey_layer, study.survey_map)
    refuse_overlap([("--table", table.file)], outputs, "move the table")
    names = _outcomes(study, outcomes)
    survey = table.read()
    areas = read_areas(study.settings.areas, study.settings.locations)
    inside = survey.index.isin(areas.index)
    if not inside.any():
        raise InputError(
            table.file,
            f"none of its {len(survey):,} areas is one of the study's, such as {areas.index[0]!r}",
            "check the column of codes with --area",
        )
    tested = tested_areas(read_table(study.areas))
    scores = tested.pivot_table("score", "area", "outcome", aggfunc="first")[names]
    level = study.settings.evaluation.interval_level
    combined, model = combine(survey[inside], scores, level=level)
    result = {
        "format_version": ANALYSIS_VERSION,
        "name": study.settings.name,
        "areas_sha256": study.fingerprint(study.areas),
        "survey": table.file.name,
        "outcomes": names,
        "interval_level": level,
        **_figures(combined, model, names),
        "unknown": survey.index[~inside].sort_values().tolist(),
    }
    write_table(combined, study.survey)
    write_json(result, study.survey_findings)
    write_area_maps(
        areas,
        combined.set_index("area"),
        study.survey_layer,
        study.survey_map,
        titles=TITLES,
        label=f"{study.settings.name}: {table.file.name}",
        summary=survey_sentences(result)[0],
    )
    return result


def _outcomes(study: Study, wanted: Sequence[str]) -> list[str]:
    there = list(study.settings.outcomes)
    if not wanted and len(there) > 1:
        step = "name what the survey is about with --outcome; it may be repeated"
        raise InputError("--outcome", f"the study has {len(there)} outcomes", step)
    for name in wanted:
        if name not in there:
            raise InputError(
                f"--outcome {name}", "the study has no such outcome", closest(name, there)
            )
    return list(dict.fromkeys(wanted or there))


def _figures(table: pd.DataFrame, model: FayHerriot, names: Sequence[str]) -> dict[str, Any]:
    errors = np.sqrt(np.diag(model.covariance))
    pairs = zip(("constant", *names), model.coefficients, errors, strict=True)
    both = table[table["from"] == "survey and images"]
    return {
        "coefficients": {
            name: {"value": float(value), "standard_error": float(error)}
            for name, value, error in pairs
        },
        "area_variance": model.area_variance,
        "n": {str(name): int(n) for name, n in table["from"].value_counts().sort_index().items()},
        "images_weight": float(both["images_weight"].median()),
        "standard_error": {
            "survey": float(np.sqrt(both["variance"]).median()),
            "combined": float(np.sqrt(both["mse"]).median()),
        },
    }
