"""Every way to split locations goes from settings to a report that says how areas were held out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from small_worlds import add_columns, leave_out_illness
from streetgauge.evaluation import EvaluationInputs, evaluate
from streetgauge.features import FeatureStore
from streetgauge.io.files import write_table
from streetgauge.model import Bundle
from streetgauge.model.bundle import area_hashes
from streetgauge.pipeline import areas as areas_stage
from streetgauge.settings import EvaluationSettings

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]

SIDE = 6  # areas, squares of 500 m; wards are two columns of them


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, grid_writer: Callable[..., Path]) -> Path:
    """Give a study of 36 areas in 3 wards, not run."""
    place = grid_writer(tmp_path_factory.mktemp("schemes") / "world", side=SIDE, per_area=4)
    add_columns(place, ward=[f"W{i % SIDE // 2}" for i in range(SIDE**2)])
    return place


@pytest.fixture
def study(world: Path, tmp_path: Path) -> Callable[..., Path]:
    """Give a function that makes a study of that world with other folds."""

    def make(
        folds: str,
        *,
        name: str = "study",
        epochs: int = 3,
        members: int = 2,
        other: bool = False,
        more: str = "",
    ) -> Path:
        place = tmp_path / name
        shutil.copytree(world, place)
        file = place / "study.toml"
        text = file.read_text(encoding="utf-8")
        other_folds = f"other_folds = {str(other).lower()}"
        text = text.replace("[folds]\nk = 3\n", f"[folds]\n{folds}\n{other_folds}\n")
        text = text.replace("ensemble_size = 2", f"ensemble_size = {members}")
        text = text.replace("epochs = 5", f"epochs = {epochs}") + more
        file.write_text(text, encoding="utf-8")
        return place

    return make


def figures(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_a_network_is_tested_by_every_scheme_and_the_report_says_how(
    run: Run, study: Callable[..., Path]
) -> None:
    for name, folds, words, areas in (
        ("k", "k = 3", "3-fold cross-validation by area", 36),
        (
            "blocks",
            'scheme = "blocks"\nblock = 1000.0\nk = 3',
            "spatial block cross-validation (1 km, ",
            36,
        ),
        ("ward", 'k = 3\nunit = "ward"', "3-fold cross-validation by ward", 36),
        (
            "group",
            'scheme = "leave-one-group-out"\ngroup = "ward"',
            "leave-one-ward-out cross-validation",
            36,
        ),
        ("buffer", "k = 3\nbuffer = 100.0", "with a buffer of 100 m", 36),
        ("size", "k = 3\ntrain_size = 0.5", "trained on 50% of the other areas", 36),
        ("tvt", 'scheme = "train-validation-test"', "one random test set (20%, by area)", 7),
        ("class", 'scheme = "by-class"\noutcome = "income"\nclasses = [1, 10]', "1 and 10 of", 8),
    ):
        other = name in ("ward", "buffer")
        more = "\n[evaluation]\ndraws = 200\n"
        place = study(folds + "\nfinal = false", name=name, epochs=1, other=other, more=more)
        if name != "k":  # both outcomes go the same way
            leave_out_illness(place)
        code, out, err = run("run", place)
        assert code == 0, err
        metrics = figures(place)
        assert words in metrics["scheme"]["description"]
        assert metrics["scheme"]["description"][:20] in out
        assert "CAUTION" not in out
        report = (place / "report.html").read_text(encoding="utf-8")
        if name == "k":  # one epoch is not enough for a network
            clearly = "The study’s learner (network) errs clearly more on images than ridge"
            assert f"NOTE: {clearly}" in out
            assert f"{clearly} regression (linear), by" in report
            assert "clearly" in run("run", place, "-q")[1]
        assert metrics["scheme"]["description"][1:] in report
        assert "each area predicted by a model that was not trained on it" in report
        assert metrics["areas_tested"] == areas
        for account in metrics["outcomes"].values():
            assert account["n_areas"] == areas
            assert account["n_areas_training_only"] == (36 - areas)
            assert set(account["baselines"]) == {"constant", "random", "nearest-areas", "kriging"}
            assert account["gain"]["mae"]["value"] is not None
        skipped = pd.read_parquet(place / "skipped.parquet")
        assert skipped.empty  # what was trained on was not excluded
        assert ("never tested" in report) == (areas < 36)


def test_one_part_alone_takes_its_intervals_from_what_was_held_aside(
    run: Run, study: Callable[..., Path]
) -> None:
    place = study('scheme = "train-validation-test"\ntest = 0.3\nfinal = false', epochs=3)
    assert run("run", place)[0] == 0
    calibration = pd.read_parquet(place / "model" / "calibration.parquet")
    areas = pd.read_parquet(place / "areas.parquet")
    assert not set(calibration["area"]) & set(areas["area"])
    assert list(calibration) == ["location_id", "area", "outcome", "score", "actual_decile"]
    assert ((areas["low"] > 1) | (areas["high"] < 10)).any()
    assert (areas["low"] <= areas["decile"]).all()
    assert (areas["decile"] <= areas["high"]).all()
    report = (place / "report.html").read_text(encoding="utf-8")
    assert "as wide as the scale" not in report


def test_of_classes_that_are_tested_alone_as_many_are_predicted_as_there_are(
    run: Run, study: Callable[..., Path]
) -> None:
    place = study('scheme = "by-class"\noutcome = "income"\nclasses = [1, 10]', epochs=6)
    assert run("run", place)[0] == 0
    areas = pd.read_parquet(place / "areas.parquet")
    income = areas[areas["outcome"] == "income"]
    assert income["decile"].value_counts().to_dict() == {1: 4, 10: 4}
    middle = figures(place)["outcomes"]["income"]["baselines"]["constant"]["mae"]
    assert middle == 4.5  # it knows classes 2 to 9 only


def test_baselines_in_k_folds_know_the_other_folds_and_nothing_else(
    finished_once: Path,
) -> None:
    from streetgauge.evaluation import area_coordinates, location_means
    from streetgauge.evaluation.baselines import Baselines
    from streetgauge.locations import read_areas
    from streetgauge.study import Study

    place = finished_once
    settings = Study.open(place).settings
    boundaries = read_areas(settings.areas, settings.locations)
    coordinates = area_coordinates(boundaries)
    predicted = set(pd.read_parquet(place / "predictions.parquet")["location_id"])
    locations = pd.read_parquet(place / "locations.parquet")
    used = locations[locations["location_id"].isin(predicted)]
    alone = evaluate(
        pd.read_parquet(place / "areas.parquet"),
        EvaluationSettings(),
        seed=settings.seed,
        inputs=EvaluationInputs(coordinates),
        baselines=Baselines(
            coordinates, location_means=location_means(boundaries, used), seed=settings.seed
        ),
    )
    for name, account in figures(place)["outcomes"].items():
        assert sum(account["placement"].values()) == figures(place)["folds"]
        for key in ("metrics", "baselines", "gain", "intervals", "placement"):
            assert account[key] == alone["outcomes"][name][key]


def test_where_nothing_is_tested_the_tables_are_empty_and_the_report_says_so(
    run: Run, study: Callable[..., Path], finished_once: Path, tmp_path: Path
) -> None:
    place = study('scheme = "train-only"')
    code, out, err = run("run", place)
    assert code == 0, err
    assert "nothing was tested" in out
    assert "streetgauge export" in out
    assert "streetgauge predict" in out
    for name in ("predictions.parquet", "areas.parquet"):
        frame = pd.read_parquet(place / name)
        assert frame.empty
        expected = pd.read_parquet(finished_once / name).dtypes
        pd.testing.assert_series_equal(frame.dtypes, expected)
    metrics = figures(place)
    assert (metrics["outcomes"], metrics["areas_tested"], metrics["folds"]) == ({}, 0, 0)
    assert metrics["scheme"]["description"] == "nothing tested"
    report = (place / "report.html").read_text(encoding="utf-8")
    assert "Nothing was tested" in report
    assert "<canvas" not in report
    assert "<script" not in report
    assert not (place / "areas.gpkg").exists()
    assert pd.read_parquet(place / "skipped.parquet").empty
    assert "up to date" in run("run", place)[2]

    code, out, err = run("export", place, "--out", tmp_path / "bundle")
    assert code == 0, err
    assert "nothing was tested" in out
    assert Bundle.load(tmp_path / "bundle").training is not None


def test_without_a_validation_part_all_epochs_are_gone_through(
    run: Run, study: Callable[..., Path]
) -> None:
    more = 'network = "port-2020"\npatience = 1\nlearning_rate = 0.01\n'
    place = study('scheme = "train-test"', epochs=12, members=1, more=more)
    assert run("run", place)[0] == 0
    history = pd.read_json(place / "model" / "history.jsonl", lines=True)
    assert history.groupby(["split", "outcome"])["epoch"].max().eq(12).all()
    for part in ("train", "all"):
        bundle = Bundle.load(place / "model" / part)
        assert bundle.training is not None
        assert bundle.training.best_epoch == [12, 12]
        assert bundle.training.validation_areas == 0
        assert bundle.training.validation_loss == [None, None]
        assert bundle.model.calibration[:, 1].tolist() == [1, 1]
        card = (place / "model" / part / "README.md").read_text(encoding="utf-8")
        assert "No areas were set apart" in card
        assert "patience" not in card
    rho = [each["metrics"]["spearman"]["value"] for each in figures(place)["outcomes"].values()]
    assert min(rho) > 0.5


def test_members_set_their_own_parts_apart_where_there_is_none(
    run: Run, study: Callable[..., Path]
) -> None:
    more = 'network = "shared"\n'
    place = study('scheme = "train-test"\nfinal = false', epochs=2, more=more)
    assert run("run", place)[0] == 0
    training = Bundle.load(place / "model" / "train").training
    assert training is not None
    assert training.training_areas == training.validation_areas == 29
    assert None not in training.validation_mae


def test_a_model_from_elsewhere_is_tested_as_it_is(
    run: Run, refuse: Refuse, study: Callable[..., Path]
) -> None:
    first = study('scheme = "train-only"', name="first", epochs=4)
    assert run("run", first)[0] == 0
    own = Bundle.load(first / "model" / "all")
    assert own.area_hashes is not None
    known = {
        "none": area_hashes(["elsewhere"]),
        "half": frozenset(sorted(own.area_hashes)[:18]),
        "all": own.area_hashes,
    }
    for name, hashes in known.items():
        replace(own, area_hashes=hashes).save(first / "model" / name)
    for name, n in (("half", 18), ("all", 36)):
        there = study(
            'scheme = "test-only"',
            name=name,
            more=f'\n[transfer]\nfrom = "../first/model/{name}"\n',
        )
        assert run("run", there)[0] == 0
        code, out, _ = run("run", there, "-q")  # all is up to date
        assert code == 0
        assert f"CAUTION: The model that was started from had been trained on {n} of the 36" in out
        assert figures(there)["scheme"]["known_areas"] == n
        shown = (there / "report.html").read_text(encoding="utf-8")
        assert f"had been trained on {n} of the 36 areas" in shown
        assert "trained on none of them" not in shown
        for each in figures(there)["outcomes"].values():
            assert not each.get("oracle", {}).get("share_of_attainable")
    transfer = '\n[transfer]\nfrom = "../first/model/none"\n'
    place = study('scheme = "test-only"', more=transfer)
    code, _, err = run("run", place)
    assert code == 0, err
    metrics = figures(place)
    assert metrics["areas_tested"] == 36
    assert metrics["scheme"]["description"].startswith(
        "all areas tested with a model that was trained on none of them"
    )
    assert metrics["outcomes"]["income"]["baselines"] == {}  # nothing was learned here
    store = FeatureStore.open(place / "features" / "shares.h5")
    bundle = Bundle.load(first / "model" / "all")
    ids = sorted(pd.read_parquet(place / "locations.parquet")["location_id"])
    rows = store.rows(np.array(ids))
    expected = bundle.predict(store.features, store.present, rows=rows)
    found = pd.read_parquet(place / "predictions.parquet").set_index("outcome")
    for m, outcome in enumerate(bundle.outcomes):
        assert found.loc[outcome, "location_id"].tolist() == ids
        score = expected.score[:, m].astype(np.float32)
        np.testing.assert_array_equal(found.loc[outcome, "score"], score)
    report = (place / "report.html").read_text(encoding="utf-8")
    assert "All areas tested with a model that was trained on none of them" in report
    scaled = transfer + 'tune = "scaled"\n'
    tuned = study('scheme = "train-test"', name="tuned", more=scaled)
    assert run("run", tuned)[0] == 0
    training = Bundle.load(tuned / "model" / "train").training
    assert training is not None
    assert training.best_epoch == [3, 3]
    corrected = study('scheme = "train-test"', name="corrected", more=transfer)
    code, _, err = run("run", corrected)
    assert code == 0, err
    training = Bundle.load(corrected / "model" / "train").training
    assert training is not None
    gains = dict(zip(("income", "illness"), training.gain or (), strict=True))
    found = figures(corrected)["correction"]
    report = (corrected / "report.html").read_text(encoding="utf-8")
    for outcome, gain in gains.items():
        expected = {"n_models": 1, "n_corrected": int(gain > 0), "gain": gain}
        assert found[outcome] == pytest.approx(expected)
        assert f"{outcome}: " + ("labels correct the" if gain else "the other city's model") in err
    assert "The model comes from another city" in report
    curve = study('scheme = "test-only"', name="curve", more=transfer + "curve = true\n")
    assert "needs areas to train on and others to test on" in refuse("run", curve)


@pytest.mark.parametrize("folds", ["k = 3", 'scheme = "train-validation-test"'])
def test_splits_of_single_locations_run_and_are_called_leaking_everywhere(
    run: Run, study: Callable[..., Path], folds: str
) -> None:
    place = study(f'{folds}\nunit = "location"\nfinal = false', epochs=2)
    code, out, err = run("run", place)
    assert code == 0, err
    assert "CAUTION: " in out
    assert "these figures leak" in out
    metrics = figures(place)
    assert metrics["scheme"]["caution"]
    assert not metrics["scheme"]["whole_areas"]
    assert metrics["scheme"]["split_areas"] == metrics["areas_tested"]
    areas = pd.read_parquet(place / "areas.parquet")
    assert areas["fold"].eq(0).all()
    assert areas["low"].eq(1).all()
    assert areas["high"].eq(10).all()
    for account in metrics["outcomes"].values():
        assert account["baselines"] == {}
        assert account["gain"] is None
        assert account["spearman_within_folds"] is None
    report = (place / "report.html").read_text(encoding="utf-8")
    assert "These figures leak." in report
    assert "not trained on it" not in report
    again = study(f'file = "{place / "splits.parquet"}"', name="again")
    assert "two parts" in run("check", again)[2]


def test_stored_splits_that_leak_are_used_again_where_leaking_is_asked_for(
    run: Run, study: Callable[..., Path]
) -> None:
    place = study('k = 3\nunit = "location"\nfinal = false', epochs=1)
    assert run("run", place)[0] == 0
    stored = f'file = "{place / "splits.parquet"}"\nunit = "location"'
    again = study(stored, name="again", epochs=1)
    code, out, err = run("run", again)
    assert code == 0, err
    assert "CAUTION: " in out
    assert figures(again)["scheme"]["name"] == "stored"
    frames = [pd.read_parquet(each / "predictions.parquet") for each in (place, again)]
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize(
    ("transfer", "stored", "known"),
    [(None, {}, 0), ("a bundle", {}, None), ("a bundle", {"known_areas": 18}, 18)],
)
def test_what_no_split_records_of_known_areas_is_unknown_and_not_none(
    transfer, stored, known, tmp_path
):
    write_table(pd.DataFrame({"area": ["A"]}), tmp_path / "splits.parquet", {"folds": {}, **stored})
    there = SimpleNamespace(settings=SimpleNamespace(transfer=transfer))
    files = SimpleNamespace(splits=tmp_path / "splits.parquet")
    assert areas_stage._known_areas(there, files) == known
