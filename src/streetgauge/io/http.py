"""Everything that is fetched from the web, through requests: no secret is shown or sent elsewhere.

fsspec reads stores of files and lists folders (`streetgauge.io.remote`). It cannot be given a
session of requests (of its two HTTP filesystems the synchronous one is experimental), so it has
its own connections and takes only the name and the proxy from here. Which hosts may be reached is
the same for both (`streetgauge.io.addresses`).
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, InvalidProxyURL
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    InvalidHeader,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import Retry

from streetgauge.errors import InputError, StreetgaugeError
from streetgauge.io.addresses import AddressError, resolve
from streetgauge.version import __version__

AGENT = f"streetgauge/{__version__} (research on street images)"
TRIES = 6
FIRST_WAIT = 1.0  # seconds; doubled with each try
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 15 * 60.0  # a service that asks for more is left alone until the next run
TIMEOUT = 30.0
MAX_BYTES = 64 * 2**20
_BLOCK = 1 << 20
BUSY = (408, 425, 429, 500, 502, 503, 504)
# The Graph API's own numbers for "too many requests", which come with status 400 or 403.
THROTTLED = (4, 17, 32, 613)
BAD_TOKEN = 190


def proxy_of(url: str) -> str | None:
    """Proxy that this machine has set for a URL; None if it is to be reached directly."""
    address = urlsplit(url)
    return None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)


def _connect(connection: HTTPConnection, connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect to an address that was checked, whatever its host's name means a moment later."""
    host, failure = connection._dns_host, None
    try:
        addresses = resolve(host, connection.port)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    for address in addresses:
        connection.host = address
        try:
            return connect()
        except (NewConnectionError, ConnectTimeoutError) as error:
            failure = error
        finally:
            connection.host = host  # for the certificate and the Host header
    raise failure or NewConnectionError(connection, "the host has no address")


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self, super()._new_conn)


class _SecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self, super()._new_conn)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """Connections to public hosts or this machine's proxy, with the certificates that it trusts.

    A session that takes these from the environment takes passwords from .netrc as well.
    """

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        self._trusted = ssl.create_default_context()
        super().init_poolmanager(*args, ssl_context=self._trusted, **options)
        pools = {"http": _Pool, "https": _SecurePool}
        self.poolmanager.pool_classes_by_scheme = pools  # a proxy has a manager of its own

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._trusted, **options)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        url = str(request.url)
        proxy = proxy_of(url)
        options["proxies"] = {urlsplit(url).scheme: proxy} if proxy else {}
        return super().send(request, *args, **options)


def open_session(schemes: Collection[str] = ("https", "http")) -> requests.Session:
    """Open a session for the web alone.

    Redirections are followed to URLs of the same schemes only, never to files of this machine, and
    take no token to another host. Neither .netrc nor cookies are read or sent. A host of this
    machine or of its own network is an `AddressError`, unless it is allowed by name.
    """
    session = requests.Session()
    session.trust_env = False
    # Files arrive as they are, so their length is the one that is stated.
    session.headers.update({"User-Agent": AGENT, "Accept-Encoding": "identity"})
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    for scheme in schemes:
        session.mount(f"{scheme}://", _Adapter())
    return session


