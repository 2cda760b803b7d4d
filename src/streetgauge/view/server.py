"""The server: this machine only, reading only, and only for who has the address.

Why the token is a part of the path, and no cookie: a browser sends the cookies of 127.0.0.1 to
every server there, whatever its port, so that another user's server on the same machine would
receive it; and what a browser sends by itself, any page can make it send. What stands in the
path is sent by nobody who does not know it. It ends with the process, and no page passes it on
(``Referrer-Policy``). The browser is started with a ticket instead, good for one time, because
other users of the machine can read with which words a program was started.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import signal
import socket
import socketserver
import stat
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO, Self

from streetgauge.errors import InputError
from streetgauge.study import Study
from streetgauge.view.live_page import FILE_POLICY, live_page, watched
from streetgauge.view.state import pulse_of, state_of, version_of

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
# All that is served of a study's files.
FILES = ("report.html", "map.html", "metrics.json", "areas.gpkg", "areas.geo.parquet")
FIGURE = re.compile(r"figures/[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\.(svg|png|pdf|csv)")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".csv": "text/csv; charset=utf-8",
}
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOTHING = "There is nothing here. Use the whole address that `streetgauge view` has printed."


def view(
    study: Study, *, port: int = 0, browser: bool = True, announce: Callable[[str], Any] = print
) -> None:
    """Show a study in the browser until Ctrl-C.

    Parameters
    ----------
    study : Study
        It is read, never written.
    port : int, default 0
        Of 127.0.0.1 and ::1; 0 for any free one.
    browser : bool
        Open the browser.
    announce : callable
        Called with the address.

    Raises
    ------
    InputError
        If the port is taken.
    """
    if threading.current_thread() is threading.main_thread():
        # Begun in the background of a shell, a process hears no Ctrl-C unless it asks for it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Viewer(study, port) as viewer:
        announce(viewer.address)
        if browser:
            # A browser without windows holds the thread until it is closed.
            threading.Thread(target=webbrowser.open, args=(viewer.ticket(),), daemon=True).start()
        while True:
            threading.Event().wait(0.5)  # not for ever: Windows would not hear Ctrl-C


class Viewer:
    """A study that is served to this machine, from its making to `close`.

    Parameters
    ----------
    study : Study
        Whose files.
    port : int, default 0
        0 for any free one.

    Attributes
    ----------
    port : int
        The one that was taken.
    token : str
        Without it nothing is answered.
    """

    def __init__(self, study: Study, port: int = 0) -> None:
        self.study = study
        self.token = secrets.token_urlsafe(32)
        self._tickets: set[str] = set()
        self._servers = _bound(self, port)
        self.port: int = self._servers[0].server_address[1]
        self.hosts = frozenset(
            f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")
        )
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where the study is to be seen."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def ticket(self) -> str:
        """Give an address that leads to `address` once."""
        ticket = secrets.token_urlsafe(32)
        self._tickets.add(ticket)
        return f"http://127.0.0.1:{self.port}/open/{ticket}"

    def admits(self, ticket: str) -> bool:
        """Whether this is a ticket; then it is one no more."""
        for each in tuple(self._tickets):
            if _same(each, ticket):
                try:
                    self._tickets.remove(each)
                except KeyError:  # at the same moment somebody else was faster
                    return False
                return True
        return False

    def close(self) -> None:
        """Serve no more."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Elsewhere than on POSIX this would let another program take the same port.
    allow_reuse_address = os.name == "posix"
    allow_reuse_port = False

    def __init__(self, viewer: Viewer, family: socket.AddressFamily, port: int) -> None:
        self.viewer, self.address_family = viewer, family
        super().__init__((LOOPBACK[family], port), _Answer)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        socketserver.TCPServer.server_bind(self)  # without asking for the machine's name
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore those who hang up."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Answer(BaseHTTPRequestHandler):
    """One request. Connections end with their answer, so nothing can hide behind another."""

    server: _Server
    timeout = 10  # seconds of silence
    server_version, sys_version = "streetgauge", ""

    def do_GET(self) -> None:
        viewer, study = self.server.viewer, self.server.viewer.study
        if not self._is_from_here():
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        # Nothing is decoded: no name that is served needs it, and so none can be disguised.
        first, slash, name = self.path[1:].partition("/")
        if first == "open" and viewer.admits(name):
            self._go(f"/{viewer.token}/")
        elif not _same(viewer.token, first):
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not slash:
            self._go(f"/{viewer.token}/")
        elif name == "":
            pulse = pulse_of(study)
            done = pulse["report"] is not None and pulse["running"] is None
            self._go(f"/{viewer.token}/{'report.html' if done else 'live'}")
        elif name == "live":
            self._page(*live_page())
        elif name in ("state.json", "pulse.json"):
            content = state_of(study) if name == "state.json" else pulse_of(study)
            self._send(json.dumps(content, allow_nan=False).encode(), TYPES[".json"], FILE_POLICY)
        elif name in FILES or FIGURE.fullmatch(name):
            self._file(name)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815

    def _is_from_here(self) -> bool:
        """Whether the request was meant for this server, and comes from no other page.

        A name of somebody else's that leads to 127.0.0.1 (DNS rebinding) stands in ``Host``.
        """
        hosts, viewer = self.headers.get_all("Host", []), self.server.viewer
        if len(hosts) != 1 or hosts[0].strip().lower() not in viewer.hosts:
            return False
        origins = self.headers.get_all("Origin", [])
        if any(origin.lower() not in {f"http://{h}" for h in viewer.hosts} for origin in origins):
            return False
        site = self.headers.get("Sec-Fetch-Site", "none")
        return site in ("none", "same-origin") or self.headers.get("Sec-Fetch-Mode") == "navigate"

    def _file(self, name: str) -> None:
        file = open_inside(self.server.viewer.study.directory, name)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            suffix = PurePosixPath(name).suffix
            if suffix == ".html":
                version = version_of(self.server.viewer.study.path(name)) or ""
                self._page(*watched(file.read(), version))
                return
            more = {}
            if suffix not in TYPES:
                more["Content-Disposition"] = f'attachment; filename="{name}"'
            kind = TYPES.get(suffix, "application/octet-stream")
            self._head(kind, FILE_POLICY, os.fstat(file.fileno()).st_size, more=more)
            self._body(file)

    def _page(self, content: bytes, policy: str) -> None:
        self._send(content, TYPES[".html"], policy)

    def _send(self, content: bytes, kind: str, policy: str, status: int = HTTPStatus.OK) -> None:
        self._head(kind, policy, len(content), status)
        self._body(BytesIO(content))

    def _go(self, where: str) -> None:
        self._head("text/plain", FILE_POLICY, 0, HTTPStatus.SEE_OTHER, {"Location": where})

    def _head(
        self,
        kind: str,
        policy: str,
        size: int,
        status: int = HTTPStatus.OK,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.send_response(status)
        own = {
            "Content-Type": kind,
            "Content-Length": str(size),
            "Content-Security-Policy": policy,
        }
        for key, value in {**own, **HEADERS, **more}.items():
            self.send_header(key, value)
        self.end_headers()

    def _body(self, content: BinaryIO) -> None:
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError, TimeoutError):  # who asked has gone away
                shutil.copyfileobj(content, self.wfile)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse, in words that repeat nothing of the request."""
        more = {}
        if code == HTTPStatus.NOT_IMPLEMENTED:  # there is no method for it: it would write
            code, more = HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"}
        text = NOTHING if code == HTTPStatus.NOT_FOUND else HTTPStatus(code).phrase
        content = f"{text}\n".encode()
        self.close_connection = True
        self._head("text/plain; charset=utf-8", FILE_POLICY, len(content), code, more)
        self._body(BytesIO(content))

    def log_message(self, format: str, *args: object) -> None:
        """Write no log: the token is in every address."""


def _same(known: str, given: str) -> bool:
    """Compare in a time that does not reveal how much is right."""
    return secrets.compare_digest(known.encode(), given.encode("utf-8", "surrogatepass"))


def _bound(viewer: Viewer, port: int) -> list[_Server]:
    """Listen on 127.0.0.1 and, where the machine has it, on the same port of ::1."""
    for _ in range(20):
        servers: list[_Server] = []
        try:
            servers.append(_Server(viewer, socket.AF_INET, port))
            servers += _listening(viewer, servers[0].server_address[1])
        except OSError as error:
            for server in servers:
                server.server_close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            if port:
                taken = error.errno == errno.EADDRINUSE
                reason = "another program listens there" if taken else "this user may not use it"
                raise InputError(f"port {port}", reason, "choose another, or omit --port") from None
            continue  # a free one of 127.0.0.1 that is taken on ::1
        return servers
    raise InputError("127.0.0.1", "no port is free", "name one with --port")


def _listening(viewer: Viewer, port: int) -> Iterator[_Server]:
    if not socket.has_ipv6:
        return
    try:
        yield _Server(viewer, socket.AF_INET6, port)
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            raise


def open_inside(directory: Path, name: str) -> BinaryIO | None:
    """Open a regular file below a directory for reading, and follow no symbolic link on the way.

    Parameters
    ----------
    directory : Path
        Where.
    name : str
        Relative, with ``/`` between folders; without ``..``, which the caller sees to.

    Returns
    -------
    file or None
        None if there is none, or it is a link, a folder, a pipe or a device.
    """
    try:
        if os.open in os.supports_dir_fd:
            return _regular(_walk(directory, name))
        steps = [directory / name, *(directory / name).parents]
        if any(step.is_symlink() for step in steps[: name.count("/") + 1]):
            return None
        return _regular(os.open(directory / name, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
    except (OSError, ValueError):  # ValueError: a null character
        return None


def _walk(directory: Path, name: str) -> int:
    """Go folder by folder, each held open: nobody can replace one by a link meanwhile."""
    *folders, last = name.split("/")
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        # A pipe without a writer would make us wait for one.
        return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)


def _regular(descriptor: int) -> BinaryIO | None:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    with contextlib.suppress(OSError):
        os.close(descriptor)
    return None
