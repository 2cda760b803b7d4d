"""Each stage is run on stored tables, and its results are compared with stored ones.

A configuration is a directory with a ``study.toml``. The results of a stage lie next to it in
``<stage>-v<version>.zip``, under their names in the study; ``<stage>-v<version>.json`` records the
versions of the stages that its inputs came from, and the platform on which it was run.
"""

from __future__ import annotations

import csv
import json
import math
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file

from streetgauge.io.files import write_table
from streetgauge.pipeline.predict import predict_city
from streetgauge.pipeline.run import WORK
from streetgauge.progress import Progress, silent
from streetgauge.study import Done, Study
from streetgauge.study.stages import STAGES, Stage

HERE = Path(__file__).parent
ALL = ("outcomes", "locations", "features", "train", "areas", "report", "predict")
# Of each configuration the stages that it has results of; others' are taken from the default.
CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "default": ALL,
    "second": ALL[:-1],
    "paper": ("train", "areas"),
    "images": ("locations", "features"),
}
# What a network computes is close to the same, and that only on the platform that is recorded.
NETWORKS = {(each, "train") for each in CONFIGURATIONS} | {
    ("default", "predict"),
    ("images", "features"),
}
CLOSE, SAME = 1e-3, 1e-6  # relative, or absolute of small numbers
# Columns, no floats, that follow from what a network computes.
FOLLOWING = ("decile", "outside_aoa")
OWN = ("cache_key", "code_version", "sha256")  # keys of a run, not of its results


class ChangedError(AssertionError):
    """One sentence: what has changed, and what to do."""


def predict(study: Study, cache_key: str, progress: Progress) -> Done:
    """Predict places of another city with the stored bundle."""
    places = study.directory.parent / "city" / "other-places.csv"
    out = study.path("predicted")
    lines = predict_city(study.model, study.features, places, out)
    (out / "report.html").unlink()  # repeats the tables
    return Done(tuple(lines))


@dataclass(frozen=True)
class Runnable(Stage):
    """A stage with its work."""

    work: Callable[[Study, str, Progress], Done] = predict


# Not a stage of a study, so its version is here.
PREDICT = Runnable(
    "predict",
    version=5,
    settings=(),
    # Areas held out there, and their official classes, say where predicted ones are cut.
    reads=lambda study: (
        *(study.model, study.features, study.predictions, study.splits, study.outcomes),
    ),
    writes=lambda study: (study.path("predicted"),),
)
CHAIN: tuple[Runnable, ...] = (
    *(Runnable(**vars(stage), work=WORK[stage.name]) for stage in STAGES),
    PREDICT,
)


def cases() -> list[tuple[str, Runnable]]:
    """Every configuration with each of its stages, in the order in which they are written."""
    named = {stage.name: stage for stage in CHAIN}
    return [(each, named[name]) for each, names in CONFIGURATIONS.items() for name in names]


def golden(configuration: str, name: str, version: int, suffix: str = ".zip") -> Path:
    """Give the file of the stored results of a stage's version."""
    owner = configuration if name in CONFIGURATIONS[configuration] else "default"
    return HERE / owner / f"{name}-v{version}{suffix}"


def check(configuration: str, stage: Runnable) -> str:
    """Run a stage on its stored inputs and compare what comes out with the stored results.

    Returns
    -------
    str
        Why some of it could not be compared here; empty if all was.

    Raises
    ------
    ChangedError
        If something differs, or the results of the stage's version are not stored.
    """
    stored = golden(configuration, stage.name, stage.version)
    again = f"`python tests/golden/write.py --configuration {configuration} --stage {stage.name}`"
    if not stored.exists():
        raise ChangedError(
            f"there are no golden results of version {stage.version} of `{stage.name}` in "
            f"{configuration!r}: write them with {again}"
        )
    about = json.loads(stored.with_suffix(".json").read_text(encoding="utf-8"))
    elsewhere = about["platform"] != here() and (configuration, stage.name) in NETWORKS
    with tempfile.TemporaryDirectory() as place, opened(stored) as before:
        try:
            after = run(configuration, stage, about["inputs"], Path(place))
        except Exception as error:
            error.add_note(
                f"`{stage.name}` does not run on its stored inputs {about['inputs']}: if only "
                f"their format has changed, run {again[:-1]} --inputs`"
            )
            raise
        close = _close(configuration, stage)
        found = next(differences(before, after, close, exact_only=elsewhere), None)
    if found is not None:
        raise ChangedError(
            f"the results of `{stage.name}` changed in {configuration!r}: raise its version in the "
            f"table of stages and run {again}; first difference: {found}"
        )
    return f"numbers that were made on {about['platform']}, not on {here()}" if elsewhere else ""


