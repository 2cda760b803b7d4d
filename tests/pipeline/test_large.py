"""What is unusual about large studies, in small: it works, or ends with one sentence."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from small_worlds import change
from streetgauge.model import embedding
from streetgauge.model.embedding import Bags

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


@pytest.fixture
def ridge(grid: Path) -> Path:
    """Give a small study that trains a ridge, in one kind of folds."""
    change(grid, "k = 3", "k = 3\nother_folds = false")
    change(grid, 'learner = "network"', 'learner = "ridge"')
    return grid


def test_areas_that_have_one_outcome_each_are_trained_and_reported(ridge: Path, run: Run) -> None:
    table = pd.read_csv(ridge / "outcomes.csv")
    table.loc[::2, "income"], table.loc[1::2, "illness"] = np.nan, np.nan
    table.to_csv(ridge / "outcomes.csv", index=False)
    code, _, err = run("run", ridge)
    assert code == 0, err
    figures = json.loads((ridge / "metrics.json").read_text(encoding="utf-8"))["outcomes"]
    counts = {name: each["n_areas"] for name, each in figures.items()}
    assert counts == table[["income", "illness"]].notna().sum().to_dict()


def test_areas_without_boundaries_or_coordinates_get_a_report_that_says_that_there_is_no_map(
    ridge: Path, run: Run
) -> None:
    change(ridge, 'file = "areas.geojson"', 'file = "outcomes.csv"')
    change(ridge, 'name = "name"\n', "")
    places = pd.read_csv(ridge / "places.csv")
    codes = pd.read_csv(ridge / "outcomes.csv")["code"]
    places["area"] = codes.repeat(len(places) // len(codes)).to_numpy()
    places[["place", "area"]].to_csv(ridge / "places.csv", index=False)
    change(ridge, 'source = "points"', 'source = "table"')
    code, _, err = run("run", ridge)
    assert code == 0, err
    page = (ridge / "report.html").read_text(encoding="utf-8")
    assert "There is no map" in page
    assert "areas come from a table without boundaries" in page
    assert not (ridge / "areas.gpkg").exists()


def test_many_locations_of_few_areas_are_read_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "BLOCK", 50)
    monkeypatch.setattr(embedding, "SAMPLE", 40)
    read: list[int] = []

    class Recorded(np.ndarray):
        def __getitem__(self, rows: object) -> np.ndarray:
            found = np.asarray(super().__getitem__(rows))
            read.append(len(found) if isinstance(rows, np.ndarray) else 0)
            return found

    rng = np.random.default_rng(0)
    features = rng.normal(size=(5_000, 2, 3)).astype(np.float32)
    present, area = np.ones((5_000, 2), np.bool_), np.arange(5_000) % 7
    bags = Bags(features.view(Recorded), present, np.arange(5_000), area)
    means = embedding.Embedding.of(bags, 0).linear_only()(bags)[0]
    assert means.shape[0] == 7
    assert max(read) <= max(50, 4_096)  # 4,096 show mean and standard deviation
    assert sum(size == 50 for size in read) >= 100


def test_a_store_that_may_not_be_addressed_is_one_sentence_with_what_to_raise(
    ridge: Path, run: Run, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("outcomes", "locations", "features"):
        assert run(stage, ridge)[0] == 0

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "memmap", fail)
    sentence = refuse("train", ridge)
    assert "shares.h5: this process may not address its 0.0 GiB of features" in sentence
    assert "raise the limit (`ulimit -v`)" in sentence
