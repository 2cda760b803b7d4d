"""Pages of the Python reference: every public name of every room, from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

# What a user of Python may want, in the order of the flow.
ROOMS = (
    *("streetgauge", "streetgauge.outcomes", "streetgauge.locations", "streetgauge.imagery"),
    *("streetgauge.features", "streetgauge.model", "streetgauge.evaluation", "streetgauge.report"),
    *("streetgauge.view", "streetgauge.synthetic", "streetgauge.stages", "streetgauge.study"),
    *("streetgauge.transfer", "streetgauge.prediction", "streetgauge.compare"),
    *("streetgauge.curves", "streetgauge.power"),
    *("streetgauge.io.tables", "streetgauge.classes", "streetgauge.skips", "streetgauge.errors"),
)


def write_api_pages(directory: Path) -> None:
    """Write one page for each room, with one entry for each name in its ``__all__``."""
    directory.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        module = import_module(room)
        about, *_ = (inspect.getdoc(module) or "").split("\n\n")
        parts = [f"# {room}", "", " ".join(about.split()), "", "```{eval-rst}"]
        for name in module.__all__:
            parts += [*_entry(room, name, getattr(module, name)), ""]
        file = directory / f"{room}.md"
        text = "\n".join([*parts, "```", ""])
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")  # unchanged pages are not built again


def _entry(room: str, name: str, what: object) -> list[str]:
    if inspect.isclass(what):
        kind = "autoexception" if issubclass(what, Exception) else "autoclass"
        # scikit-learn's own way to ask for metadata is described there.
        theirs = [
            word for word in dir(what) if word.startswith("set_") and word.endswith("_request")
        ]
        left = [f"   :exclude-members: {', '.join(theirs)}"] if theirs else []
        return [f".. {kind}:: {room}.{name}", "   :members:", *left]
    if callable(what):
        return [f".. autofunction:: {room}.{name}"]
    words = what if isinstance(what, Mapping | tuple | list) else ()
    told = ", ".join(f"``{word}``" for word in words if isinstance(word, str))
    return [f".. py:data:: {room}.{name}", f"   :type: {type(what).__name__}", "", f"   {told}"]
