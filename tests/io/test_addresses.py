"""Nothing of this machine's own network is reached, unless it is allowed by name."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from serving import Server, serve
from streetgauge.errors import InputError
from streetgauge.imagery import find_views
from streetgauge.imagery.decoding import image_sources, raw_images
from streetgauge.io import addresses, remote
from streetgauge.io.addresses import AddressError, is_public, plain_host, resolve
from streetgauge.io.http import RequestError, WebService, open_session
from streetgauge.settings import ImagerySettings, MapillaryImagery
from streetgauge.study import Study

Fetch = Callable[[str], bytes]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_allowed", set())
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def through_requests(url: str) -> bytes:
    with open_session() as session:
        return session.get(url, timeout=5).content


def through_fsspec(url: str) -> bytes:
    pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")
    return remote.read_url(url, 1 << 20)


@pytest.fixture(params=[through_requests, through_fsspec])
def fetch(request: pytest.FixtureRequest) -> Fetch:
    return request.param  # type: ignore[no-any-return]


def resolving(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[list[str]]]) -> list[str]:
    """Let names mean what a test wants, one list of addresses after the other; who was asked."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in answers:
            return real(host, port, *args, **options)
        asked.append(name)
        found = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, int(port))) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "151.101.1.69", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"),
        "2002:101:101::1",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "0.0.0.0", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1"),
        *("192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%1", "fc00::1", "fec0::1", "ff02::1", "ff0e::1"),
        *("2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::1", "2002:a9fe:a9fe::1"),
        "2001:0:a00:1:0:0:80ff:fffe",  # Teredo through the server 10.0.0.1
    ],
)
def test_addresses_of_a_machine_or_its_network_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "localhost.", "LOCALHOST", "0x7f.1", "0x7f000001", "127.1"),
        *("2130706433", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.1."),
    ],
)
def test_no_spelling_of_this_machine_is_reached(server: Server, fetch: Fetch, host: str) -> None:
    with pytest.raises((InputError, OSError)) as caught:
        fetch(f"http://{host}:{server.port}/1.jpg")
    assert server.requests == []
    if host in ("127.0.0.1", "localhost", "0x7f.1", "2130706433"):  # others are no host to some
        assert isinstance(caught.value, AddressError)


def test_the_refusal_is_one_sentence_with_the_key_that_allows_it(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, {"images.example": [["10.1.2.3"]]})
    with pytest.raises(AddressError) as caught:
        fetch(f"http://images.example:{server.port}/1.jpg")
    assert str(caught.value) == (
        "host images.example: its address 10.1.2.3 is within this machine or its own network, "
        "which a study may not reach; if it is meant, write allow_hosts = "
        '["images.example"] under [imagery].'
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"two.example": [["1.1.1.1", "127.0.0.1"]]})
    with pytest.raises(AddressError, match=r"its address 127\.0\.0\.1"):
        resolve("two.example", 80)


