"""Groups of areas that are misjudged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from small_worlds import add_columns
from streetgauge.analysis.fairness import audit, sort_into_groups
from streetgauge.pipeline.fairness import study_fairness
from streetgauge.report.text import fairness_sentences
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


def world(seed: int, bias: float = 0.0, n: int = 300) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Areas with errors by chance, of which a fifth is predicted ``bias`` too high."""
    rng = np.random.default_rng(seed)
    codes = [f"a{i:03d}" for i in range(n)]
    actual = rng.permutation(np.arange(n) % 10 + 1)
    is_few = rng.permutation(n) < n // 5
    decile = np.clip(np.round(actual + rng.normal(0, 2, n) + bias * is_few), 1, 10).astype(int)
    frame = pd.DataFrame({"area": codes, "outcome": "income", "actual_decile": actual})
    frame = frame.assign(decile=decile, low=(decile - 4).clip(1), high=(decile + 4).clip(None, 10))
    return frame, pd.DataFrame({"kind": np.where(is_few, "few", "others")}, codes)


def test_groups_that_differ_by_chance_raise_at_most_ten_alarms_in_a_hundred() -> None:
    assert sum(audit(*world(seed))["reported"].any() for seed in range(100)) <= 10


def test_a_bias_of_a_decile_in_a_fifth_of_300_areas_is_found_in_eighty_of_a_hundred() -> None:
    found, planted = 0, []
    for seed in range(100):
        frame, groups = world(seed, bias=1.15)  # deciles end at 1 and 10, so that it is 0.9
        error = (frame["decile"] - frame["actual_decile"]).to_numpy()
        is_few = (groups["kind"] == "few").to_numpy()
        planted.append(error[is_few].mean() - error[~is_few].mean())
        table = audit(frame, groups).query("measure == 'bias'").iloc[0]
        found += bool(table["reported"])
        assert table["difference"] == pytest.approx(planted[-1])
    assert np.mean(planted) < 1
    assert found >= 80


def test_neighbours_that_are_wrong_alike_are_no_group_that_is_misjudged() -> None:
    """The group is the west, and errors are smooth: areas that count alone raise many alarms."""
    alone = together = 0
    for seed in range(30):
        frame, groups = world(seed)
        rng = np.random.default_rng(seed)
        xy = pd.DataFrame(rng.uniform(0, 10_000, (300, 2)), groups.index, ["x", "y"])
        distance = np.hypot(*(xy.to_numpy()[:, None] - xy.to_numpy()).transpose(2, 0, 1))
        smooth = np.linalg.cholesky(np.exp(-distance / 3000) + 1e-6 * np.eye(300))
        error = 2 * smooth @ rng.normal(size=300)
        frame["decile"] = np.clip(np.round(frame["actual_decile"] + error), 1, 10).astype(int)
        groups["kind"] = np.where(xy["x"] < 2000, "west", "east")
        frame = frame.drop(columns=["low", "high"])
        alone += audit(frame, groups)["reported"].any()
        together += audit(frame, groups, coordinates=xy)["reported"].any()
    assert together <= 3 < 10 < alone


def test_each_measure_is_what_a_count_by_hand_gives() -> None:
    codes = [f"a{i:02d}" for i in range(40)]
    is_rural = np.arange(40) < 20
    actual = np.where(np.arange(40) % 20 < 10, 1, 10)
    decile = actual.copy()
    decile[:4] = 8  # four rural deprived areas of ten are called well off
    decile[30:33] = 5  # three urban well-off areas of ten are called deprived
    frame = pd.DataFrame({"area": codes, "outcome": "x", "actual_decile": actual, "decile": decile})
    frame = frame.assign(low=decile, high=decile)
    groups = pd.DataFrame({"kind": np.where(is_rural, "rural", "urban")}, codes)
    table = audit(frame, groups).set_index("measure")
    assert set(table["group"]) == {"rural"}  # of two groups one
    by_hand = {
        "deprived_as_well_off": (10, 0.4, 0.0),
        "well_off_as_deprived": (10, 0.0, 0.3),
        "mae": (20, 28 / 20, 15 / 20),
        "bias": (20, 28 / 20, -15 / 20),
        "interval_coverage": (20, 16 / 20, 17 / 20),
    }
    assert set(table.index) == set(by_hand)
    for measure, (n, value, others) in by_hand.items():
        row = table.loc[measure]
        assert (row["n"], row["value"], row["others"]) == (n, pytest.approx(value), others)
        assert row["difference"] == pytest.approx(value - others)
        assert row["low"] < row["difference"] < row["high"]


