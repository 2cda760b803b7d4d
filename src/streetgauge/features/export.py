"""Feature stores in the formats of others: Zarr and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from streetgauge.errors import InputError
from streetgauge.features.store import FeatureStore
from streetgauge.features.store_file import FORMAT
from streetgauge.io.files import atomic_directory, atomic_path
from streetgauge.progress import Progress, silent
from streetgauge.study.outputs import refuse_existing

BLOCK = 32 << 20  # bytes of features that are copied at a time
CHUNK = 4 << 20  # bytes of a chunk of Zarr


def export_store(
    store: FeatureStore,
    out: Path,
    form: Literal["zarr", "parquet"],
    *,
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Copy the locations that are done, in their order.

    Parameters
    ----------
    store : FeatureStore
        What is copied.
    out : Path
        Parquet: a file with a row for each view that is present: ``location_id``, ``view``,
        ``features`` (a list of D float32). Zarr (format 2): a directory with the arrays
        ``features`` [n, V, D], ``present`` [n, V] and ``location_id`` [n]. The store's attributes
        go along, in Parquet as JSON in the schema's metadata under ``streetgauge``.
    form : {"zarr", "parquet"}
        Which.
    force : bool
        Write over what is there, if it is such an export.
    progress : Progress
        Reports every location.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If something is at ``out``, no location is done, or zarr is not installed.
    """
    if form == "zarr" and find_spec("zarr") is None:
        raise InputError("format 'zarr'", "zarr is not installed", "pip install zarr")
    ours = out.exists() and _attributes_in(out, form).get("format") == FORMAT
    refuse_existing(out, ours=ours, force=force)
    rows = np.flatnonzero(store.done)
    if not len(rows):
        raise InputError(store.path, "no location is done", "make its features first")
    with progress(f"{form} export", len(rows), "locations") as advance:
        write = _to_zarr if form == "zarr" else _to_parquet
        for count in write(store, rows, out):
            advance(count)
    _, views, dimension = store.features.shape
    return [f"Wrote {out}: {len(rows):,} locations, {views} views, {dimension:,} features."]


def _attributes_in(out: Path, form: str) -> dict[str, Any]:
    """Give the attributes in an export; nothing of any other file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if form == "zarr":
            stored = json.loads((out / ".zattrs").read_text(encoding="utf-8"))
        else:
            stored = json.loads((pq.read_schema(out).metadata or {}).get(b"streetgauge", b"{}"))
    except (OSError, ValueError, pa.ArrowException):
        return {}
    return stored if isinstance(stored, dict) else {}


def _blocks(store: FeatureStore, rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    size = max(1, BLOCK // store.features[:1].nbytes)
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _to_parquet(store: FeatureStore, rows: npt.NDArray[np.intp], out: Path) -> Iterator[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    dimension = store.features.shape[2]
    schema = pa.schema(
        [
            ("location_id", pa.string()),
            ("view", pa.string()),
            ("features", pa.list_(pa.float32(), dimension)),
        ],
        metadata={b"streetgauge": json.dumps(store.attributes, sort_keys=True).encode()},
    )
    views = np.array(store.views)
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for part in _blocks(store, rows):
            there = store.present[part]
            slot, view = np.nonzero(there)
            numbers = store.features[part][there].astype(np.float32, copy=False)
            columns = [
                pa.array(store.location_ids[part][slot], pa.string()),
                pa.array(views[view], pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), dimension),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            yield len(part)


def _to_zarr(store: FeatureStore, rows: npt.NDArray[np.intp], out: Path) -> Iterator[int]:
    from importlib import import_module

    zarr: Any = import_module("zarr")
    _, views, dimension = store.features.shape
    each = min(len(rows), max(1, CHUNK // store.features[:1].nbytes))
    with atomic_directory(out) as temporary:
        group = zarr.open_group(str(temporary), mode="a", zarr_format=2)
        group.attrs.update({**store.attributes, "views": list(store.views)})
        group.create_array("location_id", data=store.location_ids[rows])
        group.create_array("present", data=store.present[rows])
        features = group.create_array(
            "features",
            shape=(len(rows), views, dimension),
            chunks=(each, views, dimension),
            dtype=store.features.dtype,
        )
        size = max(1, BLOCK // store.features[:1].nbytes // each) * each
        for start in range(0, len(rows), size):  # whole chunks: each is written once
            part = rows[start : start + size]
            features[start : start + len(part)] = store.features[part]
            yield len(part)
