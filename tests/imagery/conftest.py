"""A web service on this machine that answers as Mapillary and Panoramax do.

The shapes of the answers are those that the two services document and that their clients record;
the images in it are made up.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

TOO_MUCH = "Please reduce the amount of data you're asking for, then retry your request"
TOKEN = "MLY|123|secret-of-a-user"


@dataclass
class ServiceImage:
    """One image of the service."""

    id: str
    lat: float
    lon: float
    heading: float
    panorama: bool = False
    taken: str = "2021-06-01T12:00:00Z"
    user: str = "ada"
    licence: str | None = "CC-BY-SA-4.0"
    camera: str | None = None

    def jpeg(self) -> bytes:
        """Give a file whose colours tell which image it is."""
        seed = sum(self.id.encode()) % 2**16
        size = (256, 128) if self.panorama else (96, 64)
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize(size).save(buffer, "JPEG")
        return buffer.getvalue()


@dataclass
class StreetService:
    """What the service has, how it misbehaves, and what was asked of it."""

    images: list[ServiceImage]
    most: int = 2000
    token: str | None = TOKEN
    gone: set[str] = field(default_factory=set)
    cut_short: Counter[str] = field(default_factory=Counter)  # so many times, then whole
    page_instead: Counter[str] = field(default_factory=Counter)
    expired: Counter[str] = field(default_factory=Counter)  # so many times, then there
    expired_status: int = 403
    crowded: float = 0.0  # boxes wider than so many degrees hold too much for one answer
    busy: Counter[str] = field(default_factory=Counter)  # by kind of request: search, ask, file
    busy_status: int = 429
    busy_headers: dict[str, str] = field(default_factory=lambda: {"Retry-After": "0"})
    busy_body: dict[str, Any] = field(default_factory=dict)
    elsewhere: str | None = None  # files are redirected to this other server
    moved: str | None = None  # searches are redirected to this other server
    delay: float = 0.0
    address: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Count the requests of one kind."""
        return sum(1 for each, _, _ in self.asked if each == kind)

    @contextmanager
    def running(self) -> Iterator[StreetService]:
        """Answer requests on a free port of this machine."""
        handler = type("Handler", (_Handler,), {"service": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    @staticmethod
    def width(query: dict[str, str]) -> float:
        """Give the width of a search's box in degrees."""
        west, _, east, _ = map(float, query["bbox"].split(","))
        return east - west

    def inside(self, query: dict[str, str]) -> list[ServiceImage]:
        """Give the images of a search, as many as one answer holds."""
        west, south, east, north = map(float, query["bbox"].split(","))
        there = [p for p in self.images if west <= p.lon <= east and south <= p.lat <= north]
        if (only := query.get("is_pano")) is not None:
            there = [p for p in there if p.panorama == (only == "true")]
        return there[: min(self.most, int(query["limit"]))]


class _Handler(BaseHTTPRequestHandler):
    service: StreetService

    def do_GET(self) -> None:
        service, parts = self.service, urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path.startswith("/file/"):
            kind = "file"
        else:
            kind = "search" if parts.path in ("/images", "/api/search") else "ask"
        service.asked.append((kind, self.path, dict(self.headers)))
        service.times.append(time.monotonic())
        time.sleep(service.delay)
        if service.busy[kind] > 0:
            service.busy[kind] -= 1
            return self._answer(service.busy_body, service.busy_status, service.busy_headers)
        if kind == "file":
            return self._file(parts.path.removeprefix("/file/").removesuffix(".jpg"))
        if kind == "search" and service.moved is not None:
            return self._answer({}, 302, {"Location": f"{service.moved}{self.path}"})
        if kind == "search" and "ids" in query:
            there = [p for p in service.images if p.id == query["ids"] and p.id not in service.gone]
            return self._answer({"features": [_stac(service, p) for p in there]})
        if kind == "search" and service.crowded and service.width(query) > service.crowded:
            error = {"message": TOO_MUCH, "type": "OAuthException", "code": 1}
            return self._answer({"error": error}, 500)
        if parts.path == "/api/search":
            features = [_stac(service, p) for p in service.inside(query)]
            body = {"type": "FeatureCollection", "features": features, "links": []}
            return self._answer(body)
        if self.headers.get("Authorization") != f"OAuth {service.token}":
            message = "Invalid OAuth access token - Cannot parse access token"
            error = {"message": message, "type": "OAuthException", "code": 190, "fbtrace_id": "A"}
            return self._answer({"error": error}, 400)
        fields = query["fields"].split(",")
        if kind == "search":
            return self._answer({"data": [_graph(p, fields) for p in service.inside(query)]})
        image_id = parts.path.removeprefix("/")
        if image_id in service.gone:
            message = f"Unsupported get request. Object with ID '{image_id}' does not exist"
            return self._answer({"error": {"message": message, "code": 100}}, 404)
        address = f"{service.address}/file/{image_id}.jpg?expires={len(service.asked)}"
        return self._answer({"thumb_2048_url": address, "id": image_id})

    def _file(self, image_id: str) -> None:
        service = self.service
        if service.elsewhere is not None:
            self.send_response(302)
            self.send_header("Location", f"{service.elsewhere}/file/{image_id}.jpg")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        image = next((p for p in service.images if p.id == image_id), None)
        if image is None or image_id in service.gone:
            self._answer({"message": "gone"}, 404)
            return
        if service.expired[image_id] > 0:
            service.expired[image_id] -= 1
            self._text("URL signature expired", service.expired_status)
            return
        content = image.jpeg()
        if service.page_instead[image_id] > 0:
            service.page_instead[image_id] -= 1
            content = b"<html><body>Please try again later</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if service.cut_short[image_id] > 0:
            service.cut_short[image_id] -= 1
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def _text(self, words: str, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words.encode())

    def _answer(
        self, body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *words: object) -> None:
        """Stay silent."""


def _graph(image: ServiceImage, fields: list[str]) -> dict[str, Any]:
    """Write an image as the Graph API does: only what was asked for, and only what is known."""
    taken = time.strptime(image.taken, "%Y-%m-%dT%H:%M:%SZ")
    spot = {"type": "Point", "coordinates": [image.lon, image.lat]}
    whole = {
        "geometry": {"type": "Point", "coordinates": [image.lon + 0.1, image.lat + 0.1]},
        "computed_geometry": spot,
        "compass_angle": (image.heading + 77) % 360,
        "computed_compass_angle": image.heading,
        "captured_at": int(
            (np.datetime64(time.strftime("%Y-%m-%dT%H:%M:%S", taken)) - np.datetime64(0, "s"))
            / np.timedelta64(1, "ms")
        ),
        "camera_type": image.camera or ("spherical" if image.panorama else "perspective"),
        "is_pano": image.panorama,
        "creator": {"username": image.user, "id": "1"},
    }
    return {**{name: whole[name] for name in fields if name in whole}, "id": image.id}


def _stac(service: StreetService, image: ServiceImage) -> dict[str, Any]:
    """Write an image as a STAC item of Panoramax."""
    file = f"{service.address}/file/{image.id}.jpg"
    inside = {"camera_manufacturer": "GoPro", "field_of_view": 360 if image.panorama else 70}
    about = {
        "datetime": image.taken.replace("Z", "+00:00"),
        "view:azimuth": image.heading,
        "pers:interior_orientation": inside,
        "geovisio:status": "ready",
        "geovisio:producer": image.user,
        "license": image.licence,
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": image.id,
        "collection": "c1",
        "geometry": {"type": "Point", "coordinates": [image.lon, image.lat]},
        "properties": {key: value for key, value in about.items() if value is not None},
        "providers": [{"name": image.user, "roles": ["producer"], "id": "1"}],
        "links": [
            {"rel": "self", "href": f"{service.address}/api/collections/c1/items/{image.id}"},
            {"rel": "license", "href": "https://creativecommons.org/licenses/by-sa/4.0/"},
        ],
        "assets": {
            "hd": {"href": file.replace(".jpg", "-hd.jpg"), "roles": ["data"]},
            "sd": {"href": file, "roles": ["visual"], "type": "image/jpeg"},
        },
    }


@pytest.fixture(autouse=True)
def this_machine_may_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streetgauge.io.addresses._allowed", {"127.0.0.1", "localhost"})


@pytest.fixture
def street(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StreetService]]:
    """Give a function that starts a service; its images are given as dicts of `ServiceImage`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)
    monkeypatch.setattr("streetgauge.io.http.FIRST_WAIT", 0.01)
    with ExitStack() as stack:

        def start(images: list[dict[str, Any]], **options: Any) -> StreetService:
            service = StreetService([ServiceImage(**each) for each in images], **options)
            return stack.enter_context(service.running())

        yield start
