"""Map layers for a GIS: the GeoPackage and its styles, and the GeoParquet."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from xml.etree import ElementTree as Xml

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pytest
from shapely.geometry import box

from streetgauge.evaluation import AreaLayers, layer_table
from streetgauge.evaluation.layers import class_colours, difference_colours, layer_styles


def squares(side=100.0, n=4, crs="EPSG:27700"):
    corner = [(500_000 + side * i, 200_000) for i in range(n)]
    shapes = [box(x, y, x + side, y + side) for x, y in corner]
    index = pd.Index([f"A{i}" for i in range(n)], name="area")
    columns = {"name": [f"Area {i}" for i in range(n)], "geometry": shapes}
    return gpd.GeoDataFrame(columns, index=index, crs=crs)


def predicted(**more):
    columns = {
        "area": ["A3", "A0", "A1"],
        "outcome": "income",
        "fold": 1,
        "n_locations": [2, 3, 4],
        "score": [0.5, -0.5, 0.0],
        "decile": [9, 1, 5],
        "low": [7, 1, 3],
        "high": [10, 3, 7],
        "actual_decile": [7, 2, None],
    }
    frame = pd.DataFrame({**columns, **more})
    return frame.astype(dict.fromkeys(("decile", "low", "high", "actual_decile"), "Int64"))


def both(outcomes=("income", "crime")):
    return pd.concat([predicted(outcome=name) for name in outcomes], ignore_index=True)


def styles_of(path: Path) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(
            "SELECT f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "useAsDefault, styleQML FROM layer_styles ORDER BY id"
        ).fetchall()
    finally:
        connection.close()


def rules_of(qml: str) -> dict[str, str]:
    """Filter of each rule, by its colour as ``#rrggbb``."""
    root = Xml.fromstring(qml.split("\n", 1)[1])
    found = {}
    for rule in root.iter("rule"):
        symbol = root.find(f".//symbol[@name='{rule.get('symbol')}']")
        red, green, blue = symbol.find(".//Option[@name='color']").get("value").split(",")[:3]
        found[f"#{int(red):02x}{int(green):02x}{int(blue):02x}"] = rule.get("filter")
    return found


def test_the_geopackage_holds_every_area_with_its_deciles(tmp_path):
    path = tmp_path / "areas.gpkg"
    AreaLayers(predicted(), squares()).write_geopackage(path)
    found = gpd.read_file(path, layer="areas").set_index("area")
    assert found.index.tolist() == ["A0", "A1", "A2", "A3"]
    assert found.crs == "EPSG:27700"
    assert found.loc["A3", "income_decile"] == 9
    assert found.loc["A3", "income_difference"] == 2
    of_income = [f"income_{name}" for name in ("low", "high", "width", "n_locations")]
    assert found.loc["A0", of_income].tolist() == [1, 3, 2, 3]
    assert pd.isna(found.loc["A1", "income_actual"])
    assert pd.isna(found.loc["A2", "income_decile"])
    assert found.loc["A2", "name"] == "Area 2"
    assert [p.name for p in tmp_path.iterdir()] == ["areas.gpkg"]
    AreaLayers(predicted(), squares(n=2)).write_geopackage(path)  # in the old one's place
    assert len(gpd.read_file(path, layer="areas")) == 2


def test_a_layer_tells_what_a_mapper_must_know_of_an_area_and_nothing_that_is_not_there():
    frame = predicted(
        status=["measured", "too few locations", "no actual decile"],
        outside_aoa=pd.array([True, False, None], dtype="boolean"),
        error_cluster=["high", None, None],
        n_views=pd.array([8, None, 16], dtype="Int64"),
        share_with_images=[0.5, 1.0, 1.0],
        disagreement=float("nan"),
    )
    table = layer_table(frame.sample(frac=1, random_state=1), squares()).set_index("area")
    assert table.loc["A0", "income_status"] == "too few locations"
    assert table["income_outside_aoa"].tolist()[0] is False
    assert bool(table.loc["A3", "income_outside_aoa"])
    assert table.loc["A3", "income_error_cluster"] == "high"
    assert pd.isna(table.loc["A0", "income_error_cluster"])
    assert table.loc["A1", "income_n_views"] == 16
    assert table.loc["A3", "income_score"] == 0.5
    assert "income_disagreement" not in table  # empty
    assert "income_p1" not in table


