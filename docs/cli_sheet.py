"""The cheat sheet of the command line, written from the commands themselves: never stale."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from typer.main import get_command

from streetgauge.cli import app

# An option that as many commands have, in the same words, is described once.
_COMMON = 6


def write_cli_sheet(file: Path) -> None:
    """Write what each command does and takes, with an example."""
    group = get_command(app)
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    count = Counter(_row(p) for c in commands.values() for p in _options(c))
    common = [row for row, n in count.items() if n >= _COMMON]
    parts = [
        "# Command line: a cheat sheet",
        "",
        "Written from the commands themselves; `streetgauge VERB --help` shows the same.",
        "",
        "| verb | what it does |",
        "| --- | --- |",
    ]
    parts += [f"| [`{name}`](#{name}) | {_cell(c.help)} |" for name, c in commands.items()]
    parts += ["", "## Of most verbs", "", *_table(common)]
    parts += [
        "",
        "Exit codes: 0 when it was done, 2 for input that you can fix (one sentence names what,",
        "why and the next step), 1 for anything else.",
    ]
    for name, command in commands.items():
        parts += ["", f"## {name}", "", _cell(command.help), "", "```", _usage(command), "```", ""]
        rows = [_row(p) for p in command.params if p.param_type_name == "argument"]
        rows += [row for p in _options(command) if (row := _row(p)) not in common]
        parts += _table(rows)
        if examples := re.findall(r"`(streetgauge [^`]+)`", command.epilog or ""):
            parts += [
                "",
                *(["Examples:"] if examples[1:] else ["Example:"]),
                "",
                "```",
                *examples,
                "```",
            ]
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _options(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "option" and not p.hidden]


def _usage(command: Any) -> str:
    words = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    words += [f"{p.opts[0]} {p.metavar or p.name.upper()}" for p in _options(command) if p.required]
    return " ".join(["streetgauge", command.name, *words])


def _row(parameter: Any) -> tuple[str, str, str]:
    """Give a parameter's name, meaning and default."""
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        name = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default in (None, False, "", ()) or callable(default):
        shown = ""
    else:
        shown = f"`{'on' if default is True else default}`"
    return name, _cell(parameter.help), shown


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {name} | {text} | {default} |" for name, text, default in rows]
    return ["| | | default |", "| --- | --- | --- |", *lines]


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
