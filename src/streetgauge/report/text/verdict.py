"""May the map of an outcome be used? Rules of gain, coverage and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streetgauge.report.text.findings import gain_direction
from streetgauge.report.text.numbers import number, percent, unit

__all__ = ["Verdict", "verdict"]

TITLES = {"use": "Use", "care": "Use with care", "no": "Do not use"}
TITLES |= {"unmeasured": "Not measured"}
MEANINGS = {
    "use": "The map may be used: gain, images and intervals all allow it.",
    "care": "The map may be used with these reasons in mind.",
    "no": "The map is not good enough to act on, for these reasons.",
    "unmeasured": "Nothing of this city was tested.",
}
ENOUGH_AREAS, FEWEST_AREAS = 0.8, 0.5  # share of the areas that have images
NARROW, WIDEST = 0.5, 0.8  # mean width of the intervals, as a share of the classes


@dataclass(frozen=True)
class Verdict:
    """Whether a map may be used: ``use``, ``care``, ``no`` or ``unmeasured``; and why."""

    level: str
    reasons: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the page calls it."""
        return TITLES[self.level]

    @property
    def meaning(self) -> str:
        """What the level says, in a sentence."""
        return MEANINGS[self.level]


def verdict(
    evaluation: Mapping[str, Any],
    other: Mapping[str, Any] | None,
    *,
    with_images: float,
    classes: int,
) -> Verdict:
    """Judge the estimate that an outcome's first map shows.

    It is the best estimate, or that of images alone where there is no best estimate.

    Parameters
    ----------
    evaluation : mapping
        The outcome's, from metrics.json.
    other : mapping or None
        Its evaluation in the other folds, if there are any.
    with_images : float
        Share of the study's areas that have a prediction from images.
    classes : int
        K.

    Returns
    -------
    Verdict
        ``no`` if any rule gives "do not use", else ``care`` if any gives "use with care".
    """
    if not evaluation["n_areas"]:
        return Verdict("no", ("Nothing was tested.",))
    tests = [_mapped(each) for each in (evaluation, other) if each]
    rules = [
        _gain([word for each in tests if (word := gain_direction(each))]),
        _coverage(with_images),
        *_intervals(tests[0].get("intervals") or {}, classes),
    ]
    level = next((each for each in ("no", "care") if each in dict(rules)), "use")
    return Verdict(level, tuple(reason for each, reason in rules if each == level))


def _mapped(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    best = evaluation.get("best") or {}
    return best if best.get("gain") else evaluation


def _gain(words: list[str]) -> tuple[str, str]:
    certain = words.count("more")
    if not words:
        return "care", "What images add is not known."
    if not certain:
        return "no", "The estimate is not clearly closer than what needs no image."
    if certain < len(words):
        return (
            "care",
            "The estimate is clearly closer than what needs no image in one of two tests only.",
        )
    tests = "both tests" if len(words) > 1 else "the one test"
    return "use", f"The estimate is clearly closer than what needs no image, in {tests}."


def _coverage(share: float) -> tuple[str, str]:
    level = "use" if share >= ENOUGH_AREAS else "care" if share >= FEWEST_AREAS else "no"
    return level, f"{percent(share)} of the areas have images."


def _intervals(held: Mapping[str, Any], classes: int) -> list[tuple[str, str]]:
    width = held.get("mean_width")
    if width is None:
        return [("care", "The areas have no intervals.")]
    one, many = unit(classes)
    level = "use" if width <= NARROW * classes else "care" if width <= WIDEST * classes else "no"
    rules = [(level, f"Intervals are {number(width, 1)} of {classes} {many} wide on average.")]
    if held.get("below_level"):
        what = f"{percent(held['share'])}, not {percent(held['level'])},"
        rules.append(("care", f"Intervals hold the actual {one} of {what} of the areas."))
    return rules
