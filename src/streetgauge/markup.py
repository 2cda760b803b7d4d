"""Templates of files, figures as text, and small tables as HTML, in which all text is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from streetgauge.errors import visible

if TYPE_CHECKING:
    from jinja2 import Template


_NUMBERS = ' style="text-align: right"'
_TEXT = ' style="text-align: left"'


@cache
def template(package: str, name: str) -> Template:
    """Template in a package's folder ``assets``; values are escaped, in Markdown by ``md``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, "assets"),
        autoescape=not name.endswith(".md.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown_text
    return environment.get_template(name)


def markdown_text(value: object) -> str:
    r"""Write a value so that Markdown shows it as it is, on one line, also in a table.

    Examples
    --------
    >>> print(markdown_text("*a* | <b>"))
    \*a\* \| \<b\>
    """
    text = visible(" ".join(str(value).splitlines()))
    return re.sub(r"([\\`*_{}\[\]<>|~&$])", r"\\\1", text)


def figure_text(value: float | None, form: str = ".2f") -> str:
    """Write a figure; a dash where it is not defined (None or NaN)."""
    return "-" if value is None or value != value else f"{value:{form}}"


def interval_text(
    estimate: Mapping[str, Any] | None, form: str = ".2f", between: str = " to "
) -> str:
    """Write the ends of an interval, ``low`` and ``high``; empty where one is not defined.

    ``between`` stands between numbers without a sign; a dash next to a minus cannot be read.

    Examples
    --------
    >>> interval_text({"value": 0.5, "low": 0.4, "high": 0.6})
    '0.40 to 0.60'
    >>> interval_text({"low": -0.4, "high": 0.6}, "+.1f", between="-")
    '-0.4 to +0.6'
    """
    ends = [figure_text((estimate or {}).get(end), form) for end in ("low", "high")]
    if "-" in ends:
        return ""
    is_signed = any(end[0] in "-+\u2212" for end in ends)
    return (" to " if is_signed else between).join(ends)


def estimate_text(estimate: Mapping[str, Any] | None, form: str = ".2f") -> str:
    """Write a value with its interval in brackets, as far as they are defined.

    Examples
    --------
    >>> estimate_text({"value": 0.5, "low": 0.4, "high": 0.6})
    '0.50 (0.40 to 0.60)'
    """
    value = figure_text((estimate or {}).get("value"), form)
    interval = interval_text(estimate, form)
    return f"{value} ({interval})" if interval and value != "-" else value


def cut_points_text(borders: Sequence[float]) -> list[str]:
    """Write the scores between classes; an end of the range of floats is infinite.

    Examples
    --------
    >>> cut_points_text([-1.7976931348623157e308, 0.25])
    ['-∞', '0.250']
    """
    return [f"{b:.3f}" if abs(b) < 1e300 else "-∞" if b < 0 else "∞" for b in borders]


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """Write a heading and a table of two columns; facts that are empty are omitted.

    Examples
    --------
    >>> facts_html("A & B", {"areas": 3, "note": ""})  # doctest: +ELLIPSIS
    '<div><strong>A &amp; B</strong><table><tbody><tr><th scope="row" ...>areas</th>...'
    """
    rows = "".join(
        f'<tr><th scope="row"{_TEXT}>{escape(name)}</th><td{_TEXT}>{escape(str(value))}</td></tr>'
        for name, value in facts.items()
        if value not in (None, "", ())
    )
    return f"<div><strong>{escape(title)}</strong><table><tbody>{rows}</tbody></table></div>"


def table_html(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    notes: Iterable[str] = (),
) -> str:
    """Write a heading, a table whose first column names its rows, and notes below it."""
    head = "".join(
        f'<th scope="col"{_NUMBERS if number else _TEXT}>{escape(column)}</th>'
        for number, column in enumerate(columns)
    )
    body = "".join(
        f'<tr><th scope="row"{_TEXT}>{escape(first)}</th>'
        + "".join(f"<td{_NUMBERS}>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    below = "".join(f"<p>{escape(note)}</p>" for note in notes if note)
    return (
        f"<div><strong>{escape(title)}</strong><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{below}</div>"
    )
