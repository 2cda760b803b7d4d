"""Downloads are from a server of this test that speaks the Hub's protocol; uploads are caught."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.model import Bundle, fit_model
from streetgauge.model.hub import Address, from_hub, push
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


@pytest.fixture
def server(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    handler = type(
        "Handler",
        (Server,),
        {"files": {p.name: p.read_bytes() for p in saved.iterdir()}, "asked": []},
    )
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
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
    with pytest.raises(InputError, match="hf://me/city: the Hub did not do it") as caught:
        from_hub("hf://me/city", cache=tmp_path)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.rglob("snapshots/*/weights.safetensors")]


@pytest.mark.parametrize("address", ["hf://me/town@v1", "hf://me/city@v2"])
def test_what_is_not_there_is_one_sentence(
    address: str, server: type[Server], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"{address}: the Hub did not do it") as caught:
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
    with pytest.raises(InputError, match="no address of a bundle"):
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
