"""Downloads are from a server of this test that speaks the Hub's protocol; uploads are caught."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import serving
from serving import serve
from streetgauge.errors import InputError
from streetgauge.features.families import OpenClip, Timm
from streetgauge.io import addresses
from streetgauge.io.addresses import AddressError
from streetgauge.io.hub import import_hub
from streetgauge.model import Bundle, fit_model
from streetgauge.model.hub import Address, _failed, from_hub, push
from streetgauge.pipeline.info import file_info
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits

hub = pytest.importorskip("huggingface_hub")
COMMIT = "a" * 40


@pytest.fixture(scope="module")
def saved(make_world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_world(n_areas=12, outcomes=1)
    settings = TrainSettings(learner="network", epochs=1, device="cpu")
    (split,) = make_splits(FoldSettings(scheme="train-only"), world.areas, world.deciles, seed=1)
    model, record = fit_model(world.data(["income"]), split, settings, seed=1)
    place = tmp_path_factory.mktemp("hub") / "bundle"
    Bundle(model, ("income",), "all", settings, 1, "x", record).save(place)
    (place / "secret.py").write_text("raise SystemExit('this must never run')")
    return place


class Server(BaseHTTPRequestHandler):
    """The part of the Hub that a download needs: what a revision has, and its files."""

    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:4] != ["api", "models", "me", "city"] and parts[:2] != ["me", "city"]:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if parts[0] == "api" and parts[4] == "revision":
            if parts[5] not in ("main", "v1", COMMIT):
                return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            names = [{"rfilename": name} for name in self.files]
            return self.answer(200, json.dumps(self.about() | {"siblings": names}).encode())
        if parts[0] == "api" and parts[4] == "tree":
            listed = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in self.files.items()
            ]
            return self.answer(200, json.dumps(listed).encode())
        content = self.files[parts[4]]
        return self.answer(
            200,
            content,
            {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT},
        )

    do_HEAD = do_GET  # noqa: N815

    def about(self) -> dict[str, Any]:
        return {"id": "me/city", "modelId": "me/city", "sha": COMMIT, "private": False, "tags": []}

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@dataclass
class Redirecting:
    """The server that the Hub redirects to, and by which name."""

    server: serving.Server
    host: str = "127.0.0.1"


def means(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
    """Let names have these addresses; which were asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in names:
            return real(host, port, *args, **options)
        asked.append(host)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (each, int(port))) for each in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.fixture
