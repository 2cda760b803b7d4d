"""A figure before it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = ["Sketch"]


@dataclass(frozen=True)
class Sketch:
    """A drawing, the numbers in it, and what it shows in words.

    Parameters
    ----------
    canvas : matplotlib Figure
    table : DataFrame
        Everything that is drawn.
    title : str
        What it is.
    caption : str
        What a reader must know to read it.
    """

    canvas: Canvas
    table: pd.DataFrame
    title: str
    caption: str
