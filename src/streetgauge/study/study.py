"""A study: one configured run, its directory, and which of its stages are up to date.

A stage is up to date when its cache key (a hash over its settings, the content of every file that
it reads, its version and those of all stages upstream) is the one that `run.json` recorded, and its
outputs are still what they were. No source code is part of a key.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from streetgauge.errors import InputError, closest
from streetgauge.io.addresses import allow_hosts
from streetgauge.io.files import (
    WriteLock,
    digest,
    read_metadata,
    read_table,
    remove_leftovers,
    sha256_of,
    write_json,
    write_table,
)
from streetgauge.io.formats import RECORD_VERSION, require_version
from streetgauge.io.remote import signature
from streetgauge.settings import StudySettings, Url, input_files, read_settings
from streetgauge.skips import SKIP_COLUMNS
from streetgauge.study.heartbeat import Running
from streetgauge.study.outputs import EVENTS, MadeFiles, overlap, real_paths
from streetgauge.study.paths import OTHER_FOLDS, StudyFiles
from streetgauge.study.stages import STAGES, Stage, stage_named
from streetgauge.study.stages import sections as sections_of
from streetgauge.study.stages import upstream as stages_before
from streetgauge.version import __version__

if TYPE_CHECKING:
    import pandas as pd


State = Literal["not done", "up to date", "out of date", "inputs missing", "inputs unreachable"]

_LEVEL = re.compile(r"areas-[^/\\]+\.parquet")
# What a result depends on next to this package: recorded, not compared.
_RECORDED = (
    *("numpy", "pandas", "pyarrow", "geopandas", "shapely", "scikit-learn", "scipy"),
    *("torch", "h5py", "pillow", "safetensors"),
)


# What is stored of outcomes and makes no difference to a number.
_WORDS = ("label", "publisher", "licence")
# What run.json stores of a stage.
_ENTRY = {"cache_key", "version", "outputs", "made_by", "started", "seconds", "messages"}
# What commands and runs write besides the files of stages.
_ALSO_WRITTEN = (
    *("run.json", "skipped.parquet", "curves.json", "curves", "power.json", "map.html", ".images"),
    *("age.json", "coverage.json", "fairness.json", ".running.json", "stalled.log", OTHER_FOLDS),
    *("sample.parquet", "sample.json", "sample.gpkg", "sample.png"),
    *("survey.parquet", "survey.json", "survey.gpkg", "survey.png"),
    *("change.parquet", "change.json", "change.gpkg", "change.png"),
)


@dataclass(frozen=True)
class Done:
    """What a stage gives back: lines for the screen and what it excluded.

    ``retryable`` is a stage that may have more at another time: it is never up to date.
    """

    lines: tuple[str, ...] = ()
    skips: pd.DataFrame | None = None
    retryable: bool = False


@dataclass(frozen=True)
class Study(StudyFiles):
    """A directory with ``study.toml`` and everything that was made from it.

    Parameters
    ----------
    file : Path
        The ``study.toml``.
    settings : StudySettings
        Its content.
    source : str
        The source of features that this is the study of alone: see `sources`.
    """

    file: Path
    settings: StudySettings
    source: str = ""
    _fingerprints: dict[str, dict[str, Any]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def open(cls, path: Path, *, anew: bool = False) -> Study:
        """Open a study by its directory or its study.toml.

        Parameters
        ----------
        path : Path
            Either.
        anew : bool
            To make everything again: a record of an unreleased format counts as none.

        Raises
        ------
        InputError
            If there is none, its settings cannot be used, or another version made its results.
        """
        if path.is_file() and path.suffix != ".toml":
            raise InputError(path, "this is not a study", "name its directory, or its study.toml")
        file = path / "study.toml" if path.is_dir() or path.suffix != ".toml" else path
        study = cls(file.resolve(), read_settings(file))
        for each in study.sources.values():
            if each.settings.imagery is not None:
                allow_hosts(each.settings.imagery.allow_hosts)
        version = study._content.get("format_version")
        newer = isinstance(version, int) and version > RECORD_VERSION
        if newer or (not anew and "format_version" in study._content):
            step = f"run it again: `streetgauge run {study.directory} --force`"
            require_version(study.run_file, version, RECORD_VERSION, step)
        study._fingerprints.update(study.record.get("files", {}))
        return study

    def name_of(self, path: Path) -> str:
        """Name a file as run.json does: below the study's directory by its relative path."""
        inside = path.is_relative_to(self.directory)
        return path.relative_to(self.directory).as_posix() if inside else path.name

    @cached_property
    def running(self) -> Running:
        """Reports which stage runs, while the study is locked."""
        return Running(self.path(".running.json"))

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of run.json; what cannot be read is as if it were not there."""
        return dict(self._content) if _is_record(self._content) else {}

    @cached_property
    def _content(self) -> dict[str, Any]:
        try:
            content = json.loads(self.run_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):  # not JSON, or not UTF-8
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def made(self) -> MadeFiles:
        """What run.json states that a run made."""
        return MadeFiles.of_record(self.directory, self._content, self.run_file.exists())

    @property
    def written(self) -> tuple[Path, ...]:
        """Everything that a run or a command may write into the study's directory."""
        stages = (path for stage in STAGES for path in stage.writes(self))
        return (*stages, *map(self.path, _ALSO_WRITTEN))

    def everything(self) -> Iterator[tuple[str, Path]]:
        """Give what no other command may write: settings, inputs and all that a run makes."""
        yield "study.toml", self.file
        yield from input_files(self.settings)
        yield from ((self.name_of(path), path) for path in self.written)

    def key(self, stage: Stage, *, upstream: bool = True) -> str:
        """Cache key of a stage: its version, and a hash of all else that its result depends on.

        Paths count by the content that they lead to, so that a study can be moved.

        Parameters
        ----------
        stage : Stage
            Which.
        upstream : bool
            Whether the versions of all stages upstream count. Without them it is what
            interrupted work may be resumed from: what took hours is reused where a stage upstream
            is done again and its files come out the same.
        """
        sections = {name: self.settings.section(name) for name in sections_of(stage, self)}
        before = stages_before(stage, self) if upstream else ()
        content = digest(
            {
                "settings": self._by_content(sections),
                "reads": {
                    self.name_of(path): self.numbers()
                    if stage.by_numbers and path == self.outcomes
                    else self.fingerprint(path)
                    for path in stage.reads(self)
                },
                "upstream": {other.name: other.version for other in before},
            }
        )
        return f"{stage.version}.{content}"

    def is_up_to_date(self, stage: Stage, key: str, *, as_it_is: bool = False) -> bool:
        """Whether the stage was done with this very key and its outputs are still the same.

        Parameters
        ----------
        stage : Stage
            Which.
        key : str
            Its cache key now.
        as_it_is : bool
            Also count a stage that another run may complete: what lies downstream can go on.
        """
        entry = self.record.get("stages", {}).get(stage.name)
        if entry is None or entry["cache_key"] != key:
            return False
        if not self._skips_are_whole(stage.name, entry):
            return False
        if entry.get("retryable") and not as_it_is:
            return False
        # A file that a stage makes only at times (a map needs boundaries) was not made then either.
        return all(
            entry["outputs"].get(self.name_of(path))
            == (self.fingerprint(path) if path.exists() else None)
            for path in stage.writes(self)
        )

    def state(self, stage: Stage) -> State:
        """Whether a stage is done, and whether its result is that of its inputs as they are now.

        Files that have changed are read. ``inputs missing`` is a stage that was done from files
        that are no longer there; ``inputs unreachable`` one that reads a URL which nothing
        answers now, as without a network.
        """
        if stage.name not in self.record.get("stages", {}):
            return "not done"
        try:
            self.require_files(sections_of(stage, self))
        except InputError:
            return "inputs missing"
        try:
            return "up to date" if self.is_up_to_date(stage, self.key(stage)) else "out of date"
        except FileNotFoundError:
            return "inputs missing"
        except InputError:
            return "inputs unreachable"

    def fingerprint(self, path: Path) -> str:
        """Sha256 of a file, or of all files of a directory with their relative paths.

        Sizes and modification times show whether the content must be read again.
        """
        signature = signature_of(path)
        known = self._fingerprints.get(str(path))
        if known is not None and known["signature"] == signature:
            return str(known["sha256"])
        sha256 = content_of(path)
        self._fingerprints[str(path)] = {"signature": signature, "sha256": sha256}
        return sha256

    def numbers(self) -> str:
        """Hash of ``outcomes.parquet`` but for labels and other words, which change no number.

        Of a file that is not a streetgauge table it is that of the whole.
        """
        return str(self._found_in(self.outcomes, "numbers", self._hash_numbers))

    def _found_in(self, path: Path, name: str, find: Callable[[], Any]) -> Any:
        """Find something in a file, and record it with its hash until the file changes."""
        self.fingerprint(path)
        known = self._fingerprints[str(path)]
        if name not in known:
            known[name] = find()
        return known[name]

    def _hash_numbers(self) -> str:
        import pandas as pd

        try:
            frame, about = read_table(self.outcomes), read_metadata(self.outcomes)
        except (OSError, InputError):
            return self.fingerprint(self.outcomes)
        numeric = {
            name: {key: value for key, value in each.items() if key not in _WORDS}
            for name, each in about.items()
        }
        rows = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()
        types = [[name, str(kind)] for name, kind in frame.dtypes.items()]
        return digest([types, hashlib.sha256(rows).hexdigest(), numeric])

    def require_files(self, sections: tuple[str, ...] | None = None) -> None:
        """Refuse a study whose settings name a file that is not there, or that a run writes over.

        Parameters
        ----------
        sections : tuple of str, optional
            Check these sections only; at all of them if not given.

        Raises
        ------
        InputError
            Naming the setting, the file, and what to do.
        """
        self.refuse_overlap()
        for key, path in input_files(self.settings):
            error = self._missing(key, path)
            if error is not None and (sections is None or key.split(".")[0] in sections):
                raise error

    def refuse_overlap(self) -> None:
        """Refuse a study of which a run would write to an input, whichever stage reads it.

        Raises
        ------
        InputError
            Naming the setting and the file.
        """
        written = real_paths(self.written)
        for key, path in input_files(self.settings):
            error = self._overlap(key, path, written)
            if error is not None:
                raise error

    def _overlap(self, key: str, path: Path, written: dict[Path, Path]) -> InputError | None:
        subject = f"{self.file}: {key}"
        if path.is_dir() and self.directory.is_relative_to(path):
            reason = f"the folder {path} is, or contains, the study's own"
            return InputError(subject, reason, "put the files into a folder of their own")
        if (found := overlap(path, written)) is None:
            return None
        output, how = found
        what = f"is what a run of the study writes itself ({output})"
        what = f"{how}, and that {what}" if not how.startswith("is") else what
        return InputError(subject, f"{path} {what}", "copy it to another place")

    def file_problems(self) -> Iterator[tuple[str, InputError]]:
        """Give every file that the settings name and that cannot be used, with its section."""
        written = real_paths(self.written)
        for key, path in input_files(self.settings):
            error = self._overlap(key, path, written) or self._missing(key, path)
            if error is not None:
                yield key.split(".")[0], error

    def _missing(self, key: str, path: Path) -> InputError | None:
        if path.exists():
            return None
        step = f"there is no folder {path.parent} either; paths start at {self.directory}"
        if path.parent.is_dir():
            names = sorted(p.name for p in path.parent.iterdir() if p.name[0] != ".")
            step = f"in {path.parent}: {closest(path.name, names)}"
        return InputError(f"{self.file}: {key}", f"there is no file {path}", step)

    def skips(self) -> pd.DataFrame:
        """Everything that was excluded so far: columns location_id, view, area, stage, reason."""
        import pandas as pd

        found = self._read_skips()
        if found is None:
            return pd.DataFrame({name: pd.Series(dtype="str") for name in SKIP_COLUMNS})
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Prevent another run of the same study; the lock goes with the process.

        Raises
        ------
        InputError
            If another process is at work on it, or a run would write to an input.
        """
        self.refuse_overlap()
        with WriteLock(self.run_file, "is at work on this study") as lock, self.running.heartbeat():
            if lock.held:
                self._remove_leftovers()
            self._restore_skips()
            yield

    def _remove_leftovers(self) -> None:
        """Remove what a killed run left half written; the store's own lock guards the store."""
        made = {path for stage in STAGES for path in stage.writes(self)} - set(self.stores)
        for path in (self.run_file, self.skipped, self.curves, *sorted(made)):
            remove_leftovers(path)

    def _read_skips(self) -> pd.DataFrame | None:
        """Read all of skipped.parquet; None if it is lost or damaged."""
        import pandas as pd

        try:
            frame = read_table(self.skipped)
        except (OSError, InputError):
            return None
        texts = all(pd.api.types.is_string_dtype(frame[name]) for name in frame)
        return frame if set(frame) == set(SKIP_COLUMNS) and texts else None

    def _skips_are_whole(self, stage: str, entry: Mapping[str, Any]) -> bool:
        """Whether skipped.parquet has the very rows of a stage that its run recorded."""
        recorded = entry.get("skipped")
        return bool((self._skip_digests() or {}).get(stage, "") == recorded)

    def _skip_digests(self) -> dict[str, str] | None:
        """Hash the skips of each stage; None if skipped.parquet is lost or damaged."""
        if not self.skipped.is_file():
            return None
        found: dict[str, str] | None = self._found_in(
            self.skipped, "skips", lambda: _digests(self._read_skips())
        )
        return found

    def _restore_skips(self) -> None:
        """Write skipped.parquet anew where it is lost or damaged; who had rows is redone."""
        if self.record.get("stages") and self._skip_digests() is None:
            write_table(self.skips().astype("str"), self.skipped)

    def require_inputs(self, stage: Stage) -> None:
        """Refuse a stage whose input files are not there.

        Raises
        ------
        InputError
            Naming the file and what makes it.
        """
        self.require_files(sections_of(stage, self))
        for path in stage.reads(self):
            if not path.exists():
                raise InputError(
                    path,
                    f"`{stage.name}` needs this file and it is not there",
                    f"make it with `streetgauge run {self.directory}`",
                )

    def require_upstream(self, name: str) -> None:
        """Refuse to go on from files that are older than what they are made from.

        Raises
        ------
        InputError
            Naming the first stage upstream of ``name`` that is not done or out of date.
        """
        for stage in stages_before(stage_named(name), self):
            self._require_done(stage)

    def require_fresh(self, name: str) -> None:
        """Refuse if a stage, or one upstream of it, is not up to date.

        Raises
        ------
        InputError
            Naming the first stage that must be done.
        """
        self.require_upstream(name)
        self._require_done(stage_named(name))

    def _require_done(self, stage: Stage) -> None:
        self.require_inputs(stage)
        if not self.is_up_to_date(stage, self.key(stage), as_it_is=True):
            raise InputError(
                self.directory,
                f"`{stage.name}` is not done, or what it depends on has changed",
                f"run `streetgauge run {self.directory}`",
            )

    def _by_content(self, value: Any) -> Any:
        if isinstance(value, Path):
            return self.fingerprint(value)
        if isinstance(value, Url):
            return signature(value)
        if isinstance(value, BaseModel):
            # What is excluded is how a thing is done, and makes no difference to the result.
            fields = type(value).model_fields
            return {key: self._by_content(v) for key, v in value if not fields[key].exclude}
        if isinstance(value, Mapping):
            return {key: self._by_content(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return [self._by_content(item) for item in value]
        return value

    def begin(self, stage: Stage) -> None:
        """State in run.json what a stage is going to write, before it does.

        Raises
        ------
        InputError
            If it would write over a file that no run made.
        """
        if self.made.is_known:
            self._refuse_strangers(stage)
            self.made.begin(stage.writes(self))
        else:  # all is made anew, and then the record states it
            self.made.begin(path for each in STAGES for path in each.writes(self))
        if self.record.get("made") != self.made.names:
            empty = {"format_version": RECORD_VERSION, "stages": {}, "files": {}}
            self.record.update({**empty, **self.record, "made": self.made.names})
            write_json(self.record, self.run_file)

    def require_made(self, stage: Stage) -> None:
        """Refuse to remove what a stage made together with what no run made.

        Raises
        ------
        InputError
            Naming a file that the record does not state, or the record, if it states nothing.
        """
        if not self.made.is_known and any(path.exists() for path in stage.writes(self)):
            raise InputError(
                self.run_file,
                "it is damaged, and does not state which files a run made, so none is removed",
                f"make them again without --force: `streetgauge run {self.directory}`",
            )
        self._refuse_strangers(stage, stores=True)

    def _refuse_strangers(self, stage: Stage, *, stores: bool = False) -> None:
        """Refuse what no run made; a feature store is no other's, and is checked where it opens."""
        for path in stage.writes(self):
            stranger = next(self.made.strangers(path), None)
            if stranger is not None and (stores or path not in self.stores):
                raise InputError(
                    stranger,
                    f"`{stage.name}` would overwrite it, and run.json lists no run that made it",
                    "move it away, or remove it yourself",
                )

    def forget(self, stage: Stage) -> None:
        """Remove what a stage made: first from the record, so that a run killed now is not done.

        See `require_made`, which comes before.
        """
        done = self.record.get("stages", {}).pop(stage.name, None)
        if done is not None:
            write_json(self.record, self.run_file)
        # Also what other settings made: the table of a level that is evaluated no more.
        names = [name for name in (done or {}).get("outputs", {}) if _LEVEL.fullmatch(name)]
        paths = (*stage.writes(self), *map(self.path, names))
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self.made.settle(paths)

    def store_skips(self, stage: str, skips: pd.DataFrame | None) -> None:
        """Replace the stage's rows of skipped.parquet; their order depends on content alone.

        A stage that cannot go on stores them, too: they are the reasons why it cannot.
        """
        import pandas as pd

        skips_before, others = self.skips(), [each.name for each in STAGES if each.name != stage]
        parts = [skips_before[skips_before["stage"].isin(others)]]
        if skips is not None and len(skips):
            parts.append(skips.reindex(columns=list(SKIP_COLUMNS)).assign(stage=stage))
        frame = pd.concat(parts, ignore_index=True).astype("str")  # None stays a missing value
        frame = frame.sort_values(list(SKIP_COLUMNS), kind="stable", ignore_index=True)
        write_table(frame, self.skipped)

    def remember(
        self, stage: Stage, key: str, done: Done, started: datetime, seconds: float
    ) -> None:
        """Record a stage that was done, and what it excluded.

        Parameters
        ----------
        stage : Stage
            Which.
        key : str
            Its cache key from before the work.
        done : Done
            What it reports.
        started : datetime
            When.
        seconds : float
            How long it took.
        """
        self.store_skips(stage.name, done.skips)
        stages = dict(self.record.get("stages", {}))
        stages[stage.name] = {
            "cache_key": key,
            "version": stage.version,
            "settings": json.loads(
                json.dumps(
                    {n: _as_json(self.settings.section(n)) for n in sections_of(stage, self)}
                )
            ),
            "outputs": {
                self.name_of(p): self.fingerprint(p) for p in stage.writes(self) if p.exists()
            },
            "made_by": _made_by(),
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
            "messages": list(done.lines),
            "skipped": (self._skip_digests() or {}).get(stage.name, ""),
            **({"retryable": True} if done.retryable else {}),
        }
        self.made.settle(stage.writes(self), whole=(self.image_folder,))
        self.record.update(
            {
                "format_version": RECORD_VERSION,
                "study": self.settings.name,
                "seed": self.settings.seed,
                **_made_by(),
                "stages": stages,
                "made": self.made.names,
                "files": dict(sorted(self._fingerprints.items())),
            }
        )
        write_json(self.record, self.run_file)


def _digests(skips: pd.DataFrame | None) -> dict[str, str] | None:
    """Hash the rows of each stage; a stage without any has none."""
    if skips is None:
        return None
    import pandas as pd

    rows = pd.util.hash_pandas_object(skips, index=False)
    return {
        str(stage): hashlib.sha256(each.to_numpy().tobytes()).hexdigest()
        for stage, each in rows.groupby(skips["stage"].to_numpy())
    }


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return value


def _made_by() -> dict[str, Any]:
    """Versions of this package and of what its results depend on."""
    return {
        "streetgauge": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _RECORDED},
    }


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_record(content: Mapping[str, Any]) -> bool:
    """Whether this is what `Study.remember` writes, and not something that a person made of it."""
    if content.get("format_version") != RECORD_VERSION:
        return False
    stages, files = content.get("stages", {}), content.get("files", {})
    return (
        isinstance(stages, dict)
        and isinstance(files, dict)
        and all(isinstance(s, dict) and s.keys() >= _ENTRY for s in stages.values())
        and all(isinstance(s["outputs"], dict) for s in stages.values())
        and all(isinstance(s["messages"], list) for s in stages.values())
        and all(isinstance(m, str) for s in stages.values() for m in s["messages"])
        and all(_is_maker(s["made_by"]) for s in stages.values())
        and all(isinstance(f, dict) and {"signature", "sha256"} <= f.keys() for f in files.values())
        and all(isinstance(f.get("skips") or {}, dict) for f in files.values())
    )


def _is_maker(by: object) -> bool:
    """Whether this names what made a result."""
    known = {"streetgauge", "python", "platform", "versions"}
    return isinstance(by, dict) and by.keys() >= known and isinstance(by["versions"], dict)


def content_of(path: Path) -> str:
    """Sha256 of a file, or of all files of a directory with their relative paths."""
    if path.is_dir():
        return digest([(p.relative_to(path).as_posix(), sha256_of(p)) for p in _all_files(path)])
    return sha256_of(path)


def signature_of(path: Path) -> str:
    """Cheap signature of a change: name, size and modification time of every file."""
    files = _all_files(path) if path.is_dir() else [path]
    parts = hashlib.sha256()
    for file in files:
        stat = file.stat()
        line = f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        parts.update(line.encode(errors="surrogateescape"))  # a name need not be UTF-8
    return parts.hexdigest()


def _all_files(directory: Path) -> list[Path]:
    """Every file below a directory, also behind symbolic links, sorted; no event files."""
    found, seen = [], set()
    for folder, folders, names in os.walk(directory, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        found += [Path(folder, name) for name in names if not name.startswith(EVENTS)]
    return sorted(path for path in found if path.is_file())
