"""What moved a score is found where it is."""

from __future__ import annotations

import numpy as np
import pytest

from streetgauge.features import get_backbone
from streetgauge.features.occlusion import covered, grey_of, occlusion

GREY = (127, 127, 127)


def image(side: int = 70) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 120, (side, side, 3)).astype(np.uint8)


def corner(images: np.ndarray) -> np.ndarray:
    """Look at the upper right corner only."""
    return images[:, :10, -10:].mean(axis=(1, 2, 3))


def test_a_network_that_sees_one_corner_is_found_out():
    effects = occlusion(image(), corner, colour=GREY, grid=7)
    assert effects.shape == (7, 7)
    # What stands in the corner is darker than the grey that covers it: it lowers the score.
    assert np.unravel_index(effects.argmin(), effects.shape) == (0, 6)
    assert effects[0, 6] < 0
    assert (effects[2:] == 0).all()
    assert (effects[:, :5] == 0).all()


def test_a_part_that_raises_the_score_is_positive():
    assert occlusion(image(), lambda p: -corner(p), colour=GREY)[0, -1] > 0


def test_scores_of_several_outcomes_are_separate():
    def both(images: np.ndarray) -> np.ndarray:
        return np.stack([corner(images), -2 * corner(images)], axis=1)

    effects = occlusion(image(), both, colour=GREY)
    assert effects.shape == (7, 7, 2)
    np.testing.assert_allclose(effects[..., 1], -2 * effects[..., 0])


def test_an_image_that_is_grey_already_has_nothing_that_moves_the_score():
    grey = np.full((56, 56, 3), 127, dtype=np.uint8)
    assert not occlusion(grey, corner, colour=GREY).any()


@pytest.mark.parametrize(("side", "grid"), [(224, 7), (50, 7), (9, 3)])
def test_every_pixel_is_covered_and_the_image_itself_is_left_as_it_is(side, grid):
    own = np.zeros((side, side, 3), dtype=np.uint8)
    parts = covered(own, grid, (9, 8, 7))
    assert parts.shape == (grid * grid, side, side, 3)
    assert (parts.max(axis=0) == (9, 8, 7)).all()
    assert not own.any()
    assert all(part.any() and not part.all() for part in parts)


def test_the_grey_is_what_a_network_takes_for_nothing():
    assert grey_of(get_backbone("efficientnet-lite0")) == (127, 127, 127)
    assert grey_of(get_backbone("vgg16-torchvision-fc6")) == (124, 116, 104)
