"""Images of open street imagery, from a service on this machine that answers as they do."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.errors import InputError
from streetgauge.imagery.open_street import collect_images, credits_of, probe
from streetgauge.imagery.services import Mapillary, Panoramax
from streetgauge.io.files import read_metadata
from streetgauge.settings import MapillaryImagery, OpenImagery, PanoramaxImagery

Street = Callable[..., Any]
METRE = 1 / 111_195  # degrees of latitude
HOME = (51.5, -0.1)


def spot(north: float, east: float) -> dict[str, float]:
    """Give a point so many metres from home."""
    lat, lon = HOME
    return {
        "lat": lat + north * METRE,
        "lon": lon + east * METRE / float(np.cos(np.radians(lat))),
    }


def image(name: str, north: float, east: float, heading: float, **more: Any) -> dict[str, Any]:
    return {"id": name, **spot(north, east), "heading": heading, **more}


def places(**where: tuple[float, float]) -> pd.DataFrame:
    return pd.DataFrame([{"location_id": name, **spot(*at)} for name, at in where.items()])


def mapillary(service: Any, **options: Any) -> MapillaryImagery:
    known = {"source": "mapillary", "endpoint": service.address, "requests_per_second": 100.0}
    return MapillaryImagery(**{**known, **options})


def panoramax(service: Any, **options: Any) -> PanoramaxImagery:
    known = {"source": "panoramax", "endpoint": f"{service.address}/api"}
    return PanoramaxImagery(**{**known, "requests_per_second": 100.0, **options})


def collect(
    settings: OpenImagery, where: pd.DataFrame, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    images, skips, _ = collect_images(settings, where, folder / "images", folder / "work")
    return images, skips


VIEWS = {"a": 0, "b": 90, "c": 180, "d": 270}
ROUND_HOME = [image(f"p{h}", 5, 5, h + 3, user=f"user{h}") for h in VIEWS.values()]


def chosen(images: pd.DataFrame) -> dict[tuple[str, str], str]:
    keys = zip(images["location_id"], images["view"], strict=True)
    return dict(zip(keys, images["image_id"], strict=True))


def test_each_view_takes_the_nearest_image_that_faces_its_way(
    street: Street, tmp_path: Path
) -> None:
    near_but_turned = image("turned", 1, 0, 45)  # 45 degrees from both neighbours
    far = image("far", 20, 0, 0)
    out = image("out", 31, 0, 90)
    service = street([*ROUND_HOME, near_but_turned, far, out])
    images, skips = collect(mapillary(service), places(A=(0, 0)), tmp_path)
    assert chosen(images) == {("A", v): f"p{h}" for v, h in VIEWS.items()}
    assert skips.empty
    assert images["distance_m"].to_numpy() == pytest.approx(50**0.5, abs=0.05)
    assert images["heading"].tolist() == [3, 93, 183, 273]
    assert not images["panorama"].any()
    for row in images.itertuples():
        with Image.open(tmp_path / "images" / row.path) as file:
            assert file.size == (96, 64)


def test_a_heading_just_west_of_north_is_close_to_north(street: Street, tmp_path: Path) -> None:
    service = street([image("n", 0, 1, 359.5)])
    images, _ = collect(mapillary(service, require="any"), places(A=(0, 0)), tmp_path)
    assert chosen(images) == {("A", "a"): "n"}


def test_the_nearest_panorama_gives_all_views(street: Street, tmp_path: Path) -> None:
    balls = [image("ball", 9, 0, 33, panorama=True), image("ball2", 12, 0, 1, panorama=True)]
    service = street([*ROUND_HOME, *balls])
    where = places(A=(0, 0))
    images, _ = collect(mapillary(service), where, tmp_path / "prefer")
    assert set(chosen(images).values()) == {"ball"}
    assert images["panorama"].all()
    assert images["heading"].tolist() == [33.0] * 4
    assert service.count("file") == 1
    flat, _ = collect(mapillary(service, panoramas="never"), where, tmp_path / "never")
    assert not flat["panorama"].any()
    service.images = service.images[:4]
    with pytest.raises(InputError, match="not one image"):
        collect(mapillary(service, panoramas="only"), where, tmp_path / "only")


def test_who_took_an_image_and_its_licence_are_recorded(street: Street, tmp_path: Path) -> None:
    service = street(ROUND_HOME)
    images, _ = collect(mapillary(service), places(A=(0, 0)), tmp_path)
    first = images.iloc[0]
    assert first["attribution"] == "user0, Mapillary"
    assert first["licence"] == "CC-BY-SA-4.0"
    assert first["licence_url"] == "https://creativecommons.org/licenses/by-sa/4.0/"
    assert first["source_url"] == "https://www.mapillary.com/app/?pKey=p0&focus=photo"
    assert first["captured_at"] == pd.Timestamp("2021-06-01T12:00Z")
    assert first["provider"] == "mapillary"
    credits = credits_of(images)
    assert [each["line"] for each in credits] == [
        "4 images by 4 contributors, Mapillary, CC-BY-SA-4.0"
    ]


def test_panoramax_images_have_their_own_licences_and_none_without(
    street: Street, tmp_path: Path
) -> None:
    closed = [
        image("closed", 0, 0, 0, licence="proprietary"),
        image("no", 0, 0, 0, licence=None),
    ]
    open_ = [image("ign", 3, 0, 10, licence="etalab-2.0"), image("osm", 4, 0, 180)]
    service = street([*closed, *open_], token=None)
    settings = panoramax(service, require="any")
    images, skips = collect(settings, places(A=(0, 0)), tmp_path)
    assert chosen(images) == {("A", "a"): "ign", ("A", "c"): "osm"}
    assert images["licence"].tolist() == ["etalab-2.0", "CC-BY-SA-4.0"]
    assert images["source_url"][0].endswith("/api/collections/c1/items/ign")
    assert images["attribution"][0] == "ada, Panoramax"
    assert sorted(skips["view"]) == ["b", "d"]
    assert not any("Authorization" in headers for _, _, headers in service.asked)


def test_a_panorama_of_panoramax_is_known_by_its_field_of_view(
    street: Street, tmp_path: Path
) -> None:
    service = street([image("ball", 0, 0, 200, panorama=True)])
    images, _ = collect(panoramax(service), places(A=(0, 0)), tmp_path)
    assert images["panorama"].all()
    assert len(images) == 4


def test_only_images_of_the_wanted_days_are_taken(street: Street, tmp_path: Path) -> None:
    days = ["2018-12-31T23:59:59Z", "2019-01-01T00:00:00Z", "2019-12-31T23:59:00Z"]
    days.append("2020-01-01T00:00:00Z")
    shown = [image(f"d{i}", 4 - i, 0, 0, taken=day) for i, day in enumerate(days)]
    service = street(shown)
    settings = mapillary(service, require="any", oldest="2019-01-01", newest="2019-12-31")
    images, _ = collect(settings, places(A=(0, 0)), tmp_path)
    assert chosen(images) == {("A", "a"): "d2"}
    search = service.asked[0][1]
    assert "start_captured_at=2019-01-01T00%3A00%3A00Z" in search
    assert "end_captured_at=2020-01-01T00%3A00%3A00Z" in search


def test_fisheye_images_are_left_alone(street: Street, tmp_path: Path) -> None:
    service = street([image("eye", 0, 0, 0, camera="fisheye"), image("flat", 9, 0, 0)])
    images, _ = collect(mapillary(service, require="any"), places(A=(0, 0)), tmp_path)
    assert chosen(images) == {("A", "a"): "flat"}


def test_every_location_is_there_or_skipped_with_its_reason(street: Street, tmp_path: Path) -> None:
    shown = [image("one", 500, 0, 0), image("lost", 1500, 0, 0), image("35m", 925, 925, 0)]
    service = street([*ROUND_HOME, *shown])
    service.gone = {"lost"}
    where = places(home=(0, 0), lonely=(500, 0), nowhere=(900, 900), gone=(1500, 0))
    where.loc[len(where)] = {"location_id": "unplaced", "lat": np.nan, "lon": np.nan}
    images, skips = collect(mapillary(service, require="any"), where, tmp_path)
    assert set(images["location_id"]) == {"home", "lonely"}
    reasons = skips.fillna({"view": ""}).set_index(["location_id", "view"])["reason"].to_dict()
    assert reasons["unplaced", ""] == "it has no coordinates"
    assert reasons["nowhere", ""] == "there is no open image within 30 m"
    words = "Unsupported get request. Object with ID '...' does not exist"
    assert reasons["gone", "a"] == f"the image is gone (HTTP 404: {words})"
    assert reasons["lonely", "b"] == "there is no open image within 30 m that faces this way"
    assert set(skips["stage"]) == {"images"}
    reported = set(images["location_id"]) | set(skips["location_id"])
    assert reported == set(where["location_id"])


def test_a_location_that_needs_all_views_costs_no_download_when_one_is_absent(
    street: Street, tmp_path: Path
) -> None:
    service = street([*ROUND_HOME, image("one", 500, 0, 0)])
    images, skips = collect(mapillary(service), places(A=(0, 0), B=(500, 0)), tmp_path)
    assert set(images["location_id"]) == {"A"}
    assert service.count("file") == 4
    assert skips["view"].tolist() == ["b", "c", "d"]
    assert skips["reason"].str.endswith("and all views are needed").all()


def test_a_crowded_square_is_searched_in_pieces_and_nothing_is_lost(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    crowd = [
        image(f"c{i}", *rng.uniform(-300, 300, 2), float(rng.uniform(0, 360))) for i in range(900)
    ]
    where = places(**{f"L{i}": tuple(rng.uniform(-250, 250, 2)) for i in range(12)})
    service = street(crowd)
    whole, _ = collect(mapillary(service, require="any"), where, tmp_path / "whole")
    monkeypatch.setattr(Mapillary, "most", 40)
    monkeypatch.setattr(Panoramax, "most", 40)
    service.asked.clear()
    pieces, _ = collect(mapillary(service, require="any"), where, tmp_path / "pieces")
    pd.testing.assert_frame_equal(whole, pieces)
    assert service.count("search") > 4
    other, _ = collect(panoramax(service, require="any"), where, tmp_path / "panoramax")
    assert chosen(other) == chosen(whole)


def test_the_order_of_locations_and_answers_makes_no_difference(
    street: Street, tmp_path: Path
) -> None:
    where = places(A=(0, 0), B=(8, 2), C=(2000, 0), D=(2003, 3))
    far = [image(f"q{h}", 2001, 1, h) for h in (0, 90, 180, 270)]
    service = street([*ROUND_HOME, *far])
    one, _ = collect(mapillary(service), where, tmp_path / "one")
    service.images.reverse()
    two, _ = collect(mapillary(service), where[::-1], tmp_path / "two")
    pd.testing.assert_frame_equal(one, two)
    assert len(one) == 16


def test_a_broken_download_is_never_taken_for_an_image(street: Street, tmp_path: Path) -> None:
    service = street(ROUND_HOME)
    service.cut_short.update({"p0": 2, "p180": 99})
    service.page_instead.update({"p90": 1, "p270": 99})
    settings = mapillary(service, require="any")
    images, skips = collect(settings, places(A=(0, 0)), tmp_path)
    assert chosen(images) == {("A", "a"): "p0", ("A", "b"): "p90"}
    for row in images.itertuples():
        content = (tmp_path / "images" / row.path).read_bytes()
        assert content == next(p for p in service.images if p.id == row.image_id).jpeg()
    reasons = dict(zip(skips["view"], skips["reason"], strict=True))
    assert "the download broke off (6 tries)" in reasons["c"]
    assert "not an image" in reasons["d"]
    assert len([p for p in (tmp_path / "images").rglob("*") if p.is_file()]) == 2


def test_a_busy_service_is_asked_again_after_the_time_it_wants(
    street: Street, tmp_path: Path
) -> None:
    service = street(ROUND_HOME, busy_headers={"Retry-After": "1"})
    service.busy.update({"search": 1, "file": 0})
    images, _ = collect(mapillary(service), places(A=(0, 0)), tmp_path)
    assert len(images) == 4
    assert service.times[1] - service.times[0] >= 1.0


def test_the_graph_api_s_own_way_to_say_busy_is_understood(street: Street, tmp_path: Path) -> None:
    limit = {"error": {"message": "Application request limit reached", "code": 4}}
    service = street(ROUND_HOME, busy_status=400, busy_body=limit, busy_headers={})
    service.busy.update({"search": 2, "ask": 1})
    images, _ = collect(mapillary(service), places(A=(0, 0)), tmp_path)
    assert len(images) == 4


def test_too_much_data_for_one_answer_is_asked_for_in_parts_at_once(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetgauge.io.http.FIRST_WAIT", 60.0)  # whoever waits never ends
    far = [image(f"q{h}", 600, 600, h) for h in VIEWS.values()]
    service = street([*ROUND_HOME, *far])
    wide, near = places(A=(0, 0), B=(600, 600)), places(A=(0, 0))
    whole, _ = collect(mapillary(service), wide, tmp_path / "whole")
    service.crowded = 0.002
    service.asked.clear()
    pieces, skips = collect(mapillary(service), wide, tmp_path / "pieces")
    pd.testing.assert_frame_equal(whole, pieces)
    assert skips.empty
    searches = [path for kind, path, _ in service.asked if kind == "search"]
    assert len(searches) == len(set(searches)), "no box is asked for twice"
    # What cannot be cut further is no empty street.
    service.crowded = 1e-9
    with pytest.raises(InputError, match="more images lie at one point than one answer holds"):
        collect(mapillary(service), near, tmp_path / "crowd")


def test_boxes_go_on_beyond_the_antimeridian(street: Street, tmp_path: Path) -> None:
    step = 9 * METRE / float(np.cos(np.radians(-17)))
    fiji = [
        {"id": f"f{h}", "lat": -17.0, "lon": 180 - step if h < 180 else step - 180, "heading": h}
        for h in VIEWS.values()
    ]
    service = street(fiji)
    here = [("E", 180 - step / 3), ("W", step / 3 - 180)]
    where = pd.DataFrame([{"location_id": name, "lat": -17.0, "lon": lon} for name, lon in here])
    for number, settings in enumerate((mapillary(service), panoramax(service))):
        images, skips = collect(settings, where, tmp_path / str(number))
        assert skips.empty
        assert chosen(images) == {(p, v): f"f{h}" for p in "EW" for v, h in VIEWS.items()}
        known = [6, 6, 12, 12, 12, 12, 6, 6]
        assert images["distance_m"].to_numpy() == pytest.approx(known, abs=0.1)
    for _, path, _ in service.asked:
        if "bbox=" in path:
            west, _, east, _ = map(float, re.search(r"bbox=([^&]*)", path)[1].split(","))  # type: ignore[index]
            assert -180 <= west < east <= 180


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("source", [mapillary, panoramax])
def test_an_address_that_has_expired_is_asked_for_anew(
    street: Street, tmp_path: Path, source: Callable[..., OpenImagery], status: int
) -> None:
    service = street(ROUND_HOME, expired_status=status)
    service.expired.update({"p0": 1, "p90": 2})
    settings, work = source(service, require="any"), (tmp_path / "images", tmp_path / "work")
    images, skips, retryable = collect_images(settings, places(A=(0, 0)), *work)
    assert chosen(images) == {("A", v): f"p{VIEWS[v]}" for v in "acd"}
    assert skips["reason"].tolist() == [
        f"the image could not be fetched: HTTP {status}: URL signature expired"
    ]
    assert retryable == 1
    files, searches = service.count("file"), service.count("search")
    images, skips, retryable = collect_images(settings, places(A=(0, 0)), *work)
    assert len(images) == 4
    assert skips.empty
    assert retryable == 0
    assert service.count("file") == files + 1
    assert service.count("search") == searches, "what was found is stored"


def test_an_image_that_panoramax_no_longer_has_is_gone(street: Street, tmp_path: Path) -> None:
    service = street(ROUND_HOME)
    service.gone = {"p90"}
    settings = panoramax(service, require="any")
    images, skips, retryable = collect_images(
        settings, places(A=(0, 0)), tmp_path / "images", tmp_path / "work"
    )
    assert len(images) == 3
    assert skips["reason"].tolist() == ["the image is gone"]
    assert retryable == 0


def test_a_service_that_wants_to_be_left_alone_is(street: Street, tmp_path: Path) -> None:
    service = street(ROUND_HOME, busy_headers={"Retry-After": "7200"})
    service.busy.update({"ask": 99})
    with pytest.raises(
        InputError, match=r"asks to wait for 120 minutes; run the same command later"
    ):
        collect(mapillary(service, requests_per_second=1.0), places(A=(0, 0)), tmp_path)
    assert service.count("ask") == 1


def test_a_service_that_is_down_stops_the_run_and_makes_no_skips(
    street: Street, tmp_path: Path
) -> None:
    many = [image(f"p{i}-{h}", 100 * i, 0, h) for i in range(5) for h in (0, 90, 180, 270)]
    where = places(**{f"L{i}": (100 * i, 0) for i in range(5)})
    service = street(many, busy_status=503, busy_headers={})
    service.busy.update({"file": 10**6})
    with pytest.raises(InputError, match=r"HTTP 503 \(6 tries\); run the same command later"):
        collect(mapillary(service), where, tmp_path)
    service.busy.clear()
    searches = service.count("search")
    images, skips = collect(mapillary(service), where, tmp_path)
    assert len(images) == 20
    assert skips.empty
    assert service.count("search") == searches, "what was found is stored"


def test_no_answer_at_all_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streetgauge.io.http.FIRST_WAIT", 0.01)
    settings = PanoramaxImagery(source="panoramax", endpoint="http://127.0.0.1:9/api")
    with pytest.raises(InputError, match=r"does not answer as it should: there is no answer"):
        probe(settings, places(A=(0, 0)))


def test_requests_are_no_faster_than_asked_for(street: Street, tmp_path: Path) -> None:
    service = street(ROUND_HOME)
    collect(mapillary(service, requests_per_second=20.0), places(A=(0, 0)), tmp_path)
    assert len(service.times) == 9
    assert service.times[-1] - service.times[0] >= 8 / 20 - 0.02
    assert all(headers["User-Agent"].startswith("streetgauge/") for _, _, headers in service.asked)


def test_the_token_goes_home_only(street: Street, tmp_path: Path) -> None:
    service, other = street(ROUND_HOME), street(ROUND_HOME)
    service.elsewhere = other.address
    images, _ = collect(mapillary(service), places(A=(0, 0)), tmp_path)
    assert len(images) == 4
    assert other.count("file") == 4
    assert all(secret not in f"{asked}" for asked in other.asked for secret in ("secret", "OAuth"))
    for kind, path, headers in service.asked:
        assert ("Authorization" in headers) == (kind != "file")
        assert "secret" not in path


def test_the_token_does_not_follow_a_redirection_to_another_server(street: Street) -> None:
    service, other = street(ROUND_HOME), street(ROUND_HOME)
    service.moved = other.address
    with pytest.raises(InputError, match="does not accept the token"):
        probe(mapillary(service), places(A=(0, 0)))
    assert other.count("search") == 1
    assert "Authorization" not in other.asked[0][2]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "environment variable MAPILLARY_TOKEN: there is no token in it"),
        ({"MAPILLARY_TOKEN": "two words-hush"}, "what it holds cannot be a token"),
        ({"MAPILLARY_TOKEN_FILE": "/no/such/file"}, "/no/such/file: the token cannot be read"),
        (
            {"MAPILLARY_TOKEN": "wrong-hush"},
            "Mapillary does not accept the token (HTTP 400): Invalid OAuth access token",
        ),
    ],
)
def test_a_token_that_is_absent_or_wrong_is_one_sentence(
    street: Street, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    service = street(ROUND_HOME)
    monkeypatch.delenv("MAPILLARY_TOKEN")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        probe(mapillary(service), places(A=(0, 0)))
    assert sentence in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_token_may_lie_in_a_file(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = street(ROUND_HOME)
    file = tmp_path / "token"
    file.write_text(os.environ["MAPILLARY_TOKEN"] + "\n")
    monkeypatch.delenv("MAPILLARY_TOKEN")
    monkeypatch.setenv("MAPILLARY_TOKEN_FILE", str(file))
    message = probe(mapillary(service), places(A=(0, 0)))
    assert message == "Mapillary answers and accepts the token; 1 locations in 1 squares to search"
    assert len(service.asked) == 1


def test_a_token_is_not_sent_over_plain_http_to_another_machine() -> None:
    os.environ.setdefault("MAPILLARY_TOKEN", "x")
    settings = MapillaryImagery(source="mapillary", endpoint="http://example.org")
    with pytest.raises(InputError, match="not sent over plain http"):
        Mapillary(settings)


@pytest.mark.parametrize(
    "row",
    [
        {"id": "../../etc/passwd", "heading": 0.0},
        {"id": "x" * 200, "heading": 0.0},
        {"id": "x", "heading": "north"},
        {"id": "x", "heading": float("nan")},
        {"id": "x", "heading": 0.0, "lat": 91.0},
    ],
)
def test_what_a_service_answers_amiss_is_not_used(
    street: Street, tmp_path: Path, row: dict[str, Any]
) -> None:
    service = street([{**spot(0, 0), **row}])
    service.inside = lambda query: service.images
    with pytest.raises(InputError, match="not one image"):
        collect(mapillary(service, require="any"), places(A=(0, 0)), tmp_path)
    assert not (tmp_path / "images").exists()


def test_an_image_s_address_that_is_a_file_of_this_machine_is_not_opened(
    street: Street, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (32, 32)).save(secret)
    service = street(ROUND_HOME)
    service.address, real = f"file://{secret}#", service.address
    settings = panoramax(service, require="any", endpoint=f"{real}/api")
    with pytest.raises(InputError, match="not one image") as caught:
        collect(settings, places(A=(0, 0)), tmp_path)
    assert "address is none of the web" in str(caught.value)


STUDY = """
[deciles]
classes = 2

