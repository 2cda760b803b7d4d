"""The colours of classes and of differences: the same on the page, in figures and in a GIS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["DIFFERENCE", "MOST_APART", "NOTHING", "class_colours", "difference_colours"]

# ColorBrewer's RdYlBu with 10 and PRGn with 9 colours (Brewer 2013, colorbrewer2.org, Apache 2.0):
# both can be told apart with any kind of colour vision. The middle of PRGn is a little darker, so
# that areas without a difference stand out from white paper.
CLASSES = (
    *("#a50026", "#d73027", "#f46d43", "#fdae61", "#fee090"),
    *("#e0f3f8", "#abd9e9", "#74add1", "#4575b4", "#313695"),
)
DIFFERENCE = (
    *("#762a83", "#9970ab", "#c2a5cf", "#e3d3ea", "#ebe8e0"),
    *("#d3ecce", "#a6dba0", "#5aae61", "#1b7837"),
)
NOTHING = "#b9b6ae"
MOST_APART = 4  # the difference beyond which colours do not change


def class_colours(classes: int = 10) -> list[str]:
    """Give a colour for each class, red the worst off and blue the best off.

    Parameters
    ----------
    classes : int, default 10
        K, at least 1.

    Returns
    -------
    list of str
        ``#rrggbb``, by class.
    """
    return _spread(CLASSES, classes)


def difference_colours(classes: int = 10) -> dict[int, str]:
    """Give a colour for predicted less actual: purple too low, green too high.

    Parameters
    ----------
    classes : int, default 10
        K: no difference is larger than K - 1.

    Returns
    -------
    dict of int to str
        From ``-apart`` to ``apart``, the smaller of 4 and K - 1; larger ones look like these.
    """
    apart = max(min(MOST_APART, classes - 1), 0)
    return dict(zip(range(-apart, apart + 1), _spread(DIFFERENCE, 2 * apart + 1), strict=True))


def _spread(colours: tuple[str, ...], count: int) -> list[str]:
    """Take so many colours from the whole of a scale, mixed where it has none."""
    if count == 1:
        return [colours[len(colours) // 2]]
    table = np.array([_numbers(colour) for colour in colours], dtype=float)
    at = np.linspace(0, len(colours) - 1, count)
    mixed = [np.interp(at, np.arange(len(colours)), channel) for channel in table.T]
    return [
        "#" + "".join(f"{round(float(x)):02x}" for x in row) for row in zip(*mixed, strict=True)
    ]


def _numbers(colour: str) -> npt.NDArray[np.int64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
