"""The sample city from files to a report, and what goes wrong with images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small city that was made once; tests copy it."""
    from streetgauge.synthetic import make_city

    place = tmp_path_factory.mktemp("made") / "city"
    make_city(place, seed=3, n_areas=20, n_locations=80, workers=1)
    return place


@pytest.fixture
def city(made: Path, tmp_path: Path) -> Path:
    """Give a city of one's own, with short training."""
    place = tmp_path / "city"
    shutil.copytree(made, place)
    file = place / "study.toml"
    kept = file.read_text(encoding="utf-8").split("[train]")[0]
    file.write_text(kept + "\n[train]\nensemble_size = 2\nepochs = 2\n", encoding="utf-8")
    return place


def test_a_model_of_one_city_predicts_the_pictures_of_another(
    run: Run, city: Path, tmp_path: Path
) -> None:
    code, out, err = run("run", city)
    assert code == 0, err
    assert "of the" in out
    skipped = pd.read_parquet(city / "skipped.parquet")
    spoilt = skipped[skipped["stage"] == "features"]
    with h5py.File(city / "features" / "efficientnet-lite0.h5") as store:
        ids = store["location_id"].asstr()[:]
        done = np.asarray(store["done"])
    locations = pd.read_parquet(city / "locations.parquet")
    # Every location has features or a reason why not; the sum is exact.
    assert set(ids[done]) | set(spoilt["location_id"]) == set(locations["location_id"])
    assert not set(ids[done]) & set(spoilt["location_id"])
    assert set(pd.read_parquet(city / "predictions.parquet")["location_id"]) == set(ids[done])

    places = tmp_path / "places.csv"
    locations[["location_id", "area"]].sample(frac=1, random_state=1).to_csv(places, index=False)
    out_of = tmp_path / "predicted"
    bundle = tmp_path / "bundle"
    assert run("export", city, "--out", bundle)[0] == 0
    pictures = city / "data" / "images"
    code, _, err = run(
        "predict", bundle, "--images", pictures, "--locations", places, "--out", out_of
    )
    assert code == 0, err
    predicted = pd.read_parquet(out_of / "predictions.parquet")
    assert set(predicted["location_id"]) == set(ids[done])
    areas = pd.read_parquet(out_of / "areas.parquet")
    assert areas["decile"].between(1, 10).all()


def test_features_are_those_of_the_location_s_own_pictures(run: Run, city: Path) -> None:
    """Break one location's image: its row stays empty, and no other row changes."""
    assert run("locations", city)[0] == 0
    assert run("features", city)[0] == 0
    file = city / "features" / "efficientnet-lite0.h5"
    with h5py.File(file) as store:
        before, done = np.asarray(store["features"]), np.asarray(store["done"])
        ids = store["location_id"].asstr()[:]
    broken = int(np.flatnonzero(done)[5])
    picture = city / "data" / "images" / f"{ids[broken]}_b.jpg"
    picture.write_bytes(picture.read_bytes()[:700])
    assert run("features", city)[0] == 0
    with h5py.File(file) as store:
        after, now = np.asarray(store["features"]), np.asarray(store["done"])
    assert done[broken]
    assert not now[broken]
    others = np.flatnonzero(done & (np.arange(len(ids)) != broken))
    np.testing.assert_allclose(after[others], before[others], rtol=1e-4, atol=1e-4)
    skipped = pd.read_parquet(city / "skipped.parquet")
    row = skipped[skipped["location_id"] == ids[broken]]
    assert row["view"].tolist() == ["b"]
    assert "damaged" in row["reason"].iloc[0]


def test_an_empty_folder_is_refused(run: Run, refuse: Callable[..., str], city: Path) -> None:
    for picture in (city / "data" / "images").iterdir():
        picture.unlink()
    assert "images" in refuse("check", city)
    assert run("locations", city)[0] == 0
    assert "images" in refuse("features", city)


def test_a_pattern_that_matches_nothing_shows_what_is_there(
    refuse: Callable[..., str], city: Path
) -> None:
    file = city / "study.toml"
    text = file.read_text(encoding="utf-8")
    assert "{location_id}_{view}.jpg" in text
    file.write_text(text.replace("{location_id}_{view}.jpg", "{location_id}-{view}.png"))
    sentence = refuse("check", city)
    assert sentence.count("_a.jpg") >= 1


def test_a_second_demo_is_up_to_date(run: Run, tmp_path: Path) -> None:
    words = ("demo", "--out", tmp_path / "d", "--areas", 20, "--locations", 80)
    assert run(*words)[0] == 0
    code, _, err = run(*words)
    assert code == 0
    assert err.count("up to date") == 6


def test_predictions_follow_the_pictures_not_their_names(
    run: Run, refuse: Callable[..., str], city: Path, tmp_path: Path
) -> None:
    assert run("run", city)[0] == 0
    places, out = tmp_path / "places.csv", tmp_path / "out"
    predictions = pd.read_parquet(city / "predictions.parquet")
    first, second = sorted(predictions["location_id"].unique())[:2]
    places.write_text(f"location_id,area\n{first},E1\n{second},\n", encoding="utf-16")
    pictures = city / "data" / "images"
    words = ("predict", city / "model" / "all", "--images", pictures)
    words = (*words, "--locations", places, "--out", out)

    def scores() -> dict[str, float]:
        assert run(*words)[0] == 0
        table = pd.read_parquet(out / "predictions.parquet")
        chosen = table[table["outcome"] == "income"]
        return dict(zip(chosen["location_id"], chosen["score"], strict=True))

    before = scores()
    assert pd.read_parquet(out / "areas.parquet")["area"].unique().tolist() == ["E1"]
    for view in "abcd":
        one, other = pictures / f"{first}_{view}.jpg", pictures / f"{second}_{view}.jpg"
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


def test_a_city_made_anew_has_no_pictures_of_the_one_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetgauge.cli.stages._run_study", lambda *_, **__: None)
    city = ("demo", "--out", tmp_path, "--areas", 20)
    own = tmp_path / "data" / "images" / "own.jpg"  # no sample city is there: nothing is removed
    own.parent.mkdir(parents=True)
    own.touch()
    assert run(*city, "--locations", 80)[0] == 0
    assert own.exists()
    for size in (100, 80):
        code, _, err = run(*city, "--locations", size, "--force")
        assert code == 0, err
    ids = set(pd.read_parquet(tmp_path / "data" / "oracle.parquet")["location_id"])
    shown = {path.name.rsplit("_", 1)[0] for path in (tmp_path / "data" / "images").iterdir()}
    assert shown <= ids
    assert len(ids) == 80
