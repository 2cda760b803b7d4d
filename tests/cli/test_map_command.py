"""Files to look at that a study makes beside its report: figures, maps for a GIS, the map alone."""

from __future__ import annotations

import geopandas as gpd
import pandas as pd


def asked(grid, wanted, before="none"):
    file = grid / "study.toml"
    text = file.read_text(encoding="utf-8")
    assert f'figures = "{before}"' in text
    text = text.replace(f'figures = "{before}"', f'figures = "{wanted}"')
    file.write_text(text, encoding="utf-8")


def test_a_study_has_figures_layers_and_a_map_of_its_own(grid, run, refuse, tmp_path):
    asked(grid, "all")
    assert "run" in refuse("map", grid)  # nothing is done yet
    code, out, err = run("run", grid)
    assert code == 0, err
    assert "figures (SVG, PDF, PNG, CSV), 2 maps for slides" in out + err
    figures = {path.name for path in (grid / "figures").iterdir()}
    for kind in ("confusion", "agreement", "reliability", "moran"):
        assert {f"{kind}-{name}.svg" for name in ("income", "illness")} <= figures
    assert {"training-loss.pdf", "gain.csv", "map-income.png"} <= figures
    page = (grid / "report.html").read_text(encoding="utf-8")
    assert "Predicted against actual decile" in page

    areas = pd.read_parquet(grid / "areas.parquet")
    own = areas[areas["outcome"] == "income"].set_index("area")
    for layer in (
        gpd.read_file(grid / "areas.gpkg", layer="areas"),
        gpd.read_parquet(grid / "areas.geo.parquet"),
    ):
        found = layer.set_index("area")["income_decile"].reindex(own.index)
        assert found.astype(int).tolist() == own["decile"].astype(int).tolist()
    assert (grid / "areas.geo.qml").is_file()

    code, out, err = run("map", grid, "--out", tmp_path / "alone.html")
    assert code == 0, err
    page = (tmp_path / "alone.html").read_text(encoding="utf-8")
    assert "streetgauge map" in page
    assert 'id="maps"' in page
    assert "Confusion" not in page

    code, out, err = run("run", grid)
    assert "report: up to date" in out + err
    asked(grid, "none", before="all")
    assert run("report", grid)[0] == 0
    assert not (grid / "figures").exists()
