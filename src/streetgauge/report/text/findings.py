"""Sentences on what was found: how good the predictions are, and what the images add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import listed, nearby, number, percent, plural, unit

__all__ = ["baseline", "beside", "finding", "other_kind", "summary", "verdict"]

WITHOUT_PICTURES = {
    "random": "chance",
    "kriging": "a guess from the areas around (kriging)",
    "density": "a guess from how densely locations lie",
    "columns": "a guess from the study’s other columns",
    "density-and-kriging": "a guess from the areas around and how densely locations lie",
    "columns-and-kriging": "a guess from the areas around and the study’s other columns",
    "previous": "the earlier release",
}


def verdict(account: Mapping[str, Any]) -> str:
    """Say if images beat the best baseline: "more", "unclear", "less", or "" without one."""
    adds = account.get("gain")
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


def other_kind(metrics: Mapping[str, Any]) -> str | None:
    """Name the kind of the folds beside the study's own, if there are any."""
    return (metrics.get("other_folds") or {}).get("kind")


def beside(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Say what the images add in the folds beside the study's own; "" if there are none."""
    kind = other_kind(metrics)
    if kind is None:
        return ""
    accounts = metrics["other_folds"]["outcomes"]
    judged = {n: verdict(accounts[n]) for n in labels if n in accounts and verdict(accounts[n])}
    if not judged:
        return ""
    more = [labels[name] for name, word in judged.items() if word == "more"]
    many, how = len(judged), str(metrics["other_folds"]["scheme"]["description"])
    held = f"With {how}" if how.startswith(("square", "areas")) else f"With areas tested so: {how}"
    if many == 1:
        text = f"{held}, they {'do' if more else 'do not clearly do'} so"
    else:
        same = more == [labels[n] for n in judged if verdict(metrics["outcomes"][n]) == "more"]
        named = f" ({listed(more)})" if 0 < len(more) < many and not same else ""
        which = "the same " if same and 0 < len(more) < many else ""
        count = f"all {many}" if len(more) == many else f"{which}{len(more) or 'none'} of {many}"
        text = f"{held}, they do so for {count}{named}"
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
    adds, judged = account["gain"], verdict(account)
    if adds is None or not judged:
        return text
    over = baseline(adds["over"], metrics.get("neighbours"), classes)
    gain = adds["mae"]
    if judged == "unclear":
        where = "closer" if gain["value"] > 0 else "further off"
        return (
            f"{text} That is not clearly better or worse than {over}, which needs no image "
            f"({number(abs(gain['value']))} {many} {where}; what images add: "
            f"interval {number(gain['low'], sign=True)} to {number(gain['high'], sign=True)})."
        )
    better = "closer" if judged == "more" else "further off"
    low, high = sorted((abs(gain["low"]), abs(gain["high"])))
    return (
        f"{text} That is {number(abs(gain['value']))} {many} {better} than {over}, which needs no "
        f"picture (interval {number(low)} to {number(high)})."
    )


def summary(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Say over all outcomes what the images add."""
    many = unit(int(metrics.get("classes", 10)))[1]
    if not labels:
        return (
            "Nothing was tested: the networks learned from all areas, so nothing here says how "
            "good they are. `streetgauge export` makes a bundle of what was learned, and "
            "`streetgauge predict` uses it on the images of another city."
        )
    judged = {name: verdict(metrics["outcomes"][name]) for name in labels}
    known = [name for name, word in judged.items() if word]
    if not known:
        return "There was no baseline to compare with, so what the images add is not known."

    def named(word: str) -> list[str]:
        return [labels[name] for name in known if judged[name] == word]

    more, unclear, less = named("more"), named("unclear"), named("less")
    if len(known) == 1:
        what = {
            "more": "come clearly closer than",
            "unclear": "are neither clearly closer nor clearly further off than",
            "less": "do not come as close as",
        }[judged[known[0]]]
        return f"For {labels[known[0]]}, the images {what} the best guess without an image."
    if len(more) == len(known):
        return (
            f"For all {len(known)} outcomes the images come clearly closer to the actual {many} "
            "than the best guess without an image."
        )
    if not more:
        text = (
            f"For none of the {len(known)} outcomes do the images come clearly closer to the "
            f"actual {many} than the best guess without an image."
        )
    else:
        text = (
            f"For {len(more)} of {len(known)} outcomes ({listed(more)}) the images come clearly "
            f"closer to the actual {many} than the best guess without an image."
        )
    if unclear and more:
        text += f" For {listed(unclear)} there is no clear difference."
    if less:
        text += f" For {listed(less)} guessing without images is clearly closer."
    return text