def write(configuration: str, stage: Runnable) -> Path:
    """Store the results of a stage, run on the newest stored results of the stages before it.

    Raises
    ------
    FileExistsError
        If results of this version are stored already.
    """
    stored = golden(configuration, stage.name, stage.version)
    if stored.exists():
        raise FileExistsError(
            f"{stored.relative_to(HERE)} is there: if the results of `{stage.name}` changed, raise "
            "its version first"
        )
    inputs = inputs_of(configuration, stage)
    with tempfile.TemporaryDirectory() as place:
        after = run(configuration, stage, inputs, Path(place))
        with zipfile.ZipFile(stored, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, file in files(after).items():
                # Of no date: the same results are the same bytes.
                archive.writestr(zipfile.ZipInfo(name), file.read_bytes(), zipfile.ZIP_DEFLATED)
    _record(stored, inputs, here())
    return stored


def renew_inputs(configuration: str, stage: Runnable) -> Path:
    """Record the newest inputs of stored results, if the results on these are the same.

    Raises
    ------
    ChangedError
        If they are not.
    """
    stored = golden(configuration, stage.name, stage.version)
    inputs = inputs_of(configuration, stage)
    with tempfile.TemporaryDirectory() as place, opened(stored) as before:
        after = run(configuration, stage, inputs, Path(place))
        found = next(differences(before, after, _close(configuration, stage)), None)
    if found is not None:
        raise ChangedError(
            f"the results of `{stage.name}` in {configuration!r} are others on {inputs}: raise its "
            f"version; first difference: {found}"
        )
    about = json.loads(stored.with_suffix(".json").read_text(encoding="utf-8"))
    _record(stored, inputs, about["platform"])
    return stored


def _close(configuration: str, stage: Runnable) -> float:
    return CLOSE if (configuration, stage.name) in NETWORKS else SAME


def _record(stored: Path, inputs: Mapping[str, int], made_on: Mapping[str, str]) -> None:
    about = {"inputs": inputs, "platform": made_on}
    stored.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def unused() -> list[Path]:
    """List stored results that are neither of a stage's current version nor its inputs."""
    used = set()
    for configuration, stage in cases():
        stored = golden(configuration, stage.name, stage.version)
        used |= {stored, about := stored.with_suffix(".json")}
        if about.exists():
            inputs = json.loads(about.read_text(encoding="utf-8"))["inputs"]
            used |= {golden(configuration, *each, suffix=".zip") for each in inputs.items()}
            used |= {golden(configuration, *each, suffix=".json") for each in inputs.items()}
    there = [file for suffix in ("zip", "json") for file in HERE.glob(f"*/*-v*.{suffix}")]
    return sorted(set(there) - used)


def older(stored: Path) -> Path | None:
    """Find the results of the version before, if they are still there."""
    name, version = re.fullmatch(r"(.*)-v(\d+)", stored.stem).groups()
    before = [stored.with_name(f"{name}-v{v}.zip") for v in range(1, int(version))]
    return next((file for file in reversed(before) if file.exists()), None)


def here() -> dict[str, str]:
    """Name what the numbers of a network depend on, apart from this package."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "torch": ".".join(torch.__version__.split(".")[:2]),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def inputs_of(configuration: str, stage: Runnable) -> dict[str, int]:
    """Name the earlier stages whose files a stage reads, with their current versions."""
    with tempfile.TemporaryDirectory() as place:
        before = CHAIN[: [each.name for each in CHAIN].index(stage.name)]
        there = [s for s in before if golden(configuration, s.name, s.version).exists()]
        versions = {each.name: each.version for each in there}
        study = _prepared(configuration, versions, Path(place))
        read = stage.reads(study)

        def is_read(earlier: Stage) -> bool:
            made = earlier.writes(study)
            return any(path == m or m in path.parents for path in read for m in made)

        return {each.name: each.version for each in there if is_read(each)}


def run(configuration: str, stage: Runnable, inputs: Mapping[str, int], place: Path) -> Path:
    """Run a stage on stored inputs, and give a directory with its results."""
    study = _prepared(configuration, inputs, place)
    done = stage.work(study, study.key(stage, upstream=False), silent)
    study.remember(stage, study.key(stage), done, datetime.now(UTC), 0.0)
    out = place / "results"
    for path in stage.writes(study):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            name = study.name_of(file)
            if file.suffix == ".html":
                _write(out / f"{name}.json", _payload(file))
            elif file.suffix in READERS and file.exists() and _is_result(name, file):
                _write(out / name, file.read_bytes())
    skips = study.skips().query("stage == @stage.name")
    if len(skips):
        write_table(skips, out / study.skipped.name)
    return out


def _is_result(name: str, file: Path) -> bool:
    """Exclude what only repeats other results, and all bundles but that of all areas."""
    bundle = (file.parent / "bundle.json").exists() and file.parent.name != "all"
    return not bundle and "/logs/" not in name and not name.endswith(".geo.parquet")


def _prepared(configuration: str, inputs: Mapping[str, int], place: Path) -> Study:
    """Make a study of the stored results of the stages before."""
    shutil.copytree(HERE / "city", place / "city")
    directory = place / configuration
    directory.mkdir()
    shutil.copy(HERE / configuration / "study.toml", directory)
    study = Study.open(directory)
    skips = [study.skips()]
    for name, version in inputs.items():
        with zipfile.ZipFile(golden(configuration, name, version)) as archive:
            archive.extractall(directory)
        if study.skipped.exists():
            skips.append(pd.read_parquet(study.skipped))
            study.skipped.unlink()
    write_table(pd.concat(skips, ignore_index=True), study.skipped)
    return study


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _payload(page: Path) -> bytes:
    """Extract the data that the page's script shows."""
    text = page.read_text(encoding="utf-8")
    return re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text)[1].encode()


