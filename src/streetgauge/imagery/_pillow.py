"""Pillow, opened with care: every way in which a file can be broken is one short reason."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO

from PIL import Image, UnidentifiedImageError

from streetgauge.errors import StreetgaugeError

__all__ = ["MAX_PIXELS", "PictureError", "opened"]

MAX_PIXELS = 100_000_000

# Only formats that hold pictures and nothing else: others of Pillow's readers start programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

# What Pillow's readers raise on damaged files, as its documentation and its fuzz tests have it; a
# RuntimeError is what the one of AVIF has for all that its decoder says.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error),
    *(RuntimeError, ArithmeticError, AssertionError, AttributeError),
)


class PictureError(StreetgaugeError):
    """A picture that cannot be read; the message is a short reason, fit for a table.

    Parameters
    ----------
    reason : str
        What is wrong with the file, without its name.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@contextmanager
def opened(handle: IO[bytes], max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open a picture: its header is read, its pixels are not.

    Whatever goes wrong inside of the block because of the file is raised as `PictureError`.

    Raises
    ------
    PictureError
        If it is truncated, damaged, larger than allowed or not a picture at all.
    """
    try:
        with Image.open(handle, formats=_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise PictureError(f"{width} x {height} pixels are more than {max_pixels:,}")
            yield image
    except UnidentifiedImageError:
        raise PictureError("the file is not a picture of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"more pixels than {max_pixels:,}") from None
    except DAMAGE as error:
        kind = "" if isinstance(error, OSError) else f"{type(error).__name__} "
        reason = str(error).partition("\n")[0][:120]
        raise PictureError(f"the picture is damaged: {kind}{reason}") from None


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
