"""Damage every kind of input a little, read it, and count how that ends.

    python benchmarks/fuzz.py [--count 2000] [--seed 1] [--only KIND] [--limit 30]

A small study is made and run once. Then, in turns over the kinds of files, a copy of one file is
changed by the seed: bits flipped, cut off, pieces inserted, repeated, removed or exchanged, fields
exchanged, odd values, deep nesting, bytes that are no UTF-8, hostile texts; and, where the format
has a structure, that structure: entries of JSON, datasets of HDF5, tensors, columns of Parquet,
members of a zip. The reader that the program has for it is run on the file, in a process of its
own that is killed if a file takes more than --limit seconds. What can come of it:

- refused: a `StreetgaugeError`, which the command line shows as one sentence with exit code 2, or
  an image that is excluded with its reason;
- same: all values that are read are those of the original;
- stated: other values, and these are what the changed file states (see below);
- warned: the same, and the reader has reported rows or images that it excluded;
- traceback: any other exception, more memory than 4 GiB, or the process has died;
- hang: no end within the limit;
- wrong: other values that nobody could know to be wrong.

When are other values stated, and when are they wrong? A digit that is changed in a CSV file makes
another CSV file, and no program can know. So: where a format has checksums (feature stores, bundles
and their weights, tables of our own, PNG, members of a zip, with workbooks), every value that
differs after a change of bytes is wrong, but of a table where the study's record finds that it is
no longer what was made, so that the next run makes it again (warned); where the format's structure
was rewritten, as somebody could on purpose, with checksums that are right, other values are stated.
Of text (TOML, CSV, JSON) other values are stated if a reader of the standard library sees other
content in the changed file too, and wrong if not. Of other formats without checksums (JPEG, WebP,
TIFF, tar, GeoPackage, shapefile, FlatGeobuf, a user's Parquet) any change of bytes states other
values. And in all cases values that break what the reader promises are wrong: classes out of range,
areas twice, coordinates that are none, scores that are not finite. So "wrong: 0" says that
checksums and promises hold; it does not say that a changed photograph is known to be changed.

Ends with 1 if there is a traceback, a hang or a wrong result, each of which is printed with what
makes it again. Needs `fork`, so no Windows.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import tomllib
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import geopandas as gpd
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _table import add_short, row
from PIL import Image
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from shapely.geometry import box

from streetgauge.analysis.compare import open_side
from streetgauge.errors import InputError, StreetgaugeError
from streetgauge.features import FeatureStore
from streetgauge.features.table import match_rows
from streetgauge.imagery import ImageError, find_views
from streetgauge.imagery.decoding import decode, image_sources, raw_images, read_image
from streetgauge.io.files import read_metadata, read_table
from streetgauge.io.tables.sheets import forget_sheets
from streetgauge.locations import read_areas, read_locations
from streetgauge.model import Bundle
from streetgauge.model.authors import read_state
from streetgauge.outcomes.build import read_outcome
from streetgauge.pipeline.info import file_info, outcomes_info
from streetgauge.pipeline.run import run_stage
from streetgauge.progress import silent
from streetgauge.settings import (
    AreaSettings,
    ImagerySettings,
    PointLocations,
    TableFeatures,
    TableOutcome,
)
from streetgauge.study import Study
from streetgauge.study.heartbeat import read_running
from streetgauge.study.stages import STAGES

ENDS = ("refused", "same", "stated", "warned", "traceback", "hang", "wrong")
BAD = ("traceback", "hang", "wrong")
MEMORY = 4 * 2**30  # bytes more than what the process begins with

SETTINGS = """
name = "Grid"
seed = 7
[areas]
file = "areas.geojson"
code = "code"
[outcomes.income]
source = "table"
file = "outcomes.csv"
area = "code"
value = "income"
direction = "higher-is-better"
[locations]
source = "points"
file = "places.csv"
id = "place"
[features]
source = "table"
name = "shares"
file = "features.csv"
columns = ["f0", "f1"]
location_id = "place"
view = "view"
[folds]
k = 3
[train]
learner = "network"
ensemble_size = 1
epochs = 2
width = 8
[evaluation]
draws = 100
[report]
figures = "none"
"""


def make_study(directory: Path, side: int = 5, per_area: int = 3) -> Path:
    """Write a small study of areas in a grid, with a table of features, and run it."""
    rng = np.random.default_rng(0)
    n = side * side
    codes = [f"E{i:08d}" for i in range(n)]
    x, y = (1060 + np.arange(n) % side) * 500, (360 + np.arange(n) // side) * 500
    shapes = [box(a, b, a + 500, b + 500) for a, b in zip(x, y, strict=True)]
    directory.mkdir(parents=True, exist_ok=True)
    areas = gpd.GeoDataFrame({"code": codes}, geometry=shapes, crs="EPSG:27700")
    areas.to_file(directory / "areas.geojson", driver="GeoJSON", engine="pyogrio")
    income = rng.permutation(n).astype(float)
    pd.DataFrame({"code": codes, "income": income}).to_csv(directory / "outcomes.csv", index=False)
    of = np.repeat(np.arange(n), per_area)
    spot = np.column_stack([x[of], y[of]]) + rng.uniform(20, 480, (len(of), 2))
    points = gpd.GeoSeries.from_xy(*spot.T, crs="EPSG:27700").to_crs(4326)
    places = [f"P{i:05d}" for i in range(len(of))]
    table = pd.DataFrame({"place": places, "lat": points.y, "lon": points.x})
    table.to_csv(directory / "places.csv", index=False)
    features = (rng.normal(size=(len(of), 2)) + income[of, None] / n).round(4)
    columns = {"place": places, "view": "1", "f0": features[:, 0], "f1": features[:, 1]}
    pd.DataFrame(columns).to_csv(directory / "features.csv", index=False)
    (directory / "study.toml").write_text(SETTINGS, encoding="utf-8")
    study = Study.open(directory)
    for stage in STAGES:
        run_stage(study, stage.name, silent)
    return directory


# --- Kinds of inputs: a file, and what the program reads of it ---------------------------------


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Parameters
    ----------
    name : str
        As --only takes it.
    file : Path
        The original.
    read : callable
        Path -> what the program reads of it, as texts and numbers that can be compared.
    checked : bool
        Whether the format has checksums of its content.
    stated : callable, optional
        Bytes -> what a reader of the standard library sees in it.
    structure : callable, optional
        Rewrites bytes by their structure.
    """

    name: str
    file: Path
    read: Callable[[Path], Any]
    checked: bool = False
    stated: Callable[[bytes], Any] | None = None
    structure: Callable[[bytes, random.Random], bytes] | None = None


