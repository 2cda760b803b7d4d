"""Any image file as red, green and blue, or one short reason why not."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pandas as pd
import simplejpeg  # libjpeg-turbo without Pillow around it: 0.6 of the time, and it reports damage
from PIL import Image

from streetgauge.imagery.archives import MAX_BYTES, Archive
from streetgauge.imagery.image_file import MAX_PIXELS, ImageError, opened
from streetgauge.imagery.jpeg import without_junk
from streetgauge.imagery.panoramas import Cut, Panorama, Sphere, read_sphere
from streetgauge.io.remote import TooLargeError, is_url, read_url

Pixels = npt.NDArray[np.uint8]
_ORIENTATION = 0x0112
PADDING = 16  # bytes


class ImageSource(NamedTuple):
    """Where an image is: all that is needed to get its pixels.

    Parameters
    ----------
    path : str
        The file, or the archive that it is in; a path or a URL.
    member : str
        Its name in the archive, "" for a plain file.
    cut : Cut or None
        The part of the panorama that it is, None for the whole image.
    """

    path: str
    member: str = ""
    cut: Cut | None = None


def image_sources(views: pd.DataFrame) -> list[ImageSource]:
    """Where the images of a frame are, in its order.

    Parameters
    ----------
    views : DataFrame
        As `find_views` gives it.
    """
    columns = ["path", "member", "heading", "panorama_heading", "pitch", "fov", "size"]
    return [
        ImageSource(path, member, None if math.isnan(at) else Cut(at, own, pitch, fov, int(size)))
        for path, member, at, own, pitch, fov, size in zip(
            *(views[name].tolist() for name in columns), strict=True
        )
    ]


def raw_images(rows: Iterable[ImageSource]) -> Iterator[bytes | ImageError]:
    """Read files, undecoded, in the order of rows.

    Archives are streamed: in the order that `find_views` gives, each is read once from front to
    back. Neighbouring rows of one file (the views of a panorama) get the same object.

    Yields
    ------
    bytes or ImageError
        What is in the file, or why it could not be read.
    """
    archive: Archive | None = None
    last: tuple[str, str] | None = None
    content: bytes | ImageError = b""
    try:
        for path, member, _ in rows:
            if (path, member) != last:
                last = (path, member)
                if archive is not None and archive.path != path:
                    archive.close()
                    archive = None
                if member and archive is None:
                    archive = Archive(path)
                try:
                    content = archive.read(member) if archive and member else _read_file(path)
                except ImageError as error:
                    content = error
            yield content
    finally:
        if archive is not None:
            archive.close()


def decode(
    raw: bytes,
    cut: Cut | None = None,
    at_least: int | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Pixels:
    """Decode an image as it is meant to be seen.

    The content decides the format. A camera's orientation tag is obeyed, CMYK and greyscale
    become RGB, of 16-bit values the high byte counts, transparency shows white, and of several
    frames the first is taken.

    Parameters
    ----------
    raw : bytes
        The file's content.
    cut : Cut, optional
        Cut this out of it, which is a panorama.
    at_least : int, optional
        A JPEG may be decoded at a half, a quarter or an eighth of its size (libjpeg's scaled
        decoding) as long as its shorter side has so many pixels. Not for cuts.
    max_pixels : int, default 100 million
        An image with more is refused before its pixels are decoded.

    Returns
    -------
    array of uint8, [height, width, 3]
        Red, green, blue, 0 to 255.

    Raises
    ------
    ImageError
        If it is empty, truncated, damaged, larger than allowed, not an image at all, or a panorama
        that does not show the whole cut.
    """
    if cut is None:
        return _decoded(raw, at_least, max_pixels)[0]
    (view,) = decode_cuts(raw, [cut], max_pixels=max_pixels)
    if isinstance(view, ImageError):
        raise view
    return view


def decode_cuts(
    raw: bytes, cuts: Sequence[Cut | None], *, max_pixels: int = MAX_PIXELS
) -> list[Pixels | ImageError]:
    """Decode a file once for several views, as `decode` for each of them.

    Returns
    -------
    list of arrays or ImageError
        A view that a panorama does not show is the reason; the others are there.

    Raises
    ------
    ImageError
        If the file cannot be read at all.
    """
    pixels, sphere = _decoded(raw, None, max_pixels, any(cut is not None for cut in cuts))
    panorama = None if sphere is None else Panorama(pixels, sphere)
    views: list[Pixels | ImageError] = []
    for cut in cuts:
        try:
            views.append(pixels if cut is None or panorama is None else panorama.cut(cut))
        except ImageError as error:
            views.append(error)
    return views


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image file or URL; see `decode`.

    Raises
    ------
    ImageError
        Also if there is no such file, or it cannot be opened.
    """
    return decode(_read_file(os.fspath(path)), max_pixels=max_pixels)


