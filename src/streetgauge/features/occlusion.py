"""What in an image moved a score: it is scored again with a part of it covered, part by part.

Zeiler and Fergus (2014), *Visualizing and understanding convolutional networks*, ECCV, section 4.2:
a grey square is moved over the image, and what the score loses is written where the square was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from streetgauge.features.backbones import Backbone

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

GRID = 7
BATCH = 48  # images at a time: whole passes of every engine


def grey_of(backbone: Backbone) -> tuple[int, int, int]:
    """Give the colour that a network takes for nothing: the mean of what it was trained on."""
    red, green, blue = (round(min(max(mean / backbone.scale, 0), 255)) for mean in backbone.mean)
    return red, green, blue


def covered(image: Pixels, grid: int, colour: tuple[int, int, int]) -> Pixels:
    """Cover an image in each of grid x grid squares.

    Parameters
    ----------
    image : array of uint8, [side, side, 3]
    grid : int
        Squares along a side; the square over each is twice as wide as their distance, as a thing
        that is cut by a border would else be half seen twice.
    colour : tuple of three int
        Of the square.

    Returns
    -------
    array of uint8, [grid * grid, side, side, 3]
        Row by row.
    """
    side = len(image)
    cell = side / grid
    result = np.repeat(image[None], grid * grid, axis=0)
    starts = [max(0, round((i - 0.5) * cell)) for i in range(grid)]
    stops = [min(side, round((i + 1.5) * cell)) for i in range(grid)]
    for row in range(grid):
        for column in range(grid):
            square = (slice(starts[row], stops[row]), slice(starts[column], stops[column]))
            result[row * grid + column][square] = colour
    return result


def occlusion(
    image: Pixels,
    score: Callable[[Pixels], npt.NDArray[np.floating]],
    *,
    colour: tuple[int, int, int] = (127, 127, 127),
    grid: int = GRID,
) -> Floats:
    """Measure how much each part of an image adds to a score.

    Parameters
    ----------
    image : array of uint8, [side, side, 3]
        As `prepare` gives it.
    score : callable
        Of images, uint8 [n, side, side, 3], to numbers, [n] or [n, M].
    colour : tuple of three int
        Of the square that covers a part.
    grid : int
        Parts along a side.

    Returns
    -------
    array of float64, [grid, grid] or [grid, grid, M]
        The score of the image less that with the part covered: positive where what stands there
        raises the score.
    """
    variants = np.concatenate([image[None], covered(image, grid, colour)])
    parts = [score(variants[at : at + BATCH]) for at in range(0, len(variants), BATCH)]
    scores = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    effects: Floats = (scores[0] - scores[1:]).reshape(grid, grid, *scores.shape[1:])
    return effects
