"""Two cities whose images show the outcomes in the same way: one lends the other its model."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from small_worlds import change
from streetgauge.analysis import transfer_curve
from streetgauge.analysis.curves import CurveTraining
from streetgauge.analysis.transfer_curve import TransferCurve, measure_areas
from streetgauge.errors import InputError
from streetgauge.model import Bundle, fit_model
from streetgauge.model.bundle import area_hashes
from streetgauge.model.training_data import TrainingData, count_training_areas
from streetgauge.model.transfer import Start
from streetgauge.progress import silent
from streetgauge.settings import (
    EvaluationSettings,
    FoldSettings,
    TrainSettings,
    TransferSettings,
    read_settings,
)
from streetgauge.splits import make_splits
from streetgauge.synthetic import simulate_features

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]

OUTCOMES = ("income", "health")
TRAIN = TrainSettings(learner="network", device="cpu", epochs=12, ensemble_size=2, width=128)
FOLDS = FoldSettings(k=3)


def city(name: str, n_areas: int, per_area: int, moved: float = 0.0) -> TrainingData:
    """Deciles by chance, features that show them; `moved` is another city's light, say."""
    rng = np.random.default_rng([n_areas, len(name)])
    deciles = rng.normal(size=(n_areas, 2)).argsort(0).argsort(0) * 10 // n_areas + 1.0
    area = np.repeat(np.arange(n_areas), per_area)
    ids = np.array([f"{name}{i:05d}" for i in range(len(area))])
    areas = np.array([f"{name}-{i:04d}" for i in area])
    labels = pd.DataFrame(deciles[area], columns=OUTCOMES, index=pd.Index(ids, name="location_id"))
    shown = {"dimension": 24, "views": 3, "signal": 0.4, "seed": 1}
    features = 5 + 3 * simulate_features(labels, areas, **shown)
    features += moved * np.random.default_rng(9).normal(size=24).astype(np.float32)
    return TrainingData(
        features.astype(np.float32),
        np.ones(features.shape[:2], np.bool_),
        deciles[area],
        areas,
        ids,
        OUTCOMES,
    )


@pytest.fixture(scope="module")
def lender() -> Bundle:
    there = city("there", 120, 8)
    (split,) = make_splits(FoldSettings(scheme="train-only"), there.areas, there.deciles, seed=3)
    model, record = fit_model(there, split, TRAIN, seed=3)
    source = {"study": "There", "backbone": "table", "views": ["1", "2", "3"]}
    return Bundle(model, OUTCOMES, "all", TRAIN, 3, "x", record, source)


@pytest.fixture(scope="module")
def here() -> TrainingData:
    return city("here", 120, 6, moved=1.0)


def start(lender: Bundle, tune: str = "all") -> Start:
    return Start(lender.model, TRAIN.model_copy(update={"tune": tune}), {"study": "There"}, ())