@contextmanager
def opened(stored: Path) -> Iterator[Path]:
    """Unpack stored results for a while."""
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(stored) as archive:
        archive.extractall(place)
        yield Path(place)


def files(directory: Path) -> dict[str, Path]:
    """Every file below a directory by its relative name."""
    every = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path for path in every}


def differences(
    before: Path, after: Path, close: float, *, exact_only: bool = False
) -> Iterator[str]:
    """Describe, for each file of two directories, the first difference.

    Parameters
    ----------
    before, after : Path
    close : float
        How far floats may lie apart.
    exact_only : bool
        Only what no network computes: ids, folds, official deciles.
    """
    old, new = files(before), files(after)
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"{name} is not written any more"
        elif name not in old:
            yield f"{name} is new"
        elif not exact_only or name.endswith(".parquet"):
            tables = [READERS[each.suffix](each) for each in (old[name], new[name])]
            if exact_only:
                tables = [{c: v for c, v in t.items() if _is_exact(c, v)} for t in tables]
            found = _table_difference(*tables, close)
            if found:
                yield f"{name}, {found}"


def _is_exact(column: str, values: Sequence[Any]) -> bool:
    return column not in FOLLOWING and not any(isinstance(v, float | list) for v in values)


Table = dict[str, Sequence[Any]]


def _table_difference(old: Table, new: Table, close: float) -> str:
    for column in sorted(old.keys() | new.keys()):
        if column not in new:
            return f"column {column} is not there any more"
        if column not in old:
            return f"column {column} is new"
    for column in old:
        if len(old[column]) != len(new[column]):
            return f"column {column}: {len(old[column]):,} rows against {len(new[column]):,} now"
        for row, pair in enumerate(zip(old[column], new[column], strict=True)):
            found = _value_difference(*pair, close)
            if found:
                return f"column {column}, row {row}: {found}"
    return ""


def _value_difference(old: Any, new: Any, close: float) -> str:
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f"{len(old):,} values against {len(new):,} now"
        pairs = enumerate(zip(old, new, strict=True))
        inner = ((place, _value_difference(*pair, close)) for place, pair in pairs)
        return next((f"value {place}: {found}" for place, found in inner if found), "")
    if isinstance(old, float) and isinstance(new, float):
        both = math.isnan(old) and math.isnan(new)
        same = both or math.isclose(old, new, rel_tol=close, abs_tol=close)
    else:
        same = type(old) is type(new) and old == new
    return "" if same else f"{old!r} against {new!r} now"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Give each value of nested JSON as a column of one row, called by its path."""
    inner = value if isinstance(value, dict) else dict(enumerate(value))
    for key, each in inner.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(each, dict | list) and each:
            yield from _leaves(each, here)
        elif key not in OWN:
            yield here, [each]


def _read_parquet(path: Path) -> Table:
    table = pq.read_table(path)
    columns: Table = table.to_pydict()
    kinds = {f"type of {f.name}": [str(f.type).replace("large_", "")] for f in table.schema}
    own = json.loads((table.schema.metadata or {}).get(b"streetgauge", "{}"))
    return {**columns, **kinds, **dict(_leaves(own, "metadata"))}


def _read_hdf5(path: Path) -> Table:
    columns: Table = {}
    with h5py.File(path) as file:
        for name, value in file.attrs.items():
            if name not in OWN:
                columns[name] = [value if isinstance(value, str) else value.tolist()]
        for name, dataset in file.items():
            text = h5py.check_string_dtype(dataset.dtype)
            values = (dataset.asstr() if text else dataset)[:]
            fields = values.dtype.names
            parts = {f"{name}.{f}": values[f] for f in fields} if fields else {name: values}
            columns |= {each: part.tolist() for each, part in parts.items()}
            columns[f"type of {name}"] = [str(dataset.dtype)]
    return columns


def _read_json(path: Path) -> Table:
    return dict(_leaves(json.loads(path.read_text(encoding="utf-8"))))


def _read_jsonl(path: Path) -> Table:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {key: [line.get(key) for line in lines] for line in lines[:1] for key in line}


def _read_csv(path: Path) -> Table:
    def value(cell: str) -> str | float:
        try:
            return float(cell)
        except ValueError:
            return cell

    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return {key: [value(row[key]) for row in rows] for row in rows[:1] for key in row}


def _read_safetensors(path: Path) -> Table:
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if name.endswith(".axes") and tensor.size:  # an eigenvector may point either way
            largest = np.take_along_axis(tensor, abs(tensor).argmax(axis=0)[None], axis=0)
            tensors[name] = tensor * np.sign(largest)
    return {name: [tensor.tolist()] for name, tensor in tensors.items()}


READERS = {
    ".parquet": _read_parquet,
    ".h5": _read_hdf5,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".safetensors": _read_safetensors,
}
