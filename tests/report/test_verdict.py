"""May a map be used? Each rule at its border."""

from __future__ import annotations

import pytest

from streetgauge.report.text import verdict

MORE, UNCLEAR, LESS = (0.1, 0.9), (-0.1, 0.3), (-0.9, -0.5)


def evaluation(gain=MORE, width=3.0, below=False, **more):
    low, high = gain
    held = {"mean_width": width, "below_level": below, "share": 0.8, "level": 0.9}
    return {
        "n_areas": 100,
        "gain": {"over": "kriging", "mae": {"value": 0.2, "low": low, "high": high}},
        "intervals": held,
        **more,
    }


def level(own, other=None, share=1.0, classes=10):
    return verdict(own, other, with_images=share, classes=classes).level


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (MORE, MORE, "use"),
        (MORE, None, "use"),
        (MORE, UNCLEAR, "care"),
        (UNCLEAR, MORE, "care"),
        (UNCLEAR, UNCLEAR, "no"),
        (LESS, None, "no"),
        ((0.0, 0.9), None, "no"),  # an interval that touches 0 is not above it
        ((1e-9, 0.9), None, "use"),
    ],
)
def test_a_map_is_used_only_if_images_add_something_in_every_test(own, other, expected):
    assert level(evaluation(own), other and evaluation(other)) == expected


@pytest.mark.parametrize(
    ("share", "expected"), [(0.8, "use"), (0.799, "care"), (0.5, "care"), (0.499, "no")]
)
def test_areas_without_images_lower_the_verdict(share, expected):
    assert level(evaluation(), share=share) == expected


@pytest.mark.parametrize(
    ("width", "classes", "expected"),
    [
        *((5.0, 10, "use"), (5.01, 10, "care"), (8.0, 10, "care"), (8.01, 10, "no")),
        *((2.5, 5, "use"), (2.6, 5, "care"), (4.1, 5, "no"), (None, 10, "care")),
    ],
)
def test_wide_intervals_lower_the_verdict(width, classes, expected):
    assert level(evaluation(width=width), classes=classes) == expected


def test_intervals_that_hold_too_few_areas_call_for_care():
    found = verdict(evaluation(below=True), None, with_images=1.0, classes=10)
    assert found.title == "Use with care"
    assert found.reasons == ("Intervals hold the actual decile of 80%, not 90%, of the areas.",)


def test_the_estimate_that_the_map_shows_is_judged():
    best = evaluation(UNCLEAR, 9.0)
    assert level(evaluation(MORE, best=best)) == "no"
    assert level(evaluation(UNCLEAR, best=evaluation(MORE))) == "use"


def test_what_was_not_tested_is_not_used_and_an_unknown_gain_calls_for_care():
    assert level(evaluation(n_areas=0)) == "no"
    assert level(evaluation(gain=(None, None))) == "care"


def test_only_the_reasons_of_the_verdict_are_given():
    found = verdict(evaluation(UNCLEAR, 6.0), None, with_images=0.6, classes=10)
    assert found.reasons == ("The estimate is not clearly closer than what needs no image.",)
