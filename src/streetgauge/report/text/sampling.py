"""Sentences on where to photograph next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import number, percent, plural

__all__ = ["sample_sentences"]


def sample_sentences(sample: Mapping[str, Any]) -> list[str]:
    """Put into words what a plan is expected to gain, next to as many locations at random.

    Parameters
    ----------
    sample : mapping
        What `streetgauge.pipeline.sampling.study_sample` gives.

    Returns
    -------
    list of str
    """
    error = sample["error"]
    far = sample["travel"] is not None  # then a choice at random would cost more
    chance = "" if far else f" (to {number(error['at_random'])} if they were chosen at random)"
    lines = [
        f"{plural(sample['n_locations'], 'location')} in {plural(sample['n_areas'], 'area')}: the "
        f"expected error falls from {number(error['now'])} to {number(error['planned'])} classes"
        f"{chance}."
    ]
    fall = error["now"] - error["planned"]
    if fall < 0.02 * error["now"]:
        lines.append(f"That is {percent(fall / error['now'])} of it: more images hardly help here.")
    if far:
        lines.append(
            f"They cost {number(sample['cost'], 1)} of {sample['budget']:g}, ways of "
            f"{sample['travel']:,.0f} m counted as a location."
        )
    return lines
