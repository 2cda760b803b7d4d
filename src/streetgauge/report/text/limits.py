"""Caveats from what was measured: leakage, unlike areas, intervals, extremes, errors alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from streetgauge.report.text.findings import other_kind
from streetgauge.report.text.numbers import among, listed, number, percent, plural, spread, unit

__all__ = ["limits"]

CLEARLY_FARTHER = 0.1  # classes
CLEARLY_SHRUNK = 0.9  # of the slope's interval
FEWEST = 10  # areas of a class, to speak of it
SURE = 0.05


def limits(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    """Say what the figures of metrics.json call for."""
    accounts, classes = metrics["outcomes"], int(metrics.get("classes", 10))
    yield from _torn(metrics["scheme"])
    yield from _leakage(metrics, labels, classes)
    yield from _shuffled(accounts, labels)
    yield from _unlike(accounts, labels)
    yield from _intervals(accounts, labels, classes)
    yield from _drawn_to_the_middle(accounts, labels, classes)
    yield from _errors_alike(accounts, labels)
    yield from _few_pictures_are_worse(accounts, labels)


def _torn(scheme: Mapping[str, Any]) -> Iterable[str]:
    torn = scheme.get("split_areas") or 0
    if torn:
        yield (
            f"{plural(torn, 'area')} {'is' if torn == 1 else 'are'} torn: some of "
            f"{'its' if torn == 1 else 'their'} locations taught the network that predicted the "
            "others."
        )


def _leakage(metrics: Mapping[str, Any], labels: Mapping[str, str], classes: int) -> Iterable[str]:
    """Compare random with spatial folds: what is lost is what neighbours had told."""
    kind = other_kind(metrics)
    if kind is None:
        return
    other = metrics["other_folds"]
    spatial, random = (other, metrics) if kind == "spatial" else (metrics, other)
    lost, gaps = [], []
    for name in labels:
        pair = [each["outcomes"].get(name, {}).get("metrics", {}) for each in (random, spatial)]
        near, far = (each.get("mae", {}).get("value") for each in pair)
        if near is not None and far is not None and far - near >= CLEARLY_FARTHER:
            lost.append(f"{labels[name]} ({number(near)} off at random, {number(far)} there)")
            gaps.append(far - near)
    if lost:
        how = spatial["scheme"]["description"]
        yield (
            f"Knowing the neighbours helped. With {how}, predictions are further off by up to "
            f"{number(max(gaps))} {unit(classes)[1]}: {listed(lost)}. Where no neighbour is known, "
            "take the figures of those folds."
        )


def _shuffled(accounts: Mapping[str, Any], labels: Mapping[str, str]) -> Iterable[str]:
    found = []
    for name, account in accounts.items():
        dealt = account.get("shuffled") or {}
        largest, chance = dealt.get("largest"), dealt.get("chance")
        if largest is not None and chance is not None and largest > chance:
            found.append(labels[name])
    if found:
        yield (
            "With classes dealt at random a model still seemed to know something of "
            f"{among(found, len(accounts))}. That can be chance in one of many draws, or a way "
            "from labels to predictions that goes past the images."
        )


def _unlike(accounts: Mapping[str, Any], labels: Mapping[str, str]) -> Iterable[str]:
    """Areas are unlike whatever the outcome; how wrong they are differs."""
    known = {
        n: a["area_of_applicability"]
        for n, a in accounts.items()
        if (a.get("area_of_applicability") or {}).get("n_outside")
    }
    if not known:
        return
    about = max(known.values(), key=lambda each: each["n_outside"])
    count, n, expected = about["n_outside"], about["n_areas"], about["expected"]
    chance = 2 * np.sqrt(expected * (1 - expected) / max(n, 1))
    text = (
        f"{plural(count, 'area')} of {n:,} {'is' if count == 1 else 'are'} unlike any that the "
        f"network had learned from; {'its prediction goes' if count == 1 else 'predictions go'} "
        "beyond its data."
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
        text += f" They are predicted worse for {among(worse, len(accounts))}."
    yield text


def _intervals(
    accounts: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    """Say whose intervals are too sure: those of a whole outcome, or of some of its classes."""
    one, many = unit(classes)
    whole: list[str] = []
    parts: list[str] = []
    for name, account in accounts.items():
        held = account.get("intervals") or {}
        if held.get("share") is None:
            continue
        if _too_seldom(held["share"], held["level"], account.get("n_areas") or 0, 2):
            whole.append(f"{labels[name]} ({percent(held['share'])})")
        low = [
            f"{row['decile']}: {percent(row['share'])}"
            for row in held.get("by_decile") or ()
            # As many classes are looked at: three standard errors, not two.
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
    return bool(n and share < level - errors * np.sqrt(level * (1 - level) / n))


def _drawn_to_the_middle(
    accounts: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    slopes = {}
    for name, account in accounts.items():
        slope = (account.get("extremes") or {}).get("slope") or {}
        if slope.get("high") is not None and slope["high"] < CLEARLY_SHRUNK:
            slopes[labels[name]] = slope["value"]
    if slopes:
        one, many = unit(classes)
        yield (
            f"Predictions are drawn to the middle, for {among(list(slopes), len(accounts))}: "
            f"where areas are one {one} apart, predictions differ by {spread(slopes)} {many}. The "
            "worst-off areas look better off than they are, the best-off worse; differences "
            "between areas are larger than the map shows."
        )


def _errors_alike(accounts: Mapping[str, Any], labels: Mapping[str, str]) -> Iterable[str]:
    alike = []
    for name, account in accounts.items():
        errors = (account.get("structure") or {}).get("residuals") or {}
        value, p, expected = (errors.get(key) for key in ("value", "p", "expected"))
        if value is not None and p is not None and p < SURE and value > (expected or 0.0):
            alike.append(labels[name])
    if alike:
        yield (
            f"Neighbouring areas are wrong alike for {among(alike, len(accounts))}: errors do not "
            "cancel when areas are added up, and a whole quarter can be too high or too low."
        )


def _few_pictures_are_worse(
    accounts: Mapping[str, Any], labels: Mapping[str, str]
) -> Iterable[str]:
    worse = []
    for name, account in accounts.items():
        kinds = (account.get("groups") or {}).get("images") or {}
        few, many = ((kinds.get(kind) or {}).get("mae") or {} for kind in ("few", "many"))
        if few.get("low") is None or many.get("high") is None:
            continue
        if few["low"] > many["high"]:
            worse.append(labels[name])
    if worse:
        yield f"Areas with few images are predicted clearly worse: {among(worse, len(accounts))}."
