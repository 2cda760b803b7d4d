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


def test_a_study_has_figures_layers_and_a_map_of_its_own(grid, finished, run, refuse, tmp_path):
    assert "run" in refuse("map", grid)  # nothing is done yet
    asked(finished, "all")
    code, out, err = run("run", finished)
    assert code == 0, err
    assert "figures (SVG, PDF, PNG, CSV), 2 maps for slides" in out + err
    figures = {path.name for path in (finished / "figures").iterdir()}
    for kind in ("confusion", "agreement", "reliability", "moran"):
        assert {f"{kind}-{name}.svg" for name in ("income", "illness")} <= figures
    assert {"training-loss.pdf", "gain.csv", "map-income.png"} <= figures
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "Predicted against actual decile" in page

    areas = pd.read_parquet(finished / "areas.parquet")
    own = areas[areas["outcome"] == "income"].set_index("area")
    for layer in (
        gpd.read_file(finished / "areas.gpkg", layer="areas"),
        gpd.read_parquet(finished / "areas.geo.parquet"),
    ):
        found = layer.set_index("area")["income_decile"].reindex(own.index)
        assert found.astype(int).tolist() == own["decile"].astype(int).tolist()
    assert (finished / "areas.geo.qml").is_file()

    code, out, err = run("map", finished, "--out", tmp_path / "alone.html")
    assert code == 0, err
    page = (tmp_path / "alone.html").read_text(encoding="utf-8")
    assert "streetgauge map" in page
    assert 'id="maps"' in page
    assert "Confusion" not in page

    code, out, err = run("run", finished)
    assert "report: up to date" in out + err
    asked(finished, "none", before="all")
    assert run("report", finished)[0] == 0
    assert not (finished / "figures").exists()
