"""Simulated street images for the locations of a real area table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from streetgauge.errors import InputError
from streetgauge.progress import Progress, silent
from streetgauge.synthetic.chance import normals, words_of
from streetgauge.synthetic.images import VIEWS, write_images
from streetgauge.synthetic.model import LATENTS, OUTCOMES, VISIBLE, Array, Model

__all__ = ["simulate_images", "latents_of_deciles"]


def simulate_images(
    locations: pd.DataFrame,
    directory: Path,
    deciles: pd.DataFrame,
    *,
    kinds: Mapping[str, str] | None = None,
    model: Model | None = None,
    seed: int = 2019,
    size: tuple[int, int] = (256, 192),
    workers: int = 2,
    classes: int = 10,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Draw four street images for each location, such as the deciles of its area suggest.

    Deciles are turned into the latents that the sample city's `Model` expects for them; what they
    leave open is drawn by area, and every location differs from its area as in the sample city.
    Nothing in such images is true of the real place: they serve to try out a study's size.

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
    model : Model, optional
        What latents, images and outcomes have to do with each other.
    seed : int
        Of all chance; draws belong to location and area, not to rows.
    size : (int, int)
        Width and height in pixels.
    workers : int
        Processes; see `streetgauge.synthetic.images.write_images`.
    classes : int, default 10
        The highest decile.
    progress : Progress
        Told of every image.

    Returns
    -------
    DataFrame
        The oracle: location_id, then the best score for each column of ``deciles``.

    Raises
    ------
    InputError
        If a location stands twice or has no row in ``deciles``, or a kind is not known.
    """
    model = model or Model()
    ids = [str(location_id) for location_id in locations["location_id"]]
    if len(set(ids)) < len(ids):
        twice = locations["location_id"][locations["location_id"].duplicated()].iloc[0]
        raise InputError("locations", f"location_id {twice!r} stands twice", "keep one row of it")
    absent = [location_id for location_id in ids if location_id not in deciles.index]
    if absent:
        raise InputError("deciles", f"location {absent[0]!r} has no row", "add it")
    rows = _rows(deciles.columns, kinds or {})
    areas = locations["area"].astype(str).tolist() if "area" in locations else ids
    latents = latents_of_deciles(deciles.loc[ids], areas, rows, model, seed, classes)
    root = np.linalg.cholesky(model.correlation)
    words = words_of(seed, ids)
    within = normals(words, "dress within", len(LATENTS)) @ root.T
    latents = latents + np.sqrt(model.spread) * within
    shared = normals(words, "dress shared", len(VISIBLE))
    own = normals(words, "dress own", model.views * len(VISIBLE))
    shown = model.show(latents, shared, own.reshape(len(ids), model.views, len(VISIBLE)))
    write_images(
        directory, ids, shown, seed=seed, views=VIEWS[: model.views], size=size, workers=workers,
        progress=progress,
    )  # fmt: skip
    oracle = pd.DataFrame(model.oracle(shown)[:, rows], columns=deciles.columns)
    oracle.insert(0, "location_id", ids)
    return oracle


def _rows(columns: pd.Index, kinds: Mapping[str, str]) -> list[int]:
    rows = []
    for column in columns:
        kind = kinds.get(column, column if column in OUTCOMES else "income")
        if kind not in OUTCOMES:
            raise InputError(
                "kinds", f"{kind!r} (for {column!r}) is not known", f"use {', '.join(OUTCOMES)}"
            )
        rows.append(OUTCOMES.index(kind))
    return rows


def latents_of_deciles(
    deciles: pd.DataFrame,
    areas: list[str],
    rows: list[int],
    model: Model,
    seed: int,
    classes: int = 10,
) -> Array:
    """Draw areas' latents given their deciles: [N, L], equal for equal area and deciles.

    Parameters
    ----------
    deciles : DataFrame [N, M]
        1 to ``classes``, NaN = missing: then the others speak.
    areas : list of N str
        What each location's draw belongs to.
    rows : list of M int
        Which row of `OUTCOMES` each column is like.
    model : Model
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
    kept, place = np.unique(areas, return_inverse=True)
    draws = normals(words_of(seed, kept.tolist()), "dress area", len(LATENTS))[place]
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
