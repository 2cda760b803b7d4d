"""The sample city from files to a report, and what goes wrong with images."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import streetgauge.synthetic

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.slow  # the first that needs the demo
def test_a_model_of_one_city_predicts_the_images_of_another(
    run: Run, demo: Path, tmp_path: Path
) -> None:
    code, out, err = run("run", demo)
    assert code == 0, err
    assert "of the" in out
    skipped = pd.read_parquet(demo / "skipped.parquet")
    spoilt = skipped[skipped["stage"] == "features"]
    with h5py.File(demo / "features" / "efficientnet-lite0.h5") as store:
        ids = store["location_id"].asstr()[:]
        done = np.asarray(store["done"])
    locations = pd.read_parquet(demo / "locations.parquet")
    # Every location has features or a reason why not; the sum is exact.
    assert set(ids[done]) | set(spoilt["location_id"]) == set(locations["location_id"])
    assert not set(ids[done]) & set(spoilt["location_id"])
    assert set(pd.read_parquet(demo / "predictions.parquet")["location_id"]) == set(ids[done])

    places = tmp_path / "places.csv"
    some = {*spoilt["location_id"], *locations["location_id"].sample(frac=0.25, random_state=1)}
    asked = locations[locations["location_id"].isin(some)].sample(frac=1, random_state=1)
    asked[["location_id", "area"]].to_csv(places, index=False)
    out_of = tmp_path / "predicted"
    bundle = tmp_path / "bundle"
    assert run("export", demo, "--out", bundle)[0] == 0
    images = demo / "data" / "images"
    code, _, err = run(
        "predict", bundle, "--images", images, "--locations", places, "--out", out_of
    )
    assert code == 0, err
    predicted = pd.read_parquet(out_of / "predictions.parquet")
    assert set(predicted["location_id"]) == set(ids[done]) & some
    areas = pd.read_parquet(out_of / "areas.parquet")
    assert areas["decile"].between(1, 10).all()


def test_features_are_those_of_the_location_s_own_images(run: Run, demo: Path) -> None:
    """Break one location's image: its row stays empty, and no other row changes."""
    file = demo / "features" / "efficientnet-lite0.h5"
    with h5py.File(file) as store:
        before, done = np.asarray(store["features"]), np.asarray(store["done"])
        ids = store["location_id"].asstr()[:]
    broken = int(np.flatnonzero(done)[5])
    image = demo / "data" / "images" / f"{ids[broken]}_b.jpg"
    image.write_bytes(image.read_bytes()[:700])
    assert run("features", demo)[0] == 0
    with h5py.File(file) as store:
        after, now = np.asarray(store["features"]), np.asarray(store["done"])
    assert done[broken]
    assert not now[broken]
    others = np.flatnonzero(done & (np.arange(len(ids)) != broken))
    np.testing.assert_allclose(after[others], before[others], rtol=1e-4, atol=1e-4)
    skipped = pd.read_parquet(demo / "skipped.parquet")
    row = skipped[skipped["location_id"] == ids[broken]]
    assert row["view"].tolist() == ["b"]
    assert "damaged" in row["reason"].iloc[0]


def test_an_empty_folder_is_refused(run: Run, refuse: Callable[..., str], demo: Path) -> None:
    for image in (demo / "data" / "images").iterdir():
        image.unlink()
    assert "images" in refuse("check", demo)
    assert run("locations", demo)[0] == 0
    assert "images" in refuse("features", demo)


def test_a_pattern_that_matches_nothing_shows_what_is_there(
    refuse: Callable[..., str], demo: Path
) -> None:
    file = demo / "study.toml"
    text = file.read_text(encoding="utf-8")
    assert "{location_id}_{view}.jpg" in text
    file.write_text(text.replace("{location_id}_{view}.jpg", "{location_id}-{view}.png"))
    sentence = refuse("check", demo)
    assert sentence.count("_a.jpg") >= 1


def test_a_second_demo_is_up_to_date(run: Run, demo: Path) -> None:
    code, _, err = run("demo", "--out", demo)
    assert code == 0
    assert err.count("up to date") == 6


def test_predictions_follow_the_images_not_their_names(
    run: Run, refuse: Callable[..., str], demo: Path, tmp_path: Path
) -> None:
    places, out = tmp_path / "places.csv", tmp_path / "out"
    predictions = pd.read_parquet(demo / "predictions.parquet")
    first, second = sorted(predictions["location_id"].unique())[:2]
    places.write_text(f"location_id,area\n{first},E1\n{second},\n", encoding="utf-16")
    images = demo / "data" / "images"
    words = ("predict", demo / "model" / "all", "--images", images)
    words = (*words, "--locations", places, "--out", out, "--force")

    def scores() -> dict[str, float]:
        assert run(*words)[0] == 0
        table = pd.read_parquet(out / "predictions.parquet")
        chosen = table[table["outcome"] == "income"]
        return dict(zip(chosen["location_id"], chosen["score"], strict=True))

    before = scores()
    assert pd.read_parquet(out / "areas.parquet")["area"].unique().tolist() == ["E1"]
    for view in "abcd":
        one, other = images / f"{first}_{view}.jpg", images / f"{second}_{view}.jpg"
        content = one.read_bytes(), other.read_bytes()
        one.write_bytes(content[1])
        other.write_bytes(content[0])
    places.write_text(f"location_id\n{first}\n{second}\n", encoding="utf-8")
    after = scores()
    assert after[first] == pytest.approx(before[second], abs=1e-4)
    assert after[second] == pytest.approx(before[first], abs=1e-4)
    assert not (out / "areas.parquet").exists()
    assert "lacks {view}" in refuse(*words, "--pattern", "{location_id}.jpg")
    places.write_text("")
    assert "places.csv" in refuse(*words)


def test_a_city_made_anew_has_no_images_of_the_one_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetgauge.cli.stages._run_study", lambda *_, **__: None)
    small = partial(streetgauge.synthetic.make_city, size=(48, 36))  # nobody looks at the images
    monkeypatch.setattr("streetgauge.synthetic.make_city", small)
    city = ("demo", "--out", tmp_path, "--areas", 20)
    own = tmp_path / "data" / "images" / "own.jpg"  # no sample city is there: nothing is removed
    own.parent.mkdir(parents=True)
    own.touch()
    assert run(*city, "--locations", 100)[0] == 0
    assert own.exists()
    code, _, err = run(*city, "--locations", 80, "--force")
    assert code == 0, err
    ids = set(pd.read_parquet(tmp_path / "data" / "oracle.parquet")["location_id"])
    shown = {path.name.rsplit("_", 1)[0] for path in (tmp_path / "data" / "images").iterdir()}
    assert shown <= ids
    assert len(ids) == 80


def test_the_demo_s_report_has_who_is_missing_and_misjudged_how_old_images_are_and_their_use(
    run: Run, demo: Path
) -> None:
    page = (demo / "report.html").read_text(encoding="utf-8")
    section = page.partition('<details id="people"')[2].partition("</section>")[0]
    for title in ("Areas without images", "The age of the images", "Groups of areas"):
        assert f"<h3>{title}</h3>" in section
    assert "<h3>Responsible use</h3>" in section
    dated = re.search(r"(\d+)% of \d+ images state when they were taken: from 201\d to 20", section)
    assert dated is not None
    assert int(dated[1]) >= 95  # a few images of the city are spoilt
    before = (demo / "age.json").stat().st_mtime_ns
    code, _, err = run("demo", "--out", demo)
    assert code == 0, err
    assert (demo / "age.json").stat().st_mtime_ns == before
    assert "report: up to date" in err