def test_the_geopackage_opens_in_qgis_with_the_predicted_class_of_the_first_outcome(tmp_path):
    path = tmp_path / "areas.gpkg"
    AreaLayers(both(), squares(), labels={"income": "Income", "crime": "Crime"}).write_geopackage(
        path
    )
    styles = styles_of(path)
    # QGIS asks for rows with an empty schema and catalogue, not with none.
    assert {row[:4] for row in styles} == {("", "", "areas", "geom")}
    assert [row[4] for row in styles] == [
        *("income predicted", "income actual", "income difference"),
        *("crime predicted", "crime actual", "crime difference"),
    ]
    assert [row[5] for row in styles] == [1, 0, 0, 0, 0, 0]
    rules = rules_of(styles[0][6])
    assert [rules[colour] for colour in class_colours(10)] == [
        f'"income_decile" = {k}' for k in range(1, 11)
    ]
    rules = rules_of(styles[5][6])
    assert rules[difference_colours()[-4]] == '"crime_difference" <= -4'
    assert rules[difference_colours()[0]] == '"crime_difference" = 0'
    assert rules[difference_colours()[4]] == '"crime_difference" >= 4'
    assert "ELSE" in rules.values()


def test_the_table_of_styles_is_the_one_that_qgis_makes_and_the_file_a_whole_geopackage(tmp_path):
    path = tmp_path / "areas.gpkg"
    AreaLayers(predicted(), squares()).write_geopackage(path)
    connection = sqlite3.connect(path)
    columns = [(row[1], row[2]) for row in connection.execute("PRAGMA table_info(layer_styles)")]
    assert columns == [
        *(("id", "INTEGER"), ("f_table_catalog", "TEXT(256)"), ("f_table_schema", "TEXT(256)")),
        *(("f_table_name", "TEXT(256)"), ("f_geometry_column", "TEXT(256)")),
        *(("styleName", "TEXT(30)"), ("styleQML", "TEXT"), ("styleSLD", "TEXT")),
        *(("useAsDefault", "BOOLEAN"), ("description", "TEXT"), ("owner", "TEXT(30)")),
        *(("ui", "TEXT(30)"), ("update_time", "DATETIME")),
    ]
    kinds = dict(connection.execute("SELECT table_name, data_type FROM gpkg_contents"))
    assert kinds == {"areas": "features", "layer_styles": "attributes"}
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_the_same_areas_give_the_same_bytes(tmp_path):
    frame, labels = both(), {"income": "Income"}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shuffled = frame.sample(frac=1, random_state=len(name) + ord(name[0]))
        layers = AreaLayers(shuffled, squares(), labels=labels)
        layers.write_geopackage(tmp_path / name / "a.gpkg")
        layers.write_geoparquet(tmp_path / name / "a.geo.parquet")
    for name in ("a.gpkg", "a.geo.parquet", "a.geo.qml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_geoparquet_says_where_it_is_and_what_is_in_it(tmp_path):
    path = tmp_path / "areas.geo.parquet"
    areas = squares()
    areas.loc["A2", "geometry"] = None
    AreaLayers(predicted(), areas).write_geoparquet(path)
    about = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert about["version"] == "1.1.0"
    assert about["primary_column"] == "geometry"
    column = about["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon"]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 27700}
    assert column["bbox"] == [500_000, 200_000, 500_400, 200_100]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert not [name for name in pq.read_schema(path).names if "index" in name]
    found = gpd.read_parquet(path).set_index("area")
    assert found.crs == "EPSG:27700"
    assert found.loc["A3", "income_decile"] == 9
    # QGIS takes the style that has the file's name without its last part.
    assert rules_of((tmp_path / "areas.geo.qml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("classes", [1, 2, 3, 5, 10, 37])
def test_every_number_of_classes_has_its_colours_and_its_rules(classes):
    colours = class_colours(classes)
    assert len(set(colours)) == classes
    styles = layer_styles({"income": "Income"}, classes)
    rules = rules_of(styles[0].qml)
    assert len(rules) == classes + 1
    apart = difference_colours(classes)
    assert list(apart) == list(range(-min(4, classes - 1), min(4, classes - 1) + 1))


def test_hostile_names_stay_text_and_long_ones_stay_apart(tmp_path):
    label = '</rule><script>alert(1)</script>\x00 & "x"'
    long = {f"{'a' * 40}{i}{'b' * 40}": label for i in range(3)}
    styles = layer_styles(long)
    assert len({style.name for style in styles}) == len(styles)
    assert all(len(style.name) <= 30 for style in styles)
    assert "\x00" not in styles[0].description
    quoted = layer_styles({'a" OR 1=1 --': label})[0]
    assert '"a"" OR 1=1 --_decile" = 1' in rules_of(quoted.qml).values()
    areas = squares()
    areas["name"] = label.replace("\x00", "")
    AreaLayers(predicted(outcome="it's"), areas).write_geopackage(tmp_path / "a.gpkg")
    assert len(styles_of(tmp_path / "a.gpkg")) == 3


def test_a_layer_without_any_prediction_has_no_style(tmp_path):
    AreaLayers(predicted().iloc[:0], squares()).write_geopackage(tmp_path / "a.gpkg")
    assert len(gpd.read_file(tmp_path / "a.gpkg", layer="areas")) == 4
    with pytest.raises(sqlite3.OperationalError, match="layer_styles"):
        styles_of(tmp_path / "a.gpkg")
