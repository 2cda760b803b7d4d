"""What an image looks like in a few numbers that anybody can check by eye; no network is needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

APPEARANCE = ("greenery", "sky", "colourfulness", "edges")

GREEN = 0.1  # excess green of a pixel that counts as green; grey has 0, grass 0.2 to 0.6
STEP = 0.04  # change of brightness, of 0 to 1, from one pixel to the next that ends the sky
BRIGHT = 0.35  # brightness of the sky at least
EDGE = 0.05  # slope of brightness, of 0 to 1 a pixel, that is an edge
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def appearance_of(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Measure images of one size; one image does not depend on the others.

    Parameters
    ----------
    images : array of uint8, [n, height, width, 3]
        Red, green, blue.

    Returns
    -------
    array of float32, [n, 4]
        In the order of `APPEARANCE`. ``greenery``: share of pixels whose excess green
        ``2g - r - b`` is above `GREEN`, where r, g, b are shares of a pixel's sum (Woebbecke et
        al. 1995, Transactions of the ASAE 38, 259-269). ``sky``: share of pixels that are bright,
        not green and above the first step of brightness in their column (after Shen and Wang 2013,
        International Journal of Advanced Robotic Systems 10, 362). ``colourfulness``: that of
        Hasler and Suesstrunk (2003, Proc. SPIE 5007, 87-95), 0 to about 110. ``edges``: share of
        pixels whose Sobel slope of brightness is above `EDGE`, the simplest measure of clutter
        (Rosenholtz, Li and Nakano 2007, Journal of Vision 7(2), 17).
    """
    return np.stack([_appearance(image) for image in images]) if len(images) else _none()


def _none() -> npt.NDArray[np.float32]:
    return np.zeros((0, len(APPEARANCE)), np.float32)


def _appearance(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    pixels = image.astype(np.float32)
    red, green, blue = (pixels[..., channel] for channel in range(3))
    total = red + green + blue
    excess = (2 * green - red - blue) / np.maximum(total, 1)
    is_green = excess > GREEN
    luma = pixels @ LUMA / 255
    slopes = _slopes(luma)
    yellow = (red + green) / 2 - blue
    spread = np.hypot((red - green).std(), yellow.std())
    middle = np.hypot((red - green).mean(), yellow.mean())
    return np.array(
        [
            is_green.mean(),
            _sky(luma, is_green, slopes).mean(),
            spread + 0.3 * middle,
            (slopes > EDGE).mean(),
        ],
        np.float32,
    )


def _slopes(luma: Floats) -> Floats:
    """Slope of brightness by the Sobel filter, a pixel, with the edge of the image repeated."""
    padded = np.pad(luma, 1, mode="edge")
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return np.hypot(down[:, 2:] - down[:, :-2], across[2:] - across[:-2]) / 8


def _sky(luma: Floats, is_green: npt.NDArray[np.bool_], slopes: Floats) -> npt.NDArray[np.bool_]:
    ends = (slopes > STEP) | (luma < BRIGHT) | is_green
    return ~np.logical_or.accumulate(ends, axis=0)
