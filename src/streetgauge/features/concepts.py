"""Named, readable features: what each is called, what computes it, and how it is read from that.

A concept comes from an image through a backbone like any feature, so that it is computed, stopped
and resumed like any. Some are all that the backbone gives; others are what a linear layer makes of
its features, as the layer that a network was trained with, or that others have fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streetgauge.errors import InputError, closest
from streetgauge.features.backbones import Backbone
from streetgauge.imagery import APPEARANCE

__all__ = ["CONCEPT_SOURCES", "ConceptSource", "concept_source"]

Floats = npt.NDArray[np.float64]

_APPEARANCE = Backbone(
    name="appearance",
    dimension=len(APPEARANCE),
    layer="greenery, sky, colourfulness, edges",
    weights="",
    sha256="",
    licence="",
    resize=224,
    crop=224,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    architecture="appearance",
    about="measured, not trained",
)


@dataclass(frozen=True)
class ConceptSource:
    """Where some concepts come from.

    Parameters
    ----------
    name : str
        As the settings name it.
    backbone : Backbone
        What computes features of images.
    concepts : tuple of str, [K]
        Their names.
    read : callable
        Features [n, D] -> concepts [n, K].
    measured : tuple of str
        Which measures of `streetgauge.imagery.QUALITY`, that every store has, are concepts, too.
    """

    name: str
    backbone: Backbone
    concepts: tuple[str, ...]
    read: Callable[[Floats], Floats]
    measured: tuple[str, ...] = ()


def _appearance() -> ConceptSource:
    measured = ("brightness",)
    return ConceptSource("appearance", _APPEARANCE, APPEARANCE, lambda found: found, measured)


CONCEPT_SOURCES: dict[str, Callable[[], ConceptSource]] = {"appearance": _appearance}


def concept_source(name: str) -> ConceptSource:
    """Give the source of a name, ready to be read.

    Raises
    ------
    InputError
        If there is none of that name, or what it needs is not here.
    """
    if name not in CONCEPT_SOURCES:
        raise InputError(
            f"concepts.sources: {name!r}", "it is not known", closest(name, CONCEPT_SOURCES)
        )
    return CONCEPT_SOURCES[name]()
