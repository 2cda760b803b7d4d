"""Rendered street images of locations, in parallel and yet always the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import ndtr

from streetgauge.progress import Progress, silent
from streetgauge.synthetic.chance import key_of
from streetgauge.synthetic.model import VISIBLE
from streetgauge.synthetic.street import draw_street, make_weather

__all__ = ["VIEWS", "draw_view", "write_images"]

VIEWS = ("a", "b", "c", "d")
"""Along the street, its right side, back along it, its left side."""

_CHUNK = 8  # locations that a worker draws before it reports


def draw_view(
    seed: int, location_id: str, view: str, shown: Sequence[float], size: tuple[int, int]
) -> Image.Image:
    """Draw one view of one location.

    Parameters
    ----------
    seed, location_id, view
        Together the key of all chance: season and light belong to the location, camera, cars and
        the order of houses to the view.
    shown : sequence of K floats
        What the view shows, standard normal, in the order of `VISIBLE`.
    size : (int, int)
        Width and height in pixels.
    """
    # random.Random: thousands of single draws an image, which numpy makes ten times slower.
    weather = make_weather(Random(key_of(seed, location_id, "weather")))
    rng = Random(key_of(seed, location_id, view))
    strength = dict(zip(VISIBLE, (float(p) for p in ndtr(np.asarray(shown))), strict=True))
    along = VIEWS.index(view) % 2 == 0 if view in VIEWS else True
    return draw_street(strength, weather, rng, along=along, size=size)


def _jpeg(seed: int, location_id: str, view: str, image: Image.Image) -> bytes:
    quality = Random(key_of(seed, location_id, view, "jpeg")).randint(68, 90)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _write_some(
    seed: int, ids: list[str], views: tuple[str, ...], shown: NDArray[Any],
    size: tuple[int, int], folder: Path,
) -> int:  # fmt: skip
    for location_id, rows in zip(ids, shown, strict=True):
        for view, row in zip(views, rows, strict=True):
            content = _jpeg(seed, location_id, view, draw_view(seed, location_id, view, row, size))
            (folder / f"{location_id}_{view}.jpg").write_bytes(content)
    return len(ids) * len(views)


def write_images(
    folder: Path,
    location_ids: Sequence[str],
    shown: NDArray[Any],
    *,
    seed: int,
    views: tuple[str, ...] = VIEWS,
    size: tuple[int, int] = (256, 192),
    workers: int = 2,
    progress: Progress = silent,
) -> None:
    """Draw the views of all locations as ``<location_id>_<view>.jpg``.

    An image's bytes depend on seed, location_id, view, size and what it shows, and on nothing
    else: neither on the order of locations nor on the number of workers.

    Parameters
    ----------
    folder : Path
        Made if it is not there; files of the same name are written over.
    location_ids : sequence of str
        Length N.
    shown : array [N, V, K]
        What each view shows, standard normal.
    seed : int
        Of all chance.
    views : tuple of str
        V names.
    size : (int, int)
        Width and height in pixels.
    workers : int
        Processes, started afresh ("spawn"): a script that calls this with more than one needs
        the usual ``if __name__ == "__main__":``.
    progress : Progress
        Told of every image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = list(location_ids)
    jobs = [
        (seed, ids[start : start + _CHUNK], views, shown[start : start + _CHUNK], size, folder)
        for start in range(0, len(ids), _CHUNK)
    ]
    with progress("images", len(ids) * len(views), "images") as advance:
        if workers <= 1 or len(jobs) < 2:
            for job in jobs:
                advance(_write_some(*job))
            return
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(_write_some, *job) for job in jobs]):
                advance(future.result())
