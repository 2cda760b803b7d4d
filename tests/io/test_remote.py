"""Files behind URLs are found, read and distinguished as files of a folder are."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import socketserver
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streetgauge.errors import InputError
from streetgauge.imagery import find_views
from streetgauge.imagery.decoding import image_sources, raw_images
from streetgauge.io import remote
from streetgauge.settings import ImagerySettings, Url, read_settings

fsspec = pytest.importorskip("fsspec", reason="fsspec reads what is behind URLs")


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("streetgauge.io.addresses._allowed", {"127.0.0.1"})
    forget()
    yield
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    forget()


def forget() -> None:
    from streetgauge.imagery.archives import _listing

    remote._listing.cache_clear()
    _listing.cache_clear()


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), shade, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def put(url: str, content: bytes) -> None:
    with fsspec.open(url, "wb") as handle:
        handle.write(content)


@pytest.fixture(params=["memory", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable]]:
    """Give the URL of a folder, and a function that puts a file there."""
    if request.param == "memory":
        yield "memory://bucket/town", lambda name, raw: put(f"memory://bucket/town/{name}", raw)
        return
    pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path)
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def write(name: str, raw: bytes) -> None:
        file = tmp_path / "town" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)

    yield f"http://127.0.0.1:{server.server_address[1]}/town", write
    server.shutdown()
    server.server_close()


def found(settings: ImagerySettings, *ids: str) -> dict[tuple[str, str], bytes]:
    views, _ = find_views(settings, ids)
    raw = raw_images(image_sources(views))
    return dict(zip(zip(views["location_id"], views["view"], strict=True), raw, strict=True))


def test_a_pattern_finds_images_behind_a_url(place: tuple[str, Callable]) -> None:
    url, write = place
    shades = {("A 1", "a"): 10, ("A 1", "b"): 90, ("Ö", "a"): 170}
    for (location, view), shade in shades.items():
        write(f"{location}/{view}.jpg", jpeg(shade))
    write("notes.txt", b"no image")
    settings = ImagerySettings(
        folder=Url(url), pattern="{location_id}/{view}.jpg", views=("a", "b"), require="any"
    )
    assert found(settings, "A 1", "Ö") == {key: jpeg(shade) for key, shade in shades.items()}


def test_an_archive_behind_a_url_is_read_in_place(place: tuple[str, Callable]) -> None:
    url, write = place
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, shade in {"A_a.jpg": 10, "B_a.jpg": 200}.items():
            info = tarfile.TarInfo(name)
            info.size = len(jpeg(shade))
            archive.addfile(info, io.BytesIO(jpeg(shade)))
    write("1.tgz", buffer.getvalue())
    settings = ImagerySettings(
        folder=Url(url), pattern="*/{location_id}_{view}.jpg", views=("a",), require="any"
    )
    assert found(settings, "A", "B") == {("A", "a"): jpeg(10), ("B", "a"): jpeg(200)}


def test_a_zip_on_a_server_that_cannot_skip_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch, place: tuple[str, Callable]
) -> None:
    url, write = place
    write("1.zip", b"PK")

    def refuse(*args: object) -> None:
        raise ValueError("The HTTP server doesn't appear to support range requests. Only reading")

    monkeypatch.setattr("streetgauge.imagery.archives._Zip", refuse)
    settings = ImagerySettings(folder=Url(f"{url}/1.zip"), pattern="{location_id}_{view}")
    with pytest.raises(InputError, match="from the beginning only, so it has to be a tar") as error:
        find_views(settings, ["A"])
    assert "damaged" not in str(error.value)


def test_a_manifest_may_be_remote_and_name_urls(place: tuple[str, Callable]) -> None:
    url, write = place
    write("x/1.jpg", jpeg(30))
    put("memory://elsewhere/2.jpg", jpeg(60))
    rows = {"location_id": ["A", "B"], "view": ["a", "a"]}
    table = pd.DataFrame({**rows, "path": ["x/1.jpg", "memory://elsewhere/2.jpg"]})
    write("list.csv", table.to_csv(index=False).encode())
    settings = ImagerySettings(folder=Url(url), manifest=Url(f"{url}/list.csv"), views=("a",))
    assert found(settings, "A", "B") == {("A", "a"): jpeg(30), ("B", "a"): jpeg(60)}


def test_a_web_server_that_lists_nothing_is_asked_by_name(
    place: tuple[str, Callable], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, write = place
    if not url.startswith("http"):
        pytest.skip("a store lists what it has")
    write("ä b.jpg", jpeg(30))
    write("index.html", b"<html>Nothing to see</html>")
    table = pd.DataFrame({"location_id": ["A", "B"], "view": "a", "path": ["ä b.jpg", "no.jpg"]})
    write("list.csv", table.to_csv(index=False).encode())
    settings = ImagerySettings(folder=Url(url), manifest=Url(f"{url}/list.csv"), views=("a",))
    raw = found(settings, "A", "B")
    assert raw["A", "a"] == jpeg(30)
    assert raw["B", "a"].reason == "there is no such file"
    assert len(remote.signature(url)) == 64


def test_an_address_with_nothing_is_not_a_server_that_does_not_answer(
    place: tuple[str, Callable],
) -> None:
    url, _ = place
    with pytest.raises(InputError, match="there is nothing at this address"):
        remote.list_files(f"{url}/nowhere")


@pytest.fixture(params=["endless", "hanging", "slow"])
def bad_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, list[int]]]:
    """Give what a server does wrong, the URL of its folder, and how many bytes it has sent."""
    pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")
    kind, sent, over = request.param, [0], threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
            part = bytes(1 << 16) if kind == "endless" else bytes(100)
            with contextlib.suppress(OSError):
                while not over.is_set() and sent[0] < 1 << 30:
                    self.request.sendall(part)
                    sent[0] += len(part)
                    if kind != "endless":
                        over.wait(0.05 if kind == "slow" else 60)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}/town", sent
        over.set()
        server.shutdown()


def test_a_server_that_never_ends_is_an_image_that_cannot_be_read(
    bad_server: tuple[str, str, list[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind, url, sent = bad_server
    monkeypatch.setattr("streetgauge.imagery.decoding.MAX_BYTES", 3 << 20)
    monkeypatch.setattr(remote, "MOST_COPIED", 3 << 20)
    monkeypatch.setattr(remote, "SILENCE", 60 if kind == "endless" else 0.4)
    monkeypatch.setattr(remote, "PATIENCE", 0.6)
    paths = [f"{url}/1.jpg", "2.jpg"]
    table = pd.DataFrame({"location_id": ["A", "B"], "view": "a", "path": paths})
    table.to_csv(tmp_path / "list.csv", index=False)
    (tmp_path / "2.jpg").write_bytes(jpeg(7))
    settings = ImagerySettings(folder=tmp_path, manifest=tmp_path / "list.csv", views=("a",))
    raw = found(settings, "A", "B")
    reason = {
        "endless": "the file is larger than 3 MiB",
        "hanging": "the file cannot be opened: nothing arrived for 0 seconds",
        "slow": "the file cannot be opened: it was not all there after 1 seconds",
    }[kind]
    assert raw["A", "a"].reason == reason
    assert raw["B", "a"] == jpeg(7)
    assert sent[0] < 64 << 20  # what is on the way between them, and no more
    if kind == "slow":
        return
    listed = ImagerySettings(folder=tmp_path, manifest=Url(f"{url}/list.csv"), views=("a",))
    limit = "larger than 3 MiB, the most" if kind == "endless" else "nothing arrived for 0 sec"
    with pytest.raises(InputError, match=rf"http://.*/town/list.csv: it .*{limit}"):
        find_views(listed, ["A"])


def test_a_url_s_file_may_have_all_that_is_allowed_and_no_more(place: tuple[str, Callable]) -> None:
    url, write = place
    write("1.bin", bytes(5000))
    write("0.bin", b"")
    assert remote.read_url(f"{url}/1.bin", 5000) == bytes(5000)
    assert remote.read_url(f"{url}/0.bin", 5000) == b""
    with pytest.raises(remote.TooLargeError, match="larger than 0 MiB"):
        remote.read_url(f"{url}/1.bin", 4999)


def test_a_manifest_s_url_must_be_one_that_is_read(tmp_path: Path) -> None:
    for address in ("file:///etc/passwd", "s3://key:hush@bucket/x.jpg", "zip://x::s3://b/y.zip"):
        table = pd.DataFrame({"location_id": ["A"], "view": ["a"], "path": [address]})
        table.to_csv(tmp_path / "list.csv", index=False)
        settings = ImagerySettings(folder=tmp_path, manifest=tmp_path / "list.csv", views=("a",))
        with pytest.raises(InputError, match=r"row 2") as caught:
            find_views(settings, ["A"])
        assert "hush" not in str(caught.value)


def test_an_image_that_went_is_an_image_that_cannot_be_read() -> None:
    put("memory://bucket/A_a.jpg", jpeg(1))
    put("memory://bucket/B_a.jpg", jpeg(2))
    settings = ImagerySettings(folder=Url("memory://bucket"), views=("a",))
    views, _ = find_views(settings, ["A", "B"])
    fsspec.filesystem("memory").rm("/bucket/A_a.jpg")
    gone, there = raw_images(image_sources(views))
    assert gone.reason == "there is no such file"
    assert there == jpeg(2)


def test_the_signature_changes_with_what_is_there(place: tuple[str, Callable]) -> None:
    url, write = place
    write("a.jpg", jpeg(1))
    signs = []
    for change in (None, None, "b.jpg", "b.jpg"):
        forget()
        if change:
            write(change, jpeg(7) + b"0" * len(signs))
        signs.append(remote.signature(url))
    assert signs[0] == signs[1]
    assert signs[1] != signs[2]
    if url.startswith("memory"):  # a web server's list of links says nothing of versions
        assert signs[2] != signs[3]


def test_an_entity_tag_tells_content_apart_where_size_does_not() -> None:
    assert remote._version({"size": 5, "ETag": '"x"'}) != remote._version(
        {"size": 5, "ETag": '"y"'}
    )
    assert remote._version({"size": 5, "LastModified": 1}) != remote._version({"size": 5})
    assert remote._version({"Size": 5, "type": "file"}) == remote._version({"size": 5})


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("memory://nowhere", ["memory://nowhere: there is nothing at this address"]),
        ("http://127.0.0.1:9/x", ["http://127.0.0.1:9/x: no server answers: ", "127.0.0.1:9"]),
        ("s3://bucket/x", ["s3", "pip install 'streetgauge[remote]'"]),
    ],
)
def test_what_cannot_be_listed_is_one_sentence(url: str, parts: list[str]) -> None:
    if url.startswith("s3"):
        with pytest.raises(ImportError):
            import s3fs  # noqa: F401
    with pytest.raises(InputError) as caught:
        remote.list_files(url)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/x", "ftp:// cannot be read"),
        ("file:///etc", "file:// cannot be read"),
        ("zip://a.jpg::s3://b/c.zip", "zip:// cannot be read"),
        ("s3://b/x::memory://y", "cannot be chained"),
        ("https://me:hush@host/x", "it holds a name or password"),
        ("s3://", "names no file or folder"),
    ],
)
def test_only_plain_stores_are_read_and_passwords_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        remote.require_url(url)
    assert "hush" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_a_url(text: str) -> None:
    if remote.is_url(text):
        with contextlib.suppress(ValueError):
            remote.require_url(text)


def test_a_url_survives_where_paths_become_absolute(grid: Path) -> None:
    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    file.write_text(text + '[imagery]\nfolder = "s3://bucket/images"\nmanifest = "list.csv"\n')
    imagery = read_settings(file).imagery
    assert isinstance(imagery, ImagerySettings)
    assert imagery.folder == "s3://bucket/images"
    assert isinstance(imagery.folder, Url)
    assert imagery.manifest == grid / "list.csv"
    assert imagery.model_dump(mode="json")["folder"] == "s3://bucket/images"


def test_a_study_s_cache_key_follows_its_remote_images(grid: Path) -> None:
    from streetgauge.study import Study

    put("memory://bucket/A_a.jpg", jpeg(1))
    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    file.write_text(text + '[imagery]\nfolder = "memory://bucket"\n')

    def sign() -> object:
        forget()
        study = Study.open(grid)
        return study._by_content(study.settings.imagery)

    before = sign()
    assert sign() == before
    put("memory://bucket/A_a.jpg", jpeg(9))
    assert sign() != before


def test_without_a_network_the_inputs_of_a_stage_are_unreachable_and_not_missing(
    grid: Path,
) -> None:
    from streetgauge.study import Study
    from streetgauge.study.stages import stage_named

    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    file.write_text(text + '[imagery]\nfolder = "http://127.0.0.1:9/images"\n')
    study = Study.open(grid)
    study.record["stages"] = {"features": {}}
    assert study.state(stage_named("features")) == "inputs unreachable"
    file.write_text(text + '[imagery]\nfolder = "nowhere"\n')
    study = Study.open(grid)
    study.record["stages"] = {"features": {}}
    assert study.state(stage_named("features")) == "inputs missing"


def test_a_bad_url_in_study_toml_is_one_sentence(grid: Path) -> None:
    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    file.write_text(text + '[imagery]\nfolder = "s3://me:hush@bucket/x"\n')
    with pytest.raises(InputError, match=r"imagery.folder: it holds a name or password") as caught:
        read_settings(file)
    assert "hush" not in str(caught.value)
