"""Manifests with coordinates, headings and panoramas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.imagery import find_views
from streetgauge.imagery.views import LocationIndex
from streetgauge.settings import ImagerySettings

HERE = pd.DataFrame(
    {"location_id": ["X", "Y", "Z"], "lat": [51.5, 51.501, np.nan], "lon": [-0.1, -0.1, np.nan]}
)


def written(folder: Path, rows: list[dict[str, object]], name: str = "m.csv") -> Path:
    for row in rows:
        (folder / str(row["path"])).touch()
    frame = pd.DataFrame(rows)
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_images_with_coordinates_go_to_the_nearest_location(tmp_path: Path, name: str) -> None:
    rows = [
        {"path": "1.jpg", "lat": 51.5001, "lon": -0.1, "heading": 10.0},
        {"path": "2.jpg", "lat": 51.5001, "lon": -0.1, "heading": -80.0},
        {"path": "3.jpg", "lat": 51.5009, "lon": -0.1, "heading": 181.0},
        {"path": "4.jpg", "lat": 51.5050, "lon": -0.1, "heading": 181.0},
    ]
    manifest = written(tmp_path, rows, name)
    settings = ImagerySettings(folder=tmp_path, manifest=manifest, require="any")
    views, skips = find_views(settings, HERE)
    got = {(r.location_id, r.view): Path(r.path).name for r in views.itertuples()}
    assert got == {("X", "a"): "1.jpg", ("X", "d"): "2.jpg", ("Y", "c"): "3.jpg"}
    assert "no location lies within 25 m: 4.jpg" in skips["reason"].tolist()
    assert ("Z", "there is no image of this location") in set(
        zip(skips["location_id"], skips["reason"], strict=True)
    )


def test_the_order_of_rows_and_locations_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"path": f"{i}.jpg", "lat": 51.5 + rng.normal(0, 2e-4), "lon": -0.1, "heading": h}
        for i, h in enumerate(rng.uniform(0, 360, 60).round(1))
    ]
    results = []
    for order in (range(60), rng.permutation(60)):
        manifest = written(tmp_path, [rows[i] for i in order])
        settings = ImagerySettings(folder=tmp_path, manifest=manifest, within=100.0)
        results.append(find_views(settings, HERE.sample(frac=1, random_state=len(results))))
    for one, other in zip(*results, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_of_two_images_for_a_view_the_nearer_then_the_straighter_is_taken(tmp_path: Path) -> None:
    rows = [
        {"path": "far.jpg", "lat": 51.50012, "lon": -0.1, "heading": 0.0},
        {"path": "crooked.jpg", "lat": 51.5001, "lon": -0.1, "heading": 40.0},
        {"path": "straight.jpg", "lat": 51.5001, "lon": -0.1, "heading": 355.0},
    ]
    settings = ImagerySettings(folder=tmp_path, manifest=written(tmp_path, rows))
    views, skips = find_views(settings, HERE)
    assert [Path(path).name for path in views["path"]] == ["straight.jpg"]
    reported = skips["reason"][skips["reason"].str.startswith("another")].tolist()
    assert sorted(reason.rpartition(": ")[2] for reason in reported) == ["crooked.jpg", "far.jpg"]


def test_panoramas_and_plain_images_stand_side_by_side(tmp_path: Path) -> None:
    rows = [
        {"path": "p.jpg", "location_id": "X", "heading": 40.0, "panorama": True},
        {"path": "q.jpg", "location_id": "Y", "heading": "", "panorama": "TRUE"},
        {"path": "r.jpg", "location_id": "Z", "heading": 91.0, "panorama": False},
    ]
    settings = ImagerySettings(folder=tmp_path, manifest=written(tmp_path, rows), require="any")
    views, _ = find_views(settings, ["X", "Y", "Z"])
    assert len(views) == 9
    x = views[views["location_id"] == "X"]
    assert x["heading"].tolist() == [0, 90, 180, 270]
    assert (x["panorama_heading"] == 40).all()
    assert (x[["pitch", "fov", "size"]] == [0, 90, 448]).all(axis=None)
    assert views[views["location_id"] == "Y"]["panorama_heading"].isna().all()
    z = views[views["location_id"] == "Z"]
    assert z["view"].tolist() == ["b"]
    assert z["heading"].isna().all()


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        ("path,location_id", "1.jpg,X", "there is no column 'view', nor 'heading'"),
        ("path,view", "1.jpg,a", "there is no column 'location_id', nor 'lat' and 'lon'"),
        ("path,lat,lon,view", "1.jpg,north,0,a", "row 2, column 'lat': 'north' is not a number"),
        ("path,lat,lon,view", "1.jpg,91,0,a", "row 2, column 'lat': 91 is not within -90 to 90"),
        ("path,location_id,heading", "1.jpg,X,400", "row 2, column 'heading': 400 is not within"),
        ("path,location_id,heading", "1.jpg,X,-361", "-361 is not within -360 to 360"),
        ("path,location_id,heading", "1.jpg,X,east", "column 'heading': 'east' is not a number"),
        ("path,location_id,panorama", "1.jpg,X,maybe", "panorama = 'maybe' is not true or false"),
        ("path,location_id,heading", ",X,1", "column 'path' is empty"),
        ("path,location_id,heading", "1.jpg,,1", "column 'location_id' is empty"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_one_sentence(
    tmp_path: Path, header: str, row: str, reason: str
) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / "m.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(InputError) as caught:
        find_views(ImagerySettings(folder=tmp_path, manifest=tmp_path / "m.csv"), HERE)
    assert reason in str(caught.value)


def test_one_view_needs_no_name_and_no_heading(tmp_path: Path) -> None:
    manifest = written(tmp_path, [{"path": "1.jpg", "location_id": "X"}])
    settings = ImagerySettings(folder=tmp_path, manifest=manifest, views=("only",))
    assert find_views(settings, ["X"])[0]["view"].tolist() == ["only"]
    named = ImagerySettings(folder=tmp_path, pattern="{location_id}.jpg", views=("only",))
    assert find_views(named, ["1"])[0]["view"].tolist() == ["only"]


points = st.lists(
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=8, unique=True
)


@given(points, points)
def test_the_nearest_is_the_nearest_on_the_globe(
    places: list[tuple[float, float]], images: list[tuple[float, float]]
) -> None:
    ids = [f"L{i}" for i in range(len(places))]
    frame = pd.DataFrame(
        {"location_id": ids, "lat": [p[0] for p in places], "lon": [p[1] for p in places]}
    )
    lat, lon = np.array(images).T
    found, distance = LocationIndex(frame.sample(frac=1, random_state=0)).nearest(lat, lon)
    for k in range(len(images)):
        a, b = np.radians(lat[k]), np.radians(frame["lat"].to_numpy())
        turn = np.radians(frame["lon"].to_numpy() - lon[k])
        chord = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(turn / 2) ** 2
        metres = 2 * 6_371_008.8 * np.arcsin(np.sqrt(np.clip(chord, 0, 1)))  # haversine
        assert distance[k] == pytest.approx(metres.min(), abs=1.0)
        assert metres[ids.index(found[k])] == pytest.approx(metres.min(), abs=1.0)


def test_without_coordinates_nothing_is_near() -> None:
    ids, distance = LocationIndex(HERE[:0]).nearest(np.array([51.5]), np.array([0.0]))
    assert distance.tolist() == [np.inf]
    ids, distance = LocationIndex(HERE).nearest(np.array([np.nan]), np.array([np.nan]))
    assert ids.tolist() == [""]
    assert distance.tolist() == [np.inf]