[folds]
k = 2

[features]
source = "images"
batch = 8
engine = "torch"

[imagery]
source = "mapillary"
endpoint = "{endpoint}"
allow_hosts = ["127.0.0.1"]
requests_per_second = 100.0
require = "any"
"""


@pytest.fixture
def study(street: Street, grid_writer: Callable[..., Path], tmp_path: Path) -> tuple[Path, Any]:
    """Give a study of eight places, all but one with a panorama or four images near."""
    directory = grid_writer(tmp_path / "study", side=2, per_area=2)
    file = directory / "study.toml"
    table = pd.read_csv(directory / "places.csv")
    shown = []
    for number, row in enumerate(table.itertuples()):
        at = {"lat": row.lat + 9 * METRE, "lon": row.lon, "user": f"user{number % 3}"}
        if number < 4:
            shown.append({"id": f"ball{number}", **at, "heading": 20.0, "panorama": True})
        elif number < 7:
            shown += [{"id": f"n{number}-{h}", **at, "heading": h} for h in VIEWS.values()]
    service = street(shown)
    text = file.read_text().partition("[features]")[0] + STUDY.format(endpoint=service.address)
    file.write_text(text)
    return directory, service


def files_of(directory: Path) -> dict[str, str]:
    images = [*(directory / "images").rglob("*"), directory / "images.parquet"]
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in images
        if p.is_file()
    }


def test_a_study_is_run_from_its_locations_to_features(
    study: tuple[Path, Any], run: Callable[..., tuple[int, str, str]]
) -> None:
    directory, service = study
    code, _, err = run("check", directory)
    assert code == 0, err
    assert "Mapillary answers and accepts the token; 8 locations" in err
    assert len(service.asked) == 1
    assert re.search(r"coverage: 8 of 8 locations have coordinates, in \d of \d areas; how", err)
    for stage in ("outcomes", "locations", "images", "features"):
        code, _, message = run(stage, directory)
        assert code == 0, message
        err += message
    assert "1 location excluded: there is no open image within 30 m" in err
    images = pd.read_parquet(directory / "images.parquet")
    assert len(images) == 7 * 4
    skipped = pd.read_parquet(directory / "skipped.parquet")
    assert skipped["stage"].tolist() == ["images"], "reported once, with its reason"
    import h5py

    with h5py.File(directory / "features" / "efficientnet-lite0.h5") as store:
        assert store["done"][:].sum() == 7
        features = store["features"][store["done"][:]]
        ids = store["location_id"].asstr()[store["done"][:]]
    assert set(ids) == set(images["location_id"])
    assert (np.ptp(features, axis=1).max(axis=1) > 0.01).all(), "each view of its own"
    credits = read_metadata(directory / "images.parquet")["credits"]
    assert credits[0]["line"] == "16 images by 3 contributors, Mapillary, CC-BY-SA-4.0"
    for file in directory.rglob("*"):
        assert not file.is_file() or b"secret-of-a-user" not in file.read_bytes()
    assert not (directory / ".images").exists()
    err = run("check", directory)[2]
    assert "coverage: 7 of 8 locations have all 4 views" in err


def test_how_fast_it_is_asked_makes_nothing_out_of_date(
    study: tuple[Path, Any], run: Callable[..., tuple[int, str, str]]
) -> None:
    directory, service = study
    for stage in ("outcomes", "locations", "images"):
        assert run(stage, directory)[0] == 0
    asked, file = len(service.asked), directory / "study.toml"
    text = file.read_text()
    file.write_text(text.replace("requests_per_second = 100.0", "requests_per_second = 2.5"))
    assert "images: up to date" in run("images", directory)[2]
    assert "2.5" not in (directory / "run.json").read_text()
    assert len(service.asked) == asked
    next((directory / "images").rglob("ball0.jpg")).unlink()
    file.write_text(text)
    assert "up to date" not in run("images", directory)[2]
    fetched = [path for kind, path, _ in service.asked[asked:] if kind == "file"]
    assert [path.partition("?")[0] for path in fetched] == ["/file/ball0.jpg"]
    assert service.count("file") == 16 + 1


def test_images_that_may_be_had_later_are_tried_by_the_next_run(
    study: tuple[Path, Any], run: Callable[..., tuple[int, str, str]]
) -> None:
    directory, service = study
    service.expired.update({"n4-0": 2, "n5-90": 2})
    for stage in ("outcomes", "locations"):
        assert run(stage, directory)[0] == 0
    code, _, message = run("images", directory)
    assert code == 0
    assert "2 could not be had now: the next run asks again" in message
    assert "the image could not be fetched: HTTP 403: URL signature expired" in message
    assert "out of date" in run("info", directory)[1]
    # What lies downstream can go on without them.
    code, _, err = run("features", directory)
    assert code == 0, err
    files, searches = service.count("file"), service.count("search")
    assert "up to date" not in run("images", directory)[2]
    assert service.count("file") == files + 2
    assert service.count("search") == searches
    assert len(pd.read_parquet(directory / "images.parquet")) == 7 * 4
    assert not (directory / ".images").exists()
    assert "images: up to date" in run("images", directory)[2]


def test_a_study_with_images_of_its_own_collects_none(
    refuse: Callable[..., str], grid: Path
) -> None:
    assert 'set imagery.source = "mapillary" or "panoramax"' in refuse("images", grid)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_files(
    study: tuple[Path, Any], run: Callable[..., tuple[int, str, str]]
) -> None:
    directory, service = study
    for stage in ("outcomes", "locations", "images"):
        assert run(stage, directory)[0] == 0
    whole = files_of(directory)
    images = sum(name.endswith(".jpg") for name in whole)
    shutil.rmtree(directory / "images")
    (directory / "images.parquet").unlink()
    service.delay, asked = 0.05, service.count("file")
    command = [sys.executable, "-m", "streetgauge", "images", "-q", str(directory)]
    for killed in (2, 6, 11):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while len(list((directory / "images").rglob("*.jpg"))) < killed:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (directory / "images" / "mapillary" / "l0").mkdir(exist_ok=True)
    (directory / "images" / "mapillary" / "l0" / ".ball0.1.tmp.jpg").write_bytes(b"half")
    assert run("images", directory)[0] == 0
    assert files_of(directory) == whole
    assert service.count("file") - asked <= images + 3 * 8, "what was there was not fetched again"


def test_images_on_a_full_disk_end_in_one_sentence_and_what_was_fetched_stays(
    study: tuple[Path, Any], small_disk: Any, run: Callable[..., tuple[int, str, str]]
) -> None:
    directory = Path(shutil.copytree(study[0], small_disk.place / "study"))
    for stage in ("outcomes", "locations"):
        assert run(stage, directory)[0] == 0
    small_disk.fill(40 << 10)
    small_disk.refuse(directory, "images", directory)
    assert not (directory / "images.parquet").exists()
    assert files_of(directory)
    assert not [*(directory / "images").rglob(".*")]
    (small_disk.place / "filler").unlink()
    assert run("images", directory)[0] == 0


def test_the_guide_s_settings_can_be_used() -> None:
    from pydantic import TypeAdapter

    from streetgauge.settings import ImagerySettings, ImagerySource

    guide = Path(__file__).parents[2] / "docs" / "open-imagery.md"
    blocks = re.findall(r"^```toml\n(.*?)^```", guide.read_text("utf-8"), re.M | re.S)
    read = [TypeAdapter(ImagerySource).validate_python(tomllib.loads(b)["imagery"]) for b in blocks]
    assert [type(each) for each in read] == [ImagerySettings, MapillaryImagery]


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ('source = "google"', ["imagery: source = 'google' is not allowed", "'mapillary'"]),
        ('token = "MLY|hush"', ["a token does not belong into study.toml", "token_variable"]),
        ('endpoint = "https://x/?access_token=hush"', ["imagery.endpoint: it holds more than"]),
        ('token_variable = "MLY|hush"', ["imagery.token_variable: a token does not belong"]),
        ("within = 501.0", ["imagery.within"]),
        ("headings = [0.0]", ["1 headings for 4 views"]),
        ("oldest = 2020-01-02\nnewest = 2020-01-01", ["oldest = 2020-01-02 is after"]),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(
    grid: Path, given: str, parts: list[str]
) -> None:
    from streetgauge.settings import read_settings

    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    source = "" if "source" in given else 'source = "mapillary"\n'
    file.write_text(f"{text}[imagery]\n{source}{given}\n")
    with pytest.raises(InputError) as caught:
        read_settings(file)
    for part in parts:
        assert part in str(caught.value)
    assert "hush" not in str(caught.value)
