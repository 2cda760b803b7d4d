"""Caveats from the images: how many there are, of when, how good, and whose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from streetgauge.report.text.numbers import listed, percent, plural

__all__ = ["seen", "vintages", "years_of"]

FEW = 8  # images of an area: two locations with four views
APART = 3  # years
FAULTS = {
    "black": "black",
    "blank": "blank",
    "placeholder": "a notice in the place of an image",
    "duplicate": "the same as another",
    "blurred": "blurred",
}


def seen(
    table: pd.DataFrame,
    imagery: Mapping[str, Any],
    credits: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str],
) -> Iterator[str]:
    """Say what is to be kept in mind of the images."""
    yield from _few_pictures(table)
    yield from _partly_seen(table)
    yield from vintages(imagery, provenance, labels)
    yield from _faults(imagery)
    yield from _contributed(credits)


def _few_pictures(table: pd.DataFrame) -> Iterable[str]:
    """Count the areas of few images, or of few locations where images are not counted."""
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
            f"{plural(few, 'area')} of {len(counts):,} {'is' if few == 1 else 'are'} judged by "
            f"fewer than {FEW} images (the median area by {counts.median():,.0f}): what stood "
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
            "usable images; nothing says that the others look like them."
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
    said = {
        n: p.get("vintage") for n, p in provenance.items() if p.get("vintage") != p.get("areas")
    }
    of = {name: years for name, vintage in said.items() if (years := years_of(vintage))}
    if not of:
        return
    every = [year for years in of.values() for year in years]
    first, last = min(every), max(every)
    named = _by_vintage({labels.get(n, n): str(said[n]) for n in of})
    captured = imagery.get("captured")
    if captured:
        begin, end = captured
        apart = max(begin - first, last - end, last - begin, end - first)
        if apart >= APART:
            when = str(begin) if begin == end else f"{begin} to {end}"
            yield (
                f"Pictures and statistics are not of one time: images were taken in {when}, the "
                f"statistics are of {named}. What has changed in between counts as error."
            )
    elif last - first >= APART:
        yield (
            f"The statistics are of different years: {named}. Images of one time cannot "
            "fit them all equally well."
        )
    if imagery and not captured:
        yield (
            f"When the images were taken is not known to the study; the statistics are of "
            f"{first if first == last else f'{first} to {last}'}."
        )


def _by_vintage(said: Mapping[str, str]) -> str:
    """Write which outcomes are of which year; of many that share one, the first few."""
    of: dict[str, list[str]] = {}
    for label, vintage in said.items():
        of.setdefault(vintage, []).append(label)
    parts = [
        # A label may end with its year.
        labels[0]
        if labels[0].endswith(vintage) and len(labels) == 1
        else f"{listed(labels, 3)} {vintage}"
        for vintage, labels in of.items()
    ]
    return listed(parts) if len(of) == len(said) else "; ".join(parts)


def _faults(imagery: Mapping[str, Any]) -> Iterable[str]:
    found, total = imagery.get("found") or {}, imagery.get("n") or 0
    if not found or not total:
        return
    out = set(imagery.get("exclude") or ())
    left = [f"{n:,} {FAULTS.get(k, k)}" for k, n in found.items() if k in out]
    kept = [f"{n:,} {FAULTS.get(k, k)}" for k, n in found.items() if k not in out]
    if left:
        count = sum(n for kind, n in found.items() if kind in out)
        yield (
            f"Pictures left out for what they are: {listed(left)}, of {total:,} "
            f"({percent(count / total)})."
        )
    if kept:
        yield (
            f"Used although something was found wrong with them: {listed(kept)}, of {total:,} "
            "pictures."
        )


def _contributed(credits: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    lines = [str(credit["line"]) for credit in credits]
    if lines:
        yield (
            f"The images are contributed: {'; '.join(lines)}. They were taken where people went, "
            "not at random, and naming their makers is a condition of their use."
        )
