"""Numbers, counts and lists as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streetgauge.markup import interval_text

__all__ = [
    "MISSING",
    "PARTS",
    "among",
    "general",
    "listed",
    "nearby",
    "number",
    "percent",
    "plural",
    "span",
]
__all__ += ["spread", "unit"]

MISSING = "–"
PARTS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 10: "tenth"}


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Write a number, with a real minus; a dash where it is not defined."""
    if value is None:
        return MISSING
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return (text if float(text) else f"{0:.{digits}f}").replace("-", "−")


def general(value: float) -> str:
    """Write a figure of any unit with three digits, a large one whole: "0.0123", "43,120"."""
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")


def percent(value: float | None) -> str:
    """Write a share as whole per cent."""
    return MISSING if value is None else f"{100 * value:.0f}%".replace("-", "−")


def span(estimate: Mapping[str, float | None], digits: int = 2) -> str:
    """Write an interval: "0.61 to 0.72"; empty where it is not defined."""
    return interval_text(estimate, f"z.{digits}f").replace("-", "−")


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: "1 area", "4,835 areas"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def unit(classes: int) -> tuple[str, str]:
    """Name what areas are put into, one and many: only tenths are deciles."""
    return ("decile", "deciles") if classes == 10 else ("class", "classes")


def nearby(classes: int) -> str:
    """Choose the metric of coming close: with few classes the next one is not close."""
    return "within_1" if classes >= 5 else "exact"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Write names as a list in a sentence; of many the first few."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {plural(len(names) - most, 'other')}"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def among(names: Sequence[str], total: int) -> str:
    """Write of which outcomes something is so: their names, or that it is so of all."""
    return f"all {total} outcomes" if len(names) == total > 2 else listed(names)


def spread(values: Mapping[str, float], digits: int = 2) -> str:
    """Write the least and the greatest of named values: "0.45 (Crime) to 0.62 (Income)"."""
    least, most = (end(values, key=values.__getitem__) for end in (min, max))
    if number(values[least], digits) == number(values[most], digits):
        return number(values[least], digits)
    return " to ".join(f"{number(values[name], digits)} ({name})" for name in (least, most))
