"""The plain summary and the account of the run say what the numbers say."""

from __future__ import annotations

from dataclasses import replace

from streetgauge.report import render
from streetgauge.report import text as words

LABELS = {"a": "Apples", "b": "Berries"}
MORE = (0.5, 0.9)


def account(interval, within=0.6, n=100):
    low, high = interval
    return {
        "n_areas": n,
        "metrics": {"within_1": {"value": within}, "exact": {"value": 0.2}, "mae": {"value": 1.34}},
        "gain": {"over": "kriging", "mae": {"value": 0, "low": low, "high": high}},
    }


def plain(accounts, second=None, classes=10):
    metrics = {"classes": classes, "outcomes": accounts, "kind": "random"}
    if second:
        metrics["other_folds"] = {"kind": "spatial", "outcomes": second}
    return words.plain({name: LABELS[name] for name in accounts}, metrics)


def test_how_close_images_come_is_stated_in_plain_words():
    text = plain({"a": account(MORE)}, {"a": account(MORE)})
    assert "60% of the areas get the right tenth of the city or the one next to it" in text
    assert "The mean absolute error is 1.3 deciles" in text
    assert "For Berries it is 30%." in plain({"a": account(MORE), "b": account(MORE, 0.3)})


def test_few_classes_are_called_by_their_names():
    assert "the right third of the city" in plain({"a": account(MORE)}, classes=3)


def test_nothing_measured_is_nothing_reported():
    assert plain({"a": account(MORE, n=0)}) == ""
    assert plain({}) == ""


def test_the_page_says_what_was_run(make_study):
    data = make_study(
        settings={"train": {"network": "shared", "ensemble_size": 5, "head": "binomial"}},
        run={"seed": 7, "streetgauge": "0.1.0", "python": "3.12.1", "versions": {"torch": "2.13"}},
        imagery={
            "views": 4,
            "licence": "CC0-1.0",
            "attribution": "Jo",
            "weights": {"backbone": "toynet", "licence": "MIT", "sha256": "abcdef0123456789"},
        },
    )
    labels = {"income": "Household income", "crime": "Crime"}
    text = " ".join(words.what_was_run(data, labels))
    assert "2 official statistics of 48 areas, and 144 locations with up to 4 views each." in text
    assert "Household income (Greater Gridtown Authority, OGL v3)" in text
    assert "Crime (publisher and licence not stated)" in text
    assert "Images: Jo, CC0-1.0." in text
    assert "Features by toynet (MIT), weights sha256 abcdef012345" in text
    assert "Network “shared” of 5 members with the binomial head" in text
    assert "seed 7" in text
    assert "streetgauge 0.1.0, Python 3.12.1, torch 2.13" in text
    assert all(line in render(data) for line in ["Images: Jo, CC0-1.0.", "seed 7"])
    unsaid = " ".join(words.what_was_run(replace(data, imagery={"views": 4}, run={}), LABELS))
    assert "no licence is stated, so none is shown" in unsaid
    assert "seed" not in unsaid
    assert "Images" not in " ".join(words.what_was_run(replace(data, imagery={}), LABELS))


def test_too_few_locations_are_reported(make_study):
    data = make_study()
    labels = {name: name for name in data.metrics["outcomes"]}
    assert "min_locations" not in " ".join(words.caveats(data, labels))
    for own in data.metrics["outcomes"].values():
        own["n_areas_too_few_locations"] = 2
    assert "2 areas have fewer locations than" in " ".join(words.caveats(data, labels))