def test_probabilities_that_are_true_in_one_group_only_are_found() -> None:
    rng = np.random.default_rng(0)
    n = 600
    codes = [f"a{i:03d}" for i in range(n)]
    actual = rng.integers(1, 3, n)
    is_rural = np.arange(n) < n // 2
    p1 = np.where(is_rural, 0.95, 0.5)
    frame = pd.DataFrame({"area": codes, "outcome": "x", "actual_decile": actual})
    frame = frame.assign(decile=np.where(is_rural, 1, 2), p1=p1, p2=1 - p1)
    groups = pd.DataFrame({"kind": np.where(is_rural, "rural", "urban")}, codes)
    row = audit(frame, groups, classes=2).set_index("measure").loc["calibration_error"]
    assert row["value"] == pytest.approx(0.45, abs=0.08)
    assert row["others"] < 0.08
    assert row["reported"]
    assert row["low"] > 0.2


def test_groups_of_three_areas_have_no_rates_and_are_named() -> None:
    frame, groups = world(0)
    groups["kind"] = np.where(np.arange(300) < 3, "island", groups["kind"])
    groups.loc[groups.index[5:9], "kind"] = None
    sorted_, small = sort_into_groups(groups)
    assert small == [{"column": "kind", "group": "island", "n": 3}]
    assert int(sorted_["kind"].isna().sum()) == 4
    table = audit(frame, sorted_)
    assert set(table["group"]) == {"few", "others"}
    about = {"comparisons": [], "classes": 10, "fewest": 10, "small": small, "without": {"kind": 4}}
    text = " ".join(fairness_sentences(about))
    assert "nothing is compared" in text
    assert "fewer than 10 areas: kind island (3)" in text
    assert "4 areas without a value of kind" in text


def test_numbers_are_cut_into_thirds_and_few_numbers_are_groups_as_they_are() -> None:
    codes = [f"a{i}" for i in range(60)]
    columns = pd.DataFrame({"density": np.arange(60.0), "zone": np.arange(60) % 2}, codes)
    groups, small = sort_into_groups(columns)
    assert groups["density"].value_counts().to_dict() == {"low": 20, "middle": 20, "high": 20}
    assert set(groups["zone"]) == {"0", "1"}
    columns["zone"] = columns["zone"].where(np.arange(60) > 3)
    assert set(sort_into_groups(columns)[0]["zone"].dropna()) == {"0", "1"}
    assert small == []


def test_a_study_s_own_columns_are_groups_and_an_unknown_one_is_refused(
    finished: Path, run: Run, refuse: Refuse
) -> None:
    assert "the areas have no such column" in refuse("fairness", finished, "--group", "urban")
    code, out, err = run("fairness", finished, "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads((finished / "fairness.json").read_text("utf-8"))
    assert "nothing is compared" in run("fairness", finished)[1]  # all have as many images
    add_columns(finished, zone=["a", "b"] * 24 + ["a"])
    found = study_fairness(Study.open(finished), ["zone"])
    assert {(each["column"], each["group"]) for each in found["comparisons"]} == {("zone", "b")}
    measured = pd.read_parquet(finished / "areas.parquet").query("outcome == 'income'")
    zone = measured["area"].str[1:].astype(int) % 2 == 1
    error = (measured["decile"] - measured["actual_decile"]).astype(float)
    (bias,) = (
        each
        for each in found["comparisons"]
        if (each["outcome"], each["measure"]) == ("income", "bias")
    )
    assert bias["value"] == pytest.approx(error[zone].mean())
    assert bias["others"] == pytest.approx(error[~zone].mean())
