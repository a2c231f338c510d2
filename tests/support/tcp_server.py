"""TCP server: connections to a port of this machine → each served in a thread of its own."""

from __future__ import annotations

import socket
import threading
from typing import Self


class TcpServer:
    """Listens while it is a context manager; whoever inherits from it serves a connection."""

    port: int
    num_connections: int = 0

    def __enter__(self) -> Self:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.num_connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        raise NotImplementedError