def server(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    handler = type(
        "Handler",
        (Server,),
        {"files": {p.name: p.read_bytes() for p in saved.iterdir()}, "asked": []},
    )
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{listening.server_port}"
    )
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{listening.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield handler
    listening.shutdown()
    listening.server_close()


def test_info_describes_a_bundle_by_its_address(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    facts = file_info("hf://me/city@v1")
    assert facts["bundle"] == f"hf://me/city@v1: commit {COMMIT}"
    assert facts["outcome income"]
    assert "as described" in facts["weights"]


def test_a_bundle_comes_down_whole_and_nothing_else_does(
    server: type[Server], saved: Path, tmp_path: Path
) -> None:
    place = from_hub("hf://me/city@v1", cache=tmp_path)
    assert place.name == COMMIT
    assert sorted(p.name for p in place.iterdir()) == [
        *("README.md", "bundle.json", "weights.safetensors")
    ]
    assert not any("secret.py" in path and "tree" not in path for path, _ in server.asked)
    assert {token for _, token in server.asked} == {None}
    features = np.random.default_rng(0).normal(size=(3, 2, 8)).astype(np.float32)
    np.testing.assert_array_equal(
        Bundle.load(place).predict(features).score, Bundle.load(saved).predict(features).score
    )


def test_the_token_is_that_of_the_environment(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    from_hub("hf://me/city", cache=tmp_path)
    assert {token for _, token in server.asked} == {"Bearer hf_mine"}


def test_weights_that_were_changed_on_the_way_are_refused(
    server: type[Server], tmp_path: Path
) -> None:
    content = bytearray(server.files["weights.safetensors"])
    content[-1] ^= 1
    server.files["weights.safetensors"] = bytes(content)
    with pytest.raises(InputError, match=r"not the file that bundle\.json describes"):
        Bundle.load(from_hub("hf://me/city", cache=tmp_path))


@pytest.fixture
def redirecting(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Redirecting]:
    """Let the Hub name another server, as it does for large files, and see what that is sent."""
    monkeypatch.setattr(addresses, "_allowed", set())
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
        own = getattr(hub.constants, name).replace("127.0.0.1", "localhost")
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", own)
    answer = server.answer
    with serve() as other:
        found = Redirecting(other)

        def redirect(
            self: Server, status: int, body: bytes, headers: dict[str, str] | None = None
        ) -> None:
            if "weights" in self.path and "/resolve/" in self.path:
                target = f"http://{found.host}:{other.port}/weights"
                xet = {"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": "/xet"}
                size = str(len(self.files["weights.safetensors"]))
                stated = {"Location": target, "X-Linked-Size": size, **xet}
                return answer(self, 302, b"", (headers or {}) | stated)
            return answer(self, status, body, headers)

        other.respond = lambda path: (200, {}, server.files["weights.safetensors"])
        server.answer = redirect  # type: ignore[method-assign]
        yield found


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "inside.example"]
)
def test_a_redirection_of_the_hub_into_the_own_network_is_refused(
    redirecting: Redirecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    means(monkeypatch, {"inside.example": ["127.0.0.1"]})
    redirecting.host = host
    with pytest.raises(AddressError, match=r"own network, which a study may not reach"):
        from_hub("hf://me/city", cache=tmp_path)
    assert redirecting.server.requests == []
    assert not [*tmp_path.rglob("snapshots/*/weights.safetensors")]


def test_a_redirection_of_the_hub_is_resolved_once_and_that_address_is_reached(
    redirecting: Redirecting, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the name means a moment later, this machine here, is never asked."""
    asked = means(monkeypatch, {"files.example": ["1.1.1.1"]})
    connect, reached = socket.create_connection, []

    def noted(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        reached.append(address[0])
        own = ("127.0.0.1", address[1]) if address[0] == "1.1.1.1" else address
        return connect(own, *args, **options)

    monkeypatch.setattr(socket, "create_connection", noted)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    redirecting.host = "files.example"
    place = from_hub("hf://me/city", cache=tmp_path)
    assert Bundle.load(place).outcomes == Bundle.load(saved).outcomes
    ((path, headers),) = redirecting.server.requests
    assert (path, headers["Host"]) == ("/weights", f"files.example:{redirecting.server.port}")
    assert "authorization" not in {name.lower() for name in headers}
    assert asked == ["files.example"]
    assert "1.1.1.1" in reached


def test_the_certificate_of_a_redirection_is_checked_against_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    means(monkeypatch, {"files.example": ["1.1.1.1"]})
    client, sent = import_hub().get_session(), []
    httpx2 = pytest.importorskip("httpx2")

    def caught(self: Any, request: Any) -> Any:
        sent.append(request)
        return httpx2.Response(200)

    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", caught)
    client.get("https://files.example/weights")
    (request,) = sent
    assert request.url.host == "1.1.1.1"
    assert request.extensions["sni_hostname"] == request.headers["host"] == "files.example"


def test_an_allowed_host_may_be_what_the_hub_redirects_to(
    redirecting: Redirecting, tmp_path: Path
) -> None:
    addresses.allow_hosts(["127.0.0.1"])
    from_hub("hf://me/city", cache=tmp_path)
    assert redirecting.server.paths == ["/weights"]


def test_a_proxy_of_the_hub_resolves_names_itself(
    redirecting: Redirecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", redirecting.server.address.removeprefix("http://"))
    monkeypatch.setenv("no_proxy", "localhost")
    asked = means(monkeypatch, {"files.example": ["10.0.0.1"]})
    redirecting.host = "files.example"
    from_hub("hf://me/city", cache=tmp_path)
    assert redirecting.server.paths == [f"http://files.example:{redirecting.server.port}/weights"]
    assert asked == []


@pytest.mark.parametrize("family", [Timm, OpenClip])
def test_weights_of_a_library_come_through_the_checked_client(
    redirecting: Redirecting, family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which repository holds them stands in the library: a study names a model of its list."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    redirecting.host = "127.0.0.1"
    about = SimpleNamespace(hf_hub_id="me/city", hf_hub_filename="weights.safetensors")
    library = SimpleNamespace(
        get_pretrained_cfg=lambda *names: about,
        download_pretrained=lambda about, prefer_hf_hub: hub.hf_hub_download(
            about.hf_hub_id, about.hf_hub_filename
        ),
    )
    monkeypatch.setattr(family, "_module", lambda self, name: library)
    with pytest.raises(AddressError, match="own network"):
        family().fetch("a/b")
    assert redirecting.server.requests == []


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_a_file_that_is_not_as_large_as_the_hub_states_is_one_sentence(
    server: type[Server], tmp_path: Path
) -> None:
    answer = server.answer

    def enormous(
        self: Server, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        stated = {"X-Linked-Size": str(10**13)} if "weights" in self.path else {}
        answer(self, status, body, (headers or {}) | stated)

    server.answer = enormous  # type: ignore[method-assign]
    with pytest.raises(InputError, match="hf://me/city: the Hub refused") as caught:
        from_hub("hf://me/city", cache=tmp_path)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.rglob("snapshots/*/weights.safetensors")]


@pytest.mark.parametrize("address", ["hf://me/town@v1", "hf://me/city@v2"])
def test_what_is_not_there_is_one_sentence(
    address: str, server: type[Server], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"{address}: the Hub refused") as caught:
        from_hub(address, cache=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_cannot_be_reached_is_reported_plainly(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(InputError, match="me/city: cannot reach the Hub, and no copy is cached"):
        from_hub("hf://me/city", cache=tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    api = hub.HfApi
    monkeypatch.setattr(hub, "HfApi", lambda token: api(token=token, endpoint="http://127.0.0.1:9"))
    with pytest.raises(InputError, match="me/city: cannot reach the Hub; check"):
        push(saved, "me/city")


@pytest.mark.parametrize("text", ["hf://city", "hf://a/b/c", "hf://a/b@", "hf://a/../b", "a/b"])
def test_an_address_is_a_user_a_name_and_a_revision(text: str) -> None:
    with pytest.raises(InputError, match="not an address of a bundle"):
        Address.parse(text)
    assert Address.parse("hf://me/city@refs/pr/1") == Address("me/city", "refs/pr/1")
    assert str(Address.parse("hf://me/city")) == "hf://me/city@main"


def test_push_sends_the_bundle_s_own_files_with_the_token_of_the_environment(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []

    class Caught:
        def __init__(self, token: str) -> None:
            calls.append(("token", token))

        def create_repo(self, name: str, **options: Any) -> None:
            calls.append(("create", (name, options)))

        def upload_folder(self, **options: Any) -> Any:
            calls.append(("upload", options))
            return SimpleNamespace(oid=COMMIT)

    monkeypatch.setattr(hub, "HfApi", Caught)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match="HF_TOKEN: this environment variable is not set"):
        push(saved, "me/city")
    assert calls == []
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert push(saved, "me/city") == f"hf://me/city@{COMMIT}"
    said = dict(calls)
    assert said["token"] == "hf_mine"
    assert said["create"] == (
        "me/city",
        {"repo_type": "model", "private": True, "exist_ok": True},
    )
    assert said["upload"]["folder_path"] == saved
    assert sorted(said["upload"]["allow_patterns"]) == [
        *("README.md", "bundle.json", "weights.safetensors")
    ]


def test_what_is_no_bundle_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with pytest.raises(InputError, match=r"bundle\.json is missing"):
        push(tmp_path, "me/city")


def test_without_the_extra_the_next_step_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'streetgauge\[hub\]'"):
        from_hub("hf://me/city", cache=tmp_path)


def test_what_the_hub_says_is_repeated_and_an_error_without_words_is_named() -> None:
    said = str(_failed("hf://me/city", ValueError("no such\n  revision"), "look"))
    assert "the Hub refused (no such revision)" in said
    assert "the Hub refused (ValueError)" in str(_failed("it", ValueError(), "look"))