class Warned(list[Any]):
    """What was read, where something else was excluded with a reason."""


class BrokenPromiseError(Exception):
    """The reader gave what it promises not to give."""


def promise(holds: object, what: str) -> None:
    if not holds:
        raise BrokenPromiseError(what)


def frame_values(frame: pd.DataFrame) -> list[Any]:
    return [list(map(str, frame.columns)), frame.astype(str).to_numpy().tolist()]


def outcome_values(file: Path) -> Any:
    given = {"file": file, "area": "code", "value": "income"}
    settings = TableOutcome(source="table", direction="higher-is-better", **given)
    outcome = read_outcome("income", settings)
    values = outcome.values
    promise(values.index.is_unique, "an area stands there twice")
    promise(not np.isinf(values.to_numpy(float)).any(), "a value is infinite")
    found = [values.index.tolist(), values.map(repr).tolist()]
    return Warned(found) if values.isna().any() else found


def area_values(file: Path) -> Any:
    areas = read_areas(AreaSettings(file=file, code="code"))
    promise(areas.index.is_unique, "an area stands there twice")
    if not isinstance(areas, gpd.GeoDataFrame):  # a Parquet table of codes, as the file is now
        return Warned(areas.index.tolist())
    bounds = areas.geometry.bounds.to_numpy()
    promise(np.isfinite(bounds).all(), "a boundary is not finite")
    found = [areas.index.tolist(), [shape.wkb_hex for shape in areas.geometry]]
    return Warned(found) if areas.attrs.get("repaired") or areas.attrs.get("closed") else found


