"""A small study on a grid of square areas, with names that try to break the page."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from shapely.geometry import box

from streetgauge.evaluation import (
    EvaluationInputs,
    aggregate,
    area_coordinates,
    equal_count,
    evaluate,
    intervals,
)
from streetgauge.report import ReportData
from streetgauge.settings import EvaluationSettings

DESKTOP = {"width": 1280, "height": 900}
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
        EvaluationSettings(draws=100),
        seed=1,
        inputs=EvaluationInputs(
            area_coordinates(areas),
            predictions=predictions,
            oracle=pd.DataFrame(best) if oracle else None,
            study_areas=codes,
        ),
    )
    skips = pd.DataFrame(
        [("L0001", "a", None, "features", "the image ends early")] * 3
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


@pytest.fixture(scope="session")
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


class Opened:
    """A report in the browser, from a file and offline."""

    def __init__(self, watch: Callable, html: str, folder: Path, viewport=DESKTOP, **more) -> None:
        file = folder / "report.html"
        file.write_text(html, encoding="utf-8")
        self.url = file.as_uri()
        self.watched = watch(self.url, viewport=viewport, offline=True, **more)
        self.page = self.watched.page

    @property
    def complaints(self) -> list[str]:
        return self.watched.complaints

    @property
    def asked(self) -> list[str]:
        """What was requested, without the images that lie in the page."""
        return [url for url in self.watched.requests if not url.startswith("data:")]

    def drawn(self, outcome: str = "") -> str:
        """Wait for the map, and return what it was drawn for."""
        layer = self.page.get_attribute("#maps", "data-layer")
        wanted = f'="{outcome} {layer}"' if outcome else f'$=" {layer}"'
        # A selector: the page's policy forbids the eval that waiting for an expression needs.
        self.page.wait_for_selector(f"#maps[data-drawn{wanted}]", state="attached")
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 30)))")
        return self.page.get_attribute("#maps", "data-drawn")

    def unfold(self, section: str) -> None:
        """Open a section, and wait until the page has been told, which is after the click."""
        self.page.evaluate(
            """id => {
              const section = document.getElementById(id);
              const told = () => { section.dataset.told = ""; };
              section.addEventListener("toggle", told, { once: true });
            }""",
            section,
        )
        self.page.click(f"#{section} > summary")
        self.page.wait_for_selector(f"#{section}[data-told]", state="attached")

    def layer(self, name: str) -> None:
        self.page.select_option("#layer", name)
        self.drawn()

    def point(self, layer: str, column: int, row: int, columns=8, rows=6) -> tuple[float, float]:
        """Where the middle of a square of the grid is, in the window."""
        self.page.locator(f"figure[data-layer={layer}] .canvas").scroll_into_view_if_needed()
        box = self.page.locator(f"figure[data-layer={layer}] .paint").first.bounding_box()
        scale = min(box["width"] / columns, box["height"] / rows) * 0.96
        x = box["x"] + box["width"] / 2 + (column + 0.5 - columns / 2) * scale
        y = box["y"] + box["height"] / 2 - (row + 0.5 - rows / 2) * scale
        return x, y

    def seen(self, x: float, y: float) -> tuple[int, ...]:
        """The colour that the screen shows."""
        picture = self.page.screenshot(clip={"x": x, "y": y, "width": 2, "height": 2})
        return Image.open(BytesIO(picture)).convert("RGB").getpixel((0, 0))

    def variable(self, name: str) -> tuple[int, ...]:
        """A colour of the page's style."""
        text = self.page.evaluate(
            "n => getComputedStyle(document.documentElement).getPropertyValue(n).trim()", name
        )
        return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))

    def colours(self, layer: str) -> dict[tuple[int, int, int], int]:
        """How many pixels of the layer's canvas have which colour, edges left aside."""
        counts = self.page.evaluate(
            """layer => {
              const c = document.querySelector(`figure[data-layer=${layer}] .paint`);
              const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, n = {};
              for (let i = 0; i < d.length; i += 4) {
                if (d[i + 3] < 255) continue;
                const k = `${d[i]},${d[i + 1]},${d[i + 2]}`;
                n[k] = (n[k] || 0) + 1;
              }
              return n;
            }""",
            layer,
        )
        return {tuple(map(int, k.split(","))): n for k, n in counts.items() if n > 200}

    def card(self, most: int = 4) -> dict[str, str]:
        """The first figures of the area's card by what they are."""
        items = self.page.locator("#card dd")
        return {
            items.nth(i).get_attribute("data-value"): items.nth(i).inner_text()
            for i in range(min(items.count(), most))
        }


@pytest.fixture
def show(watch, tmp_path) -> Callable[..., Opened]:
    """Give a function that opens a report: its HTML, the viewport, and more of the context."""
    return lambda html, viewport=DESKTOP, **more: Opened(watch, html, tmp_path, viewport, **more)
