"""What may be written and removed: never an input, and only what the run record states.

An input is written to where its real path (links followed) is an output's, lies in one or contains
one. And what is removed or replaced with ``--force`` is what `run.json` states that a run made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from streetgauge.errors import InputError

# TensorBoard's event files hold times, and process ids in their names: no two runs write the same.
EVENTS = "events.out.tfevents."
# What file browsers put into any folder that they show.
_DROPPINGS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def real_paths(paths: Iterable[Path]) -> dict[Path, Path]:
    """Give each path with its real one: links are followed."""
    return {path: _real(path) for path in paths}


def overlap(read: Path, written: Mapping[Path, Path]) -> tuple[Path, str] | None:
    """Find an output through which an input would be written to.

    Parameters
    ----------
    read : Path
        The input: a file, or a folder of which anything may be read.
    written : mapping of Path to Path
        What will be written, by `real_paths`; none need exist.

    Returns
    -------
    (Path, str) or None
        The output, and the end of a sentence on the input, e.g. ``is areas.parquet``; None if none
        is written to.

    Examples
    --------
    >>> outputs = real_paths([Path("/city/areas.parquet")])
    >>> overlap(Path("/city/images"), outputs)
    >>> overlap(Path("/city"), outputs)[1]
    'contains /city/areas.parquet'
    """
    real, is_there = _real(read), read.exists()
    for path, target in written.items():
        if real == target or (is_there and _is_same(read, path)):
            return path, f"is {path}" if read != path else "is it"
        if real.is_relative_to(target):
            return path, f"lies in {path}"
        if target.is_relative_to(real):
            return path, f"contains {path}"
    return None


def refuse_overlap(
    inputs: Iterable[tuple[object, Path]],
    outputs: Iterable[Path],
    step: str = "choose another name with --out",
) -> None:
    """Refuse to write to an input.

    Parameters
    ----------
    inputs : iterable of (object, Path)
        What is read, each with its name in the error: an option or a setting.
    outputs : iterable of Path
        What is to be written.
    step : str
        What to do about it.

    Raises
    ------
    InputError
        Naming the output and the input.
    """
    written = real_paths(outputs)
    for name, path in inputs:
        if (found := overlap(path, written)) is not None:
            output, how = found
            reason = f"this would be written, and {name} ({path}), which is read, {how}"
            if how.startswith("is"):
                reason = f"this is an input ({name}), and would be written over"
            raise InputError(output, reason, step)


def refuse_existing(out: Path, *, ours: bool, force: bool) -> None:
    """Refuse to write over what is there.

    Parameters
    ----------
    out : Path
        Where the command writes; nothing happens where there is nothing.
    ours : bool
        Whether what is there is what the command writes.
    force : bool
        Whether it may then be replaced.

    Raises
    ------
    InputError
        If it may not.
    """
    if not out.exists() or (force and ours):
        return
    if ours:
        raise InputError(out, "this exists already", "choose another name, or use --force")
    what = "this exists and is nothing that this command writes"
    raise InputError(out, what, "choose another name")


def refuse_others(directory: Path, own: Iterable[str]) -> None:
    """Refuse to replace a directory that holds more than what a command writes into it.

    Parameters
    ----------
    directory : Path
        What is to be replaced; nothing happens where there is none.
    own : iterable of str
        The names of what the command writes into it.

    Raises
    ------
    InputError
        Naming one of the other files.
    """
    if not directory.is_dir():
        return
    others = {each.name for each in directory.iterdir()} - set(own) - _DROPPINGS
    if others:
        reason = "this would be removed, and is nothing that this command writes"
        raise InputError(directory / min(others), reason, "move it away")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one file: by a hard link, or where capitals make no difference."""
    with suppress(OSError):
        return one.samefile(other)
    return False


class MadeFiles:
    """The files of a study that a run made, or began to make, as its record states them.

    A directory that a run is at work on, or has too many files to name each, is stated as a whole
    by a name that ends in ``/``; of others each file is. TensorBoard's event files are stated by a
    name that ends in ``*`` for each folder that has any: their own names differ from run to run.

    Parameters
    ----------
    directory : Path
        The study's.
    names : iterable of str, optional
        Relative to it, as `names` gives them; None where a record is damaged and states nothing.
    """

    def __init__(self, directory: Path, names: Iterable[str] | None) -> None:
        self.directory = directory
        self._names = None if names is None else set(names)

    @classmethod
    def of_record(cls, directory: Path, content: Mapping[str, Any], is_there: bool) -> MadeFiles:
        """Read what a record states, of whichever version.

        Parameters
        ----------
        directory : Path
            The study's.
        content : mapping
            The record.
        is_there : bool
            Whether there is one: without it, no run has made anything.
        """
        stated, stages = content.get("made"), content.get("stages")
        if isinstance(stated, list):
            return cls(directory, map(str, stated))
        if not is_there:
            return cls(directory, ())
        if not isinstance(stages, dict):
            return cls(directory, None)
        outputs = [each.get("outputs") for each in stages.values() if isinstance(each, dict)]
        names = [str(name) for each in outputs if isinstance(each, dict) for name in each]
        return cls(directory, (*names, *(f"{name}/" for name in names)))

    @property
    def names(self) -> list[str]:
        """What the record states, sorted."""
        return sorted(self._names or ())

    @property
    def is_known(self) -> bool:
        """Whether there is a record that can be read."""
        return self._names is not None

    def strangers(self, output: Path) -> Iterator[Path]:
        """Give what lies at an output's path, or in its directory, and was made by no run."""
        if not os.path.lexists(output):
            return
        names, name = self._names or set(), self._name(output)
        if not output.is_dir():
            if name not in names:
                yield output
            return
        if f"{name}/" in names:
            return
        for folder, folders, files in os.walk(output):
            links = [each for each in folders if Path(folder, each).is_symlink()]
            for file in sorted(set(files).union(links) - _DROPPINGS):
                if not names & {self._name(Path(folder, file)), self._stated(Path(folder, file))}:
                    yield Path(folder, file)

    def begin(self, outputs: Iterable[Path]) -> None:
        """State what a stage is going to make, before it does."""
        if self._names is None:
            self._names = set()
        names = [self._name(path) for path in outputs]
        self._names |= {*names, *(f"{name}/" for name in names)}

    def settle(self, outputs: Iterable[Path], whole: Iterable[Path] = ()) -> None:
        """State what a stage has made: of directories each file, but for those named as a whole."""
        if self._names is None:
            self._names = set()
        as_whole = set(whole)
        for path in outputs:
            name = self._name(path)
            inside = {each for each in self._names if each.startswith(f"{name}/")}
            self._names -= {name, *inside}
            if path in as_whole:
                self._names.add(f"{name}/")
            elif path.is_dir():
                self._names |= {
                    self._stated(Path(folder, file))
                    for folder, _, files in os.walk(path)
                    for file in set(files) - _DROPPINGS
                }
            elif path.exists():
                self._names.add(name)

    def _stated(self, path: Path) -> str:
        """Name a file as every run of the same study does."""
        if path.name.startswith(EVENTS):
            path = path.with_name(f"{EVENTS}*")
        return self._name(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.directory).as_posix()
