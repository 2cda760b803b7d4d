"""Rendered street images of locations, in parallel and yet always the same bytes.

They are of a synthetic city, or simulated for the locations of a real area table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFilter
from scipy.special import ndtr, ndtri

from streetgauge.errors import InputError
from streetgauge.io.tables import refuse_repeated
from streetgauge.processes import process_pool
from streetgauge.progress import Progress, silent
from streetgauge.synthetic.chance import key_of, normals, words_of
from streetgauge.synthetic.model import LATENTS, OUTCOMES, VISIBLE, Array, LatentModel
from streetgauge.synthetic.street import SEASONS, draw_street, make_weather

if TYPE_CHECKING:
    import pandas as pd


VIEWS = ("a", "b", "c", "d")
"""Along the street, its right side, back along it, its left side."""

FIRST_DAY, DAYS = date(2012, 1, 1), 12 * 365  # of the days on which images are taken

# Of the second year.
FIRST_DAY_AGAIN, DAYS_AGAIN = date(2026, 9, 1), 90
LATE = ("autumn", "autumn", "winter")
GAINS, GAMMAS, BLUR = (1.0, 0.97, 0.9), (0.85, 0.9, 0.95), 0.7  # red, green, blue; pixels

_CHUNK = 8  # locations that a worker draws before it reports


@dataclass(frozen=True)
class Rendering:
    """How images are drawn.

    Parameters
    ----------
    seed : int
        Of all chance.
    size : (int, int)
        Width and height in pixels.
    workers : int
        Processes, started afresh ("spawn"): a script that draws with more than one needs the usual
        ``if __name__ == "__main__":``.
    year : int
        2: taken by another camera, late in the year and in another light.

    Examples
    --------
    >>> Rendering(workers=1).size
    (256, 192)
    """

    seed: int = 2019
    size: tuple[int, int] = (256, 192)
    workers: int = 2
    year: int = 1


def draw_view(
    seed: int,
    location_id: str,
    view: str,
    shown: Sequence[float],
    size: tuple[int, int],
    year: int = 1,
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
    year : int, default 1
        As in `Rendering`.
    """
    # random.Random: thousands of single draws an image, which numpy makes ten times slower.
    again = () if year == 1 else (year,)
    seasons = SEASONS if year == 1 else LATE
    weather = make_weather(Random(key_of(seed, location_id, "weather", *again)), seasons)
    rng = Random(key_of(seed, location_id, view, *again))
    strength = dict(zip(VISIBLE, (float(p) for p in ndtr(np.asarray(shown))), strict=True))
    image = draw_street(strength, weather, rng, along=VIEWS.index(view) % 2 == 0, size=size)
    return image if year == 1 else _of_another_camera(image)


def _of_another_camera(image: Image.Image) -> Image.Image:
    """Give an image the colours, contrast and sharpness of another lens and sensor."""
    tones = [
        int(255 * (gain * level / 255) ** gamma)
        for gain, gamma in zip(GAINS, GAMMAS, strict=True)
        for level in range(256)
    ]
    return image.point(tones).filter(ImageFilter.GaussianBlur(BLUR))


def _taken_on(day: date) -> Image.Exif:
    """Give what a camera writes of the day; what is drawn does not depend on it."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{day:%Y:%m:%d} 12:00:00"
    return exif


def _write_some(rendering: Rendering, ids: list[str], shown: NDArray[Any], folder: Path) -> int:
    seed, year = rendering.seed, rendering.year
    first, days = (FIRST_DAY, DAYS) if year == 1 else (FIRST_DAY_AGAIN, DAYS_AGAIN)
    for location_id, rows in zip(ids, shown, strict=True):
        day = Random(key_of(seed, location_id, "day")).randrange(days)
        exif = _taken_on(first + timedelta(day))
        for view, row in zip(VIEWS, rows, strict=False):
            image = draw_view(seed, location_id, view, row, rendering.size, year)
            quality = Random(key_of(seed, location_id, view, "jpeg")).randint(68, 90)
            image.save(folder / f"{location_id}_{view}.jpg", "JPEG", quality=quality, exif=exif)
    return len(ids) * int(shown.shape[1])


def write_images(
    folder: Path,
    location_ids: Sequence[str],
    shown: NDArray[Any],
    rendering: Rendering,
    *,
    progress: Progress = silent,
) -> None:
    """Draw the views of all locations as ``<location_id>_<view>.jpg``.

    An image's bytes depend on seed, location_id, view, size, year and what it shows, and on nothing
    else: neither on the order of locations nor on the number of workers.

    Parameters
    ----------
    folder : Path
        Made if it is not there; files of the same name are written over.
    location_ids : sequence of str
        Length N.
    shown : array [N, V, K]
        What each view shows, standard normal: the first V of `VIEWS`.
    rendering : Rendering
        Seed, size and processes.
    progress : Progress
        Reports every image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = list(location_ids)
    jobs = [
        (rendering, ids[start : start + _CHUNK], shown[start : start + _CHUNK], folder)
        for start in range(0, len(ids), _CHUNK)
    ]
    workers = rendering.workers if len(jobs) > 1 else 1
    with (
        progress("images", len(ids) * shown.shape[1], "images") as advance,
        process_pool(workers) as pool,
    ):
        if pool is None:
            for job in jobs:
                advance(_write_some(*job))
        else:
            for future in as_completed([pool.submit(_write_some, *job) for job in jobs]):
                advance(future.result())