def location_values(study: Path, file: Path) -> Any:
    areas = known_areas(study)
    frame, skips = read_locations(PointLocations(source="points", file=file, id="place"), areas)
    promise(frame["location_id"].is_unique, "a location stands there twice")
    promise(frame["lat"].between(-90, 90).all(), "a latitude is none")
    promise(frame["area"].isin(areas.index).all(), "an area is unknown")
    found = frame_values(frame[["location_id", "lat", "lon", "area"]])
    return Warned(found) if len(skips) or frame.attrs["outside"] else found


@cache
def known_areas(study: Path) -> pd.DataFrame:
    return read_areas(AreaSettings(file=study / "areas.geojson", code="code"))


def feature_values(study: Path, file: Path) -> Any:
    settings = TableFeatures(
        source="table", name="t", file=file, columns=("f0", "f1"), location_id="place", view="view"
    )
    matched = match_rows(settings, known_locations(study), silent)
    values = matched.table.features[matched.rows_of[matched.done]]
    promise(np.isfinite(values).all(), "a feature is not finite")
    found = [matched.ids.tolist(), list(matched.views), values.tolist(), matched.done.tolist()]
    return Warned(found) if len(matched.skips) else found


@cache
def known_locations(study: Path) -> pd.DataFrame:
    return read_table(study / "locations.parquet")


def image_values(file: Path) -> Any:
    pixels = read_image(file)
    promise(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.size, "no image")
    return [pixels.shape, sha256(pixels.tobytes()).hexdigest()]


def folder_values(file: Path, **more: Any) -> Any:
    """Read the images of an archive, or of the folder that a manifest lies in."""
    options: dict[str, Any] = {"pattern": "{location_id}_{view}.png", "views": ("a", "b")} | more
    settings = ImagerySettings(folder=file if not more else file.parent, require="any", **options)
    views, skips = find_views(settings, [f"L{i}" for i in range(3)])
    found, sources, left = [], image_sources(views), len(skips)
    for source, raw in zip(sources, raw_images(sources), strict=True):
        try:
            pixels = decode(raw, source.cut) if isinstance(raw, bytes) else None
        except ImageError:
            pixels = None
        left += pixels is None
        found.append("" if pixels is None else sha256(pixels.tobytes()).hexdigest())
    read = [views[["location_id", "view"]].to_numpy().tolist(), found]
    return Warned(read) if left else read


def store_values(file: Path) -> Any:
    store = FeatureStore.open(file)
    file_info(file, verify=True)
    names = ("features", "present", "done", "attempted", "quality", "signature", "location_ids")
    arrays = [sha256(np.asarray(getattr(store, name)).tobytes()).hexdigest() for name in names]
    return [arrays, store.views, store.attributes]


def bundle_values(file: Path) -> Any:
    bundle = Bundle.load(file.parent)
    file_info(file.parent)
    bundle._repr_html_()
    features = np.linspace(-1, 1, 6 * bundle.dimension, dtype=np.float32)
    predicted = bundle.predict(features.reshape(3, 2, bundle.dimension))
    promise(np.isfinite(predicted.score).all(), "a score is not finite")
    promise(np.isfinite(predicted.probabilities).all(), "a probability is not finite")
    return [bundle.outcomes, bundle.views, predicted.score.tolist(), bundle.cut_points]


def state_values(file: Path) -> Any:
    return {name: tensor.tolist() for name, tensor in read_state(file).items()}


def settings_values(file: Path) -> Any:
    return json.loads(Study.open(file.parent).settings.model_dump_json())


def record_values(file: Path) -> Any:
    study = Study.open(file.parent)
    states = [study.state(stage) for stage in STAGES]
    file_info(file.parent)
    # A record that cannot be used counts as absent, and so does each entry: then all is redone.
    return ["absent"] if "up to date" not in states else [list(map(str, states))]


def running_values(file: Path) -> Any:
    found = read_running(file)
    times = [] if found is None else [found[k] for k in ("since", "heartbeat", "stage_since")]
    promise(np.isfinite(times).all(), "a time is not finite")
    return "absent" if found is None else found


def metrics_values(file: Path) -> Any:
    return open_side(file.parent).metrics