@pytest.mark.parametrize(
    "to",
    [
        *("http://127.0.0.1:{port}", "http://inside.example:{port}", "http://[::1]:{port}"),
        *("http://2130706433:{port}", "http://me@inside.example:{port}"),
    ],
)
def test_a_redirection_into_the_own_network_is_refused(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    names = {"outside.example": [["127.0.0.1"]], "inside.example": [["127.0.0.1"]]}
    resolving(monkeypatch, names)
    addresses.allow_hosts(["outside.example"])  # stands for a public server
    server.respond = lambda path: (
        (200, {}, b"secret")
        if path == "/secret"
        else (302, {"Location": f"{to.format(port=server.port)}/secret"}, b"")
    )
    with pytest.raises(AddressError, match="own network"):
        fetch(f"http://outside.example:{server.port}/1.jpg")
    assert server.paths == ["/1.jpg"]


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://example.org/x", "data:,x"])
def test_a_redirection_leaves_the_web_for_nothing(server: Server, fetch: Fetch, to: str) -> None:
    addresses.allow_hosts(["127.0.0.1"])
    server.respond = lambda path: (302, {"Location": to}, b"")
    with pytest.raises((OSError, ValueError)):
        fetch(f"{server.address}/1.jpg")
    assert server.paths == ["/1.jpg"]


def test_a_name_is_resolved_once_and_that_address_is_reached(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when it is checked and private when it is connected to is neither."""
    reached: list[str] = []
    connect = socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        reached.append(address[0])
        connect(self, ("127.0.0.1", server.port) if address[0] == "1.1.1.1" else address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    answers = {"turns.example": [["1.1.1.1"], ["127.0.0.1"]]}
    asked = resolving(monkeypatch, answers)
    if fetch is through_fsspec:  # its sockets do not block

        def connect_ex(sock: socket.socket, address: Any) -> None:
            noted(sock, address)

        import asyncio

        async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:
            sock.setblocking(True)
            connect_ex(sock, address)
            sock.setblocking(False)

        monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", sock_connect)
    assert fetch(f"http://turns.example:{server.port}/1.jpg") == b"content"
    assert asked == ["turns.example"]
    assert "1.1.1.1" in reached
    _, headers = server.requests[0]
    assert headers["Host"] == f"turns.example:{server.port}"


def test_the_certificate_is_checked_against_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address takes the name's place in the connection alone."""
    from streetgauge.io import http

    seen = []
    monkeypatch.setattr(http.HTTPSConnection, "_new_conn", lambda self: seen.append(self.host))
    resolving(monkeypatch, {"images.example.": [["1.1.1.1"]]})
    connection = http._SecureConnection("images.example.")
    connection._new_conn()
    assert seen == ["1.1.1.1"]
    assert connection.host == "images.example"


def test_an_allowed_host_is_reached_by_that_name_only(server: Server, fetch: Fetch) -> None:
    addresses.allow_hosts(["LocalHost."])
    assert fetch(f"http://localhost:{server.port}/1.jpg") == b"content"
    with pytest.raises(AddressError):
        fetch(f"http://127.0.0.1:{server.port}/1.jpg")


def test_a_proxy_is_exempt_and_resolves_names_itself(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv("no_proxy", "")
    asked = resolving(monkeypatch, {"images.invalid": [["10.0.0.1"]]})
    assert fetch("http://images.invalid/1.jpg") == b"content"
    assert asked == []


def test_a_host_without_a_proxy_is_checked_where_others_have_one(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(AddressError):
        fetch(f"{server.address}/1.jpg")


def test_a_service_s_file_within_the_own_network_is_one_file_that_cannot_be_had(
    server: Server,
) -> None:
    web = WebService("Streets", "https://streets.invalid", 1000.0)
    with pytest.raises(RequestError, match=r"host 127\.0\.0\.1: it is within") as caught:
        WebService("Streets", "http://streets.invalid", 1000.0).file(f"{server.address}/1.jpg")
    assert not caught.value.transient
    with pytest.raises(RequestError, match="the address is none of the web"):
        web.file(f"{server.address}/1.jpg")
    assert server.requests == []


def test_a_service_within_the_own_network_ends_the_run_at_once(server: Server) -> None:
    with pytest.raises(AddressError, match="allow_hosts"):
        WebService("Streets", server.address, 1000.0).json(f"{server.address}/search")


def test_a_manifest_names_no_host_of_the_own_network(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")
    rows = {"location_id": ["A"], "view": ["a"], "path": [f"{server.address}/1.jpg"]}
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    settings = ImagerySettings(folder=tmp_path, manifest=tmp_path / "list.csv", views=("a",))
    views, _ = find_views(settings, ["A"])
    with pytest.raises(AddressError, match="allow_hosts"):
        list(raw_images(image_sources(views)))
    with pytest.raises(AddressError, match="allow_hosts"):
        remote.list_files(f"{server.address}/folder")
    with pytest.raises(AddressError, match="allow_hosts"):
        remote.signature(f"{server.address}/folder")
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        *("s3://bucket/1.jpg", "gs://bucket/1.jpg", "az://container/1.jpg"),
        *("abfs://account.dfs.core.windows.net/1.jpg", "s3://b/1.jpg?endpoint_url=http://10.0.0.1"),
    ],
)
def test_a_store_is_opened_with_its_url_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its host is the provider's, or what the user's own environment names."""
    core = pytest.importorskip("fsspec.core", reason="fsspec reads what is behind URLs")
    asked = []

    def url_to_fs(*given: Any, **options: Any) -> Any:
        asked.append((given, options))
        raise ImportError

    monkeypatch.setattr(core, "url_to_fs", url_to_fs)
    with pytest.raises(InputError, match="not installed"):
        remote.open_url(url)
    assert asked == [((url,), {})]


@pytest.mark.parametrize(
    "store", ["127.0.0.1#", "127.0.0.1?", "127.0.0.1\\", "a b", "a[b]", "10.0.0.1%2f"]
)
def test_a_container_s_name_does_not_end_the_provider_s_host_early(store: str) -> None:
    with pytest.raises(ValueError, match="no name of a bucket or container"):
        remote.require_url(f"az://{store}.blob.core.windows.net/container/1.jpg")
    remote.require_url("az://account.blob.core.windows.net/container/1.jpg")
    remote.require_url("s3://arn:aws:s3:eu-west-2:123456789012:accesspoint:images/1.jpg")


@pytest.mark.parametrize("key", ["endpoint_url", "storage_options", "client_kwargs"])
def test_no_setting_names_the_host_of_a_store(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        ImagerySettings.model_validate({"folder": "s3://bucket", key: "http://10.0.0.1"})


def test_a_study_allows_hosts_by_name(grid: Path) -> None:
    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    file.write_text(f'{text}[imagery]\nfolder = "images"\nallow_hosts = ["Images.LAN", "[::1]"]\n')
    study = Study.open(grid)
    assert addresses.allowed_hosts() == ("::1", "images.lan")
    assert "allow_hosts" not in str(study.settings.model_dump(mode="json"))


@pytest.mark.parametrize("host", ["https://x.org", "x.org:80", "x.org/a", "", "a b", "me@x.org"])
def test_what_is_no_host_cannot_be_allowed(host: str) -> None:
    with pytest.raises(ValidationError, match="write its name alone"):
        MapillaryImagery(source="mapillary", allow_hosts=(host,))


def test_a_host_has_one_spelling() -> None:
    same = ("[::1]", "::1", "0:0::1")
    assert {plain_host(each) for each in same} == {"::1"}
    assert plain_host("Example.ORG.") == "example.org"


def test_a_refusal_is_an_error_of_the_input() -> None:
    assert issubclass(AddressError, InputError)
