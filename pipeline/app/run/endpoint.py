"""Endpoint: pages by their path → an HTTP server in a thread of its own, for a monitor and nobody else."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from pipeline.errors import ConfigError, reason_of
from pipeline.version import __version__

logger = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_MOST_CONNECTIONS = 16
_PATIENCE_SECONDS = 5.0  # with one who does not say what he wants


class Page(NamedTuple):
    """An answer."""

    status: int
    content_type: str
    body: bytes


class Address(NamedTuple):
    """Where a server listens; port 0 takes any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, word: str, option: str) -> Address:
        """Of PORT, HOST:PORT or [IPV6]:PORT; on this machine alone unless a host is named. Raises ConfigError."""
        host, _, port = word.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (port.isascii() and port.isdecimal() and int(port) < 2**16) or (":" in host) != word.startswith("["):
            raise ConfigError(f"{option} must be PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100, got {word!r}")
        return cls(host or _LOOPBACK, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Endpoint:
    """Serves pages until it is closed; a context manager.

    pages: what answers GET, by path; called from threads of the server. option: what an error calls the address.
    Raises ConfigError if nobody can listen there.
    """

    def __init__(self, address: Address, pages: Mapping[str, Callable[[], Page]], *, option: str) -> None:
        try:
            self._server = _Server(address, pages)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
            raise ConfigError(f"{option}: nobody can listen on {address}: {reason_of(error)}") from error
        self.address = Address(address.host, self._server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"streamdet {option}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. May be called more than once."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: Address, pages: Mapping[str, Callable[[], Page]]) -> None:
        self.pages = pages
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless too many are busy: then the connection is closed."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a request failed", exc_info=True)  # a client that has gone, mostly


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE_SECONDS
    server_version = f"streamdet/{__version__}"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        logger.debug(format, *args)

    def _answer(self, *, with_body: bool) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            text = f"there is {' and '.join(self.server.pages)}\n"
            status, content_type, body = Page(404, "text/plain; charset=utf-8", text.encode())
        else:
            status, content_type, body = page()
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if with_body:
                self.wfile.write(body)
