"""The files of a folder, of its archives, or behind a URL, by name; an archive is a folder too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from streetgauge.errors import InputError
from streetgauge.imagery.archives import is_archive, list_archive
from streetgauge.imagery.patterns import Pattern
from streetgauge.io.remote import can_list, is_url, join, list_files


class File(NamedTuple):
    """A file below a folder, or in an archive there.

    Parameters
    ----------
    name : str
        Its path below the folder; an archive counts as a folder.
    path : str
        The file or URL to open.
    member : str
        The file in the archive at ``path``; "" if there is no archive.
    position : int
        Its position in the archive, from the front.
    """

    name: str
    path: str
    member: str = ""
    position: int = 0


class Folder:
    """Where images are.

    Parameters
    ----------
    root : Path or str
        A folder, an archive, or the URL of either.

    Attributes
    ----------
    skipped : list of str
        What was met, in archives or by itself, and cannot be read: one sentence each.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = root
        self.skipped: list[str] = []
        self._remote = is_url(root)
        self._is_archive = is_archive(str(root)) and (self._remote or Path(root).is_file())
        if not self._remote and not self._is_archive and not Path(root).is_dir():
            reason = "this is not an archive" if Path(root).exists() else "there is no such folder"
            raise InputError(root, reason, "check imagery.folder")

    def files(self, pattern: Pattern) -> Iterator[File]:
        """Give the files that can fit the pattern, and some that do not."""
        if self._is_archive:
            yield from self._archive_members("", str(self.root))
        elif self._remote:
            for name, url in list_files(str(self.root)).items():
                if is_archive(name) and _leads(pattern, name):
                    yield from self._archive_members(f"{name}/", url)
                else:
                    yield File(name, url)
        else:
            yield from self._walk(pattern, Path(self.root), "", 0, frozenset())

    def _walk(
        self, pattern: Pattern, folder: Path, base: str, depth: int, above: frozenset[str]
    ) -> Iterator[File]:
        real = os.path.realpath(folder)
        if real in above:  # a link that leads back up
            return
        last = pattern.depth is not None and depth == pattern.depth
        into = None if last else pattern.folder(depth)
        with os.scandir(folder) as entries:
            for entry in entries:
                name = base + entry.name
                kind = _kind(entry)
                if why := _why_not(entry.name, kind):
                    self.skipped.append(f"{why}: {name!a}")
                    continue
                below = not last and (into is None or into.fullmatch(entry.name) is not None)
                if not below:
                    if last:
                        yield File(name, entry.path)
                elif is_archive(entry.name) and kind == "file":
                    yield from self._archive_members(f"{name}/", entry.path)
                elif kind == "folder":
                    path = Path(entry.path)
                    yield from self._walk(pattern, path, f"{name}/", depth + 1, above | {real})
                elif pattern.depth is None:
                    yield File(name, entry.path)

    def _archive_members(self, base: str, path: str) -> Iterator[File]:
        listing = list_archive(path)
        self.skipped += [reason for reason in listing.skipped if reason not in self.skipped]
        for position, member in enumerate(listing.members):
            yield File(base + member, path, member, position)

    def find(self, names: set[str]) -> dict[str, File]:
        """Find files by their names below the folder; those that are not there are not given."""
        if self._is_archive:
            return {f.name: f for f in self._archive_members("", str(self.root)) if f.name in names}
        urls = self._urls() if self._remote else None
        found = {}
        archives: dict[str, str] = {}
        for name in names:
            path = urls(name) if urls is not None else str(Path(self.root, name))
            if path is not None and (urls is not None or os.path.isfile(path)):  # noqa: PTH113
                found[name] = File(name, path)
            elif archive := _archive_in(name):
                at = urls(archive) if urls is not None else str(Path(self.root, archive))
                if at is not None:
                    archives[archive] = at
        for archive, path in sorted(archives.items()):
            if urls is None and not Path(path).is_file():
                continue
            found |= {
                f.name: f for f in self._archive_members(f"{archive}/", path) if f.name in names
            }
        return found

    def _urls(self) -> Callable[[str], str | None]:
        """Give a function from a file's name to its URL, None if it is not there."""
        root = str(self.root)
        if can_list(root):
            return list_files(root).get
        return lambda name: None if _archive_in(name) else join(root, name)

    def some(self, count: int = 3) -> list[str]:
        """Name the first few files, also those in the first archive that is met."""
        return list(islice(self._some(), count))

    def _some(self) -> Iterator[str]:
        if self._is_archive:
            yield from (file.name for file in self._archive_members("", str(self.root)))
        elif self._remote:
            yield from list_files(str(self.root))
        else:
            for base, folders, names in os.walk(self.root):
                folders.sort()
                for name in sorted(names):
                    path = Path(base, name)
                    inside = path.relative_to(self.root).as_posix()
                    if is_archive(name):
                        yield from (f.name for f in self._archive_members(f"{inside}/", str(path)))
                    else:
                        yield inside


def _kind(entry: os.DirEntry[str]) -> str:
    """Return what an entry is: "file", "folder", "device" or, of a link to nothing, "gone"."""
    try:
        if entry.is_file():
            return "file"
        if entry.is_dir():
            return "folder"
        entry.stat()
    except OSError:
        return "gone"
    return "device"


def _why_not(name: str, kind: str) -> str:
    """Return why an entry of a folder cannot be an image, or ""."""
    if kind == "device":  # reading a pipe may never end
        return "this is a pipe, a socket or a device, which is not read"
    try:
        name.encode()
    except UnicodeEncodeError:  # no table could hold it
        return f"the name of this {'folder' if kind == 'folder' else 'file'} is not UTF-8"
    return ""


def _leads(pattern: Pattern, archive: str) -> bool:
    """Whether files that fit the pattern can lie in the archive."""
    parts = archive.split("/")
    for depth, part in enumerate(parts):
        if pattern.depth is not None and depth >= pattern.depth:
            return False
        into = pattern.folder(depth)
        if into is None:
            return True
        if into.fullmatch(part) is None:
            return False
    return True


def _archive_in(name: str) -> str:
    """Give the archive that a name leads through, or ""."""
    parts = name.split("/")
    for end in range(1, len(parts)):
        if is_archive(parts[end - 1]):
            return "/".join(parts[:end])
    return ""
