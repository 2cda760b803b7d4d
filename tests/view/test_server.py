"""The viewer answers this machine, reads only, and only for who has the address."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from streetgauge.errors import InputError
from streetgauge.study import Study
from streetgauge.view import Viewer

Refuse = Callable[..., str]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    viewer: Viewer,
    target: str | bytes,
    *,
    method: str = "GET",
    host: str | None = "",
    more: bytes = b"",
    address: str = "127.0.0.1",
) -> Reply:
    """Send these very bytes as a request; ``host`` "" is the right one, None sends none."""
    target = target.encode("latin-1") if isinstance(target, str) else target
    request = method.encode() + b" " + target + b" HTTP/1.1\r\n"
    if host is not None:
        request += b"Host: " + (host or f"127.0.0.1:{viewer.port}").encode() + b"\r\n"
    with socket.create_connection((address, viewer.port), timeout=20) as connection:
        connection.sendall(request + more + b"\r\n")
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:  # what it refuses it does not read to the end
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines), "a header stands there twice"
    return Reply(int(first.split()[1]), headers, body)


def within(viewer: Viewer, name: str) -> str:
    return f"/{viewer.token}/{name}"


def test_who_has_the_address_gets_the_report_as_it_is_but_for_what_keeps_it_fresh(
    viewer: Viewer,
) -> None:
    reply = ask(viewer, within(viewer, "report.html"))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    start, _, rest = reply.body.partition(b"<script ")
    assert start == b"<!doctype html><title>R</title><body><p>Report</p>"
    assert rest.endswith(b"</script>\n</body>")
    with urllib.request.urlopen(viewer.address, timeout=20) as answer:
        assert answer.url == f"{viewer.address}report.html"


def test_all_that_is_served_is_served(viewer: Viewer) -> None:
    types = {
        "metrics.json": "application/json",
        "areas.gpkg": "application/octet-stream",
        "figures/moran-income.svg": "image/svg+xml",
        "state.json": "application/json",
        "pulse.json": "application/json",
        "live": "text/html; charset=utf-8",
    }
    for name, kind in types.items():
        reply = ask(viewer, within(viewer, name))
        assert (reply.status, reply.headers["Content-Type"]) == (200, kind), name
        assert int(reply.headers["Content-Length"]) == len(reply.body) > 0
    assert ask(viewer, within(viewer, "metrics.json")).body == b'{"outcomes": {}}'
    assert "attachment" in ask(viewer, within(viewer, "areas.gpkg")).headers["Content-Disposition"]


def test_every_answer_forbids_to_be_cached_framed_or_guessed_at(viewer: Viewer) -> None:
    names = ("report.html", "metrics.json", "figures/moran-income.svg", "live", "state.json", "no")
    for target in (*(within(viewer, name) for name in names), "/", within(viewer, "")):
        headers = ask(viewer, target).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Server"].strip() == "streetgauge"


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:{port}",
            "127.0.0.1",
            "127.0.0.1:1",
            "localhost.evil:{port}",
        ),
        *("127.0.0.1:{port}@evil", "0.0.0.0:{port}", "192.0.2.2:{port}", "[::]:{port}", None, " "),
    ],
)
def test_another_host_is_refused_though_it_leads_here(viewer: Viewer, host: str | None) -> None:
    named = host and host.format(port=viewer.port)
    assert ask(viewer, within(viewer, "report.html"), host=named).status == 403


def test_the_names_of_this_machine_are_its_own(viewer: Viewer) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        reply = ask(viewer, within(viewer, "report.html"), host=f"{name}:{viewer.port}")
        assert reply.status == 200


def test_two_hosts_are_none(viewer: Viewer) -> None:
    more = b"Host: evil.example\r\n"
    assert ask(viewer, within(viewer, "report.html"), more=more).status == 403


@pytest.mark.parametrize(
    "more",
    [
        b"Origin: http://evil.example\r\n",
        b"Origin: null\r\n",
        b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
        b"Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n",  # another port of this machine
    ],
)
def test_a_page_from_elsewhere_gets_nothing(viewer: Viewer, more: bytes) -> None:
    reply = ask(viewer, within(viewer, "metrics.json"), more=more)
    assert reply.status == 403
    assert b"outcomes" not in reply.body


@pytest.mark.parametrize("token", ["", "wrong", "x" * 43, "\xff" * 43, "%00", "None", "é"])
def test_without_the_token_nothing_is_served(viewer: Viewer, token: str) -> None:
    for name in ("", "report.html", "metrics.json", "live", "state.json"):
        reply = ask(viewer, f"/{token}/{name}")
        assert reply.status == 404
        assert reply.body == ask(viewer, "/favicon.ico").body
        assert int(reply.headers["Content-Length"]) == len(reply.body) > 1
    assert viewer.token.encode() not in ask(viewer, "/").body


def test_a_token_is_long_and_of_one_viewer_only(study: Study, viewer: Viewer) -> None:
    assert len(viewer.token) >= 43
    with Viewer(study) as other:
        assert other.token != viewer.token
        assert ask(other, within(viewer, "report.html")).status == 404


def test_half_a_token_and_more_than_one_are_wrong(viewer: Viewer) -> None:
    for token in (viewer.token[:-1], viewer.token + "a", viewer.token.swapcase()):
        assert ask(viewer, f"/{token}/report.html").status == 404


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt",
        "figures/../../secret.txt",
        "figures/../study.toml",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "figures/%2e%2e/study.toml",
        "figures/..%2fstudy.toml",
        "..\\secret.txt",
        "figures\\..\\study.toml",
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "report.html%00.png",
        "report.html\0",
        "figures/moran-income.svg%00",
        "%72eport.html",
        "./report.html",
        "report.html/",
        "REPORT.HTML",
        "report.html?x=1",
        "report.html;x",
        "study.toml",
        "run.json",
        ".run.json.lock",
        ".running.json",
        "predictions.parquet",
        "features.csv",
        "figures",
        "figures/",
        "figures/.hidden.svg",
        "figures/notes.txt",
        "figures/inner/a.svg",
        "model/all/weights.safetensors",
        "C:/Windows/win.ini",
        "figures/" + "a" * 300 + ".svg",
    ],
)
def test_nothing_else_is_served_however_it_is_called(viewer: Viewer, name: str) -> None:
    directory = viewer.study.directory
    (directory.parent / "secret.txt").write_text("secret")
    (directory / "figures" / "notes.txt").write_text("secret")
    (directory / "figures" / ".hidden.svg").write_text("secret")
    (directory / "figures" / "inner").mkdir(exist_ok=True)
    (directory / "figures" / "inner" / "a.svg").write_text("secret")
    reply = ask(viewer, within(viewer, name))
    assert reply.status in (400, 404)
    assert b"secret" not in reply.body


def test_an_address_in_full_is_no_path(viewer: Viewer) -> None:
    inside = within(viewer, "report.html")
    assert ask(viewer, f"http://127.0.0.1:{viewer.port}{inside}").status == 404
    assert ask(viewer, f"http://evil.example{inside}").status == 404
    assert ask(viewer, inside.removeprefix("/")).status == 404


def test_a_link_is_not_followed_wherever_it_leads(viewer: Viewer, tmp_path: Path) -> None:
    directory = viewer.study.directory
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.svg").write_text("secret")
    (outside / "page.html").write_text("secret")
    (directory / "figures" / "link.svg").symlink_to(outside / "a.svg")
    (directory / "figures" / "here.svg").symlink_to(directory / "figures" / "moran-income.svg")
    (directory / "map.html").symlink_to(outside / "page.html")
    for name in ("figures/link.svg", "figures/here.svg", "map.html"):
        assert ask(viewer, within(viewer, name)).status == 404, name
    (directory / "figures").rename(tmp_path / "moved")
    (directory / "figures").symlink_to(outside)
    assert ask(viewer, within(viewer, "figures/a.svg")).status == 404
    (directory / "report.html").unlink()
    (directory / "report.html").symlink_to(outside / "page.html")
    assert ask(viewer, within(viewer, "report.html")).status == 404
    assert json.loads(ask(viewer, within(viewer, "pulse.json")).body)["report"] is None


def test_what_is_no_file_is_not_waited_for(viewer: Viewer) -> None:
    directory = viewer.study.directory
    (directory / "report.html").unlink()
    os.mkfifo(directory / "report.html")
    (directory / "map.html").mkdir()
    assert ask(viewer, within(viewer, "report.html")).status == 404
    assert ask(viewer, within(viewer, "map.html")).status == 404


def test_every_other_method_is_refused_and_changes_nothing(viewer: Viewer) -> None:
    report = viewer.study.report
    before = (report.read_bytes(), sorted(p.name for p in report.parent.iterdir()))
    methods = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get")
    for method in methods:
        more = b"Content-Length: 4\r\n"
        reply = ask(viewer, within(viewer, "report.html"), method=method, more=more + b"\r\nGONE")
        assert reply.status == 405, method
        assert reply.headers["Allow"] == "GET, HEAD"
    assert (report.read_bytes(), sorted(p.name for p in report.parent.iterdir())) == before


def test_a_head_is_the_answer_without_its_body(viewer: Viewer) -> None:
    for name in ("report.html", "metrics.json", "no"):
        whole, head = (ask(viewer, within(viewer, name), method=m) for m in ("GET", "HEAD"))
        assert head.body == b""
        assert head.status == whole.status
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_a_request_that_is_too_large_is_refused_and_the_next_is_answered(viewer: Viewer) -> None:
    huge = b"X-Huge: " + b"a" * 100_000 + b"\r\n"
    many = b"".join(b"X-%d: a\r\n" % i for i in range(500))
    assert ask(viewer, within(viewer, "report.html"), more=huge).status == 431
    assert ask(viewer, within(viewer, "report.html"), more=many).status == 431
    assert ask(viewer, "/" + "a" * 100_000).status == 414
    assert ask(viewer, b"\xff\xfe\x00 garbage").status in (400, 404)
    assert ask(viewer, within(viewer, "report.html")).status == 200


def test_a_second_request_does_not_hide_behind_the_first(viewer: Viewer) -> None:
    inner = f"GET {within(viewer, 'metrics.json')} HTTP/1.1\r\nHost: evil\r\n\r\n".encode()
    reply = ask(viewer, "/", more=b"Connection: keep-alive\r\n\r\n" + inner)
    assert reply.status == 404
    assert b"HTTP/1" not in reply.body


def test_a_ticket_leads_in_once(viewer: Viewer) -> None:
    ticket = "/" + viewer.ticket().split("/", 3)[3]
    assert ask(viewer, ticket, host="evil.example").status == 403
    first = ask(viewer, ticket)
    assert (first.status, first.headers["Location"]) == (303, within(viewer, ""))
    assert ask(viewer, ticket).status == 404
    assert ask(viewer, "/open/").status == 404


def test_it_listens_on_loopback_alone(viewer: Viewer) -> None:
    assert ask(viewer, within(viewer, "report.html"), address="127.0.0.1").status == 200
    others = {about[4][0] for about in socket.getaddrinfo(socket.gethostname(), None)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: asks which address leads out
        others.add(probe.getsockname()[0])
    others = {each for each in others if not each.startswith("127.") and each != "::1"}
    for address in others:
        with (
            pytest.raises(ConnectionRefusedError),
            socket.create_connection((address, viewer.port)),
        ):
            pass


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_it_listens_on_both_loopbacks_under_one_port(viewer: Viewer) -> None:
    try:
        reply = ask(viewer, within(viewer, "metrics.json"), address="::1")
    except OSError:
        pytest.skip("this machine has no ::1")
    assert reply.status == 200


def test_a_port_that_is_taken_is_refused_in_a_sentence(study: Study, refuse: Refuse) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refuse("view", study.directory, "--no-browser", "--port", port)
        assert f"port {port}: another program listens there" in said
    with Viewer(study) as other, pytest.raises(InputError, match="another program"):
        Viewer(study, other.port)


def test_the_command_prints_the_address_and_ends_well_with_ctrl_c(study: Study) -> None:
    words = [sys.executable, "-m", "streetgauge", "view", study.directory, "--no-browser"]
    before = sorted((p, p.stat().st_mtime_ns) for p in study.directory.rglob("*"))
    with subprocess.Popen(
        [*map(str, words), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert b"Report" in answer.read()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()  # where it did not end: nothing may wait for it
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    # It has read, and written nothing.
    assert sorted((p, p.stat().st_mtime_ns) for p in study.directory.rglob("*")) == before
    with pytest.raises(urllib.error.URLError), urllib.request.urlopen(address, timeout=5):
        pass


def test_the_address_is_in_no_log(viewer: Viewer, capfd: pytest.CaptureFixture[str]) -> None:
    ask(viewer, within(viewer, "report.html"))
    ask(viewer, within(viewer, "no"))
    assert capfd.readouterr() == ("", "")