def reason_of(error: BaseException) -> str:
    """Reason at the root of a failed request; the library's own sentences repeat the whole URL."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, ChunkedEncodingError):
        return "the download broke off"
    if isinstance(error, ValueError) and not isinstance(error, InvalidProxyURL):
        return "the address is none of the web"
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


class RequestError(StreetgaugeError):
    """A request without a usable response.

    Parameters
    ----------
    reason : str
        Short, fit for a table of skips.
    status : int
        The HTTP status, 0 if there was no response at all.
    transient : bool
        Whether it may go well at another time: it was tried several times then.
    message : str
        What the service gave as the reason.
    wait : float, optional
        Seconds that the service asks to wait.
    """

    def __init__(
        self,
        reason: str,
        status: int = 0,
        *,
        transient: bool = False,
        message: str = "",
        wait: float | None = None,
    ) -> None:
        self.reason, self.status, self.transient = reason, status, transient
        self.message, self.wait = message, wait
        super().__init__(reason)

    def __str__(self) -> str:
        return self.reason

    @property
    def explained(self) -> str:
        """The reason, and what the service itself gave as one."""
        return f"{self.reason}: {self.message}" if self.message else self.reason


def read_token(variable: str | None, needed_for: str = "", where: str = "") -> str | None:
    """Read a token from an environment variable, or from the file that ``<variable>_FILE`` names.

    Parameters
    ----------
    variable : str, optional
        The variable; None for a service that needs no token.
    needed_for, where : str
        Which service wants it, and where a user gets one: for the error.

    Raises
    ------
    InputError
        If there is none or it cannot be a token; it is not repeated.
    """
    if variable is None:
        return None
    subject, token = f"environment variable {variable}", os.environ.get(variable, "")
    if not token and (file := os.environ.get(f"{variable}_FILE")):
        subject = file
        try:
            token = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise InputError(file, f"the token cannot be read: {reason}", "fix it") from None
    token = token.strip()
    if not token:
        raise InputError(
            subject, f"there is no token in it, and {needed_for} asks for one", f"get one: {where}"
        )
    if not (token.isascii() and token.isprintable()) or " " in token or len(token) > 8192:
        raise InputError(subject, "what it holds cannot be a token", "copy the token again")
    return token


class WebService:
    """Requests to one service, with a limit that all threads share.

    Parameters
    ----------
    name : str
        The service, for errors.
    home : str
        The API's address. A token is sent there only, over HTTPS or to this very machine, and
        does not follow a redirection to another host.
    requests_per_second : float
        Requests start at most so often.
    authorization : str, optional
        The whole header, e.g. ``OAuth ...``; never shown.
    not_busy : str, optional
        What the service writes, in lower case, of a request that no waiting makes smaller, though
        it answers as if it were busy.
    """

    def __init__(
        self,
        name: str,
        home: str,
        requests_per_second: float,
        authorization: str | None = None,
        not_busy: str | None = None,
    ) -> None:
        self.name, self.home, self._not_busy = name, home, not_busy
        address = urlsplit(home)
        here = address.hostname in ("localhost", "127.0.0.1", "::1")
        if authorization and address.scheme != "https" and not here:
            raise InputError(home, "a token is not sent over plain http", "write https://")
        self._authorization = authorization
        self._secret = (authorization or "\0").rpartition(" ")[2]
        self._session = open_session(("https",) if address.scheme == "https" else ("https", "http"))
        self._gap = 1 / requests_per_second
        self._lock = threading.Lock()
        self._next = 0.0
        self._stopped = threading.Event()

    def json(self, url: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Request a JSON object from the API.

        Raises
        ------
        RequestError
            If there is none after several tries, or the service refuses the request.
        InputError
            If the service refuses the token, asks to wait for long, or is within this
            machine or its own network and not allowed by name.
        """
        query = urlencode({k: v for k, v in (parameters or {}).items() if v is not None}, safe=",")
        address = f"{url}?{query}" if query else url
        for content in self._responses(address, authorised=True):
            with suppress(ValueError, RecursionError):
                if isinstance(found := json.loads(content), dict):
                    return found
        raise RequestError(
            f"the response is not a JSON object ({TRIES} tries)", 200, transient=True
        )

    def file(self, url: str) -> bytes:
        """Fetch a file, whole; the token stays at home.

        Raises
        ------
        RequestError
            If it cannot be had, may not be reached, or is larger than 64 MiB.
        """
        return next(self._responses(url, authorised=False))

    def stop(self) -> None:
        """Let no more requests start, and none wait for its turn."""
        self._stopped.set()

    def _responses(self, url: str, *, authorised: bool) -> Iterator[bytes]:
        """Yield a response, and another one if that was not usable, until tries run out."""
        # urllib3 counts tries and doubles waits, but its own sleep would hold one thread alone.
        retry = Retry(
            TRIES,
            backoff_factor=FIRST_WAIT / 2,
            backoff_max=LONGEST_WAIT,
            backoff_jitter=FIRST_WAIT,  # so that clients do not come back at once
        ).increment()
        while True:
            self._wait_turn()
            failure = None
            try:
                content = self._request(url, authorised=authorised)
            except RequestError as error:
                if not error.transient:
                    raise
                failure = error
            else:
                yield content
            try:
                retry = retry.increment(error=failure)
            except MaxRetryError:
                if failure is None:
                    return
                failure.reason += f" ({TRIES} tries)"
                raise failure from None
            asked = failure.wait if failure is not None else None
            wait = retry.get_backoff_time() if asked is None else asked
            if failure is not None and wait > LONGEST_RETRY_AFTER:
                words = f" ({failure.message})" if failure.message else ""
                raise InputError(
                    self.home,
                    f"{self.name} asks to wait for {wait / 60:,.0f} minutes{words}",
                    "run the same command later: what was fetched is saved",
                )
            self._pause(wait)

    def _request(self, url: str, *, authorised: bool) -> bytes:
        token = self._authorization if authorised else None
        headers = {"Authorization": token} if token else {}
        content = bytearray()
        try:
            with self._session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                for block in response.iter_content(_BLOCK):
                    content += block
                    if len(content) > MAX_BYTES:
                        raise RequestError(f"it is larger than {MAX_BYTES >> 20} MiB")
        except AddressError as error:
            if authorised:  # the service itself; else it is one of the files that it names
                raise
            raise RequestError(str(error)) from None
        except ChunkedEncodingError as error:
            raise RequestError(reason_of(error), 200, transient=True) from None
        except ValueError as error:
            raise RequestError(reason_of(error)) from None
        except requests.RequestException as error:
            reason = f"there is no answer: {reason_of(error)[:100]}"
            raise RequestError(reason, transient=True) from None
        if response.status_code < 300:
            return bytes(content)
        raise self._refusal(response, bytes(content), authorised=authorised)

    def _refusal(
        self, response: requests.Response, content: bytes, *, authorised: bool
    ) -> RequestError:
        status = response.status_code
        code, message = _words_of(content)
        message = message.replace(self._secret, "***")[:300]
        refused = self._not_busy is not None and self._not_busy in message.lower()
        busy = (status in BUSY or code in THROTTLED) and not refused
        if authorised and not busy and (status == 401 or code == BAD_TOKEN):
            words = f": {message}" if message else ""
            raise InputError(
                self.home,
                f"{self.name} does not accept the token (HTTP {status}){words}",
                "make a new one, or ask for the right to read",
            )
        wait = None
        with suppress(InvalidHeader, OverflowError):
            wait = Retry().get_retry_after(response.raw)
        return RequestError(f"HTTP {status}", status, transient=busy, message=message, wait=wait)

    def _wait_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        if self._stopped.wait(max(0.0, start - now)):
            raise RequestError("the run was stopped")

    def _pause(self, seconds: float) -> None:
        """Let no thread send a request for a while."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def _words_of(content: bytes) -> tuple[object, str]:
    """Code and message of a refusal, as APIs write them: JSON, or a line of text; no page."""
    try:
        about = json.loads(content)
    except (ValueError, RecursionError):
        text = content[:2000].decode("utf-8", "replace").strip()
        return None, "" if text.startswith("<") else _one_line(text.partition("\n")[0])
    about = about.get("error", about) if isinstance(about, dict) else about
    if not isinstance(about, dict):
        return None, _one_line(about) if isinstance(about, str) else ""
    message = about.get("message") or about.get("detail") or ""
    return about.get("code"), _one_line(str(message))


def _one_line(text: str) -> str:
    """Give a text in one line, without signs that move a cursor."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
