"""Python in three lines: a table of features, an evaluation and a map."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import matplotlib
import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

import streetgauge
from streetgauge.errors import InputError

matplotlib.use("Agg")
LEVELS = ["low", "mid", "high"]
KERNEL = {
    "train": {"learner": "kernel"},
    "folds": {"k": 3, "other_folds": False},
    "evaluation": {"draws": 100},
}


def painted(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two locations of two views each, of which one image is broken."""
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(("SE1_a", "SE1_b", "SE2_a")):
        painted(seed).save(folder / f"{name}.png")
    (folder / "SE2_b.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def samples(n_areas: int = 45) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    areas = np.repeat([f"A{i:02d}" for i in range(n_areas)], 2)
    code = np.repeat(np.arange(n_areas) % 3, 2)
    return code[:, None] + rng.normal(0, 0.4, (len(code), 4)), code, areas


@pytest.fixture(scope="module")
def result() -> Any:
    X, code, areas = samples()
    rng = np.random.default_rng(2)
    places = pd.DataFrame({"lat": 51.5, "lon": rng.uniform(0, 0.1, len(areas))})
    y = pd.Series(pd.Categorical.from_codes(code, LEVELS, ordered=True), name="income level")
    return streetgauge.evaluate(X, y, areas, coordinates=places, settings=KERNEL)


def test_the_package_shows_its_functions_and_loads_a_subpackage_when_it_is_used() -> None:
    assert {"embed", "evaluate", "map", "Results", "evaluation"} <= set(dir(streetgauge))
    assert streetgauge.evaluation.__name__ == "streetgauge.evaluation"


def test_every_image_gets_a_row_of_features_and_a_broken_one_a_reason(
    images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = streetgauge.embed(images)
    assert frame.shape == (3, 1280)
    assert list(frame.index) == ["SE1_a.png", "SE1_b.png", "SE2_a.png"]
    assert frame.index.name == "file"
    assert frame.dtypes.eq("float32").all()
    assert list(frame.attrs["skipped"]) == ["SE2_b.png"]
    assert json.dumps(frame.attrs)  # a frame with other attributes cannot be written as Parquet
    assert "1 of 4 files were skipped, e.g. SE2_b.png: " in caplog.text


def test_a_pattern_gives_rows_by_location_and_view(images: Path) -> None:
    from streetgauge.frames import _index_of, _list_images

    pattern = "{location_id}_{view}.png"
    found, _ = _list_images(images, pattern)
    assert list(found["view"]) == ["a", "b", "a", "b"]
    index = _index_of(found["location_id"], found["view"], pattern)
    assert index[0] == ("SE1", "a")
    assert index.names == ["location_id", "view"]
    assert _index_of(found["location_id"], found["view"], "*_{location_id}.png").nlevels == 1


@pytest.mark.parametrize(
    ("names", "pattern", "reason"),
    [
        ((), None, "the folder is empty"),
        (("a.mp4", "b.mp4", "c.txt"), None, r"no image in it, but 2 videos; extract images"),
        (("x.jpg",), "{location_id}_{view}.jpg", "no file fits"),
    ],
)
def test_a_folder_without_an_image_is_refused(
    tmp_path: Path, names: tuple[str, ...], pattern: str | None, reason: str
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match=reason):
        streetgauge.embed(tmp_path, pattern)


def test_a_folder_that_is_not_there_is_refused_without_a_setting_of_a_study(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; name a folder or an archive with images"):
        streetgauge.embed(tmp_path / "none")


def test_an_evaluation_compares_learners_baselines_and_the_best_estimate(result: Any) -> None:
    table = result.table.loc["income_level"]
    assert table["mae"]["features"] < 0.2 < table["mae"]["constant"]
    assert {"best-estimate", "nearest-areas", "kriging", "linear"} <= set(table.index)
    assert (table["mae_low"] <= table["mae"])[["features", "best-estimate"]].all()
    assert result.classes == tuple(LEVELS)
    areas = result.areas("income_level")
    assert (areas["actual_decile"] == [int(a[1:]) % 3 + 1 for a in areas.index]).all()
    assert repr(result).startswith("Evaluation of 45 areas, 3 classes, ")
    assert "nearest-areas" in repr(result)
    gain = result.table.loc["income_level", "mae"]["constant"]
    assert f"lower by {gain:.2f} (" in repr(result)
    assert "<table" in result._repr_html_()
    assert result.plot().axes


def test_an_evaluation_is_a_study_that_is_not_written_over(result: Any) -> None:
    X, code, areas = samples()
    assert len(result.predictions()) == len(X)
    with pytest.raises(InputError, match="there is a study in it"):
        streetgauge.evaluate(X, code, areas, directory=result.files.directory)


def test_views_of_a_location_are_one_sample_and_values_may_be_by_location_or_group() -> None:
    from streetgauge.frames import _labels, _rows_of

    index = pd.MultiIndex.from_product([["L1", "L2", "L3"], ["a", "b"]])
    rows = _rows_of(pd.DataFrame(np.zeros((6, 2)), index))
    groups = pd.Series({"L1": "A", "L2": "B", "L3": "A"})
    table, scales = _labels(pd.Series({"B": 2, "A": 1}), groups, rows, None)
    assert table["area"].to_dict() == {"L1": "A", "L2": "B", "L3": "A"}
    assert table["y"].to_dict() == {"L1": 1, "L2": 2, "L3": 1}
    assert scales == {"y": [1, 2]}
    assert list(_rows_of(np.zeros((2, 3, 4))).index) == ["00000000"] * 3 + ["00000001"] * 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"groups": ["A", "B"] * 45}, "group 'A': its rows have several classes"),
        ({"groups": ["A", "B", "C"] * 30, "y": [1, 2, 3] * 30}, "3 groups leave a fold of 5 empty"),
        ({"groups": ["A"] * 5}, "groups: it has 5 values and X 90 rows"),
        ({"y": ["low", "mid", "high"] * 30}, r"order of its classes \(low, mid, high.* classes="),
        ({"y": np.linspace(0, 1, 90)}, "measured values, not classes; cut them into classes"),
        ({"X": np.full((90, 2), np.nan)}, "X, row 0: it has a value that is not a finite number"),
        ({"coordinates": np.full((90, 2), 4e5)}, "they are not degrees"),
        ({"classes": [0, 1]}, r"y: 2 is none of classes=\[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(
    changes: dict[str, Any], reason: str
) -> None:
    X, y, groups = samples()
    with pytest.raises(InputError, match=reason):
        streetgauge.evaluate(**{"X": X, "y": y, "groups": groups, **changes})


@pytest.fixture
def areas() -> gpd.GeoDataFrame:
    boxes = [shapely.box(i, 0, i + 1, 1) for i in range(4)]
    columns = {"mine": [10.5, 30.1, 20.7, np.nan], "decile": [1, 4, 2, 3], "name": list("wxyz")}
    return gpd.GeoDataFrame(columns, geometry=boxes, index=list("ABCD"), crs="EPSG:4326")


def payload(page: Path) -> Any:
    text = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))
    assert text is not None
    return json.loads(text[1])