def table_values(file: Path) -> Any:
    frame = read_table(file)
    file_info(file)
    if file.name == "outcomes.parquet":
        outcomes_info(file)
    study = Study.open(file.parent)
    found = [frame_values(frame), str(read_metadata(file))]
    if file.name == "skipped.parquet":
        found = frame_values(study.skips())
    noticed = any(study.state(stage) == "out of date" for stage in STAGES)
    return Warned(found) if noticed else found


def csv_content(raw: bytes) -> Any:
    return list(csv.reader(io.StringIO(raw.decode("latin-1"), newline="")))


def json_content(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw


def toml_content(raw: bytes) -> Any:
    try:
        return tomllib.loads(raw.decode())
    except (ValueError, RecursionError):
        return raw


# --- Changes by structure ----------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**70, 1e308, "", "x" * 5000, [], {}, [[]], {"a": {}}, "NaN", "\u202e"),
    *("[/bold]", "../../../etc/passwd", "/vsicurl/http://127.0.0.1/x", "\x1b[2J", "<script>"),
)


def json_structure(raw: bytes, rng: random.Random) -> bytes:
    """Replace, remove or exchange entries anywhere in JSON."""
    content = json.loads(raw)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = node.keys() if isinstance(node, dict) else range(len(node))
        for key in list(keys):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(content)
    for _ in range(rng.choice((1, 1, 2))):
        node, key = rng.choice(places)
        other, its = rng.choice(places)
        how = rng.randrange(3)
        with suppress(LookupError):
            if how == 0:
                node[key] = rng.choice(ODD)
            elif how == 1:
                del node[key]
            else:
                node[key] = json.loads(json.dumps(other[its]))
    return json.dumps(content).encode()


def store_structure(raw: bytes, rng: random.Random) -> bytes:
    """Replace a dataset or an attribute of HDF5 by another one, a link, a group or a giant."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.h5")
        file.write_bytes(raw)
        pipe = Path(folder, "pipe.h5")
        os.mkfifo(pipe)
        with h5py.File(file, "r+") as store:
            name = rng.choice(sorted(store))
            kind, how = store[name].dtype, rng.randrange(8)
            if how < 6:
                del store[name]
            if how == 1:
                store[name] = h5py.ExternalLink(str(pipe), name)
            elif how == 2:
                store[name] = h5py.SoftLink(rng.choice(("/", f"/{name}", "/features", "/none")))
            elif how == 3:
                store.create_group(name)["a"] = store["/"]  # a circle
            elif how == 4:
                store.create_dataset(name, (2**40, 2, 2), kind, chunks=(1, 2, 2))
            elif how == 5:
                store[name] = rng.choice((np.arange(3), np.float64(1), "text", np.zeros((2, 2))))
            else:
                attribute = rng.choice(sorted(store.attrs))
                value = rng.choice((1, 1.5, "x", "[" * 9000, np.arange(9), np.bytes_(b"\xff")))
                store.attrs[attribute] = value
        return file.read_bytes()


def tensor_structure(raw: bytes, rng: random.Random) -> bytes:
    """Change numbers, shapes, types and names of tensors, or the header itself."""
    if rng.random() < 0.3:
        (size,) = struct.unpack("<Q", raw[:8])
        header = json_structure(raw[8 : 8 + size], rng)
        return struct.pack("<Q", len(header)) + header + raw[8 + size :]
    tensors = load_tensors(raw)
    name = rng.choice(sorted(tensors))
    how = rng.randrange(5)
    if how == 0:
        tensors[name] = tensors[name] * np.asarray(
            rng.choice((np.nan, np.inf, 1e30, -1, 0)), tensors[name].dtype
        )
    elif how == 1:
        tensors[name] = tensors[name].reshape(-1)
    elif how == 2:
        tensors[name] = tensors[name].astype(rng.choice((np.float64, np.int8, np.float16)))
    elif how == 3:
        del tensors[name]
    else:
        tensors[rng.choice(("more", "network..", name.upper()))] = tensors[name]
    return save_tensors(tensors)


def parquet_structure(raw: bytes, rng: random.Random) -> bytes:
    """Remove, rename, retype or empty a column, repeat rows, or break the metadata."""
    table = pq.read_table(io.BytesIO(raw))
    at = rng.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    how = rng.randrange(7)
    if how == 0:
        table = table.drop_columns([name])
    elif how == 1:
        names = [*table.column_names]
        names[at] = str(rng.choice(("", "x", names[0], "\x1b[2J", "p99")))
        table = table.rename_columns(names)
    elif how == 2:
        kind = rng.choice((pa.string(), pa.int8(), pa.float32(), pa.bool_()))
        with suppress(pa.ArrowException):
            table = table.set_column(at, name, column.cast(kind))
    elif how == 3:
        table = table.set_column(at, name, pa.nulls(len(table), column.type))
    elif how == 4:
        table = pa.concat_tables([table, table])
    elif how == 5:
        table = table.slice(0, 0)
    else:
        broken = rng.choice((b"{", b"[]", b'{"income": 3}', b"\xff", b"[" * 99_999))
        table = table.replace_schema_metadata({b"streetgauge": broken, b"pandas": broken})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def zip_structure(raw: bytes, rng: random.Random) -> bytes:
    """Rename, repeat, empty or remove members of a zip, or add hostile ones."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    how = rng.randrange(5)
    if how == 0:
        members[at] = (rng.choice((f"../{name}", f"/{name}", "\x1b[2J", name.upper())), content)
    elif how == 1:
        members.append((name, content))
    elif how == 2:
        members[at] = (name, b"")
    elif how == 3:
        del members[at]
    else:
        members[at] = (name, change_bytes(content, rng))
    sink = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return sink.getvalue()


