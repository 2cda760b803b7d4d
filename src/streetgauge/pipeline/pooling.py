"""Several finished studies -> pool.parquet and its page, layer, matrix and findings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from streetgauge.analysis.pooling import CLASSED, FEWEST, METHODS, City, Pool
from streetgauge.errors import InputError
from streetgauge.evaluation.layers import write_layer
from streetgauge.features.area_means import feature_table
from streetgauge.features.store import FeatureStore
from streetgauge.io.files import read_metadata, read_table, write_json, write_table, write_text
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.locations import read_areas
from streetgauge.model.training_data import deciles
from streetgauge.progress import Progress, silent
from streetgauge.report import PooledCities, render_pooled
from streetgauge.study import Study
from streetgauge.study.outputs import refuse_overlap

POOL_FILES = ("pool.parquet", "pool-matrix.parquet", "pool.json", "pool.gpkg", "report.html")
AREAS, MATRIX, FINDINGS, LAYER, PAGE = POOL_FILES


def pool_studies(
    studies: Sequence[Study], out: Path, *, force: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Predict the areas of several cities by each other and by all together.

    Parameters
    ----------
    studies : sequence of Study
        At least two, evaluated, with the same kind of features.
    out : Path
        Directory of the results.
    force : bool
        Replace those of an earlier run.
    progress : Progress

    Returns
    -------
    dict
        ``cities`` (``name``, ``n_areas``), ``outcomes`` (those that all studies have), ``notes``,
        ``matrix`` (see `Pool.matrix`), ``results`` (per ``outcome`` and ``city`` ``n_models``,
        ``n_corrected`` and ``gain`` of labels, for each of the methods ``n_areas``, ``spearman``
        and ``mae``, and ``intervals``, see `Pool.coverage`). Also written to pool.json and
        pool-matrix.parquet; the areas to pool.parquet: ``city``, ``area``, ``outcome``, ``fold``,
        ``actual_decile``, what each method predicts, ``_decile``, ``_low`` and ``_high`` of
        ``pooled`` and ``best``, and ``gain``. report.html shows all of it; pool.gpkg has the
        areas that have boundaries.

    Raises
    ------
    InputError
        If fewer than two studies are given, one twice, or they do not fit each other.
    """
    _refuse_too_few(studies)
    names = _names(studies)
    outputs = [out / file for file in POOL_FILES]
    refuse_overlap([(name, study.directory) for name, study in names.items()], [*outputs, out])
    _refuse_there(out, force=force)
    outcomes, notes = _shared_outcomes(names)
    _refuse_other_features(names)
    first = studies[0].settings
    classes = first.deciles.classes
    cities = [_city(name, study) for name, study in names.items()]
    pool = Pool(cities, classes=classes, seed=first.seed, evaluation=first.evaluation)
    for outcome in outcomes:
        if not pool.labelled(outcome):
            raise InputError(
                f"outcome {outcome!r}",
                f"no city has a decile of it in at least {FEWEST} areas",
                "add areas with a decile, or exclude the outcome",
            )
    matrix = [entry for outcome in outcomes for entry in pool.matrix(outcome)]
    tables, results = [], []
    with progress("pool", len(outcomes) * len(cities), "cities and outcomes") as advance:
        for outcome in outcomes:
            for name in names:
                frame = pool.estimates(outcome, name)
                classed = pool.classed(frame, outcome, name)
                tables.append(_areas(frame.join(classed), name, outcome))
                held = pool.coverage(frame, classed)
                found = {**_result(pool, frame), "intervals": held}
                results.append({"outcome": outcome, "city": name, **found})
                advance(1)
    result = {
        "format_version": ANALYSIS_VERSION,
        "cities": [{"name": c.name, "n_areas": len(c.features)} for c in cities],
        "outcomes": outcomes,
        "classes": classes,
        "interval_level": first.evaluation.interval_level,
        "notes": notes,
        "matrix": matrix,
        "results": results,
    }
    out.mkdir(parents=True, exist_ok=True)
    table = pd.concat(tables, ignore_index=True)
    write_table(table, out / AREAS)
    write_table(_flat(matrix), out / MATRIX)
    write_json(result, out / FINDINGS)
    _show(names, result, table, out)
    return result


