"""A web server on this machine, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Respond = Callable[[str], tuple[int, dict[str, str], bytes]]


class Server:
    """A server on this machine: what it was asked for, and when."""

    def __init__(self, port: int) -> None:
        self.respond: Respond = lambda path: (200, {}, b"content")
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.times: list[float] = []
        self.port, self.address = port, f"http://127.0.0.1:{port}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


@contextmanager
def serve() -> Iterator[Server]:
    """Answer requests on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.requests.append((self.path, dict(self.headers)))
            found.times.append(time.monotonic())
            status, headers, content = found.respond(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    found = Server(web.server_address[1])
    threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield found
    finally:
        web.shutdown()
        web.server_close()