# --- Changes of bytes --------------------------------------------------------------------------

HOSTILE = (
    *(b"\xff\xfe\x80", b"\x00", b"[" * 30_000, b'{"a":' * 9_000, b"../../../../etc/passwd"),
    *(b"[/bold]", b"\x1b[2J", b"=cmd|' /C calc'!A0", b"<script>alert(1)</script>", b"%s%n%x"),
    *(b"/vsicurl/http://127.0.0.1:1/", b"\xe2\x80\xae", b"9" * 5000, b"1e999", b"nan", b"-inf"),
    *(b"\r\n", b"\t", b'"', b",", b"\n\n", b"null", b"true", b"0x10", b"''", b"1_000", b"\xc2\xa0"),
)
SEPARATORS = (b"\n", b",", b'"', b" ", b"\t")


def change_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Change bytes without knowing the format."""
    change = rng.choice(
        (
            *(flip, flip, cut, insert),
            *(repeat, remove, swap, fields),
            *(hostile, zeros),
        )
    )
    return change(raw, rng)


def piece(raw: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(max(len(raw), 1))
    return start, min(len(raw), start + rng.choice((1, 2, 4, 16, 64, 512)))


def flip(raw: bytes, rng: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 8)) if raw else 0):
        changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw) + 1)]


def insert(raw: bytes, rng: random.Random) -> bytes:
    start, end = piece(raw, rng)
    return raw[:start] + rng.randbytes(end - start) + raw[start:]


def repeat(raw: bytes, rng: random.Random) -> bytes:
    start, end = piece(raw, rng)
    return raw[:end] + raw[start:end] * rng.choice((1, 1, 3)) + raw[end:]


def remove(raw: bytes, rng: random.Random) -> bytes:
    start, end = piece(raw, rng)
    return raw[:start] + raw[end:]


def swap(raw: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = sorted((piece(raw, rng), piece(raw, rng)))
    return raw if b > c else raw[:a] + raw[c:d] + raw[b:c] + raw[a:b] + raw[d:]


def fields(raw: bytes, rng: random.Random) -> bytes:
    between = rng.choice(SEPARATORS)
    parts = raw.split(between)
    a, b = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[a], parts[b] = parts[b], parts[a]
    return between.join(parts)


def hostile(raw: bytes, rng: random.Random) -> bytes:
    parts = raw.split(rng.choice(SEPARATORS))
    target, value = rng.choice(parts), rng.choice(HOSTILE)
    return raw.replace(target, value, 1) if target else value + raw


def zeros(raw: bytes, rng: random.Random) -> bytes:
    start, end = piece(raw, rng)
    return raw[:start] + bytes(end - start) + raw[end:]


# --- The files ---------------------------------------------------------------------------------


def kinds_of(study: Path, work: Path) -> list[Kind]:
    """Write a file of each kind that a study has not, and give all kinds."""
    work.mkdir(parents=True, exist_ok=True)
    return [
        *_text_kinds(study, work),
        *_boundary_kinds(study, work),
        *_image_kinds(work),
        *_own_kinds(study, work),
    ]


def _text_kinds(study: Path, work: Path) -> Iterator[Kind]:
    table = pd.read_csv(study / "outcomes.csv")
    table.to_csv(work / "outcomes.tsv", sep="\t", index=False)
    table.to_excel(work / "outcomes.xlsx", index=False)
    table.to_parquet(work / "outcomes.parquet")
    features = pd.read_csv(study / "features.csv", dtype={"view": str})
    features.to_parquet(work / "features.parquet")

    def located(file: Path) -> Any:
        return location_values(study, file)

    def joined(file: Path) -> Any:
        return feature_values(study, file)

    yield Kind("csv", study / "outcomes.csv", outcome_values, stated=csv_content)
    yield Kind("tsv", work / "outcomes.tsv", outcome_values, stated=csv_content)
    yield Kind("xlsx", work / "outcomes.xlsx", outcome_values, True, structure=zip_structure)
    parquet: dict[str, Any] = {"structure": parquet_structure}
    yield Kind("parquet", work / "outcomes.parquet", outcome_values, **parquet)
    yield Kind("points", study / "places.csv", located, stated=csv_content)
    yield Kind("features-csv", study / "features.csv", joined, stated=csv_content)
    yield Kind("features-parquet", work / "features.parquet", joined, **parquet)


def _boundary_kinds(study: Path, work: Path) -> Iterator[Kind]:
    areas = gpd.read_file(study / "areas.geojson")
    areas.to_file(work / "areas.gpkg", driver="GPKG", engine="pyogrio")
    areas.to_file(work / "areas.fgb", driver="FlatGeobuf", engine="pyogrio")
    areas.to_parquet(work / "areas.parquet")
    (work / "shape").mkdir(exist_ok=True)
    areas.to_file(work / "shape" / "areas.shp", engine="pyogrio")
    with zipfile.ZipFile(work / "areas.zip", "w") as archive:
        for file in sorted((work / "shape").iterdir()):
            archive.write(file, file.name)
    geojson = study / "areas.geojson"
    yield Kind("geojson", geojson, area_values, stated=json_content, structure=json_structure)
    yield Kind("gpkg", work / "areas.gpkg", area_values)
    yield Kind("flatgeobuf", work / "areas.fgb", area_values)
    yield Kind("geoparquet", work / "areas.parquet", area_values, structure=parquet_structure)
    yield Kind("shapefile", work / "areas.zip", area_values, structure=zip_structure)


def _image_kinds(work: Path) -> Iterator[Kind]:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    image = coarse.resize((64, 48), Image.Resampling.BICUBIC)
    for name in ("jpg", "png", "webp", "tif"):
        image.save(work / f"image.{name}")
        yield Kind(name, work / f"image.{name}", image_values, name == "png")
    images = work / "images"
    images.mkdir(exist_ok=True)
    rows = []
    for number in range(3):
        for view in ("a", "b"):
            file = images / f"L{number}_{view}.png"
            image.rotate(10 * number + (view == "b")).save(file)
            rows.append({"path": file.name, "location_id": f"L{number}", "view": view})
    for name in ("manifest.csv", "manifest.parquet"):
        table = pd.DataFrame(rows)
        (table.to_csv if name.endswith("csv") else table.to_parquet)(images / name, index=False)
    with zipfile.ZipFile(work / "images.zip", "w") as archive:
        for file in sorted(images.glob("*.png")):
            archive.write(file, file.name)
    with tarfile.open(work / "images.tar", "w") as tar:
        for file in sorted(images.glob("*.png")):
            tar.add(file, file.name)

    def listed(file: Path) -> Any:
        return folder_values(file, manifest=file)

    yield Kind("zip", work / "images.zip", folder_values, True, structure=zip_structure)
    yield Kind("tar", work / "images.tar", folder_values)
    yield Kind("manifest", images / "manifest.csv", listed, stated=csv_content)
    yield Kind("manifest-parquet", images / "manifest.parquet", listed, structure=parquet_structure)


def _own_kinds(study: Path, work: Path) -> Iterator[Kind]:
    store, bundle = next((study / "features").glob("*.h5")), study / "model" / "all"
    (work / "state.safetensors").write_bytes((bundle / "weights.safetensors").read_bytes())
    bar = {"task": "train", "unit": "networks", "total": 4, "done": 1, "since": 1.7e9}
    running = {"format_version": 2, "process": 1, "since": 1.7e9, "heartbeat": 1.7e9}
    running |= {"stage": "train", "stage_since": 1.7e9, "bars": [bar], "stopped": None}
    (study / ".running.json").write_text(json.dumps(running))
    text: dict[str, Any] = {"stated": json_content, "structure": json_structure}
    tensors = {"structure": tensor_structure}
    yield Kind("study.toml", study / "study.toml", settings_values, stated=toml_content)
    yield Kind("store", store, store_values, True, structure=store_structure)
    yield Kind("weights", bundle / "weights.safetensors", bundle_values, True, **tensors)
    yield Kind("imported", work / "state.safetensors", state_values, **tensors)
    yield Kind("bundle.json", bundle / "bundle.json", bundle_values, **text)
    yield Kind("run.json", study / "run.json", record_values, **text)
    yield Kind(".running.json", study / ".running.json", running_values, **text)
    yield Kind("metrics.json", study / "metrics.json", metrics_values, **text)
    names = ("outcomes", "locations", "predictions", "areas", "skipped", "splits")
    for name in names:
        yield Kind(
            f"{name}.parquet",
            study / f"{name}.parquet",
            table_values,
            True,
            structure=parquet_structure,
        )


# --- The run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One changed file: the seed makes it again."""

    kind: Kind
    seed: int

    def content(self) -> tuple[bytes, bool]:
        """Give the changed bytes, and whether the structure was rewritten."""
        raw, rng = self.kind.file.read_bytes(), random.Random(f"{self.kind.name} {self.seed}")
        if self.kind.structure is not None and rng.random() < 0.4:
            with suppress(ValueError, pa.ArrowException, OSError, RuntimeError):
                return self.kind.structure(raw, rng), True
        changed = change_bytes(raw, rng)
        for _ in range(3):
            if changed != raw:
                break
            changed = change_bytes(raw, rng)
        return changed, False


