"""What the networks learned from is what the baselines know, and what leaks is called so."""

from __future__ import annotations

import pandas as pd
import pytest

from streetgauge.evaluation import class_counts, describe_scheme, split_areas, training_areas
from streetgauge.settings import FoldSettings


def splits(*rows: tuple[str, str, int, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["area", "split", "fold", "part"])


def test_what_a_fold_was_trained_on_is_its_training_and_its_validation_part() -> None:
    parts = splits(
        ("a", "fold-1", 1, "test"),
        ("b", "fold-1", 1, "training"),
        ("b", "fold-1", 1, "training"),
        ("c", "fold-1", 1, "validation"),
        ("d", "fold-1", 1, "excluded"),
        ("e", "fold-1", 1, "training"),
        ("a", "all", 0, "training"),
    )
    deciles = pd.DataFrame({"x": [1.0, 2, 3, 4, None]}, index=list("abcde"))
    found = training_areas(parts, deciles)
    assert found.to_dict("list") == {
        "fold": [1, 1],
        "area": ["b", "c"],
        "outcome": ["x", "x"],
        "decile": [2, 3],
    }
    shuffled = training_areas(parts.iloc[::-1], deciles.iloc[::-1])
    pd.testing.assert_frame_equal(found, shuffled)


def test_an_area_is_split_if_it_is_tested_by_who_knows_it_or_in_two_parts() -> None:
    whole = splits(
        ("a", "fold-1", 1, "test"),
        ("a", "fold-1", 1, "excluded"),
        ("b", "fold-1", 1, "training"),
        ("b", "fold-1", 1, "validation"),  # two parts, but of learning
        ("b", "fold-2", 2, "test"),
        ("a", "fold-2", 2, "training"),
    )
    assert split_areas(whole) == []
    assert split_areas(pd.concat([whole, splits(("b", "fold-2", 2, "validation"))])) == ["b"]
    assert split_areas(pd.concat([whole, splits(("a", "fold-3", 3, "test"))])) == ["a"]


def test_classes_of_tested_areas_are_counted_once_an_area() -> None:
    rows = pd.DataFrame(
        {
            "area": list("aabbc"),
            "outcome": "x",
            "actual_decile": pd.array([1, 1, 3, 3, None], dtype="Int64"),
        }
    )
    assert class_counts(rows, classes=3) == {"x": [1, 0, 1]}
    assert class_counts(rows[:0], classes=3) == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "5-fold cross-validation by area"),
        ({"unit": "msoa"}, "5-fold cross-validation by msoa"),
        (
            {"scheme": "blocks", "block": 2000.0, "buffer": 500.0},
            "spatial block cross-validation (2 km, 5 folds) with a buffer of 500 m",
        ),
        (
            {"scheme": "blocks", "block": 2000.0, "unit": "msoa"},
            "spatial block cross-validation (2 km, 5 folds, each msoa in one block)",
        ),
        (
            {"scheme": "leave-one-group-out", "group": "district"},
            "leave-one-district-out cross-validation (5 folds)",
        ),
        (
            {"scheme": "blocks", "block": 250.0},
            "spatial block cross-validation (250 m, 5 folds)",
        ),
        (
            {"train_size": 0.1},
            "5-fold cross-validation by area, trained on 10% of the other areas",
        ),
    ],
)
def test_a_scheme_is_described_with_its_sizes(settings: dict[str, object], words: str) -> None:
    said = describe_scheme(FoldSettings(**settings), 5)
    assert said["description"] == words
    assert said["whole_areas"]
    assert said["caution"] is None
    for key, value in settings.items():
        assert said["name" if key == "scheme" else key] == value


def test_two_folds_are_folds_and_one_part_is_tested_once() -> None:
    words = [describe_scheme(FoldSettings(), parts)["description"] for parts in (2, 1)]
    assert words == [
        "2-fold cross-validation by area",
        "one fold of cross-validation by area",
    ]


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (0, "a model that was trained on none of them"),
        (18, "a model that was trained on 18 of these 36"),
        (36, "a model that was trained on 36 of these 36"),
        (None, "a model that does not state which areas it was trained on"),
    ],
)
def test_areas_that_the_model_was_trained_on_are_a_caution(known: int | None, words: str) -> None:
    found = describe_scheme(FoldSettings(scheme="test-only"), 1, known_areas=known, tested=36)
    assert found["description"] == f"all areas tested with {words}"
    assert found.get("known_areas", 0) == known
    if known:
        assert f"trained on {known} of the 36 areas" in found["caution"]
        assert "not held out" in found["caution"]
    else:
        assert found["caution"] is None


def test_a_leak_is_a_fact_not_a_setting() -> None:
    said = describe_scheme(FoldSettings(unit="location"), 5, split_areas=3)
    assert (said["split_areas"], said["whole_areas"]) == (3, False)
    assert "leak" in said["caution"]
    assert describe_scheme(FoldSettings(unit="location"), 5)["caution"] is None
