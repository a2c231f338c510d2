"""MQTT broker: as much of MQTT 3.1.1 as a publisher needs, in a thread, that can break where a test wants it to.

OASIS MQTT Version 3.1.1, sections 2 and 3: CONNECT 1, CONNACK 2, PUBLISH 3, PUBACK 4, PINGREQ 12, PINGRESP 13.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from tests.support.tcp_server import TcpServer


@dataclass
class Broker(TcpServer):
    """Keeps what is published. breaks: numbers of publications, from 0, at which the connection is cut, unacknowledged.

    password: refuses other connections. keeps_before_break: whether it had the message that it did not acknowledge.
    """

    breaks: set[int] = field(default_factory=set)
    password: bytes | None = None
    published: list[tuple[str, bytes, int]] = field(default_factory=list)  # topic, payload, QoS
    _num_publications: int = 0

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(1):
                length, shift = 0, 0
                while (byte := stream.read(1)[0]) & 128:
                    length, shift = length | (byte & 127) << shift, shift + 7
                body = stream.read(length | byte << shift)
                if not self._answered(connection, head[0], body):
                    return

    def _answered(self, connection: socket.socket, head: int, body: bytes) -> bool:
        kind = head >> 4
        if kind == 1:
            is_welcome = self.password is None or body.endswith(self.password)
            connection.sendall(bytes([0x20, 2, 0, 0 if is_welcome else 5]))
            return is_welcome
        if kind == 3:
            size = struct.unpack(">H", body[:2])[0]
            topic, number, payload = body[2 : 2 + size], body[2 + size : 4 + size], body[4 + size :]
            self.published.append((topic.decode(), payload, head >> 1 & 3))
            self._num_publications += 1
            if self._num_publications - 1 in self.breaks:
                return False
            connection.sendall(b"\x40\x02" + number)
        if kind == 12:
            connection.sendall(b"\xd0\x00")
        return kind != 14