def test_a_map_shows_numbers_as_classes_of_equal_count_and_classes_as_they_are(
    areas: gpd.GeoDataFrame, tmp_path: Path
) -> None:
    page = streetgauge.map(areas, "mine", tmp_path / "mine.html", classes=3, title="<My> map")
    content = payload(page)
    assert content["codes"] == list("ABCD")
    assert content["outcomes"][0]["decile"] == [1, 3, 2, None]
    assert content["outcomes"][0]["score"] == [10.5, 30.1, 20.7, None]
    assert "&lt;My&gt; map" in page.read_text("utf-8")
    page = streetgauge.map(areas, "decile", page, actual="decile")
    assert payload(page)["outcomes"][0]["actual"] == [1, 4, 2, 3]
    assert payload(page)["classes"] == 4


def test_a_map_that_cannot_be_made_is_refused(areas: gpd.GeoDataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no column 'mean'"):
        streetgauge.map(areas, "mean", tmp_path / "x.html")
    with pytest.raises(InputError, match="it holds no numbers"):
        streetgauge.map(areas, "name", tmp_path / "x.html")
    (tmp_path / "mine.html").write_text("my own")
    with pytest.raises(InputError, match="nothing that this command writes"):
        streetgauge.map(areas, "decile", tmp_path / "mine.html")


def test_without_torch_one_sentence_says_so_and_what_needs_none_works(images: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import streetgauge\n"
        "from streetgauge.cli import main\n"
        f"try: streetgauge.embed({str(images)!r})\n"
        "except streetgauge.errors.InputError as error: print(error)\n"
        "sys.argv = ['streetgauge', 'outcomes', 'list']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("PyTorch: it is not installed")
    assert "bad-health" in done.stdout
    assert "Traceback" not in done.stderr
