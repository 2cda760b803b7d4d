"""Files behind URLs (s3, gs, az, http): listed, read and versioned, through fsspec."""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from streetgauge.errors import InputError, StreetgaugeError, closest, summary
from streetgauge.io.addresses import AddressError, require_public, resolve
from streetgauge.io.files import digest

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from fsspec import AbstractFileSystem


# Stores of plain files, no more: other schemes of fsspec chain filesystems or start programs.
SCHEMES = ("s3", "gs", "az", "abfs", "https", "http", "memory")
# Seconds: without a byte, and for a whole image. A server that hangs, or sends drop by drop, is a
# image that cannot be read, not a run that never ends.
SILENCE = 60.0
PATIENCE = 300.0
# Bytes of a file that is copied: a manifest of 100 million images has less.
MOST_COPIED = 16 << 30
_BLOCK = 8 << 20
# What distinguishes versions of a remote file, the surest first.
_VERSIONS = (
    *("etag", "md5hash", "checksum", "generation", "last_modified", "lastmodified", "mtime"),
    *("modified", "updated", "created"),
)


def is_url(text: object) -> bool:
    """Whether this is written like a URL: ``scheme://...``.

    Examples
    --------
    >>> is_url("s3://bucket/images"), is_url("C:/images")
    (True, False)
    """
    return isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def require_url(url: str) -> None:
    """Refuse a URL that cannot be read from here, or that holds a password.

    Raises
    ------
    ValueError
        Saying what is wrong with it; the password is not repeated.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        raise ValueError(f"{scheme}:// cannot be read; {closest(scheme, SCHEMES, limit=9)}")
    if "::" in rest:
        raise ValueError("URLs cannot be chained with '::'; name one location")
    store = rest.partition("/")[0]
    if "@" in store:
        raise ValueError("it holds a name or password; put those into the environment")
    # A library makes a host of what az:// names, so that nothing may end that host early.
    if store and not scheme.startswith("http") and not re.fullmatch(r"[\w.:-]+", store):
        raise ValueError(f"{store!r} is no name of a bucket or container; fix it")
    if not rest.strip("/"):
        raise ValueError(f"{url} names no file or folder; add one")


def join(url: str, name: str) -> str:
    """Give the URL of a file below a folder's URL; over HTTP, signs in names are escaped."""
    escaped = quote(name) if url.startswith("http") else name
    return f"{url.rstrip('/')}/{escaped}"


def list_files(url: str) -> dict[str, str]:
    """List all files below a folder's URL.

    A folder is listed once in a process: half a million files are five hundred requests.

    Parameters
    ----------
    url : str
        The folder.

    Returns
    -------
    dict of str to str
        The URL of each file by its path below the folder, sorted.

    Raises
    ------
    InputError
        If there is nothing there, it may not be read, or what reads this scheme is not installed.
    """
    return {name: address for name, address, _ in _listing(url) if name}


def can_list(url: str) -> bool:
    """Whether a folder's files can be listed; of many web servers each must be asked for by name.

    Raises
    ------
    InputError
        As `list_files`, for other stores.
    """
    return not _is_web(url) or any(name for name, _, _ in _web_listing(url))


def open_url(url: str) -> IO[bytes]:
    """Open a remote file for reading; it can be sought in where its store allows that.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be read, with the store's reason.
    InputError
        If what reads this scheme is not installed.
    """
    filesystem, path = _filesystem(url)
    with _as_os_error():
        opened: IO[bytes] = filesystem.open(path, "rb")
        return opened


class UnreachableError(InputError):
    """No server answers at a URL: another run may find it again."""


class TooLargeError(OSError):
    """A remote file that is larger than what is asked of it."""


def read_url(url: str, most: int) -> bytes:
    """Read a remote file whole.

    Parameters
    ----------
    url : str
        The file.
    most : int
        Bytes that it may have; of one with more no more than these are held in memory.

    Raises
    ------
    TooLargeError
        If it has more.
    OSError
        As `open_url`; also if nothing arrives for a minute, or not all in five.
    AddressError
        If it, or what it redirects to, may not be reached.
    InputError
        As `open_url`.
    """
    return b"".join(_blocks(url, most, time.monotonic() + PATIENCE))


