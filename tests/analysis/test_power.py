"""How many images a precision needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetgauge.analysis.power import Power, Target
from streetgauge.errors import InputError
from streetgauge.pipeline.run import run_stage
from streetgauge.progress import silent
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]

SIGNAL = 0.3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, grid_writer: Callable[..., Path]) -> Path:
    """Give a study whose features are simulated with a known signal, with a result."""
    place = grid_writer(tmp_path_factory.mktemp("power") / "one", side=12, per_area=4)
    file = place / "study.toml"
    head, _, tail = file.read_text("utf-8").partition("[features]")
    _, _, tail = tail.partition("[folds]")
    features = f'[features]\nsource = "simulated"\ndimension = 32\nviews = 2\nsignal = {SIGNAL}\n'
    text = f"{head}{features}\n[folds]\nother_folds = false{tail}".replace(
        "ensemble_size = 2\nepochs = 5", "ensemble_size = 1"
    )
    file.write_text(text, "utf-8")
    study = Study.open(place)
    for name in ("outcomes", "locations", "features", "train", "areas"):
        run_stage(study, name, silent)
    return place


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "study"))


def test_the_signal_that_features_were_made_with_is_found_again(study: Path) -> None:
    found = Power(Study.open(study), locations=(4,), views=(2,), repeats=8).measure()
    for about in found["signal"].values():
        assert 0 < about["low"] < about["value"] < about["high"] < 1
        assert about["design"] == {"areas": 144, "locations": 4.0, "views": 2.0}
    assert np.mean([a["value"] for a in found["signal"].values()]) == pytest.approx(
        SIGNAL, abs=0.12
    )
    # The cell that is the study's own design has the study's own result.
    metrics = json.loads((study / "metrics.json").read_text("utf-8"))["outcomes"]
    for outcome, figures in found["cells"][0]["outcomes"].items():
        own = metrics[outcome]["metrics"]
        assert figures["spearman"] == pytest.approx(own["spearman"]["value"], abs=0.02)
        assert figures["mae"] == pytest.approx(own["mae"]["value"], abs=0.25)
        width = own["spearman"]["high"] - own["spearman"]["low"]
        assert figures["spearman_width"] == pytest.approx(width, rel=0.35)
    assert found["assumptions"]["noise"]["from"] == "the study's own scores"


def test_more_of_anything_is_better_and_never_more_than_there_is(study: Path) -> None:
    power = Power(
        Study.open(study),
        signals=(0.2, 0.6),
        areas=(36, 144),
        locations=(1, 4, 64),
        views=(1, 4),
        repeats=3,
    )
    assert power.cost == "72 simulated studies of 144 areas"
    found = power.measure()
    cells = {
        tuple(c[k] for k in ("signal", "areas", "locations", "views")): c for c in found["cells"]
    }

    def told(*key: float) -> tuple[float, float, float]:
        figures = cells[key]["outcomes"].values()
        means = ((f["spearman"], f["mae"], f["spearman_width"]) for f in figures)
        return tuple(np.mean(list(zip(*means, strict=True)), axis=1))  # type: ignore[return-value]

    least = told(0.2, 36, 1, 1)
    for key in ((0.6, 36, 1, 1), (0.2, 144, 1, 1), (0.2, 36, 4, 1), (0.2, 36, 1, 4)):
        assert told(*key)[0] > least[0], key
        assert told(*key)[1] < least[1], key
    assert told(0.2, 144, 1, 1)[2] < 0.7 * least[2]  # about half, as the root of the areas
    # There are four locations in an area.
    assert cells[0.6, 144, 64, 4]["images"] == cells[0.6, 144, 4, 4]["images"] == 144 * 16
    assert told(0.6, 144, 64, 4) == told(0.6, 144, 4, 4)
    json.dumps(found, allow_nan=False)


def test_nothing_shown_gives_chance_and_all_shown_is_perfect(study: Path) -> None:
    found = Power(Study.open(study), signals=(0.0, 1.0), locations=(4,), views=(2,)).measure()
    nothing, everything = ([*cell["outcomes"].values()] for cell in found["cells"])
    assert all(abs(f["spearman"]) < 0.2 for f in nothing)
    assert all(f["spearman"] > 0.97 for f in everything)


def test_the_same_seed_gives_the_same_bytes_in_any_order(study: Path) -> None:
    first = Power(Study.open(study), locations=(2,), views=(1,), repeats=2)
    first.measure()
    before = (study / "power.json").read_bytes()
    for name in ("locations", "outcomes"):
        file = study / f"{name}.parquet"
        pd.read_parquet(file).sample(frac=1, random_state=0).to_parquet(file)
    Power(Study.open(study), locations=(2,), views=(1,), repeats=2).measure()
    assert (study / "power.json").read_bytes() == before


def test_a_target_names_the_cell_with_the_fewest_images(run: Run, study: Path) -> None:
    words = ("--signal", "0.4", "--locations", "1,2,4", "--views", "1,2", "--repeats", "2")
    code, out, err = run("power", study, *words, "--target", "mae=2", "--target", "spearman=1")
    assert code == 0, err
    assert "Fewest images for MAE of at most 2" in out
    assert "none of these" in out
    assert "12 simulated studies" in err
    found = json.loads((study / "power.json").read_text("utf-8"))
    mae, perfect = found["targets"]
    for each in mae["by"]:
        good = [c for c in found["cells"] if c["outcomes"][each["outcome"]]["mae"] <= 2]
        assert each["cell"]["images"] == min(c["images"] for c in good)
    assert all(each["cell"] is None for each in perfect["by"])
    assert json.loads(run("power", study, *words, "--json")[1])["cells"] == found["cells"]


def test_targets_are_read_and_reached() -> None:
    figures = {"mae": 1.0, "spearman": 0.8, "mae_width": 0.3, "spearman_width": None}
    assert Target.read("mae=1").reached(figures)
    assert not Target.read("mae=0.9").reached(figures)
    assert Target.read("spearman=0.8").reached(figures)
    assert not Target.read("spearman=0.81").reached(figures)
    assert Target.read("mae-width=0.3").reached(figures)
    assert not Target.read("spearman-width=1").reached(figures)
    for text in ("rho=1", "mae", "mae=a"):
        with pytest.raises(InputError, match="--target"):
            Target.read(text)


def test_bad_wishes_are_one_sentence(refuse: Refuse, study: Path) -> None:
    assert "'r' is not a target" in refuse("power", study, "--target", "r=0.5")
    assert "it is a share" in refuse("power", study, "--signal", "2")
    assert "the study has 144 areas" in refuse("power", study, "--areas", "500")
    assert "-2 is too few" in refuse("power", study, "--views=-2")
    (study / "metrics.json").unlink()
    assert "it has no result" in refuse("power", study)


def test_an_outcome_with_hardly_a_label_has_no_figures_and_the_others_have(study: Path) -> None:
    opened = Study.open(study)
    table = pd.read_parquet(opened.outcomes)
    table.loc[table.index > 2, "illness_decile"] = pd.NA
    table.to_parquet(opened.outcomes)
    asked = Power(opened, signals=(0.5,), locations=(2,), views=(1,), repeats=2)
    found = asked.measure([Target("spearman", 0.1)])
    figures = found["cells"][0]["outcomes"]
    assert set(figures["illness"].values()) == {None}
    assert figures["income"]["spearman"] > 0.1
    reached = {each["outcome"]: each["cell"] for each in found["targets"][0]["by"]}
    assert reached["illness"] is None
    assert reached["income"] is not None
