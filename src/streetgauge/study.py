"""A study: one configured run, its directory, and which of its stages are up to date.

A stage is up to date when its stamp (a hash over its settings, the content of every file that it
reads, and the source code of the rooms that it uses) is the one that `run.json` recorded, and its
outputs are still what they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from streetgauge.errors import InputError, closest
from streetgauge.fingerprints import code_digest, content_of, signature_of
from streetgauge.io.files import digest, read_metadata, write_json, write_table
from streetgauge.io.remote import signature
from streetgauge.progress import Progress
from streetgauge.running import Running
from streetgauge.settings import StudySettings, Url, input_files, read_settings
from streetgauge.skips import SKIP_COLUMNS
from streetgauge.study_files import StudyFiles
from streetgauge.version import __version__

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Done", "Stage", "Study"]

# What a result depends on beside this package: recorded, not compared.
_RECORDED = (
    *("numpy", "pandas", "pyarrow", "geopandas", "shapely", "scikit-learn", "scipy"),
    *("torch", "h5py", "pillow", "safetensors"),
)


@dataclass(frozen=True)
class Done:
    """What a stage gives back: lines for the screen and what it left out."""

    lines: tuple[str, ...] = ()
    skips: pd.DataFrame | None = None


@dataclass(frozen=True)
class Stage:
    """One arrow of the flow: what it depends on, what it writes, and the work itself.

    Parameters
    ----------
    name : str
        The verb on the command line.
    settings : tuple of str
        The sections of study.toml that it depends on.
    reads : callable
        The study's own files that it reads, by path.
    writes : callable
        The files and directories that it makes.
    rooms : tuple of str
        The subpackages whose source code its result depends on.
    work : callable
        ``work(study, stamp, progress) -> Done``.
    by_numbers : bool
        Whether its result is the same whatever outcomes are called: see `Study.numbers`.
    before_forgetting : callable
        Refuses to have what is there removed, by raising InputError.
    version : int
        Raised by hand when its results change.
    """

    name: str
    settings: tuple[str, ...]
    reads: Callable[[Study], tuple[Path, ...]]
    writes: Callable[[Study], tuple[Path, ...]]
    rooms: tuple[str, ...]
    work: Callable[[Study, str, Progress], Done]
    by_numbers: bool = False
    before_forgetting: Callable[[Study], None] = lambda study: None
    version: int = 1


@dataclass(frozen=True)
class Study(StudyFiles):
    """A directory with ``study.toml`` and everything that was made from it.

    Parameters
    ----------
    file : Path
        The ``study.toml``.
    settings : StudySettings
        What it says.
    """

    file: Path
    settings: StudySettings
    _prints: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> Study:
        """Open a study by its directory or its study.toml.

        Raises
        ------
        InputError
            If there is none, or its settings cannot be used.
        """
        if path.is_file() and path.suffix != ".toml":
            raise InputError(path, "this is no study", "name its directory, or its study.toml")
        file = path / "study.toml" if path.is_dir() or path.suffix != ".toml" else path
        study = cls(file.resolve(), read_settings(file))
        study._prints.update(study.record.get("files", {}))
        return study

    def key(self, path: Path) -> str:
        """Name a file as run.json does: below the study's directory by its relative path."""
        inside = path.is_relative_to(self.directory)
        return path.relative_to(self.directory).as_posix() if inside else path.name

    @cached_property
    def running(self) -> Running:
        """Tells those who look on which stage runs, while the study is locked."""
        return Running(self.path(".running.json"))

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of run.json; what cannot be read is as if it were not there."""
        try:
            content = json.loads(self.run_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return {}
        return content if _is_record(content) else {}

    def run(self, stage: Stage, progress: Progress, *, force: bool = False) -> Done | None:
        """Do a stage, unless it is up to date.

        Parameters
        ----------
        stage : Stage
            Which.
        progress : Progress
            Told how far long work is.
        force : bool
            Do it even if it is up to date, from nothing.

        Returns
        -------
        Done or None
            What the stage says; None if it was up to date and nothing was done, or if it makes
            nothing in this study.

        Raises
        ------
        InputError
            If a file that the stage reads is missing or cannot be used.
        """
        self.require_inputs(stage)
        if not stage.writes(self):
            return None
        stamp = self.stamp(stage)
        if not force and self.is_up_to_date(stage, stamp):
            return None
        if force:
            stage.before_forgetting(self)
            self._forget(stage)
        started, clock = datetime.now(UTC), time.perf_counter()
        with self.running.stage(stage.name, progress) as told:
            done = stage.work(self, stamp, told)
        self._keep_skips(stage.name, done.skips)
        self._remember(stage, stamp, done, started, time.perf_counter() - clock)
        return done

    def stamp(self, stage: Stage, *, code: bool = True) -> str:
        """Hash of all that a stage's result depends on.

        Paths count by the content that they lead to, so that a study can be moved. Without
        ``code``, only inputs and settings count: what took hours is then kept by a newer version.
        """
        sections = {name: getattr(self.settings, name) for name in stage.settings}
        return digest(
            {
                "settings": self._by_content(sections),
                "reads": {
                    self.key(path): self.numbers()
                    if stage.by_numbers and path == self.outcomes
                    else self.fingerprint(path)
                    for path in stage.reads(self)
                },
                "code": code_digest(stage.rooms) if code else None,
            }
        )

    def is_up_to_date(self, stage: Stage, stamp: str) -> bool:
        """Whether the stage was done with this very stamp and its outputs are still the same."""
        kept = self.record.get("stages", {}).get(stage.name)
        if kept is None or kept["stamp"] != stamp or not self._skips_are_whole():
            return False
        # A file that a stage makes only at times (a map needs boundaries) was not made then either.
        return all(
            kept["outputs"].get(self.key(path))
            == (self.fingerprint(path) if path.exists() else None)
            for path in stage.writes(self)
        )

    def fingerprint(self, path: Path) -> str:
        """Sha256 of a file, or of all files of a directory with their relative paths.

        Sizes and modification times tell whether the content must be read again.
        """
        sign = signature_of(path)
        kept = self._prints.get(str(path))
        if kept is not None and kept["signature"] == sign:
            return str(kept["sha256"])
        sha256 = content_of(path)
        self._prints[str(path)] = {"signature": sign, "sha256": sha256}
        return sha256

    def numbers(self) -> str:
        """Hash of ``outcomes.parquet`` but for labels and other words, which change no number.

        Of a file that is no table of ours it is that of the whole.
        """
        import pandas as pd
        import pyarrow as pa

        try:
            frame, about = pd.read_parquet(self.outcomes), read_metadata(self.outcomes)
        except (OSError, pa.ArrowException):
            return self.fingerprint(self.outcomes)
        kept = {
            name: {key: said for key, said in each.items() if key not in _WORDS}
            for name, each in about.items()
        }
        rows = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()
        types = [[name, str(kind)] for name, kind in frame.dtypes.items()]
        return digest([types, hashlib.sha256(rows).hexdigest(), kept])

    def require_files(self, sections: tuple[str, ...] | None = None) -> None:
        """Refuse a study whose settings name a file that is not there.

        Parameters
        ----------
        sections : tuple of str, optional
            Look at these sections only; at all of them if not given.

        Raises
        ------
        InputError
            Naming the setting, the file, and the closest name in that folder.
        """
        for key, path in input_files(self.settings):
            if sections is not None and key.split(".")[0] not in sections:
                continue
            if path.is_dir() and self.directory.is_relative_to(path):
                raise InputError(
                    f"{self.file}: {key}",
                    f"the folder {path} is, or contains, the study's own",
                    "put the files into a folder of their own",
                )
            if path.exists():
                continue
            if not path.parent.is_dir():
                step = f"there is no folder {path.parent} either; paths start at {self.directory}"
            else:
                names = sorted(p.name for p in path.parent.iterdir() if p.name[0] != ".")
                step = f"in {path.parent}: {closest(path.name, names)}"
            raise InputError(f"{self.file}: {key}", f"there is no file {path}", step)

    def skips(self) -> pd.DataFrame:
        """Everything that was left out so far: columns location_id, view, area, stage, reason."""
        import pandas as pd

        if not self._skips_are_whole():
            return pd.DataFrame({name: pd.Series(dtype="str") for name in SKIP_COLUMNS})
        return pd.read_parquet(self.skipped)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run away from the same study; the lock goes with the process.

        Raises
        ------
        InputError
            If another process is at work on it.
        """
        try:
            import fcntl
        except ImportError:  # Windows: no advisory locks of this kind
            with self.running.told():
                yield
            return
        with self.path(".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    self.directory, "another process is at work on this study", "wait for it to end"
                ) from None
            with self.running.told():
                yield

    def _skips_are_whole(self) -> bool:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return set(pq.read_schema(self.skipped).names) == set(SKIP_COLUMNS)
        except (OSError, pa.ArrowException):
            return False

    def require_inputs(self, stage: Stage) -> None:
        """Refuse a stage whose input files are not there.

        Raises
        ------
        InputError
            Naming the file and what makes it.
        """
        self.require_files(stage.settings)
        for path in stage.reads(self):
            if not path.exists():
                raise InputError(
                    path,
                    f"`{stage.name}` needs this file and it is not there",
                    f"make it with `streetgauge run {self.directory}`",
                )

    def _by_content(self, value: Any) -> Any:
        if isinstance(value, Path):
            return self.fingerprint(value)
        if isinstance(value, Url):
            return signature(value)
        if isinstance(value, BaseModel):
            # What is excluded says how a thing is done, and makes no difference to the result.
            kept = type(value).model_fields
            return {key: self._by_content(v) for key, v in value if not kept[key].exclude}
        if isinstance(value, Mapping):
            return {key: self._by_content(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return [self._by_content(item) for item in value]
        return value

    def _forget(self, stage: Stage) -> None:
        """Remove what a stage made: first from the record, so that a run killed now is not done."""
        if self.record.get("stages", {}).pop(stage.name, None) is not None:
            write_json(self.record, self.run_file)
        for path in stage.writes(self):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
                # Of a run on a cluster that did not end.
                shutil.rmtree(path.with_suffix(".shards"), ignore_errors=True)

    def _keep_skips(self, stage: str, skips: pd.DataFrame | None) -> None:
        """Replace the stage's rows of skipped.parquet; their order depends on content alone."""
        import pandas as pd

        kept = self.skips()
        parts = [kept[kept["stage"] != stage]]
        if skips is not None and len(skips):
            parts.append(skips.reindex(columns=list(SKIP_COLUMNS)).assign(stage=stage))
        frame = pd.concat(parts, ignore_index=True).astype("str")  # None stays a missing value
        frame = frame.sort_values(list(SKIP_COLUMNS), kind="stable", ignore_index=True)
        write_table(frame, self.skipped)

    def _remember(
        self, stage: Stage, stamp: str, done: Done, started: datetime, seconds: float
    ) -> None:
        stages = dict(self.record.get("stages", {}))
        stages[stage.name] = {
            "stamp": stamp,
            "settings": json.loads(
                json.dumps({n: _plain(getattr(self.settings, n)) for n in stage.settings})
            ),
            "outputs": {self.key(p): self.fingerprint(p) for p in stage.writes(self) if p.exists()},
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
            "says": list(done.lines),
        }
        self.record.update(
            {
                "format_version": 1,
                "study": self.settings.name,
                "seed": self.settings.seed,
                "streetgauge": __version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "versions": {name: _version(name) for name in _RECORDED},
                "stages": stages,
                "files": dict(sorted(self._prints.items())),
            }
        )
        write_json(self.record, self.run_file)


# What is kept of outcomes and makes no difference to a number.
_WORDS = ("label", "publisher", "licence")
# What run.json keeps of a stage.
_KEPT = {"stamp", "outputs", "started", "seconds", "says"}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_record(content: object) -> bool:
    """Whether this is what `Study.run` writes, and not something that a person made of it."""
    if not isinstance(content, dict):
        return False
    stages, files = content.get("stages", {}), content.get("files", {})
    return (
        isinstance(stages, dict)
        and isinstance(files, dict)
        and all(isinstance(s, dict) and s.keys() >= _KEPT for s in stages.values())
        and all(isinstance(f, dict) and {"signature", "sha256"} <= f.keys() for f in files.values())
    )
