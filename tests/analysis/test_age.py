"""When images were taken, and what that does to errors."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.analysis.age import area_years, error_by_age, over_time
from streetgauge.errors import InputError
from streetgauge.evaluation.concepts import Draws
from streetgauge.imagery import capture_dates, find_views
from streetgauge.imagery.image_file import read_captured
from streetgauge.pipeline.age import study_age
from streetgauge.report.text import age_sentences, percent
from streetgauge.settings import ImagerySettings
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


def photograph(day: str = "", *, written: str = "", gps: str = "", about: str = "") -> bytes:
    exif = Image.Exif()
    if day:
        exif.get_ifd(0x8769)[36867] = day
    if written:
        exif[306] = written
    if gps:
        exif.get_ifd(0x8825)[29] = gps
    if about:
        exif[270] = about
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG", exif=exif)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "day"),
    [
        (photograph("2019:05:31 10:20:30"), "2019-05-31"),
        (photograph(gps="2017:01:02"), "2017-01-02"),
        (photograph("2019:05:31 10:20:30", gps="2017:01:02"), "2019-05-31"),
        (photograph(about='{"MAPCaptureTime": "2015_07_08_09_10_11_123"}'), "2015-07-08"),
        (photograph("0000:00:00 00:00:00"), ""),
        (photograph("2019:02:30 10:20:30"), ""),  # there is no such day
        (photograph(written="2021:01:01 00:00:00"), ""),  # when the file was written
        (photograph(), ""),
    ],
)
def test_the_day_of_a_photograph_is_the_one_that_its_camera_wrote(content: bytes, day: str) -> None:
    assert read_captured(io.BytesIO(content)) == day


def days_of(settings: ImagerySettings) -> dict[str, str]:
    found = capture_dates(settings, find_views(settings, ["a", "b", "c"])[0])
    return {location: str(day)[:10] for (location, _), day in found.items()}


def test_days_come_from_files_archives_and_manifests(tmp_path: Path) -> None:
    folder, archive = tmp_path / "images", tmp_path / "images.tar"
    folder.mkdir()
    days = {"a": "2019:05:31 10:20:30", "b": "", "c": "2012:05:31 10:20:30"}
    for name, day in days.items():
        (folder / f"{name}_1.jpg").write_bytes(photograph(day))
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, ".")
    own = {"a": "2019-05-31", "b": "NaT", "c": "2012-05-31"}
    for place in (folder, archive):
        assert (
            days_of(ImagerySettings(folder=place, pattern="{location_id}_{view}.jpg", views=("1",)))
            == own
        )
    manifest = tmp_path / "manifest.csv"
    rows = ("a_1.jpg,a,1,2014-02-03T04:05:06Z", "b_1.jpg,b,1,2013-01-01", "c_1.jpg,c,1,")
    manifest.write_text("\n".join(("path,location_id,view,captured_at", *rows)) + "\n", "utf-8")
    stated = {"a": "2014-02-03", "b": "2013-01-01", "c": "2012-05-31"}  # an empty cell is none
    assert days_of(ImagerySettings(folder=folder, manifest=manifest, views=("1",))) == stated


def test_areas_have_the_median_and_spread_of_their_dated_images() -> None:
    days = ["2010-01-01", "2012-01-01", "2014-01-01", None, None]
    index = pd.MultiIndex.from_tuples([("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("c", "1")])
    area = pd.Series({"a": "E1", "b": "E1", "c": "E2"})
    found = area_years(pd.Series(pd.to_datetime(days), index), area)
    assert found["n_images"].to_dict() == {"E1": 4, "E2": 1}
    assert found["n_dated"].to_dict() == {"E1": 3, "E2": 0}
    assert found.loc["E1", "median"] == pytest.approx(2012.0)
    assert found.loc["E1", "spread"] == pytest.approx(2.0, abs=0.01)
    assert np.isnan(found.loc["E2", "median"])


def one(seed: int, per_5_years: float) -> dict[str, object]:
    """Errors of 300 areas whose images are up to nine years from the statistic."""
    rng = np.random.default_rng(seed)
    areas = [f"a{i:03d}" for i in range(300)]
    years = pd.Series(rng.uniform(2008, 2020, 300), areas)
    size = np.abs(rng.normal(0, 2, 300)) + per_5_years * (years - 2011).abs() / 5
    return error_by_age(size * rng.choice([-1, 1], 300), years, 2011.0)


def test_age_that_does_nothing_raises_at_most_ten_alarms_in_a_hundred() -> None:
    found = [one(seed, 0.0) for seed in range(100)]
    assert sum(each["p"] <= 0.05 for each in found) <= 10


def test_a_class_of_error_per_five_years_is_found_and_its_interval_holds_it() -> None:
    found = [one(seed, 1.0) for seed in range(100)]
    assert sum(each["p"] <= 0.05 for each in found) >= 80
    held = [each["per_5_years"]["low"] <= 1 <= each["per_5_years"]["high"] for each in found]
    assert 80 <= sum(held) <= 99  # of intervals of 90%


def test_images_of_one_time_cannot_show_what_age_does() -> None:
    years = pd.Series(2015.0, [f"a{i}" for i in range(40)])
    found = error_by_age(pd.Series(np.arange(40.0), years.index), years, 2011.0)
    assert (found["p"], found["gap"]) == (None, 4.0)


def over(kept: float) -> dict[str, object]:
    """Late images show the outcome by another feature, as far as ``kept`` is below 1."""
    rng = np.random.default_rng(1)
    areas = pd.Index([f"a{i:03d}" for i in range(200)])
    decile = pd.Series(rng.permutation(np.arange(200) % 10 + 1), areas)
    signal, noise = decile.to_numpy(float), rng.normal(0, 1, (3, 200))
    early = pd.DataFrame({"f0": signal + noise[0], "f1": noise[1] * 3}, areas)
    late = early.assign(f0=kept * signal + noise[2], f1=(1 - kept) * signal + noise[1])
    fold = pd.Series(np.arange(200) % 5 + 1, areas)
    frame = pd.DataFrame({"fold": fold, "actual_decile": decile})
    others = [
        pd.DataFrame({"fold": k, "area": areas[fold != k], "decile": decile[fold != k].to_numpy()})
        for k in range(1, 6)
    ]
    found = over_time(early, late, frame, pd.concat(others), draws=Draws(200))
    assert found is not None
    assert found["n_areas"] == 200
    return found


def test_a_model_of_early_images_loses_where_what_is_seen_has_changed_and_only_there() -> None:
    same, changed = over(kept=1.0)["mae"], over(kept=0.0)["mae"]
    assert same["difference"]["low"] <= 0.1
    assert same["early"]["value"] < 1.2
    assert changed["difference"]["low"] > 0.5
    assert changed["late"]["value"] < changed["early"]["value"] - 1


def test_areas_with_images_of_one_time_only_are_not_tested_over_time() -> None:
    early = pd.DataFrame({"f0": [1.0, 2.0]}, ["a", "b"])
    frame = pd.DataFrame({"fold": [1, 2], "actual_decile": [1, 2]}, ["a", "b"])
    nobody = pd.DataFrame({"fold": [], "area": [], "decile": []})
    assert over_time(early, early.rename({"a": "c", "b": "d"}), frame, nobody) is None


def test_a_study_tells_when_its_images_were_taken_and_one_of_a_table_is_refused(
    demo: Path, finished: Path, run: Run, refuse: Refuse
) -> None:
    assert "source = 'table' has no images with dates" in refuse("age", finished)
    images = sorted((demo / "data" / "images").rglob("*.jpg"))
    for file in images:
        try:
            with Image.open(file) as image:
                image.load()
                image.save(file)  # without the day that it had
        except OSError:
            file.write_bytes(b"damaged")
    with pytest.raises(InputError, match="no image states when it was taken"):
        study_age(Study.open(demo))
    for i, file in enumerate(images):
        exif = Image.Exif()
        if i % 10:
            exif.get_ifd(0x8769)[36867] = f"{2010 + i % 10}:06:01 12:00:00"
        with suppress(OSError), Image.open(file) as image:  # some are damaged
            image.load()
            image.save(file, exif=exif)
    found = study_age(Study.open(demo))
    assert json.loads((demo / "age.json").read_text("utf-8")) == found
    assert (found["first"], found["median"], found["last"]) == (2011, 2015, 2019)
    assert found["n_dated"] / found["n_images"] == pytest.approx(0.9, abs=0.01)
    assert sum(each["n_images"] for each in found["areas"].values()) == found["n_images"]
    tested = [each["over_time"] for each in found["outcomes"].values()]
    assert all(each["mae"]["early"]["value"] > 0 for each in tested)
    text = " ".join(age_sentences(found))
    assert f"{percent(found['n_dated'] / found['n_images'])} of" in text  # some are damaged
    assert "from 2011 to 2019, half of them before 2016." in text


def test_a_gap_of_a_year_between_images_and_statistic_is_stated_and_a_smaller_one_is_not() -> None:
    about = {
        **{
            "n_dated": 10,
            "n_images": 10,
            "first": 2012,
            "last": 2018,
            "median": 2015,
            "year": 2015,
        },
        "outcomes": {
            name: {
                "gap": gap,
                "vintage": 2011.5,
                "is_related": False,
                "over_time": None,
                "per_5_years": {},
            }
            for name, gap in {"income": 3.46, "health": -1.0, "crime": 0.9, "age": None}.items()
        },
    }
    text = " ".join(age_sentences(about, {"income": "Income"}))
    assert "images are 3.5 years later than the statistic, for Income." in text
    assert "images are 1.0 years earlier than the statistic, for health." in text
    assert "crime" not in text