@dataclass
class Tally:
    """How the cases ended."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, case: Case, end: str, detail: str) -> None:
        """Count one case."""
        self.counts.setdefault(case.kind.name, Counter())[end] += 1
        if end in BAD:
            fault = f"{end}: --only {case.kind.name} --seed {case.seed} --count 1: {detail}"
            self.faults.append(fault)
            print(fault, file=sys.stderr, flush=True)


def run_case(case: Case, original: Any) -> tuple[str, str]:
    """Write the changed file where the original lies, read it, put the original back."""
    changed, rewritten = case.content()
    kind = case.kind
    before = kind.file.read_bytes()
    description = kind.file.with_name("bundle.json")
    described = description.read_bytes() if kind.name == "weights" else b""
    try:
        kind.file.write_bytes(changed)
        if described and rewritten:  # whoever rewrites it can also make its checksum right
            content = json.loads(described)
            content["weights"]["sha256"] = sha256(changed).hexdigest()
            description.write_text(json.dumps(content))
        forget_sheets()
        return judge(case, original, before, changed, rewritten=rewritten)
    finally:
        kind.file.write_bytes(before)
        if described:
            description.write_bytes(described)


def judge(
    case: Case, original: Any, before: bytes, changed: bytes, *, rewritten: bool
) -> tuple[str, str]:
    kind = case.kind
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = kind.read(kind.file)
    except (StreetgaugeError, ImageError) as error:
        sentence = str(error)
        good = sentence and "\n" not in sentence and sentence.isprintable()
        return ("refused", sentence) if good else ("traceback", f"no sentence: {sentence!r}")
    except BrokenPromiseError as error:
        return "wrong", str(error)
    except ExceptionGroup as group:
        if group.split(InputError)[1] is None:
            return "refused", str(group.exceptions[0])
        return "traceback", traceback.format_exc()
    except Exception:
        return "traceback", traceback.format_exc()
    warned = isinstance(found, Warned)
    if plain(found) == plain(original) or repr(plain(found)) == repr(plain(original)):
        return "same", ""
    if found in ("absent", ["absent"]):
        return "stated", ""
    stated = rewritten or not kind.checked
    if kind.stated is not None:
        stated = kind.stated(changed) != kind.stated(before)
    if kind.checked and warned:  # what is damaged was excluded, and its reason reported
        return "warned", ""
    if not stated:
        return "wrong", f"{str(plain(found))[:300]} is not {str(plain(original))[:300]}"
    return ("warned" if warned else "stated"), ""


def plain(found: Any) -> Any:
    return list(found) if isinstance(found, Warned) else found


def work_through(cases: Sequence[Case], originals: dict[str, Any], pipe: Connection) -> None:
    """Do cases in a process that may be killed; report each before and after."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for number, case in enumerate(cases):
        pipe.send((number, None))
        pipe.send((number, run_case(case, originals[case.kind.name])))


