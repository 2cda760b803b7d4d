"""Any picture file as red, green and blue, or one short reason why not."""

from __future__ import annotations

import os
import struct
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from streetgauge.errors import StreetgaugeError

__all__ = ["MAX_PIXELS", "PictureError", "read_picture"]

MAX_PIXELS = 100_000_000

# Only formats that hold pictures and nothing else: others of Pillow's readers start programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

# What Pillow's readers raise on damaged files, as its documentation and its fuzz tests have it.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error)


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


def read_picture(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read a picture as it is meant to be seen.

    The format is told by the content, not by the name. A camera's orientation note is obeyed, CMYK
    and greyscale become RGB, 16-bit values keep their high byte, transparency shows white, and of
    several frames the first is taken.

    Parameters
    ----------
    path : path
        The file.
    max_pixels : int, default 100 million
        A picture with more is refused before its pixels are decoded.

    Returns
    -------
    array of uint8, [height, width, 3]
        Red, green, blue, 0 to 255.

    Raises
    ------
    PictureError
        If there is no such file, or it is empty, truncated, damaged, larger than allowed or not a
        picture at all.
    """
    try:
        with Path(path).open("rb") as handle:
            if os.fstat(handle.fileno()).st_size == 0:
                raise PictureError("the file is empty")
            with Image.open(handle, formats=_formats()) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise PictureError(f"{width} x {height} pixels are more than {max_pixels:,}")
                image.load()
                return np.array(_as_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError:
        raise PictureError("there is no such file") from None
    except (PermissionError, IsADirectoryError) as error:
        raise PictureError(f"the file cannot be opened: {error.strerror}") from None
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


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit greyscale, which Pillow would clip at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise PictureError("32-bit grey values have no known range")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise PictureError("floating-point grey values have no known range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
