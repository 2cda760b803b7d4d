"""Sentences of the page, made from the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.report._schemes import held_out, no_intervals

if TYPE_CHECKING:
    from streetgauge.report.page import ReportData

__all__ = [
    "carried",
    "caveats",
    "finding",
    "incomplete",
    "nearby",
    "number",
    "percent",
    "plural",
    "scale",
    "span",
    "summary",
    "unit",
    "verdict",
]

FEW_AREAS = 300
FOLDS = {"random": "random folds", "spatial": "spatial folds"}
WITHOUT_PICTURES = {
    "random": "chance",
    "kriging": "kriging of other areas’ classes",
    "density": "how densely its locations lie",
    "columns": "the study’s columns of other facts",
    "density-and-places": "kriging beside how densely its locations lie",
    "columns-and-places": "kriging beside the study’s columns of other facts",
    "previous": "the earlier release",
}
MISSING = "–"
PARTS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 10: "tenth"}


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Write a number, with a real minus; a dash where it is not defined."""
    if value is None:
        return MISSING
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if not float(text):
        text = f"{0:.{digits}f}"
    return text.replace("-", "−")


def percent(value: float | None) -> str:
    """Write a share as whole per cent."""
    return MISSING if value is None else f"{100 * value:.0f} %".replace("-", "−")


def span(estimate: Mapping[str, float | None], digits: int = 2) -> str:
    """Write an interval: "0.61 to 0.72"; empty where it is not defined."""
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    return f"{number(estimate['low'], digits)} to {number(estimate['high'], digits)}"


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: "1 area", "4,835 areas"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def unit(classes: int) -> tuple[str, str]:
    """Name what areas are put into, one and many: only tenths are deciles."""
    return ("decile", "deciles") if classes == 10 else ("class", "classes")


def nearby(classes: int) -> str:
    """Choose the metric of coming close: with few classes the one beside is not close."""
    return "within_1" if classes >= 5 else "exact"


def scale(provenance: Mapping[str, Mapping[str, Any]], classes: int) -> str:
    """Say what a class means: among which areas, and cut by what."""
    one, many = unit(classes)
    said = list(provenance.values())
    part = PARTS.get(classes, f"{classes}th part")
    own = [each for each in said if each.get("deciles", "study") == "study"]
    within = own[0].get("within", "study") if own else "study"
    if within == "study":
        who = "the areas of this study"
    elif within == "nation":
        who = "all areas of each statistic’s file"
    else:
        who = f"the areas with codes like {_listed([str(each) for each in within])}"
    text = (
        f"A {one} says where an area stands among {who}: 1 is the worst-off {part}, {classes} the "
        "best-off."
    )
    if any(each.get("weighted") for each in own):
        text += f" Each of these {many} holds an equal share of the people, not of the areas."
    published = [str(p.get("label") or n) for n, p in provenance.items() if p not in own]
    if published:
        text += f" The {many} of {_listed(published)} are the publisher’s."
    if published or within != "study" or any(each.get("weighted") for each in own):
        text += (
            f" As many areas are predicted in each {one} as are in it, so this study’s own share "
            f"of every {one} is taken as known."
        )
    return text


def incomplete(provenance: Mapping[str, Any], labels: Mapping[str, str], classes: int) -> str:
    """Refuse to call an outcome complete: how much is missing, and is it like the rest; or ""."""
    missing, n = provenance.get("n_missing") or 0, provenance.get("n_areas") or 0
    if not missing:
        return ""
    text = (
        f"This outcome is not complete: {missing:,} of {plural(missing + n, 'area')} of the study "
        f"({percent(missing / (missing + n))}) {'has' if missing == 1 else 'have'} no value, and "
        f"its figures speak for the other {n:,} only."
    )
    whole, part = provenance.get("nation_areas"), provenance.get("file_areas")
    if whole and part and part < whole:
        text += f" Its file holds {part:,} of the {whole:,} areas that the index ranks."
    unlike = provenance.get("missing_unlike")
    if unlike:
        by = labels.get(unlike["by"], unlike["by"])
        return (
            f"{text} They are no random sample: by {by} the mean {unit(classes)[0]} of the areas "
            f"without a value is {number(unlike['without'], 1)}, of the others "
            f"{number(unlike['having'], 1)}."
        )
    return f"{text} Whether the others are a fair sample is not known."


