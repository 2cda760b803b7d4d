"""Social, environmental and health inequalities, measured from street images.

The method is that of Suel, Polak, Bennett and Ezzati (2019), *Measuring social, environmental and
health inequalities using deep learning and street imagery*, Scientific Reports 9. Each subpackage
is one step of the way from files to a map; importing this package imports none of them, so that
the command line starts at once. `Study` reads the results of a study, in a notebook or a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streetgauge.version import __version__

if TYPE_CHECKING:
    from streetgauge.notebook import Study

__all__ = ["Study", "__version__"]


def __getattr__(name: str) -> Any:
    if name != "Study":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from streetgauge.notebook import Study

    return Study
