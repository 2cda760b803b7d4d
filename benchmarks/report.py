"""How long the report takes to write and to open, and how large it is.

    .venv/bin/python benchmarks/report.py [STUDY ...]

Of each study (default: examples/london if it was run) that has its areas.parquet and metrics.json:
seconds to read the files, to draw the figures (as SVG, PDF and PNG) and the maps in two processes,
and to write the page, its size and that of its parts, and, in Chromium without a network, the
milliseconds until something and until the map is painted, and to find a postcode. Images are left
out. Columns that an older areas.parquet lacks are filled in by chance, so that the page is as
heavy as that of a new one; its figures then say nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _table import add_short, row

from streetgauge.evaluation import describe_scheme, tested_areas
from streetgauge.io.files import read_metadata
from streetgauge.locations import read_areas
from streetgauge.report import ReportData, draw_figures, draw_maps, processes, render
from streetgauge.report.map import pack_postcodes
from streetgauge.study import Study

CHROMIUM = Path("/usr/bin/chromium")


def read(study: Study) -> ReportData:
    """Read what the page shows."""
    settings = study.settings
    metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
    if not isinstance(metrics["scheme"], dict):  # an older one's name of it
        metrics["scheme"] = describe_scheme(settings.folds, metrics["folds"])
    return ReportData(
        name=settings.name,
        note=settings.note,
        settings=settings.model_dump(mode="json", exclude_none=True),
        areas=read_areas(settings.areas, settings.locations),
        table=tested_areas(pd.read_parquet(study.areas)),
        metrics=metrics,
        provenance=read_metadata(study.outcomes),
        skips=study.skips(),
        locations=pd.read_parquet(study.locations),
    )


def course(study: Study) -> pd.DataFrame | None:
    """Read the course of the training, if it was kept."""
    file = study.model / "history.jsonl"
    return pd.read_json(file, lines=True) if file.exists() else None


def filled(table: pd.DataFrame) -> pd.DataFrame:
    """Give an older table the columns of a new one."""
    rng, n = np.random.default_rng(1), len(table)
    status = np.full(n, "measured")
    columns: dict[str, Any] = {
        "n_views": (4 * table["n_locations"]).astype("Int64"),
        "share_with_images": rng.random(n),
        "disagreement": rng.gamma(4, 0.3, n),
        "outside_aoa": pd.array(rng.random(n) < 0.05, dtype="boolean"),
        "error_cluster": rng.choice(np.array(["high", "low", None]), n, p=[0.04, 0.04, 0.92]),
        "status": status,
    }
    absent = {k: v for k, v in columns.items() if k not in table.columns or table[k].isna().all()}
    if absent:
        print(f"  filled in: {', '.join(absent)}")
    return table.assign(**absent)


def opened(page: Path, postcode: str | None) -> None:
    """Open it and say what took how long."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        for width, name in ((1280, "desktop"), (390, "phone")):
            context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
            tab = context.new_page()
            tab.goto(page.as_uri())
            tab.wait_for_selector("#maps[data-drawn]", state="attached")
            tab.wait_for_timeout(300)  # a paint is told a little after it
            first, drawn = tab.evaluate(
                "[performance.getEntriesByType('paint')[0].startTime,"
                " performance.getEntriesByName('map-drawn')[0].startTime]"
            )
            print(f"  {name}: first paint {first:.0f} ms, map {drawn:.0f} ms")
            if postcode:
                start = time.perf_counter()
                tab.fill("#find", postcode)
                said = tab.inner_text("#found")
                print(f"    {said} ({1000 * (time.perf_counter() - start):.0f} ms)")
            context.close()
        browser.close()


def measure(directory: Path, *, tell: bool = False) -> None:
    """Write and open the page of a study."""
    print(directory)
    start = time.perf_counter()
    data = read(Study.open(directory))
    data = replace(data, table=filled(data.table))
    print(
        f"  {len(data.areas):,} areas x {data.table['outcome'].nunique()} outcomes, "
        f"{len(data.locations):,} locations: read in {time.perf_counter() - start:.1f} s"
    )
    start = time.perf_counter()
    study = Study.open(directory)
    labels = {name: str(about.get("label") or name) for name, about in data.provenance.items()}
    given = (data.areas, data.table, data.metrics, data.provenance, data.name)
    with processes(2) as each:
        slides = draw_maps(*given, each=each)
        figures = draw_figures(data.metrics, data.table, labels, history=course(study), each=each)
        maps = dict(slides)
    print(
        f"  {len(figures)} figures and {len(maps)} maps for slides in "
        f"{time.perf_counter() - start:.1f} s"
    )
    start = time.perf_counter()
    html = render(replace(data, figures=figures))
    seconds = time.perf_counter() - start
    if tell:
        size = f"{len(html.encode()) / 1e6:.1f} MB"
        row(f"the page of {len(data.areas):,} areas", "", "", f"{seconds:.1f} s, {size}")
        return
    packed = pack_postcodes(data.locations, list(data.areas.index)) or ""
    print(
        f"  written in {seconds:.1f} s: {len(html.encode()) / 1e6:.2f} MB, of which postcodes "
        f"{len(packed) / 1e6:.2f} MB"
    )
    if not CHROMIUM.exists():
        print(f"  not opened: there is no browser at {CHROMIUM}")
        return
    known = data.locations["postcode"].dropna() if "postcode" in data.locations else []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(html, encoding="utf-8")
        opened(page, str(known.iloc[-1]) if len(known) and packed else None)


def main() -> None:
    """Measure each study that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="*", type=Path, default=[Path("examples/london")])
    add_short(parser)
    given = parser.parse_args()
    for directory in given.study:
        if (directory / "metrics.json").is_file():
            measure(directory, tell=given.short)
        else:
            print(f"{directory}: no metrics.json; `streetgauge run {directory}` makes it")


if __name__ == "__main__":
    main()
