"""Archives of images, read in place: nothing is unpacked to disk, no member's name is a path.

Tar archives (plain, gzip, bzip2, xz) are streams: they are read once from front to back. Zip
archives are read in any order. Links, devices, names that climb out of the archive and archives
inside of archives are not followed; they are listed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from streetgauge.errors import summary
from streetgauge.imagery.image_file import ImageError
from streetgauge.io.remote import is_url, open_url

SUFFIXES = (
    *(".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".zip"),
    *(".tar.gz", ".tar.bz2", ".tar.xz"),
)
MAX_BYTES = 512 << 20  # of one image: none has more, a file made to fill the memory has


class _Unpacker(Protocol):
    """What unpacks a packed file."""

    def read1(self, size: int = ..., /) -> bytes:
        """Give some bytes, at most so many; none at the end."""

    def close(self) -> None:
        """End it."""


# What the readers raise on damaged archives. ValueError and OverflowError: fields of a header that
# are not numbers; RuntimeError and NotImplementedError: encrypted or unknown compression (zip).
_DAMAGE = (
    *(OSError, EOFError, ValueError, OverflowError, RuntimeError, zlib.error, lzma.LZMAError),
    *(tarfile.TarError, zipfile.BadZipFile, NotImplementedError),
)
_UNPACKERS: dict[bytes, Callable[[IO[bytes]], _Unpacker]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": lambda file: bz2.BZ2File(file),
    b"\xfd7zXZ\0": lambda file: lzma.LZMAFile(file),  # noqa: SIM115 (closed by _Tar)
}
_BUFFER = 1 << 20
_STEP = 1 << 13  # unpacked at a time: what one call has unpacked when it fails is lost
MAX_HEADER = 64 << 10  # of a header that only describes the next file: its long name


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name."""
    return name.lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Listing:
    """What is in an archive.

    Parameters
    ----------
    members : tuple of str
        The plain files that can be read, each once, as they stand in the archive.
    skipped : tuple of str
        One sentence for each kind of thing that is not read.
    """

    members: tuple[str, ...]
    skipped: tuple[str, ...]


