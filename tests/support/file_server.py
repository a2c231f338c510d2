"""File server: contents and misbehaviour by path → an HTTP server on this machine, and what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What is sent for a path.

    cut_after: the first answer ends there, though it has promised all. stalls: it sends that much and then nothing.
    tag: the ETag; with one, ranges are served. has_length: whether it says how long it is.
    """

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    is_cut_always: bool = False
    stalls: bool = False
    tag: str | None = None
    has_length: bool = True


@dataclass
class FileServer:
    """A server that runs: its address without a slash, its replies by path, and the requests that came."""

    address: str
    replies: dict[str, Reply]
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


@contextmanager
def serving(replies: dict[str, Reply]) -> Iterator[FileServer]:
    """Serve the replies until the end of the block; a path without one is 404."""
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append((self.path, headers))
            reply = replies.get(self.path)
            if reply is None:
                self.send_error(404)
                return
            self._send(reply, headers, is_first=server.paths.count(self.path) == 1)

        def _send(self, reply: Reply, headers: dict[str, str], *, is_first: bool) -> None:
            start = 0
            if reply.tag is not None and headers.get("if-range") == reply.tag and "range" in headers:
                start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
            content = reply.content[start:]
            self.send_response(206 if start else reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.tag is not None:
                self.send_header("ETag", reply.tag)
            if reply.has_length:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            is_cut = reply.cut_after is not None and (is_first or reply.is_cut_always)
            self.wfile.write(content[: reply.cut_after] if is_cut else content)
            self.wfile.flush()
            if reply.stalls:
                is_over.wait(60)

        def log_message(self, *_: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = FileServer(f"http://127.0.0.1:{http.server_port}", replies)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        is_over.set()
        http.shutdown()
        http.server_close()
        thread.join()
