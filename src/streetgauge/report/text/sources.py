"""A sentence for each outcome on what the sources of features add to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import listed, number, span

__all__ = ["source_sentences"]


def source_sentences(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, str]:
    """Put into words what each of several sources adds, by outcome; of one source nothing."""
    found = {}
    for name, label in labels.items():
        each = metrics["outcomes"].get(name, {}).get("sources")
        if each:
            found[name] = _sentence(each, label)
    return found


def _sentence(each: Mapping[str, Any], label: str) -> str:
    alone = [f"{n} ρ {number(f['spearman']['value'])}" for n, f in each["alone"].items()]
    together = number(each["together"]["spearman"]["value"])
    adds = {name: figures["spearman"] for name, figures in each["adds"].items()}
    sure = [n for n, f in adds.items() if f["low"] is not None and f["low"] > 0]
    worse = [n for n, f in adds.items() if f["high"] is not None and f["high"] < 0]
    words = [
        f"{n} {number(f['value'], sign=True)}" + (f" ({span(f)})" if f["low"] is not None else "")
        for n, f in adds.items()
    ]
    text = f"{label}: alone {listed(alone)}; together ρ {together}. Added to the others: "
    text += f"{listed(words)}, "
    if sure:
        text += f"which is more than chance for {listed(sure)}"
    else:
        text += "which chance could have given for any of them"
    if worse:
        text += f"; {listed(worse)} made it worse"
    many = each["n_areas"]
    have = {n: f["n_areas"] for n, f in each["adds"].items() if f["n_areas"] < many}
    if have:
        counts = [f"{name} in {count:,}" for name, count in have.items()]
        text += f". Not every source is there in all {many:,} areas: {listed(counts)}"
    return f"{text}."
