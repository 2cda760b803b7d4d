"""Which images are shown, how, and in how many bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.report import render
from streetgauge.report.gallery import (
    Gallery,
    Group,
    LocationImages,
    Shot,
    compose,
    extremes,
    heat,
    thumbnail,
    typical,
)

HOSTILE = '"><script>alert(1)</script>'


def predictions(areas: int = 10, each: int = 3, outcomes: tuple[str, ...] = ("income",)):
    """Score rises with the number of the location; three locations to an area."""
    rows = [
        {
            "location_id": f"L{i:03d}",
            "area": f"A{i // each:03d}",
            "outcome": outcome,
            "score": float(i) if outcome == "income" else -float(i),
            "decile": 1 + i // each,
            "actual_decile": 5,
        }
        for outcome in outcomes
        for i in range(areas * each)
    ]
    return pd.DataFrame(rows).astype({"actual_decile": "Int64"})


def pixels(value: int, height: int = 120, width: int = 200) -> np.ndarray:
    rng = np.random.default_rng(value)
    return rng.integers(0, 255, (height, width, 3)).astype(np.uint8)


def shot(location: str, view: str = "a", **more) -> Shot:
    src, width, height = thumbnail(pixels(int(location[1:])))
    return Shot(location, view, src, width, height, **{"licence": "CC0-1.0", **more})


def test_the_extremes_are_the_extremes_and_of_different_areas():
    chosen = extremes(predictions(), 2).set_index(["kind", "rank"])["location_id"]
    assert chosen["highest"].tolist() == ["L029", "L026"]
    assert chosen["lowest"].tolist() == ["L000", "L003"]
    assert chosen["median"].tolist() == ["L014", "L015"]


def test_the_choice_does_not_depend_on_the_order_of_the_rows():
    frame = predictions(outcomes=("income", "crime"))
    shuffled = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(extremes(frame, 3), extremes(shuffled, 3))
    pd.testing.assert_frame_equal(
        typical(frame, ["A003", "A001"], 2), typical(shuffled, ["A003", "A001"], 2)
    )


def test_each_outcome_has_its_own_extremes():
    chosen = extremes(predictions(outcomes=("income", "crime")), 1)
    highest = chosen[chosen["kind"] == "highest"].set_index("outcome")["location_id"]
    assert highest.to_dict() == {"crime": "L000", "income": "L029"}


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_locations_are_chosen_once_at_most(n):
    chosen = extremes(predictions().head(n), 3)
    assert len(chosen) == chosen["location_id"].nunique() <= n


def test_an_areas_typical_location_is_the_one_next_to_its_mean():
    frame = typical(predictions(), ["A002", "A000"], 1)
    assert frame[["area", "location_id"]].to_numpy().tolist() == [
        ["A002", "L007"],
        ["A000", "L001"],
    ]


def test_a_thumbnail_is_small_and_the_same_for_the_same_image():
    src, width, height = thumbnail(pixels(1, 1200, 1600))
    assert (width, height) == (160, 120)
    assert src == thumbnail(pixels(1, 1200, 1600))[0]
    image = Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2])))
    assert image.size == (160, 120)
    assert not image.getexif()
    assert len(src) < 20_000


def test_heat_lies_on_the_square_that_the_network_sees():
    effects = np.zeros((7, 7))
    effects[0, 6], effects[6, 0] = 0.5, -0.25
    whole = heat(effects, 0.5, (160, 120), None)  # of a network that sees all of the image
    assert (whole.x, whole.y, whole.width, whole.height) == (0, 0, 160, 120)
    drawn = heat(effects, 0.5, (160, 120), 0.5)
    assert (drawn.x, drawn.y, drawn.width, drawn.height) == (50, 30, 60, 60)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.src.partition(",")[2]))))
    assert image.shape == (7, 7, 4)
    blue, orange = image[0, 6], image[6, 0]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert abs(int(blue[3]) - 2 * int(orange[3])) <= 1
    assert (image[..., 3] > 0).sum() == 2


@pytest.mark.parametrize("licence", ["", "  "])
def test_an_image_without_a_licence_cannot_be_made(licence):
    with pytest.raises(ValueError, match="no licence"):
        shot("L001", licence=licence)


def test_only_web_addresses_become_links():
    assert shot("L001", url="https://example.org/1").link == "https://example.org/1"
    assert shot("L001", url="javascript:alert(1)").link == ""


def composed(budget: int, **more) -> Gallery:
    chosen = extremes(predictions(), 3)
    shots = {each: [shot(each, v) for v in "abcd"] for each in chosen["location_id"]}
    cards = [(f"A{i:03d}", shot(f"L{3 * i:03d}")) for i in range(10)]
    return compose(chosen, shots, cards, budget=budget, **more)


def size(gallery: Gallery) -> int:
    places = [p for groups in gallery.outcomes.values() for g in groups for p in g.locations]
    shots = [s for p in places for s in p.shots] + [s for a in gallery.areas.values() for s in a]
    return sum(each.size for each in shots)


def test_more_bytes_show_more_and_none_are_more_than_allowed():
    counts = []
    for budget in (10**7, 600_000, 200_000, 60_000, 1000):
        gallery = composed(budget)
        assert size(gallery) <= budget
        groups = [g for each in gallery.outcomes.values() for g in each]
        assert len({len(g.locations) for g in groups}) <= 1  # all kinds alike
        counts.append(sum(len(p.shots) for g in groups for p in g.locations))
    assert counts[0] == 36
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_a_location_without_readable_images_is_excluded():
    chosen = extremes(predictions(), 1)
    gallery = compose(chosen, {"L029": [shot("L029")]}, [], budget=10**6)
    assert [g.kind for g in gallery.outcomes["income"]] == ["highest"]
    assert compose(chosen, {}, [], budget=10**6).outcomes == {}


def test_the_explained_view_comes_first():
    effects = np.eye(7)
    heats = {("income", "L029", "c"): heat(effects, 1.0, (160, 96), 1.0)}
    gallery = composed(10**7, heats=heats, largest={"income": 1.0, "gone": 2.0})
    first = gallery.outcomes["income"][0].locations[0].shots
    assert [s.view for s in first] == ["c", "a", "b", "d"]
    assert first[0].heat is not None
    assert gallery.largest == {"income": 1.0}


def test_the_page_shows_images_with_their_makers(make_study):
    gallery = composed(10**7)
    page = render(make_study(gallery=gallery, images=gallery.cards()))
    assert "What the networks saw" in page
    assert gallery.outcomes["income"][0].locations[0].shots[0].src in page
    assert "Images: CC0-1.0." in page
    assert page == render(make_study(gallery=composed(10**7), images=gallery.cards()))


def test_images_of_several_makers_name_each_next_to_it(make_study):
    gallery = composed(10**7)
    group = gallery.outcomes["income"][0]
    own = (
        shot("L001", attribution="Jo, Mapillary", licence="CC BY-SA 4.0", url="https://m.org/1"),
    )
    named = replace(group, locations=(replace(group.locations[0], shots=own), *group.locations[1:]))
    gallery = replace(gallery, outcomes={"income": (named,)})
    page = render(make_study(gallery=gallery))
    assert (
        'href="https://m.org/1" rel="noopener noreferrer">Jo, Mapillary, CC BY-SA 4.0</a>' in page
    )


def test_hostile_names_are_text(make_study):
    place = LocationImages(
        HOSTILE, HOSTILE, 0.5, 6, None,
        (shot("L001", HOSTILE, attribution=HOSTILE, licence=HOSTILE),),
    )  # fmt: skip
    gallery = Gallery(
        {"income": (Group("highest", (place,)),)},
        {"A000": place.shots},
        {"income": 0.2},
        HOSTILE,
    )
    page = render(make_study(gallery=gallery, images=gallery.cards()))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_page_without_images_says_why_or_nothing(make_study):
    why = "No images are shown: the study does not say what allows showing them."
    assert why in render(make_study(gallery=Gallery(note=why)))
    page = render(make_study())
    assert "No images" not in page
    assert "What the networks saw" not in page
