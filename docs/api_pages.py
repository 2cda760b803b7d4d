"""Pages of the Python reference: every public name of every package, from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import get_origin

# What a user of Python may want, in the order of the flow.
PACKAGES = (
    *("streetgauge", "streetgauge.outcomes", "streetgauge.locations", "streetgauge.imagery"),
    *("streetgauge.features", "streetgauge.splits", "streetgauge.model", "streetgauge.evaluation"),
    *("streetgauge.report", "streetgauge.view", "streetgauge.synthetic", "streetgauge.study"),
    *("streetgauge.study.stages", "streetgauge.pipeline.run", "streetgauge.pipeline.check"),
    *("streetgauge.pipeline.export", "streetgauge.pipeline.predict", "streetgauge.pipeline.info"),
    *("streetgauge.analysis.age", "streetgauge.analysis.compare", "streetgauge.analysis.coverage"),
    *("streetgauge.analysis.change", "streetgauge.analysis.coverage_weights"),
    *("streetgauge.analysis.curves", "streetgauge.analysis.fairness", "streetgauge.analysis.power"),
    "streetgauge.analysis.pooling",
    *("streetgauge.analysis.sampling", "streetgauge.analysis.survey"),
    *("streetgauge.io.tables", "streetgauge.classes", "streetgauge.skips", "streetgauge.errors"),
)


def write_api_pages(directory: Path) -> None:
    """Write one page for each package, with one entry for each name in its ``__all__``."""
    directory.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        module = import_module(package)
        about, *_ = (inspect.getdoc(module) or "").split("\n\n")
        parts = [f"# {package}", "", " ".join(about.split()), "", "```{eval-rst}"]
        for name in module.__all__:
            parts += [*_entry(package, name, getattr(module, name)), ""]
        file = directory / f"{package}.md"
        text = "\n".join([*parts, "```", ""])
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")  # unchanged pages are not built again


def _entry(package: str, name: str, what: object) -> list[str]:
    if inspect.isclass(what):
        kind = "autoexception" if issubclass(what, Exception) else "autoclass"
        # scikit-learn's own way to ask for metadata is described there.
        theirs = [
            word for word in dir(what) if word.startswith("set_") and word.endswith("_request")
        ]
        left = [f"   :exclude-members: {', '.join(theirs)}"] if theirs else []
        return [f".. {kind}:: {package}.{name}", "   :members:", *left]
    if get_origin(what) is not None:  # a name for a type, whose docstring is Python's own
        return [f".. py:data:: {package}.{name}", "", f"   The type ``{what}``."]
    if callable(what):
        return [f".. autofunction:: {package}.{name}"]
    words = what if isinstance(what, Mapping | tuple | list) else ()
    value = ", ".join(f"``{word}``" for word in words if isinstance(word, str))
    return [f".. py:data:: {package}.{name}", f"   :type: {type(what).__name__}", "", f"   {value}"]
