"""Sentences on what was found: how good the predictions are, and what the images add."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from streetgauge.report.text.numbers import (
    PARTS,
    listed,
    nearby,
    number,
    percent,
    plural,
    unit,
)
from streetgauge.settings import FOLD_KINDS

__all__ = ["baseline", "other_summary", "finding", "other_kind", "plain", "plainer", "summary"]
__all__ += ["gain_direction"]

IMAGE_FREE = {
    "random": "chance",
    "kriging": "kriging of the areas around",
    "density": "the density of locations",
    "columns": "the study’s other columns",
    "density-and-kriging": "kriging and the density of locations",
    "columns-and-kriging": "kriging and the study’s other columns",
    "previous": "the earlier release",
}

LEARNERS = {
    "network": "the network alone",
    "kernel": "Gaussian processes alone (kernel)",
    "ridge": "ridge regression alone (ridge)",
}
PLAINER = {
    **LEARNERS,
    "linear": "ridge regression (linear)",
    "linear-and-kriging": "linear-and-kriging (with places)",
}
FEW = 2  # outcomes that are named; of more the number is enough
SETTINGS = ("ridge", "kernel")  # learners of [train] that are as plain as `linear`, or nearly


def gain_direction(evaluation: Mapping[str, Any]) -> str:
    """Compare images with the best baseline: "more", "unclear", "less", or "" without one."""
    adds = evaluation.get("gain")
    if not adds or adds["mae"]["low"] is None:
        return ""
    if adds["mae"]["low"] > 0:
        return "more"
    return "less" if adds["mae"]["high"] < 0 else "unclear"


def baseline(name: str | None, neighbours: int | None = None, classes: int = 10) -> str:
    """Describe what a baseline does."""
    if name == "nearest-areas":
        many = "nearest areas" if neighbours is None else f"{neighbours} nearest areas"
        return f"the {many}" if neighbours != 1 else "the nearest area"
    if name == "constant":
        return f"the middle {unit(classes)[0]} for every area"
    return IMAGE_FREE.get(str(name), str(name))


def other_kind(metrics: Mapping[str, Any]) -> str | None:
    """Name the kind of the other folds, if there are any."""
    return (metrics.get("other_folds") or {}).get("kind")


def other_summary(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Sum up what the images add in the other folds; "" if there are none."""
    kind = other_kind(metrics)
    if kind is None:
        return ""
    evaluations = metrics["other_folds"]["outcomes"]
    verdicts = {
        n: gain_direction(evaluations[n])
        for n in labels
        if n in evaluations and gain_direction(evaluations[n])
    }
    if not verdicts:
        return ""
    more = [labels[name] for name, word in verdicts.items() if word == "more"]
    many, how = len(verdicts), str(metrics["other_folds"]["scheme"]["description"])
    held = f"With {how}"
    if many == 1:
        text = f"{held}, they {'do' if more else 'do not clearly do'} so"
    else:
        same = more == [
            labels[n] for n in verdicts if gain_direction(metrics["outcomes"][n]) == "more"
        ]
        named = f" ({listed(more)})" if 0 < len(more) < many and not same else ""
        which = "the same " if same and 0 < len(more) < many else ""
        count = f"all {many}" if len(more) == many else f"{which}{len(more) or 'none'} of {many}"
        text = f"{held}, they do so for {count}{named}"
    if kind == "random":
        return f"{text}. In that test the best baseline uses an area’s neighbours."
    return f"{text}. In that test, most neighbours of an area are held out with it."


