"""Rendered images: deterministic, they show what they should; also for a real area table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import spearmanr

from streetgauge.errors import InputError
from streetgauge.synthetic.images import (
    VIEWS,
    Rendering,
    draw_view,
    latents_of_deciles,
    simulate_images,
    write_images,
)
from streetgauge.synthetic.model import LATENTS, OUTCOMES, VISIBLE, LatentModel
from streetgauge.synthetic.street import _season

SIZE = (96, 72)
ONE, TWO = Rendering(4, SIZE, workers=1), Rendering(4, SIZE, workers=2)
TINY = {"rendering": Rendering(size=(48, 36), workers=1)}


def _shown(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, len(VIEWS), len(VISIBLE)))


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_order_and_workers_do_not_change_a_byte(tmp_path: Path) -> None:
    ids = [f"QX{i}" for i in range(12)]
    shown = _shown(len(ids))
    write_images(tmp_path / "one", ids, shown, ONE)
    back = np.random.default_rng(2).permutation(len(ids))
    shuffled = [ids[i] for i in back]
    write_images(tmp_path / "two", shuffled, shown[back], TWO)
    assert _read(tmp_path / "one") == _read(tmp_path / "two")


def test_progress_counts_every_image(tmp_path: Path) -> None:
    from contextlib import contextmanager

    steps: list[int] = []

    @contextmanager
    def listen(description: str, total: int, unit: str):
        steps.append(-total)
        yield steps.append

    write_images(tmp_path, ["A1", "A2", "A3"], _shown(3), ONE, progress=listen)
    assert sum(steps) == 0
    assert len(steps) > 1


@pytest.mark.parametrize("size", [(256, 192), (97, 61), (224, 224)])
def test_images_have_the_size_asked_for(size: tuple[int, int]) -> None:
    image = draw_view(1, "A", "a", np.zeros(len(VISIBLE)), size)
    assert image.size == size
    assert image.mode == "RGB"


def _streets() -> Image.Image:
    """Draw 40 views on one sheet, each reduced to 24 by 18 means of colour."""
    sheet = Image.new("RGB", (4 * 24, 10 * 18))
    for row, shown in enumerate(_shown(10)):
        for column, view in enumerate(VIEWS):
            image = draw_view(4, f"QX{row}", view, shown[column], SIZE).reduce(4)
            sheet.paste(image, (24 * column, 18 * row))
    return sheet


def test_streets_look_as_stored() -> None:
    # The figures in the documentation are of this city: if its images change on purpose, measure
    # them anew and store _streets() in the file.
    stored = Image.open(Path(__file__).with_name("streets.png"))
    difference = np.asarray(_streets(), int) - np.asarray(stored, int)
    assert np.abs(difference).max() <= 1


def test_extreme_scenes_can_be_drawn() -> None:
    for level in (-9.0, 9.0):
        for kind in range(len(VISIBLE)):
            shown = np.zeros(len(VISIBLE))
            shown[kind] = level
            for view in VIEWS:
                pixels = np.asarray(draw_view(1, f"x{kind}", view, shown, SIZE))
                assert pixels.std() > 8  # not one flat colour


def _mean_over(kind: str, level: float, statistic, count: int = 24) -> list[float]:
    values = []
    for i in range(count):
        shown = np.zeros(len(VISIBLE))
        shown[VISIBLE.index(kind)] = level
        image = draw_view(3, f"p{i}", "abcd"[i % 4], shown, (128, 96))
        values.append(statistic(np.asarray(image, dtype=float)))
    return values


def _sky(pixels: np.ndarray) -> float:
    """How open the view is upwards: little detail in the upper half."""
    upper = pixels[: len(pixels) // 2].mean(axis=2)
    return -float(np.abs(np.diff(upper, axis=1)).mean())


def test_tall_houses_fill_the_sky() -> None:
    low, high = _mean_over("height", -1.6, _sky), _mean_over("height", 1.6, _sky)
    assert np.mean(low) > np.mean(high) + 1


def test_views_of_a_location_share_the_light_but_not_the_scene() -> None:
    shown = np.zeros(len(VISIBLE))
    top = {}
    for i in range(12):
        for view in "ac":
            pixels = np.asarray(draw_view(9, f"s{i}", view, shown, SIZE), dtype=float)
            top[i, view] = pixels[:6].mean(axis=(0, 1))
    blue = [np.array([top[i, view][2] - top[i, view][0] for i in range(12)]) for view in "ac"]
    assert spearmanr(*blue)[0] > 0.6
    a, c = (np.asarray(draw_view(9, "s0", view, shown, SIZE), dtype=float) for view in "ac")
    assert np.abs(a - c).mean() > 5


def test_what_is_shown_can_be_read_from_the_pixels() -> None:
    # Green share against street trees, at random strengths of everything, any season and light.
    rng = np.random.default_rng(0)
    trees, busy = [], []
    for i in range(160):
        shown = rng.standard_normal(len(VISIBLE))
        image = draw_view(7, f"q{i}", "ab"[i % 2], shown, SIZE)
        pixels = np.asarray(image.resize((48, 36), Image.Resampling.BOX), dtype=float)
        red, green, blue = np.moveaxis(pixels, 2, 0)
        busy.append(((green > 1.06 * blue) & (green > 0.98 * red)).mean())
        trees.append(shown[VISIBLE.index("trees")])
    assert 0.3 < spearmanr(trees, busy)[0] < 0.95


def _locations_and_deciles() -> tuple[pd.DataFrame, pd.DataFrame]:
    locations = pd.DataFrame(
        {"location_id": [f"BR1{i}" for i in range(6)], "area": ["E1", "E1", "E2", "E2", "E3", "E3"]}
    )
    deciles = pd.DataFrame(
        {"income": [1.0, 1, 10, 10, 5, 5], "noise_complaints": [2.0, 2, np.nan, np.nan, 7, 7]},
        index=pd.Index(locations["location_id"]),
    )
    return locations, deciles


def test_every_location_gets_four_images_and_a_best_score(tmp_path: Path) -> None:
    locations, deciles = _locations_and_deciles()
    oracle = simulate_images(locations, tmp_path, deciles, **TINY)
    assert len(list(tmp_path.glob("*.jpg"))) == 24
    assert list(oracle.columns) == ["location_id", "income", "noise_complaints"]
    assert oracle.notna().all(axis=None)


def test_shuffled_locations_have_the_same_images(tmp_path: Path) -> None:
    locations, deciles = _locations_and_deciles()
    simulate_images(locations, tmp_path / "a", deciles, **TINY)
    simulate_images(locations.iloc[::-1], tmp_path / "b", deciles.iloc[[3, 1, 2, 0, 5, 4]], **TINY)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_latents_follow_the_deciles() -> None:
    rng = np.random.default_rng(1)
    deciles = pd.DataFrame({"income": rng.integers(1, 11, 3000).astype(float)})
    areas = [f"E{i}" for i in range(3000)]
    latents = latents_of_deciles(deciles, areas, [OUTCOMES.index("income")], LatentModel(), 3)
    affluence = latents[:, LATENTS.index("affluence")]
    assert np.corrcoef(affluence, deciles["income"])[0, 1] > 0.8
    np.testing.assert_allclose(latents.std(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(np.corrcoef(latents.T), LatentModel().correlation, atol=0.08)


def test_unknown_deciles_leave_latents_free() -> None:
    deciles = pd.DataFrame({"income": np.full(2000, np.nan)})
    latents = latents_of_deciles(deciles, [f"E{i}" for i in range(2000)], [0], LatentModel(), 3)
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(latents.T), LatentModel().correlation, atol=0.1)


def test_locations_of_an_area_share_its_latents() -> None:
    deciles = pd.DataFrame({"income": [3.0, 3, 3]})
    latents = latents_of_deciles(deciles, ["E1", "E2", "E1"], [0], LatentModel(), 3)
    np.testing.assert_array_equal(latents[0], latents[2])
    assert not np.allclose(latents[0], latents[1])


def test_what_cannot_be_simulated_is_refused(tmp_path: Path) -> None:
    locations, deciles = _locations_and_deciles()
    twice = pd.concat([locations, locations.iloc[[2]]])
    with pytest.raises(InputError, match="'BR12' appears more than once"):
        simulate_images(twice, tmp_path, deciles, **TINY)
    with pytest.raises(InputError, match="'BR10' has no row"):
        simulate_images(locations, tmp_path, deciles.iloc[1:], **TINY)
    with pytest.raises(InputError, match="'wealth'"):
        simulate_images(locations, tmp_path, deciles, kinds={"income": "wealth"}, **TINY)


SEASONS = ("spring", "summer", "autumn", "winter")


def test_leaves_and_grass_of_every_season_are_colours() -> None:
    rng = np.random.default_rng(0)
    colours = np.array([colour for _ in range(400) for colour in _season(rng, SEASONS)[:2]])
    assert colours.min() >= 0
    assert colours.max() <= 255
