"""Photographs that say themselves where they were taken and where they look."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from streetgauge.errors import InputError
from streetgauge.imagery import ImageError, find_views
from streetgauge.imagery.image_file import read_exif
from streetgauge.settings import ImagerySettings

GPS, DESCRIPTION = 0x8825, 270
HERE = pd.DataFrame({"location_id": ["X", "Y"], "lat": [51.5, 51.501], "lon": [-0.1, -0.1]})


def dms(angle: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    total = round(abs(angle) * 3600 * 10_000)
    degrees, rest = divmod(total, 3600 * 10_000)
    minutes, seconds = divmod(rest, 60 * 10_000)
    return IFDRational(degrees), IFDRational(minutes), IFDRational(seconds, 10_000)


def photograph(
    lat: float | None = None,
    lon: float | None = None,
    heading: float | None = None,
    *,
    kind: str = "JPEG",
    description: str | None = None,
    xmp: str | None = None,
    gps: dict[int, object] | None = None,
) -> bytes:
    exif = Image.Exif()
    if lat is not None and lon is not None:
        ifd: dict[int, object] = {}
        ifd[1], ifd[2] = "S" if lat < 0 else "N", dms(lat)
        ifd[3], ifd[4] = "W" if lon < 0 else "E", dms(lon)
        if heading is not None:
            ifd[16], ifd[17] = "T", IFDRational(round(heading * 100), 100)
        exif[GPS] = ifd
    if gps:
        exif[GPS] = gps
    if description is not None:
        exif[DESCRIPTION] = description
    buffer = io.BytesIO()
    extra = {} if xmp is None else {"xmp": xmp.encode()}
    Image.new("RGB", (32, 16)).save(buffer, kind, exif=exif, **extra)
    return buffer.getvalue()


@given(
    st.floats(-89.9, 89.9).filter(lambda a: abs(a) > 0.001),
    st.floats(-179.9, 179.9),
    st.floats(0, 359.9),
)
def test_coordinates_and_heading_come_back(lat: float, lon: float, heading: float) -> None:
    note = read_exif(io.BytesIO(photograph(lat, lon, heading)))
    assert note.lat == pytest.approx(lat, abs=1e-6)
    assert note.lon == pytest.approx(lon, abs=1e-6)
    assert note.heading == pytest.approx(heading, abs=0.01)
    assert not note.panorama


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_other_formats_say_it_too(kind: str) -> None:
    note = read_exif(io.BytesIO(photograph(-33.9, 151.2, 12, kind=kind)))
    assert (note.lat, note.lon) == (pytest.approx(-33.9), pytest.approx(151.2))
    assert note.heading == pytest.approx(12)


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {
            1: "N",
            2: (IFDRational(0), IFDRational(0), IFDRational(0)),
            3: "E",
            4: (IFDRational(0),) * 3,
        },
        {1: "N", 2: (IFDRational(1, 0),) * 3, 3: "E", 4: (IFDRational(1),) * 3},
        {
            1: "N",
            2: (IFDRational(91), IFDRational(0), IFDRational(0)),
            3: "E",
            4: (IFDRational(1),) * 3,
        },
        {3: "E", 4: (IFDRational(1),) * 3},
    ],
)
def test_a_position_that_is_none_is_none(gps: dict[int, object]) -> None:
    note = read_exif(io.BytesIO(photograph(gps=gps)))
    assert math.isnan(note.lat)
    assert math.isnan(note.lon)


@pytest.mark.parametrize(
    ("description", "heading"),
    [
        (json.dumps({"MAPCompassHeading": {"TrueHeading": 179.2, "MagneticHeading": 86.0}}), 179.2),
        ('{"MAPCompassHeading": {"TrueHeading": "north"}}', math.nan),
        ('{"MAPCompassHeading": 7}', math.nan),
        ("{" * 50_000, math.nan),
        ("a street", math.nan),
    ],
)
def test_the_description_of_mapillary_s_app_is_understood(description: str, heading: float) -> None:
    note = read_exif(io.BytesIO(photograph(51.5, -0.1, description=description)))
    assert note.heading == pytest.approx(heading, nan_ok=True)


def test_a_photo_sphere_is_known_as_one() -> None:
    text = '<x GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="270.5"/>'
    note = read_exif(io.BytesIO(photograph(51.5, -0.1, 10, xmp=text)))
    assert note.panorama
    assert note.heading == 270.5
    other = read_exif(io.BytesIO(photograph(51.5, -0.1, 10, xmp=text.replace("equirec", "cylind"))))
    assert not other.panorama
    assert other.heading == pytest.approx(10)


NO_HALF = "position unknown: the coordinates lack N or S, or E or W"
ANGLES = (IFDRational(36), IFDRational(48), IFDRational(0))


@pytest.mark.parametrize(
    "halves", [(None, "E"), ("N", None), ("\x01", "\x01"), ("X", "E"), ("E", "N")]
)
def test_without_the_half_of_the_earth_the_position_is_unknown(
    halves: tuple[str | None, str | None],
) -> None:
    gps: dict[int, object] = {2: ANGLES, 4: ANGLES}
    gps |= {tag: half for tag, half in zip((1, 3), halves, strict=True) if half is not None}
    info = read_exif(io.BytesIO(photograph(gps=gps)))
    assert math.isnan(info.lat)
    assert math.isnan(info.lon)
    assert info.why_not == NO_HALF


@pytest.mark.parametrize(
    ("latitude", "longitude", "known"),
    [
        ("36,48.2423S", "174,43.589E", (-36.8040383, 174.7264833)),
        ("36,48,30N", "0,6,0W", (36.8083333, -0.1)),
        ("36.5n", "12E", (36.5, 12.0)),
        ("36,48.2423", "174,43.589E", None),
        ("91,0.0N", "0,6,0W", None),
        ("N", "E", None),
    ],
)
def test_a_position_in_xmp_is_read(
    latitude: str, longitude: str, known: tuple[float, float] | None
) -> None:
    text = f'<x exif:GPSLatitude="{latitude}" exif:GPSLongitude="{longitude}"/>'
    info = read_exif(io.BytesIO(photograph(xmp=text)))
    if known is None:
        assert math.isnan(info.lat)
        assert math.isnan(info.lon)
        assert info.why_not == "the photograph has no coordinates"
    else:
        assert (info.lat, info.lon) == pytest.approx(known, abs=1e-6)
    # The camera's own EXIF goes before it.
    both = read_exif(io.BytesIO(photograph(1.5, 2.5, xmp=text)))
    assert (both.lat, both.lon) == pytest.approx((1.5, 2.5))


def test_the_odd_photographs_say_where_they_were_taken(shared_cases: Path) -> None:
    nan = math.nan
    lat, lon = -(36 + 48 / 60 + 14.54 / 3600), -(174 + 43 / 60 + 35.34 / 3600)
    known = {
        "plain": (lat, lon, 22, ""),
        "magnetic": (lat, lon, 22, ""),
        "dir_neg": (lat, lon, nan, ""),  # -10, which EXIF's unsigned numbers cannot hold
        "dir_zero_den": (lat, lon, nan, ""),
        "min_over60": (-(36 + 99 / 60), lon, 22, ""),
        "lat_sec_zero_den": (nan, nan, 22, "the photograph has no coordinates"),
        "ref_missing": (nan, nan, 22, NO_HALF),
        "ref_bytes_binary": (nan, nan, 22, NO_HALF),
        "xmp_gps_only": (-36.8040383, 174.7264833, 22, ""),
        "mapillary_desc_only": (-36.8, 174.7, 123, ""),
    }
    files = {file.stem: file for file in (shared_cases / "pictures" / "exif").glob("*.jpg")}
    assert files.keys() == known.keys()
    for name, file in files.items():
        with file.open("rb") as handle:
            info = read_exif(handle)
        assert info[:3] == pytest.approx(known[name][:3], abs=1e-6, nan_ok=True), name
        assert info.why_not == known[name][3]


def test_what_is_no_image_is_a_reason() -> None:
    with pytest.raises(ImageError, match="not an image"):
        read_exif(io.BytesIO(b"uuid,lat,lon\n"))


def test_photographs_go_to_the_nearest_location_and_the_nearest_view(tmp_path: Path) -> None:
    files = {
        "one.jpg": photograph(51.50001, -0.1, 350),  # X, north
        "sub/two.jpg": photograph(51.50099, -0.1, 100),  # Y, east
        "three.jpg": photograph(51.50101, -0.1, 85),  # Y, east, closer to 90 and as near
        "far.jpg": photograph(51.6, -0.1, 0),
        "nowhere.jpg": photograph(),
        "lost.jpg": photograph(51.5, -0.1),
        "notes.txt": b"notes",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.jpg").symlink_to("nothing.jpg")
    settings = ImagerySettings(folder=tmp_path, exif=True, require="any")
    views, skips = find_views(settings, HERE.sample(frac=1, random_state=1))
    assert views[["location_id", "view"]].to_numpy().tolist() == [["X", "a"], ["Y", "b"]]
    reported = "\n".join(skips["reason"].unique())
    for reason in (
        "no location lies within 25 m: far.jpg",
        "the photograph has no coordinates: nowhere.jpg",
        "the image has no heading: lost.jpg",
        "the file is not an image of a known format: notes.txt",
        "another image is closer to view 'b' of 'Y': ",
        "the file cannot be opened: No such file or directory: link.jpg",
    ):
        assert reason in reported


def test_of_a_view_there_is_one_row_whatever_other_images_there_are(tmp_path: Path) -> None:
    (tmp_path / "near.jpg").write_bytes(photograph(51.5, -0.1, 2)[:-8])  # of X, and broken
    (tmp_path / "next.jpg").write_bytes(photograph(51.50001, -0.1, 350))
    (tmp_path / "whole.jpg").write_bytes(photograph(51.501, -0.1, 0))  # of Y
    (tmp_path / "blind.jpg").write_bytes(photograph(51.501, -0.1))
    settings = ImagerySettings(folder=tmp_path, exif=True, require="any")
    _, skips = find_views(settings, HERE)
    rows = skips[["location_id", "view", "reason"]].to_numpy().tolist()
    assert [None, None, "another image is closer to view 'a' of 'X': next.jpg"] in rows
    reported = [(location, view) for location, view, _ in rows if location is not None]
    assert len(set(reported)) == len(reported)
    assert ("X", "a") not in reported  # that is for whoever reads the image to say


def test_ids_alone_do_not_say_where_locations_are(tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(photograph(51.5, -0.1, 0))
    with pytest.raises(InputError, match="have coordinates and the locations have none"):
        find_views(ImagerySettings(folder=tmp_path, exif=True), ["X"])


def test_real_geotagged_photographs_find_their_location(shared_data: Path) -> None:
    folder = shared_data / "images/lund"
    here = pd.DataFrame(
        {"location_id": ["street", "away"], "lat": [55.6982, 55.8], "lon": [13.1951, 13.2]}
    )
    settings = ImagerySettings(folder=folder, exif=True, within=150.0, require="any")
    views, skips = find_views(settings, here)
    assert set(views["location_id"]) == {"street"}
    assert len(views) >= 1
    # Each of the 29 photographs is a view, or there is a row that says why not.
    reported = skips["reason"].str.extract(r": (\d\d\.jpg)$")[0].dropna()
    used = views["path"].str[-6:]
    assert sorted([*reported, *used]) == [f"{i:02d}.jpg" for i in range(1, 30)]


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12), st.data())
def test_damaged_metadata_is_a_position_or_a_reason(
    damage: list[tuple[int, int]], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    content = bytearray(photograph(51.5, -0.1, 10, kind=kind, description="{}", xmp="GPano:x"))
    for position, value in damage:
        content[position % len(content)] = value
    try:
        note = read_exif(io.BytesIO(bytes(content)))
    except ImageError:
        return
    assert math.isnan(note.lat) or abs(note.lat) <= 90
    assert math.isnan(note.heading) or 0 <= note.heading < 360
