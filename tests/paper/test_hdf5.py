"""From archives of four images a location to the HDF5 that the published code reads.

Its reader opens the file with h5py, takes the dataset `features` of shape [N, 4, 4096] in float32,
and reads row after row.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.features import FeatureStore

TEXTS = {"backbone": "test", "weights_sha256": "00", "transform": "{}", "cache_key": "s1"}


def test_the_reference_s_reader_reads_it(tmp_path: Path) -> None:
    """It opens the file with h5py, takes the dataset `features`, and reads row after row."""
    ids, views = [f"L{i}" for i in range(7)], ["a", "b", "c", "d"]
    features = np.random.default_rng(0).normal(size=(7, 4, 4096)).astype(np.float32)
    with FeatureStore.create(tmp_path / "f.h5", ids, views, 4096, TEXTS) as store:
        store.write(np.arange(7), features, np.ones((7, 4), dtype=bool))
    file = h5py.File(tmp_path / "f.h5", "r")
    codes = file["features"]
    assert codes.shape == (7, 4, 4096)
    assert codes.dtype == np.float32
    for i in np.random.default_rng(1).permutation(7):
        for view in range(4):
            np.testing.assert_array_equal(codes[i, view, :], features[i, view])
    np.testing.assert_array_equal(codes[[0, 3, 5]], features[[0, 3, 5]])
    file.close()


def colour(location: int, view: int) -> tuple[int, int, int]:
    return 20 * location + 7, 60 * view + 11, 255 - 9 * location


def write_archives(folder: Path, damaged: dict[str, bytes | None]) -> None:
    """Six locations in archives of three, each image in one colour of its own, as PNG."""
    for archive in (0, 1):
        with tarfile.open(folder / f"{archive}.tgz", "w:gz") as tar:
            for location in range(3 * archive, 3 * archive + 3):
                for view, letter in enumerate("abcd"):
                    name, file = f"{location}_{letter}.png", io.BytesIO()
                    Image.new("RGB", (320, 240), colour(location, view)).save(file, "PNG")
                    content = damaged.get(name, file.getvalue())
                    if content is not None:
                        info = tarfile.TarInfo(name)
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))


def of_colours(images: np.ndarray) -> np.ndarray:
    """Stand in for fc6: the mean colour, again and again, minus 200 so that most are negative."""
    mean = images.mean(axis=(1, 2), dtype=np.float32) - 200
    return np.tile(mean, 1366)[:, :4096]


@pytest.mark.parametrize("whole", [True, False])
def test_four_images_a_location_in_archives_become_n_by_4_by_4096_and_no_row_moves(
    tmp_path: Path, extract_with: Callable[..., pd.DataFrame], whole: bool
) -> None:
    damaged = {} if whole else {"1_c.png": b"no image", "4_a.png": None}
    write_archives(tmp_path, damaged)
    ids = [str(i) for i in range(6)]
    skipped = extract_with(of_colours, tmp_path, "*.tgz/{location_id}_{view}.png", ids)
    with h5py.File(tmp_path / "features.h5") as file:
        codes, found = file["features"][:], file["location_id"].asstr()[:]
        done = file["done"][:]
    assert codes.shape == (6, 4, 4096)
    assert codes.dtype == np.float32
    assert found.tolist() == ids
    missing = [] if whole else ["1", "4"]  # all four images, or none
    assert found[~done].tolist() == missing
    assert set(skipped["location_id"]) == {each for each in missing if each == "1"}
    for row, location in enumerate(found):
        for view in range(4) if done[row] else ():
            expected = np.subtract(colour(int(location), view), 200, dtype=np.float32)
            np.testing.assert_allclose(codes[row, view, :3], expected)
            np.testing.assert_array_equal(codes[row, view], np.resize(codes[row, view, :3], 4096))