def finding(evaluation: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """One plain sentence or three on an outcome."""
    measured, classes = evaluation["metrics"], int(metrics.get("classes", 10))
    one, many = unit(classes)
    if not evaluation["n_areas"]:
        return f"No area has both a predicted and an actual {one}, so nothing is measured."
    within, mae = measured[nearby(classes)], measured["mae"]
    neighbour = " or the one next to it" if nearby(classes) == "within_1" else ""
    text = (
        f"{percent(within['value'])} of {plural(evaluation['n_areas'], 'area')} get the actual "
        f"{one}{neighbour}. The mean absolute error is {number(mae['value'], 1)} {many}."
    )
    adds, found = evaluation["gain"], gain_direction(evaluation)
    if adds is None or not found:
        return text + _best_in_words(evaluation, metrics)
    over = baseline(adds["over"], metrics.get("neighbours"), classes)
    gain = adds["mae"]
    if found == "unclear":
        where = "closer" if gain["value"] > 0 else "further off"
        return (
            f"{text} That is not clearly better or worse than {over}, which needs no image. "
            f"Images are {number(abs(gain['value']))} {many} {where} (interval of what they add: "
            f"{number(gain['low'], sign=True)} to {number(gain['high'], sign=True)})."
            f"{_best_in_words(evaluation, metrics)}"
        )
    better = "closer" if found == "more" else "further off"
    low, high = sorted((abs(gain["low"]), abs(gain["high"])))
    return (
        f"{text} That is {number(abs(gain['value']))} {many} {better} than {over}, which needs no "
        f"image (interval {number(low)} to {number(high)}).{_best_in_words(evaluation, metrics)}"
    )


def _best_in_words(evaluation: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Report what the best estimate gains on images alone, and whether it needs them; or ""."""
    best = evaluation.get("best")
    if not best or best["metrics"]["mae"]["value"] is None:
        return ""
    classes = int(metrics.get("classes", 10))
    many = unit(classes)[1]
    text = (
        f" The best estimate, from {listed(best['from'].split(', '))}, has a mean absolute error "
        f"of {number(best['metrics']['mae']['value'])} {many}"
    )
    more = best["gain_over_images"]["mae"]
    if more["low"] is not None:
        where = "closer" if more["value"] >= 0 else "further off"
        text += (
            f". That is {number(abs(more['value']))} {many} {where} than images alone "
            f"(interval {number(more['low'], sign=True)} to {number(more['high'], sign=True)})"
        )
    gain = best["gain"]
    if gain and gain["mae"]["low"] is not None and gain["mae"]["low"] <= 0:
        over = baseline(gain["over"], metrics.get("neighbours"), classes)
        if gain["mae"]["value"] > 0:
            text += f". It is not clearly better than {over}: that images help is not shown"
        else:
            text += f". It is no better than {over}: this map does not need images"
    return f"{text}."


def summary(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Sum up over all outcomes what the images add."""
    many = unit(int(metrics.get("classes", 10)))[1]
    if not labels:
        return (
            "Nothing was tested: the networks were trained on all areas. Their accuracy is not "
            "known. `streetgauge export` makes a bundle of the trained model, and "
            "`streetgauge predict` uses it on the images of another city."
        )
    verdicts = {name: gain_direction(metrics["outcomes"][name]) for name in labels}
    known = [name for name, word in verdicts.items() if word]
    if not known:
        return "There was no baseline to compare with, so what the images add is not known."

    def named(word: str) -> list[str]:
        return [labels[name] for name in known if verdicts[name] == word]

    more, unclear, less = named("more"), named("unclear"), named("less")
    if len(known) == 1:
        what = {
            "more": "come clearly closer than",
            "unclear": "are neither clearly closer nor clearly further off than",
            "less": "do not come as close as",
        }[verdicts[known[0]]]
        return f"For {labels[known[0]]}, the images {what} the best baseline without images."
    if len(more) == len(known):
        return (
            f"For all {len(known)} outcomes the images come clearly closer to the actual {many} "
            "than the best baseline without images."
        )
    if not more:
        text = (
            f"For none of the {len(known)} outcomes do the images come clearly closer to the "
            f"actual {many} than the best baseline without images."
        )
    else:
        text = (
            f"For {len(more)} of {len(known)} outcomes the images come clearly closer to the "
            f"actual {many} than the best baseline without images. These are {listed(more)}."
        )
    if unclear and more:
        text += f" For {listed(unclear)} there is no clear difference."
    if less:
        text += f" For {listed(less)} the best baseline without images is clearly closer."
    return text


def plain(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Explain in plain words how close images alone come.

    Parameters
    ----------
    labels : mapping of outcome to str
        In the page's order.
    metrics : mapping
        As in metrics.json.

    Returns
    -------
    str
        Empty if nothing was measured.
    """
    evaluations = {n: metrics["outcomes"][n] for n in labels if metrics["outcomes"][n]["n_areas"]}
    classes = int(metrics.get("classes", 10))
    part = PARTS.get(classes, unit(classes)[0])
    metric = nearby(classes)
    close = {n: a["metrics"][metric]["value"] for n, a in evaluations.items()}
    close = {name: value for name, value in close.items() if value is not None}
    if not close:
        return ""
    best, worst = max(close, key=close.__getitem__), min(close, key=close.__getitem__)
    where = f"the right {part} of the city"
    where += " or the one next to it" if metric == "within_1" else ""
    off = evaluations[best]["metrics"]["mae"]["value"]
    text = (
        f"From street images alone, {percent(close[best])} of the areas get {where} for "
        f"{labels[best]}"
    )
    if worst != best:
        return f"{text}. For {labels[worst]} it is {percent(close[worst])}."
    return f"{text}. The mean absolute error is {number(off, 1)} {unit(classes)[1]}."


def plainer(
    metrics: Mapping[str, Any], labels: Mapping[str, str], learner: str = "network"
) -> list[str]:
    """Name the plainer learners on the same images that are clearly better than the mapped one.

    In a sentence that takes three lines of a screen, however many outcomes there are: each one's
    figures stand in the tables.

    Clearly better is a lower MAE, with an interval of the paired difference that excludes 0, and
    a rho that is not clearly lower. A learner that is a setting for all outcomes must also have
    the lower MAE on average over all of them and both kinds of folds: of so many comparisons a few
    exclude 0 by chance.

    Parameters
    ----------
    metrics : mapping
        As in metrics.json.
    labels : mapping of outcome to str
        In the order of the sentence.
    learner : str
        The mapped one: ``learner`` under ``[train]``.

    Returns
    -------
    list of str
        The sentence and its advice, of all such learners and both kinds of folds; or nothing.
    """
    both = [metrics, *([metrics["other_folds"]] if "other_folds" in metrics else [])]
    better: dict[str, str] = {}
    measured, many = {learner}, unit(int(metrics.get("classes", 10)))[1]
    for name, method in PLAINER.items():
        found = {
            (outcome, tested.get("kind", "")): each
            for tested in both
            for outcome in labels
            if (evaluation := tested["outcomes"].get(outcome))
            and (each := (evaluation.get("with_images") or {}).get(name))
        }
        measured |= {name} if found else set()
        lower = {
            case: -each["gain"]["mae"]["value"]
            for case, each in found.items()
            if _clearly_better(each)
        }
        if name in LEARNERS and not _lower_on_average(found.values()):
            continue
        if lower and not (name == "linear" and "ridge" in better):  # which are the same method
            least, most = (number(end(lower.values())) for end in (min, max))
            by = least if least == most else f"{least} to {most}"
            where = _where(list(lower), labels)
            again = any(text.endswith(where) for text in better.values())
            better[name] = f"{method}, by {by} {'there' if again else f'{many} {where}'}"
    if not better:
        return []
    first, *others = better.values()
    also = "".join(f" Also more than {each}." for each in others)
    return [
        f"The study’s learner ({learner}) errs clearly more on images than {first}.{also} "
        f"{_advice(better, measured)}."
    ]


def _where(lower: Sequence[tuple[str, str]], labels: Mapping[str, str]) -> str:
    """Write for which outcomes and in which folds an error is lower."""
    names = [label for name, label in labels.items() if name in {name for name, _ in lower}]
    count = f"all {len(names)}" if len(names) == len(labels) else f"{len(names)} of {len(labels)}"
    whom = listed(names) if len(names) <= FEW else f"{count} outcomes"
    kinds = dict.fromkeys(kind for _, kind in lower)
    folds = [FOLD_KINDS.get(kind, "these folds").removesuffix(" folds") for kind in kinds]
    every = len(lower) == len(names) * len(folds)  # for each outcome in each kind of folds
    where = (" and " if every else " or ").join(folds) + " folds"
    return f"for {whom} in {where}"


def _lower_on_average(found: Collection[Mapping[str, Any]]) -> bool:
    return sum(each["gain"]["mae"]["value"] or 0.0 for each in found) < 0


def _clearly_better(each: Mapping[str, Any]) -> bool:
    """Whether a method is better than images alone: gains are those of images alone."""
    gain = each.get("gain") or {}
    mae, rho = (gain.get(metric) or {} for metric in ("mae", "spearman"))
    lower = mae.get("high") is not None and mae["high"] < 0
    return lower and not (rho.get("low") is not None and rho["low"] > 0)


def _advice(better: Collection[str], measured: Collection[str]) -> str:
    named = [each for each in LEARNERS if each in better]
    if not named and "linear" not in better:  # a ridge alone may be no better
        return "Like the best estimate, linear-and-kriging uses places as well as images"
    named = named or [each for each in SETTINGS if each not in measured]
    if not named:
        return "No other learner of [train] is clearly better"
    others = " or ".join(f'"{each}"' for each in named)
    return f"Try learner = {others} under [train]"
