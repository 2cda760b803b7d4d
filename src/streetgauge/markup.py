"""Small tables as HTML, for notebooks; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["facts_html", "table_html"]

_NUMBERS = ' style="text-align: right"'
_TEXT = ' style="text-align: left"'


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """Write a heading and a table of two columns; facts that are empty are left out.

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
        f'<th scope="col"{_NUMBERS if place else _TEXT}>{escape(column)}</th>'
        for place, column in enumerate(columns)
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
