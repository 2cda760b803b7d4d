"""What to bear in mind of this study, as far as its numbers call for it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

from streetgauge.report.text.findings import other_kind
from streetgauge.report.text.numbers import among, listed, number, percent, plural, spread, unit

if TYPE_CHECKING:
    import pandas as pd

    from streetgauge.report.data import ReportData

__all__ = [
    "caveats",
    "held_out",
    "leak_messages",
    "limits",
    "vacuous_intervals",
    "seen",
    "tested",
    "vintages",
    "years_of",
]

FEW_AREAS = 300


CLEARLY_FARTHER = 0.1  # classes
CLEARLY_SHRUNK = 0.9  # of the slope's interval
FEWEST = 10  # areas of a class, to speak of it
SURE = 0.05
FEW = 8  # images of an area: two locations with four views
APART = 3  # years
FAULTS = {
    "black": "black",
    "blank": "blank",
    "placeholder": "a notice instead of an image",
    "duplicate": "the same as another",
    "blurred": "blurred",
}


def caveats(data: ReportData, labels: Mapping[str, str]) -> list[str]:
    """List what to bear in mind, as far as the numbers call for it."""
    metrics, provenance, outcomes = data.metrics, data.provenance, data.metrics["outcomes"]
    classes = int(metrics.get("classes", 10))
    of_images = seen(data.table, data.imagery, data.credits, provenance, labels)
    return [
        *([held_out(metrics["scheme"])] if outcomes else ()),
        *_other_areas(provenance, labels),
        *_corrected(metrics.get("correction") or {}, labels),
        *_few_areas(outcomes, classes),
        *_incomplete_outcomes(provenance, labels),
        *_missing_areas(outcomes, labels, classes),
        *_too_few_locations(outcomes),
        *_no_neighbours(outcomes, classes),
        *vacuous_intervals(outcomes, metrics["scheme"]),
        *_shifted_folds(data.table, outcomes, labels),
        *(limits(metrics, labels) if outcomes else ()),
        *(vintages({}, provenance, labels) if data.simulated else of_images),
        *_skipped(data.skips),
    ]


def _skipped(skips: pd.DataFrame) -> Iterable[str]:
    if not skips.empty:
        count = plural(len(skips), "record")
        yield f"{count} of what was excluded, and why, are counted under “Excluded” below."


def _other_areas(
    provenance: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> Iterable[str]:
    by_years: dict[tuple[str, str], list[str]] = {}
    for name, about in provenance.items():
        if lookup := about.get("lookup"):
            by_years.setdefault((lookup["from"], lookup["to"]), []).append(labels.get(name, name))
    for (source, to), names in by_years.items():
        yield (
            f"Values of {source} areas were carried to {to} areas for {listed(names)}. How "
            "many areas that concerns stands under “Official statistics” below."
        )


def _corrected(found: Mapping[str, Any], labels: Mapping[str, str]) -> Iterable[str]:
    """State for which outcomes labels changed what the model of another city gives."""
    for changed in (True, False):
        own = {n: e for n, e in found.items() if bool(e["n_corrected"]) is changed}
        named = [labels.get(name, name) for name in own]
        if named and changed:
            gains = [f"{percent(e['gain'])} for {labels.get(n, n)}" for n, e in own.items()]
            yield (
                "The model comes from another city, and labels of this one correct it. The squared "
                f"error of areas that were held out falls by {listed(gains)}."
            )
        elif named:
            yield (
                "The model comes from another city. Labels of this one do not lower the error of "
                f"areas that were held out for {listed(named)}. The order of areas is its own."
            )


def _few_areas(evaluations: Mapping[str, Any], classes: int) -> Iterable[str]:
    fewest = min((evaluation["n_areas"] for evaluation in evaluations.values()), default=0)
    if 0 < fewest < FEW_AREAS:
        yield (
            f"There are few areas to measure with: {fewest}, about {number(fewest / classes, 0)} "
            f"to a {unit(classes)[0]}. Chance moves such figures much; the intervals say how much."
        )


def _incomplete_outcomes(
    provenance: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> Iterable[str]:
    named = [
        f"{labels[n]} ({p['n_missing']:,} of {p['n_missing'] + p['n_areas']:,} areas missing, "
        f"{percent(p['n_missing'] / (p['n_missing'] + p['n_areas']))}"
        f"{', not at random' if p.get('missing_bias') else ''})"
        for n, p in provenance.items()
        if n in labels and p.get("n_missing") and p.get("n_areas") is not None
    ]
    if named:
        are, their = ("are", "their") if len(named) > 1 else ("is", "its")
        yield (
            f"{listed(named)} {are} not complete, and {their} figures must not be quoted as if "
            "they were of the whole study."
        )


def _missing_areas(
    evaluations: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    one, many = unit(classes)
    unseen = max((_unseen(evaluation) for evaluation in evaluations.values()), default=0)
    training_only = max(
        (a.get("n_areas_training_only") or 0 for a in evaluations.values()), default=0
    )
    if training_only:
        verb = "was" if training_only == 1 else "were"
        yield (
            f"{plural(training_only, 'area')} of the study {verb} "
            f"only trained on, never tested. {many.capitalize()} are cut among those that were "
            "tested, and the figures are theirs alone."
        )
    if unseen:
        have = "has" if unseen == 1 else "have"
        yield (
            f"{plural(unseen, 'area')} of the study {have} no prediction, for want of a usable "
            f"location. {many.capitalize()} are cut among the areas that have one; nothing here "
            "speaks for the rest."
        )
    gaps = {n: a.get("n_areas_without_actual") or 0 for n, a in evaluations.items()}
    named = [f"{labels[n]} ({count:,})" for n, count in gaps.items() if count]
    if named:
        yield (
            f"Areas without an actual {one} are predicted but not measured: {listed(named)}. "
            "If such areas are not like the others, the figures do not say how good they are."
        )


def _unseen(evaluation: Mapping[str, Any]) -> int:
    """How many areas were neither tested nor in training."""
    without = evaluation.get("n_areas_without_prediction") or 0
    return int(without - (evaluation.get("n_areas_training_only") or 0))


def _no_neighbours(evaluations: Mapping[str, Any], classes: int) -> Iterable[str]:
    known = {name for evaluation in evaluations.values() for name in evaluation["baselines"]}
    if known and "nearest-areas" not in known:
        yield (
            "Without coordinates there is no nearest-areas baseline. The images are compared with "
            f"the middle {unit(classes)[0]} only, which is easily beaten."
        )


def _shifted_folds(
    table: pd.DataFrame, evaluations: Mapping[str, Any], labels: Mapping[str, str]
) -> Iterable[str]:
    """Report where the folds' networks, pooled as if on one scale, visibly are not."""
    import numpy as np
    import pandas as pd

    shifted = []
    for name, rows in table.groupby("outcome"):
        rows = rows[rows["fold"] > 0].dropna(subset="actual_decile")
        # What a fold's areas score beyond what their actual deciles lead one to expect.
        if len(rows) < 20 or rows["fold"].nunique() < 2:
            continue
        score, actual = rows["score"].to_numpy(float), rows["actual_decile"].to_numpy(float)
        if not actual.std() or not score.std():
            continue
        rest = pd.Series(score - np.polyval(np.polyfit(actual, score, 1), actual), index=rows.index)
        by_fold = rest.groupby(rows["fold"]).agg(["mean", "size"])
        far = by_fold["mean"].abs() * np.sqrt(by_fold["size"]) > 4 * rest.std()
        if (far & (by_fold["mean"].abs() > 0.25 * score.std())).any():
            rho = evaluations.get(str(name), {}).get("spearman_within_folds")
            within = "" if rho is None else f" (Spearman’s ρ within folds {number(rho)})"
            shifted.append(labels.get(str(name), str(name)) + within)
    if shifted:
        yield (
            f"For {listed(shifted)} the networks of different folds do not agree on the level of "
            "their scores. Areas of one fold are then too high or too low together."
        )