def carried(provenance: Mapping[str, Any]) -> str:
    """Say how values of one year's areas came to those of another; "" if they did not have to."""
    lookup = provenance.get("lookup")
    if not lookup:
        return ""
    without = "" if lookup["weights"].startswith("the lookup") else ", without a value"
    kinds = {
        "unchanged": "unchanged",
        "split": "parts of a split area, with the whole’s value",
        "merged": f"merged, with the mean ({lookup['weights']})",
        "irregular": f"redrawn irregularly{without}",
        "absent": "not in the lookup, without a value",
    }
    counts = "; ".join(f"{lookup[kind]:,} {text}" for kind, text in kinds.items() if lookup[kind])
    return (
        f"values of {lookup['from']} areas were carried to {lookup['to']} areas by "
        f"{lookup['file']} (sha256 {lookup['sha256'][:12]}). Of the study’s areas: {counts}."
    )


def verdict(account: Mapping[str, Any]) -> str:
    """Say if pictures beat the best baseline: "more", "unclear", "less", or "" without one."""
    adds = account.get("pictures_add")
    if not adds or adds["mae"]["low"] is None:
        return ""
    if adds["mae"]["low"] > 0:
        return "more"
    return "less" if adds["mae"]["high"] < 0 else "unclear"


def baseline(name: str | None, neighbours: int | None = None, classes: int = 10) -> str:
    """Say in words what a baseline does."""
    if name == "nearest-areas":
        many = "nearest areas" if neighbours is None else f"{neighbours} nearest areas"
        return f"the {many}" if neighbours != 1 else "the nearest area"
    if name == "constant":
        return f"the middle {unit(classes)[0]} for every area"
    return WITHOUT_PICTURES.get(str(name), str(name))


def second_kind(metrics: Mapping[str, Any]) -> str | None:
    """Name the kind of the folds beside the study's own, if there are any."""
    return next((kind for kind in FOLDS if kind in metrics), None)


