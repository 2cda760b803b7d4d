"""Pages of the Python reference: every public name of every package, from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import get_origin

# All that is public, in the order of the flow: what these modules list in ``__all__``.
PACKAGES = (
    *("streetgauge", "streetgauge.outcomes", "streetgauge.imagery", "streetgauge.features"),
    *("streetgauge.splits", "streetgauge.model", "streetgauge.model.authors"),
    *("streetgauge.evaluation", "streetgauge.report", "streetgauge.synthetic"),
    *("streetgauge.analysis.age", "streetgauge.analysis.change", "streetgauge.analysis.coverage"),
    *("streetgauge.analysis.coverage_weights", "streetgauge.analysis.districts"),
    "streetgauge.analysis.fairness",
    *("streetgauge.analysis.pooling", "streetgauge.analysis.sampling"),
    *("streetgauge.analysis.survey", "streetgauge.errors"),
)


def public_names() -> Iterator[tuple[str, str]]:
    """Give the full name and the docstring of each public function, class, method and property."""
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found) or inspect.isfunction(found):
                yield f"{package}.{name}", found.__doc__ or ""
            for member, value in vars(found).items() if inspect.isclass(found) else ():
                described = getattr(value, "__func__", getattr(value, "fget", value))
                if not member.startswith("_") and inspect.isfunction(described):
                    yield f"{package}.{name}.{member}", described.__doc__ or ""


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
