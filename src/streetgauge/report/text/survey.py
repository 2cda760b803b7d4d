"""Sentences on a survey that was combined with images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import general, listed, percent, plural

__all__ = ["survey_sentences"]


def survey_sentences(survey: Mapping[str, Any]) -> list[str]:
    """Put into words what images add to a survey, and where that rests on the model alone.

    Parameters
    ----------
    survey : mapping
        What `streetgauge.pipeline.survey.study_survey` gives.

    Returns
    -------
    list of str
    """
    error, n = survey["standard_error"], survey["n"]
    share = 1 - error["combined"] / error["survey"]
    than = f"{percent(abs(share))} {'less' if share >= 0 else 'more'}"
    lines = [
        f"{plural(n['survey and images'], 'area')} of the survey: the median standard error is "
        f"{general(error['combined'])} with images, {than} than without "
        f"({general(error['survey'])}); images have {percent(survey['images_weight'])} of the "
        "weight."
    ]
    if not survey["area_variance"]:
        lines.append(
            "No variance between areas is found beyond what images and sampling explain, so the "
            "estimates are the images' alone; with few areas that can be chance."
        )
    unsure = [
        name
        for name, each in survey["coefficients"].items()
        if name != "constant" and abs(each["value"]) < 1.645 * each["standard_error"]
    ]
    if unsure:
        lines.append(f"It is not shown that images help: {listed(unsure)} may be unrelated to it.")
    if outside := n.get("images", 0):
        lines.append(f"Estimated from images alone: {plural(outside, 'area')} outside the survey.")
    if alone := n.get("survey", 0):
        lines.append(
            f"The survey's own estimate stands in {plural(alone, 'area')} without a prediction."
        )
    if unknown := survey["unknown"]:
        lines.append(
            f"Excluded: {plural(len(unknown), 'area')} of the survey outside the study "
            f"({listed(unknown, 3)})."
        )
    return lines