def run_all(cases: Sequence[Case], limit: float, tally: Tally) -> None:
    """Do all cases; a process that hangs or dies is replaced, and the next case goes on."""
    start = 0
    originals = {case.kind.name: case.kind.read(case.kind.file) for case in cases}
    safe = {case.kind.file: case.kind.file.read_bytes() for case in cases}
    beside = {file.with_name("bundle.json") for file in safe if "safetensors" in file.name}
    safe |= {file: file.read_bytes() for file in beside if file.is_file()}
    context = multiprocessing.get_context("fork")
    while start < len(cases):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work_through, args=(cases[start:], originals, there))
        process.start()
        there.close()
        at, done = 0, 0
        end, detail = "", ""
        while done < len(cases) - start:
            try:
                if not here.poll(limit):
                    end, detail = "hang", f"no end within {limit:g} s"
                    break
                at, result = here.recv()
            except EOFError:
                process.join()
                end, detail = "traceback", f"the process ended with {process.exitcode}"
                break
            if result is not None:
                tally.add(cases[start + at], *result)
                done = at + 1
        process.kill()
        process.join()
        for file, content in safe.items():
            file.write_bytes(content)
        if end:
            tally.add(cases[start + done], end, detail)
            done += 1
        start += done


def make_cases(kinds: Sequence[Kind], count: int, seed: int) -> list[Case]:
    """Take turns over the kinds."""
    return [Case(kinds[i % len(kinds)], seed + i // len(kinds)) for i in range(count)]


def fuzz(
    study: Path, work: Path, count: int, seed: int, only: str = "", limit: float = 30
) -> Tally:
    """Change the files of a finished study, and others like them, and read them.

    Ctrl-C ends it with what has been counted.
    """
    kinds = [kind for kind in kinds_of(study, work) if only in ("", kind.name)]
    if not kinds:
        raise SystemExit(f"there is no kind {only!r}")
    tally = Tally()
    try:
        run_all(make_cases(kinds, count, seed), limit, tally)
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="one kind of file")
    parser.add_argument("--limit", type=float, default=30, help="seconds until a file hangs")
    add_short(parser, count=60)
    args = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="streetgauge-fuzz-"))
    try:
        study = make_study(place / "study")
        began = time.monotonic()
        tally = fuzz(study, place / "work", args.count, args.seed, args.only, args.limit)
        took = time.monotonic() - began
    finally:
        shutil.rmtree(place)
    print(f"{'kind':<20}" + "".join(f"{end:>10}" for end in ENDS))
    total: Counter[str] = Counter()
    for name, counts in tally.counts.items():
        print(f"{name:<20}" + "".join(f"{counts[end]:>10}" for end in ENDS))
        total += counts
    print(f"{'all':<20}" + "".join(f"{total[end]:>10}" for end in ENDS))
    print(f"{total.total():,} changed files of {len(tally.counts)} kinds, {took:.0f} s")
    if args.short:
        bad = sum(total[end] for end in ("traceback", "hang", "wrong"))
        row(f"{total.total():,} changed files of {len(tally.counts)} kinds", "", "",
            f"{bad} with a traceback, a hang or a wrong result")  # fmt: skip
    for fault in tally.faults:
        print(f"\n{fault}")
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