def beside(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Say what the pictures add in the folds beside the study's own; "" if there are none."""
    kind = second_kind(metrics)
    if kind is None:
        return ""
    accounts = metrics[kind]["outcomes"]
    judged = {n: verdict(accounts[n]) for n in labels if n in accounts and verdict(accounts[n])}
    if not judged:
        return ""
    more = [labels[name] for name, word in judged.items() if word == "more"]
    many, how = len(judged), str(metrics[kind]["scheme"]["in_words"])
    held = f"With {how}" if how.startswith(("square", "areas")) else f"With areas tested so: {how}"
    if many == 1:
        text = f"{held}, they {'do' if more else 'do not clearly do'} so"
    else:
        named = f" ({_listed(more)})" if 0 < len(more) < many else ""
        text = f"{held}, they do so for {len(more) or 'none'} of {many}{named}"
    if kind == "random":
        return f"{text}; there the best guess knows an area’s neighbours."
    return f"{text}; there an area’s neighbours are mostly held out with it."


def finding(account: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """One plain sentence or three on an outcome."""
    measured, classes = account["metrics"], int(metrics.get("classes", 10))
    one, many = unit(classes)
    if not account["n_areas"]:
        return f"No area has both a predicted and an actual {one}, so nothing is measured."
    within, mae = measured[nearby(classes)], measured["mae"]
    beside = " or the one beside it" if nearby(classes) == "within_1" else ""
    text = (
        f"{percent(within['value'])} of {plural(account['n_areas'], 'area')} get the actual "
        f"{one}{beside}; on average the prediction is {number(mae['value'], 1)} of "
        f"{classes} {many} off."
    )
    adds, judged = account["pictures_add"], verdict(account)
    if adds is None or not judged:
        return text
    over = baseline(adds["over"], metrics.get("neighbours"), classes)
    gain = adds["mae"]
    if judged == "unclear":
        return (
            f"{text} That is not clearly better or worse than {over}, which needs no picture "
            f"({number(gain['value'], sign=True)} {many} closer, "
            f"interval {number(gain['low'], sign=True)} to {number(gain['high'], sign=True)})."
        )
    better = "closer" if judged == "more" else "further off"
    low, high = sorted((abs(gain["low"]), abs(gain["high"])))
    return (
        f"{text} That is {number(abs(gain['value']))} {many} {better} than {over}, which needs no "
        f"picture (interval {number(low)} to {number(high)})."
    )


def summary(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Say over all outcomes what the pictures add."""
    many = unit(int(metrics.get("classes", 10)))[1]
    if not labels:
        return (
            "Nothing was tested: the networks learned from all areas, so nothing here says how "
            "good they are. `streetgauge export` makes a bundle of what was learned, and "
            "`streetgauge predict` uses it on the pictures of another city."
        )
    judged = {name: verdict(metrics["outcomes"][name]) for name in labels}
    known = [name for name, word in judged.items() if word]
    if not known:
        return "There was no baseline to compare with, so what the pictures add is not known."

    def named(word: str) -> list[str]:
        return [labels[name] for name in known if judged[name] == word]

    more, unclear, less = named("more"), named("unclear"), named("less")
    if len(known) == 1:
        what = {
            "more": "come clearly closer than",
            "unclear": "are neither clearly closer nor clearly further off than",
            "less": "do not come as close as",
        }[judged[known[0]]]
        return f"For {labels[known[0]]}, the pictures {what} the best guess without a picture."
    if len(more) == len(known):
        return (
            f"For all {len(known)} outcomes the pictures come clearly closer to the actual {many} "
            "than the best guess without a picture."
        )
    if not more:
        text = (
            f"For none of the {len(known)} outcomes do the pictures come clearly closer to the "
            f"actual {many} than the best guess without a picture."
        )
    else:
        text = (
            f"For {len(more)} of {len(known)} outcomes ({_listed(more)}) the pictures come clearly "
            f"closer to the actual {many} than the best guess without a picture."
        )
    if unclear and more:
        text += f" For {_listed(unclear)} there is no clear difference."
    if less:
        text += f" For {_listed(less)} guessing without pictures is clearly closer."
    return text


def caveats(data: ReportData, labels: Mapping[str, str]) -> list[str]:
    """Say what to keep in mind, as far as the numbers call for it."""
    metrics = data.metrics
    accounts = metrics["outcomes"]
    result = []
    if data.simulated:
        result.append(
            "The features are simulated from the official outcomes: these figures say what a "
            "network could learn from features of that strength, not what street pictures show."
        )
    if accounts:
        result += held_out(metrics["scheme"])
    classes = int(metrics.get("classes", 10))
    result += _other_areas(data.provenance, labels)
    result += _few_areas(accounts, classes)
    result += _incomplete_outcomes(data.provenance, labels)
    result += _missing_areas(accounts, labels, classes)
    result += _no_neighbours(accounts, classes)
    result += no_intervals(accounts, metrics["scheme"])
    result += _interval_misses(accounts, labels, classes)
    result += _shifted_folds(data.table, accounts, labels)
    result += _thin_areas(data.table)
    if not data.skips.empty:
        count = plural(len(data.skips), "record")
        result.append(f"{count} of what was left out, and why, are counted under “Left out” below.")
    return result


def _other_areas(
    provenance: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> Iterable[str]:
    by_years: dict[tuple[str, str], list[str]] = {}
    for name, about in provenance.items():
        if lookup := about.get("lookup"):
            by_years.setdefault((lookup["from"], lookup["to"]), []).append(labels.get(name, name))
    for (source, to), names in by_years.items():
        yield (
            f"Values of {source} areas were carried to {to} areas for {_listed(names)}; how many "
            "areas that touches is said under “Official statistics” below."
        )


def _few_areas(accounts: Mapping[str, Any], classes: int) -> Iterable[str]:
    fewest = min((account["n_areas"] for account in accounts.values()), default=0)
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
        f"{', not at random' if p.get('missing_unlike') else ''})"
        for n, p in provenance.items()
        if n in labels and p.get("n_missing") and p.get("n_areas") is not None
    ]
    if named:
        are, their = ("are", "their") if len(named) > 1 else ("is", "its")
        yield (
            f"{_listed(named)} {are} not complete, and {their} figures must not be quoted as if "
            "they were of the whole study."
        )


def _missing_areas(
    accounts: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    one, many = unit(classes)
    unseen = max((_unseen(account) for account in accounts.values()), default=0)
    learned = max((a.get("n_areas_learned_only") or 0 for a in accounts.values()), default=0)
    if learned:
        yield (
            f"{plural(learned, 'area')} of the study {'was' if learned == 1 else 'were'} learned "
            f"from and never tested. {many.capitalize()} are cut among those that were, and the "
            "figures are theirs alone."
        )
    if unseen:
        have = "has" if unseen == 1 else "have"
        yield (
            f"{plural(unseen, 'area')} of the study {have} no prediction, for want of a usable "
            f"location. {many.capitalize()} are cut among the areas that have one; nothing here "
            "speaks for the rest."
        )
    gaps = {n: a.get("n_areas_without_actual") or 0 for n, a in accounts.items()}
    named = [f"{labels[n]} ({count:,})" for n, count in gaps.items() if count]
    if named:
        yield (
            f"Areas without an actual {one} are predicted but not measured: {_listed(named)}. "
            "If such areas are not like the others, the figures do not say how good they are."
        )


def _unseen(account: Mapping[str, Any]) -> int:
    """How many areas were neither tested nor learned from."""
    without = account.get("n_areas_without_prediction") or 0
    return int(without - (account.get("n_areas_learned_only") or 0))


def _no_neighbours(accounts: Mapping[str, Any], classes: int) -> Iterable[str]:
    known = {name for account in accounts.values() for name in account["baselines"]}
    if known and "nearest-areas" not in known:
        yield (
            "Without coordinates there is no nearest-areas baseline, so the "
            f"pictures are compared with the middle {unit(classes)[0]} only, which is easily "
            "beaten."
        )


def _interval_misses(
    accounts: Mapping[str, Any], labels: Mapping[str, str], classes: int
) -> Iterable[str]:
    short = []
    for name, account in accounts.items():
        held = account.get("interval_coverage")
        if held and held["share"] is not None and account["n_areas"]:
            chance = 2 * np.sqrt(held["aim"] * (1 - held["aim"]) / account["n_areas"])
            if held["share"] < held["aim"] - chance:
                short.append(f"{labels[name]} ({percent(held['share'])})")
    if short:
        yield (
            f"The areas' intervals hold the actual {unit(classes)[0]} less often than they should: "
            f"{_listed(short)}."
        )


def _shifted_folds(
    table: pd.DataFrame, accounts: Mapping[str, Any], labels: Mapping[str, str]
) -> Iterable[str]:
    """Say where the folds' networks, pooled as if on one scale, visibly are not."""
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
            rho = accounts.get(str(name), {}).get("spearman_within_folds")
            within = "" if rho is None else f" (rho within folds {number(rho)})"
            shifted.append(labels.get(str(name), str(name)) + within)
    if shifted:
        yield (
            f"For {_listed(shifted)} the networks of different folds do not agree on the level of "
            "their scores; the areas of one fold then land too high or too low together."
        )


def _thin_areas(table: pd.DataFrame) -> Iterable[str]:
    counts = table.groupby("area")["n_locations"].max()
    thin = int((counts < 3).sum())
    if thin:
        rest = "rests" if thin == 1 else "rest"
        yield f"{plural(thin, 'area')} of {len(counts):,} {rest} on one or two locations."


def _listed(names: Sequence[str], most: int = 6) -> str:
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
