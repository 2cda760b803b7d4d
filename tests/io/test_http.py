"""What is fetched from the web keeps secrets, waits for the whole service and opens no file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from serving import Server, serve
from streetgauge.io import remote
from streetgauge.io.http import RequestError, WebService, open_session, reason_of


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr("streetgauge.io.http.FIRST_WAIT", 0.01)
    monkeypatch.setattr("streetgauge.io.addresses._allowed", {"127.0.0.1", "localhost"})
    with serve() as found:
        yield found


def service(server: Server, **options: Any) -> WebService:
    return WebService("Streets", server.address, 1000.0, **options)


def test_a_redirection_to_a_file_of_this_machine_is_refused_at_once(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"hush")
    server.respond = lambda path: (302, {"Location": (tmp_path / "secret").as_uri()}, b"")
    with pytest.raises(RequestError, match="the address is none of the web") as caught:
        service(server).file(f"{server.address}/1.jpg")
    assert not caught.value.transient
    assert len(server.requests) == 1


def test_a_service_on_https_is_left_for_no_plain_http(server: Server) -> None:
    secure = WebService("Streets", "https://streets.invalid", 1000.0, "OAuth hush")
    with pytest.raises(RequestError, match="the address is none of the web"):
        secure.file(f"{server.address}/1.jpg")
    assert server.requests == []


def test_passwords_of_this_machine_and_cookies_are_not_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("127.0.0.1", "localhost"):
        with (tmp_path / "netrc").open("a") as file:
            file.write(f"machine {host} login me password hush\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    away = f"{server.address}/end".replace("127.0.0.1", "localhost")
    server.respond = lambda path: (
        (200, {}, b"content")
        if path == "/end"
        else (302, {"Location": away, "Set-Cookie": "session=1"}, b"")
    )
    streets = service(server, authorization="OAuth token")
    assert streets.file(f"{server.address}/1.jpg") == b"content"
    assert streets.file(f"{server.address}/1.jpg") == b"content"
    assert server.paths == ["/1.jpg", "/end"] * 2
    for _, headers in server.requests:
        assert not {"Authorization", "Cookie"} & headers.keys()


def test_the_token_is_sent_home_and_on_to_no_other_host(server: Server) -> None:
    away = f"{server.address}/end".replace("127.0.0.1", "localhost")
    server.respond = lambda path: (
        (200, {}, b"{}") if path == "/end" else (302, {"Location": away}, b"")
    )
    service(server, authorization="OAuth token").json(f"{server.address}/search", {"limit": 1})
    (home, first), (_, second) = server.requests
    assert home == "/search?limit=1"
    assert first["Authorization"] == "OAuth token"
    assert "Authorization" not in second


def test_a_service_that_repeats_the_token_gives_no_message_with_it(server: Server) -> None:
    server.respond = lambda path: (404, {}, b'{"error": {"message": "no images for hush-1"}}')
    with pytest.raises(RequestError, match="HTTP 404") as caught:
        service(server, authorization="OAuth hush-1").json(f"{server.address}/search")
    assert caught.value.message == "no images for ***"


def test_what_one_thread_is_asked_to_wait_all_threads_wait(server: Server) -> None:
    first, paused = threading.Event(), iter([(429, {"Retry-After": "1"}, b"")])

    def respond(path: str) -> tuple[int, dict[str, str], bytes]:
        first.set()
        return next(paused, (200, {}, b"content"))

    server.respond = respond
    streets = service(server)
    one = threading.Thread(target=streets.file, args=(f"{server.address}/1.jpg",))
    one.start()
    first.wait(10)
    time.sleep(0.2)  # until the first has read its response
    streets.file(f"{server.address}/2.jpg")
    one.join(10)
    assert sorted(server.paths) == ["/1.jpg", "/1.jpg", "/2.jpg"]
    assert server.paths[0] == "/1.jpg"
    assert server.times[1] - server.times[0] >= 1.0


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), (" 0 ", 0, 0), (600, 500, 600), (-600, 0, 0), ("soon", 0, 0.2)],
)
def test_the_wait_that_is_asked_for_may_be_seconds_or_a_date(
    server: Server, monkeypatch: pytest.MonkeyPatch, header: str | int, least: float, most: float
) -> None:
    if isinstance(header, int):
        then = datetime.now(UTC) + timedelta(seconds=header)
        header = format_datetime(then, usegmt=True)
    waits: list[float] = []
    monkeypatch.setattr(WebService, "_pause", lambda self, seconds: waits.append(seconds))
    server.respond = lambda path: (503, {"Retry-After": header}, b"")
    with pytest.raises(RequestError, match=r"HTTP 503 \(6 tries\)"):
        service(server).file(f"{server.address}/1.jpg")
    assert len(server.requests) == 6
    assert len(waits) == 5
    assert all(least <= wait <= most for wait in waits)


def test_waits_double_and_differ_between_clients(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(WebService, "_pause", lambda self, seconds: waits.append(seconds))
    monkeypatch.setattr("streetgauge.io.http.FIRST_WAIT", 1.0)
    server.respond = lambda path: (200, {}, b"[]")
    with pytest.raises(RequestError, match=r"is not a JSON object \(6 tries\)"):
        service(server).json(f"{server.address}/search")
    assert all(base <= wait < base + 1 for base, wait in zip((1, 2, 4, 8, 16), waits, strict=True))
    assert len({wait % 1 for wait in waits}) == 5


def test_every_path_to_the_web_takes_the_proxy_of_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.address.replace("//", "//me:word@"))
    address = "http://images.invalid/1.jpg"
    assert WebService("Streets", "http://images.invalid", 1000.0).file(address) == b"content"
    with open_session() as session:
        assert session.get(address).content == b"content"
    assert remote.read_url(address, 100) == b"content"
    assert server.paths == [address] * 3
    for _, headers in server.requests:
        assert headers["Proxy-Authorization"] == "Basic bWU6d29yZA=="
        assert headers["User-Agent"].startswith("streetgauge/")


def test_a_failed_request_is_explained_without_its_address(server: Server) -> None:
    with open_session() as session:
        with pytest.raises(requests.RequestException) as caught:
            session.get("http://127.0.0.1:9/1.jpg?signature=hush")
        assert reason_of(caught.value) == "Connection refused"
        server.respond = lambda path: (404, {}, b"")
        with pytest.raises(requests.HTTPError) as refused:
            session.get(f"{server.address}/1.jpg?signature=hush").raise_for_status()
        assert reason_of(refused.value) == "HTTP 404"