def _read_file(path: str) -> bytes:
    try:
        if is_url(path):
            return read_url(path, MAX_BYTES)
        with Path(path).open("rb") as handle:
            # No more than there is: Python makes room for all that is asked for.
            size = os.fstat(handle.fileno()).st_size
            content = handle.read(size + 1 if 0 < size < MAX_BYTES else MAX_BYTES + 1)
    except TooLargeError:
        raise ImageError(_too_large()) from None
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except OSError as error:
        raise ImageError(f"the file cannot be opened: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise ImageError(_too_large())
    return content


def _too_large() -> str:
    return f"the file is larger than {MAX_BYTES >> 20} MiB"


def _decoded(
    raw: bytes, at_least: int | None, max_pixels: int, is_panorama: bool = False
) -> tuple[Pixels, Sphere | None]:
    """Pixels and, of a panorama, what its file has on its sphere."""
    try:
        return _decoded_as_it_is(raw, at_least, max_pixels, is_panorama)
    except ImageError:
        for clean in without_junk(raw):
            with suppress(ImageError):
                return _decoded_as_it_is(clean, at_least, max_pixels, is_panorama)
        raise


def _decoded_as_it_is(
    raw: bytes, at_least: int | None, max_pixels: int, is_panorama: bool
) -> tuple[Pixels, Sphere | None]:
    if not raw:
        raise ImageError("the file is empty")
    with opened(io.BytesIO(raw), max_pixels) as image:
        if image.format == "PNG":
            _refuse_wrong_checksum(raw)
        sphere = read_sphere(image) if is_panorama else None
        pixels = _quick(raw, image, at_least)
        if pixels is None:
            if at_least and min(image.size) > at_least and image.format == "JPEG":
                scale = at_least / min(image.size)
                image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            image.load()
            pixels = np.array(_as_rgb(image))
        orientation = image.getexif().get(_ORIENTATION, 1)  # a TIFF obeys its own when it is loaded
    return _upright(pixels, orientation), sphere


def _refuse_wrong_checksum(raw: bytes) -> None:
    """Refuse a PNG whose pixels are not those that were written: Pillow does not compare them."""
    at, size = 8, len(raw)
    while at + 12 <= size:
        end = at + 8 + int.from_bytes(raw[at : at + 4])
        named = raw[at + 4 : at + 8] in (b"IHDR", b"PLTE", b"IDAT", b"tRNS")
        whole = end + 4 <= size  # of what is cut off, Pillow has the reason
        if named and whole and crc32(raw[at + 4 : end]) != int.from_bytes(raw[end : end + 4]):
            raise ImageError("the image is damaged: its checksum is not that of its content")
        at = end + 4


def _quick(raw: bytes, image: Image.Image, at_least: int | None) -> Pixels | None:
    """Pixels of an everyday JPEG; None of everything else.

    Pillow paints what is lost of a damaged one grey without a warning: here it is refused.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    if image.info.get("adobe_transform", 1) != 1:  # stored as RGB, not as brightness and colour
        return None
    smallest = at_least or 0
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            raw, "RGB", min_height=smallest, min_width=smallest, min_factor=2 if smallest else 1
        )
    except (ValueError, RuntimeError) as error:
        message = str(error)
        if message.startswith("Corrupt JPEG data") and not _is_padding(message):
            message = re.sub(r"\d+ extraneous", "extraneous", message)[:120]
            raise ImageError(f"the image is damaged: {message}") from None
        return None  # Pillow decides, and has the reason
    return pixels


def _is_padding(message: str) -> bool:
    """Whether libjpeg speaks of no more than the few bytes some cameras put before the end."""
    found = re.search(r"(\d+) extraneous bytes before marker 0xd9", message)
    return found is not None and int(found[1]) <= PADDING


def _upright(pixels: Pixels, orientation: object) -> Pixels:
    """Turn an image as its camera noted: the eight orientations of EXIF."""
    if orientation not in range(2, 9):
        return pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale, which Pillow would clip at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError("32-bit grey values have no known range")
        high = (values >> 8).astype(np.uint8)
        high[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(high).convert("RGB")
    if image.mode == "F":
        raise ImageError("floating-point grey values have no known range")
    if image.has_transparency_data:
        clear = image.info.get("transparency")
        if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
            image.info["transparency"] = tuple(value >> 8 for value in clear)  # of 16-bit colours
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
