"""A small study on a grid of square areas, with names that try to break the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from streetgauge.areas import aggregate, area_coordinates, equal_count, evaluate, intervals
from streetgauge.report import ReportData
from streetgauge.settings import EvaluationSettings

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<script>alert(1)</script>"
# The blank matters: it ends the tag's name, and no '>' needs to follow.
CLOSING = '</script ><!-- <script ><img src=x onerror=alert(2)> & "quotes"'


def grid(columns: int = 8, rows: int = 6, side: float = 1000.0) -> gpd.GeoDataFrame:
    """Squares A000, A001, ... row by row from the south-west; two districts."""
    count = columns * rows
    west = [500_000 + side * (i % columns) for i in range(count)]
    south = [200_000 + side * (i // columns) for i in range(count)]
    frame = {
        "name": [f"Square {i}" for i in range(count)],
        "district": ["Left" if i % columns < columns // 2 else "Right" for i in range(count)],
        "geometry": [box(x, y, x + side, y + side) for x, y in zip(west, south, strict=True)],
    }
    index = pd.Index([f"A{i:03d}" for i in range(count)], name="area")
    return gpd.GeoDataFrame(frame, index=index, crs="EPSG:27700")


def study(areas: gpd.GeoDataFrame | None = None, *, oracle: bool = False, **more) -> ReportData:
    """Two outcomes, each predicted with noise; A005 has no actual income, A007 no location."""
    areas = grid() if areas is None else areas
    rng = np.random.default_rng(11)
    codes = areas.index.to_numpy()
    fold = rng.integers(1, 5, len(codes))
    frames, best = [], {"location_id": [f"L{i:04d}" for i in range(3 * len(codes))]}
    for name in ("income", "crime"):
        latent = rng.normal(size=len(codes))
        actual = pd.array(equal_count(latent), dtype="Int64")
        if name == "income":
            actual[5] = pd.NA
        best[name] = np.repeat(latent, 3)
        frames.append(
            pd.DataFrame(
                {
                    "location_id": best["location_id"],
                    "area": np.repeat(codes, 3),
                    "fold": np.repeat(fold, 3),
                    "outcome": name,
                    "score": np.repeat(latent, 3) + rng.normal(0, 0.8, 3 * len(codes)),
                    "actual_decile": actual.repeat(3),
                }
            )
        )
    predictions = pd.concat(frames)
    predictions = predictions[predictions["area"] != codes[7]]
    table = intervals(aggregate(predictions))
    metrics = evaluate(
        table,
        area_coordinates(areas),
        EvaluationSettings(draws=100),
        seed=1,
        predictions=predictions,
        oracle=pd.DataFrame(best) if oracle else None,
        study_areas=codes,
    )
    skips = pd.DataFrame(
        [("L0001", "a", None, "features", "the picture ends early")] * 3
        + [(None, None, codes[7], "locations", "no location lies in it")],
        columns=["location_id", "view", "area", "stage", "reason"],
    )
    facts = {
        "name": "Gridtown",
        "note": "Two outcomes on a grid.",
        "settings": {"seed": 7, "areas": {"file": "/home/someone/secret/areas.gpkg"}},
        "areas": areas,
        "table": table,
        "metrics": metrics,
        "provenance": {
            "income": {
                "label": "Household income",
                "direction": "higher-is-better",
                "source": "table",
                "file": "/home/someone/secret/income.csv",
                "sha256": "c0ffee" * 10,
                "publisher": "Greater Gridtown Authority",
                "licence": "OGL v3",
                "n_areas": len(codes),
                "n_missing": 1,
            },
            "crime": {"label": "Crime", "source": "table"},
        },
        "skips": skips,
        "locations": pd.DataFrame({"location_id": best["location_id"]}),
        "run": {"versions": {"streetgauge": "0.1.0"}, "seed": 7, "seconds": {"train": 12.5}},
    }
    return ReportData(**{**facts, **more})


@pytest.fixture
def make_study() -> Callable[..., ReportData]:
    return study


@pytest.fixture
def make_grid() -> Callable[..., gpd.GeoDataFrame]:
    return grid


@pytest.fixture
def hostile() -> ReportData:
    """A study in which every text tries to leave its place."""
    areas = grid()
    areas.loc["A000", "name"] = HOSTILE
    areas.loc["A001", "name"] = CLOSING
    areas.loc["A002", "district"] = CLOSING
    plain = study(areas)
    provenance = {"income": {"label": HOSTILE, "publisher": CLOSING}, "crime": {"label": CLOSING}}
    return study(
        areas,
        name=HOSTILE,
        note=CLOSING,
        provenance=provenance,
        settings={"note": HOSTILE},
        run={"host": CLOSING},
        skips=plain.skips.assign(reason=HOSTILE),
    )


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()
