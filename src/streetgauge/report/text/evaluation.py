"""The tables and notes of each outcome, made from its evaluation in metrics.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streetgauge.report.text import numbers

__all__ = ["gains", "groups", "levels", "methods", "notes", "titles", "undefined"]

TITLES = {
    "mae": "Mean absolute error ({many})",
    "exact": "Same {one}",
    "within_1": "Within 1",
    "within_2": "Within 2",
    "pearson": "Pearson’s r",
    "spearman": "Spearman’s ρ",
    "kendall": "Kendall’s tau‑b",
    "kappa": "Quadratic weighted kappa",
}
SHARES = ("exact", "within_1", "within_2")
METHODS = {
    "network": "The network alone",
    "kernel": "Gaussian processes alone (kernel)",
    "ridge": "The ridge learner alone",
    "linear": "A linear model of the mean features",
    "linear-and-kriging": "A linear model of features and locations",
    "constant": "The middle {one} for every area",
    "random": "Chance",
    "nearest-areas": "The {n} nearest areas",
    "kriging": "Kriging of other areas’ {many}",
    "density": "How densely locations lie",
    "columns": "The study’s other columns",
    "density-and-kriging": "Kriging and density",
    "columns-and-kriging": "Kriging and other columns",
    "previous": "The earlier release",
}
KINDS = {
    "deprivation": "By actual {one}",
    "images": "By number of images",
    "district": "By district",
}
MANY_GROUPS = 8


def titles(classes: int) -> dict[str, str]:
    """Name the metrics, without those that nothing can fail: all are within K - 1 classes."""
    one, many = numbers.unit(classes)
    idle = {f"within_{k}" for k in (1, 2) if k >= classes - 1}
    return {
        metric: title.format(one=one, many=many)
        for metric, title in TITLES.items()
        if metric not in idle
    }


def methods(
    outcome: Mapping[str, Any], metrics: Mapping[str, Any]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Give the rows of an outcome's table, in groups: a title each, and its methods.

    Each method has ``name``, ``figures`` (text by metric) and ``spans`` (text by metric).
    """
    own = {
        "name": "Images alone",
        "figures": {m: _text(m, each) for m, each in outcome["metrics"].items()},
        "spans": {m: _interval_text(m, each) for m, each in outcome["metrics"].items() if each},
    }
    rows = [("", [*_best(outcome), own])]
    for key, title in (
        ("baselines", "Without images"),
        ("with_images", "Other learners, on images"),
    ):
        others = outcome.get(key) or {}
        if others:
            rows.append(
                (title, [_method(_method_name(n, metrics), each) for n, each in others.items()])
            )
    oracle = outcome.get("oracle")
    if oracle:
        rows.append(("Only in a simulation", [_method("Attainable", oracle)]))
    return rows


