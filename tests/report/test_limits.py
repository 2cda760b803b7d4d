"""Each caveat appears in a world that calls for it, and not in one that does not."""

from __future__ import annotations

import pandas as pd
import pytest

from streetgauge.evaluation import describe_scheme
from streetgauge.report.text import evaluation
from streetgauge.report.text.caveats import leak_messages, limits, seen, years_of
from streetgauge.settings import FoldSettings

LABELS = {"a": "Apples", "b": "Berries"}
SCHEME = describe_scheme(FoldSettings(), 5)
BLOCKS = {"description": "spatial block cross-validation (500 m, 5 folds)", "split_areas": 0}


def account(**more):
    return {"metrics": {"mae": {"value": 1.0, "low": 0.9, "high": 1.1}}, **more}


def said(scheme=SCHEME, second=None, kind="random", **accounts) -> str:
    metrics = {"classes": 10, "scheme": scheme, "outcomes": accounts, "kind": kind}
    if second is not None:
        other, how = ("spatial", BLOCKS) if kind == "random" else ("random", SCHEME)
        metrics["other_folds"] = {"kind": other, "outcomes": second, "scheme": how}
    return " ".join(limits(metrics, LABELS))


def off(value):
    return {"metrics": {"mae": {"value": value, "low": None, "high": None}}}


def coverage(share, n=100, decile=1):
    row = {"decile": decile, "n_areas": n, "share": share, "mean_width": 5.0}
    return {"intervals": {"level": 0.9, "share": 0.9, "by_decile": [row]}}


def misses(share, n=400):
    return {"n_areas": n, "intervals": {"level": 0.9, "share": share}}


def unlike(count, n=100, mae=2.5, others=1.5):
    own = {"n_areas": n, "n_outside": count, "share": count / n, "expected": 0.05, "mae": mae}
    return {"area_of_applicability": {**own, "inside": {"mae": others}}}


def slope(value, high):
    return {"extremes": {"slope": {"value": value, "low": value - 0.1, "high": high}}}


def moran(value, p):
    return {"structure": {"residuals": {"value": value, "expected": -0.01, "p": p}}}


def by_pictures(few, many):
    def cell(value):
        return {"mae": {"value": value, "low": value - 0.1, "high": value + 0.1}}

    return {"groups": {"images": {"few": cell(few), "many": cell(many)}}}


def dealt(largest):
    return {"shuffled": {"largest": largest, "chance": 0.2}}


@pytest.mark.parametrize(
    ("calls", "does_not", "text"),
    [
        (coverage(0.6), coverage(0.85), "Apples (decile 1: 60%)"),
        (coverage(0.6), coverage(0.6, n=9), "hold the actual one too seldom"),
        (misses(0.8), misses(0.88), "less often than they should: Apples (80%)"),
        (unlike(1), unlike(0), "1 area of 100 is outside the training distribution"),
        (unlike(20), unlike(6), "more than the 5% that chance gives"),
        (unlike(20), unlike(20, mae=1.5), "predicted worse for Apples."),
        (slope(0.6, 0.7), slope(0.9, 1.0), "drawn to the middle"),
        (moran(0.2, 0.01), moran(0.2, 0.3), "neighbouring areas are alike for Apples."),
        (moran(0.2, 0.01), moran(-0.2, 0.01), "They do not cancel"),
        (by_pictures(2.0, 1.0), by_pictures(1.1, 1.0), "few images are predicted clearly worse"),
        (dealt(0.3), dealt(0.1), "With shuffled classes"),
    ],
)
def test_a_caveat_appears_where_its_number_calls_for_it(calls, does_not, text):
    assert text in said(a=account(**calls))
    assert text not in said(a=account(**does_not))


def test_of_many_outcomes_a_caveat_gives_the_range_and_no_list():
    labels = {name: name.upper() for name in "abcd"}
    drawn = {name: account(**slope(0.4 + i / 10, 0.8)) for i, name in enumerate(labels)}
    text = " ".join(limits({"classes": 10, "scheme": SCHEME, "outcomes": drawn}, labels))
    assert "for all 4 outcomes" in text
    assert "differ by 0.40 (A) to 0.70 (D) deciles" in text
    assert "(B)" not in text


def test_nothing_is_reported_of_what_was_not_measured():
    assert said(a=account(), b=account()) == ""
    nothing = {"intervals": None, "area_of_applicability": None, "extremes": {}, "structure": None}
    assert said(a=account(**nothing)) == ""


def test_split_areas_are_counted():
    torn = describe_scheme(FoldSettings(), 5, split_areas=3)
    assert "3 areas are split: some of their locations" in said(scheme=torn, a=account())
    assert "torn" not in said(a=account())


@pytest.mark.parametrize("kind", ["random", "spatial"])
def test_leakage_is_what_spatial_folds_lose_whichever_are_the_studys_own(kind):
    near, far = {"a": off(1.5), "b": off(1.5)}, {"a": off(2.0), "b": off(1.52)}
    own, other = (near, far) if kind == "random" else (far, near)
    scheme = SCHEME if kind == "random" else BLOCKS
    text = said(scheme=scheme, kind=kind, second=other, **own)
    assert "rises by up to 0.50 deciles (Apples: 1.50 at random, 2.00 there)" in text
    assert "Berries" not in text
    assert "With spatial block cross-validation (500 m, 5 folds), the mean" in text
    assert "Knowing the neighbours" not in said(kind="random", second=near, **near)
    assert "Knowing the neighbours" not in said(kind="random", second=near, **far)


def table(**columns):
    return pd.DataFrame({"area": ["A", "B", "C"], **columns})


