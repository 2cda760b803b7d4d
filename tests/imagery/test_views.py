"""Which image is which view of which location."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.imagery import find_views, image_sources, raw_images
from streetgauge.io.files import write_table
from streetgauge.settings import ImagerySettings


def touched(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def keys(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(frame[["location_id", "view"]].itertuples(index=False, name=None))


def settings(folder: Path, **options: object) -> ImagerySettings:
    return ImagerySettings(**{"folder": folder, "views": ("a", "b"), **options})


def test_views_are_sorted_by_location_and_then_as_the_settings_name_them(tmp_path: Path) -> None:
    touched(tmp_path, ["Y_a.jpg", "X_b.jpg", "Y_b.jpg", "X_a.jpg"])
    views, skips = find_views(settings(tmp_path, views=("b", "a")), ["Y", "X"])
    assert keys(views) == [("X", "b"), ("X", "a"), ("Y", "b"), ("Y", "a")]
    assert views["path"].tolist()[0] == str(tmp_path / "X_b.jpg")
    columns = ["location_id", "view", "path", "member"]
    cut = ["heading", "panorama_heading", "pitch", "fov", "size"]
    assert list(views.columns) == [*columns, *cut]
    assert (views["member"] == "").all()
    assert views[cut].isna().all(axis=None)
    assert list(skips.columns) == ["location_id", "view", "area", "stage", "reason"]
    assert skips.empty


def test_of_two_spellings_of_a_suffix_the_pattern_s_own_is_taken(tmp_path: Path) -> None:
    touched(tmp_path, ["X_a.jpg", "X_a.JPG", "X_b.JPEG"])
    views, skips = find_views(settings(tmp_path), ["X"])
    assert [Path(path).name for path in views["path"]] == ["X_a.jpg", "X_b.JPEG"]
    assert skips["reason"].tolist() == ["another image has the pattern's own suffix: X_a.JPG"]
    touched(tmp_path, ["X_b.JPG"])
    with pytest.raises(InputError, match=r"two images: X_b\.JPEG and X_b\.JPG"):
        find_views(settings(tmp_path), ["X"])


def test_the_order_of_locations_does_not_matter(tmp_path: Path) -> None:
    ids = [f"L{i}" for i in range(30)]
    touched(tmp_path, [f"{location}_{view}.jpg" for location in ids for view in "ab"])
    shuffled = np.random.default_rng(0).permutation(ids).tolist()
    one, _ = find_views(settings(tmp_path), ids)
    other, _ = find_views(settings(tmp_path), shuffled)
    pd.testing.assert_frame_equal(one, other)


def test_missing_views_and_unknown_locations_are_reported_with_their_reason(
    tmp_path: Path,
) -> None:
    touched(tmp_path, ["X_a.jpg", "X_b.jpg", "Y_a.jpg", "Q_a.jpg", "X_c.jpg", "notes.txt"])
    views, skips = find_views(settings(tmp_path), ["X", "Y", "Z"])
    assert keys(views) == [("X", "a"), ("X", "b"), ("Y", "a")]
    reported = {(row.location_id, row.view): row.reason for row in skips.itertuples()}
    assert reported == {
        ("Y", "b"): "there is no image of this view and all are needed",
        ("Z", None): "there is no image of this location",
        ("Q", "a"): "the location is not one of the study's",
        ("X", "c"): "the view is none of a, b",
    }
    assert set(skips["stage"]) == {"features"}
    assert skips["area"].isna().all()


def test_ids_and_views_may_hold_the_pattern_s_own_signs(tmp_path: Path) -> None:
    ids = ["a_b", "a", "x.y*", "[q]", "{view}", "p(1)+", "a b"]
    touched(tmp_path, [f"{location}_v_1.jpg" for location in ids])
    views, skips = find_views(settings(tmp_path, views=("v_1",)), ids)
    assert sorted(views["location_id"]) == sorted(ids)
    assert skips.empty
    for row in views.itertuples():
        assert row.path == str(tmp_path / f"{row.location_id}_v_1.jpg")


def test_signs_of_the_pattern_are_literal(tmp_path: Path) -> None:
    touched(tmp_path, ["X-a.jpg", "X.a+jpg"])
    views, _ = find_views(settings(tmp_path, pattern="{location_id}.{view}+jpg"), ["X"])
    assert views["path"].tolist() == [str(tmp_path / "X.a+jpg")]


def test_a_name_that_fits_two_locations_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, ["x_1_a.jpg"])
    with pytest.raises(InputError, match=r"x_1_a\.jpg.*'x'.*'x_1'|x_1_a\.jpg.*'x_1'.*'x'"):
        find_views(settings(tmp_path, views=("a", "1_a")), ["x", "x_1"])


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{location_id}/{view}.png", "X/a.png"),
        ("2019/{view}/{location_id}.webp", "2019/a/X.webp"),
        ("{location_id}/{location_id}_{view}.jpg", "X/X_a.jpg"),
    ],
)
def test_folders_may_be_part_of_the_pattern(tmp_path: Path, pattern: str, name: str) -> None:
    touched(tmp_path, [name, "elsewhere/X_a.jpg", "X_a.jpg"])
    views, _ = find_views(settings(tmp_path, pattern=pattern), ["X"])
    assert views["path"].tolist() == [str(tmp_path / name)]


@pytest.mark.parametrize("pattern", ["../{location_id}_{view}.jpg", "/etc/{location_id}{view}"])
def test_a_pattern_never_leaves_the_folder(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "inside"
    touched(tmp_path, ["X_a.jpg", "inside/X_a.jpg"])
    with pytest.raises(InputError, match="leaves the folder"):
        find_views(settings(folder, pattern=pattern), ["X"])


def test_an_id_that_climbs_out_of_the_folder_finds_nothing(tmp_path: Path) -> None:
    touched(tmp_path, ["X_a.jpg", "inside/Y_a.jpg"])
    views, skips = find_views(settings(tmp_path / "inside", views=("a",)), ["../X", "Y"])
    assert keys(views) == [("Y", "a")]
    assert skips["location_id"].tolist() == ["../X"]


def test_a_folder_that_is_empty_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file in this folder"):
        find_views(settings(tmp_path), ["X"])
    with pytest.raises(InputError, match="there is no such folder"):
        find_views(settings(tmp_path / "nowhere"), ["X"])


def test_a_pattern_that_fits_nothing_shows_three_files_that_are_there(tmp_path: Path) -> None:
    touched(tmp_path, [f"X_{view}.png" for view in "abcd"])
    with pytest.raises(InputError, match=r"X_a\.png, X_b\.png, X_c\.png\.") as caught:
        find_views(settings(tmp_path), ["X"])
    assert "X_d" not in str(caught.value)


def test_images_of_other_locations_only_are_refused_with_an_example(tmp_path: Path) -> None:
    touched(tmp_path, ["BR1 1AA_a.jpg", "BR1 1AA_b.jpg"])
    with pytest.raises(InputError, match=r"BR1 1AA.*did you mean 'BR11AA'"):
        find_views(settings(tmp_path), ["BR11AA", "ZE29ZZ"])


def manifest(folder: Path, rows: list[tuple[str, str, str]], name: str = "views.csv") -> Path:
    frame = pd.DataFrame(rows, columns=["location_id", "view", "path"])
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["views.csv", "views.parquet"])
def test_a_manifest_names_the_images(tmp_path: Path, name: str) -> None:
    touched(tmp_path, ["one.jpg", "sub/two.png"])
    file = manifest(tmp_path, [("007", "b", "sub/two.png"), ("007", "a", "one.jpg")], name)
    views, skips = find_views(settings(tmp_path, manifest=file), ["007"])
    assert keys(views) == [("007", "a"), ("007", "b")]
    assert views["path"].tolist() == [str(tmp_path / "one.jpg"), str(tmp_path / "sub/two.png")]
    assert skips.empty


def test_a_manifest_s_gaps_and_unknown_locations_are_reported(tmp_path: Path) -> None:
    touched(tmp_path, ["one.jpg"])
    rows = [("X", "a", "one.jpg"), ("X", "b", "gone.jpg"), ("Q", "a", "one.jpg")]
    file = manifest(tmp_path, rows)
    views, skips = find_views(settings(tmp_path, manifest=file, require="any"), ["X", "Z"])
    assert keys(views) == [("X", "a")]
    assert keys(skips) == [("Q", "a"), ("X", "b"), ("Z", None)]
    reasons = dict(zip(skips["location_id"], skips["reason"], strict=True))
    assert reasons["X"] == "the file that the manifest names is not there: gone.jpg"
    assert reasons["Z"] == "there is no image of this location"


def test_each_file_that_a_manifest_names_and_that_is_gone_is_named(tmp_path: Path) -> None:
    touched(tmp_path, ["one.jpg"])
    rows = [("X", "a", "one.jpg"), ("Y", "a", "y a.jpg"), ("Y", "b", "y b.jpg")]
    views, skips = find_views(settings(tmp_path, manifest=manifest(tmp_path, rows)), ["X", "Y"])
    assert keys(views) == [("X", "a")]
    of_y = skips[skips["location_id"] == "Y"].set_index("view")["reason"]
    assert "y a.jpg" in of_y["a"]
    assert "y b.jpg" in of_y["b"]
    near = pd.DataFrame({"location_id": ["P"], "lat": [51.5], "lon": [0.0]})
    table = pd.DataFrame({"path": ["one.jpg", "off.jpg"], "lat": 51.5, "lon": 0.0, "view": "a"})
    table.to_csv(tmp_path / "near.csv", index=False)
    _, skips = find_views(settings(tmp_path, manifest=tmp_path / "near.csv"), near)
    assert skips["reason"].str.contains("is not there: off.jpg").sum() == 1


def test_a_folder_with_nothing_but_a_damaged_archive_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "bad.tgz").write_bytes(b"this is not an archive")
    with pytest.raises(InputError, match=r"nothing here can be read: .*bad\.tgz"):
        find_views(settings(tmp_path / "bad.tgz"), ["X"])
    with pytest.raises(InputError, match=r"nothing here can be read: .*bad\.tgz"):
        find_views(settings(tmp_path, pattern="*.tgz/{location_id}_{view}.jpg"), ["X"])


def test_a_view_named_twice_in_a_manifest_is_refused_with_its_row(tmp_path: Path) -> None:
    touched(tmp_path, ["one.jpg", "two.jpg"])
    file = manifest(tmp_path, [("X", "a", "one.jpg"), ("X", "a", "two.jpg")])
    with pytest.raises(InputError, match=r"row 3: view 'a' of location 'X'.*first in row 2"):
        find_views(settings(tmp_path, manifest=file), ["X"])


@pytest.mark.parametrize("path", ["../one.jpg", "sub/../../one.jpg", "/etc/passwd"])
def test_a_manifest_never_leaves_the_folder(tmp_path: Path, path: str) -> None:
    touched(tmp_path, ["one.jpg", "inside/two.jpg"])
    file = manifest(tmp_path, [("X", "a", path)])
    with pytest.raises(InputError, match=r"row 2: .* leaves the folder"):
        find_views(settings(tmp_path / "inside", manifest=file), ["X"])


def test_a_manifest_without_a_column_or_a_value_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "views.csv"
    file.write_text("location_id,view,file\nX,a,one.jpg\n")
    with pytest.raises(InputError, match="there is no column 'path'"):
        find_views(settings(tmp_path, manifest=file), ["X"])
    file.write_text("location_id,view,path\nX,,one.jpg\n")
    with pytest.raises(InputError, match="row 2: column 'view' is empty"):
        find_views(settings(tmp_path, manifest=file), ["X"])


def test_a_pattern_without_its_fields_is_refused_by_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="lacks"):
        settings(tmp_path, pattern="{location_id}.jpg")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_not_utf_8_are_reported_and_hinder_no_table(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    touched(folder, ["X_a.jpg", "X_b.jpg"])
    try:
        (folder / os.fsdecode(b"\xff_a.jpg")).touch()
        (folder / os.fsdecode(b"caf\xe9")).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (folder / os.fsdecode(b"caf\xe9") / "Y_a.jpg").touch()
    views, skips = find_views(settings(folder, pattern="**/{location_id}_{view}.jpg"), ["X", "Y"])
    write_table(views, tmp_path / "views.parquet")
    write_table(skips, tmp_path / "skips.parquet")
    assert keys(views) == [("X", "a"), ("X", "b")]
    assert {row.reason for row in skips.itertuples()} == {
        r"the name of this file is not UTF-8: '\udcff_a.jpg'",
        r"the name of this folder is not UTF-8: 'caf\udce9'",
        "there is no image of this location",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
@pytest.mark.parametrize("pattern", ["{location_id}_{view}.jpg", "**/{location_id}_{view}.jpg"])
def test_a_pipe_is_reported_and_never_read(tmp_path: Path, pattern: str) -> None:
    touched(tmp_path, ["X_a.jpg"])
    os.mkfifo(tmp_path / "X_b.jpg")  # whoever opened it would wait for ever
    views, skips = find_views(settings(tmp_path, pattern=pattern), ["X"])
    assert keys(views) == [("X", "a")]
    assert any("a pipe" in reason and "X_b.jpg" in reason for reason in skips["reason"])


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_to_nothing_are_images_that_cannot_be_opened(tmp_path: Path) -> None:
    touched(tmp_path, ["X_a.jpg"])
    (tmp_path / "X_b.jpg").symlink_to("/there is/nothing")
    (tmp_path / "Y_a.jpg").symlink_to("Y_a.jpg")
    views, _ = find_views(settings(tmp_path, pattern="**/{location_id}_{view}.jpg"), ["X", "Y"])
    reasons = [str(raw) for raw in raw_images(image_sources(views.iloc[1:]))]
    assert keys(views) == [("X", "a"), ("X", "b"), ("Y", "a")]
    assert reasons[0] == "there is no such file"
    assert "symbolic links" in reasons[1]
