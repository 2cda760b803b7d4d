"""Pillow, opened with care: every way in which a file can be broken is one short reason."""

from __future__ import annotations

import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import IO

from PIL import Image, UnidentifiedImageError

from streetgauge.errors import StreetgaugeError

__all__ = ["MAX_PIXELS", "ImageError", "opened"]

MAX_PIXELS = 100_000_000
# Of images with more pixels one is decoded at a time, whatever the number of threads: each takes
# about 12 bytes a pixel, all together as much as a machine has.
LARGE = 20_000_000
_ALONE = threading.RLock()

# Only formats that hold images and nothing else: others of Pillow's readers start programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

# What Pillow's readers raise on damaged files, as its documentation and its fuzz tests have it; a
# RuntimeError is what the one of AVIF has for all that its decoder says.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error),
    *(RuntimeError, ArithmeticError, AssertionError, AttributeError),
)

# Those of them with which readers speak for themselves.
_IN_WORDS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError)


# What Pillow would print of single images, with lines of its source, is a reason here or nothing:
# it warns of 90 million pixels, which are allowed, and of odd tags that nobody reads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(StreetgaugeError):
    """An image that cannot be read; the message is a short reason, fit for a table.

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
    """Open an image: its header is read, its pixels are not.

    Whatever goes wrong inside of the block because of the file is raised as `ImageError`. Where
    the image is large, no other thread is in such a block with another large one.

    Raises
    ------
    ImageError
        If it is truncated, damaged, larger than allowed or not an image at all.
    """
    try:
        with Image.open(handle, formats=_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(f"{width} x {height} pixels are more than {max_pixels:,}")
            with _ALONE if width * height > LARGE else nullcontext():
                yield image
    except UnidentifiedImageError:
        raise ImageError("the file is not an image of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more pixels than {max_pixels:,}") from None
    except DAMAGE as error:
        raise ImageError(f"the image is damaged: {_in_words(error)}") from None


def _in_words(error: BaseException) -> str:
    """Say what a reader says, if these are words for people, without Python's names."""
    said = str(error).partition("\n")[0][:120]
    if "MAX_TEXT" in said:  # PNG: a small file that unpacks to any number of letters
        return "its text notes are larger than an image's may be"
    # What Python itself says of a reader that stumbled is about the reader.
    if not isinstance(error, _IN_WORDS) or " " not in said:
        return "its parts do not fit together"
    # Counts of bytes would make a reason of its own of every file.
    return re.sub(r" \(\d+ bytes not processed\)", "", said)


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
