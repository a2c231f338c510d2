"""Lost framing: packets and bytes of an RTSP connection → whether it has lost its place, and must be opened anew.

RTSP over TCP has no mark to find the next packet by (RFC 2326, 10.12): after bytes that are no packet, libav takes a
length from any of them and reads on, up to the read timeout and beyond. A camera that is slow looks the same from
inside libav; so the bytes of its socket are counted, too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from urllib.parse import urlsplit

from pipeline.sources.video.tcp_sockets import TcpSocket, sockets_to

LOST_FRAMING = "bytes come that are no packets: the camera, or something on the way, has sent something else in between"
LOOK_SECONDS = 0.25
LEAST_SECONDS = 0.75  # of bytes without a packet
_MOST_GAPS = 8.0  # times the usual gap between two packets, of a slower camera
_MOST_LONG_GAPS = 1.5  # times a long gap, as before a key frame on a slow line
_NUM_OUTLIERS = 2  # that are longer than a long one
_MOST_SIZES = 1.5  # times the largest packet of late, which have come without one
_MOST_OTHER_BYTES = 4096  # RTCP reports, answers to what keeps the session alive
_LEAST_PACKETS = 20  # before anything is usual
_NUM_KEPT = 300  # packets, of which gaps and sizes are the usual ones
_SHARE_OF_HEADERS, _MOST_BYTES_ON_THE_WAY = 1.15, 65_536
_PORTS = {"rtsp": 554, "rtsps": 322}
RTSP_SCHEMES = frozenset(_PORTS)


class FramingWatch:
    """Compares packets and bytes. `ask` and `take` are called by the thread that reads, `look` by another one.

    clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._gaps_seconds: deque[float] = deque(maxlen=_NUM_KEPT)
        self._sizes: deque[int] = deque(maxlen=_NUM_KEPT)
        self._took_at_seconds: float | None = None
        self._looked_at_seconds: float | None = None
        self._is_asking = False
        self._silent_seconds = 0.0  # for which a packet has been asked for, as far as that was watched
        self._num_at_first: int | None = None  # bytes, at the first look since then
        self.num_bytes = 0  # of packets
        self.has_lost = False

    def ask(self) -> None:
        """Say that the next packet is waited for."""
        with self._lock:
            self._is_asking, self._silent_seconds, self._num_at_first = True, 0.0, None

    def take(self, num_bytes: int) -> None:
        """Say that it came, of whichever stream."""
        with self._lock:
            now = self._clock()
            if self._took_at_seconds is not None:
                self._gaps_seconds.append(now - self._took_at_seconds)
            self._sizes.append(num_bytes)
            self.num_bytes += num_bytes
            self._took_at_seconds, self._is_asking = now, False

    def look(self, num_received: int | None) -> bool:
        """Whether more bytes have come for longer than any packet takes; to be called each LOOK_SECONDS.

        num_received: the bytes of the connection so far; None: not known.
        """
        now = self._clock()
        with self._lock:
            elapsed = LOOK_SECONDS if self._looked_at_seconds is None else now - self._looked_at_seconds
            self._looked_at_seconds = now
            if num_received is None or not self._is_asking or len(self._sizes) < _LEAST_PACKETS:
                return False
            if self._num_at_first is None:
                self._num_at_first = num_received
                return False
            self._silent_seconds += min(elapsed, 2 * LOOK_SECONDS)  # a process that was stopped was not silent
            num_new = num_received - self._num_at_first
            is_much = num_new > _MOST_SIZES * max(self._sizes) + _MOST_OTHER_BYTES
            self.has_lost = is_much and self._silent_seconds >= self._patience_seconds()
            return self.has_lost

    def _patience_seconds(self) -> float:
        gaps = sorted(self._gaps_seconds)
        return max(LEAST_SECONDS, _MOST_GAPS * median(gaps), _MOST_LONG_GAPS * gaps[-1 - _NUM_OUTLIERS])


class WatchedConnection:
    """The connection of an RTSP stream that has been opened; it is ended where it has lost its framing.

    address: that of the stream. before: the sockets to its port before it was opened.
    """

    def __init__(self, address: str, *, source_id: str, before: frozenset[TcpSocket]) -> None:
        self._candidates: Sequence[TcpSocket] = tuple(sockets_to(port_of(address)) - before)
        self.framing = FramingWatch()
        self._is_over = threading.Event()
        if self._candidates:
            threading.Thread(target=self._run, name=f"framing of {source_id}", daemon=True).start()

    def close(self) -> None:
        """Watch no longer."""
        self._is_over.set()

    def _num_received(self) -> int | None:
        """Of the one socket that is left. Others were opened meanwhile, to the other cameras of a recorder."""
        if len(self._candidates) > 1:
            self._candidates = matching(self._candidates, self.framing.num_bytes)
        return self._candidates[0].num_received() if len(self._candidates) == 1 else None

    def _run(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            if self.framing.look(self._num_received()):
                self._candidates[0].shut_down()
                return


def port_of(address: str) -> int:
    """The port of an address of RTSP; that of its scheme where none can be read from it."""
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = None
    return port or _PORTS[parts.scheme]


def matching(candidates: Sequence[TcpSocket], num_bytes: int) -> Sequence[TcpSocket]:
    """Those that have received a little more than the packets of a stream have; all of them where none has."""
    most = num_bytes * _SHARE_OF_HEADERS + _MOST_BYTES_ON_THE_WAY
    fitting = [one for one in candidates if num_bytes <= (one.num_received() or 0) <= most]
    return fitting if fitting and num_bytes > _MOST_BYTES_ON_THE_WAY else candidates
