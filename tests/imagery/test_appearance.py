"""What an image looks like in numbers: known answers, and what a drawn city knows of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import spearmanr

from streetgauge.imagery import APPEARANCE, appearance_of
from streetgauge.synthetic.chance import key_of
from streetgauge.synthetic.images import VIEWS, draw_view
from streetgauge.synthetic.model import VISIBLE
from streetgauge.synthetic.street import Weather, draw_street, make_weather

SIDE = 40
SIZE = (192, 144)
GREEN_CHANNEL = 1
CHANGED = 40  # of 255, by which a pixel changes that is made of something
GREY, LEAF, BLUE = (128, 128, 128), (60, 140, 50), (120, 170, 230)


def _measured(image: np.ndarray) -> dict[str, float]:
    return dict(zip(APPEARANCE, appearance_of(image[None])[0].tolist(), strict=True))


def _filled(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def test_a_grey_wall_has_no_greenery_no_colour_and_no_edge() -> None:
    found = _measured(_filled(GREY))
    assert found["greenery"] == found["edges"] == 0
    assert found["colourfulness"] == pytest.approx(0, abs=1e-5)


def test_greenery_is_the_share_of_green_pixels() -> None:
    image = _filled(GREY)
    image[:, :10] = LEAF
    assert _measured(image)["greenery"] == pytest.approx(10 / SIDE)
    dark = (image // 3).astype(np.uint8)  # shares of a pixel's sum do not depend on the light
    assert _measured(dark)["greenery"] == pytest.approx(10 / SIDE)


def test_sky_ends_at_the_first_step_down_a_column() -> None:
    image = _filled(BLUE)
    image[16:] = (90, 80, 70)  # a house; its edge takes one row of the sky
    assert _measured(image)["sky"] == pytest.approx(15 / SIDE)
    image[30:] = BLUE  # bright again below the house: no sky
    assert _measured(image)["sky"] == pytest.approx(15 / SIDE)
    assert _measured(_filled((40, 40, 40)))["sky"] == 0  # dark
    assert _measured(_filled(LEAF))["sky"] == 0  # the crown of a tree


def test_edges_count_the_pixels_at_a_step() -> None:
    image = _filled((40, 40, 40))
    image[:, 20:] = 220
    assert _measured(image)["edges"] == pytest.approx(2 / SIDE)


def test_colourfulness_is_that_of_hasler_and_suesstrunk() -> None:
    image = _filled((200, 0, 0))
    # rg = 200 and yb = 100 everywhere: no spread, and 0.3 of the length of the mean.
    assert _measured(image)["colourfulness"] == pytest.approx(0.3 * np.hypot(200, 100))


def test_an_image_does_not_depend_on_the_others() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    together = appearance_of(images)
    assert together.shape == (3, len(APPEARANCE))
    assert (together[1] == appearance_of(images[1:2])[0]).all()
    assert appearance_of(images[:0]).shape == (0, len(APPEARANCE))


def drawn_shares(
    seed: int, location_id: str, view: str, shown: Sequence[float], size: tuple[int, int]
) -> dict[str, float]:
    """Give how much of an image is drawn as green plants and as sky: the truth about `draw_view`.

    The same scene is drawn with these things in other colours, without haze and clouds; what
    changes is made of them. Leaves and grass count where their season's colour is green.
    """
    weather = make_weather(Random(key_of(seed, location_id, "weather")))
    strength = dict(zip(VISIBLE, (float(p) for p in ndtr(np.asarray(shown))), strict=True))
    along = VIEWS.index(view) % 2 == 0
    palette = weather.palette
    plants: dict[str, Any] = {
        name: (255.0, 0.0, 255.0)
        for name in ("leaf", "grass")
        if max(range(3), key=getattr(palette, name).__getitem__) == GREEN_CHANNEL
    }
    black = replace(weather, haze=math.inf, clouds=0.0, sky=((0.0,) * 3, (0.0,) * 3))
    others = {
        "greenery": replace(black, palette=replace(palette, **plants)),
        "sky": replace(black, sky=((255.0,) * 3, (255.0,) * 3)),
    }

    def drawn(weather: Weather) -> NDArray[np.int16]:
        rng = Random(key_of(seed, location_id, view))
        image = draw_street(strength, weather, rng, along=along, size=size)
        return np.asarray(image).astype(np.int16)

    plain = drawn(black)
    return {
        name: float((np.abs(drawn(each) - plain).max(axis=2) > CHANGED).mean())
        for name, each in others.items()
    }


def test_greenery_and_sky_of_a_drawn_city_are_recovered() -> None:
    rng = np.random.default_rng(0)
    drawn, measured = [], []
    for i in range(60):
        shown = rng.standard_normal(len(VISIBLE))
        which = (3, f"Q{i}", VIEWS[i % 2], shown, SIZE)
        drawn.append(drawn_shares(*which))
        measured.append(_measured(np.asarray(draw_view(*which))))
    for name in ("greenery", "sky"):
        truth = [each[name] for each in drawn]
        assert np.std(truth) > 0.05
        assert spearmanr(truth, [each[name] for each in measured])[0] >= 0.8
