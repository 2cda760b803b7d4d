"""Feature stores as Zarr and Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore, export, export_store

IDS = ["L1", "L2", "Zürich", "x"]
TEXTS = {"backbone": "test", "weights_sha256": "00", "transform": "{}", "cache_key": "s"}


def made(path: Path, dtype: str = "float32") -> FeatureStore:
    """Four locations: all views, one view, not done, all views."""
    features = np.random.default_rng(0).normal(size=(4, 2, 5)).astype(np.float32)
    present = np.array([[True, True], [False, True], [True, False], [True, True]])
    done = np.array([True, True, False, True])
    with FeatureStore.create(path, IDS, ["a", "b"], 5, TEXTS, dtype=dtype) as store:  # type: ignore[arg-type]
        store.write(np.arange(4), features, present, done)
    return FeatureStore.open(path)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parquet_has_a_row_for_each_view_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    store = made(tmp_path / "f.h5", dtype)
    monkeypatch.setattr(export, "BLOCK", 50)  # several blocks
    lines = export_store(store, tmp_path / "f.parquet", "parquet")
    assert "3 locations" in lines[0]
    table = pd.read_parquet(tmp_path / "f.parquet")
    rows = [("L1", "a"), ("L1", "b"), ("L2", "b"), ("x", "a"), ("x", "b")]
    assert list(zip(table["location_id"], table["view"], strict=True)) == rows
    for location, view, features in table.itertuples(index=False):
        slot, column = store.rows([location])[0], store.views.index(view)
        np.testing.assert_array_equal(features, store.features[slot, column].astype(np.float32))
    metadata = json.loads(pq.read_schema(tmp_path / "f.parquet").metadata[b"streetgauge"])
    assert metadata["backbone"] == "test"
    assert metadata["dtype"] == dtype


def test_zarr_has_the_arrays_of_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is an extra, and is not installed")
    store = made(tmp_path / "f.h5")
    monkeypatch.setattr(export, "BLOCK", 50)
    monkeypatch.setattr(export, "CHUNK", 50)
    export_store(store, tmp_path / "f.zarr", "zarr")
    group = zarr.open_group(str(tmp_path / "f.zarr"), mode="r")
    assert list(group["location_id"][:]) == ["L1", "L2", "x"]
    rows = store.rows(["L1", "L2", "x"])
    np.testing.assert_array_equal(group["features"][:], store.features[rows])
    np.testing.assert_array_equal(group["present"][:], store.present[rows])
    assert group.attrs["backbone"] == "test"
    assert group.attrs["views"] == ["a", "b"]
    export_store(store, tmp_path / "f.zarr", "zarr", force=True)


def test_zarr_that_is_not_installed_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="zarr is not installed; pip install zarr"):
        export_store(made(tmp_path / "f.h5"), tmp_path / "f.zarr", "zarr")
    assert not (tmp_path / "f.zarr").exists()


def test_what_is_there_is_not_written_over_unless_asked(tmp_path: Path) -> None:
    store = made(tmp_path / "f.h5")
    out = tmp_path / "f.parquet"
    export_store(store, out, "parquet")
    with pytest.raises(InputError, match=r"exists already.*--force"):
        export_store(store, out, "parquet")
    export_store(store, out, "parquet", force=True)
    with pytest.raises(InputError, match="nothing that this command writes"):
        export_store(store, tmp_path, "parquet", force=True)


@pytest.mark.parametrize("form", ["parquet", "zarr"])
def test_a_file_or_folder_of_another_kind_is_never_written_over(tmp_path: Path, form: str) -> None:
    if form == "zarr":
        pytest.importorskip("zarr")
    store = made(tmp_path / "f.h5")
    table = tmp_path / "table"
    pd.DataFrame({"a": [1]}).to_parquet(table)
    notes, group = tmp_path / "notes", tmp_path / "group"
    notes.write_text("mine")
    group.mkdir()
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    for mine in (table, notes, group):
        with pytest.raises(InputError, match="nothing that this command writes"):
            export_store(store, mine, form, force=True)  # type: ignore[arg-type]
    assert notes.read_text() == "mine"
    assert (group / ".zgroup").exists()


def test_a_store_without_a_finished_location_is_refused(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "f.h5", IDS, ["a"], 5, TEXTS).close()
    with pytest.raises(InputError, match="no location is done"):
        export_store(FeatureStore.open(tmp_path / "f.h5"), tmp_path / "f.parquet", "parquet")


def test_the_command_takes_a_study_or_a_store(
    grid: Path,
    tmp_path: Path,
    run: Callable[..., tuple[int, str, str]],
    refuse: Callable[..., str],
) -> None:
    for stage in ("outcomes", "locations", "features"):
        assert run(stage, grid)[0] == 0
    code, _, err = run("export", grid, "--features", "parquet", "--out", tmp_path / "a.parquet")
    assert code == 0, err
    store = grid / "features" / "shares.h5"
    assert run("export", store, "--features", "parquet", "--out", tmp_path / "b.parquet")[0] == 0
    first, second = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(first, second)
    assert len(first) == 2 * 49 * 8
    message = refuse("export", grid, "--features", "csv", "--out", tmp_path / "c")
    assert "there are zarr, parquet" in message


def test_float16_goes_through_the_whole_chain(
    grid: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    file = grid / "study.toml"
    text = file.read_text(encoding="utf-8").replace(
        'name = "shares"', 'name = "half"\ndtype = "float16"'
    )
    file.write_text(text, encoding="utf-8")
    code, _, err = run("run", grid)
    assert code == 0, err
    store = FeatureStore.open(grid / "features" / "half.h5")
    assert store.features.dtype == np.float16
    metrics = json.loads((grid / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["outcomes"]["income"]["metrics"]["spearman"]["value"] > 0.8
    assert run("export", grid, "--out", grid.parent / "bundle")[0] == 0
    places = grid.parent / "places.csv"
    pd.DataFrame({"location_id": store.location_ids[:30]}).to_csv(places, index=False)
    code, _, err = run(
        "predict",
        grid.parent / "bundle",
        "--features",
        store.path,
        "--locations",
        places,
        "--out",
        grid.parent / "out",
    )
    assert code == 0, err
    predictions = pd.read_parquet(grid.parent / "out" / "predictions.parquet")
    assert predictions["location_id"].nunique() == 30
    code, out, _ = run("info", store.path)
    assert "float16 a view" in out.replace("\n", " ")
