"""Messages: what a run and the process that reads a source for it say to each other → datagrams of JSON, and back.

The run says Order, Begin, and Taken for each picture. The process says Opened, then for each picture Sent, and Ended or
Failed; in between Alive, Lost, Connecting and LogLine. Pixels travel through shared memory, see `ring.py`.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from types import UnionType

from pipeline.json_values import JsonObject

MOST_BYTES = 65536  # of a message
MOST_CHARACTERS = 4000  # of a text in one


@dataclass(frozen=True, slots=True)
class Order:
    """Open this source. options: SourceOptions as JSON. log_level: of the lines that are wanted."""

    word: str
    options: JsonObject
    log_level: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Send every nth picture."""

    every: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The slot at that offset of that ring, counted from 0, is free."""

    ring: int
    offset: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The source is open, and this is what it says of itself. is_special: images, not a plain video.

    Raises TypeError for values of other types.
    """

    source_id: str
    is_live: bool
    size_wh: tuple[int, int] | None
    frames_per_second: float | None
    num_frames: int | None
    codec_name: str | None
    is_special: bool

    def __post_init__(self) -> None:
        _check(str, self.source_id)
        _check(bool, self.is_live, self.is_special)
        _check(int, *(self.size_wh or (0, 0)))
        _check(int | float | None, self.frames_per_second, self.num_frames)
        _check(str | None, self.codec_name)


@dataclass(frozen=True, slots=True)
class RingMade:
    """From now on pictures lie in the shared memory whose descriptor comes along."""

    num_bytes: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture lies in the ring at `offset`. form: see `planes.py`. damage: where there is more than before.

    Raises TypeError for values of other types.
    """

    offset: int
    form: JsonObject
    pts_seconds: float
    number: int | None
    image: str | None
    captured_at_seconds: float | None
    num_skipped: int
    damage: tuple[str, ...] | None

    def __post_init__(self) -> None:
        _check(int, self.offset, self.num_skipped)
        _check(int | float, self.pts_seconds)
        _check(int | None, self.number)
        _check(str | None, self.image)
        _check(int | float | None, self.captured_at_seconds)
        _check(str, *(self.damage or ()))


@dataclass(frozen=True, slots=True)
class Ended:
    """The source has ended."""

    num_skipped: int
    damage: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The source cannot be opened, or broke. error: the name of an error of ours, or of Python's."""

    error: str
    text: str
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alive:
    """The thread that reads is not stuck in native code."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream broke, and is opened again after a while."""

    reason: str
    retry_in_seconds: float


@dataclass(frozen=True, slots=True)
class Connecting:
    """The stream is being opened again."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """What would have been logged here. event, event_fields: see `pipeline.events`."""

    logger: str
    level: int
    text: str
    event: str | None
    event_fields: JsonObject


KINDS: Mapping[str, Callable[..., object]] = {
    kind.__name__: kind
    for kind in (Order, Begin, Taken, Opened, RingMade, Sent, Ended, Failed, Alive, Lost, Connecting, LogLine)
}


class Rubbish(ValueError):  # noqa: N818 - named by what came
    """What came is not a message."""


class Connection:
    """One end of a socket of kind SOCK_SEQPACKET, which keeps messages apart.

    Both methods raise OSError where the other side is gone, `receive` EOFError as well.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, message: object, *, descriptor: int | None = None, may_wait: bool = True) -> None:
        """Send a message, and a file descriptor with it. may_wait: else it is left out where the socket is full."""
        content = {name.name: getattr(message, name.name) for name in fields(message)}  # type: ignore[arg-type]
        data = json.dumps([type(message).__name__, content]).encode()
        flags = 0 if may_wait else socket.MSG_DONTWAIT
        try:
            socket.send_fds(self._socket, [data], [] if descriptor is None else [descriptor], flags)
        except BlockingIOError:
            if may_wait:
                raise

    def receive(self, timeout_seconds: float) -> tuple[object, int | None] | None:
        """The next message, and the descriptor that came with it; None: nothing came within that time.

        Raises Rubbish for what is not a message.
        """
        if not self._poll.poll(max(0.0, 1000 * timeout_seconds)):
            return None
        data, descriptors, *_ = socket.recv_fds(self._socket, MOST_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise EOFError("the connection was closed")
        return decoded(data), descriptors[0] if descriptors else None

    def close(self) -> None:
        """End the connection. Whoever waits for a message learns it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster
        finally:
            self._socket.close()


def decoded(data: bytes) -> object:
    """The message that `Connection.send` made these bytes of. Raises Rubbish."""
    try:
        name, content = json.loads(data)
        kind = KINDS[name]
        listed = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        return kind(**listed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Rubbish(f"{data[:40]!r}") from error


def as_json(value: object) -> JsonObject:
    """A dataclass, and those within it, as JSON types."""
    return asdict(value)  # type: ignore[call-overload, no-any-return]


def _check(kind: type | UnionType, *values: object) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} must be {kind}")