def pictures(frame=None, imagery=None, credits=(), vintages=None) -> str:
    provenance = {name: {"vintage": text} for name, text in (vintages or {}).items()}
    frame = table() if frame is None else frame
    return " ".join(seen(frame, imagery or {}, credits, provenance, LABELS))


@pytest.mark.parametrize(
    ("calls", "does_not", "text"),
    [
        ({"frame": table(n_views=[4, 40, 60])}, {"frame": table(n_views=[8, 40, 60])},
         "1 area of 3 rests on fewer than 8 images (the median area by 40)"),
        ({"frame": table(share_with_images=[0.2, 0.4, 1.0])},
         {"frame": table(share_with_images=[0.5, 1, 1])},
         "In 2 areas of 3 less than half"),
        ({"vintages": {"a": "2011"}, "imagery": {"captured": (2018, 2021)}},
         {"vintages": {"a": "2019"}, "imagery": {"captured": (2018, 2021)}},
         "taken in 2018 to 2021, statistics are of Apples 2011"),
        ({"vintages": {"a": "2019"}, "imagery": {"captured": (2008, 2020)}},
         {"vintages": {"a": "2019"}, "imagery": {"captured": (2018, 2020)}},
         "not of one time"),
        ({"vintages": {"a": "2011", "b": "2015/16"}}, {"vintages": {"a": "2011", "b": "2012"}},
         "different years: Apples 2011 and Berries 2015/16"),
        ({"vintages": {"a": "2011"}, "imagery": {"views": 4}}, {"vintages": {"a": "2011"}},
         "When the images were taken is not known"),
        ({"imagery": {"n": 100, "found": {"black": 5}, "exclude": ["black"]}},
         {"imagery": {"n": 100, "found": {}, "exclude": ["black"]}},
         "excluded for what they are: 5 black, of 100 (5%)"),
        ({"imagery": {"n": 100, "found": {"blurred": 7}, "exclude": ["black"]}},
         {"imagery": {"n": 100, "found": {"black": 7}, "exclude": ["black"]}},
         "Used although something was found wrong with them: 7 blurred"),
        ({"credits": [{"line": "9 images by Jo, Mapillary, CC BY-SA 4.0"}]}, {},
         "contributed: 9 images by Jo, Mapillary, CC BY-SA 4.0."),
    ],
)  # fmt: skip
def test_what_to_bear_in_mind_of_the_images(calls, does_not, text):
    assert text in pictures(**calls)
    assert text not in pictures(**does_not)


def test_outcomes_of_one_year_are_named_together_so_that_no_year_is_lost_among_many():
    labels = {name: name.upper() for name in "abcdefgh"}
    provenance = {name: {"vintage": "2019"} for name in labels} | {"c": {"vintage": "2011"}}
    said = " ".join(seen(table(), {}, (), provenance, labels))
    assert "different years: A, B, D and 4 others 2019; C 2011. Images" in said
    named = labels | {"c": "Income 2011"}
    four = {name: provenance[name] for name in "abcde"}
    said = " ".join(seen(table(), {}, (), four, named))
    assert "different years: A, B, D and 1 other 2019; Income 2011. Images" in said


def test_the_year_of_areas_is_not_taken_for_that_of_their_statistics():
    areas = {"vintage": "LSOA 2011", "areas": "LSOA 2011"}
    provenance = {"a": areas, "b": {"vintage": "2019", "areas": "LSOA 2011"}}
    assert " ".join(seen(table(), {}, (), provenance, LABELS)) == ""
    assert "2011" not in " ".join(seen(table(), {"views": 4}, (), provenance, LABELS))


def test_where_images_are_not_counted_locations_are():
    text = "2 areas of 3 rest on one or two locations"
    assert text in pictures(table(n_locations=[1, 2, 5]))
    assert text not in pictures(table(n_locations=[1, 2, 5], n_views=[9, 20, 40]))


def test_without_images_nothing_is_reported_of_them():
    assert pictures() == ""
    assert pictures(frame=table(n_views=[None] * 3, share_with_images=[None] * 3)) == ""


@pytest.mark.parametrize(
    ("text", "years"),
    [("2012/13", [2012]), ("2011 census, 2015", [2011, 2015]), (None, []), ("120115", [])],
)
def test_years_are_read_from_vintages(text, years):
    assert years_of(text) == years


def test_the_note_on_shuffled_labels_says_which_leaks_it_cannot_see() -> None:
    outcome = {"metrics": {}, "shuffled": {"largest": 0.1, "chance": 0.2}}
    (note,) = evaluation.notes(outcome, 10)
    assert note.startswith(
        "With shuffled labels Spearman’s ρ is at most 0.10, no more than chance gives."
    )
    assert "cannot see images or positions that training and test areas share" in note
    assert "or an outcome among the features" in note


def test_of_two_kinds_of_folds_the_first_that_share_are_stated():
    here, there = {"message": "own"}, {"message": "other"}
    assert leak_messages({"leaks": here, "other_folds": {"leaks": there}}) == ["own"]
    known = {"leaks": {"message": None}, "feature_leaks": [{"message": "column"}]}
    assert leak_messages({**known, "other_folds": {"leaks": there}}) == ["other", "column"]
    assert leak_messages({"outcomes": {}}) == []


def test_that_nothing_is_shared_is_stated_only_where_it_was_counted():
    def leaks(**more):
        metrics = {"classes": 10, "scheme": SCHEME, "outcomes": {}, "kind": "random", **more}
        return " ".join(limits(metrics, {}))

    clean = {"leaks": {"tested": 4000, "message": None}}
    assert "None of 4,000 tested locations has an image" in leaks(**clean)
    assert "None of" not in leaks()
    assert "None of" not in leaks(
        **clean, other_folds={"leaks": {"message": "shared"}, "kind": "x"}
    )
