"""A study's areas and locations -> sample.parquet, sample.json, sample.gpkg and sample.png."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from streetgauge.analysis.sampling import Design, choose_locations, plan_areas
from streetgauge.errors import InputError
from streetgauge.evaluation import positions_of_areas, tested_areas
from streetgauge.io.files import read_table, write_json, write_table
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.locations import read_areas
from streetgauge.pipeline.area_maps import write_area_maps
from streetgauge.processes import undivided_products
from streetgauge.report.text import sample_sentences
from streetgauge.splits.blocks import to_metres
from streetgauge.study import Study
from streetgauge.study.paths import own_outputs

TITLES = {"error_now": "Expected error now", "error_planned": "With the plan"}

DRAWN = 20  # choices at random that a plan is compared with


@undivided_products()
def study_sample(study: Study, budget: float, *, travel: float | None = None) -> dict[str, Any]:
    """Plan which locations without images should get some next.

    Parameters
    ----------
    study : Study
        Evaluated. Its locations without images are the candidates.
    budget : float
        How many locations, or with ``travel`` what they may cost.
    travel : float, optional
        Metres of way that cost as much as a location; see
        `streetgauge.analysis.sampling.plan_areas`.

    Returns
    -------
    dict
        ``name``, ``areas_sha256``, ``budget``, ``travel``, ``n_locations``, ``n_areas`` and
        ``cost`` of the plan, ``n_candidates``; ``error``: the expected root mean squared error
        over all areas, in classes, ``now``, ``planned`` and ``at_random`` (the same number of
        locations). Also written to sample.json; the locations to sample.parquet and, where areas
        have boundaries, sample.gpkg and sample.png.

    Raises
    ------
    InputError
        If no location lacks images, the budget is larger than what there is, or the study's images
        tell nothing.
    """
    areas = read_areas(study.settings.areas, study.settings.locations)
    locations = read_table(study.locations)
    scores = read_table(own_outputs(study).predictions)
    has = locations["location_id"].isin(scores["location_id"]).to_numpy()
    number = areas.index.get_indexer(pd.Index(locations["area"]))
    candidates = int((~has & (number >= 0)).sum())
    _refuse(study, budget, candidates, alone=travel is None)
    counts, free = (
        np.bincount(number[rows & (number >= 0)], minlength=len(areas)) for rows in (has, ~has)
    )
    at = positions_of_areas(areas, locations).reindex(areas.index)
    design = Design.fit(tested_areas(read_table(study.areas)), scores, at)
    xy = at[["x", "y"]].to_numpy(float)
    if travel is not None and not np.isfinite(xy).all():
        raise InputError("--travel", "an area has no coordinates", "omit the option")
    plan = plan_areas(design, counts, free, budget, xy=xy, travel=travel)
    if plan.empty:
        raise InputError(f"--budget {budget:g}", "it is less than one location costs", "raise it")
    if len(plan) == candidates and plan["cost"].sum() <= budget - 1:
        cost = (
            f"{candidates:,} locations without images, which cost {plan['cost'].sum():,.1f} in all"
        )
        step = "choose no more, or name more in [locations]"
        raise InputError(f"--budget {budget:g}", f"the study has {cost}", step)
    added = np.bincount(plan["area"], minlength=len(areas))
    result = {
        "format_version": ANALYSIS_VERSION,
        "name": study.settings.name,
        "areas_sha256": study.fingerprint(study.areas),
        "budget": budget,
        "travel": travel,
        "n_candidates": candidates,
        "n_locations": len(plan),
        "n_areas": int((added > 0).sum()),
        "cost": float(plan["cost"].sum()),
        "error": _expected(design, counts, free, added, study.settings.seed),
    }
    write_table(_located(plan, locations, has, number, areas.index), study.sample)
    write_json(result, study.sample_findings)
    table = pd.DataFrame(
        {
            "locations_with_images": counts,
            "locations_to_add": added,
            "error_now": np.sqrt(design.errors(counts)),
            "error_planned": np.sqrt(design.errors(counts + added)),
        },
        areas.index,
    )
    write_area_maps(
        areas,
        table,
        study.sample_layer,
        study.sample_map,
        titles=TITLES,
        label=f"{study.settings.name}: where to take images next",
        summary=sample_sentences(result)[0],
    )
    return result


def _refuse(study: Study, budget: float, candidates: int, *, alone: bool) -> None:
    if not candidates:
        raise InputError(
            study.locations,
            "every location of the study has images",
            "name more in [locations], then run the study again",
        )
    if alone and budget > candidates:
        raise InputError(
            f"--budget {budget:g}",
            f"the study has {candidates:,} locations without images",
            f"choose at most {candidates:,}, or name more in [locations]",
        )


def _expected(design: Design, counts: Any, free: Any, added: Any, seed: int) -> dict[str, float]:
    """Give root mean squared errors now, after the plan, and after as many at random."""

    def error(numbers: Any) -> float:
        return float(np.sqrt(design.errors(numbers).mean()))

    rng = np.random.default_rng(seed)
    chance = [
        error(counts + rng.multivariate_hypergeometric(free, added.sum())) for _ in range(DRAWN)
    ]
    return {
        "now": error(counts),
        "planned": error(counts + added),
        "at_random": float(np.mean(chance)),
    }


def _located(
    plan: pd.DataFrame, locations: pd.DataFrame, has: Any, number: Any, areas: pd.Index
) -> pd.DataFrame:
    """Name the locations of a plan: rank, area, location_id, lat, lon, gain, cost."""
    known = {"lat", "lon"} <= set(locations.columns)
    at = np.zeros((len(locations), 2))
    if known:
        at = to_metres(locations["lat"], locations["lon"])
    named = plan.assign(rank=np.arange(1, len(plan) + 1), row=-1)
    for area, own in plan.groupby("area"):
        mine = number == area
        rest = np.flatnonzero(mine & ~has)
        chosen = choose_locations(at[mine & has], at[rest], len(own))
        named.loc[own.index, "row"] = rest[chosen]
    rows = locations.iloc[named["row"]].reset_index(drop=True)
    columns = ["location_id", *(["lat", "lon"] if known else [])]
    where = pd.DataFrame({"rank": named["rank"], "area": areas[named["area"]].astype("str")})
    return pd.concat([where, rows[columns], named[["gain", "cost"]]], axis=1)
