"""One polite way to ask a web service: slowly, again when it is busy, its token kept secret."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from streetgauge.errors import InputError, StreetgaugeError
from streetgauge.version import __version__

__all__ = ["AnswerError", "Client", "read_token"]

AGENT = f"streetgauge/{__version__} (research on street images; python-urllib)"
TRIES = 6
FIRST_WAIT = 1.0  # seconds; doubled with each try
LONGEST_WAIT = 60.0
LONGEST_ASKED = 15 * 60.0  # a service that asks for more is left alone until the next run
TIMEOUT = 30.0
MOST_BYTES = 64 * 2**20
BUSY = (408, 425, 429, 500, 502, 503, 504)
# The Graph API's own numbers for "too many requests", which come with status 400 or 403.
THROTTLED = (4, 17, 32, 613)
BAD_TOKEN = 190


class AnswerError(StreetgaugeError):
    """A request without a usable answer.

    Parameters
    ----------
    reason : str
        Short, fit for a table of skips.
    status : int
        The HTTP status, 0 if there was no answer at all.
    passing : bool
        Whether it may go well at another time: it was tried several times then.
    message : str
        What the service said itself.
    wait : float, optional
        Seconds that the service asks to wait.
    """

    def __init__(
        self,
        reason: str,
        status: int = 0,
        *,
        passing: bool = False,
        message: str = "",
        wait: float | None = None,
    ) -> None:
        self.reason, self.status, self.passing = reason, status, passing
        self.message, self.wait = message, wait
        super().__init__(reason)


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
            reason = getattr(error, "strerror", None) or "it is no text"
            raise InputError(file, f"the token cannot be read: {reason}", "mend it") from None
    token = token.strip()
    if not token:
        raise InputError(
            subject, f"there is no token in it, and {needed_for} asks for one", f"get one: {where}"
        )
    if not (token.isascii() and token.isprintable()) or " " in token or len(token) > 8192:
        raise InputError(subject, "what it holds cannot be a token", "copy the token anew")
    return token


class Client:
    """Requests to one service, with a limit that all threads share.

    Parameters
    ----------
    name : str
        The service, for errors.
    home : str
        The API's address. A token is sent there only, over HTTPS or to this very machine, and
        does not follow a redirection.
    requests_per_second : float
        Requests start at most so often.
    authorization : str, optional
        The whole header, e.g. ``OAuth ...``; never shown.
    """

    def __init__(
        self, name: str, home: str, requests_per_second: float, authorization: str | None = None
    ) -> None:
        self.name, self.home = name, home
        place = urlsplit(home)
        here = place.hostname in ("localhost", "127.0.0.1", "::1")
        if authorization and place.scheme != "https" and not here:
            raise InputError(home, "a token is not sent over plain http", "write https://")
        self._authorization = authorization
        self._secret = (authorization or "\0").rpartition(" ")[2]
        self._schemes = ("https",) if place.scheme == "https" else ("http", "https")
        self._gap = 1 / requests_per_second
        self._lock = threading.Lock()
        self._next = 0.0
        self._stopped = threading.Event()
        self._opener = _opener(self._schemes)

    def json(self, url: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask the API and give its answer, a JSON object.

        Raises
        ------
        AnswerError
            If there is none after several tries, or the service refuses the request.
        InputError
            If the service refuses the token, or asks to be left alone for long.
        """
        query = urlencode({k: v for k, v in (parameters or {}).items() if v is not None}, safe=",")
        address = f"{url}?{query}" if query else url
        for attempt in range(TRIES):
            raw = self._get(address, authorised=True)
            try:
                content = json.loads(raw)
            except (UnicodeDecodeError, ValueError, RecursionError):
                content = None
            if isinstance(content, dict):
                return content
            self._pause(attempt, None)
        raise AnswerError("the answer is no JSON object", 200, passing=True)

    def file(self, url: str) -> bytes:
        """Fetch a file, whole; the token stays at home.

        Raises
        ------
        AnswerError
            If it cannot be had, or is larger than 64 MiB.
        """
        return self._get(url, authorised=False)

    def stop(self) -> None:
        """Let no more requests start, and none wait for its turn."""
        self._stopped.set()

    def _get(self, url: str, *, authorised: bool) -> bytes:
        last = AnswerError("there is no answer", passing=True)
        for attempt in range(TRIES):
            self._wait_turn()
            try:
                return self._once(url, authorised=authorised)
            except AnswerError as error:
                if not error.passing:
                    raise
                last = error
            if attempt < TRIES - 1:
                self._pause(attempt, last.wait)
        last.reason = f"{last.reason} ({TRIES} tries)"
        raise last

    def _once(self, url: str, *, authorised: bool) -> bytes:
        if urlsplit(url).scheme not in self._schemes:
            raise AnswerError("the image's address is none of the web")
        request = urllib.request.Request(url, headers={"User-Agent": AGENT})
        if authorised and self._authorization:
            # Unredirected: a redirection to another server must not take the token there.
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                content: bytes = response.read(MOST_BYTES + 1)
                stated = response.headers.get("Content-Length")
        except urllib.error.HTTPError as error:
            raise self._refusal(error, authorised=authorised) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            said = str(reason) or type(error).__name__
            raise AnswerError(f"there is no answer: {said[:100]}", passing=True) from None
        if len(content) > MOST_BYTES:
            raise AnswerError(f"it is larger than {MOST_BYTES >> 20} MiB")
        if stated is not None and stated.isdigit() and len(content) != int(stated):
            raise AnswerError("the download broke off", 200, passing=True)
        return content

    def _refusal(self, error: urllib.error.HTTPError, *, authorised: bool) -> AnswerError:
        status, code, message = error.code, None, ""
        try:
            about = json.loads(error.read(65536))
            about = about.get("error", about) if isinstance(about, dict) else {}
            if isinstance(about, dict):
                code, message = about.get("code"), str(about.get("message", ""))[:300]
                message = message.replace(self._secret, "***")
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            error.close()
        busy = status in BUSY or code in THROTTLED
        if authorised and not busy and (status == 401 or code == BAD_TOKEN):
            raise InputError(
                self.home,
                f"{self.name} does not accept the token (HTTP {status})",
                "make a new one, or ask for the right to read",
            ) from None
        wait = _asked(error.headers)
        return AnswerError(f"HTTP {status}", status, passing=busy, message=message, wait=wait)

    def _wait_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        if self._stopped.wait(max(0.0, start - now)):
            raise AnswerError("the run was stopped")

    def _pause(self, attempt: int, asked: float | None) -> None:
        """Keep all threads from asking for a while: what the service asked for, or ever longer."""
        if asked is not None and asked > LONGEST_ASKED:
            raise InputError(
                self.home,
                f"{self.name} asks to be left alone for {asked / 60:,.0f} minutes",
                "run the same command later: what was fetched is kept",
            )
        spread = 0.5 + random.random()  # so that clients do not come back at once
        wait = asked if asked is not None else min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * spread
        with self._lock:
            self._next = max(self._next, time.monotonic() + wait)


def _asked(headers: Message | None) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or as a date."""
    text = (headers.get("Retry-After") or "").strip() if headers is not None else ""
    if text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


class _Redirection(urllib.request.HTTPRedirectHandler):
    """Follow redirections, but only to where a request itself could have gone."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in self._schemes:
            raise urllib.error.URLError("it is redirected to no address of the web")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(schemes: tuple[str, ...]) -> urllib.request.OpenerDirector:
    """Make an opener for the web alone: urllib's default one opens local files as well."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirection(schemes),
    ):
        opener.add_handler(handler)
    return opener
