"""Live server: a socket and a surface → HTTP and WebSockets in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

import uvicorn

from pipeline.serve.site import site
from pipeline.serve.surface import Surface
from pipeline.serve.trust import Policy

logger = logging.getLogger(__name__)

_MOST_CONNECTIONS = 256
_MOST_MESSAGE_BYTES = 4096  # that a browser may send over a WebSocket
_START_SECONDS = 10.0
_CLOSE_SECONDS = 2.0  # less than the grace of a run


class LiveServer:
    """Serves while it is a context manager. listening: a socket that is bound and listens; it is closed at the end."""

    def __init__(self, listening: socket.socket, surface: Surface, policy: Policy) -> None:
        config = uvicorn.Config(
            site(surface, policy),
            ws="websockets-sansio",
            ws_per_message_deflate=False,  # video does not get smaller, and every message would cost time
            ws_max_size=_MOST_MESSAGE_BYTES,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._socket = listening
        self._has_started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="streamdet --serve", daemon=True)

    def __enter__(self) -> LiveServer:
        self._thread.start()
        self._has_started.wait(_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)
        self._server.force_exit = True
        self._socket.close()

    def _serve(self) -> None:
        async def serve() -> None:
            self._has_started.set()
            await self._server.serve(sockets=[self._socket])

        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        try:
            asyncio.run(serve())
        except Exception:
            logger.exception("the page is not served any longer")