def _too_few_locations(evaluations: Mapping[str, Any]) -> Iterable[str]:
    few = max((a.get("n_areas_too_few_locations") or 0 for a in evaluations.values()), default=0)
    if few:
        yield (
            f"{plural(few, 'area')} {'has' if few == 1 else 'have'} fewer locations than "
            "evaluation.min_locations asks for: predicted, marked, and not measured."
        )


def tested(scheme: Mapping[str, Any]) -> str:
    """Describe in a clause who predicted an area, for the captions of figures."""
    if scheme.get("split_areas"):
        return "by networks trained on other locations of these areas"
    if scheme.get("known_areas", 0) != 0:
        return "by networks that started from a model that may have seen them"
    return "each area predicted by a model that was not trained on it"


def held_out(scheme: Mapping[str, Any]) -> str:
    """Describe how areas were held out, and whom that flatters."""
    name, words = scheme["name"], _capital(str(scheme["description"]))
    if scheme["caution"]:
        return f"{words}: these figures leak; see the caution at the top."
    if name == "test-only" and "known_areas" in scheme:
        return f"{words}: whether they were held out is not known."
    if name == "test-only":
        return f"{words}: nothing of this study was in its training set."
    if name == "by-class":
        return (
            f"{words}: no network knew an area like these. As many are predicted in each class as "
            "are in it among them, so which classes were tested is taken as known. The figures are "
            "only about how well these are distinguished."
        )
    if scheme["buffer"]:
        return (
            f"{words}. So the figures show how good the networks are at that distance from "
            "anything that they know. In another city expect less still."
        )
    neighbours = "most of an area’s neighbours were in the training set"
    if name == "blocks" or name == "leave-one-group-out" or scheme["unit"] != "area":
        neighbours = "areas at a border have neighbours in the training set"
    if name == "stored":
        neighbours = "the training set may lie next door"
    return (
        f"{words}: {neighbours}. Areas near each other resemble each other: this flatters every "
        "method, the nearest-areas baseline too. Expect less in a city that the networks have not "
        "seen."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def vacuous_intervals(evaluations: Mapping[str, Any], scheme: Mapping[str, Any]) -> Iterable[str]:
    """Explain why the intervals of areas are as wide as the scale, where they are."""
    held = [(each.get("intervals") or {}, each) for each in evaluations.values()]
    classes = max((len(about.get("confusion", ())) for _, about in held), default=0) or 10
    if any((each.get("mean_width") or classes) < classes for each, _ in held):
        return
    if evaluations and (scheme["parts"] < 2 or scheme["caution"]):
        why = "one part only was tested" if scheme["parts"] < 2 else "the figures leak"
        yield (
            "The areas’ intervals use the errors of areas in other folds. There are none, since "
            f"{why}, so the intervals are as wide as the scale."
        )


def limits(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    """List what the figures of metrics.json call for."""
    evaluations, classes = metrics["outcomes"], int(metrics.get("classes", 10))
    return itertools.chain(
        _split_areas(metrics["scheme"]),
        _leaks(metrics),
        _leakage(metrics, labels, classes),
        _shuffled(evaluations, labels),
        _outside_aoa(evaluations, labels),
        _intervals(evaluations, labels, classes),
        _drawn_to_the_middle(evaluations, labels, classes),
        _errors_alike(evaluations, labels),
        _few_images_are_worse(evaluations, labels),
    )


def _split_areas(scheme: Mapping[str, Any]) -> Iterable[str]:
    split = scheme.get("split_areas") or 0
    if split:
        yield (
            f"{plural(split, 'area')} {'is' if split == 1 else 'are'} split: some of "
            f"{'its' if split == 1 else 'their'} locations were in the training set of the network "
            "that predicted the others."
        )


def leak_messages(metrics: Mapping[str, Any]) -> list[str]:
    """Give the sentences on leaks of metrics.json; of two kinds of folds the first that share."""
    kinds = (metrics, metrics.get("other_folds") or {})
    shared = [(each.get("leaks") or {}).get("message") for each in kinds]
    found = [each["message"] for each in metrics.get("feature_leaks") or ()]
    return [*filter(None, shared)][:1] + found


def _leaks(metrics: Mapping[str, Any]) -> Iterable[str]:
    """Report what training and test parts share, and which features know an outcome."""
    messages = leak_messages(metrics)
    about = metrics.get("leaks") or {}
    if about.get("tested") and not (about["message"] or messages):
        yield (
            f"None of {about['tested']:,} tested locations has an image, features or coordinates "
            "in common with the training part of its fold."
        )
    yield from messages


def _leakage(metrics: Mapping[str, Any], labels: Mapping[str, str], classes: int) -> Iterable[str]:
    """Compare random with spatial folds: what is lost is what neighbours gave."""
    kind = other_kind(metrics)
    if kind is None:
        return
    other = metrics["other_folds"]
    spatial, random = (other, metrics) if kind == "spatial" else (metrics, other)
    lost: dict[str, tuple[float, float, float]] = {}
    for name in labels:
        pair = [each["outcomes"].get(name, {}).get("metrics", {}) for each in (random, spatial)]
        near, far = (each.get("mae", {}).get("value") for each in pair)
        if near is not None and far is not None and far - near >= CLEARLY_FARTHER:
            lost[labels[name]] = far - near, near, far
    if lost:
        how, most = spatial["scheme"]["description"], max(lost, key=lost.__getitem__)
        gap, near, far = lost[most]
        yield (
            f"Knowing the neighbours helped. With {how}, the mean absolute error rises by up to "
            f"{number(gap)} {unit(classes)[1]} ({most}: {number(near)} at random, {number(far)} "
            f"there). It is higher for {among([*lost], len(labels))}. "
            "Where no neighbour is known, take the figures of those folds."
        )


def _shuffled(evaluations: Mapping[str, Any], labels: Mapping[str, str]) -> Iterable[str]:
    tests = {name: each.get("shuffled") or {} for name, each in evaluations.items()}
    found = [
        labels[name]
        for name, test in tests.items()
        if None not in (test.get("largest"), test.get("chance"))
        and test["largest"] > test["chance"]
    ]
    if found:
        yield (
            "With shuffled classes a model still seemed to know something of "
            f"{among(found, len(evaluations))}. That can be chance in one of many draws, or a path "
            "from labels to predictions other than the images."
        )


def _outside_aoa(evaluations: Mapping[str, Any], labels: Mapping[str, str]) -> Iterable[str]:
    """Areas are outside whatever the outcome; how wrong they are differs."""
    known = {
        n: a["area_of_applicability"]
        for n, a in evaluations.items()
        if (a.get("area_of_applicability") or {}).get("n_outside")
    }
    if not known:
        return
    about = max(known.values(), key=lambda each: each["n_outside"])
    count, n, expected = about["n_outside"], about["n_areas"], about["expected"]
    chance = 2 * sqrt(expected * (1 - expected) / max(n, 1))
    text = (
        f"{plural(count, 'area')} of {n:,} {'is' if count == 1 else 'are'} outside the "
        f"training distribution; {'its prediction goes' if count == 1 else 'their predictions go'} "
        "beyond the network's data."
    )
    if about["share"] > expected + chance:
        text += f" That is more than the {percent(expected)} that chance gives."
    worse = [
        labels[name]
        for name, each in known.items()
        if each["n_outside"] >= FEWEST
        and each["mae"] is not None
        and (each.get("inside") or {}).get("mae") is not None
        and each["mae"] > each["inside"]["mae"] + CLEARLY_FARTHER
    ]
    if worse:
        text += f" They are predicted worse for {among(worse, len(evaluations))}."
    yield text


def _intervals(
    evaluations: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    """Report whose intervals are too sure: those of a whole outcome, or of some of its classes."""
    one, many = unit(classes)
    whole: list[str] = []
    parts: list[str] = []
    for name, evaluation in evaluations.items():
        held = evaluation.get("intervals") or {}
        if held.get("share") is None:
            continue
        if _too_seldom(held["share"], held["level"], evaluation.get("n_areas") or 0, 2):
            whole.append(f"{labels[name]} ({percent(held['share'])})")
        low = [
            f"{row['decile']}: {percent(row['share'])}"
            for row in held.get("by_decile") or ()
            # As many classes are tested: three standard errors, not two.
            if row["n_areas"] >= FEWEST
            and row["share"] is not None
            and _too_seldom(row["share"], held["level"], row["n_areas"], 3)
        ]
        if low:
            parts.append(f"{labels[name]} ({one} {', '.join(low)})")
    if whole:
        yield (
            f"The areas’ intervals hold the actual {one} less often than they should: "
            f"{listed(whole)}."
        )
    if parts:
        yield (
            f"At some {many} the areas’ intervals hold the actual one too seldom: "
            f"{listed(parts)}. An interval that holds on average can be too sure at the ends."
        )


def _too_seldom(share: float, level: float, n: int, errors: float) -> bool:
    """Whether a share is below its level by more than so many standard errors."""
    return bool(n and share < level - errors * sqrt(level * (1 - level) / n))


def _drawn_to_the_middle(
    evaluations: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    found = {n: (each.get("extremes") or {}).get("slope") or {} for n, each in evaluations.items()}
    slopes = {
        labels[name]: slope["value"]
        for name, slope in found.items()
        if slope.get("high") is not None and slope["high"] < CLEARLY_SHRUNK
    }
    if slopes:
        one, many = unit(classes)
        yield (
            f"Predictions are drawn to the middle, for {among(list(slopes), len(evaluations))}. "
            f"Where areas are one {one} apart, predictions differ by {spread(slopes)} {many}. The "
            "worst-off areas appear better off than they are, the best-off worse. Differences "
            "between areas are larger than the map shows."
        )


def _errors_alike(evaluations: Mapping[str, Any], labels: Mapping[str, str]) -> Iterable[str]:
    found = {
        n: (each.get("structure") or {}).get("residuals") or {} for n, each in evaluations.items()
    }
    alike = [
        labels[name]
        for name, moran in found.items()
        if None not in (moran.get("value"), moran.get("p"))
        and moran["p"] < SURE
        and moran["value"] > (moran.get("expected") or 0.0)
    ]
    if alike:
        yield (
            f"Errors of neighbouring areas are alike for {among(alike, len(evaluations))}. They do "
            "not cancel when areas are added up: a whole neighbourhood can be too high or too low."
        )


def _few_images_are_worse(
    evaluations: Mapping[str, Any], labels: Mapping[str, str]
) -> Iterable[str]:
    worse = []
    for name, evaluation in evaluations.items():
        kinds = (evaluation.get("groups") or {}).get("images") or {}
        few, many = ((kinds.get(kind) or {}).get("mae") or {} for kind in ("few", "many"))
        known = few.get("low") is not None and many.get("high") is not None
        if known and few["low"] > many["high"]:
            worse.append(labels[name])
    if worse:
        found = among(worse, len(evaluations))
        yield f"Areas with few images are predicted clearly worse: {found}."


def seen(
    table: pd.DataFrame,
    imagery: Mapping[str, Any],
    credits: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str],
) -> Iterator[str]:
    """List what to bear in mind of the images."""
    return itertools.chain(
        _few_images(table),
        _partly_seen(table),
        vintages(imagery, provenance, labels),
        _faults(imagery),
        _contributed(credits),
    )


def _few_images(table: pd.DataFrame) -> Iterable[str]:
    """Count the areas of few images, or of few locations where images are not counted."""
    import pandas as pd

    views = table["n_views"] if "n_views" in table else pd.Series(dtype="Int64")
    counts = views.groupby(table["area"]).max().dropna()
    few = int((counts < FEW).sum())
    if counts.empty and "n_locations" in table:
        locations = table.groupby("area")["n_locations"].max()
        if thin := int((locations < 3).sum()):
            rests = "rests" if thin == 1 else "rest"
            yield f"{plural(thin, 'area')} of {len(locations):,} {rests} on one or two locations."
    elif few:
        yield (
            f"{plural(few, 'area')} of {len(counts):,} {'rests' if few == 1 else 'rest'} on "
            f"fewer than {FEW} images (the median area by {counts.median():,.0f}). What stood "
            "there on one day decides."
        )


def _partly_seen(table: pd.DataFrame) -> Iterable[str]:
    if "share_with_images" not in table:
        return
    shares = table.groupby("area")["share_with_images"].max().dropna()
    part = int((shares < 0.5).sum())
    if part:
        yield (
            f"In {plural(part, 'area')} of {len(shares):,} less than half of the locations have "
            "usable images. Whether the others are like them is not known."
        )


def years_of(text: object) -> list[int]:
    """Give the years that a vintage names: ``2012/13`` is 2012."""
    return [int(year) for year in re.findall(r"(?<!\d)(?:19|20)\d\d(?!\d)", str(text or ""))]


def vintages(
    imagery: Mapping[str, Any],
    provenance: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str],
) -> Iterable[str]:
    """Compare the years of the statistics with each other and with those of the images."""
    # "LSOA 2011" of statistics whose own year is not known is that of their areas.
    vintage_of = {
        n: p.get("vintage") for n, p in provenance.items() if p.get("vintage") != p.get("areas")
    }
    of = {name: years for name, vintage in vintage_of.items() if (years := years_of(vintage))}
    if not of:
        return
    every = [year for years in of.values() for year in years]
    first, last = min(every), max(every)
    named = _by_vintage({labels.get(n, n): str(vintage_of[n]) for n in of})
    captured = imagery.get("captured")
    if captured:
        begin, end = captured
        apart = max(begin - first, last - end, last - begin, end - first)
        if apart >= APART:
            when = str(begin) if begin == end else f"{begin} to {end}"
            yield (
                f"Images and statistics are not of one time. Images were taken in {when}, "
                f"statistics are of {named}. What has changed in between counts as error."
            )
    elif last - first >= APART:
        yield (
            f"The statistics are of different years: {named}. Images of one time cannot "
            "fit them all equally well."
        )
    if imagery and not captured:
        yield (
            f"When the images were taken is not known to the study. The statistics are of "
            f"{first if first == last else f'{first} to {last}'}."
        )


def _by_vintage(vintage_of: Mapping[str, str]) -> str:
    """Write which outcomes are of which year; of many that share one, the first few."""
    of: dict[str, list[str]] = {}
    for label, vintage in vintage_of.items():
        of.setdefault(vintage, []).append(label)
    parts = [
        # A label may end with its year.
        labels[0]
        if labels[0].endswith(vintage) and len(labels) == 1
        else f"{listed(labels, 3)} {vintage}"
        for vintage, labels in of.items()
    ]
    return listed(parts) if len(of) == len(vintage_of) else "; ".join(parts)


def _faults(imagery: Mapping[str, Any]) -> Iterable[str]:
    found, total = imagery.get("found") or {}, imagery.get("n") or 0
    if not found or not total:
        return
    out = set(imagery.get("exclude") or ())
    left = [f"{n:,} {FAULTS.get(k, k)}" for k, n in found.items() if k in out]
    used = [f"{n:,} {FAULTS.get(k, k)}" for k, n in found.items() if k not in out]
    if left:
        count = sum(n for kind, n in found.items() if kind in out)
        yield (
            f"Images excluded for what they are: {listed(left)}, of {total:,} "
            f"({percent(count / total)})."
        )
    if used:
        yield (
            f"Used although something was found wrong with them: {listed(used)}, of {total:,} "
            "images."
        )


def _contributed(credits: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    lines = [str(credit["line"]) for credit in credits]
    if lines:
        yield (
            f"The images are contributed: {'; '.join(lines)}. They were taken where people went, "
            "not at random, and naming their makers is a condition of their use."
        )
