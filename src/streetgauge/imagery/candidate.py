"""An image before it belongs to a location: what its name, a manifest or the file says of it."""

from __future__ import annotations

import math
from typing import NamedTuple

from streetgauge.imagery.folders import File

__all__ = ["Candidate"]


class Candidate(NamedTuple):
    """What is known of an image.

    Parameters
    ----------
    file : File
        Where it is.
    location : str or None
        Its location, if that is said; else ``lat`` and ``lon`` are.
    view : str or None
        Its view, if that is said.
    lat, lon : float
        Degrees.
    heading : float
        Where it looks, a panorama's middle; NaN if that is not said.
    panorama : bool
        Whether it is one.
    where : str
        What says so, for errors: the name of the file, or a row of the manifest.
    """

    file: File
    location: str | None = None
    view: str | None = None
    lat: float = math.nan
    lon: float = math.nan
    heading: float = math.nan
    panorama: bool = False
    where: str = ""