def _show(
    names: Mapping[str, Study], result: dict[str, Any], table: pd.DataFrame, out: Path
) -> None:
    """Write the page and, of areas with boundaries, the layer."""
    areas = {
        name: read_areas(study.settings.areas, study.settings.locations)
        for name, study in names.items()
    }
    counts = pd.concat({name: read_table(study.areas) for name, study in names.items()})
    counts = counts.rename_axis(["city", None]).reset_index("city")
    own = ["city", "area", "outcome"]
    shown = table.merge(counts[[*own, "n_locations"]], "left", on=own)
    about = read_metadata(next(iter(names.values())).outcomes)
    labels = {n: str(about.get(n, {}).get("label") or n) for n in result["outcomes"]}
    write_text(render_pooled(PooledCities(result, shown, areas, labels)), out / PAGE)
    (out / LAYER).unlink(missing_ok=True)
    layers = [_layer(each, table[table["city"] == city]) for city, each in areas.items()]
    drawn = [layer for layer in layers if layer is not None]
    if drawn:
        crs = drawn[0].crs
        same = [each if each.crs == crs or crs is None else each.to_crs(crs) for each in drawn]
        write_layer(pd.concat(same, ignore_index=True), out / LAYER)


def _layer(areas: Any, table: pd.DataFrame) -> Any:
    """Give the areas of a city with boundaries, and what is known of them under every outcome."""
    if "geometry" not in areas.columns:
        return None
    columns = ["pooled_decile", "best_decile", "best_low", "best_high", "actual_decile"]
    parts = {
        f"{outcome}_{column}": own.set_index("area")[column]
        for outcome, own in table.groupby("outcome", sort=False)
        for column in columns
    }
    known = [column for column in ("name", "geometry") if column in areas.columns]
    joined = areas[known].join(pd.DataFrame(parts), how="inner").rename_axis("area").reset_index()
    joined.insert(0, "city", table["city"].iloc[0])
    return joined


def _refuse_too_few(studies: Sequence[Study]) -> None:
    if len(studies) < 2:
        named = studies[0].directory if studies else "STUDY"
        raise InputError(named, "one city cannot be pooled", "name at least two studies")
    for first, second in combinations(studies, 2):
        if first.directory.resolve() == second.directory.resolve():
            step = "name each city's study once"
            raise InputError(second.directory, "this study is named twice", step)
    for study in studies:
        study.require_fresh("areas")


def _names(studies: Sequence[Study]) -> dict[str, Study]:
    """Call each study by its name; by its directory where several have the same name."""
    for names in (
        [study.settings.name for study in studies],
        [study.directory.resolve().name for study in studies],
    ):
        if len(set(names)) == len(names):
            return dict(zip(names, studies, strict=True))
    return {str(study.directory): study for study in studies}