def _best(outcome: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the row of the best estimate, if there is one."""
    best = outcome.get("best")
    if not best:
        return []
    return [
        {
            "name": f"Best estimate: {best['from']}",
            "figures": {m: _text(m, each) for m, each in best["metrics"].items()},
            "spans": {m: _interval_text(m, each) for m, each in best["metrics"].items() if each},
        }
    ]


def groups(outcome: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the figures by kind of area: ``title``, ``folded`` and ``rows`` for each."""
    one = numbers.unit(int(metrics["classes"]))[0]
    result = []
    for kind, members in (outcome.get("groups") or {}).items():
        title = KINDS.get(kind, f"By {kind.replace('_', ' ')}").format(one=one)
        rows = [
            {
                "name": name,
                "n": f"{each['n_areas']:,}",
                "mae": numbers.number(each["mae"]["value"]),
                "span": numbers.span(each["mae"]),
                "bias": numbers.number(each["bias"]["value"], 1, sign=True),
                "direction": _direction(each["bias"]),
                "within_1": numbers.percent(each["within_1"]),
            }
            for name, each in _worst_first(kind, members)
        ]
        result.append({"title": title, "folded": len(rows) > MANY_GROUPS, "rows": rows})
    return result


def notes(outcome: Mapping[str, Any], classes: int) -> list[str]:
    """Report what else is known of an outcome's predictions, as far as it was measured."""
    return [
        text
        for part in (_measured, _ends, _residuals, _trust, _shuffled)
        for text in part(outcome, classes)
    ]


def undefined(outcome: Mapping[str, Any], metrics: Mapping[str, Any], classes: int) -> str:
    """Explain dashes: figures by reason, or ""."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    one, many = numbers.unit(classes)
    for path, reason in (outcome.get("undefined") or {}).items():
        parts = str(path).split(".")
        what = TITLES.get(parts[-1], parts[-1]).format(one=one, many=many)
        if parts[:2] == ["baselines", "constant"]:
            continue  # stands once below all outcomes
        who = _method_name(parts[1], metrics) if len(parts) > 2 else "images"
        by_reason.setdefault((who, str(reason)), []).append(what)
    return "; ".join(
        f"{_listed(what)} of “{who}”: {reason}" for (who, reason), what in by_reason.items()
    )


def levels(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> list[dict[str, str]]:
    """Give the headline figures of the units above the areas, a row for level and outcome."""
    return [
        {
            "level": str(level),
            "outcome": labels.get(name, name),
            "n": f"{outcome['n_areas']:,}",
            "mae": numbers.number(outcome["metrics"]["mae"]["value"]),
            "span": numbers.span(outcome["metrics"]["mae"]),
            "within_1": numbers.percent(outcome["metrics"]["within_1"]["value"]),
            "spearman": numbers.number(outcome["metrics"]["spearman"]["value"]),
            "adds": _added(outcome),
        }
        for level, each in (metrics.get("levels") or {}).items()
        for name, outcome in each["outcomes"].items()
        if outcome["n_areas"]
    ]


def gains(cells: Mapping[tuple[str, str], Mapping[str, Any] | None]) -> dict[Any, dict[str, float]]:
    """Place what the images add, and its interval, on one line for all, in per cent.

    ``cells`` are the estimates (``value``, ``low``, ``high``) by kind of folds and outcome.
    """
    known = {key: c for key, c in cells.items() if c and c.get("low") is not None}
    ends = [0.0, *(c[end] for c in known.values() for end in ("low", "high"))]
    low, high = min(ends), max(ends)
    wide = (high - low) or 1.0

    def per_cent(value: float) -> float:
        return round(float(100 * (value - low) / wide), 2)

    return {
        key: {"zero": per_cent(0.0), **{end: per_cent(c[end]) for end in ("low", "value", "high")}}
        for key, c in known.items()
    }


def _method(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "figures": {m: _text(m, figures.get(m)) for m in TITLES},
        "spans": {"mae": _interval_text("mae", figures.get("mae_interval") or {})},
    }


def _text(metric: str, figure: Any) -> str:
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return numbers.percent(value) if metric in SHARES else numbers.number(value)


def _interval_text(metric: str, estimate: Mapping[str, Any]) -> str:
    if estimate.get("low") is None or estimate.get("high") is None:
        return ""
    if metric in SHARES:
        return f"{numbers.percent(estimate['low'])[:-2]} to {numbers.percent(estimate['high'])}"
    return numbers.span(estimate)


def _method_name(name: str, metrics: Mapping[str, Any]) -> str:
    one, many = numbers.unit(int(metrics["classes"]))
    neighbours = metrics.get("neighbours")
    if name == "nearest-areas" and neighbours in (None, 1):
        return "The nearest area" if neighbours == 1 else "The nearest areas"
    return METHODS.get(name, name).format(one=one, many=many, n=neighbours)


def _worst_first(kind: str, members: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    if kind == "deprivation":
        order = ["deprived", "middle", "affluent"]
        return sorted(members.items(), key=lambda m: order.index(m[0]) if m[0] in order else 9)
    if len(members) < 3:
        return list(members.items())
    return sorted(members.items(), key=lambda m: -(m[1]["mae"]["value"] or 0.0))


def _direction(bias: Mapping[str, float | None]) -> str:
    low, high = bias["low"], bias["high"]
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "too high" if low > 0 else "too low"


def _measured(outcome: Mapping[str, Any], classes: int) -> Iterator[str]:
    rps, r2 = (outcome["metrics"].get(metric) or {} for metric in ("rps", "r2"))
    if rps.get("value") is not None:
        yield (
            f"Ranked probability score {numbers.number(rps['value'])}{_between(rps)} (lower is "
            f"better; {numbers.number((classes**2 - 1) / (6 * classes))} = uninformed)."
        )
    if r2.get("value") is not None:
        yield (
            f"Values expected from them explain {numbers.percent(r2['value'])} of the actual "
            f"values’ variance (R²{_between(r2)})."
        )


def _between(estimate: Mapping[str, Any]) -> str:
    span = numbers.span(estimate) if estimate.get("low") is not None else ""
    return f", {span}" if span else ""


def _ends(outcome: Mapping[str, Any], classes: int) -> Iterator[str]:
    ends, one = outcome.get("extremes") or {}, numbers.unit(classes)[0]
    slope = ends.get("slope") or {}
    if slope.get("value") is not None:
        span = numbers.span(slope)
        yield (
            f"A difference of one {one} is predicted as {numbers.number(slope['value'])}"
            f"{f' ({span})' if span else ''}."
        )
    for end, where in (("lowest", f"{one} 1"), ("highest", f"{one} {classes}")):
        each = ends.get(end) or {}
        actual, predicted = each.get("actual"), each.get("predicted")
        if actual is not None and predicted is not None and abs(actual - predicted) >= 0.005:
            yield (
                f"{numbers.percent(predicted)} of the areas are predicted in {where}, "
                f"{numbers.percent(actual)} are in it."
            )


def _residuals(outcome: Mapping[str, Any], classes: int) -> Iterator[str]:
    residuals = (outcome.get("structure") or {}).get("residuals") or {}
    if residuals.get("value") is not None and residuals.get("p") is not None:
        clear = residuals["p"] < 0.05 and residuals["value"] > 0
        words = (
            "Errors of neighbouring areas resemble each other"
            if clear
            else ("Errors of neighbouring areas do not clearly resemble each other")
        )
        yield f"{words} (Moran’s I {numbers.number(residuals['value'])}, {_p(residuals['p'])})."


def _trust(outcome: Mapping[str, Any], classes: int) -> Iterator[str]:
    disagreement = outcome.get("disagreement") or {}
    rho, p = disagreement.get("error_spearman"), disagreement.get("p")
    if rho is not None and p is not None and p < 0.05 and rho > 0:
        yield (
            "Where an area’s locations disagree more, its error tends to be larger "
            f"(Spearman’s ρ {numbers.number(rho)}, {_p(p)})."
        )
    applicability = outcome.get("area_of_applicability") or {}
    if applicability.get("n_outside"):
        rest = applicability.get("inside") or {}
        many = numbers.unit(classes)[1]
        yield (
            "The mean absolute error of areas outside the training distribution is "
            f"{numbers.number(applicability.get('mae'), 1)} {many}, of the others "
            f"{numbers.number(rest.get('mae'), 1)}."
        )


def _shuffled(outcome: Mapping[str, Any], classes: int) -> Iterator[str]:
    shuffled = outcome.get("shuffled") or {}
    largest, chance = shuffled.get("largest"), shuffled.get("chance")
    if largest is None or chance is None:
        return
    limit = (
        "no more than chance gives"
        if largest <= chance
        else f"more than the {numbers.number(chance)} of chance"
    )
    yield (
        f"With shuffled labels Spearman’s ρ is at most {numbers.number(largest)}, {limit}. "
        "This checks only that labels of tested areas do not reach the training. It cannot see "
        "images or positions that training and test areas share, or an outcome among the features."
    )


def _p(value: float) -> str:
    return "p < 0.01" if value < 0.01 else f"p = {numbers.number(value)}"


def _added(outcome: Mapping[str, Any]) -> str:
    adds = outcome.get("gain")
    if not adds:
        return numbers.number(None)
    return numbers.number(adds["mae"]["value"], sign=True)


def _listed(names: Sequence[str], most: int = 4) -> str:
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
