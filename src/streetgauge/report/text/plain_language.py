"""The findings in a few sentences for those who decide, not for those who measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streetgauge.report.text.findings import other_kind, verdict
from streetgauge.report.text.numbers import PARTS, among, nearby, number, percent, unit

__all__ = ["plain"]


def plain(labels: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Say in plain words how far the maps can be trusted, outcome by outcome.

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
    accounts = {n: metrics["outcomes"][n] for n in labels if metrics["outcomes"][n]["n_areas"]}
    if not accounts:
        return ""
    kind = other_kind(metrics)
    second = metrics["other_folds"]["outcomes"] if kind else {}
    firm: list[str] = []
    near: list[str] = []
    weak: list[str] = []
    for name, account in accounts.items():
        here = verdict(account)
        there = verdict(second[name]) if name in second else here
        if not here:
            continue
        both = (here == "more") + (there == "more")
        (weak, near, firm)[both].append(labels[name])
    return " ".join(
        filter(
            None,
            [_how_close(accounts, labels, metrics), *_trust(firm, near, weak, kind, len(accounts))],
        )
    )


def _how_close(
    accounts: Mapping[str, Any], labels: Mapping[str, str], metrics: Mapping[str, Any]
) -> str:
    classes = int(metrics.get("classes", 10))
    part = PARTS.get(classes, unit(classes)[0])
    metric = nearby(classes)
    close = {n: a["metrics"][metric]["value"] for n, a in accounts.items()}
    close = {name: value for name, value in close.items() if value is not None}
    if not close:
        return ""
    best, worst = max(close, key=close.__getitem__), min(close, key=close.__getitem__)
    where = f"the right {part}" + (" or the one beside it" if metric == "within_1" else "")
    off = accounts[best]["metrics"]["mae"]["value"]
    text = (
        f"In plain words: from street images alone, {percent(close[best])} of areas are put into "
        f"{where} of the city for {labels[best]}"
    )
    if worst != best:
        return f"{text}, and {percent(close[worst])} for {labels[worst]}."
    return f"{text}; a typical area is {number(off, 1)} {unit(classes)[1]} off."


def _trust(
    firm: Sequence[str], near: Sequence[str], weak: Sequence[str], kind: str | None, total: int
) -> list[str]:
    """Say of which outcomes the map can be used for what."""
    said = []
    if firm:
        tests = "in both tests" if kind else "in the one test that was made"
        said.append(
            f"Pictures tell more of {among(firm, total)} than a good guess without them, {tests}: "
            "use the map as far as its intervals allow, and for no single street."
        )
    if near:
        said.append(
            f"For {among(near, total)} they do so in one of the two tests only: rely on them "
            "only where an official figure can be checked nearby."
        )
    if weak:
        said.append(
            f"For {among(weak, total)} images add nothing that is certain: do not decide by "
            "this map."
        )
    return said