def _refuse_there(out: Path, *, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(out, "this is a file", "name a directory with --out")
    there = [out / file for file in POOL_FILES if (out / file).exists()]
    if there and not force:
        step = "choose another name with --out, or use --force"
        raise InputError(there[0], "an earlier run wrote this", step)


def _shared_outcomes(names: dict[str, Study]) -> tuple[list[str], list[str]]:
    """Give the outcomes that all studies have, and a note on each other one."""
    first, *others = names.values()
    for other in others:
        here, there = (each.settings.deciles.classes for each in (first, other))
        if here != there:
            raise InputError(
                f"{other.file}: deciles.classes",
                f"it has {there} classes, and {first.directory} has {here}",
                "give all studies the same",
            )
    of_each = {name: list(study.settings.outcomes) for name, study in names.items()}
    shared = [o for o in first.settings.outcomes if all(o in own for own in of_each.values())]
    if not shared:
        listed = "; ".join(f"{name}: {', '.join(own)}" for name, own in of_each.items())
        raise InputError(
            first.file,
            f"no outcome is in all of the studies ({listed})",
            "outcomes are matched by name: give them the same",
        )
    return shared, [
        f"{name}: {outcome} is not in all studies, and was not used"
        for name, own in of_each.items()
        for outcome in own
        if outcome not in shared
    ]


def _refuse_other_features(names: dict[str, Study]) -> None:
    """Refuse studies whose features do not mean the same."""
    first, *others = names.values()
    for other in others:
        refuse_other_sources(first, other)
        for name, source in first.sources.items():
            _refuse_unlike(source.features, other.sources[name].features)


def refuse_other_sources(first: Study, other: Study) -> None:
    """Refuse a study whose features come from other sources than those of the first."""
    if list(first.sources) != list(other.sources):
        here, there = (", ".join(name or "one" for name in each.sources) for each in (first, other))
        raise InputError(
            f"{other.file}: [features]",
            f"its sources of features ({there}) are not those of {first.directory} ({here})",
            "give all studies the same",
        )


def _refuse_unlike(here: Path, there: Path) -> None:
    first, second = (FeatureStore.open(path) for path in (here, there))
    if first.backbone != second.backbone:
        raise InputError(
            there,
            f"its features come from {second.backbone!r}, and those of {here} from "
            f"{first.backbone!r}",
            "pool studies of one backbone",
        )
    own, other = (each.attributes for each in (first, second))
    made = first.backbone not in ("table", "raster", "simulated")
    if made and own.get("weights_sha256") != other.get("weights_sha256"):
        step = "extract the features of one again"
        raise InputError(there, f"{first.backbone!r} had other weights than for {here}", step)
    columns = [json.loads(each.get("transform") or "{}").get("columns") for each in (own, other)]
    widths = [each.features.shape[2] for each in (first, second)]
    if widths[0] != widths[1] or (not made and columns[0] != columns[1]):
        reason = f"its features ({widths[1]} a view) are not those of {here} ({widths[0]} a view)"
        raise InputError(there, reason, "give both studies the same columns")


def _city(name: str, study: Study) -> City:
    """Read a study's areas: features, deciles, and what it estimates of those held out."""
    labels = deciles(study.settings, read_table(study.outcomes))
    areas = read_table(study.areas)
    best = None
    if "best_score" in areas:
        tested = areas[areas["fold"] > 0]
        best = tested.pivot_table("best_score", "area", "outcome", aggfunc="first")
    return City(name, feature_table(read_table(study.area_features)), labels, best)


def _result(pool: Pool, frame: pd.DataFrame) -> dict[str, Any]:
    gains = frame[frame["fold"] > 0].groupby("fold")["gain"].first().dropna()
    return {
        "n_models": len(gains),
        "n_corrected": int((gains > 0).sum()),
        "gain": float(gains.mean()) if len(gains) else None,
        "methods": pool.measured(frame),
    }


def _areas(frame: pd.DataFrame, city: str, outcome: str) -> pd.DataFrame:
    """Give the rows of pool.parquet."""
    table = frame.rename_axis("area").reset_index()
    table.insert(0, "city", city)
    table.insert(2, "outcome", outcome)
    table["actual_decile"] = table["actual_decile"].round().astype("Int64")
    classes = [f"{method}_{name}" for method in CLASSED for name in ("decile", "low", "high")]
    columns = ["city", "area", "outcome", "fold", "actual_decile", *METHODS]
    return table[[*columns, *classes, "gain"]]


def _flat(matrix: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Put the matrix into a table: a row for each outcome and pair of cities."""
    rows = []
    for entry in matrix:
        row = {key: entry[key] for key in ("outcome", "from", "to", "n_areas")}
        for metric in ("spearman", "mae"):
            row |= {
                f"{metric}_{key}" if key != "value" else metric: value
                for key, value in entry[metric].items()
                if key in ("value", "low", "high")
            }
        rows.append(row)
    columns = ["outcome", "from", "to", "n_areas"]
    return pd.DataFrame(rows, columns=None if rows else columns)