def simulate_images(
    locations: pd.DataFrame,
    directory: Path,
    deciles: pd.DataFrame,
    *,
    kinds: Mapping[str, str] | None = None,
    model: LatentModel | None = None,
    rendering: Rendering | None = None,
    classes: int = 10,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Draw four street images for each location, such as the deciles of its area suggest.

    Deciles are turned into the latents that the sample city's `LatentModel` expects for them; what
    they leave open is drawn by area, and every location differs from its area as in the sample
    city. Nothing in such images is true of the real place: they serve to try out a study's size.

    Parameters
    ----------
    locations : DataFrame
        location_id, unique; ``area``, if there, makes locations of an area alike.
    directory : Path
        For ``<location_id>_a.jpg .. _d.jpg``.
    deciles : DataFrame
        Indexed by location_id; columns of deciles, 1 = worst off, NaN = missing.
    kinds : mapping, optional
        Which of `OUTCOMES` each column behaves like. Of those not named, a column of that very
        name is itself, any other is like ``income``.
    model : LatentModel, optional
        What latents, images and outcomes have to do with each other.
    rendering : Rendering, optional
        Seed, size of the images and processes. Draws belong to location and area, not to rows.
    classes : int, default 10
        The highest decile.
    progress : Progress
        Reports every image.

    Returns
    -------
    DataFrame
        The oracle: location_id, then the best score for each column of ``deciles``.

    Raises
    ------
    InputError
        If a location stands twice or has no row in ``deciles``, or a kind is not known.

    Examples
    --------
    >>> import pandas as pd
    >>> locations = pd.DataFrame({"location_id": ["SE1", "SE2"]})
    >>> deciles = pd.DataFrame({"income": [1, 10]}, ["SE1", "SE2"])
    >>> oracle = simulate_images(locations, Path("drawn"), deciles, rendering=Rendering(workers=1))
    >>> len(list(Path("drawn").iterdir())), oracle.columns.tolist()
    (8, ['location_id', 'income'])
    """
    model, rendering = model or LatentModel(), rendering or Rendering()
    seed = rendering.seed
    ids = [str(location_id) for location_id in locations["location_id"]]
    refuse_repeated(locations["location_id"].astype(str), "locations", "location")
    absent = [location_id for location_id in ids if location_id not in deciles.index]
    if absent:
        raise InputError("deciles", f"location {absent[0]!r} has no row", "add it")
    rows = [_row_of(column, kinds or {}) for column in deciles.columns]
    areas = locations["area"].astype(str).tolist() if "area" in locations else ids
    latents = latents_of_deciles(deciles.loc[ids], areas, rows, model, seed, classes)
    root = np.linalg.cholesky(model.correlation)
    words = words_of(seed, ids)
    within = normals(words, "dress within", len(LATENTS)) @ root.T
    latents = latents + np.sqrt(model.spread) * within
    shared = normals(words, "dress shared", len(VISIBLE))
    own = normals(words, "dress own", model.views * len(VISIBLE))
    shown = model.show(latents, shared, own.reshape(len(ids), model.views, len(VISIBLE)))
    write_images(directory, ids, shown, rendering, progress=progress)
    import pandas as pd  # here: the processes that draw need none

    oracle = pd.DataFrame(model.oracle(shown)[:, rows], columns=deciles.columns)
    oracle.insert(0, "location_id", ids)
    return oracle


def _row_of(column: str, kinds: Mapping[str, str]) -> int:
    """Find which of `OUTCOMES` a column behaves like."""
    kind = kinds.get(column, column if column in OUTCOMES else "income")
    if kind not in OUTCOMES:
        step = f"use {', '.join(OUTCOMES)}"
        raise InputError("kinds", f"{kind!r} (for {column!r}) is not known", step)
    return OUTCOMES.index(kind)


def latents_of_deciles(
    deciles: pd.DataFrame,
    areas: list[str],
    rows: list[int],
    model: LatentModel,
    seed: int,
    classes: int = 10,
) -> Array:
    """Draw areas' latents given their deciles: [N, L], equal for equal area and deciles.

    Parameters
    ----------
    deciles : DataFrame [N, M]
        1 to ``classes``, NaN = missing: then the others decide.
    areas : list of N str
        What each location's draw belongs to.
    rows : list of M int
        Which row of `OUTCOMES` each column is like.
    model : LatentModel
        Gives the joint distribution.
    seed : int
        Of the draws.
    classes : int, default 10
        The highest decile.
    """
    effects, prior = model.effects[rows], model.correlation
    noise = np.diag(1 - model.explained[rows])
    scores: Array = ndtri((deciles.to_numpy(np.float64) - 0.5) / classes)
    known = ~np.isnan(scores)
    names, owner = np.unique(areas, return_inverse=True)
    draws = normals(words_of(seed, names.tolist()), "dress area", len(LATENTS))[owner]
    latents = np.empty_like(draws)
    for pattern in np.unique(known, axis=0):
        inside = (known == pattern).all(axis=1)
        part = effects[pattern]
        gain = np.linalg.solve(
            part @ prior @ part.T + noise[np.ix_(pattern, pattern)], part @ prior
        )
        left = prior - gain.T @ part @ prior
        root = np.linalg.cholesky(left + 1e-9 * np.eye(len(left)))
        latents[inside] = scores[np.ix_(inside, pattern)] @ gain + draws[inside] @ root.T
    return latents
