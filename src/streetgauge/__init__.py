"""Social, environmental and health inequalities, measured from street images.

The method is that of Suel, Polak, Bennett and Ezzati (2019), *Measuring social, environmental and
health inequalities using deep learning and street imagery*, Scientific Reports 9. Each subpackage
is one step of the way from files to a map, and is imported when it is first used, so that the
command line starts at once.

In Python: `embed` gives the features of a folder of images, `evaluate` cross-validates on features,
`map` writes a map of predictions, and `Results` reads the results of a study.

Public is what the API reference shows: the names that ``__all__`` lists here and in the packages of
``dir(streetgauge)``. Everything else is internal, and may change in any release.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from streetgauge.version import __version__

if TYPE_CHECKING:
    from streetgauge.frames import Evaluation, embed, evaluate
    from streetgauge.frames import write_map as map
    from streetgauge.notebook import Metrics, Results

__all__ = ["embed", "evaluate", "map", "Evaluation", "Results", "Metrics", "__version__"]

# Where a name is, and what it is called there.
_NAMES = {
    "embed": ("frames", "embed"),
    "evaluate": ("frames", "evaluate"),
    "map": ("frames", "write_map"),
    "Evaluation": ("frames", "Evaluation"),
    "Results": ("notebook", "Results"),
    "Metrics": ("notebook", "Metrics"),
}
# The packages of the API reference; all others are internal.
_SUBPACKAGES = (
    *("analysis", "errors", "evaluation", "features", "imagery", "model", "outcomes", "report"),
    *("splits", "synthetic"),
)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        module, attribute = _NAMES[name]
        return getattr(import_module(f"{__name__}.{module}"), attribute)
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBPACKAGES})
