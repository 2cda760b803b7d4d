"""Panoramas cut into views: what a cut shows is known for every heading, pitch and angle."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streetgauge.imagery import (
    Cut,
    ImageError,
    cut_panorama,
    decode,
    decode_cuts,
    find_views,
    image_sources,
    raw_images,
)
from streetgauge.imagery.panoramas import Panorama, Sphere
from streetgauge.settings import ImagerySettings

Vector = tuple[float, float, float]


def direction(cut: Cut, row: float, column: float, own: float) -> Vector:
    """East, north and up of a pixel, by rotating a vector, one at a time."""
    focal = cut.size / 2 / math.tan(math.radians(cut.fov) / 2)
    right, up, ahead = column + 0.5 - cut.size / 2, cut.size / 2 - row - 0.5, focal
    p, h = math.radians(cut.pitch), math.radians(cut.heading)
    ahead, up = ahead * math.cos(p) - up * math.sin(p), ahead * math.sin(p) + up * math.cos(p)
    east = right * math.cos(h) + ahead * math.sin(h)
    north = ahead * math.cos(h) - right * math.sin(h)
    length = math.sqrt(east**2 + north**2 + up**2)
    return east / length, north / length, up / length


def by_brute_force(panorama: np.ndarray, cut: Cut, own: float) -> np.ndarray:
    """Bilinear samples, a pixel at a time, in plain Python."""
    height, width = panorama.shape[:2]
    out = np.zeros((cut.size, cut.size, 3))

    def pixel(row: int, column: int) -> np.ndarray:
        if not 0 <= row < height:  # over a pole, to the other side
            row, column = (-1 - row if row < 0 else 2 * height - 1 - row), column + width // 2
        return panorama[row, column % width].astype(float)

    for i in range(cut.size):
        for j in range(cut.size):
            east, north, up = direction(cut, i, j, own)
            heading = math.degrees(math.atan2(east, north)) - own
            x = ((heading + 180) % 360) / 360 * width - 0.5
            y = (90 - math.degrees(math.asin(max(-1, min(1, up))))) / 180 * height - 0.5
            left, top = math.floor(x), math.floor(y)
            a, b = x - left, y - top
            upper = (1 - a) * pixel(top, left) + a * pixel(top, left + 1)
            lower = (1 - a) * pixel(top + 1, left) + a * pixel(top + 1, left + 1)
            out[i, j] = (1 - b) * upper + b * lower
    return out


def compass(width: int = 512, own: float = 0.0) -> np.ndarray:
    """A panorama whose colour is its direction: red is east, green is north, blue is up."""
    heading = np.radians((np.arange(width) + 0.5) / width * 360 - 180 + own)
    up = np.radians(90 - (np.arange(width // 2) + 0.5) / (width // 2) * 180)
    east = np.cos(up)[:, None] * np.sin(heading)
    north = np.cos(up)[:, None] * np.cos(heading)
    high = np.broadcast_to(np.sin(up)[:, None], east.shape)
    return np.round(127.5 + 127.5 * np.dstack([east, north, high])).astype(np.uint8)


angles = st.floats(0, 360, exclude_max=True)


@given(
    heading=angles,
    own=st.one_of(angles, st.just(math.nan)),
    pitch=st.floats(-90, 90),
    fov=st.floats(20, 120),
    size=st.integers(8, 40),
    width=st.sampled_from([256, 512, 514, 1024]),
)
def test_a_cut_shows_the_direction_that_it_faces(
    heading: float, own: float, pitch: float, fov: float, size: int, width: int
) -> None:
    middle = 0.0 if math.isnan(own) else own
    cut = Cut(heading, own, pitch, fov, size)
    (view,) = cut_panorama(compass(width, middle), [cut])
    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8
    for row, column in ((0, 0), (0, size - 1), (size - 1, 0), (size // 2, size // 3)):
        known = 127.5 + 127.5 * np.array(direction(cut, row, column, middle))
        # One grey level is half a degree here; a cut of few pixels is a mean over wide ones.
        pixel = fov / size
        assert np.abs(view[row, column] - known).max() < 2 + 0.02 * pixel**2


@pytest.mark.parametrize(
    "cut",
    [
        Cut(0, 0, 0, 90, 48),
        Cut(90, 33.3, 0, 90, 48),
        Cut(359.9, 0.2, 20, 60, 40),
        Cut(180, 0, 0, 90, 48),  # over the panorama's seam
        Cut(10, 200, 90, 100, 40),  # straight up
        Cut(10, 200, -75, 120, 40),
    ],
)
def test_without_shrinking_a_cut_is_the_bilinear_mean_to_the_grey_level(cut: Cut) -> None:
    panorama = np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8)
    (view,) = cut_panorama(panorama, [cut])
    known = by_brute_force(panorama, cut, cut.panorama_heading)
    assert np.abs(view - known).max() <= 0.5 + 0.05  # float32 against float64


@pytest.mark.parametrize("heading", [0.0, 77.0, 180.0, 301.5])
@pytest.mark.parametrize("pitch", [0.0, -30.0, 60.0])
def test_a_cached_library_cuts_the_same(heading: float, pitch: float) -> None:
    py360convert = pytest.importorskip(
        "py360convert", reason="the library to compare with is not installed"
    )
    panorama = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    panorama = np.asarray(Image.fromarray(panorama).resize((512, 256), Image.Resampling.BICUBIC))
    size, fov = 160, 90.0
    (view,) = cut_panorama(panorama, [Cut(heading, 0.0, pitch, fov, size)])
    # There, the outermost pixels' middles lie on the image's edges: the same rays, another angle.
    theirs = math.degrees(2 * math.atan(math.tan(math.radians(fov / 2)) * (1 - 1 / size)))
    known = py360convert.e2p(panorama, theirs, (heading + 180) % 360 - 180, pitch, (size, size))
    apart = np.abs(view.astype(int) - known)
    # It places a panorama's pixels up to half a pixel away at the poles and the seam.
    assert np.quantile(apart, 0.99) <= 3
    assert apart.mean() < 1


@pytest.mark.parametrize("period", [2, 3, 4, 6])
@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_finer_than_a_pixel_turn_grey_and_not_to_moire(period: int, axis: int) -> None:
    height, width = 1024, 2048
    stripes = (np.arange((height, width)[axis]) % period < period / 2).astype(np.uint8) * 255
    plane = np.broadcast_to(stripes[:, None] if axis == 0 else stripes, (height, width))
    (view,) = cut_panorama(np.dstack([plane] * 3), [Cut(30, 0, 0, 90, 64)])
    inside = view[16:-16, 16:-16, 0].astype(float)
    # The panorama has 10 pixels for one of the cut: ideally, all that is left is their mean.
    # Samples alone would have a standard deviation of 64 and more (a mean of two, or of none).
    assert inside.std() < 16
    assert abs(inside.mean() - stripes.mean()) < 6


def test_a_large_panorama_and_its_half_give_the_same_small_cut() -> None:
    rng = np.random.default_rng(2)
    small = Image.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8))
    large = np.asarray(small.resize((2048, 1024), Image.Resampling.BICUBIC))
    half = np.asarray(small.resize((1024, 512), Image.Resampling.BICUBIC))
    cut = Cut(45, 10, 5, 80, 96)
    (one,), (other,) = cut_panorama(large, [cut]), cut_panorama(half, [cut])
    assert np.abs(one.astype(int) - other).max() <= 3


def test_neighbouring_cuts_join_and_headings_go_clockwise() -> None:
    panorama = compass(1024, own=40)
    cuts = cut_panorama(panorama, [Cut(heading, 40, 0, 90, 256) for heading in (0, 90, 180, 270)])
    for one, other in zip(cuts, cuts[1:] + cuts[:1], strict=True):
        assert np.abs(one[:, -1].astype(int) - other[:, 0]).max() <= 3
    north, east, south, west = (cut[128, 128].astype(int) for cut in cuts)
    assert north[1] > 250
    assert east[0] > 250
    assert south[1] < 5
    assert west[0] < 5


def test_what_is_not_the_whole_sphere_is_refused() -> None:
    with pytest.raises(ImageError, match="twice as wide as high, and this is 640 x 480"):
        cut_panorama(np.zeros((480, 640, 3), np.uint8), [Cut(0)])


def with_xmp(panorama: np.ndarray, text: str, exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(panorama).save(
        buffer, "JPEG", quality=95, subsampling=0, xmp=text.encode(), exif=exif or Image.Exif()
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        '<rdf:Description GPano:PoseHeadingDegrees="90.0"/>',
        "<GPano:PoseHeadingDegrees>90</GPano:PoseHeadingDegrees>",
        "<x GPano:PoseHeadingDegrees = '450'/>",
    ],
)
def test_a_panorama_s_own_note_of_its_heading_is_honoured(text: str) -> None:
    panorama = compass(512, own=90)
    raw = with_xmp(panorama, text)
    known = cut_panorama(panorama, [Cut(0, 90, 0, 90, 64)])[0]
    assert np.abs(decode(raw, Cut(0, math.nan, 0, 90, 64)).astype(int) - known).max() <= 3
    # The manifest goes before the file.
    given = cut_panorama(panorama, [Cut(0, 0, 0, 90, 64)])[0]
    assert np.abs(decode(raw, Cut(0, 0, 0, 90, 64)).astype(int) - given).max() <= 3


def test_a_panorama_s_compass_counts_where_nothing_else_has_its_heading() -> None:
    panorama = compass(512, own=90)
    exif = Image.Exif()
    exif[0x8825] = {16: "T", 17: 90.0}
    buffer = io.BytesIO()
    Image.fromarray(panorama).save(buffer, "JPEG", quality=95, exif=exif)
    cut = Cut(0, math.nan, 0, 90, 64)
    known = cut_panorama(panorama, [Cut(0, 90, 0, 90, 64)])[0]
    assert np.abs(decode(buffer.getvalue(), cut).astype(int) - known).max() <= 3
    # The panorama's own note goes before it.
    noted = with_xmp(panorama, '<x GPano:PoseHeadingDegrees="0"/>', exif)
    north = cut_panorama(panorama, [Cut(0, 0, 0, 90, 64)])[0]
    assert np.abs(decode(noted, cut).astype(int) - north).max() <= 3


SIZES = (
    "GPano:FullPanoWidthPixels='{}' GPano:FullPanoHeightPixels='{}' "
    "GPano:CroppedAreaImageWidthPixels='{}' GPano:CroppedAreaImageHeightPixels='{}' "
    "GPano:CroppedAreaLeftPixels='{}' GPano:CroppedAreaTopPixels='{}'"
)


@pytest.mark.parametrize(
    ("words", "heading"), [("90/1", 90), ("0,5", 0.5), ("1e1", 10), (" 45.5 ", 45.5)]
)
def test_a_heading_is_read_however_it_is_written(words: str, heading: float) -> None:
    panorama = compass(512, own=0)
    raw = with_xmp(panorama, f'<x GPano:PoseHeadingDegrees="{words}"/>')
    known = decode(raw, Cut(0, heading, 0, 90, 64))
    np.testing.assert_array_equal(decode(raw, Cut(0, math.nan, 0, 90, 64)), known)


@pytest.mark.parametrize("words", ["north", "9O", "1/0", "1,234,5", "12 deg"])
def test_a_heading_that_is_no_number_is_never_north(words: str) -> None:
    raw = with_xmp(compass(256), f'<x GPano:PoseHeadingDegrees="{words}"/>')
    (unknown, given) = decode_cuts(raw, [Cut(0, math.nan, 0, 90, 64), Cut(0, 0, 0, 90, 64)])
    assert isinstance(unknown, ImageError)
    assert unknown.reason == f"the panorama's heading is not a number: {words!r}"
    assert isinstance(given, np.ndarray)  # the manifest says it
    exif = Image.Exif()
    exif[0x8825] = {16: "T", 17: 90.0}
    compassed = with_xmp(compass(256), f'<x GPano:PoseHeadingDegrees="{words}"/>', exif)
    known = decode(compassed, Cut(0, 90, 0, 90, 64))
    np.testing.assert_array_equal(decode(compassed, Cut(0, math.nan, 0, 90, 64)), known)


@given(
    own=angles, pitch=st.floats(-60, 60), roll=st.floats(-180, 180), heading=angles,
    up=st.floats(-80, 80),
)  # fmt: skip
def test_a_camera_that_was_not_held_level_shows_the_world_upright(
    own: float, pitch: float, roll: float, heading: float, up: float
) -> None:
    # The world as a camera sees it that faces `own`, tips back by `pitch` and rolls clockwise.
    h, p, r = map(math.radians, (own, pitch, roll))
    front = np.array([math.sin(h) * math.cos(p), math.cos(h) * math.cos(p), math.sin(p)])
    level = np.array([math.cos(h), -math.sin(h), 0.0])
    above = np.cross(level, front)
    side = level * math.cos(r) - above * math.sin(r)
    above = above * math.cos(r) + level * math.sin(r)
    turn = ((np.arange(512) + 0.5) / 512 * 2 - 1) * math.pi
    high = (0.5 - (np.arange(256)[:, None] + 0.5) / 256) * math.pi
    east_north_up = (
        (np.cos(high) * np.sin(turn))[..., None] * side
        + (np.cos(high) * np.cos(turn))[..., None] * front
        + (np.sin(high) + 0 * turn)[..., None] * above
    )
    panorama = np.round(127.5 + 127.5 * east_north_up).astype(np.uint8)
    cut = Cut(heading, math.nan, up, 70, 24)
    view = Panorama(panorama, Sphere(own, pitch, roll)).cut(cut)
    for row, column in ((0, 0), (0, 23), (23, 0), (12, 8)):
        known = 127.5 + 127.5 * np.array(direction(cut, row, column, own))
        assert np.abs(view[row, column] - known).max() < 3


@pytest.mark.parametrize(
    ("left", "top", "width", "height", "shown"),
    [
        (0, 0, 1024, 512, "nesw"),
        (0, 64, 1024, 384, "nesw"),  # all around, 135 of 180 degrees high
        (256, 128, 512, 256, "n"),  # twice as wide as high by chance
        (256, 100, 768, 300, "ne"),  # 90 degrees to the left of north to 180 to the right
        (896, 128, 640, 256, "sw"),  # over the seam
        (0, 160, 1024, 192, ""),  # 67.5 degrees high
    ],
)
@pytest.mark.parametrize("scale", [1, 2])
def test_of_a_part_of_a_sphere_the_views_that_it_shows_are_cut(
    left: int, top: int, width: int, height: int, shown: str, scale: int
) -> None:
    whole = compass(1024)
    part = np.roll(whole, -left, axis=1)[top : top + height, :width]
    part = np.asarray(Image.fromarray(part).reduce(scale)) if scale > 1 else part
    raw = with_xmp(part, f"<x {SIZES.format(1024, 512, width, height, left, top)}/>")
    cuts = [Cut(heading, math.nan, 0, 90, 64) for heading in (0, 90, 180, 270)]
    for name, cut, view in zip("nesw", cuts, decode_cuts(raw, cuts), strict=True):
        if name in shown:
            known = cut_panorama(whole, [cut])[0].astype(int)
            assert np.abs(view - known).max() <= 4 * scale  # type: ignore[operator]
        else:
            assert isinstance(view, ImageError)
            assert view.reason == "the panorama does not show the whole of this view"


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ((1024, 512, 512, 256, 768, 300), "crop more than there is of a sphere"),
        ((1024, 400, 512, 256, 0, 0), "crop more than there is of a sphere"),
        ((1024, 512, 512, 400, 0, 0), "describe another image than 512 x 200"),
        ((1024, 512, 512, "many", 0, 0), "CroppedAreaImageHeightPixels is not a number: 'many'"),
        ((200_000, 100_000, 512, 200, 0, 0), "more than 100,000,000 pixels"),
    ],
)
def test_metadata_of_a_part_that_cannot_be_are_a_reason(
    sizes: tuple[object, ...], reason: str
) -> None:
    raw = with_xmp(compass(512)[:200], f"<x {SIZES.format(*sizes)}/>")
    with pytest.raises(ImageError, match=reason):
        decode(raw, Cut(0))


def views_of(file: Path, *headings: float) -> list[np.ndarray | str]:
    cuts = [Cut(heading, math.nan, 0, 90, 128) for heading in headings]
    views = decode_cuts(file.read_bytes(), cuts)
    return [view.reason if isinstance(view, ImageError) else view for view in views]


def test_the_odd_photo_spheres_are_cut_as_they_say(shared_cases: Path) -> None:
    folder = shared_cases / "pictures" / "gpano"
    whole = views_of(folder / "P0.jpg", 0, 90, 180, 270)
    absent = "the panorama does not show the whole of this view"
    north, *others = views_of(folder / "P1.jpg", 0, 90, 180, 270)
    assert others == [absent] * 3
    for view, known in [(north, whole[0]), *zip(views_of(folder / "P2.jpg", 0, 90), whole)]:  # noqa: B905
        # Saved once each as JPEG.
        assert np.abs(view.astype(int) - known).mean() < 2  # type: ignore[union-attr, operator]
    pixels = decode((folder / "P4.jpg").read_bytes())
    for name, sphere in {
        "P4.jpg": Sphere(90),
        "P6.jpg": Sphere(90, 20, 10),
        "P7.jpg": Sphere(0.5),
    }.items():
        pixels = decode((folder / name).read_bytes())
        known = Panorama(pixels, sphere).cut(Cut(90, math.nan, 0, 90, 128))
        np.testing.assert_array_equal(views_of(folder / name, 90)[0], known)
        assert (known != cut_panorama(pixels, [Cut(90, 0, 0, 90, 128)])[0]).any()


def test_views_of_one_file_are_the_same_together_and_alone() -> None:
    raw = with_xmp(compass(256), "")
    cuts = [Cut(h, math.nan, 0, 90, 64) for h in (0, 90)]
    together = decode_cuts(raw, [*cuts, None])
    for one, cut in zip(together, [*cuts, None], strict=True):
        np.testing.assert_array_equal(one, decode(raw, cut))


def test_panoramas_by_name_become_all_views(tmp_path: Path) -> None:
    for name in ("X", "Y"):
        (tmp_path / f"{name}.jpg").write_bytes(with_xmp(compass(256), ""))
    settings = ImagerySettings(
        folder=tmp_path, panoramas=True, views=("n", "e"), headings=(0.0, 90.0), size=64, pitch=5.0
    )
    views, skips = find_views(settings, ["Y", "X"])
    assert skips.empty
    assert views[["location_id", "view"]].to_numpy().tolist() == [
        ["X", "n"], ["X", "e"], ["Y", "n"], ["Y", "e"],
    ]  # fmt: skip
    rows = image_sources(views)
    assert rows[1].cut is not None
    assert rows[1].cut[0] == 90.0
    assert rows[1].cut[2:] == (5.0, 90.0, 64)
    raws = list(raw_images(rows))
    assert raws[0] is raws[1]
    east = decode(raws[1], rows[1].cut)  # type: ignore[arg-type]
    assert east[32, 32, 0] > 250


def test_the_real_panoramas_join_and_face_where_they_should(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "images/streetscapes"
    table = pd.read_csv(folder / "metadata.csv")
    table["path"] = table["uuid"] + ".jpg"
    table["location_id"] = table["uuid"]
    table["panorama"] = table["projection_type"] == "spherical"
    table[["path", "location_id", "heading", "panorama"]].to_parquet(tmp_path / "m.parquet")
    settings = ImagerySettings(folder=folder, manifest=tmp_path / "m.parquet", require="any")
    views, _ = find_views(settings, table["uuid"])
    cut = views[views["heading"].notna()]
    assert len(cut) == 36
    assert len(views) == 36 + 16
    headings = dict(zip(table["uuid"], table["heading"], strict=True))
    for location, group in cut.groupby("location_id"):
        rows = image_sources(group)
        images = [decode(raw, row.cut) for raw, row in zip(raw_images(rows), rows, strict=True)]  # type: ignore[arg-type]
        for one, other in zip(images, images[1:] + images[:1], strict=True):
            adjacent = np.abs(one[:, -1].astype(int) - other[:, 0]).mean()
            across = np.abs(one[:, -1].astype(int) - other[:, -1]).mean()
            assert adjacent < 10 < across
        # A view that looks where the panorama's middle does shows the panorama's middle.
        own = headings[str(location)]
        raw = (folder / f"{location}.jpg").read_bytes()
        whole = decode(raw)
        ahead = decode(raw, Cut(own, own, 0, 90, 325))
        middle = whole[256 - 8 : 256 + 8, 512 - 8 : 512 + 8].mean(axis=(0, 1))
        assert (
            np.abs(ahead[162 - 8 : 162 + 8, 162 - 8 : 162 + 8].mean(axis=(0, 1)) - middle).max() < 4
        )
