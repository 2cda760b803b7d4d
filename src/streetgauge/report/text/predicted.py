"""Sentences of the page of a city without labels: which model, of which city, and its limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streetgauge.report.text.caveats import seen
from streetgauge.report.text.numbers import number, percent, plural, unit
from streetgauge.report.text.provenance import LEARNERS

if TYPE_CHECKING:
    from streetgauge.report.data import PredictedCity

__all__ = [
    "NO_BOUNDARIES",
    "about",
    "applicability",
    "caveats",
    "counts",
    "model",
    "scale",
    "unmeasured",
]

NO_BOUNDARIES = (
    "There is no map: no boundaries were given. With --boundaries FILE, and --code COLUMN for the "
    "column of the areas’ codes, this page draws them."
)
EXPECTED = 0.05  # share outside, of areas that are like those trained on


def about(city: PredictedCity) -> str:
    """Sum up in a line what was predicted, and where."""
    what = plural(len(city.bundle["outcomes"]), "outcome")
    areas = plural(city.table["area"].nunique(), "area")
    where = plural(len(city.locations), "location")
    return f"{what} of {areas}, predicted from images at {where} by a model of {city.source}."


def counts(city: PredictedCity) -> list[tuple[str, str]]:
    """Count what was predicted and what was not."""
    skipped = city.skips.loc[city.skips["stage"] != "areas", "location_id"].nunique()
    return [
        ("areas with a prediction", f"{city.table['area'].nunique():,}"),
        ("locations predicted", f"{len(city.locations):,}"),
        ("locations skipped", f"{skipped:,}"),
        ("outcomes", f"{len(city.bundle['outcomes'])}"),
    ]


def unmeasured(city: PredictedCity) -> str:
    """State what was measured in this city."""
    if _has_best(city):
        return (
            f"A model of {city.source} predicts this city. Deciles of some areas are known here: "
            "the best estimate uses them, and its error in them stands below."
        )
    return (
        f"This city has no labels: no error of its own is known. A model of {city.source} "
        "predicts it."
    )


def _has_best(city: PredictedCity) -> bool:
    return "best_decile" in city.table


def model(city: PredictedCity) -> Iterator[str]:
    """Describe the bundle: its name, its city, what it was trained on."""
    bundle, source = city.bundle, city.bundle["source"]
    training, learner = bundle["training"], bundle["settings"]["learner"]
    trained = f"Bundle “{city.bundle_name}”, model “{bundle['name']}”, of {city.source}"
    if training:
        areas = plural(training["training_areas"], "area")
        trained += f": trained on {plural(training['training_locations'], 'location')} in {areas}"
    yield f"{trained}. Learner: {LEARNERS.get(learner, 'a network')}."
    backbone = source.get("backbone")
    features = f"Features by {backbone}" if backbone else "Features of a backbone that is not named"
    licence = bundle["licence"] or "not stated"
    yield f"{features}. Licence of the bundle: {licence}. Made with streetgauge {_made_by(city)}."


def _made_by(city: PredictedCity) -> str:
    return str(city.bundle["code_version"])


def scale(city: PredictedCity) -> str:
    """Explain what a class means here."""
    classes = int(city.bundle["classes"])
    one, many = unit(classes)
    ends = f"1 is worst off, {classes} best off."
    if city.cut_points is None:
        return (
            f"The {many} were cut within this city, into parts of equal count: {ends} They show "
            "how areas stand to each other, and cannot be compared with those of another city."
        )
    return (
        f"A {one} is on the scale of {city.source}: it is the one that an area’s mean score had "
        f"among the areas that were held out there. {ends} This city’s areas need not be of equal "
        f"count in each {one}."
    )


def caveats(city: PredictedCity) -> Iterator[str]:
    """List what to bear in mind."""
    measured = "Images alone were fitted to no label of this city. " if _has_best(city) else ""
    yield (
        f"{measured or 'Nothing was measured in this city. '}The figures above are of "
        f"{city.source}, and are no promise for this one."
    )
    yield (
        "In another city a model is as a rule less accurate than where it was trained, and it can "
        "be wrong everywhere at once. Compare the predictions with official figures of some areas "
        "before they are used."
    )
    if len(city.table):
        yield from _spread(city)
    yield from (f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in city.notes)
    yield from seen(city.table, {}, (), {}, {})


def _spread(city: PredictedCity) -> Iterator[str]:
    many = unit(int(city.bundle["classes"]))[1]
    known = city.table["disagreement"].dropna()
    none = "There are no intervals: they are made from errors, and none are known here."
    if "low" in city.table:
        width = (city.table["high"] - city.table["low"] + 1).mean()
        yield (
            f"The intervals of images alone come from the errors in areas that were held out in "
            f"{city.source}: {number(float(width), 1)} {many} wide on average. They hold for this "
            f"city only as far as it resembles {city.source}."
        )
    elif len(known):
        yield (
            f"{none} The spread is how many {many} the members of the ensemble disagree by, "
            f"{number(float(known.mean()), 1)} on average. It holds no error that they share."
        )
    else:
        yield f"{none} The bundle gives no spread either."


def applicability(city: PredictedCity) -> str:
    """Report how unlike the features are those that the bundle was trained on."""
    table = city.table
    if not len(table):
        return "Not known: the table names no areas, and the bundle describes areas."
    if "outside_aoa" not in table:
        return "Not known: the bundle does not describe the areas that it was trained on."
    each = table.drop_duplicates("area")
    outside, n = int(each["outside_aoa"].sum()), len(each)
    share = f"{outside:,} of {plural(n, 'area')} ({percent(outside / n)})"
    text = (
        f"{share} {'is' if outside == 1 else 'are'} outside the training distribution of the "
        f"bundle, by their mean features. Of areas like those of {city.source} it would be about "
        f"{percent(EXPECTED)}. The median area is more unlike them than "
        f"{percent(float(each['dissimilarity_index'].median()))} of them are each other; "
        "50% would be usual."
    )
    if outside / n > 2 * EXPECTED:
        text += " Predictions there go beyond the model’s data and deserve no trust by themselves."
    return text