def _blocks(url: str, most: int, deadline: float = math.inf) -> Iterator[bytes]:
    filesystem, path = _filesystem(url)
    # A web server is asked for the file and nothing else: the sizes that it states are not trusted.
    stream = {"block_size": 0, "size": 1} if _is_web(url) else {}
    left = most
    with _as_os_error(), filesystem.open(path, "rb", **stream) as file:
        while block := file.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise TooLargeError(f"it is larger than {most >> 20:,} MiB, the most that is read")
            if time.monotonic() > deadline:
                raise OSError(f"it was not all there after {PATIENCE:.0f} seconds")
            yield block


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """Give a copy of a remote file, under its own name, for readers that take files alone.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, PurePosixPath(urlsplit(url).path).name or "file")
        try:
            with copy.open("wb") as file:
                file.writelines(_blocks(url, MOST_COPIED))
        except FileNotFoundError:
            raise InputError(url, "there is no such file", "check the address") from None
        except OSError as error:
            raise InputError(
                url, f"it cannot be read: {summary(error)}", "check the address"
            ) from None
        yield copy


def signature(url: str) -> str:
    """Sign of what lies behind a URL: changes when a file there is added, removed or replaced.

    The sign is made of names, sizes and what the store states of versions (entity tags, checksums,
    times); of names and sizes where a store states nothing of the kind; of the URL alone where a
    web server lists nothing.

    Raises
    ------
    InputError
        As `list_files`.
    """
    listed = _web_listing(url) if _is_web(url) else _listing(url)
    return digest([url, *((name, version) for name, _, version in listed)])


@lru_cache(maxsize=8)
def _listing(url: str) -> tuple[tuple[str, str, str], ...]:
    """Name below the URL, own URL and version of each file; of a single file the name is ''."""
    filesystem, path = _filesystem(url)
    try:
        with _as_os_error():
            found: dict[str, dict[str, Any]] = filesystem.find(path, detail=True)
    except OSError as error:
        raise InputError(
            url, f"it cannot be listed: {summary(error)}", "check the address"
        ) from None
    if not found:
        raise _why_nothing(url, filesystem, path)
    root = path.rstrip("/")
    escaped = _is_web(url)
    rows = []
    for full, info in found.items():
        name = full.removeprefix(root).lstrip("/")
        name = unquote(name) if escaped else name
        rows.append((name, str(filesystem.unstrip_protocol(full)), _version(info)))
    return tuple(sorted(rows))


def _why_nothing(url: str, filesystem: AbstractFileSystem, path: str) -> InputError:
    """Distinguish a server that does not respond from one that has nothing there."""
    step, reason = "check it, and who may read it", "there is nothing at this address"
    try:
        filesystem.info(path)
    except AddressError:
        raise
    except FileNotFoundError as error:
        _raise_refused(error)
        if isinstance(error.__cause__, OSError):  # fsspec calls a refused connection "not found"
            return UnreachableError(url, f"no server answers: {summary(error.__cause__)}", step)
    except Exception as error:  # stores' libraries share no base class
        reason = f"it cannot be listed: {summary(error)}"
    return InputError(url, reason, step)


def _is_web(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https")


def _web_listing(url: str) -> tuple[tuple[str, str, str], ...]:
    """As `_listing`, but empty where a web server lists nothing."""
    try:
        return _listing(url)
    except (AddressError, UnreachableError):
        raise
    except InputError:
        return ()


def _version(info: dict[str, Any]) -> str:
    lower = {key.lower().replace("-", "_"): value for key, value in info.items()}
    known = (lower[key] for key in _VERSIONS if lower.get(key) is not None)
    return f"{lower.get('size')} {next(known, '')}"


def _filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    try:
        require_url(url)
    except ValueError as error:
        reason, _, step = str(error).partition("; ")
        raise InputError("a URL", reason, step) from None
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url, **_options(url))
    except ImportError as error:
        reason = f"what reads {urlsplit(url).scheme}:// is not installed: {error}"
        raise InputError(url, reason, "pip install 'streetgauge[remote]'") from None
    return filesystem, path


def _options(url: str) -> dict[str, Any]:
    """How long a web server may be silent, and which may be reached.

    Without the first an archive may take five minutes.
    """
    if not _is_web(url):
        return {}
    from aiohttp import ClientTimeout

    from streetgauge.io.http import AGENT, proxy_of  # requests takes 0.1 s to import

    silence = ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
    # Not aiohttp's own trust_env: that reads passwords from .netrc as well.
    proxy, headers = proxy_of(url), {"User-Agent": AGENT}
    options = {"timeout": silence, "proxy": proxy, "headers": headers}
    return {"client_kwargs": options, "get_client": _public_client if proxy is None else _client}


async def _client(**options: Any) -> ClientSession:
    """Make a client of a proxy, which resolves names itself."""
    from aiohttp import ClientSession

    return ClientSession(**options)


async def _public_client(**options: Any) -> ClientSession:
    """Make a client that connects to hosts only that may be reached, also behind redirections."""
    from aiohttp import TCPConnector
    from aiohttp.resolver import ThreadedResolver

    class Resolver(ThreadedResolver):
        async def resolve(self, host: str, *args: Any, **options: Any) -> list[Any]:
            found: list[Any] = await super().resolve(host, *args, **options)
            require_public(host, [each["host"] for each in found])
            return found

    async def check_numbers(request: Any, handler: Any) -> Any:
        # aiohttp asks no resolver for what looks like an address to it, as 2130706433 does.
        host = request.url.raw_host
        if ":" in host or host.replace(".", "").isdigit():
            resolve(host, request.url.port)
        return await handler(request)

    connector = TCPConnector(resolver=Resolver())
    return await _client(connector=connector, middlewares=[check_numbers], **options)


def _raise_refused(error: BaseException) -> None:
    """Raise the refusal of an address that a library took for a file that is not there."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressError):
            raise cause from None
        cause = cause.__cause__ or cause.__context__


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn what a store's own library raises into an OSError, which readers of files expect."""
    try:
        yield
    except TimeoutError:
        raise OSError(f"nothing arrived for {SILENCE:.0f} seconds") from None
    except StreetgaugeError:
        raise
    except OSError as error:
        _raise_refused(error)
        raise
    except Exception as error:  # botocore, aiohttp, gcsfs and azure share no base class
        raise OSError(summary(error)) from error
