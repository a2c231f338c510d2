"""TCP sockets: those of this process, whoever opened them → how many bytes each has received; Linux only.

libav opens its connections itself, and shows none of them.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")
_BYTES_RECEIVED = struct.Struct("=128xQ")  # of `struct tcp_info` in linux/tcp.h, since Linux 4.1


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """A connected socket. The number of a descriptor is given away again when it is closed, an inode is not."""

    descriptor: int
    inode: int

    def num_received(self) -> int | None:
        """Bytes that have come so far; None where it is closed, or the system does not tell."""
        try:
            with self._borrowed() as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
            return int(_BYTES_RECEIVED.unpack(info)[0])
        except (OSError, AttributeError, struct.error):  # another system, or an older one
            return None

    def shut_down(self) -> None:
        """End the connection, so that whoever reads from it comes to its end. One that is closed stays so."""
        try:
            with self._borrowed() as connection:
                connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    @contextmanager
    def _borrowed(self) -> Iterator[socket.socket]:
        """A second descriptor of it. Raises OSError if the first is closed, or is another file's now."""
        with socket.socket(fileno=os.dup(self.descriptor)) as connection:
            if os.fstat(connection.fileno()).st_ino != self.inode:
                raise OSError("the socket was closed")
            yield connection


def sockets_to(port: int) -> frozenset[TcpSocket]:
    """The sockets that are connected to that port of any machine; none on systems without /proc."""
    try:
        descriptors = [int(path.name) for path in _DESCRIPTORS.iterdir()]
    except OSError:
        return frozenset()
    sockets = (_socket_to(port, descriptor) for descriptor in descriptors)
    return frozenset(connected for connected in sockets if connected is not None)


def _socket_to(port: int, descriptor: int) -> TcpSocket | None:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            is_internet = connection.family in (socket.AF_INET, socket.AF_INET6)
            if not is_internet or connection.type != socket.SOCK_STREAM or connection.getpeername()[1] != port:
                return None
            return TcpSocket(descriptor, os.fstat(connection.fileno()).st_ino)
    except OSError:  # closed meanwhile, or not connected
        return None