@pytest.fixture(scope="module")
def curve(
    lender: Bundle, here: TrainingData, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("curve")
    TransferCurve(
        here,
        make_splits(FOLDS, here.areas, here.deciles, seed=5),
        start(lender),
        TRAIN,
        seed=5,
        shares=(0.0, 0.01, 1.0),
        evaluation=EvaluationSettings(draws=100),
    ).draw(place, "s")
    assert [p.name for p in place.iterdir()] == ["transfer.json"]
    found: dict[str, Any] = json.loads((place / "transfer.json").read_text())
    return found


def point(curve: dict[str, Any], outcome: str, share: float, kind: str) -> dict[str, Any]:
    (found,) = [
        p
        for p in curve["points"]
        if (p["outcome"], p["share"], p["start"]) == (outcome, share, kind)
    ]
    return found


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_with_labels_of_a_hundredth_of_the_areas_the_tuned_model_wins(
    curve: dict[str, Any], outcome: str
) -> None:
    tuned, scratch = (point(curve, outcome, 0.01, kind) for kind in ("tuned", "scratch"))
    assert tuned["spearman"]["low"] > max(scratch["spearman"]["high"], 0.5)
    assert tuned["mae"]["high"] < scratch["mae"]["low"]
    assert tuned["n_areas"] == scratch["n_areas"] == 120  # every area, each held out


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_few_labels_do_not_spoil_the_scale_of_the_pooled_scores(
    curve: dict[str, Any], outcome: str
) -> None:
    plain, tuned = (point(curve, outcome, share, "tuned")["spearman"] for share in (0.0, 0.01))
    assert tuned["value"] > plain["value"] - 0.05
    assert tuned["value"] > tuned["folds_mean"] - 0.06


def test_a_point_has_its_spread(curve: dict[str, Any]) -> None:
    for found in curve["points"]:
        for metric in ("mae", "spearman"):
            value = found[metric]
            assert value["low"] <= value["value"] <= value["high"]
            assert value["folds_sd"] >= 0
    assert curve["folds"] == 3  # and not the one that tests nothing
    assert len(curve["points"]) == 2 * (1 + 2 + 2)  # nothing can start from nothing with nothing


def test_the_folds_of_a_point_are_a_sample_of_folds() -> None:
    actual = np.tile(np.arange(1, 9), 2)
    fold = np.repeat([1, 2], 8)
    areas = pd.DataFrame(
        {
            "area": [f"A{i}" for i in range(16)],
            "outcome": "income",
            "fold": fold,
            "decile": actual + 2 * (fold == 2),  # never wrong, and always by two
            "actual_decile": actual,
        }
    )
    (point,) = measure_areas(areas, 10, EvaluationSettings(draws=100), seed=1)
    assert point["n_areas"] == 16
    assert point["mae"]["folds_mean"] == 1
    assert point["mae"]["folds_sd"] == pytest.approx(2**0.5)


@pytest.mark.parametrize("share", [0.1, 0.01])
def test_a_share_is_of_areas_each_trained_on_whole(
    here: TrainingData,
    lender: Bundle,
    tmp_path: Path,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    splits = make_splits(
        FOLDS.model_copy(update={"final": False}), here.areas, here.deciles, seed=5
    )
    five = TRAIN.model_copy(update={"ensemble_size": 5})
    begun = start(lender)
    tuned = CurveTraining.of("tuned", here, splits, share, five, 5, begun)
    scratch = CurveTraining.of("scratch", here, splits, share, five, 5)
    for part, whole in zip(tuned.splits, splits, strict=True):
        np.testing.assert_array_equal(part.test, whole.test)
        areas = set()
        for name in ("training", "validation"):
            rows, all_rows = getattr(part, name), getattr(whole, name)
            own = set(here.areas[rows])
            assert len(own) == max(1, round(share * len(set(here.areas[all_rows]))))
            assert len(rows) == np.isin(here.areas[all_rows], list(own)).sum()
            areas |= own
        assert len(areas) < 80 * share + 2
    # A member is stopped by an area of its own: of two areas, two can be made.
    fewest = min(count_training_areas(tuned.splits, here.areas))
    assert scratch.settings.ensemble_size == min(5, fewest)
    assert tuned.settings.ensemble_size == 5
    given = []

    def cross_validate(*_: Any, **named: Any) -> pd.DataFrame:
        given.append(named["start"])
        return pd.DataFrame({"area": ["A"]})

    monkeypatch.setattr("streetgauge.model.cross_validate", cross_validate)
    for training in (tuned, scratch):
        training.predict(tmp_path, "s", silent)
    assert given == [begun, None]


def test_a_killed_curve_goes_on(here: TrainingData, lender: Bundle, tmp_path: Path) -> None:
    splits = make_splits(FOLDS, here.areas, here.deciles, seed=5)
    few = EvaluationSettings(draws=100)
    train = TRAIN.model_copy(update={"epochs": 1})
    begun = Start(lender.model, train, {"study": "There"}, ())
    asked: list[str] = []

    def draw(fail_at: int) -> None:
        def progress(name: str, *words: Any) -> Any:
            asked.append(name)
            if len(asked) == fail_at:
                raise KeyboardInterrupt
            return silent(name, *words)

        about = {"seed": 5, "shares": (0.0, 0.02), "evaluation": few}
        curve = TransferCurve(here, splits, begun, train, **about)
        curve.draw(tmp_path, "s", progress)

    with pytest.raises(KeyboardInterrupt):
        draw(3)
    assert not (tmp_path / "transfer.json").exists()
    asked.clear()
    draw(-1)
    assert len(asked) == 1  # only the third of three was left
    assert not (tmp_path / "curve").exists()


@pytest.mark.parametrize("moment", ["before", "amid", "after"])
def test_a_curve_killed_while_it_is_tidied_up_trains_nothing_again(
    here: TrainingData,
    lender: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    splits = make_splits(FOLDS, here.areas, here.deciles, seed=5)
    train = TRAIN.model_copy(update={"epochs": 1, "ensemble_size": 1})
    begun = Start(lender.model, train, {"study": "There"}, ())
    about = {"seed": 5, "shares": (0.0, 0.02), "evaluation": EvaluationSettings(draws=100)}
    asked: list[str] = []

    def progress(name: str, *words: Any) -> Any:
        asked.append(name)
        return silent(name, *words)

    def draw(cache_key: str) -> tuple[str, ...]:
        return TransferCurve(here, splits, begun, train, **about).draw(
            tmp_path, cache_key, progress
        )

    remove = shutil.rmtree

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if Path(path).name != "curve":
            return remove(path, ignore_errors=ignore_errors)
        if moment == "amid":
            next(Path(path).glob("*.parquet")).unlink()
        if moment == "after":
            remove(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer_curve.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        draw("s")
    assert len(asked) == 3
    monkeypatch.undo()
    stored = (tmp_path / "transfer.json").read_bytes()
    lines = draw("s")
    assert len(asked) == 3
    assert (tmp_path / "transfer.json").read_bytes() == stored
    assert not (tmp_path / "curve").exists()
    assert "from the other city's model, Spearman by share of areas" in lines[0]
    if moment == "after":
        draw("of other inputs")
        assert len(asked) == 6


def test_a_share_without_labels_is_excluded_and_reported(
    here: TrainingData, lender: Bundle, tmp_path: Path
) -> None:
    deciles = here.deciles.copy()
    deciles[here.areas != here.areas[0], 1] = np.nan  # health is known in one area
    sparse = replace(here, deciles=deciles)
    splits = make_splits(FOLDS, here.areas, here.deciles, seed=5)
    few = EvaluationSettings(draws=100)
    about = {"seed": 5, "shares": (0.0, 0.01), "evaluation": few}
    lines = TransferCurve(sparse, splits, start(lender), TRAIN, **about).draw(tmp_path, "s")
    said = json.loads((tmp_path / "transfer.json").read_text())
    assert [w["start"] for w in said["skipped"]] == ["tuned", "scratch"]
    assert "no area of the training part has a label" in lines[-1]


# ---- in a study ----


@pytest.fixture(scope="module")
def cities(
    finished_once: Path,
    grid_writer: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Two studies of small worlds alike; the first has run."""
    place = tmp_path_factory.mktemp("cities")
    shutil.copytree(finished_once, place / "first")
    second = grid_writer(place / "second", side=6, per_area=4, seed=1)
    change(second, "k = 3", "k = 3\nother_folds = false")
    change(second, "epochs = 5", "epochs = 2")
    return place


def tune(study: Path, section: str) -> None:
    file = study / "study.toml"
    text = file.read_text().partition("\n[transfer]")[0]
    file.write_text(text + "\n[transfer]\n" + section)


@pytest.mark.slow
def test_a_study_starts_from_the_bundle_of_another(cities: Path, run: Run) -> None:
    second = cities / "second"
    bundle = cities / "first-bundle"
    assert run("export", cities / "first", "--out", bundle, "--licence", "cc-by-4.0")[0] == 0
    tune(second, 'from = "../first-bundle"\nshare = 0.1\ntune = "head"\ncurve = true\n')
    code, _, err = run("run", second)
    assert code == 0, err
    along = "Spearman by share of areas (how many): 0% (0) 0."
    assert along in err
    assert re.search(r"1% \(2\) [-.0-9]+, 2% \(2\)", err)  # that these are the same is seen
    said = "36 of 36 areas have the codes of areas that the bundle was trained on"
    assert said in err  # both worlds have the same codes
    # A share of what can be trained on is trained on, and the others are excluded.
    splits = pd.read_parquet(second / "splits.parquet")
    learning = splits[splits["part"].isin(["training", "validation"])]
    areas = learning.groupby("split")["area"].nunique()
    assert len(areas) == 4
    assert areas.between(2, 5).all()
    assert f"trained on {areas.min()} to {areas.max()} of 24 to 36 areas (share 0.1)" in err
    for name in areas.index:
        own = Bundle.load(second / "model" / name)
        assert own.training is not None
        here = learning[learning["split"] == name]
        assert own.training.training_areas + own.training.validation_areas == areas[name]
        # The lender's areas count as known; those of this study are among them.
        known = pd.read_parquet(cities / "first" / "locations.parquet")["area"]
        assert own.area_hashes == area_hashes(known)
        others = splits[(splits["split"] == name) & ~splits["area"].isin(here["area"])]
        assert set(others["reason"].dropna()) == {"it is not in the 0.1 that is used for training"}
    kept = Bundle.load(second / "model" / "all")
    assert kept.source["start"]["study"] == "Grid"
    assert kept.settings.tune == "head"
    assert "was not trained from scratch" in (second / "model" / "all" / "README.md").read_text()
    metrics = json.loads((second / "metrics.json").read_text())
    points = metrics["transfer"]["points"]
    shares = sorted({p["share"] for p in points})
    assert shares == [0, 0.01, 0.02, 0.05, 0.1, 0.25, 1]
    counts = {p["share"]: p["n_training_areas"] for p in points}
    assert (counts[0], counts[0.01], counts[0.02], counts[1]) == (0, 2, 2, 24)
    assert run("run", second)[2].count("up to date") == 6
    # Another bundle in its place, and training is out of date.
    assert run("export", cities / "first", "--out", bundle, "--force")[0] == 0
    states = json.loads(run("info", second, "--json")[1])
    assert states["stage features"].startswith("up to date")
    assert states["stage train"].startswith("out of date")


def test_the_model_as_it_is_tests_another_city(cities: Path, run: Run, refuse: Refuse) -> None:
    second = cities / "second"
    text = (second / "study.toml").read_text().partition("\n[transfer]")[0]
    only = text.replace("[folds]\nk = 3", '[folds]\nscheme = "test-only"')
    assert only != text
    (second / "study.toml").write_text(only)
    try:
        assert "name it: [transfer] from" in refuse("check", second)
        tune(second, 'from = "../first/model/all"\n')
        assert run("run", second)[0] == 0
        predictions = pd.read_parquet(second / "predictions.parquet")
        assert predictions["location_id"].nunique() == 144
        says = json.loads(run("info", second, "--json")[1])["stage train"]
        assert "36 of 36 areas have the codes of areas that the bundle was trained on" in says
        metrics = json.loads((second / "metrics.json").read_text())
        assert metrics["outcomes"]["income"]["metrics"]["spearman"]["value"] > 0.7
    finally:
        (second / "study.toml").write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "section", "reason"),
    [
        ("[outcomes.illness]", "[outcomes.ill]", "", "outcome 'ill': .*it has income, illness"),
        ('"f3"]', '"f3", "f4"]', "", "5 features a view, and the bundle was trained on 4"),
        ("", "", 'from = "../nowhere"', "transfer.from: there is no file"),
        ("", "", 'from = "../first"', "transfer.from = .*not a bundle; .*model/all"),
        ("", "", 'from = "hf://me/city"', "transfer.from: there is no file"),
        ("", "", "share = 0.5", "transfer.from: this key is missing"),
        ("[train]", '[train]\ntune = "head"', "", "'tune' belongs to .transfer."),
        ("[folds]", "[deciles]\nclasses = 5\n[folds]", "", "10 classes, and the study has 5"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    *, old: str, new: str, section: str, reason: str, cities: Path, refuse: Refuse, tmp_path: Path
) -> None:
    import shutil

    study = tmp_path / "study"
    shutil.copytree(cities / "second", study)
    frame = pd.read_csv(study / "features.csv")
    frame.assign(f4=frame["f3"]).to_csv(study / "features.csv", index=False)
    (tmp_path / "first").symlink_to(cities / "first")
    tune(study, section or 'from = "../first/model/all"\n')
    file = study / "study.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    for command in ("check", "run"):
        assert re.search(reason, refuse(command, study))


def test_an_address_is_stored_as_it_is_and_needs_a_revision(tmp_path: Path) -> None:
    address = "hf://me/city@0123abc"
    assert TransferSettings.model_validate({"from": address}).bundle == address
    assert isinstance(TransferSettings.model_validate({"from": "hf://me/city"}).bundle, Path)
    assert read_settings  # paths are made absolute by it, see test_a_study_starts


def test_find_start_takes_the_network_of_the_bundle(cities: Path) -> None:
    from streetgauge.features import FeatureStore
    from streetgauge.model.transfer import find_start

    store = FeatureStore.open(cities / "first" / "features" / "shares.h5")
    transfer = TransferSettings.model_validate({"from": cities / "first" / "model" / "all"})
    train = TrainSettings(
        learner="network", network="paper-2019", components=2, ensemble_size=4, dropout=0.375
    )
    begun = find_start(transfer, train, store, ["illness"])
    lent = Bundle.load(cities / "first" / "model" / "all").settings.network
    assert begun.settings.network == lent != "paper-2019"
    assert begun.settings.components is None
    assert begun.settings.ensemble_size != 4
    (note,) = begun.notes
    assert f"network {lent}" in note
    assert f"ensemble_size {begun.settings.ensemble_size}" in note
    assert f"dropout {begun.settings.dropout}" in note
    assert note.endswith(", as the bundle's")
    assert len(begun.model.calibration) == 1
    with pytest.raises(InputError, match="not a bundle"):
        find_start(transfer.model_copy(update={"bundle": cities}), train, store, ["illness"])


@pytest.mark.parametrize("lent", [{"components": 2}, {"width": 7}, {}])
@pytest.mark.parametrize("own", [{}, {"width": 9}])
def test_a_network_of_any_width_can_be_started_from_and_saved(
    cities: Path, tmp_path: Path, lent: dict[str, int], own: dict[str, int]
) -> None:
    from streetgauge.features import FeatureStore
    from streetgauge.model.network import Network
    from streetgauge.model.transfer import find_start

    store = FeatureStore.open(cities / "first" / "features" / "shares.h5")
    bundle = Bundle.load(cities / "first" / "model" / "all")
    settings = TrainSettings.model_validate(lent | {"ensemble_size": 1})
    seeds = range(len(bundle.outcomes))
    network = Network(bundle.dimension, seeds, settings, bundle.model.classes).eval()
    model = replace(bundle.model, network=network)
    replace(bundle, model=model, settings=settings).save(tmp_path / "lent")
    transfer = TransferSettings.model_validate({"from": tmp_path / "lent"})
    begun = find_start(transfer, TrainSettings.model_validate(own), store, bundle.outcomes)
    replace(bundle, model=begun.model, settings=begun.settings).save(tmp_path / "tuned")
    kept = Bundle.load(tmp_path / "tuned").model.network
    assert kept.width == {"components": 128, "width": 7}.get(next(iter(lent), ""), 512)
    torch.testing.assert_close(kept.state_dict(), network.state_dict())
