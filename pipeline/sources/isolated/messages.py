"""Messages: what a run and the process that reads a source for it say to each other → datagrams, and back.

The run says Order, Begin, and Taken for each picture. The process says Opened, then for each picture Sent, and Ended or
Failed; in between RingMade, Formed, Damaged, Alive, Lost, Connecting and LogLine. Pixels travel through shared memory,
see `ring.py`. Messages are JSON, but for the two that come with each picture, which are packed: that takes a fifth of
the time.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from types import UnionType
from typing import NamedTuple

from pipeline.json_values import JsonObject

MOST_BYTES = 65536  # of a message
MOST_CHARACTERS = 4000  # of a text in one

_DESCRIPTOR_BYTES = socket.CMSG_LEN(struct.calcsize("i"))
_SENT = struct.Struct("<cqdqdq")
_TAKEN = struct.Struct("<cqq")
_SENT_MARK, _TAKEN_MARK = b"S", b"T"  # JSON begins with [


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


class Taken(NamedTuple):
    """The slot at that offset of that ring, counted from 0, is free."""

    ring: int
    offset: int

    def packed(self) -> bytes:
        """Both numbers in bytes."""
        return _TAKEN.pack(_TAKEN_MARK, self.ring, self.offset)

    @classmethod
    def unpacked(cls, data: bytes) -> Taken:
        """The reverse of `packed`. Raises struct.error for bytes of another length."""
        _, ring, offset = _TAKEN.unpack(data)
        return cls(ring, offset)


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
class Formed:
    """From now on pictures have this form: `Form` of `planes.py`, as JSON."""

    form: JsonObject


@dataclass(frozen=True, slots=True)
class Damaged:
    """There is more damage than before: all lines of it."""

    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(str, *self.lines)


class Sent(NamedTuple):
    """A picture lies in the ring at `offset`, in the last form that was sent."""

    offset: int
    pts_seconds: float
    number: int | None
    captured_at_seconds: float | None
    num_skipped: int

    def packed(self) -> bytes:
        """All of it in bytes; what is None is -1 or NaN."""
        number = -1 if self.number is None else self.number
        captured_at = math.nan if self.captured_at_seconds is None else self.captured_at_seconds
        return _SENT.pack(_SENT_MARK, self.offset, self.pts_seconds, number, captured_at, self.num_skipped)

    @classmethod
    def unpacked(cls, data: bytes) -> Sent:
        """The reverse of `packed`. Raises struct.error for bytes of another length, ValueError for infinite times."""
        _, offset, pts_seconds, number, captured_at, num_skipped = _SENT.unpack(data)
        if not math.isfinite(pts_seconds) or math.isinf(captured_at):
            raise ValueError(f"times must be finite, got {pts_seconds} and {captured_at}")
        captured = None if math.isnan(captured_at) else captured_at
        return cls(offset, pts_seconds, None if number < 0 else number, captured, num_skipped)


@dataclass(frozen=True, slots=True)
class Ended:
    """The source has ended."""

    num_skipped: int
    damage: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(int, self.num_skipped)
        _check(str, *self.damage)


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
    for kind in (*(Order, Begin, Opened, RingMade, Formed, Damaged, Ended, Failed, Alive, Lost, Connecting, LogLine),)
}

PACKED_KINDS: Mapping[bytes, Callable[[bytes], object]] = {_SENT_MARK: Sent.unpacked, _TAKEN_MARK: Taken.unpacked}


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
        flags = 0 if may_wait else socket.MSG_DONTWAIT
        try:
            if descriptor is None:
                self._socket.send(encoded(message), flags)
            else:
                socket.send_fds(self._socket, [encoded(message)], [descriptor], flags)
        except BlockingIOError:
            if may_wait:
                raise

    def receive(self, timeout_seconds: float) -> tuple[object, int | None] | None:
        """The next message, and the descriptor that came with it; None: nothing came within that time.

        Raises Rubbish for what is not a message.
        """
        if not self._poll.poll(max(0.0, 1000 * timeout_seconds)):
            return None
        data, ancillary, *_ = self._socket.recvmsg(MOST_BYTES, _DESCRIPTOR_BYTES, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise EOFError("the connection was closed")
        return decoded(data), struct.unpack("i", ancillary[0][2])[0] if ancillary else None

    def close(self) -> None:
        """End the connection. Whoever waits for a message learns it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster
        finally:
            self._socket.close()


def encoded(message: object) -> bytes:
    """A message as bytes, for `decoded`."""
    if isinstance(message, Taken | Sent):
        return message.packed()
    content = {name.name: getattr(message, name.name) for name in fields(message)}  # type: ignore[arg-type]
    return json.dumps([type(message).__name__, content]).encode()


def decoded(data: bytes) -> object:
    """The message that `encoded` made these bytes of. Raises Rubbish."""
    try:
        unpacked = PACKED_KINDS.get(data[:1])
        if unpacked is not None:
            return unpacked(data)
        name, content = json.loads(data)
        kind = KINDS[name]
        listed = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        return kind(**listed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        raise Rubbish(f"{data[:40]!r}") from error


def as_json(value: object) -> JsonObject:
    """A dataclass, and those within it, as JSON types."""
    return asdict(value)  # type: ignore[call-overload, no-any-return]


def _check(kind: type | UnionType, *values: object) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} must be {kind}")