def list_archive(path: str) -> Listing:
    """List an archive (a file or a URL); one that has not changed is not read again.

    A damaged archive gives the members before the damage, and the damage in ``skipped``.
    """
    if is_url(path):
        return _listing(path, 0, 0)
    try:
        status = Path(path).stat()
    except OSError as error:
        return Listing((), (f"archive {_short(path)}: it cannot be opened: {error.strerror}",))
    return _listing(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _listing(path: str, size: int, modified: int) -> Listing:
    names: dict[str, None] = {}
    refused: defaultdict[str, list[str]] = defaultdict(list)
    damage = ""
    with Archive(path) as archive:
        try:
            for name, why_not in archive.names():
                if why_not:
                    refused[why_not].append(name)
                elif name in names:
                    refused["occur twice, of which the first is read"].append(name)
                else:
                    names[name] = None
        except ImageError as error:
            damage = error.reason
    reasons = [
        f"archive {_short(path)}: {len(those)} of its members {why}, e.g. {those[0]!a}"
        for why, those in refused.items()
    ]
    if damage:
        reasons.append(f"{damage}, after {len(names)} files")
    return Listing(tuple(names), tuple(reasons))


class Archive:
    """An archive that is open for reading; closed at the end of a ``with`` block.

    Parameters
    ----------
    path : str
        A tar (also compressed) or zip, a file or a URL; its content decides which.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._reader: _Tar | _Zip | None = None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def names(self) -> Iterator[tuple[str, str]]:
        """Every member but folders, in the archive's order: its name, and why it is not read or "".

        Raises
        ------
        ImageError
            Where the archive is damaged; what stands before it has been given.
        """
        self.close()
        try:
            yield from self._open().names()
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def read(self, member: str) -> bytes:
        """Read one member, as `Listing` names it.

        Cheap in the archive's order. A tar is read again from its front when a member lies behind
        the last one.

        Raises
        ------
        ImageError
            If there is no such member, it is larger than `MAX_BYTES`, or the archive is damaged.
        """
        try:
            return self._open().read(member)
        except ImageError:
            raise
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _open(self) -> _Tar | _Zip:
        if self._reader is None:
            self._reader = _Zip(self.path) if _is_zip(self.path) else _Tar(self.path)
        return self._reader

    def _damaged(self, error: BaseException) -> ImageError:
        reason = summary(error, 120)
        if "range requests" in reason:  # of fsspec: a zip's list of members is at its end
            reason = "its web server gives files from the beginning only, so it has to be a tar"
            return ImageError(f"archive {_short(self.path)}: {reason}")
        return ImageError(f"archive {_short(self.path)}: it is damaged: {reason}")


def _short(path: str) -> str:
    return path.rpartition("/")[2]


def _open(path: str) -> IO[bytes]:
    return open_url(path) if is_url(path) else Path(path).open("rb")


def _is_zip(path: str) -> bool:
    with _open(path) as handle:
        return handle.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or path.lower().endswith(".zip")


class _EndError(EOFError):
    """A tar that ends without its end mark: it is cut off, or its next header is damaged."""


class _Unpacked:
    """A packed file that gives all that can be unpacked before it fails.

    The unpackers' own ``read`` gives all that was asked for or, where it fails, nothing.
    """

    def __init__(self, file: _Unpacker) -> None:
        self._file = file
        self._damage: BaseException | None = None

    def read(self, size: int) -> bytes:
        if self._damage is not None:
            raise self._damage
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._file.read1(min(size, _STEP))
            except _DAMAGE as error:
                if not parts:
                    raise
                self._damage = error
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        self._file.close()


class _TarInfo(tarfile.TarInfo):
    """A header that distinguishes damage from the end, which tarfile takes for the same.

    Nor does it hold in memory what a file made to fill it has before its next one: names of any
    length, and the maps of sparse files, which are not read anyway. tarfile has no public way to
    any of this; all tests of archives pass with these overrides on Python 3.11 and 3.13.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:  # tarfile's way in
        if self.type in _EXTENSIONS and self.size > MAX_HEADER:
            raise _EndError(
                f"a name or a comment of {self.size:,} bytes, where {MAX_HEADER:,} are too many"
            )
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found

    def _proc_sparse(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        _, more, _ = self._sparse_structs  # type: ignore[attr-defined]
        while more:
            block = tar.fileobj.read(tarfile.BLOCKSIZE)
            if len(block) < tarfile.BLOCKSIZE:
                raise _EndError("a sparse file's map is cut off")
            more = block[504]
        self.sparse = []  # type: ignore[assignment]  # what typeshed has of it is not so
        found: tarfile.TarInfo = self._proc_builtin(tar)  # type: ignore[attr-defined]
        return found

    def _proc_gnusparse_10(self, next_: tarfile.TarInfo, *_: object) -> None:
        next_.sparse = []  # type: ignore[assignment]

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise _EndError(f"no file begins where one should ({error})") from None


class _Tar:
    """A tar as a stream."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._missing: set[str] = set()
        self._rewind()

    def _rewind(self) -> None:
        with _open(self.path) as handle:
            start = handle.read(6)
        unpack = next((u for magic, u in _UNPACKERS.items() if start.startswith(magic)), None)
        with ExitStack() as opened:
            packed = opened.enter_context(closing(_open(self.path)))
            file = opened.enter_context(closing(_Unpacked(unpack(packed)))) if unpack else packed
            # Over an opened stream, not by tarfile's own "r|gz": that reads only the first of
            # several gzip members (as pigz writes them) and checks no checksum.
            self._tar = tarfile.open(  # noqa: SIM115 (closed by close)
                fileobj=cast(IO[bytes], file), mode="r|", bufsize=_BUFFER, tarinfo=_TarInfo
            )
            self._opened = opened.pop_all()
        self._at_start = True
        self._seen: set[str] = set()

    def close(self) -> None:
        self._tar.close()
        self._opened.close()

    def _tar_members(self) -> Iterator[tarfile.TarInfo]:
        self._at_start = False
        while (info := self._tar.next()) is not None:
            self._tar.members.clear()  # type: ignore[attr-defined]  # else all headers stay in memory
            if not info.isdir():
                yield info

    def names(self) -> Iterator[tuple[str, str]]:
        for info in self._tar_members():
            name, why = _member_name(info.name)
            if not why:
                why = "" if info.isreg() and not info.issparse() else _LINK
                why = why or _too_large(info.size)
            yield name, why

    def read(self, member: str) -> bytes:
        if member in self._missing:
            raise ImageError("the archive has no such file")
        if member in self._seen:
            self.close()
            self._rewind()
        whole = self._at_start
        for info in self._tar_members():
            name, why = _member_name(info.name)
            if why or not info.isreg() or info.issparse() or name in self._seen:
                continue
            self._seen.add(name)
            if name == member:
                if why := _too_large(info.size):
                    raise ImageError(f"the files of an archive that {why} are not read")
                content = self._tar.extractfile(info)
                assert content is not None  # it is a plain file
                with closing(content):
                    return content.read()
        if not whole:  # it may lie before where the search began
            self.close()
            self._rewind()
            return self.read(member)
        self._missing.add(member)
        raise ImageError("the archive has no such file")


class _Zip:
    """A zip, which has a directory."""

    def __init__(self, path: str) -> None:
        with ExitStack() as opened:
            self._zip = zipfile.ZipFile(opened.enter_context(closing(_open(path))))
            self._opened = opened.pop_all()
        self._by_name: dict[str, zipfile.ZipInfo] = {}
        for info in self._infos():
            name, why = self._zip_name(info)
            if not why:
                self._by_name.setdefault(name, info)

    def close(self) -> None:
        self._zip.close()
        self._opened.close()

    def _infos(self) -> list[zipfile.ZipInfo]:
        infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
        return [info for info in infos if not info.is_dir()]

    def names(self) -> Iterator[tuple[str, str]]:
        for info in self._infos():
            name, why = self._zip_name(info)
            yield name, why or _too_large(info.file_size)

    @staticmethod
    def _zip_name(info: zipfile.ZipInfo) -> tuple[str, str]:
        name, why = _member_name(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not why and kind not in (0, stat.S_IFREG):
            why = _LINK
        if not why and info.flag_bits & 1:
            why = "are encrypted"
        return name, why

    def read(self, member: str) -> bytes:
        info = self._by_name.get(member)
        if info is None:
            raise ImageError("the archive has no such file")
        with self._zip.open(info) as handle:
            content = handle.read(MAX_BYTES + 1)
        if why := _too_large(len(content)):
            raise ImageError(f"the files of an archive that {why} are not read")
        return content


_LINK = "are links, devices or sparse, not plain files"
# Headers that are read whole into the memory: long names, and notes of any kind.
_EXTENSIONS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


def _member_name(name: str) -> tuple[str, str]:
    """Give a member's name without "./", and why it cannot be taken or ""."""
    parts = PurePosixPath(name).parts
    plain = "/".join(parts)
    if not name.isprintable():
        try:
            name.encode()
        except UnicodeEncodeError:
            return name, "have names that are not UTF-8"
        return name, "have names with control characters"
    if name.startswith("/") or ".." in parts or not parts:
        return name, "have names that leave the archive"
    return plain, "are archives, which are not opened" if is_archive(plain) else ""


def _too_large(size: int) -> str:
    return f"are larger than {MAX_BYTES >> 20} MiB" if size > MAX_BYTES else ""
