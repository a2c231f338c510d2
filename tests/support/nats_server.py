"""NATS server: as much of its protocol as a publisher to JetStream needs, in a thread; it can break where a test wants.

https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from typing import BinaryIO

from tests.support.tcp_server import TcpServer


@dataclass
class NatsServer(TcpServer):
    """Keeps what is published. breaks: numbers of publications, from 0, at which the connection is cut, unacknowledged.

    password: refuses other connections. has_stream: whether a stream takes what is published.
    """

    breaks: set[int] = field(default_factory=set)
    password: str | None = None
    has_stream: bool = True
    published: list[tuple[str, str, bytes]] = field(default_factory=list)  # subject, Nats-Msg-Id, payload

    def _serve(self, connection: socket.socket) -> None:
        info = {"server_id": "A", "version": "2.10.0", "headers": True, "max_payload": 1 << 20, "proto": 1}
        with connection, connection.makefile("rb") as stream:
            connection.sendall(f"INFO {json.dumps(info)}\r\n".encode())
            inbox = b""
            while line := stream.readline():
                verb, *words = line.split()
                if verb == b"CONNECT" and json.loads(line[8:]).get("pass") != self.password:
                    connection.sendall(b"-ERR 'Authorization Violation'\r\n")
                    return
                if verb == b"PING":
                    connection.sendall(b"PONG\r\n")
                if verb == b"SUB":
                    inbox = words[-1]
                if verb == b"HPUB" and not self._answered(connection, stream, words, inbox):
                    return

    def _answered(self, connection: socket.socket, stream: BinaryIO, words: list[bytes], inbox: bytes) -> bool:
        subject, reply, size, total = words
        body = stream.read(int(total) + 2)
        headers = dict(line.split(": ", 1) for line in body[: int(size)].decode().splitlines()[1:] if line)
        if not self.has_stream:
            connection.sendall(b"HMSG %s %s 16 16\r\nNATS/1.0 503\r\n\r\n\r\n" % (reply, inbox))
            return True
        self.published.append((subject.decode(), headers["Nats-Msg-Id"], body[int(size) : -2]))
        if len(self.published) - 1 in self.breaks:
            return False
        answer = json.dumps({"stream": "S", "seq": len(self.published)}).encode()
        connection.sendall(b"MSG %s %s %d\r\n%s\r\n" % (reply, inbox, len(answer), answer))
        return True
